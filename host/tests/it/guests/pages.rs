//! The pages of `docs/guests`: their examples are accepted by the components that they are about.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use wasmill::schema::{DataType, Schema};

use super::{LIMITS, load, schema};

fn sales() -> Schema {
    let texts = [
        "transaction_id",
        "product_name",
        "product_category",
        "product_brand",
        "currency",
        "customer_id",
        "card_number",
        "email",
    ];
    let amounts = ["product_price", "total_amount", "total_amount_base"];
    let mut columns = texts.map(|name| (name, DataType::Utf8)).to_vec();
    columns.extend(amounts.map(|name| (name, DataType::Decimal(2))));
    columns.push(("birthday", DataType::Date));
    columns.push(("transaction_date", DataType::Timestamp));
    schema(&columns)
}

/// The blocks of TOML in a page.
fn examples(page: &str) -> Vec<Value> {
    let page = page.replace("${MASK_KEY}", "0123456789abcdef");
    let blocks = page.split("```toml\n").skip(1);
    let block = |text: &str| toml::from_str(text.split("```").next().unwrap()).unwrap();
    blocks.map(block).collect()
}

/// Configures each stage of an example, and returns which components these are of.
fn configure(example: &Value) -> Vec<String> {
    let stages = |kind: &'static str| {
        let stages = example[kind].as_array().cloned().unwrap_or_default();
        stages.into_iter().map(move |stage| (kind, stage))
    };
    let mut components = Vec::new();
    for (kind, stage) in stages("transform").chain(stages("aggregate")) {
        let name = stage["component"].as_str().unwrap();
        // Loaded components are kept under a name that lives as long as they do.
        let component = load(name.to_owned().leak());
        let config = &stage["config"];
        let refusal = if kind == "transform" {
            component
                .transform("stage", &sales(), config, &LIMITS)
                .err()
        } else {
            component
                .aggregate("stage", &sales(), config, &LIMITS)
                .err()
        };
        assert!(refusal.is_none(), "{name}: {}", refusal.unwrap());
        components.push(name.to_owned());
    }
    components
}

#[test]
fn every_guest_has_a_page_whose_examples_it_accepts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guests");
    let mut pages = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let page = path.file_stem().unwrap().to_string_lossy().into_owned();
        let components: Vec<_> = (examples(&fs::read_to_string(&path).unwrap()).iter())
            .flat_map(configure)
            .collect();
        assert!(
            page == "README" || components.contains(&page),
            "{page}: {components:?}"
        );
        pages.insert(page);
    }
    let expected = [
        "README",
        "currency",
        "distinct",
        "filter",
        "mask",
        "passthrough",
        "project",
        "stats",
        "top",
        "totals",
    ];
    assert!(pages.iter().eq(expected), "{pages:?}");
}
