//! `wasmill test`.

use std::fs;
use std::path::Path;
use std::process::Output;

use super::{RATES, folder, run};
use crate::support::binary::{output, stderr, stdout};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipeline.toml");
const RECORDS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/transactions.ndjson"
);

/// Runs the sales through `currency`.
fn currency(folder: &Path, arguments: &[&str]) -> Output {
    let with_config = [&["--input", "rows.ndjson", "--config", RATES], arguments].concat();
    run(folder, "test", "currency", &with_config)
}

/// Runs the sales through `totals`.
fn totals(folder: &Path, arguments: &[&str]) -> Output {
    let config = r#"{"column": "total_amount"}"#;
    let with_config = [&["--input", "rows.ndjson", "--config", config], arguments].concat();
    run(folder, "test", "totals", &with_config)
}

#[test]
fn what_goes_in_and_comes_out_stands_side_by_side() {
    let output = currency(folder().path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stderr(&output),
        "columns inferred from rows.ndjson: currency: utf8, total_amount: decimal(2), note: utf8?\n"
    );
    assert_eq!(
        stdout(&output),
        "\
| line | total_amount | currency | > total_amount_base |                                                 |
|------|--------------|----------|---------------------|-------------------------------------------------|
| 1    | 10.50        | EUR      | 11.34               |                                                 |
| 2    | 20.25        | CHF      |                     | rejected: there is no rate for `currency` `CHF` |
| 4    | 3.10         | USD      | 3.10                |                                                 |
unchanged: note
3 rows in, 2 out, 1 rejected; no difference when 2 rows came one at a time
"
    );
}

#[test]
fn a_long_table_is_cut_and_says_so() {
    let output = currency(folder().path(), &["--rows", "1"]);
    let table = stdout(&output);
    assert!(
        table.contains("| 1    |") && !table.contains("| 2    |"),
        "{table}"
    );
    assert!(table.contains("... and 2 more\n"), "{table}");
}

