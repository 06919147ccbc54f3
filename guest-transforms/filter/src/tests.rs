//! Whole conditions over rows.

use proptest::prelude::*;
use serde_json::{Value, json};
use wasmill_guest::testing::{self, TransformGuest};

use super::*;

const COLUMNS: [(&str, &str); 11] = [
    ("id", "int64"),
    ("amount", "decimal(2)?"),
    ("rate", "decimal(4)"),
    ("ratio", "float64?"),
    ("currency", "utf8?"),
    ("brand", "utf8"),
    ("gift", "boolean?"),
    ("sold", "timestamp?"),
    ("shipped", "timestamp"),
    ("day", "date?"),
    ("code", "binary"),
];

fn row(change: &Value) -> Value {
    let mut row = json!({
        "id": 7, "amount": "100.00", "rate": "1.0800", "ratio": 0.5, "currency": "EUR",
        "brand": "Acme", "gift": true, "sold": "2024-02-29T10:00:00Z",
        "shipped": "2024-03-01T08:00:00Z", "day": "2024-02-29", "code": "\u{1}~",
    });
    for (name, value) in change.as_object().unwrap() {
        row[name] = value.clone();
    }
    row
}

fn filter(config: Value) -> Result<TransformGuest<Filter>, String> {
    testing::column_transform(&testing::fields(&COLUMNS), config)
}

/// Whether the condition keeps the row, or why its record is rejected.
#[expect(clippy::needless_pass_by_value, reason = "as `json!` makes it")]
fn keeps(condition: &str, change: Value) -> Result<bool, String> {
    let filter =
        filter(json!({"where": condition})).unwrap_or_else(|error| panic!("{condition}: {error}"));
    let after = filter.apply(&[row(&change)]).unwrap();
    match after.rejections.first() {
        Some(rejection) => Err(rejection.reason.clone()),
        None => Ok(after.rows.len() == 1),
    }
}

fn refusal(condition: &str) -> String {
    filter(json!({"where": condition})).unwrap_err()
}

#[track_caller]
fn all_hold(conditions: &[&str]) {
    for condition in conditions {
        assert_eq!(keeps(condition, json!({})), Ok(true), "{condition}");
        let not = format!("not ({condition})");
        assert_eq!(keeps(&not, json!({})), Ok(false), "{not}");
    }
}

#[test]
fn numbers_are_compared_exactly() {
    all_hold(&[
        "amount >= 100",
        "amount = 100.000",
        "100 <= amount",
        "amount > 99.999 and amount < 100.001",
        "amount <> 100.001",
        "not amount = 100.001",
        "rate = 1.08",
        "amount > rate",
        "amount - rate * 10 = 89.2",
        "amount / 3 = 33.333333333333",
        "-amount < -99.99",
        "- -id = 7",
        "id + 1 = 2 * 4",
        "id / 2 = 3.5",
        "amount between 100 and 100.00",
        "amount not between 100.01 and 200",
        "id in (1, 7, 9)",
        "id not in (1, 7.5, 9)",
        "amount in (rate, 50 + 50)",
        "amount < 99999999999999999999999",
        "id > -99999999999999999999999",
        "0.1 + 0.2 = 0.3",
    ]);
}

#[test]
fn doubles_are_compared_as_doubles() {
    all_hold(&[
        "ratio = 0.5",
        "ratio * 2 = 1",
        "ratio < amount",
        "ratio in (0.25, 0.5)",
    ]);
    let change = json!({"ratio": 0.3});
    assert_eq!(
        keeps("ratio = 0.1 + 0.2", change),
        Ok(true),
        "the right side is exact"
    );
}

#[test]
fn texts_are_compared_byte_by_byte() {
    all_hold(&[
        "currency = 'EUR'",
        "currency = \"EUR\"",
        "'EUR' = currency",
        "currency in (\"USD\", 'EUR')",
        "currency not in ('usd', 'eur')",
        "currency > 'EUQ'",
        "currency between 'A' and 'F'",
        "brand < currency",
        "brand like 'A%e'",
        "brand not like '_me'",
        "brand like '!A%' escape '!'",
        "brand <> 'it''s'",
        "`brand` = 'Acme'",
        "'a' < 'b'",
    ]);
}

