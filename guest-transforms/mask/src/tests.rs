//! Configs over rows.

use serde_json::{Value, json};
use wasmill_guest::testing::{self, TransformGuest};

use super::*;

const KEY: &str = "0123456789abcdef";

fn mask(config: Value) -> Result<TransformGuest<Mask>, String> {
    let input = testing::fields(&[
        ("customer", "utf8?"),
        ("number", "int64?"),
        ("card", "utf8"),
        ("blob", "binary"),
        ("amount", "decimal(2)"),
        ("day", "date"),
        ("name", "utf8?"),
    ]);
    testing::column_transform(&input, config)
}

#[expect(clippy::needless_pass_by_value, reason = "as `json!` makes it")]
fn row(customer: Value, number: Value, name: Value) -> Value {
    json!({
        "customer": customer, "number": number, "card": "4111111111111234", "blob": "x",
        "amount": "1.00", "day": "2025-03-01", "name": name,
    })
}

#[test]
fn each_column_is_masked_in_its_place_by_its_own_method() {
    let guest = mask(json!({"key": KEY, "columns": {
        "customer": {"method": "hash", "length": 8},
        "card": {"method": "keep", "last": 4},
        "amount": {"method": "redact"},
        "day": {"method": "null"},
        "name": {"method": "redact", "with": "-"},
    }}))
    .unwrap();
    let after = guest
        .apply(&[
            row(json!("C-1"), json!(1), json!("Ann")),
            row(json!(null), json!(1), json!(null)),
        ])
        .unwrap();
    let hash = after.rows[0]["customer"].as_str().unwrap().to_owned();
    assert_eq!(hash.len(), 8);
    assert_eq!(
        after.rows,
        [
            json!({"customer": hash, "number": 1, "card": "***1234", "blob": "x", "amount": "***", "day": null, "name": "-"}),
            json!({"customer": null, "number": 1, "card": "***1234", "blob": "x", "amount": "***", "day": null, "name": null}),
        ]
    );
    assert!(after.rejections.is_empty());
}

#[test]
fn what_is_not_looked_at_does_not_cross_the_border() {
    let guest = mask(json!({"columns": {
        "amount": {"method": "redact"}, "day": {"method": "null"}, "customer": {"method": "null"},
    }}))
    .unwrap();
    assert!(guest.contract().needs.is_empty());
}

#[test]
fn equal_values_have_equal_hashes_in_every_column_and_type() {
    let guest = mask(json!({"key": KEY, "columns": {
        "customer": {"method": "hash"}, "number": {"method": "hash"}, "name": {"method": "hash", "length": 10},
    }}))
    .unwrap();
    let after = guest
        .apply(&[row(json!("42"), json!(42), json!("42"))])
        .unwrap();
    let hashes = &after.rows[0];
    assert_eq!(hashes["customer"], hashes["number"]);
    let whole = hashes["customer"].as_str().unwrap();
    assert_eq!(hashes["name"], whole[..10]);
}

#[test]
fn another_key_makes_other_hashes() {
    let hash = |config: Value| {
        let after = mask(config)
            .unwrap()
            .apply(&[row(json!("C-1"), json!(1), json!(null))])
            .unwrap();
        after.rows[0]["customer"].clone()
    };
    let columns = json!({"customer": {"method": "hash"}});
    let with = |key: &str| hash(json!({"columns": columns.clone(), "key": key}));
    assert_ne!(with(KEY), with("another key of 26 letters."));
    assert_ne!(with(KEY), hash(json!({"columns": columns.clone()})));
}

#[test]
fn what_cannot_be_masked_so_is_refused() {
    let one = |column: &str, method: Value| mask(json!({"columns": {column: method}})).unwrap_err();
    assert_eq!(
        one("amount", json!({"method": "hash"})),
        "column `amount` is decimal(2): only utf8, binary and int64 can be hashed (`project` casts others to utf8)"
    );
    assert_eq!(
        one("number", json!({"method": "keep", "last": 4})),
        "column `number` is int64: only utf8 has characters to keep"
    );
    assert_eq!(
        one("card", json!({"method": "hash", "length": 65})),
        "column `card`: the `length` of a hash is 1 to 64, not 65"
    );
    assert!(one("cards", json!({"method": "null"})).starts_with("there is no column `cards`"));
    let unknown = one("card", json!({"method": "blur"}));
    assert!(
        unknown
            .contains("unknown variant `blur`, expected one of `hash`, `redact`, `keep`, `null`"),
        "{unknown}"
    );
    let unknown = one("card", json!({"method": "hash", "salt": "x"}));
    assert!(unknown.contains("unknown field `salt`"), "{unknown}");
    let unknown = one("card", json!({"method": "null", "with": "x"}));
    assert!(unknown.contains("unknown field `with`"), "{unknown}");
    assert_eq!(
        mask(json!({"columns": {}})).unwrap_err(),
        "`columns` names no column to mask"
    );
}

#[test]
fn a_key_that_could_be_guessed_is_refused_and_never_shown() {
    for key in ["", "secret"] {
        let error = mask(json!({"key": key, "columns": {"card": {"method": "hash"}}})).unwrap_err();
        assert_eq!(
            error,
            format!(
                "`key` has {} bytes, and takes 16 at least: shorter ones can be guessed",
                key.len()
            )
        );
    }
    let guest = mask(json!({"key": KEY, "columns": {"card": {"method": "hash"}}})).unwrap();
    assert!(!format!("{:?}", guest.guest()).contains(KEY));
}
