//! Pipelines whose text is right and whose components, columns and tables do not fit together.
//!
//! A test names what is replaced in a right pipeline, and its snapshot shows the reports.

use std::fs;
use std::os::unix::fs::symlink;

use insta::assert_snapshot;
use tempfile::TempDir;

use crate::support::binary::{stderr, stdout, wasmill};
use crate::support::guest;

const PASSWORD: &str = "hunter2";

/// A right pipeline.
const RIGHT: &str = r#"[pipeline]
name = "shop"

[source]
type = "file"
paths = ["sales.ndjson"]
columns = [
  { name = "id", type = "utf8" },
  { name = "branch", type = "utf8", nullable = true },
  { name = "currency", type = "utf8" },
  { name = "amount", type = "decimal(2)" },
  { name = "count", type = "int64" },
  { name = "sold", type = "timestamp" },
  { name = "paid", type = "timestamp", nullable = true },
]

[components.currency]
path = "currency.wasm"

[components.totals]
path = "totals.wasm"

[[transform]]
name = "converted"
from = "source"
component = "currency"
config = { base = "USD", rates = { EUR = "1.08" }, amount = "amount" }

[[aggregate]]
name = "daily"
from = "converted"
component = "totals"
config = { column = "amount_base" }
key = ["currency"]
window = { kind = "tumbling", every = "1 day", time = "sold" }

[[sink]]
name = "db"
type = "postgres"
url = "postgres://me:hunter2@db/shop"

[[sink.tables]]
from = "converted"
table = "sales"
key = ["id"]

[[sink.tables]]
from = "daily"
table = "daily"
key = ["day", "currency"]
columns = { day = "date(window_start)", currency = "currency", sum = "total" }

[[sink]]
name = "search"
type = "elasticsearch"
url = "http://localhost:9200"
indices = [{ from = "converted", index = "sales", id = "id" }]

[dead_letters]
type = "file"
path = "dead.ndjson"
"#;

/// A folder with the built components, for a pipeline.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["currency", "totals", "hostile"] {
            let link = folder.path().join(name).with_extension("wasm");
            symlink(guest(name), link).unwrap();
        }
        Self(folder)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.0.path().join(name), bytes).unwrap();
    }

    /// Exit code, stdout and stderr of `wasmill check` on the right pipeline with replacements, each
    /// of which must apply exactly once.
    fn check(&self, changes: &[(&str, &str)]) -> (Option<i32>, String, String) {
        let mut text = RIGHT.to_owned();
        for (old, new) in changes {
            let found = text.matches(old).count();
            assert_eq!(found, 1, "`{old}` is to stand there once");
            text = text.replace(old, new);
        }
        self.write("pipeline.toml", text);
        let output = wasmill(&["check"])
            .current_dir(self.0.path())
            // Components are compiled once for all tests.
            .env("WASMILL_CACHE", env!("CARGO_TARGET_TMPDIR"))
            .output()
            .expect("the binary starts");
        (output.status.code(), stdout(&output), stderr(&output))
    }

    /// The reports on the right pipeline with replacements, which must be refused.
    fn refused(&self, changes: &[(&str, &str)]) -> String {
        let (code, stdout, reports) = self.check(changes);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{reports}");
        assert!(!reports.contains(PASSWORD), "{reports}");
        reports
    }
}

fn refused(changes: &[(&str, &str)]) -> String {
    Folder::new().refused(changes)
}

/// The same with this file in place of the first component.
fn refused_component(bytes: &[u8]) -> String {
    let folder = Folder::new();
    folder.write("other.wasm", bytes);
    folder.refused(&[("\"currency.wasm\"", "\"other.wasm\"")])
}

