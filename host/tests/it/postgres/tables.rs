//! Tables are created, compared and filled.

use std::sync::Arc;

use arrow_array::{ArrayRef, Decimal64Array, RecordBatch, TimestampMicrosecondArray};
use chrono::DateTime;
use serde_json::json;
use wasmill::config::{OnConflict, Projection, Secret, TableColumn};
use wasmill::epoch::OutputBatch;
use wasmill::schema::{DataType, Field, Schema};
use wasmill::sink::postgres::PostgresLedger;
use wasmill::sink::table::TableTarget;
use wasmill::sink::{Ledger, Sink, SinkError};

use super::{
    batch, claimed, claimed_with, epoch, ledger, permanent, sales, sales_table, stored_sales,
    table, write,
};
use crate::support::postgres::Database;
use crate::support::unique;

#[tokio::test]
async fn a_table_that_does_not_fit_is_refused_with_every_difference() {
    let database = Database::fresh().await;
    database
        .rows(
            "CREATE TABLE sales (amount double precision NOT NULL, shop integer NOT NULL,
                                 created timestamptz NOT NULL DEFAULT now());
             CREATE UNIQUE INDEX partly ON sales (amount) WHERE shop > 0;
             CREATE UNIQUE INDEX whole ON sales (shop, amount)",
        )
        .await;
    let pipeline = unique("sales");
    let tables = vec![sales_table(OnConflict::Update)];
    let mut ledger = ledger(&database, &pipeline, tables);
    let message = permanent(ledger.prepare().await);
    for part in [
        "table `sales` does not fit stream `sales`",
        r#"column `id` is missing: ALTER TABLE "sales" ADD COLUMN "id" text NOT NULL"#,
        r#"column `amount` is double precision, but has to be numeric (decimal(2)): ALTER TABLE "sales" ALTER COLUMN "amount" TYPE numeric"#,
        "column `shop` is NOT NULL without a default",
        "on exactly (id) (there is one on (amount, shop))",
    ] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
    assert!(!message.contains("created"), "{message}");
    assert_eq!(
        database
            .value(&format!(
                "SELECT count(*) FROM pg_tables WHERE schemaname = '{}'",
                database.schema()
            ))
            .await,
        "1",
        "a refused preparation creates nothing"
    );

    // The SQL that the message shows mends the table.
    for statement in message
        .split('\n')
        .filter_map(|line| line.split_once(": ALTER"))
    {
        database.rows(&format!("ALTER{}", statement.1)).await;
    }
    ledger.prepare().await.unwrap();
    ledger.claim(&json!({}), &[]).await.unwrap();
    write(&mut ledger, &epoch(1, vec![batch(&[("a", 100, 0)])])).await;
    assert_eq!(stored_sales(&database).await, [["a", "1.00"]]);
}

#[tokio::test]
async fn a_check_names_the_same_differences_and_creates_nothing() {
    let database = Database::fresh().await;
    let tables = || vec![sales_table(OnConflict::Update)];
    let count = format!(
        "SELECT count(*) FROM pg_tables WHERE schemaname = '{}'",
        database.schema()
    );
    ledger(&database, &unique("sales"), tables())
        .check()
        .await
        .unwrap();
    assert_eq!(database.value(&count).await, "0");

    database
        .rows("CREATE TABLE sales (id text PRIMARY KEY, amount double precision)")
        .await;
    let mut ledger = ledger(&database, &unique("sales"), tables());
    let message = permanent(ledger.check().await);
    assert_eq!(message, permanent(ledger.prepare().await));
    assert_eq!(database.value(&count).await, "1");
}

