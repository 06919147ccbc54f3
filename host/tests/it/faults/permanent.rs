//! permanent
