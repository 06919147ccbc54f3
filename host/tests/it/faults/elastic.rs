//! elastic