#[tokio::test]
async fn a_check_says_where_tables_cannot_be_created() {
    let database = Database::fresh().await;
    let role = unique("reader");
    let schema = database.schema();
    database
        .rows(&format!(
            "CREATE ROLE {role}; GRANT USAGE ON SCHEMA {schema} TO {role}"
        ))
        .await;
    let url = format!("{}%20-c%20role%3D{role}", database.secret().reveal());
    let tables = ["sales", "no_such_schema.sales"]
        .map(|name| TableTarget::new(&table(name, &["id"], OnConflict::Update), &sales()).unwrap());
    let url = Secret::new(url);
    let mut ledger = PostgresLedger::new("postgres", "sales", &url, tables.into()).unwrap();
    let message = permanent(ledger.check().await);
    database
        .rows(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await;
    for part in [
        format!("{role} may not create tables in schema {schema}, and wasmill_pipelines, "),
        format!(", sales would be created there: GRANT CREATE ON SCHEMA {schema} TO {role}"),
        r#"there is no schema "no_such_schema", and no_such_schema.sales would be created there: CREATE SCHEMA "no_such_schema""#.to_owned(),
    ] {
        assert!(message.contains(&part), "{part} is not in: {message}");
    }
}

#[tokio::test]
async fn a_view_is_no_table() {
    let database = Database::fresh().await;
    database
        .rows("CREATE VIEW sales AS SELECT 'a'::text AS id, 1::numeric AS amount")
        .await;
    let mut ledger = ledger(
        &database,
        &unique("sales"),
        vec![sales_table(OnConflict::Update)],
    );
    let message = permanent(ledger.prepare().await);
    assert!(message.contains("it is not a table"), "{message}");
}

#[tokio::test]
async fn one_stream_fills_tables_with_columns_and_names_of_their_own() {
    let database = Database::fresh().await;
    let stream = Schema::new(vec![
        Field::new("window_start", DataType::Timestamp, false),
        Field::new("total", DataType::Decimal(2), true),
    ])
    .unwrap();
    let column = |name: &str, value| TableColumn {
        name: name.into(),
        value,
    };
    let start = || "window_start".to_owned();
    let mut month = table(
        &format!("{}.Sales per \"month\"", database.schema()),
        &["year", "month"],
        OnConflict::Update,
    );
    month.columns = Some(vec![
        column("year", Projection::Year(start())),
        column("month", Projection::Month(start())),
        column("total_sales", Projection::Column("total".into())),
    ]);
    let mut day = table("sales_per_day", &["transaction_date"], OnConflict::Update);
    day.columns = Some(vec![column("transaction_date", Projection::Date(start()))]);
    let targets = vec![
        TableTarget::new(&month, &stream).unwrap(),
        TableTarget::new(&day, &stream).unwrap(),
    ];
    let mut ledger = claimed_with(&database, &unique("sales"), targets).await;
    let leap_day = DateTime::parse_from_rfc3339("2024-02-29T23:59:59.999999Z")
        .unwrap()
        .timestamp_micros();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from(vec![leap_day, -1]).with_timezone("UTC")),
        Arc::new(
            Decimal64Array::from(vec![Some(12_345), None])
                .with_precision_and_scale(18, 2)
                .unwrap(),
        ),
    ];
    let rows = OutputBatch {
        columns: RecordBatch::try_new(Arc::clone(stream.arrow()), columns).unwrap(),
        origins: vec![],
    };
    write(&mut ledger, &epoch(1, vec![rows])).await;
    assert_eq!(
        database
            .rows("SELECT * FROM \"Sales per \"\"month\"\"\" ORDER BY 1")
            .await,
        [["1969", "12", "∅"], ["2024", "2", "123.45"]]
    );
    assert_eq!(
        database
            .rows("SELECT * FROM sales_per_day ORDER BY 1")
            .await,
        [["1969-12-31"], ["2024-02-29"]]
    );
}

#[tokio::test]
async fn the_last_row_of_a_key_wins_within_an_epoch_and_across_epochs() {
    let database = Database::fresh().await;
    let mut ledger = claimed(&database, &unique("sales")).await;
    let one = batch(&[("a", 100, 5), ("b", 100, 6), ("a", 200, 7)]);
    let two = batch(&[("a", 300, 4), ("b", 200, 8)]);
    write(&mut ledger, &epoch(1, vec![one, two])).await;
    assert_eq!(
        stored_sales(&database).await,
        [["a", "2.00"], ["b", "2.00"]]
    );
    write(&mut ledger, &epoch(2, vec![batch(&[("a", 900, 9)])])).await;
    assert_eq!(
        stored_sales(&database).await,
        [["a", "9.00"], ["b", "2.00"]]
    );
}

#[tokio::test]
async fn the_first_row_of_a_key_stays_where_conflicts_are_ignored() {
    let database = Database::fresh().await;
    let tables = vec![sales_table(OnConflict::Ignore)];
    let mut ledger = claimed_with(&database, &unique("sales"), tables).await;
    let rows = batch(&[("a", 200, 7), ("a", 100, 5)]);
    write(&mut ledger, &epoch(1, vec![rows])).await;
    write(
        &mut ledger,
        &epoch(2, vec![batch(&[("a", 900, 9), ("b", 1, 10)])]),
    )
    .await;
    assert_eq!(
        stored_sales(&database).await,
        [["a", "1.00"], ["b", "0.01"]]
    );
}

#[tokio::test]
async fn a_zero_byte_in_a_text_names_the_record_and_blocks_nothing_else() {
    let database = Database::fresh().await;
    let mut ledger = claimed(&database, &unique("sales")).await;
    let rows = batch(&[("fine", 1, 3), ("a\0b", 1, 17)]);
    let message = permanent(ledger.write(&epoch(1, vec![rows])).await);
    assert!(
        message.contains(
            "table `sales`, column `id`: the value from the record at partition 0, offset 17"
        ),
        "{message}"
    );
    write(&mut ledger, &epoch(1, vec![batch(&[("fine", 1, 3)])])).await;
    assert_eq!(stored_sales(&database).await, [["fine", "0.01"]]);
}

