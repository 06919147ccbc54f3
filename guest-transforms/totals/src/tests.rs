//! The border: the calls as the host makes them, natively.

use super::*;

const CONFIG: &str = r#"{"column": "amount"}"#;

fn sales(scale: u8) -> Vec<Field> {
    vec![
        field("id", DataType::Utf8),
        field("amount", DataType::Decimal(scale)),
    ]
}

fn batch(columns: &[&[i64]]) -> Batch {
    Batch {
        rows: columns[0].len() as u32,
        columns: columns
            .iter()
            .map(|values| Column {
                values: Values::I64s(values.to_vec()),
                validity: None,
            })
            .collect(),
    }
}

fn values(batch: &Batch) -> (&[i64], &[i64]) {
    let SumsRef { sums, counts } = from_batch(batch).unwrap();
    (sums, counts)
}

#[test]
fn sums_keep_the_scale_of_their_column() {
    let contract = Totals::configure(sales(3), CONFIG.to_owned()).unwrap();
    assert_eq!(contract.needs, ["amount"]);
    assert_eq!(contract.state_version, 1);
    let shapes = |fields: &[Field]| {
        let shape = |f: &Field| format!("{} {} {}", f.name, type_name(f.ty), f.nullable);
        fields.iter().map(shape).collect::<Vec<_>>()
    };
    assert_eq!(
        shapes(&contract.state),
        ["sum decimal(3) false", "count int64 false"]
    );
    assert_eq!(
        shapes(&contract.output),
        ["total decimal(3) false", "count int64 false"]
    );
}

#[test]
fn a_config_error_says_what_was_expected_and_found() {
    let refusal = |config: &str| Totals::configure(sales(2), config.to_owned()).unwrap_err();
    assert!(refusal("{}").contains("missing field `column`"));
    assert!(refusal(r#"{"column": "a", "by": 1}"#).contains("unknown field `by`"));
    assert_eq!(
        refusal(r#"{"column": "total"}"#),
        "there is no column `total`: the input has id, amount"
    );
    assert_eq!(
        refusal(r#"{"column": "id"}"#),
        "column `id` has to be a decimal, but is utf8"
    );
}

#[test]
fn rows_are_folded_merged_and_finished() {
    Totals::configure(sales(2), CONFIG.to_owned()).unwrap();
    let Ok(Folded::States(states)) = Totals::fold(vec![0, 1, 0], 2, batch(&[&[1, 2, 3]])) else {
        panic!("these rows can be summed");
    };
    assert_eq!(values(&states), (&[4, 2][..], &[2, 1][..]));
    let merged = Totals::merge(vec![0, 0], 1, states).unwrap();
    let output = Totals::finish(merged).unwrap();
    assert_eq!(values(&output), (&[6][..], &[3][..]));
}

#[test]
fn a_sum_that_is_too_large_is_an_error_that_names_the_column() {
    Totals::configure(sales(2), CONFIG.to_owned()).unwrap();
    let most = 999_999_999_999_999_999;
    let expected = "the sum of `amount` in a group has more than 18 digits";
    let folded = Totals::fold(vec![0, 0], 1, batch(&[&[most, 1]]));
    assert_eq!(folded.err().as_deref(), Some(expected));
    let merged = Totals::merge(vec![0, 0], 1, batch(&[&[most, 1], &[1, 1]]));
    assert_eq!(merged.err().as_deref(), Some(expected));
}

#[test]
fn states_of_this_version_and_shape_migrate_unchanged() {
    Totals::configure(sales(2), CONFIG.to_owned()).unwrap();
    let states = Totals::migrate(1, state_fields(2), batch(&[&[5], &[1]])).unwrap();
    assert_eq!(values(&states), (&[5][..], &[1][..]));
}

#[test]
fn states_of_another_version_or_shape_are_refused() {
    Totals::configure(sales(2), CONFIG.to_owned()).unwrap();
    assert_eq!(
        Totals::migrate(2, state_fields(2), batch(&[&[], &[]]))
            .err()
            .as_deref(),
        Some("states of version 2 cannot be read: this is version 1")
    );
    assert_eq!(
        Totals::migrate(1, state_fields(3), batch(&[&[], &[]]))
            .err()
            .as_deref(),
        Some("the stored states are not those of a sum with 2 digits after the point")
    );
}

#[test]
fn the_schema_that_is_shown_is_json() {
    let schema = Totals::describe().config_schema.unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["required"], serde_json::json!(["column"]));
}