#[test]
fn times_and_days_are_compared_with_texts() {
    all_hold(&[
        "sold >= '2024-02-29'",
        "sold = '2024-02-29T10:00:00Z'",
        "sold < '2024-02-29 10:00:00.000001'",
        "'2024-03-01' > sold",
        "sold < shipped",
        "sold between '2024-02-01' and '2024-03-01'",
        "sold in ('2024-01-01', '2024-02-29T10:00:00Z')",
        "day = '2024-02-29'",
        "day in ('2024-02-29')",
        "code = '017e'",
    ]);
}

#[test]
fn booleans_are_conditions() {
    all_hold(&[
        "gift",
        "gift = true",
        "gift is true",
        "gift is not null",
        "true",
        "(gift) <> (id = 8)",
    ]);
    assert_eq!(keeps("gift is not false", json!({"gift": null})), Ok(true));
    assert_eq!(keeps("gift is false", json!({"gift": false})), Ok(true));
}

#[test]
fn a_missing_value_makes_a_comparison_neither_true_nor_false() {
    let without = || json!({"amount": null, "currency": null, "sold": null});
    for condition in [
        "amount > 0",
        "not amount > 0",
        "amount in (1, 2)",
        "amount not in (1, 2)",
        "currency = 'EUR'",
        "not currency like '%'",
        "brand = currency",
        "sold < shipped",
        "shipped > sold",
        "amount + id > 0",
        "amount > 0 and id = 7",
        "(amount > 0) is not null",
    ] {
        assert_eq!(keeps(condition, without()), Ok(false), "{condition}");
    }
    for condition in [
        "amount is null",
        "amount > 0 or id = 7",
        "not (amount > 0 and id = 8)",
        "(amount > 0) is null",
        "currency is null and brand is not null",
    ] {
        assert_eq!(keeps(condition, without()), Ok(true), "{condition}");
    }
}

#[test]
fn and_binds_more_than_or_and_not_more_than_both() {
    all_hold(&[
        "id = 7 or id = 8 and id = 9",
        "not id = 8 and id = 7",
        "not not id = 7",
        "id = 8 or not id = 9 and id = 7",
        "1 + 2 * 3 = id",
        "(1 + 2) * 3 = id + 2",
        "id between 1 and 8 and id = 7",
        "10 - 2 - 1 = id",
    ]);
}

#[test]
fn what_cannot_be_computed_rejects_the_row_unless_it_does_not_matter() {
    let zero = || json!({"id": 0});
    let expected = Err("`amount / id > 5` divides by zero".to_owned());
    assert_eq!(keeps("amount / id > 5", zero()), expected);
    assert_eq!(keeps("amount / id > 5 and id <> 0", zero()), Ok(false));
    assert_eq!(keeps("id <> 0 and amount / id > 5", zero()), Ok(false));
    assert_eq!(keeps("id = 0 or ratio / id > 5", zero()), Ok(true));
    let large = json!({"id": i64::MAX});
    let condition = "id * id * id > 0";
    let expected = Err("a number in `id * id * id > 0` becomes too large".to_owned());
    assert_eq!(keeps(condition, large), expected);
}