#[tokio::test]
async fn the_records_whose_rows_the_server_refuses_are_named_with_its_words() {
    let database = Database::fresh().await;
    let mut ledger = claimed(&database, &unique("sales")).await;
    database
        .rows("ALTER TABLE sales ADD CONSTRAINT positive CHECK (amount > 0)")
        .await;
    let ids: Vec<String> = (0..100).map(|id| format!("{id:03}")).collect();
    let row = |offset: usize| {
        let amount = if [17, 42, 43, 99].contains(&offset) {
            -1
        } else {
            1
        };
        (ids[offset].as_str(), amount, offset as i64)
    };
    let rows: Vec<_> = (0..100).map(row).collect();
    let (first, second) = rows.split_at(43);
    let refused = epoch(1, vec![batch(first), batch(second)]);
    let SinkError::Refused(records) = ledger.write(&refused).await.unwrap_err() else {
        panic!("four rows break the constraint");
    };
    let offsets: Vec<i64> = records.iter().map(|record| record.origin.offset).collect();
    assert_eq!(offsets, [17, 42, 43, 99]);
    for record in records {
        for part in [
            "failed to write to table `sales`",
            "positive",
            "23514",
            "-0.01",
        ] {
            assert!(
                record.reason.contains(part),
                "{part} is not in: {}",
                record.reason
            );
        }
    }
    assert!(stored_sales(&database).await.is_empty());
    database
        .rows("ALTER TABLE sales DROP CONSTRAINT positive")
        .await;
    write(&mut ledger, &refused).await;
    assert_eq!(stored_sales(&database).await.len(), 100);
}

/// What PostgreSQL does for an upsert and not for a COPY tells which of them it was.
#[tokio::test]
async fn rows_are_copied_into_their_table_until_a_key_comes_again() {
    let database = Database::fresh().await;
    let mut ledger = claimed(&database, &unique("sales")).await;
    database
        .rows(
            "CREATE TABLE upserts (n int);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                 $$BEGIN INSERT INTO upserts VALUES (1); RETURN NULL; END$$;
             CREATE TRIGGER note BEFORE UPDATE ON sales FOR EACH STATEMENT EXECUTE FUNCTION note()",
        )
        .await;
    let steps: [(&str, &str); 6] = [
        ("a", "0"),
        ("b", "0"),
        ("a", "1"),
        // The next attempt waits for an epoch.
        ("c", "2"),
        ("d", "2"),
        ("b", "3"),
    ];
    for (offset, (key, upserts)) in (0..).zip(steps) {
        let rows = batch(&[(key, 100 + offset, offset)]);
        write(&mut ledger, &epoch(offset as u64 + 1, vec![rows])).await;
        let found = database.value("SELECT count(*) FROM upserts").await;
        assert_eq!(found, upserts, "after row {offset}, `{key}`");
    }
    let rows = [["a", "1.02"], ["b", "1.05"], ["c", "1.03"], ["d", "1.04"]];
    assert_eq!(stored_sales(&database).await, rows);
}

#[tokio::test]
async fn a_row_of_an_aggregate_that_the_server_refuses_stops_the_pipeline() {
    let database = Database::fresh().await;
    let mut ledger = claimed(&database, &unique("sales")).await;
    database
        .rows("ALTER TABLE sales ADD CONSTRAINT positive CHECK (amount > 0)")
        .await;
    let mut totals = batch(&[("a", 1, 0), ("b", -1, 1)]);
    totals.origins.clear();
    let message = permanent(ledger.write(&epoch(1, vec![totals])).await);
    for part in ["`sales`", "positive", "stands for many records"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
    assert!(stored_sales(&database).await.is_empty());
}

#[tokio::test]
async fn of_statements_that_are_sent_together_the_one_that_failed_is_reported() {
    let checks = [
        ("first", "amount > 0", "table `first`"),
        ("second", "amount > 0", "table `second`"),
        ("wasmill_epochs", "epoch > 1", "wasmill_epochs"),
    ];
    for (checked, check, name) in checks {
        let database = Database::fresh().await;
        let tables = ["first", "second"].map(|name| {
            TableTarget::new(&table(name, &["id"], OnConflict::Update), &sales()).unwrap()
        });
        let mut ledger = claimed_with(&database, &unique("sales"), tables.into()).await;
        database
            .rows(&format!("ALTER TABLE {checked} ADD CHECK ({check})"))
            .await;
        let refused = epoch(1, vec![batch(&[("b", -1, 1)])]);
        let message = ledger.write(&refused).await.unwrap_err().to_string();
        for part in ["23514", &format!("failed to write to {name}")] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
        for table in ["first", "second", "wasmill_epochs"] {
            let count = format!("SELECT count(*) FROM {table}");
            assert_eq!(database.value(&count).await, "0", "{table}");
        }
    }
}

#[tokio::test]
async fn a_lost_table_is_reported_by_name() {
    let database = Database::fresh().await;
    let pipeline = unique("sales");
    let mut ledger = claimed(&database, &pipeline).await;
    database.rows("DROP TABLE sales").await;
    let rows = epoch(1, vec![batch(&[("a", 1, 0)])]);
    let message = permanent(ledger.write(&rows).await);
    assert!(message.contains("sales"), "{message}");
    assert!(message.contains("42P01"), "{message}");
}
