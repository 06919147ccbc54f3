//! Records with values that PostgreSQL cannot hold, through a whole pipeline.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support;
use crate::support::job::succeed;
use crate::support::postgres::Database;

/// The table `sales` lacks the shop and the note, `per_shop` has the shop as its key.
fn pipeline() -> String {
    format!(
        r#"
[pipeline]
name = "shops"
[source]
type = "file"
paths = ["sales.ndjson"]
columns = [
  {{ name = "id", type = "utf8" }},
  {{ name = "shop", type = "utf8" }},
  {{ name = "note", type = "utf8" }},
  {{ name = "amount", type = "decimal(2)" }},
]
[components.totals]
path = '{}'
[[aggregate]]
name = "per_shop"
from = "source"
component = "totals"
config = {{ column = "amount" }}
key = ["shop"]
[[sink]]
name = "rows"
type = "postgres"
url = "${{DATABASE_URL}}"
[[sink.tables]]
from = "source"
table = "sales"
key = ["id"]
columns = {{ id = "id", amount = "amount" }}
[[sink.tables]]
from = "per_shop"
table = "per_shop"
key = ["shop"]
[dead_letters]
type = "file"
path = "dead.ndjson"
"#,
        support::guest("totals").display()
    )
}

/// Adds sales to the file and runs to its end.
async fn run(folder: &Path, database: &Database, sales: &mut String, more: &[[&str; 4]]) {
    for [id, shop, note, amount] in more {
        let sale = json!({ "id": id, "shop": shop, "note": note, "amount": amount });
        writeln!(sales, "{sale}").unwrap();
    }
    fs::write(folder.join("sales.ndjson"), &*sales).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
    command
        .args(["run", "--once"])
        .current_dir(folder)
        .env("DATABASE_URL", database.secret().reveal());
    tokio::task::spawn_blocking(|| succeed(command))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_zero_byte_that_would_reach_a_table_leaves_its_record_out_everywhere() {
    let database = Database::fresh().await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pipeline.toml"), pipeline()).unwrap();
    let mut sales = String::new();
    let first = [
        ["a", "x", "fine", "1.00"],
        ["b\0", "x", "a row's key", "2.00"],
        ["c", "y\0", "an aggregate's key", "4.00"],
        ["d", "x", "\0 in what no table has", "8.00"],
    ];
    run(folder.path(), &database, &mut sales, &first).await;
    let second = [["e", "x\0", "", "16.00"], ["f", "x", "", "32.00"]];
    run(folder.path(), &database, &mut sales, &second).await;

    let rows = database.rows("SELECT id, amount FROM sales ORDER BY id");
    assert_eq!(rows.await, [["a", "1.00"], ["d", "8.00"], ["f", "32.00"]]);
    let totals = database.rows("SELECT shop, total, count FROM per_shop");
    assert_eq!(totals.await, [["x", "41.00", "3"]]);

    let letters = fs::read_to_string(folder.path().join("dead.ndjson")).unwrap();
    let lines: Vec<&str> = sales.lines().collect();
    let mut left_out = Vec::new();
    for letter in letters.lines() {
        let letter: Value = serde_json::from_str(letter).unwrap();
        assert_eq!(letter["stage"], "rows");
        assert_eq!(letter.get("component"), None);
        let reason = letter["reason"].as_str().unwrap();
        assert!(reason.contains("character \\u0000"), "{reason}");
        let line = lines.iter().position(|line| letter["value"] == **line);
        left_out.push((line.unwrap(), letter["column"].as_str().unwrap().to_owned()));
    }
    let expected = [(1, "id"), (2, "shop"), (4, "shop")];
    assert_eq!(
        left_out,
        expected.map(|(line, column)| (line, column.to_owned()))
    );
}
