//! `[log]` of a pipeline: what is logged, unless the command line or the environment says it.

use std::fs;

use crate::support::binary::{stderr, wasmill};

const PIPELINE: &str = r#"
[pipeline]
name = "quiet"

[source]
type = "generator"
records = 10
columns = [{ name = "transaction_id", from = "transactionId", type = "utf8" }]

[[sink]]
name = "db"
type = "sqlite"
path = "quiet.sqlite3"
tables = [{ from = "source", table = "sales", key = ["transaction_id"] }]

[dead_letters]
type = "sqlite"
"#;

/// What a run logs with this level in its pipeline.
fn logged(level: &str, options: &[&str], variable: Option<&str>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{PIPELINE}\n[log]\nlevel = \"{level}\"\n");
    fs::write(folder.path().join("pipeline.toml"), text).unwrap();
    let mut command = wasmill(&["run", "--once"]);
    command.args(options).current_dir(folder.path());
    if let Some(variable) = variable {
        command.env("WASMILL_LOG", variable);
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stderr(&output)
}

#[test]
fn a_pipeline_says_what_is_logged_unless_somebody_else_does() {
    let quiet = logged("error", &[], None);
    assert!(!quiet.contains("INFO"), "{quiet}");
    let talkative = logged("debug", &["--log-format", "json"], None);
    assert!(talkative.contains("\"level\":\"DEBUG\""), "{talkative}");
    let asked = logged("error", &["--log-level", "info"], None);
    assert!(asked.contains("INFO"), "{asked}");
    let set = logged("debug", &[], Some("info"));
    assert!(set.contains("INFO") && !set.contains("DEBUG"), "{set}");
}
