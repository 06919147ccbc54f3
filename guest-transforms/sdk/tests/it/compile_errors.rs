//! Mistakes that the macros find: said at the user's own line, with what to write instead.
//!
//! To see new messages: `TRYBUILD=overwrite cargo test -p wasmill-guest --test it compile_errors`.

#[test]
fn mistakes_are_reported_at_the_users_own_line() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
