//! `wasmill inspect`.

use serde_json::{Value, json};

use super::{RATES, folder, run};
use crate::support::binary::{output, stderr, stdout};

#[test]
fn a_component_is_told_with_its_config_and_without_its_contract() {
    let output = run(folder().path(), "inspect", "currency", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for wanted in [
        "kind  transform\n",
        "name  currency\n",
        "imports  ",
        "sha256  ",
        "KiB\n",
        "| base ",
        "required",
        "The currency that amounts are converted into.",
        "--schema",
    ] {
        assert!(text.contains(wanted), "`{wanted}` in: {text}");
    }
    assert!(!text.contains("returns"), "{text}");
}

#[test]
fn the_contract_is_told_for_the_columns_that_are_given() {
    let schema = "currency: utf8, total_amount: decimal(4)";
    let arguments = ["--schema", schema, "--config", RATES];
    let text = stdout(&run(folder().path(), "inspect", "currency", &arguments));
    for wanted in [
        "needs  total_amount: decimal(4)\n              currency: utf8\n",
        "returns  total_amount_base: decimal(2)\n",
        "drops  nothing\n",
        "output  currency: utf8\n",
    ] {
        assert!(text.contains(wanted), "`{wanted}` in: {text}");
    }

    let arguments = ["--schema", "currency: utf8", "--config", RATES];
    let output = run(folder().path(), "inspect", "currency", &arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("`total_amount`"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn programs_get_everything_as_json() {
    let schema = "a: decimal(3)?";
    let arguments = [
        "--json",
        "--schema",
        schema,
        "--config",
        r#"{"column": "a"}"#,
    ];
    let output = run(folder().path(), "inspect", "totals", &arguments);
    let told: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(told["kind"], "aggregate");
    assert_eq!(told["name"], "totals");
    let path = told["component"].as_str().unwrap();
    assert_eq!(told["bytes"], std::fs::metadata(path).unwrap().len());
    assert_eq!(told["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(told["config_schema"]["type"], "object");
    let imports = told["imports"].as_array().unwrap();
    let is_wasi = |name: &Value| name.as_str().unwrap().starts_with("wasi:");
    assert!(imports.iter().all(is_wasi), "{imports:?}");
    let contract = &told["contract"];
    assert_eq!(
        contract["input"],
        json!([{ "name": "a", "type": "decimal(3)", "nullable": true }])
    );
    assert_eq!(contract["needs"], contract["input"]);
    assert_eq!(contract["output"][0]["type"], "decimal(3)");
    assert_eq!(contract["state_version"], 1);
}

#[test]
fn what_is_no_component_is_told_what_it_is() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let text = output(&["inspect", manifest]);
    assert_eq!(text.status.code(), Some(1));
    assert!(stderr(&text).contains("is not a WebAssembly binary"));

    let missing = output(&["inspect", "no/such.wasm"]);
    assert_eq!(missing.status.code(), Some(1));
    let said = stderr(&missing);
    assert!(said.contains("no/such.wasm does not exist"), "{said}");
    assert!(said.contains("`wasmill build`"), "{said}");
}