#[test]
fn output_as_json_is_rows_and_rejections_and_nothing_else() {
    let output = currency(folder().path(), &["--json"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stdout(&output),
        "{\"currency\":\"EUR\",\"total_amount\":10.50,\"note\":\"first\",\"total_amount_base\":11.34}\n\
         {\"@line\":2,\"@rejected\":\"there is no rate for `currency` `CHF`\"}\n\
         {\"currency\":\"USD\",\"total_amount\":3.10,\"total_amount_base\":3.10}\n"
    );
}

#[test]
fn what_came_out_is_compared_with_the_expectation_by_value() {
    let folder = folder();
    let expected = folder.path().join("expected.ndjson");
    let missing = currency(folder.path(), &["--expect", "expected.ndjson"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        stderr(&missing).contains("--update"),
        "{}",
        stderr(&missing)
    );

    let updated = currency(folder.path(), &["--expect", "expected.ndjson", "--update"]);
    assert_eq!(updated.status.code(), Some(0), "{}", stderr(&updated));
    let written = fs::read_to_string(&expected).unwrap();
    assert_eq!(written, stdout(&currency(folder.path(), &["--json"])));

    let spelled = written
        .replace("10.50", "\"1.05e1\"")
        .replace("\"currency\":\"USD\",", "")
        .replace(
            "\"total_amount\":3.10",
            "\"total_amount\":3.1,  \"currency\":\"USD\"",
        );
    assert_ne!(spelled, written);
    fs::write(&expected, spelled).unwrap();
    let same = currency(folder.path(), &["--expect", "expected.ndjson"]);
    assert_eq!(same.status.code(), Some(0), "{}", stdout(&same));
    assert!(stdout(&same).ends_with("as expected in expected.ndjson\n"));

    fs::write(&expected, written.replace("11.34", "11.35")).unwrap();
    let other = currency(folder.path(), &["--expect", "expected.ndjson"]);
    assert_eq!(other.status.code(), Some(1));
    let shown = stdout(&other);
    let (expected, found) = (
        "\"note\":\"first\",\"total_amount_base\":11.35}\n",
        "11.34}\n",
    );
    assert!(shown.contains(expected) && shown.contains(found), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    assert_eq!(
        stderr(&other).lines().last(),
        Some(
            "error: the output differs from expected.ndjson in 2 lines: --update takes it as it is now"
        )
    );
}

#[test]
fn an_aggregate_makes_a_row_of_each_group() {
    let folder = folder();
    let by_currency = totals(folder.path(), &["--key", "currency"]);
    assert_eq!(
        by_currency.status.code(),
        Some(0),
        "{}",
        stderr(&by_currency)
    );
    assert_eq!(
        stdout(&by_currency),
        "\
| currency | total | count |
|----------|-------|-------|
| EUR      | 10.50 | 1     |
| CHF      | 20.25 | 1     |
| USD      | 3.10  | 1     |
3 rows in, 3 out, 0 rejected; no difference when 3 rows came one at a time and were merged in other orders
"
    );
    let all = totals(folder.path(), &["--json"]);
    assert_eq!(stdout(&all), "{\"total\":33.85,\"count\":3}\n");

    let unknown = totals(folder.path(), &["--key", "country"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        stderr(&unknown).contains("`country`"),
        "{}",
        stderr(&unknown)
    );
    let transform = currency(folder.path(), &["--key", "currency"]);
    assert!(stderr(&transform).contains("leave --key away"));
}

#[test]
fn rows_of_other_columns_are_named_by_their_lines() {
    let schema = "currency: utf8, total_amount: decimal(2), note: utf8";
    let output = currency(folder().path(), &["--schema", schema]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("\n  line 4: column `note`: a required value is missing\n"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_guest_says_in_its_own_words_what_it_does_not_take() {
    let folder = folder();
    let output = run(
        folder.path(),
        "test",
        "totals",
        &["--input", "rows.ndjson", "--config", "{}"],
    );
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains("the guest refused its configuration"),
        "{said}"
    );
    assert!(said.contains("column"), "{said}");
}

#[test]
fn a_stage_of_a_pipeline_brings_its_own_columns_and_config() {
    let stage = |stage: &str, more: &[&str]| {
        let arguments = [
            "test",
            "--stage",
            stage,
            "--pipeline",
            SHIPPED,
            "--input",
            RECORDS,
        ];
        output(&[&arguments, more].concat())
    };
    let sales = stage("sales", &["--records", "--json"]);
    assert_eq!(sales.status.code(), Some(0), "{}", stderr(&sales));
    assert_eq!(stdout(&sales).lines().count(), 1_000);
    let first: serde_json::Value =
        serde_json::from_str(stdout(&sales).lines().next().unwrap()).unwrap();
    assert!(first["total_amount_base"].is_number(), "{first}");

    let unknown = stage("sale", &[]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        stderr(&unknown).contains("did you mean `sales`?"),
        "{}",
        stderr(&unknown)
    );
    let chained = stage("sales_per_day", &["--records"]);
    assert!(stderr(&chained).contains("--records is for a stage that reads the source"));
}

#[test]
fn the_rows_of_one_stage_are_the_input_of_the_next() {
    let folder = folder();
    let arguments = [
        "test",
        "--stage",
        "sales",
        "--pipeline",
        SHIPPED,
        "--input",
        RECORDS,
    ];
    let sales = output(&[&arguments[..], &["--records", "--json"]].concat());
    let file = folder.path().join("sales.ndjson");
    fs::write(&file, sales.stdout).unwrap();
    let arguments = [
        "test",
        "--stage",
        "sales_per_month",
        "--pipeline",
        SHIPPED,
        "--json",
    ];
    let months = output(&[&arguments[..], &["--input", file.to_str().unwrap()]].concat());
    assert_eq!(months.status.code(), Some(0), "{}", stderr(&months));
    let counts = stdout(&months);
    let counts = counts.lines().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            row["window_start"]
                .as_str()
                .unwrap()
                .ends_with("-01T00:00:00.000000Z")
        );
        row["count"].as_i64().unwrap()
    });
    assert_eq!(counts.sum::<i64>(), 1_000);
}

#[test]
fn a_row_that_makes_the_guest_trap_is_rejected_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("rows.ndjson"),
        "{\"value\": 1}\n{\"value\": 13}\n",
    )
    .unwrap();
    let config = r#"{"mode": "trap", "poison": 13}"#;
    let arguments = ["--input", "rows.ndjson", "--config", config];
    let output = run(folder.path(), "test", "hostile", &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let table = stdout(&output);
    assert!(table.contains("rejected: the guest trapped"), "{table}");
    assert!(table.contains("2 rows in, 1 out, 1 rejected"), "{table}");
}

#[test]
fn text_from_rows_cannot_steer_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("rows.ndjson"),
        "{\"a\": \"\\u001b[2J\\nb\"}\n",
    )
    .unwrap();
    let arguments = [
        "--input",
        "rows.ndjson",
        "--config",
        r#"{"columns": ["a"]}"#,
    ];
    let output = run(folder.path(), "test", "passthrough", &arguments);
    let table = stdout(&output);
    assert!(!table.contains('\u{1b}'), "{table:?}");
    assert!(table.contains("\\u{1b}[2J\\nb"), "{table}");
}
