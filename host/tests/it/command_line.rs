//! The binary as people call it: help, exit codes, what goes to stdout and what to stderr.

mod connect;

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::binary::{output, stderr, stdout, wasmill};

const SECRET: &str = "hunter2-from-the-environment";

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipeline.toml");

const FAULTY: &str = r#"[pipeline]
name = "shop"

[source]
type = "kafka"
brokers = "localhost:9092"
topik = "sales"
columns = [{ name = "id", type = "string" }]

[[sink]]
name = "db"
type = "postgres"
url = "postgres://me:hunter2-in-the-file@db/shop"
tables = [{ from = "sales", table = "sales", key = ["id"] }]

[dead_letters]
type = "file"
path = "${WASMILL_TEST_UNSET}"
"#;

/// Runs `wasmill check` in the folder on a file with this text.
fn check(folder: &Path, text: &str) -> Output {
    fs::write(folder.join("pipeline.toml"), text).expect("the folder is writable");
    wasmill(&["check"])
        .current_dir(folder)
        .env("WASMILL_TEST_SECRET", SECRET)
        .output()
        .expect("the binary starts")
}

#[test]
fn help_has_an_example_for_every_subcommand() {
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["check", "--help"],
        &["dead-letters", "--help"],
        &["dead-letters", "list", "--help"],
        &["dead-letters", "show", "--help"],
        &["dead-letters", "replay", "--help"],
        &["demo", "--help"],
        &["status", "--help"],
        &["reload", "--help"],
        &["rollback", "--help"],
        &["new", "--help"],
        &["build", "--help"],
        &["test", "--help"],
        &["inspect", "--help"],
        &["bench", "--help"],
        &["generate", "--help"],
        &["completions", "--help"],
    ] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        let help = stdout(&output);
        assert!(help.contains("Usage: wasmill"), "{help}");
        assert!(help.contains("Example"), "{help}");
    }
}

#[test]
fn help_names_the_subcommands_that_there_are() {
    let help = stdout(&output(&["--help"]));
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.split_whitespace().next())
        .collect();
    let wanted = [
        "run",
        "check",
        "demo",
        "status",
        "reload",
        "rollback",
        "dead-letters",
        "new",
        "build",
        "dev",
        "test",
        "inspect",
        "bench",
        "generate",
        "completions",
        "help",
    ];
    assert_eq!(commands, wanted);
}

#[test]
fn wrong_usage_ends_with_two() {
    for arguments in [
        &[][..],
        &["fly"],
        &["check", "--fly"],
        &["check", "a.toml", "b.toml"],
        &["check", "--log-format", "xml"],
        &["check", "--log-level", "wasmill=loud"],
        &["new", "a", "--kind", "sink"],
        &["test", "a.wasm"],
        &["test", "--input", "rows.ndjson"],
        &["test", "a.wasm", "--input", "r", "--schema", "a: string"],
        &["test", "a.wasm", "--input", "r", "--config", "[]"],
        &["test", "a.wasm", "--input", "r", "--expect", "e", "--json"],
        &["bench", "a.wasm", "--input", "r", "--runs", "0"],
        &["inspect"],
        &["dead-letters", "list", "--since", "yesterday"],
        &["dead-letters", "show", "pipeline.toml", "3"],
        &["dead-letters", "replay", "pipeline.toml"],
        &["dead-letters", "replay", "pipeline.toml", "3:1", "--all"],
        &["rollback", "0"],
        &["reload", "--timeout", "0"],
        &["completions", "dos"],
    ] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains("--help"), "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn a_file_that_is_not_there_ends_with_one_and_is_named() {
    for command in ["check", "run"] {
        let output = output(&[command, "no/such/pipeline.toml"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("no/such/pipeline.toml"));
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn check_reports_every_mistake_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let output = check(folder.path(), FAULTY);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    let reports = stderr(&output);
    for wanted in [
        "unknown key `topik`",
        "pipeline.toml:7:1",
        "did you mean `topic`?",
        "no type is called `string`",
        "pipeline.toml:8:34",
        "did you mean `utf8`?",
        "no stream is called `sales`",
        "pipeline.toml:14:20",
        "it can read `source`",
        "the environment variable `WASMILL_TEST_UNSET` is not set",
        "pipeline.toml:18:9",
        "error: pipeline.toml has 4 errors\n",
    ] {
        assert!(reports.contains(wanted), "`{wanted}` in: {reports}");
    }
}

#[test]
fn reports_come_as_json_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    check(folder.path(), FAULTY);
    let found = wasmill(&["check", "--json"])
        .current_dir(folder.path())
        .output()
        .expect("the binary starts");
    assert_eq!(found.status.code(), Some(1));
    assert_eq!(stderr(&found), "error: pipeline.toml has 4 errors\n");
    let reports: serde_json::Value = serde_json::from_str(&stdout(&found)).unwrap();
    let places: Vec<_> = (reports.as_array().unwrap().iter())
        .map(|report| (report["line"].as_u64(), report["column"].as_u64()))
        .collect();
    let at = |line, column| (Some(line), Some(column));
    assert_eq!(places, [at(7, 1), at(8, 34), at(14, 20), at(18, 9)]);
    assert_eq!(reports[0]["severity"], "error");
    assert_eq!(reports[0]["file"], "pipeline.toml");
    assert_eq!(reports[0]["label"], "did you mean `topic`?");
    assert!(reports[0]["message"].as_str().unwrap().contains("`topik`"));

    let fine = output(&["check", SHIPPED, "--json"]);
    assert_eq!(fine.status.code(), Some(0));
    assert_eq!(stdout(&fine), "[]\n");
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = output(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        let script = stdout(&output);
        for wanted in ["inspect", "generate", "--input"] {
            let wanted = if shell == "fish" {
                wanted.trim_start_matches("--")
            } else {
                wanted
            };
            assert!(script.contains(wanted), "{wanted} in {shell}");
        }
    }
}

#[test]
fn run_refuses_a_faulty_pipeline_as_check_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.toml");
    fs::write(&path, FAULTY).unwrap();
    let path = path.to_str().unwrap();
    let (checked, run) = (output(&["check", path]), output(&["run", path]));
    assert_eq!(run.status.code(), Some(1));
    assert_eq!(stderr(&run), stderr(&checked));
}

