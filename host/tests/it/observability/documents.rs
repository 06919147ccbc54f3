//! The documentation of the metrics, the dashboard and the rules for alerts, held against the table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use saphyr::{LoadableYamlNode, Yaml};
use serde_json::Value;
use wasmill::telemetry::metrics::{self, Kind};

/// Labels that Prometheus adds.
const ADDED: [&str; 3] = ["instance", "job", "le"];

fn read(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_documentation_lists_every_metric_and_no_other() {
    let page = read("docs/guides/metrics.md");
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line
            .strip_prefix("| `")?
            .split('|')
            .map(str::trim)
            .collect();
        let [name, kind, labels, help, ""] = cells[..] else {
            return None;
        };
        let labels = labels.replace('`', "");
        Some(format!(
            "{} {kind} [{labels}] {help}",
            name.trim_end_matches('`')
        ))
    });
    let table = metrics::ALL.iter().map(|family| {
        let kind = family.kind.name();
        let labels = family.labels.join(", ");
        format!("{} {kind} [{labels}] {}", family.name, family.help)
    });
    assert_eq!(rows.collect::<Vec<_>>(), table.collect::<Vec<_>>());
}

#[test]
fn names_follow_the_conventions() {
    let mut names = BTreeSet::new();
    for family in metrics::ALL {
        let name = family.name;
        assert!(names.insert(name), "{name} is there twice");
        assert!(
            name.starts_with("wasmill_") || name.starts_with("process_"),
            "{name}"
        );
        assert_eq!(
            name.ends_with("_total"),
            family.kind == Kind::Counter,
            "{name}"
        );
        if family.kind == Kind::Histogram {
            assert!(name.ends_with("_seconds"), "{name}");
        }
        for other in ["_ms", "_millis", "_kb", "_mb", "_percent", "_nanos"] {
            assert!(!name.contains(other), "{name} is not in base units");
        }
        assert!(
            !family.help.ends_with('.') && !family.help.contains('\n'),
            "{name}"
        );
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(&read("dashboards/grafana.json")).unwrap();
    let variables: Vec<&str> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    assert_eq!(variables, ["datasource", "instance"]);
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut asked = BTreeSet::new();
    for panel in panels {
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "{}",
            panel["title"]
        );
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(
            panel["datasource"]["uid"], "${datasource}",
            "{}",
            panel["title"]
        );
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{}", panel["title"]);
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            asked.extend(check(expression));
        }
    }
    // What answers no question on a dashboard.
    let unasked = ["wasmill_pipeline_info", "wasmill_guest_failures_total"];
    let missing: Vec<&str> = metrics::ALL
        .iter()
        .map(|family| family.name)
        .filter(|name| !asked.contains(*name) && !unasked.contains(name))
        .filter(|name| *name != "process_start_time_seconds")
        .collect();
    assert!(missing.is_empty(), "no panel shows {missing:?}");
}

#[test]
fn the_rules_ask_for_metrics_that_there_are() {
    let text = read("dashboards/alerts.yml");
    let documents = Yaml::load_from_str(&text).unwrap();
    let [rules] = &documents[..] else {
        panic!("one document");
    };
    let mut alerts = BTreeSet::new();
    for group in rules["groups"].as_sequence().unwrap() {
        for rule in group["rules"].as_sequence().unwrap() {
            let name = rule["alert"].as_str().unwrap();
            assert!(alerts.insert(name.to_owned()), "{name} is there twice");
            assert!(rule["annotations"]["summary"].is_string(), "{name}");
            assert!(rule["labels"]["severity"].is_string(), "{name}");
            check(rule["expr"].as_str().unwrap());
            let Yaml::Mapping(keys) = rule else {
                panic!("a rule is a map");
            };
            for key in keys.keys() {
                let key = key.as_str().unwrap();
                assert!(
                    ["alert", "expr", "for", "labels", "annotations"].contains(&key),
                    "{key}"
                );
            }
        }
    }
    let guide = read("docs/guides/operations.md");
    for alert in &alerts {
        assert!(
            guide.contains(&format!("`{alert}`")),
            "the guide explains {alert}"
        );
    }
}

/// Checks an expression's metrics and labels against the table; the metrics that it asks for.
fn check(expression: &str) -> BTreeSet<String> {
    let families: BTreeMap<String, &metrics::Family> = metrics::ALL
        .iter()
        .flat_map(|family| {
            let suffixes: &[&str] = match family.kind {
                Kind::Histogram => &["_bucket", "_sum", "_count"],
                Kind::Counter | Kind::Gauge => &[""],
            };
            let names = suffixes
                .iter()
                .map(|suffix| format!("{}{suffix}", family.name));
            names.map(move |name| (name, *family))
        })
        .collect();
    let words = words(expression);
    let mut metrics = BTreeSet::new();
    let mut labels: BTreeSet<&str> = ADDED.into_iter().collect();
    for word in words.iter().filter(|word| is_ours(word)) {
        let family = families.get(word.as_str());
        let family = family.unwrap_or_else(|| panic!("there is no {word}: {expression}"));
        metrics.insert(family.name.to_owned());
        labels.extend(family.labels);
    }
    assert!(
        !metrics.is_empty() || words.contains(&"up".to_owned()),
        "{expression}"
    );
    for label in labels_in(expression) {
        assert!(
            labels.contains(label.as_str()),
            "no metric has {label}: {expression}"
        );
    }
    let open = expression.matches(['(', '{', '[']).count();
    assert_eq!(
        open,
        expression.matches([')', '}', ']']).count(),
        "{expression}"
    );
    metrics
}

fn is_ours(word: &str) -> bool {
    word.starts_with("wasmill_") || word.starts_with("process_")
}

/// Names in an expression, without what is quoted.
fn words(expression: &str) -> Vec<String> {
    let unquoted: String = expression
        .split('"')
        .step_by(2)
        .collect::<Vec<_>>()
        .join(" ");
    let words = unquoted.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Names of labels: before a comparison in braces, and in the lists of `by` and `on`.
fn labels_in(expression: &str) -> Vec<String> {
    let unquoted: String = expression
        .split('"')
        .step_by(2)
        .collect::<Vec<_>>()
        .join(" ");
    let mut labels = Vec::new();
    for part in unquoted.split('{').skip(1) {
        let inside = part.split('}').next().unwrap_or_default();
        let names = inside
            .split(',')
            .filter_map(|one| one.split(['=', '!']).next());
        labels.extend(names.map(|name| name.trim().to_owned()));
    }
    for keyword in ["by (", "on (", "group_left ("] {
        for part in unquoted.split(keyword).skip(1) {
            let inside = part.split(')').next().unwrap_or_default();
            labels.extend(inside.split(',').map(|name| name.trim().to_owned()));
        }
    }
    labels.retain(|label| !label.is_empty());
    labels
}

#[test]
#[should_panic(expected = "there is no wasmill_nothing_total")]
fn a_metric_that_does_not_exist_is_found() {
    check("sum(rate(wasmill_nothing_total[5m]))");
}

#[test]
#[should_panic(expected = "no metric has topic")]
fn a_label_that_does_not_exist_is_found() {
    check("sum by (topic) (wasmill_partition_lag{partition=~\".*\"})");
}
