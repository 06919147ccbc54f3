//! Choices for the shipped pipeline and for others.

use std::path::Path;

use super::*;
use crate::config;
use crate::schema::Schema;

/// The pipeline of this file, and its tables over streams with these columns.
fn choice(text: &str, streams: &[(&str, Schema)]) -> Choice {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.toml");
    std::fs::write(&path, text).unwrap();
    choice_of(&path, streams)
}

fn choice_of(path: &Path, streams: &[(&str, Schema)]) -> Choice {
    let (pipeline, _) = config::load(path, &|_| None).expect("the pipeline is right");
    let schema = |from: &str| &streams.iter().find(|(name, _)| *name == from).unwrap().1;
    let targets: Vec<TableTarget> = pipeline
        .sinks
        .iter()
        .flat_map(|sink| sink.kind.tables())
        .map(|table| TableTarget::new(table, schema(&table.from)).unwrap())
        .collect();
    Choice::new(&pipeline, &targets)
}

fn schema(columns: &[(&str, DataType)]) -> Schema {
    let fields = columns
        .iter()
        .map(|(name, ty)| Field::new(*name, *ty, false));
    Schema::new(fields.collect()).unwrap()
}

fn column(table: &str, column: &str) -> ColumnChoice {
    ColumnChoice {
        table: table.into(),
        base: format!("{table}_minor"),
        column: column.into(),
        scale: 2,
    }
}

const MONEY: DataType = DataType::Decimal(2);

const HEAD: &str = r#"
[pipeline]
name = "shop"
[source]
type = "file"
paths = ["in.ndjson"]
format = "json"
columns = [
  { name = "id", type = "utf8" },
  { name = "at", type = "timestamp" },
  { name = "shop", type = "utf8" },
  { name = "paid", type = "decimal(2)" },
]
[components.stats]
path = "stats.wasm"
[dead_letters]
type = "file"
path = "dead.ndjson"
"#;

fn aggregate(name: &str, key: &str, column: &str) -> String {
    format!(
        "[[aggregate]]\nname = \"{name}\"\nfrom = \"source\"\ncomponent = \"stats\"\n\
         config = {{ column = \"{column}\" }}\nkey = [\"{key}\"]\nwindow = {{ kind = \"none\" }}\n"
    )
}

fn sink(tables: &str) -> String {
    format!(
        "[[sink]]\nname = \"db\"\ntype = \"postgres\"\nurl = \"postgres://db/shop\"\ntables = [{tables}]\n"
    )
}

fn stats(key: &str) -> Schema {
    schema(&[
        (key, DataType::Utf8),
        ("least", MONEY),
        ("sum", MONEY),
        ("mean", MONEY),
    ])
}

fn source() -> Schema {
    schema(&[
        ("id", DataType::Utf8),
        ("at", DataType::Timestamp),
        ("shop", DataType::Utf8),
        ("paid", MONEY),
    ])
}

#[test]
fn of_the_shipped_pipeline_days_and_categories_are_shown_and_four_sums_compared() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipeline.toml");
    let (pipeline, _) = config::load(&path, &|_| None).unwrap();
    let mut streams: Vec<(&str, Schema)> = Vec::new();
    let mut fields = pipeline.source.schema.fields().to_vec();
    fields.push(Field::new("total_amount_base", MONEY, false));
    streams.push(("sales", Schema::new(fields.clone()).unwrap()));
    for aggregate in &pipeline.aggregates {
        let key = aggregate.key.iter().map(|name| {
            let mut fields = fields.iter();
            fields.find(|field| field.name == *name).unwrap().clone()
        });
        let mut columns: Vec<Field> = key.collect();
        if aggregate.window != config::Window::None {
            columns.push(Field::new("window_start", DataType::Timestamp, false));
            columns.push(Field::new("window_end", DataType::Timestamp, false));
        }
        columns.push(Field::new("total", MONEY, false));
        columns.push(Field::new("count", DataType::Int64, false));
        streams.push((&aggregate.name, Schema::new(columns).unwrap()));
    }
    let choice = choice_of(&path, &streams);
    assert_eq!(
        choice.charts[0].amount,
        column("sales_per_day", "total_sales")
    );
    assert_eq!(choice.charts[0].by, "transaction_date");
    assert_eq!(choice.charts[0].order, Order::NewestFirst);
    assert_eq!(
        choice.charts[1].amount,
        column("sales_per_category", "total_sales")
    );
    assert_eq!(choice.charts[1].by, "category");
    assert_eq!(choice.charts[1].order, Order::LargestFirst);
    let check = &choice.checks[0];
    assert_eq!(check[0], column("transactions", "total_amount_base"));
    for table in ["sales_per_day", "sales_per_month", "sales_per_category"] {
        assert!(check.contains(&column(table, "total_sales")), "{check:?}");
    }
}

#[test]
fn what_a_guest_has_added_up_goes_before_other_decimals() {
    let text = HEAD.to_owned()
        + &aggregate("per_shop", "shop", "paid")
        + &sink(r#"{ from = "per_shop", table = "shops", key = ["shop"] }"#);
    let choice = choice(&text, &[("per_shop", stats("shop"))]);
    assert_eq!(choice.charts.len(), 1);
    assert_eq!(choice.charts[0].amount, column("shops", "sum"));
    assert_eq!(
        choice.checks,
        Vec::<Vec<_>>::new(),
        "nothing to compare it with"
    );
}

#[test]
fn renamed_columns_are_compared_with_the_rows_that_they_are_made_of() {
    let text = HEAD.to_owned()
        + &aggregate("per_shop", "shop", "paid")
        + &sink(
            r#"{ from = "source", table = "sales", key = ["id"], columns = { id = "id", price = "paid" } },
               { from = "per_shop", table = "shops", key = ["shop"], columns = { shop = "shop", turnover = "sum" } }"#,
        );
    let streams = [("source", source()), ("per_shop", stats("shop"))];
    let choice = choice(&text, &streams);
    assert_eq!(
        choice.checks,
        [vec![column("sales", "price"), column("shops", "turnover")]]
    );
}

#[test]
fn aggregates_of_different_numbers_are_not_compared() {
    let text = HEAD.to_owned()
        + &aggregate("per_shop", "shop", "paid")
        + &aggregate("per_id", "id", "tip")
        + &sink(
            r#"{ from = "per_shop", table = "shops", key = ["shop"] },
               { from = "per_id", table = "ids", key = ["id"] }"#,
        );
    let streams = [("per_shop", stats("shop")), ("per_id", stats("id"))];
    assert_eq!(choice(&text, &streams).checks, Vec::<Vec<_>>::new());
}

#[test]
fn a_pipeline_without_aggregates_has_nothing_to_show() {
    let text = HEAD.to_owned() + &sink(r#"{ from = "source", table = "sales", key = ["id"] }"#);
    assert_eq!(choice(&text, &[("source", source())]), Choice::default());
}

#[test]
fn a_sum_is_told_by_its_name() {
    for name in [
        "total",
        "sum",
        "total_sales",
        "sum_base",
        "sales_total",
        "x_sum",
    ] {
        assert!(is_sum(name), "{name}");
    }
    for name in ["mean", "totally", "summary", "consum", "resum", "count"] {
        assert!(!is_sum(name), "{name}");
    }
}