#[test]
fn reports_are_plain_where_there_is_no_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let reports = stderr(&check(folder.path(), FAULTY));
    assert!(!reports.contains('\u{1b}'), "{reports}");
    assert!(reports.is_ascii(), "{reports}");
}

#[test]
fn secrets_are_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let reports = stderr(&check(folder.path(), FAULTY));
    assert!(!reports.contains("hunter2"), "{reports}");

    // In every value of the file, one at a time, right or wrong.
    let lines: Vec<&str> = FAULTY.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        let mut lines = lines.clone();
        let hidden = format!("{key} = \"${{WASMILL_TEST_SECRET}}\"");
        lines[i] = &hidden;
        let output = check(folder.path(), &lines.join("\n"));
        let printed = stdout(&output) + &stderr(&output);
        assert!(!printed.contains(SECRET), "{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}

#[test]
fn logs_go_to_stderr_in_the_format_that_was_asked_for() {
    let debug = ["check", SHIPPED, "--log-level", "wasmill=debug"];
    let text = output(&debug);
    assert!(stderr(&text).contains("DEBUG"), "{}", stderr(&text));
    assert!(!stderr(&text).contains('\u{1b}'), "{}", stderr(&text));

    let json = wasmill(&debug).args(["--log-format", "json"]).output();
    let json = json.expect("the binary starts");
    for line in stderr(&json).lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a JSON object a line");
        assert_eq!(line["level"], "DEBUG");
    }
    assert!(!stderr(&json).is_empty());
    assert_eq!(stdout(&json), stdout(&text));

    let quiet = wasmill(&["check", SHIPPED])
        .env("WASMILL_LOG", "error")
        .output();
    assert_eq!(stderr(&quiet.expect("the binary starts")), "");
}

#[test]
fn a_reader_that_went_away_is_no_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = wasmill(&["check", SHIPPED])
        .stdout(writer)
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("failed to write to stdout"),
        "{}",
        stderr(&output)
    );
}

/// Needs no server and, until the components are loaded by `check`, no components.
#[test]
fn the_shipped_pipeline_is_fine() {
    let output = output(&["check", SHIPPED]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let summary = stdout(&output);
    for wanted in [
        "pipeline.toml is fine",
        "ecommerce-sales",
        "sales = currency(source)",
        "sales_per_month (year, month) from sales_per_month",
        "customer_totals = totals(sales) by customer_id for all time",
        "state  kept for ever",
    ] {
        assert!(summary.contains(wanted), "`{wanted}` in: {summary}");
    }
}
