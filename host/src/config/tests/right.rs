//! What right pipelines become.

use std::path::PathBuf;
use std::time::Duration;

use super::{RIGHT, accepted, parsed, with};
use crate::config::{
    ColumnFrom, Deduplicate, Every, GeneratorSource, Limits, OnConflict, OnNewColumn, Pipeline,
    Projection, SinkKind, SourceKind, Start, Table, Window, load,
};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipeline.toml");

fn shipped() -> Pipeline {
    match load(SHIPPED.as_ref(), &|_| None) {
        Ok((pipeline, diagnostics)) => {
            assert!(diagnostics.is_empty(), "{diagnostics}");
            pipeline
        }
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

fn tables(pipeline: &Pipeline) -> Vec<&Table> {
    pipeline
        .sinks
        .iter()
        .flat_map(|sink| sink.kind.tables())
        .collect()
}

#[test]
fn the_shipped_pipeline_reads_all_twelve_fields() {
    let pipeline = shipped();
    let columns: Vec<String> = pipeline
        .source
        .columns
        .iter()
        .map(|column| {
            let ColumnFrom::Json(path) = &column.from else {
                panic!("{column:?}");
            };
            format!("{} = {}: {}", column.name, path.join("."), column.ty)
        })
        .collect();
    assert_eq!(
        columns,
        [
            "transaction_id = transactionId: utf8",
            "product_id = productId: utf8",
            "product_name = productName: utf8",
            "product_category = productCategory: utf8",
            "product_price = productPrice: decimal(2)",
            "product_quantity = productQuantity: int64",
            "product_brand = productBrand: utf8",
            "currency = currency: utf8",
            "customer_id = customerId: utf8",
            "transaction_date = transactionDate: timestamp",
            "payment_method = paymentMethod: utf8",
            "total_amount = totalAmount: decimal(2)",
        ]
    );
    assert!(!pipeline.source.columns.iter().any(|column| column.nullable));
    assert_eq!(pipeline.source.schema.fields().len(), 12);
}

#[test]
fn the_shipped_pipeline_fills_its_tables() {
    let pipeline = shipped();
    let shown: Vec<String> = tables(&pipeline)
        .iter()
        .map(|table| {
            let columns: Vec<&str> = table
                .columns
                .iter()
                .flatten()
                .map(|column| column.name.as_str())
                .collect();
            format!("{} {:?} {}", table.table, table.key, columns.join(" "))
        })
        .collect();
    assert_eq!(
        shown,
        [
            r#"transactions ["transaction_id"] "#,
            r#"sales_per_category ["transaction_date", "category"] transaction_date category total_sales transactions"#,
            r#"sales_per_brand ["transaction_date", "brand"] transaction_date brand total_sales transactions"#,
            r#"sales_per_payment_method ["transaction_date", "payment_method"] transaction_date payment_method total_sales transactions"#,
            r#"sales_per_currency ["transaction_date", "currency"] transaction_date currency total_sales transactions"#,
            r#"sales_per_day ["transaction_date"] transaction_date total_sales transactions"#,
            r#"sales_per_month ["year", "month"] year month total_sales transactions"#,
            r#"customer_totals ["customer_id"] customer_id total_sales transactions"#,
        ]
    );
    let windows: Vec<&Window> = pipeline.aggregates.iter().map(|a| &a.window).collect();
    let of = |every| Window::Tumbling {
        every,
        time: "transaction_date".to_owned(),
    };
    assert_eq!(
        windows,
        [
            &of(Every::Days(1)),
            &of(Every::Months(1)),
            &of(Every::Days(1)),
            &of(Every::Days(1)),
            &of(Every::Days(1)),
            &of(Every::Days(1)),
            &Window::None,
        ]
    );
}

/// The shipped pipeline with something else than Kafka to read, and a file for the dead letters.
fn shipped_with_source(source: &str) -> String {
    let text = std::fs::read_to_string(SHIPPED).unwrap();
    let kafka = "type = \"kafka\"\nbrokers = \"${KAFKA_BROKERS:-localhost:9092}\"\ntopic = \"financial_transactions\"\nstart = \"earliest\"";
    assert!(text.contains(kafka));
    let text = text.replace(kafka, source);
    let (text, _) = text.split_once("[dead_letters]").unwrap();
    format!("{text}[dead_letters]\ntype = \"file\"\npath = \"dead\"\n")
}

#[test]
fn a_generator_needs_no_settings_and_takes_all_of_them() {
    let kind = |source: &str| accepted(&shipped_with_source(source)).source.kind;
    let SourceKind::Generator(default) = kind("type = \"generator\"\n#") else {
        panic!("this is a generator");
    };
    assert_eq!(default, GeneratorSource::DEFAULT);
    let all = "type = \"generator\"\npartitions = 3\nseed = 7\ndays = 10\nbad_share = 1\nduplicates = 0.9\nrate = 1_000.5\nrecords = \"${TEN}\"\n#";
    let SourceKind::Generator(generator) = kind(all) else {
        panic!("this is a generator");
    };
    assert_eq!(
        generator,
        GeneratorSource {
            partitions: 3,
            seed: 7,
            days: 10,
            bad_share: 1.0,
            duplicates: 0.9,
            rate: Some(1_000.5),
            records: Some(10),
        }
    );
}

#[test]
fn a_sqlite_sink_may_keep_the_journal() {
    let pipeline = accepted(&with(&[(
        "type = \"postgres\"\nurl = \"postgres://me:hunter2@db/shop\"",
        "type = \"sqlite\"\npath = \"data/shop.sqlite3\"",
    )]));
    let SinkKind::Sqlite { path, tables, .. } = &pipeline.sinks[0].kind else {
        panic!("{:?}", pipeline.sinks[0]);
    };
    assert_eq!(path, &PathBuf::from("folder/data/shop.sqlite3"));
    assert_eq!(tables.len(), 2);
}

#[test]
fn paths_begin_at_the_folder_of_the_file() {
    let pipeline = accepted(RIGHT);
    let path = &pipeline.components["convert"].path;
    assert_eq!(path, &PathBuf::from("folder/convert.wasm"));

    let absolute = accepted(&with(&[(r#""convert.wasm""#, r#""/guests/convert.wasm""#)]));
    let path = &absolute.components["convert"].path;
    assert_eq!(path, &PathBuf::from("/guests/convert.wasm"));
}

#[test]
fn what_is_not_said_has_a_default() {
    let pipeline = accepted(&with(&[("[commit]\nmax_rows = 1000\n", "")]));
    assert_eq!(pipeline.commit.max_rows, 10_000);
    assert_eq!(pipeline.commit.max_wait, Duration::from_secs(1));
    assert_eq!(pipeline.commit.in_flight, 2);
    assert!(pipeline.workers >= 1);
    let limits = |memory, millis, output| Limits {
        memory,
        time: Duration::from_millis(millis),
        output,
    };
    assert_eq!(
        pipeline.components["sum"].limits,
        limits(64 << 20, 1_000, 8 << 20)
    );
    assert_eq!(
        pipeline.components["convert"].limits,
        limits(32 << 20, 500, 4 << 20)
    );
    let SourceKind::Kafka(kafka) = &pipeline.source.kind else {
        panic!("{:?}", pipeline.source);
    };
    assert_eq!(kafka.start, Start::Earliest);
    assert!(kafka.properties.is_empty());
    assert_eq!(pipeline.transforms[0].config, serde_json::json!({}));
    assert!(pipeline.aggregates[0].key.is_empty());
    assert_eq!(tables(&pipeline)[0].columns, None);
    assert_eq!(tables(&pipeline)[0].on_conflict, OnConflict::Update);
    assert_eq!(pipeline.sinks[0].kind.on_new_column(), OnNewColumn::Add);
    let refusing = "type = \"postgres\"\non_new_column = \"refuse\"";
    let pipeline = accepted(&with(&[("type = \"postgres\"", refusing)]));
    assert_eq!(pipeline.sinks[0].kind.on_new_column(), OnNewColumn::Refuse);
}

#[test]
fn no_window_is_one_state_for_ever() {
    let absent = with(&[(
        "window = { kind = \"tumbling\", every = \"1 day\", time = \"sold\" }",
        "",
    )]);
    assert_eq!(accepted(&absent).aggregates[0].window, Window::None);
    let said = with(&[(
        "{ kind = \"tumbling\", every = \"1 day\", time = \"sold\" }",
        "{ kind = \"none\" }",
    )]);
    assert_eq!(accepted(&said).aggregates[0].window, Window::None);
}

#[test]
fn columns_of_a_table_keep_their_order_and_may_be_parts_of_dates() {
    let text = with(&[(
        r#"{ day = "date(window_start)", total = "total" }"#,
        r#"{ z = "total", day = "date( window_start )", y = "year(window_start)", m = "month(window_start)" }"#,
    )]);
    let pipeline = accepted(&text);
    let columns = tables(&pipeline)[1].columns.clone().unwrap();
    let columns: Vec<_> = columns.into_iter().map(|c| (c.name, c.value)).collect();
    let start = || "window_start".to_owned();
    assert_eq!(
        columns,
        [
            ("z".to_owned(), Projection::Column("total".to_owned())),
            ("day".to_owned(), Projection::Date(start())),
            ("y".to_owned(), Projection::Year(start())),
            ("m".to_owned(), Projection::Month(start())),
        ]
    );
}

#[test]
fn variables_are_expanded_in_every_string_and_in_the_config_of_a_component() {
    let text = with(&[
        (
            "component = \"convert\"",
            "component = \"convert\"\nconfig = { key = \"${PASSWORD}\", list = [\"${NO:-x}\", 1, 1.5, true, \"$${A}\"] }",
        ),
        ("max_rows = 1000", "max_rows = \"${TEN}\""),
        (
            r#"topic = "sales""#,
            "topic = \"${NO:-sales}\"\nproperties = { \"sasl.password\" = \"${PASSWORD}\", \"fetch.min.bytes\" = 65536 }",
        ),
    ]);
    let pipeline = accepted(&text);
    assert_eq!(
        pipeline.transforms[0].config,
        serde_json::json!({ "key": "hunter2", "list": ["x", 1, 1.5, true, "${A}"] })
    );
    assert_eq!(pipeline.commit.max_rows, 10);
    let SourceKind::Kafka(kafka) = &pipeline.source.kind else {
        panic!("{:?}", pipeline.source);
    };
    assert_eq!(kafka.topic, "sales");
    assert_eq!(kafka.properties["sasl.password"], "hunter2");
    assert_eq!(kafka.properties["fetch.min.bytes"], "65536");
}

#[test]
fn files_can_be_the_source_and_a_file_takes_the_dead_letters() {
    let text = with(&[
        (
            "type = \"kafka\"\nbrokers = \"localhost:9092\"\ntopic = \"sales\"\n",
            "type = \"file\"\npaths = [\"a.ndjson\", \"b.ndjson\"]\n",
        ),
        (
            "type = \"kafka\"\ntopic = \"sales.dead\"",
            "type = \"file\"\npath = \"dead.ndjson\"",
        ),
    ]);
    let pipeline = accepted(&text);
    let SourceKind::File { paths } = &pipeline.source.kind else {
        panic!("{:?}", pipeline.source);
    };
    assert_eq!(
        paths,
        &["folder/a.ndjson", "folder/b.ndjson"].map(PathBuf::from)
    );
}

#[test]
fn a_postgres_sink_may_keep_the_journal_alone() {
    let tables = RIGHT.find("tables = [").unwrap();
    let end = RIGHT[tables..].find("\n]\n").unwrap() + tables + 3;
    let text = RIGHT.replacen(&RIGHT[tables..end], "", 1);
    let (pipeline, diagnostics) = parsed(&text).unwrap();
    assert_eq!(pipeline.sinks.len(), 2);
    // Nobody reads the aggregate any more.
    insta::assert_snapshot!(diagnostics);
}

#[test]
fn a_component_that_no_stage_has_is_a_warning() {
    let text = with(&[(
        "[components.sum]",
        "[components.old]\npath = \"old.wasm\"\n\n[components.sum]",
    )]);
    let (_, diagnostics) = parsed(&text).unwrap();
    assert!(!diagnostics.has_errors());
    assert_eq!(diagnostics.summary(), "pipeline.toml has 1 warning");
    insta::assert_snapshot!(diagnostics);
}

#[test]
fn a_part_of_an_item_is_found_in_the_file() {
    let pipeline = accepted(RIGHT);
    let at = |item, path| &RIGHT[pipeline.places.find(item, path)];
    assert_eq!(at(&pipeline.transforms[0].span, "component"), "\"convert\"");
    assert_eq!(at(&pipeline.aggregates[0].span, "window.time"), "\"sold\"");
    assert_eq!(at(&tables(&pipeline)[1].span, "key.0"), "\"day\"");
    assert_eq!(at(&tables(&pipeline)[1].span, "columns.total"), "\"total\"");
    assert_eq!(at(&pipeline.components["sum"].span, "path"), "\"sum.wasm\"");
}

#[test]
fn the_shipped_pipeline_remembers_a_million_transactions_of_each_partition() {
    let expected = Deduplicate {
        key: vec!["transaction_id".to_owned()],
        last: 1_000_000,
    };
    assert_eq!(shipped().source.deduplicate, Some(expected));
}

#[test]
fn deduplicating_remembers_a_million_keys_unless_it_says_otherwise() {
    assert_eq!(accepted(RIGHT).source.deduplicate, None);
    let with = |lines: &str| {
        let section = format!("[source.deduplicate]\n{lines}\n[commit]");
        let text = RIGHT.replace("[commit]", &section);
        let deduplicate = accepted(&text).source.deduplicate.unwrap();
        (deduplicate.key.join(" "), deduplicate.last)
    };
    assert_eq!(with("key = [\"id\"]"), ("id".into(), 1_000_000));
    let lines = "key = [\"sold\", \"id\"]\nlast = 100_000_000";
    assert_eq!(with(lines), ("sold id".into(), 100_000_000));
    assert_eq!(with("key = [\"id\"]\nlast = \"${TEN}\"").1, 10);
}