#[test]
fn the_pipeline_that_all_faults_are_made_in_is_right() {
    let (code, _, stderr) = Folder::new().check(&[]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}

mod components {
    use super::*;

    #[test]
    fn a_file_that_is_missing_is_named() {
        assert_snapshot!(refused(&[("\"currency.wasm\"", "\"build/currency.wasm\"")]));
    }

    #[test]
    fn a_file_that_is_no_wasm_is_told_from_a_component() {
        assert_snapshot!(refused_component(b"#!/bin/sh\n"));
    }

    #[test]
    fn a_core_module_is_told_from_a_component() {
        assert_snapshot!(refused_component(b"\0asm\x01\0\0\0"));
    }

    #[test]
    fn a_component_that_is_cut_off_is_not_valid() {
        let whole = fs::read(guest("currency")).unwrap();
        let reports = refused_component(&whole[..whole.len() / 2]);
        for wanted in [
            "component `currency`: other.wasm is not a valid component",
            "[pipeline.toml:18:8]",
        ] {
            assert!(reports.contains(wanted), "`{wanted}` in: {reports}");
        }
    }

    /// A built guest, one of whose imports comes from elsewhere.
    #[test]
    fn an_import_that_no_guest_gets_is_named() {
        let (from, to) = (b"wasi:cli/environment", b"acme:cli/environment");
        let mut bytes = fs::read(guest("currency")).unwrap();
        for start in 0..bytes.len() - from.len() {
            if bytes[start..].starts_with(from) {
                bytes[start..start + to.len()].copy_from_slice(to);
            }
        }
        assert_snapshot!(refused_component(&bytes));
    }
}

mod stages {
    use super::*;

    #[test]
    fn components_of_the_wrong_kind_are_refused() {
        assert_snapshot!(refused(&[
            (
                "from = \"source\"\ncomponent = \"currency\"",
                "from = \"source\"\ncomponent = \"totals\""
            ),
            (
                "from = \"converted\"\ncomponent = \"totals\"",
                "from = \"source\"\ncomponent = \"currency\""
            ),
        ]));
    }

    #[test]
    fn a_rate_that_is_none_is_refused_in_the_guests_words() {
        assert_snapshot!(refused(&[("\"1.08\"", "\"1,08\"")]));
    }

    #[test]
    fn a_column_that_the_guest_does_not_find_is_named() {
        assert_snapshot!(refused(&[("\"amount_base\"", "\"amount_bse\"")]));
    }

    #[test]
    fn a_column_that_the_guest_cannot_add_up_is_named() {
        assert_snapshot!(refused(&[("\"amount_base\"", "\"currency\"")]));
    }

    #[test]
    fn a_config_that_is_missing_is_reported_at_the_stage() {
        assert_snapshot!(refused(&[("config = { column = \"amount_base\" }\n", "")]));
    }

    #[test]
    fn a_column_that_the_guest_declares_and_that_is_not_there_is_named() {
        assert_snapshot!(refused(&[
            ("\"currency.wasm\"", "\"hostile.wasm\""),
            (
                "config = { base = \"USD\", rates = { EUR = \"1.08\" }, amount = \"amount\" }",
                "config = { mode = \"greedy\" }"
            ),
        ]));
    }

    #[test]
    fn a_component_without_enough_memory_to_begin_is_reported_with_its_stage() {
        assert_snapshot!(refused(&[(
            "path = \"currency.wasm\"",
            "path = \"currency.wasm\"\nlimits = { memory = \"1MiB\" }"
        )]));
    }
}

mod groups {
    use super::*;

    #[test]
    fn a_key_column_that_is_not_there_is_named() {
        assert_snapshot!(refused(&[(
            "key = [\"currency\"]",
            "key = [\"id\", \"currenzy\"]"
        )]));
    }

    #[test]
    fn a_key_column_that_the_component_returns_too_is_named() {
        assert_snapshot!(refused(&[(
            "key = [\"currency\"]",
            "key = [\"currency\", \"count\"]"
        )]));
    }

    #[test]
    fn a_time_column_that_is_not_there_is_named() {
        assert_snapshot!(refused(&[("time = \"sold\"", "time = \"sold_at\"")]));
    }

    #[test]
    fn a_time_column_that_may_be_null_is_refused() {
        assert_snapshot!(refused(&[("time = \"sold\"", "time = \"paid\"")]));
    }

    #[test]
    fn a_time_column_that_is_no_timestamp_is_refused() {
        assert_snapshot!(refused(&[("time = \"sold\"", "time = \"branch\"")]));
    }
}

mod sinks {
    use super::*;

    #[test]
    fn every_column_that_a_table_cannot_have_is_reported() {
        assert_snapshot!(refused(&[
            ("date(window_start)", "date(windows_start)"),
            ("sum = \"total\"", "sum = \"month(total)\""),
        ]));
    }

    #[test]
    fn columns_of_an_index_are_checked_too() {
        assert_snapshot!(refused(&[(
            "id = \"id\"",
            "id = \"id\", columns = { id = \"id\", year = \"year(sold_at)\" }"
        )]));
    }

    #[test]
    fn a_key_column_that_the_stream_does_not_have_is_named() {
        assert_snapshot!(refused(&[(
            "key = [\"id\"]",
            "key = [\"branch_id\", \"idd\"]"
        )]));
    }

    #[test]
    fn a_key_column_that_may_be_null_is_refused() {
        assert_snapshot!(refused(&[("key = [\"id\"]", "key = [\"id\", \"branch\"]")]));
    }

    #[test]
    fn an_id_that_is_not_there_is_named() {
        assert_snapshot!(refused(&[("id = \"id\"", "id = \"ids\"")]));
    }

    #[test]
    fn an_id_that_may_be_null_is_refused() {
        assert_snapshot!(refused(&[("id = \"id\"", "id = \"branch\"")]));
    }

    #[test]
    fn an_id_that_is_no_text_and_no_whole_number_is_refused() {
        assert_snapshot!(refused(&[("id = \"id\"", "id = \"amount\"")]));
    }
}

/// What follows from a fault is no fault of its own: `daily` reads a stream that there is not, and
/// tables and an index would show both.
#[test]
fn who_reads_a_faulty_stage_is_not_blamed() {
    assert_snapshot!(refused(&[
        ("\"totals.wasm\"", "\"total.wasm\""),
        ("\"1.08\"", "\"-1.08\""),
    ]));
}

#[test]
fn faults_of_stages_tables_and_indices_are_reported_in_one_go() {
    assert_snapshot!(refused(&[
        ("time = \"sold\"", "time = \"amount\""),
        ("key = [\"id\"]", "key = [\"branch\"]"),
        ("id = \"id\"", "id = \"amount\""),
    ]));
}
