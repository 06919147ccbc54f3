//! Versions that are no good, put into force while records flow: the running version goes on, or the one
//! before comes back; no record is lost, and everybody is told why.
//!
//! ```text
//! source ─► doubled (a transform) ─► table `doubled`
//!              └─► sums (an aggregate) ─► table `sums`
//! ```
//!
//! Both guests do as their configuration says: the version in force at first behaves.

mod trial;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use self::trial::{POISON, Trial, Version};
use super::support::guest;

/// Enough for a verdict on the share of rejected records before the end of a probation.
const ENOUGH: i64 = 12_000;

/// A file of bytes in the job's folder.
fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn what_is_no_component_of_this_contract_is_refused_by_name() {
    let trial = Trial::begin(&Version::good());
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let good = std::fs::read(guest("hostile")).unwrap();
    let text = file(folder, "text.wasm", b"error[E0425]: cannot find value");
    let half = file(folder, "half.wasm", &good[..good.len() / 2]);
    let empty = file(
        folder,
        "empty.wasm",
        &wat::parse_str("(component)").unwrap(),
    );
    // The contract's name and version as they are in the file, and others of the same length.
    let later = replaced(
        &good,
        b"wasmill:guest/transform@0.1.0",
        b"wasmill:guest/transform@9.1.0",
    );
    let later = file(folder, "later.wasm", &later);
    let config = |config| Version::transforming(config);
    for (case, version, words) in [
        (
            "no component at all",
            Version::of(text),
            "is not a WebAssembly binary",
        ),
        (
            "half a component",
            Version::of(half),
            "is not a valid component",
        ),
        (
            "no file",
            Version::of(folder.join("none.wasm")),
            "does not exist",
        ),
        (
            "another kind",
            Version::of(guest("totals")),
            "is an aggregate",
        ),
        ("no export", Version::of(empty), "exports"),
        (
            "another version of the contract",
            Version::of(later),
            "9.1.0",
        ),
        (
            "a configuration that it refuses",
            config(json!({ "mode": "unconfigurable" })),
            "never right",
        ),
        (
            "a column that is not there",
            config(json!({ "mode": "greedy" })),
            "everything",
        ),
    ] {
        trial.refused(case, &version, "invalid", words);
    }
    trial.end("refused");
}

/// The same bytes with each `from` replaced, which has to be there.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> = (0..bytes.len() - from.len())
        .filter(|&at| bytes[at..].starts_with(from))
        .collect();
    assert!(!places.is_empty(), "{}", String::from_utf8_lossy(from));
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn what_fails_or_rejects_more_on_the_last_records_is_refused() {
    let mut trial = Trial::begin(&Version::good());
    // A batch is kept to rehearse on once a second.
    std::thread::sleep(Duration::from_millis(1_100));
    trial.write(2_000, true);
    trial.all_done();
    for (case, config, words) in [
        (
            "traps at once",
            json!({ "mode": "trap" }),
            "poison in a batch of",
        ),
        (
            "traps at a record",
            json!({ "mode": "trap", "poison": POISON }),
            "poison in a batch of 1",
        ),
        (
            "rejects everything",
            json!({ "mode": "trap" }),
            "its code fails on",
        ),
        (
            "rejects 2 % more",
            json!({ "mode": "reject", "poison": POISON }),
            "`rejected_share`",
        ),
        (
            "too slow",
            json!({ "mode": "spin", "poison": POISON }),
            "used up its time",
        ),
        (
            "too much memory",
            json!({ "mode": "allocate", "poison": POISON }),
            "67108864 bytes of memory",
        ),
        (
            "too much output",
            json!({ "mode": "flood", "poison": POISON }),
            "8388608 bytes of output",
        ),
        (
            "wrong rows",
            json!({ "mode": "short", "poison": POISON }),
            "there are 0 values where 1 were due",
        ),
    ] {
        trial.refused(case, &Version::transforming(config), "rehearsal", words);
    }
    for (case, mode, words) in [
        ("a fold that traps", "trap", "poison in"),
        ("a fold that is too slow", "spin", "used up its time"),
    ] {
        let config = json!({ "mode": mode, "in": "fold", "poison": POISON });
        trial.refused(case, &Version::aggregating(config), "rehearsal", words);
    }
    trial.end("rehearsed");
}

/// A version that is found bad in its probation, and what is told of it.
fn found_bad(case: &str, version: &Version, records: i64, words: &str) {
    let mut trial = Trial::begin(&Version::good());
    let number = trial.put_in_force(version);
    trial.write(records, true);
    let reason = trial.rolled_back(number);
    assert!(reason.contains(words), "{case}: {reason}");
    trial.told(case, &[words]);
    // The one that came back does what there is to do.
    trial.write(2_000, false);
    trial.end(case);
}

#[test]
fn a_trap_in_its_probation_brings_the_version_before_back() {
    let version = Version::transforming(json!({ "mode": "trap", "poison": POISON }));
    found_bad("a trap", &version, 2_000, "poison in a batch of 1");
}

#[test]
fn a_call_beyond_its_time_brings_the_version_before_back() {
    let version = Version::transforming(json!({ "mode": "spin", "poison": POISON }));
    found_bad("too slow", &version, 500, "used up its time");
}

