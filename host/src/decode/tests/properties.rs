//! Any record against `serde_json`, and bad records among good ones.

use std::fmt::Write;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The columns that records are compared in.
fn compared_columns() -> Vec<SourceColumn> {
    vec![
        column("text", "text", "utf8"),
        column("maybe", "maybe", "utf8?"),
        column("count", "count", "int64?"),
        column("flag", "in.flag", "boolean?"),
        column("name", "in.name", "utf8?"),
    ]
}

/// What `serde_json` makes of a record: its values, or that it has none.
fn expected(record: &[u8]) -> Option<Vec<String>> {
    let Ok(Value::Object(record)) = serde_json::from_slice(record) else {
        return None;
    };
    let null = Value::Null;
    let text = |value: &Value| match value {
        Value::Null => Some("-".to_owned()),
        value => value.as_str().map(str::to_owned),
    };
    let inside = match record.get("in") {
        None | Some(Value::Null) => &serde_json::Map::new(),
        Some(inside) => inside.as_object()?,
    };
    let count = match record.get("count").unwrap_or(&null) {
        Value::Null => "-".to_owned(),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) if float.fract() == 0.0 => (float as i64).to_string(),
            Some(_) => return None,
            None => number.as_i64()?.to_string(),
        },
        _ => return None,
    };
    let flag = match inside.get("flag").unwrap_or(&null) {
        Value::Null => "-".to_owned(),
        value => value.as_bool()?.to_string(),
    };
    Some(vec![
        record.get("text")?.as_str()?.to_owned(),
        text(record.get("maybe").unwrap_or(&null))?,
        count,
        flag,
        text(inside.get("name").unwrap_or(&null))?,
    ])
}

fn decoded(record: &[u8]) -> Option<Vec<String>> {
    let (rows, rejected) = decode(&compared_columns(), &[record]);
    assert_eq!(
        rows.columns.num_rows() + rejected.len(),
        1,
        "one record is one row or one rejection"
    );
    let alone = rejected.is_empty().then(|| shown(&rows.columns, 0));
    // What is behind a record in memory is read with it, and must not matter.
    for behind in ["\"},\"", "12}, 34}"] {
        let behind = behind.repeat(20);
        let (rows, rejected) = decode(&compared_columns(), &[record, behind.as_bytes()]);
        let followed = (rejected.len() == 1).then(|| shown(&rows.columns, 0));
        assert_eq!(followed, alone, "followed by {behind:.9}");
    }
    alone
}

