//! What is made is what it says: good records decode to their transactions, bad ones do not.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::PathBuf;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal64Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, Datelike};

use super::plan::{Plan, Stop};
use super::*;
use crate::decode::Decoder;
use crate::decode::tests::sales_columns;
use crate::record::{Partition, RawBatch, RawHeaders, RawRecord, Rejection, Rows};

fn generator(bad_share: f64) -> Generator {
    Generator::new(Settings {
        bad_share,
        ..Settings::default()
    })
}

fn origin(partition: u32, offset: i64) -> Origin {
    Origin {
        partition: Partition(partition),
        offset,
    }
}

fn rendered(record: &Generated<'_>) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    record.render(&mut value).then_some(value)
}

fn decode(records: &[Generated<'_>]) -> (Rows, Vec<Rejection>) {
    let mut batch = RawBatch::default();
    for (offset, record) in records.iter().enumerate() {
        batch.push(RawRecord {
            origin: origin(0, offset as i64),
            timestamp_ms: None,
            key: None,
            value: rendered(record).as_deref(),
            headers: RawHeaders::default(),
        });
    }
    let mut rejected = Vec::new();
    let rows = Decoder::new(&sales_columns()).decode(&batch, &BTreeSet::new(), &mut rejected);
    (rows, rejected)
}

#[test]
fn a_record_depends_on_seed_and_place_alone() {
    let (one, other) = (generator(0.0), generator(0.0));
    let ahead: Vec<_> = (0..100)
        .map(|offset| one.generate(origin(1, offset)))
        .collect();
    let back: Vec<_> = (0..100)
        .rev()
        .map(|offset| other.generate(origin(1, offset)))
        .collect();
    assert!(ahead.iter().eq(back.iter().rev()));
    assert_ne!(one.generate(origin(0, 5)), one.generate(origin(1, 5)));
    let seeded = Generator::new(Settings {
        seed: 1,
        ..Settings::default()
    });
    assert_ne!(seeded.generate(origin(0, 5)), one.generate(origin(0, 5)));
}

#[test]
fn the_first_record_of_seed_0_stays_what_it_is() {
    let record = rendered(&generator(0.0).generate(origin(0, 0))).unwrap();
    assert_eq!(
        String::from_utf8(record).unwrap(),
        "{\"transactionId\": \"e220a839-7b1d-4daf-ae78-9e6aa1b965fc\", \"productId\": \"product2\", \
         \"productName\": \"speaker\", \"productCategory\": \"sports\", \"productPrice\": 115.28, \
         \"productQuantity\": 4, \"productBrand\": \"oneplus\", \"currency\": \"GBP\", \
         \"customerId\": \"elenora_rem\", \"transactionDate\": \"2024-03-28T09:09:11.013181\", \
         \"paymentMethod\": \"debit_card\", \"totalAmount\": 461.12}"
    );
}

#[test]
fn a_share_of_faulty_records_leaves_the_good_ones_as_they_are() {
    let (without, with) = (generator(0.0), generator(0.5));
    for offset in 0..1_000 {
        let place = origin(2, offset);
        assert_eq!(
            without.generate(place).transaction(),
            with.generate(place).transaction()
        );
    }
}

#[test]
fn good_records_decode_to_their_transactions() {
    let generator = generator(0.0);
    let records: Vec<_> = (0..20_000)
        .map(|offset| generator.generate(origin(3, offset)))
        .collect();
    let (rows, rejected) = decode(&records);
    assert_eq!(rejected, []);
    let column = |name| rows.columns.column_by_name(name).unwrap();
    let text = |name, row| column(name).as_string::<i32>().value(row);
    let cents = |name, row| column(name).as_primitive::<Decimal64Type>().value(row);
    for (row, record) in records.iter().enumerate() {
        let sale = record.transaction();
        assert_eq!(text("transaction_id", row), sale.transaction_id);
        assert_eq!(text("product_id", row), sale.product_id);
        assert_eq!(text("product_name", row), sale.product_name);
        assert_eq!(text("product_category", row), sale.product_category);
        assert_eq!(cents("product_price", row), sale.product_price_cents);
        assert_eq!(
            column("product_quantity")
                .as_primitive::<Int64Type>()
                .value(row),
            sale.product_quantity
        );
        assert_eq!(text("product_brand", row), sale.product_brand);
        assert_eq!(text("currency", row), sale.currency);
        assert_eq!(text("customer_id", row), sale.customer_id);
        let date = column("transaction_date")
            .as_primitive::<TimestampMicrosecondType>()
            .value(row);
        assert_eq!(date, sale.transaction_date_micros);
        assert_eq!(text("payment_method", row), sale.payment_method);
        assert_eq!(cents("total_amount", row), sale.total_amount_cents);
    }
}

#[test]
fn every_fault_but_an_unknown_currency_is_refused_by_decoding() {
    let generator = generator(1.0);
    let records: Vec<_> = (0..4_000)
        .map(|offset| generator.generate(origin(0, offset)))
        .collect();
    let (rows, rejected) = decode(&records);
    let kinds: HashSet<_> = records.iter().filter_map(Generated::fault).collect();
    assert_eq!(kinds.len(), BadKind::ALL.len());
    let indices = |undecodable: bool| {
        let wanted =
            move |record: &Generated<'_>| record.fault().unwrap().is_undecodable() == undecodable;
        (0..4_000_u32)
            .filter(|at| wanted(&records[*at as usize]))
            .collect::<Vec<_>>()
    };
    assert_eq!(rows.records, indices(false));
    assert_eq!(
        rejected
            .iter()
            .map(|rejection| rejection.record)
            .collect::<Vec<_>>(),
        indices(true)
    );
    let currencies = rows
        .columns
        .column_by_name("currency")
        .unwrap()
        .as_string::<i32>();
    assert!(currencies.iter().all(|currency| currency == Some("XTS")));
}

#[test]
fn faults_are_as_frequent_as_was_asked_and_all_kinds_alike() {
    let generator = generator(0.1);
    let mut counts = HashMap::new();
    for offset in 0..100_000 {
        if let Some(kind) = generator.generate(origin(0, offset)).fault() {
            *counts.entry(kind).or_insert(0) += 1;
        }
    }
    let all: i32 = counts.values().sum();
    assert!((9_500..10_500).contains(&all), "{all}");
    assert!(
        counts.values().all(|count| (500..750).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn ids_are_version_4_uuids_and_unique() {
    let generator = generator(0.0);
    let mut seen = HashSet::new();
    for place in (0..20_000).flat_map(|offset| (0..4).map(move |p| origin(p, offset))) {
        let record = generator.generate(place);
        let id = &record.transaction().transaction_id;
        assert_eq!((id.len(), &id[14..15]), (36, "4"));
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
        assert!(seen.insert(id.clone()), "{id} twice");
    }
}

#[test]
fn as_many_records_repeat_one_before_them_as_was_asked_and_no_other_changes() {
    let plain = generator(0.1);
    let repeating = Generator::new(Settings {
        bad_share: 0.1,
        duplicates: 0.25,
        ..Settings::default()
    });
    let mut repeats = 0;
    for offset in 0..20_000 {
        let place = origin(3, offset);
        let original = repeating.original(place);
        assert_eq!(repeating.generate(place), plain.generate(original));
        assert_eq!(plain.original(place), place);
        assert_eq!(repeating.original(original), original);
        assert_eq!(original.partition, place.partition);
        assert!(original.offset <= offset);
        repeats += u32::from(original != place);
    }
    assert!((4_700..5_300).contains(&repeats), "{repeats}");
    assert_eq!(repeating.original(origin(3, 0)), origin(3, 0));
}

#[test]
fn records_have_all_that_producers_do() {
    let generator = generator(0.0);
    let mut texts = String::new();
    let mut days = HashSet::new();
    for offset in 0..20_000 {
        let record = generator.generate(origin(0, offset));
        texts.push_str(&String::from_utf8(rendered(&record).unwrap()).unwrap());
        let moment = DateTime::from_timestamp_micros(record.transaction().transaction_date_micros);
        days.insert(moment.unwrap().date_naive());
    }
    for part in [
        "é",
        "携帯電話",
        "📱",
        "\\u00e9",
        "\\ud83d\\ude00",
        "Z\"",
        "+05:30\"",
        "-0800\"",
        "\"transactionDate\": 17",
        "99999",
    ] {
        assert!(texts.contains(part), "{part}");
    }
    assert_eq!(days.len(), 400);
    let last = days.iter().max().unwrap();
    assert_eq!(last.succ_opt().unwrap(), Settings::END);
    for (year, month, day) in [(2023, 12, 31), (2024, 1, 1), (2024, 2, 29), (2024, 12, 31)] {
        assert!(days.contains(&NaiveDate::from_ymd_opt(year, month, day).unwrap()));
    }
    assert_eq!(
        days.iter()
            .map(Datelike::year)
            .collect::<BTreeSet<_>>()
            .len(),
        3
    );
}

#[test]
fn files_hold_one_record_a_line_and_go_on_where_they_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let generator = generator(0.2);
    let write = |first: i64, count| {
        let paths = file::paths(folder.path(), 2);
        let plan = Plan {
            first: vec![first; 2],
            count: Some(count),
            rate: None,
        };
        let mut last = 0;
        let made = file::write(&generator, &plan, &paths, &Stop::default(), |count| {
            last = count;
        })
        .unwrap();
        assert_eq!((made.records, last), (count, count));
        lines_of(&paths)
    };
    let whole = write(0, 200);
    assert_eq!((whole[0].len(), whole[1].len()), (100, 100));
    for (partition, lines) in whole.iter().enumerate() {
        for (offset, line) in lines.iter().enumerate() {
            let record = generator.generate(origin(partition as u32, offset as i64));
            let has_line = record.fault().is_none_or(BadKind::has_a_line);
            assert_eq!(rendered(&record).unwrap_or_default(), *line);
            assert_eq!(has_line, !line.is_empty());
        }
    }
    let rest = write(60, 80);
    assert_eq!(rest[0], whole[0][60..]);
    assert_eq!(rest[1], whole[1][60..]);
}

#[test]
fn one_partition_is_one_file_unless_a_folder_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new/sales.ndjson");
    assert_eq!(file::paths(&file, 1), std::slice::from_ref(&file));
    assert_eq!(
        file::paths(folder.path(), 1),
        [folder.path().join("part-0.ndjson")]
    );
    let plan = Plan {
        first: vec![0],
        count: Some(3),
        rate: None,
    };
    file::write(
        &generator(0.0),
        &plan,
        std::slice::from_ref(&file),
        &Stop::default(),
        |_| (),
    )
    .unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 3);
}

/// The lines of each file.
fn lines_of(paths: &[PathBuf]) -> Vec<Vec<Vec<u8>>> {
    let lines = |path| {
        let bytes = fs::read(path).unwrap();
        let bytes = bytes.strip_suffix(b"\n").unwrap();
        bytes
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect()
    };
    paths.iter().map(lines).collect()
}
