//! `mask` in the sandbox.

use mask::Mask;
use serde_json::json;

use super::alike::transforms_alike;
use super::{LIMITS, load, passthrough};

#[test]
fn columns_are_masked_in_the_sandbox_as_they_are_natively() {
    let config = json!({"key": "0123456789abcdef", "columns": {
        "utf8": {"method": "hash", "length": 20},
        "int64": {"method": "hash"},
        "binary": {"method": "hash"},
        "decimal": {"method": "redact", "with": "-"},
        "date": {"method": "null"},
    }});
    transforms_alike::<Mask>("mask", &config);
    let config = json!({"columns": {"utf8": {"method": "keep", "first": 1, "last": 2}}});
    transforms_alike::<Mask>("mask", &config);
}

#[test]
fn a_key_that_could_be_guessed_is_refused() {
    let config = json!({"key": "", "columns": {"utf8": {"method": "hash"}}});
    let error = load("mask")
        .transform("stage", &passthrough::input(), &config, &LIMITS)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`key` has 0 bytes, and takes 16 at least"),
        "{error}"
    );
}