/// Any JSON value with any text in it.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // serde_json is off by a bit in longer ones.
        (-4_000_i32..4_000).prop_map(|quarters| Value::from(f64::from(quarters) / 4.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Mostly what the columns want, sometimes anything; fields in any order.
fn any_record() -> impl Strategy<Value = Value> {
    let mostly = |wanted: BoxedStrategy<Value>| prop_oneof![12 => wanted, 1 => any_json()];
    let text = || any::<String>().prop_map(Value::from).boxed();
    (
        mostly(text()),
        mostly(text()),
        mostly((-1_000_000_i64..1_000_000).prop_map(Value::from).boxed()),
        mostly(
            (any::<bool>(), any::<String>())
                .prop_map(|(flag, name)| json!({"flag": flag, "name": name}))
                .boxed(),
        ),
        prop::collection::hash_map(any::<String>(), any_json(), 0..4),
        prop::sample::subsequence(vec!["text", "maybe", "count", "in"], 2..=4),
    )
        .prop_map(|(text, maybe, count, inside, others, kept)| {
            let mut fields: Vec<(String, Value)> = others.into_iter().collect();
            for (name, value) in [
                ("text", text),
                ("maybe", maybe),
                ("count", count),
                ("in", inside),
            ] {
                if kept.contains(&name) {
                    fields.push((name.to_owned(), value));
                }
            }
            Value::Object(fields.into_iter().collect())
        })
}

/// The text with every character that is not ASCII written as `\uXXXX`, as Python does.
fn escaped(text: &str) -> String {
    let mut units = [0; 2];
    text.chars().fold(String::new(), |mut escaped, character| {
        if character.is_ascii() {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut units) {
                write!(escaped, "\\u{unit:04x}").unwrap();
            }
        }
        escaped
    })
}

proptest! {
    #[test]
    fn a_record_is_what_serde_json_makes_of_it(record in any_record(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&record) } else { serde_json::to_string(&record) };
        let text = text.unwrap();
        let expected = expected(text.as_bytes());
        prop_assert_eq!(decoded(text.as_bytes()), expected.clone());
        prop_assert_eq!(decoded(escaped(&text).as_bytes()), expected);
    }

    #[test]
    fn a_damaged_record_is_what_serde_json_makes_of_it(
        record in any_record(),
        damages in prop::collection::vec((any::<prop::sample::Index>(), 0..3, prop::sample::select(b"\"\\{}[],:0129.eE-+untrfalse u\n\t\x00\xff\xc3".to_vec())), 1..4),
    ) {
        let mut bytes = serde_json::to_vec(&record).unwrap();
        for (at, kind, byte) in damages {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.truncate((at + 1).max(1)); }
            }
        }
        // What is JSON to its grammar, but no value to serde_json: half a surrogate pair, a great float.
        let parsed = serde_json::from_slice::<Value>(&bytes);
        let skipped = |text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        let odd = parsed.is_err() && std::str::from_utf8(&bytes).is_ok_and(skipped);
        // A float of serde_json's is no longer the number that stood there.
        let inexact = parsed.is_ok_and(|value| value["count"].as_f64().is_some_and(|count| count.abs() > 1e12));
        prop_assume!(!odd && !inexact);
        prop_assert_eq!(decoded(&bytes), expected(&bytes), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decoded(&bytes);
    }

    #[test]
    fn bad_records_leave_no_trace_among_good_ones(
        good in prop::collection::vec(0_usize..1_000, 1..60),
        bad in prop::collection::vec((any::<prop::sample::Index>(), 0..7, any::<prop::sample::Index>()), 0..40),
    ) {
        let lines: Vec<&[u8]> = include_bytes!("../../../tests/data/transactions.ndjson").split(|b| *b == b'\n').collect();
        let good: Vec<&[u8]> = good.into_iter().map(|at| lines[at]).collect();
        let mut mixed: Vec<(bool, Vec<u8>)> = good.iter().map(|line| (true, line.to_vec())).collect();
        for (at, kind, cut) in bad {
            let line = lines[at.index(1_000)];
            let text = String::from_utf8_lossy(line);
            let broken = match kind {
                0 => line[..cut.index(line.len())].to_vec(),
                1 => text.replace("\"totalAmount\": ", "\"totalAmount\": \"x\", \"more\": ").into_bytes(),
                2 => text.replace("\"productQuantity\": ", "\"productQuantity\": 0.5, \"more\": ").into_bytes(),
                3 => text.replace("\"currency\"", "\"money\"").into_bytes(),
                4 => text.replace('T', "X").into_bytes(),
                5 => [line, b"}"].concat(),
                _ => text.replace("\"paymentMethod\": ", "\"transactionId\": null, \"paymentMethod\": ").into_bytes(),
            };
            mixed.insert(at.index(mixed.len() + 1), (false, broken));
        }
        let values: Vec<&[u8]> = mixed.iter().map(|(_, value)| value.as_slice()).collect();
        let (rows, rejected) = decode(&sales_columns(), &values);
        let (alone, _) = decode(&sales_columns(), &good);
        prop_assert_eq!(rows.columns, alone.columns);
        let indices = |wanted: bool| mixed.iter().enumerate().filter(move |(_, (good, _))| *good == wanted).map(|(at, _)| at as u32);
        prop_assert_eq!(rows.records, indices(true).collect::<Vec<_>>());
        prop_assert_eq!(rejected.iter().map(|r| r.record).collect::<Vec<_>>(), indices(false).collect::<Vec<_>>());
    }
}
