//! A strict reader of Prometheus' text format, version 0.0.4: what it does not refuse, nobody does.

use std::collections::{BTreeMap, BTreeSet};

/// Labels of a sample.
pub(crate) type Labels = BTreeMap<String, String>;

/// A metric with its samples.
#[derive(Debug, Clone, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    /// full name, labels, value
    pub(crate) samples: Vec<(String, Labels, f64)>,
}

/// Every family by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exposition(pub(crate) BTreeMap<String, Family>);

impl Exposition {
    /// Reads the whole text.
    ///
    /// # Panics
    ///
    /// When anything in it is not as the format demands.
    pub(crate) fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line ends, too");
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut current: Option<String> = None;
        let mut seen = BTreeSet::new();
        for line in text.lines() {
            assert_eq!(line, line.trim(), "no blanks around a line");
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("help has a text");
                assert!(is_name(name, true), "{line}");
                let family = Family {
                    help: help.to_owned(),
                    ..Family::default()
                };
                let before = families.insert(name.to_owned(), family);
                assert!(before.is_none(), "{name} begins twice");
                current = Some(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type is named");
                assert_eq!(current.as_deref(), Some(name), "TYPE follows HELP");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                let family = families.get_mut(name).expect("it has begun");
                assert!(
                    family.kind.is_empty() && family.samples.is_empty(),
                    "{line}"
                );
                kind.clone_into(&mut family.kind);
            } else {
                let (name, labels, value) = sample(line);
                let base = current.as_deref().expect("a sample belongs to a family");
                let family = families.get_mut(base).expect("it has begun");
                let suffix = name.strip_prefix(base).expect("a family stands together");
                let suffixes: &[&str] = match family.kind.as_str() {
                    "histogram" => &["_bucket", "_sum", "_count"],
                    _ => &[""],
                };
                assert!(suffixes.contains(&suffix), "{line}");
                assert!(seen.insert((name.clone(), labels.clone())), "twice: {line}");
                family.samples.push((name, labels, value));
            }
        }
        for (name, family) in &families {
            check(name, family);
        }
        Self(families)
    }

    /// The value of a counter or gauge with exactly these labels.
    ///
    /// # Panics
    ///
    /// When there is no such sample.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Labels = labels
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let samples = self.0.values().flat_map(|family| &family.samples);
        let mut found = samples
            .filter(|(known, with, _)| known == name && *with == wanted)
            .map(|&(_, _, value)| value);
        found
            .next_back()
            .unwrap_or_else(|| panic!("no {name} {labels:?}"))
    }

    /// All samples of this name, added up.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let samples = self.0.values().flat_map(|family| &family.samples);
        let of_name = samples.filter(|(known, ..)| known == name);
        of_name.map(|(.., value)| value).sum()
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).expect("a value follows the name");
    let name = &line[..end];
    assert!(is_name(name, true), "{line}");
    let mut labels = Labels::new();
    let mut rest = &line[end..];
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label has a value");
            assert!(is_name(label, false), "{line}");
            let (value, after) = quoted(after);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            let Some(more) = after.strip_prefix(',') else {
                rest = after.strip_prefix('}').expect("the labels end");
                break;
            };
            rest = more;
        }
    }
    let value = rest.strip_prefix(' ').expect("one blank before the value");
    let value = match value {
        "+Inf" | "-Inf" | "NaN" => panic!("nothing of ours is without bounds: {line}"),
        number => number
            .parse()
            .unwrap_or_else(|_| panic!("no number: {line}")),
    };
    (name.to_owned(), labels, value)
}

/// The text up to the closing quote, and what follows it.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('\\' | '"'))) => c,
                other => panic!("no such escape: {other:?}"),
            }),
            c => value.push(c),
        }
    }
    panic!("a value ends with a quote: {text}");
}

fn is_name(name: &str, of_metric: bool) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (of_metric && c == ':');
    !name.is_empty()
        && name.chars().all(fits)
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && (of_metric || !name.starts_with("__"))
}

fn check(name: &str, family: &Family) {
    assert!(!family.kind.is_empty(), "{name} has a type");
    assert!(!family.help.is_empty(), "{name} has a help text");
    match family.kind.as_str() {
        "counter" => {
            assert!(name.ends_with("_total"), "{name} counts");
            let mut values = family.samples.iter().map(|(.., value)| value);
            assert!(values.all(|&value| value >= 0.0), "{name} never falls");
        }
        "histogram" => check_histogram(name, family),
        _ => assert!(!name.ends_with("_total"), "{name} goes up and down"),
    }
}

fn check_histogram(name: &str, family: &Family) {
    let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    let mut of = |suffix: &str| -> BTreeMap<Labels, f64> {
        let mut found = BTreeMap::new();
        for (known, labels, value) in &family.samples {
            let mut labels = labels.clone();
            let bound = labels.remove("le");
            if *known != format!("{name}{suffix}") {
                continue;
            }
            match bound {
                Some(bound) => {
                    let bound = bound.replace("+Inf", "inf").parse().expect("a bound");
                    series.entry(labels).or_default().push((bound, *value));
                }
                None => {
                    found.insert(labels, *value);
                }
            }
        }
        found
    };
    let (_, sums, counts) = (of("_bucket"), of("_sum"), of("_count"));
    assert!(!series.is_empty(), "{name} has series");
    assert!(sums.keys().eq(series.keys()), "{name}: a sum each");
    assert!(counts.keys().eq(series.keys()), "{name}: a count each");
    for (labels, buckets) in series {
        assert!(
            buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1),
            "{name}"
        );
        let (bound, all) = buckets[buckets.len() - 1];
        assert!(bound.is_infinite(), "{name} has a bucket without bound");
        assert!((all - counts[&labels]).abs() < 0.5, "{name}: its count");
    }
}

#[test]
#[should_panic(expected = "twice")]
fn a_sample_that_occurs_twice_is_refused() {
    Exposition::parse("# HELP a b\n# TYPE a gauge\na{x=\"1\"} 1\na{x=\"1\"} 2\n");
}

#[test]
#[should_panic(expected = "a family stands together")]
fn a_sample_outside_of_its_family_is_refused() {
    Exposition::parse("# HELP a b\n# TYPE a gauge\n# HELP b b\n# TYPE b gauge\na 1\n");
}

#[test]
#[should_panic(expected = "its count")]
fn a_histogram_whose_count_differs_is_refused() {
    let text = "# HELP a b\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 2\na_sum 3\na_count 3\n";
    Exposition::parse(text);
}