#[test]
fn rows_that_do_not_hold_are_dropped_or_rejected() {
    let rows =
        [json!({}), json!({"amount": "1"}), json!({"amount": null})].map(|change| row(&change));
    let dropping = filter(json!({"where": "amount > 50"})).unwrap();
    let after = dropping.apply(&rows).unwrap();
    assert_eq!((after.rows.len(), after.rejections.len()), (1, 0));

    let rejecting = filter(json!({"where": "amount > 50", "otherwise": "reject"})).unwrap();
    let after = rejecting.apply(&rows).unwrap();
    assert_eq!(after.rows.len(), 1);
    let reasons: Vec<_> = after
        .rejections
        .iter()
        .map(|r| (r.row, r.reason.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [
            (1, "`amount > 50` does not hold"),
            (2, "a value is missing for `amount > 50`")
        ]
    );
}

#[test]
fn only_columns_that_the_condition_names_cross_the_border() {
    let filter = filter(json!({"where": "amount > 50 and brand = 'x' or amount < 1"})).unwrap();
    assert_eq!(filter.contract().needs, ["amount", "brand"]);
    assert!(filter.contract().returns.is_empty() && filter.contract().drops.is_empty());
}

#[test]
fn a_mistake_is_named_with_its_place() {
    for (condition, expected) in [
        (
            "id > 1 and amont > 1",
            "`where`, character 12: there is no column `amont`: the input has id, amount, rate",
        ),
        ("brand = Acme", "(a text stands in quotes: 'Acme')"),
        (
            "id = 'x'",
            "`where`, character 1: a number cannot be compared with a text",
        ),
        (
            "id > 1 and currency > 5",
            "character 12: a text cannot be compared with a number",
        ),
        (
            "sold > 'noon'",
            "`noon` is no time such as 2024-02-29 or 2024-02-29T10:00:00Z",
        ),
        (
            "day > '2023-02-29'",
            "`2023-02-29` is no date such as 2024-02-29",
        ),
        ("sold > day", "a timestamp cannot be compared with a date"),
        (
            "amount",
            "`where`, character 1: this is a number, and a condition is due here",
        ),
        (
            "amount = null",
            "nothing compares with null: write `is null` or `is not null`",
        ),
        ("brand + 1 = 2", "one cannot calculate with a text"),
        ("-brand = 2", "there is no negative of a text"),
        ("id like '7'", "`like` is for columns of text"),
        (
            "brand like '!' escape '!'",
            "the pattern `!` ends with its escape",
        ),
        ("brand like 'a' escape 'bc'", "`escape` takes one character"),
        (
            "gift > true",
            "true and false can only be compared by `=` and `<>`",
        ),
        ("id + 1 is null", "`is null` is for columns and conditions"),
        (
            "rate * rate * rate * rate * rate * rate * rate * rate * rate * rate = 1",
            "more than 36 digits after the point",
        ),
    ] {
        let message = refusal(condition);
        assert!(message.contains(expected), "{condition}: {message}");
    }
}

#[test]
fn what_is_no_condition_is_refused_with_what_was_expected() {
    for (condition, expected) in [
        (
            "",
            "`where`, character 1: expected a column or a value, found the end",
        ),
        (
            "id >",
            "`where`, character 5: expected a column or a value, found the end",
        ),
        (
            "id = 7 amount",
            "`where`, character 8: expected an operator, found `amount`",
        ),
        (
            "id = 7 or\n\n(gift and) id",
            "`where`, line 3, character 10: expected a column or a value, found `)`",
        ),
        (
            "brand = 'Acme",
            "`where`, character 9: this quote is not closed",
        ),
        ("id is 5", "expected `null`, `true` or `false`, found `5`"),
        ("id not 5", "expected `in`, `like` or `between`, found `5`"),
        (
            "brand like brand",
            "expected a text in quotes, found `brand`",
        ),
        (
            "id = 7 'x'",
            "character 8: expected an operator, found `'x'`",
        ),
        ("id in ()", "expected a column or a value, found `)`"),
    ] {
        let message = refusal(condition);
        assert!(message.contains(expected), "{condition}: {message}");
    }
}

#[test]
fn long_and_deep_conditions_are_read_or_refused_but_never_overflow_the_stack() {
    let deep = |depth: usize| format!("{}gift{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(keeps(&deep(50), json!({})), Ok(true));
    assert!(refusal(&deep(51)).contains("nested deeper than 50"));
    assert_eq!(
        keeps(&vec!["id = 7"; 5_000].join(" and "), json!({})),
        Ok(true)
    );
    assert_eq!(
        keeps(&format!("{}gift", "not ".repeat(10_000)), json!({})),
        Ok(true)
    );
    assert_eq!(
        keeps(&format!("{}id = 7", "-".repeat(10_000)), json!({})),
        Ok(true)
    );
    // The deepest there can be: to the left 100 times, and 50 parentheses.
    let nested = |sum: &str| (0..50).fold("id".to_owned(), |inner, _| format!("({inner}{sum})"));
    assert_eq!(
        keeps(&format!("{} = 107", nested(" + 1 + 1")), json!({})),
        Ok(true)
    );
    let error = refusal(&format!("{} = 1", nested(" + 1 + 1 + 1")));
    assert!(
        error.contains("there are more than 100 operators of arithmetic"),
        "{error}"
    );
}

#[test]
fn the_config_is_told_from_others() {
    let error = filter(json!({"where": "gift", "else": "drop"})).unwrap_err();
    assert!(error.contains("unknown field `else`"), "{error}");
    let error = filter(json!({"where": "gift", "otherwise": "keep"})).unwrap_err();
    assert!(
        error.contains("unknown variant `keep`, expected `drop` or `reject`"),
        "{error}"
    );
}

/// A condition over `id` and `amount`, and what it is for a row, computed the plain way.
#[derive(Debug, Clone)]
enum Plain {
    Compare(&'static str, bool, i64),
    Missing,
    Not(Box<Plain>),
    And(Box<Plain>, Box<Plain>),
    Or(Box<Plain>, Box<Plain>),
}

impl Plain {
    fn text(&self) -> String {
        match self {
            Self::Compare(sign, true, thousandths) => {
                let sign_of = if *thousandths < 0 { "-" } else { "" };
                let all = thousandths.unsigned_abs();
                format!("amount {sign} {sign_of}{}.{:03}", all / 1000, all % 1000)
            }
            Self::Compare(sign, false, number) => format!("{number} {sign} id"),
            Self::Missing => "amount is null".to_owned(),
            Self::Not(inner) => format!("not ({})", inner.text()),
            Self::And(left, right) => format!("({}) and ({})", left.text(), right.text()),
            Self::Or(left, right) => format!("({}) or ({})", left.text(), right.text()),
        }
    }

    fn holds(&self, id: i64, cents: Option<i64>) -> Option<bool> {
        let compare = |sign: &str, left: i64, right: i64| match sign {
            "<" => left < right,
            "<=" => left <= right,
            "=" => left == right,
            "<>" => left != right,
            ">=" => left >= right,
            _ => left > right,
        };
        match self {
            Self::Compare(sign, true, thousandths) => {
                cents.map(|cents| compare(sign, cents * 10, *thousandths))
            }
            Self::Compare(sign, false, number) => Some(compare(sign, *number, id)),
            Self::Missing => Some(cents.is_none()),
            Self::Not(inner) => inner.holds(id, cents).map(|holds| !holds),
            Self::And(left, right) => match (left.holds(id, cents), right.holds(id, cents)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(left, right) => match (left.holds(id, cents), right.holds(id, cents)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
        }
    }
}

fn plain() -> impl Strategy<Value = Plain> {
    let sign = prop::sample::select(vec!["<", "<=", "=", "<>", ">=", ">"]);
    let leaf = prop_oneof![
        6 => (sign, any::<bool>(), -50_i64..50).prop_map(|(sign, amount, number)| Plain::Compare(sign, amount, number)),
        1 => Just(Plain::Missing),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| Plain::Not(Box::new(a))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Plain::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner).prop_map(|(a, b)| Plain::Or(Box::new(a), Box::new(b))),
        ]
    })
}

proptest! {
    #[test]
    fn a_condition_keeps_the_rows_for_which_it_is_true(
        condition in plain(),
        rows in prop::collection::vec((-50_i64..50, prop::option::weighted(0.8, -5_i64..5)), 0..20),
    ) {
        let filter = filter(json!({"where": condition.text()})).unwrap();
        let cents = |cents: i64| format!("{}0.{:02}", if cents < 0 { "-" } else { "" }, cents.abs());
        let json: Vec<_> = (rows.iter())
            .map(|&(id, amount)| row(&json!({"id": id, "amount": amount.map(cents)})))
            .collect();
        let kept: Vec<_> = (rows.iter().zip(&json))
            .filter(|((id, amount), _)| condition.holds(*id, *amount) == Some(true))
            .map(|(_, row)| row["id"].clone())
            .collect();
        let after = filter.apply(&json).unwrap();
        let ids: Vec<_> = after.rows.iter().map(|row| row["id"].clone()).collect();
        prop_assert_eq!(ids, kept);
        prop_assert!(after.rejections.is_empty());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,60}") {
        let _ = filter(json!({"where": text}));
    }

    #[test]
    fn no_words_make_the_parser_panic(words in prop::collection::vec(prop::sample::select(vec![
        "id", "amount", "brand", "sold", "gift", "(", ")", "and", "or", "not", "in", "between", "like", "is", "null",
        "=", "<", "-", "+", "*", "/", ",", "'a'", "\"", "1", "0.5", "true", "escape", "`",
    ]), 0..14)) {
        let _ = filter(json!({"where": words.join(" ")}));
    }
}
