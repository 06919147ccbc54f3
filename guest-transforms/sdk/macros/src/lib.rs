//! The derive macros of `wasmill-guest`.
