//! The border: `configure` and `apply` as the host calls them, natively.

use super::*;

use bindings::wasmill::guest::data::VarBytes;

fn field(name: &str, ty: DataType) -> Field {
    Field {
        name: name.to_owned(),
        ty,
        nullable: false,
    }
}

fn sales() -> Vec<Field> {
    vec![
        field("transaction_id", DataType::Utf8),
        field("total_amount", DataType::Decimal(2)),
        field("currency", DataType::Utf8),
    ]
}

const CONFIG: &str = r#"{"base": "USD", "rates": {"EUR": "1.08"}}"#;

fn refusal(input: Vec<Field>, config: &str) -> String {
    Currency::configure(input, config.to_owned()).expect_err("this is refused")
}

#[test]
fn the_contract_asks_for_two_columns_and_adds_one() {
    let contract = Currency::configure(sales(), CONFIG.to_owned()).unwrap();
    assert_eq!(contract.needs, ["total_amount", "currency"]);
    assert_eq!(contract.returns.len(), 1);
    assert_eq!(contract.returns[0].name, "total_amount_base");
    assert!(matches!(contract.returns[0].ty, DataType::Decimal(2)));
    assert!(!contract.returns[0].nullable);
    assert!(contract.drops.is_empty());
    assert!(!contract.selects);
}

#[test]
fn a_missing_column_is_named_with_those_that_are_there() {
    assert_eq!(
        refusal(sales()[..2].to_vec(), CONFIG),
        "there is no column `currency`: the input has transaction_id, total_amount"
    );
}

#[test]
fn a_column_of_the_wrong_type_is_named_with_the_type_that_it_has() {
    let mut input = sales();
    input[1].ty = DataType::Float64;
    assert_eq!(
        refusal(input, CONFIG),
        "column `total_amount` has to be a decimal, but is float64"
    );
    let mut input = sales();
    input[2].ty = DataType::Decimal(3);
    assert_eq!(
        refusal(input, CONFIG),
        "column `currency` has to be utf8, but is decimal(3)"
    );
}

#[test]
fn a_batch_goes_in_and_its_changes_come_out() {
    Currency::configure(sales(), CONFIG.to_owned()).unwrap();
    let changes = Currency::apply(Batch {
        rows: 2,
        columns: vec![
            Column {
                values: Values::I64s(vec![100, 200]),
                validity: None,
            },
            Column {
                values: Values::Bytes(VarBytes {
                    offsets: vec![0, 3, 6],
                    bytes: b"EURJPY".to_vec(),
                }),
                validity: None,
            },
        ],
    })
    .unwrap();
    assert!(changes.selection.is_none());
    let [
        Column {
            values: Values::I64s(cents),
            validity: None,
        },
    ] = changes.columns.as_slice()
    else {
        panic!("{:?}", changes.columns);
    };
    assert_eq!(cents, &[108]);
    assert_eq!(changes.rejections.len(), 1);
    assert_eq!(changes.rejections[0].row, 1);
}

#[test]
fn columns_that_were_not_agreed_on_are_an_error() {
    Currency::configure(sales(), CONFIG.to_owned()).unwrap();
    let batch = Batch {
        rows: 0,
        columns: Vec::new(),
    };
    assert_eq!(Currency::apply(batch).unwrap_err(), "got 0 columns, not 2");
}