#[test]
fn memory_beyond_the_limit_brings_the_version_before_back() {
    let version = Version::transforming(json!({ "mode": "allocate", "poison": POISON }));
    found_bad("memory", &version, 2_000, "67108864 bytes of memory");
}

#[test]
fn output_beyond_the_limit_brings_the_version_before_back() {
    let version = Version::transforming(json!({ "mode": "flood", "poison": POISON }));
    found_bad("output", &version, 2_000, "8388608 bytes of output");
}

#[test]
fn two_per_cent_more_rejected_records_bring_the_version_before_back() {
    let version = Version::transforming(json!({ "mode": "reject", "poison": POISON }));
    found_bad("2 % more", &version, ENOUGH, "`rejected_share`");
}

#[test]
fn a_version_that_rejects_everything_goes_before_long() {
    let mut trial = Trial::begin(&Version::good());
    // Nothing of it was to be seen on the records before.
    let version = Version {
        probation: "3s",
        ..Version::transforming(json!({ "mode": "reject", "poison": POISON }))
    };
    let number = trial.put_in_force(&version);
    trial.write_all_poisoned(400);
    let reason = trial.rolled_back(number);
    assert!(
        reason.contains("it rejects 100.00 % of the first 400 records"),
        "{reason}"
    );
    trial.told("rejects everything", &[&reason]);
    trial.write(2_000, false);
    trial.end("rejects everything");
}

#[test]
fn a_version_is_not_accepted_before_its_first_records_are_done() {
    let mut trial = Trial::begin(&Version::good());
    // Each call takes its time to the limit, and the probation ends before the first epoch.
    let version = Version {
        probation: "4s",
        ..Version::transforming(json!({ "mode": "spin", "poison": POISON }))
    };
    let number = trial.put_in_force(&version);
    trial.write_all_poisoned(3_000);
    let reason = trial.rolled_back(number);
    assert!(reason.contains("used up its time"), "{reason}");
    trial.end("stands");
}

#[test]
fn a_trap_every_thousandth_batch_costs_no_record() {
    let good = || Version {
        max_rows: 8,
        ..Version::good()
    };
    let mut trial = Trial::begin(&good());
    let version = Version {
        transform_config: json!({ "mode": "trap", "every": 1_000 }),
        ..good()
    };
    trial.put_in_force(&version);
    trial.write(20_000, false);
    trial.all_done();
    let metrics = super::support::http::get(trial.job.admin, "/metrics").body;
    let traps = metrics.lines().find_map(|line| {
        line.strip_prefix(
            "wasmill_guest_failures_total{stage=\"doubled\",component=\"doubling\",failure=\"trap\"} ",
        )
    });
    let traps: u64 = traps.expect("it is counted").parse().unwrap();
    assert!(traps > 0, "{metrics}");
    let outcome = trial.deployments()["deployments"][1]["outcome"].clone();
    assert_eq!(outcome, "probation", "nothing has come of it");
    trial.end("every thousandth");
}

#[test]
fn states_that_cannot_be_merged_bring_the_version_before_back() {
    let mut trial = Trial::begin(&Version::good());
    for (mode, words) in [
        ("trap", "poison in 7 states"),
        ("spin", "used up its time"),
        ("allocate", "67108864 bytes of memory"),
        ("flood", "8388608 bytes of output"),
    ] {
        let config = json!({ "mode": mode, "in": "merge" });
        let number = trial.put_in_force(&Version::aggregating(config));
        trial.write(1_000, true);
        let reason = trial.rolled_back(number);
        let is_told = reason.contains(words) && reason.contains("aggregate `sums`");
        assert!(is_told, "{mode}: {reason}");
        trial.told(mode, &[words]);
        trial.all_done();
    }
    trial.end("merge");
}

#[test]
fn a_start_with_a_version_that_stops_the_run_goes_back_and_so_does_the_next_one() {
    let mut trial = Trial::begin(&Version::good());
    trial.run.stop(&trial.job);
    let config = json!({ "mode": "trap", "in": "merge" });
    trial.edit(&Version::aggregating(config));
    trial.write(1_000, false);
    trial.restart();
    let reason = trial.rolled_back(2);
    assert!(reason.contains("poison in 7 states"), "{reason}");
    trial.all_done();
    // Its files are still there, and whoever supervises it starts it again and again.
    for _ in 0..2 {
        trial.kill();
        trial.write(500, false);
        trial.restart();
        trial.all_done();
        let deployments = trial.deployments();
        let deployments = deployments["deployments"].as_array().expect("a list");
        assert_eq!(deployments.len(), 3, "{deployments:?}");
        assert!(
            trial.job.log().contains("rolled back"),
            "{}",
            trial.job.log()
        );
    }
    trial.end("start");
}

#[test]
fn a_version_that_was_killed_in_its_probation_and_stops_the_next_run_goes_back_there() {
    let mut trial = Trial::begin(&Version::good());
    let config = json!({ "mode": "trap", "in": "merge" });
    let number = trial.put_in_force(&Version::aggregating(config));
    trial.kill();
    trial.write(1_000, false);
    trial.restart();
    let reason = trial.rolled_back(number);
    assert!(reason.contains("poison in 7 states"), "{reason}");
    trial.end("killed");
}
