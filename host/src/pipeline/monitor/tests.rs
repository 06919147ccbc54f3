//! What is told is what was counted.

use std::collections::{BTreeMap, VecDeque};

use arrow_array::{ArrayRef, Int64Array, RecordBatch};

use super::build::{Names, SinkNames};
use super::*;
use crate::deployment::Version;
use crate::record::{Cause, Origin, Partition};

fn names() -> Names {
    let strings = |of: &[&str]| of.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    Names {
        pipeline: "shop".into(),
        workers: 2,
        in_flight: 1,
        sinks: vec![
            SinkNames {
                name: "db".into(),
                may_lag: false,
            },
            SinkNames {
                name: "search".into(),
                may_lag: true,
            },
        ],
        outline: Outline {
            transforms: strings(&["sales"]),
            aggregates: strings(&["daily"]),
            takes: BTreeMap::from([
                ("db".into(), strings(&["sales", "daily", "sales"])),
                ("search".into(), strings(&["sales"])),
            ]),
            ..Outline::default()
        },
        ..Names::default()
    }
}

fn positions(of: &[(u32, i64)]) -> Positions {
    let positions = of.iter().map(|&(p, at)| (Partition(p), at));
    positions.collect()
}

#[test]
fn a_sink_that_may_lag_does_not_make_it_unready_when_it_is_waited_for() {
    let monitor = running();
    let mut search = monitor.waits().part("search");
    search.begin(Instant::now(), "away");
    assert!(monitor.status().is_ready());
    assert!(!monitor.status().waiting_for[0].holds_up);
    assert!(monitor.metrics().contains("\nwasmill_ready 1\n"));
    let mut db = monitor.waits().part("db");
    db.begin(Instant::now(), "away");
    assert!(!monitor.status().is_ready());
}

/// A monitor of a run that goes on after epoch 3, at 10 of 30.
fn running() -> Monitor {
    let monitor = Monitor::of(names(), Waits::default());
    let range = PartitionRange {
        partition: Partition(0),
        begin: 0,
        end: 30,
    };
    let beginning = Beginning {
        epoch: EpochId(3),
        version: Version::FIRST,
        first: Version::FIRST,
        rebuild: None,
        replay: VecDeque::new(),
        confirmed: EpochId(3),
        live: positions(&[(0, 10)]),
        ends: positions(&[(0, 30)]),
        ranges: vec![range],
        from_nothing: false,
        skipped: Vec::new(),
    };
    monitor.begin(&beginning, [EpochId(3), EpochId(2)]);
    monitor
}

fn letter(offset: i64, stage: &str, cause: Cause) -> DeadLetter {
    DeadLetter {
        origin: Origin {
            partition: Partition(0),
            offset,
        },
        document: None,
        headers: Vec::new(),
        stage: stage.into(),
        component: None,
        column: None,
        cause,
        reason: format!("reason {offset}"),
        timestamp_ms: None,
        key: None,
        value: None,
    }
}

fn rows(count: i64) -> Vec<OutputBatch> {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    vec![OutputBatch {
        columns: RecordBatch::try_from_iter([("n", column)]).unwrap(),
        origins: Vec::new(),
    }]
}

fn committed(monitor: &Monitor, output: &EpochOutput) {
    let now = Instant::now();
    monitor.epoch_cut(output.epoch, 12, Some(now));
    monitor.epoch_merged(output.epoch, now);
    monitor.sink_wrote(0, output, 0, Duration::from_millis(7));
    monitor.epoch_committed(output, now);
}

#[test]
fn a_run_starts_runs_and_stops() {
    let monitor = Monitor::of(names(), Waits::default());
    assert_eq!(monitor.phase(), Phase::Starting);
    assert!(monitor.status().partitions.is_empty());
    let monitor = running();
    let status = monitor.status();
    assert!(status.is_ready());
    assert_eq!((status.epoch, status.epochs), (3, 0));
    let sinks: Vec<u64> = status.sinks.iter().map(|sink| sink.epoch).collect();
    assert_eq!(sinks, [3, 2]);
    monitor.stopping();
    assert_eq!(monitor.phase(), Phase::Stopping);
    assert!(!monitor.status().is_ready());
}

#[test]
fn whoever_waits_makes_it_not_ready() {
    let monitor = running();
    let mut wait = monitor.waits().part("db");
    wait.begin(Instant::now(), "refused");
    assert!(!monitor.status().is_ready());
    assert!(monitor.metrics().contains("\nwasmill_ready 0\n"));
    drop(wait);
    assert!(monitor.status().is_ready());
    assert!(monitor.metrics().contains("\nwasmill_ready 1\n"));
}

#[test]
fn partitions_tell_where_they_are_read_committed_and_end() {
    let monitor = running();
    monitor.add_read(12, 120, &positions(&[(0, 22)]));
    let partition = |monitor: &Monitor| {
        let partition = monitor.status().partitions[0].clone();
        (partition.position, partition.committed, partition.end)
    };
    assert_eq!(partition(&monitor), (22, 10, Some(30)));
    let output = EpochOutput {
        epoch: EpochId(4),
        positions: positions(&[(0, 22)]),
        ..EpochOutput::default()
    };
    committed(&monitor, &output);
    assert_eq!(partition(&monitor), (22, 22, Some(30)));
    monitor.set_ends(&[PartitionRange {
        partition: Partition(0),
        begin: 0,
        end: 99,
    }]);
    assert_eq!(partition(&monitor), (22, 22, Some(99)));
    assert!(
        monitor
            .metrics()
            .contains("wasmill_partition_lag{partition=\"0\"} 77\n")
    );
    let status = monitor.status();
    assert_eq!((status.records, status.bytes), (12, 120));
    assert_eq!((status.epoch, status.epochs), (4, 1));
    assert_eq!(status.recent_epochs[0].records, 12);
}

#[test]
fn a_sink_is_told_the_rows_of_its_own_tables() {
    let monitor = running();
    let output = EpochOutput {
        epoch: EpochId(4),
        streams: BTreeMap::from([
            ("sales".into(), rows(10)),
            ("daily".into(), rows(3)),
            ("other".into(), rows(100)),
        ]),
        ..EpochOutput::default()
    };
    monitor.sink_wrote(0, &output, 0, Duration::from_millis(7));
    monitor.sink_wrote(1, &output, 4, Duration::ZERO);
    let metrics = monitor.metrics();
    assert!(
        metrics.contains("wasmill_sink_rows_total{sink=\"db\"} 23\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("wasmill_sink_rows_total{sink=\"search\"} 6\n"),
        "{metrics}"
    );
    let sinks = monitor.status().sinks;
    assert_eq!(sinks[0].last_write, Some(Duration::from_millis(7)));
    assert!(sinks[1].last_write.is_some(), "too quick is not never");
}

#[test]
fn dead_letters_are_counted_by_stage_and_cause_and_the_last_ones_kept() {
    let monitor = running();
    let letters: Vec<DeadLetter> = (0..40)
        .map(|offset| letter(offset, "decode", Cause::Value))
        .collect();
    let output = EpochOutput {
        epoch: EpochId(4),
        dead_letters: letters,
        ..EpochOutput::default()
    };
    committed(&monitor, &output);
    monitor.add_dead_letters(&[letter(50, "sales", Cause::Failed)]);
    let status = monitor.status();
    assert_eq!(status.dead_letters, 41);
    let kept: Vec<i64> = status
        .recent_dead_letters
        .iter()
        .map(|l| l.offset)
        .collect();
    assert_eq!(kept, (9..40).chain([50]).collect::<Vec<_>>());
    let metrics = monitor.metrics();
    for line in [
        "wasmill_rejected_records_total{stage=\"decode\",cause=\"value\"} 40\n",
        "wasmill_rejected_records_total{stage=\"decode\",cause=\"malformed\"} 0\n",
        "wasmill_rejected_records_total{stage=\"sales\",cause=\"failed\"} 1\n",
        "wasmill_rejected_records_total{stage=\"daily\",cause=\"group\"} 0\n",
        "wasmill_rejected_records_total{stage=\"db\",cause=\"unstorable\"} 0\n",
        "wasmill_rejected_records_total{stage=\"search\",cause=\"refused\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[test]
fn duplicates_are_counted_where_somebody_looks_for_them() {
    let without = running();
    without.add_duplicates(3);
    assert_eq!(without.status().duplicates, None);
    assert_eq!(without.summary().duplicates, None);
    assert!(!without.metrics().contains("\nwasmill_duplicates_total "));
    let shown = without.summary().to_string();
    assert!(shown.contains("0 dead letters\n"), "{shown}");

    let names = Names {
        deduplicates: true,
        ..names()
    };
    let with = Monitor::of(names, Waits::default());
    with.add_duplicates(3);
    with.add_duplicates(4);
    with.set_remembered(0, (2, 48));
    with.set_remembered(1, (3, 72));
    assert_eq!(with.status().duplicates, Some(7));
    let metrics = with.metrics();
    for line in [
        "\nwasmill_duplicates_total 7\n",
        "\nwasmill_remembered_keys 5\n",
        "\nwasmill_remembered_bytes 120\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let shown = with.summary().to_string();
    assert!(shown.contains("0 dead letters, 7 duplicates\n"), "{shown}");
    assert!(shown.contains("\ndeduplicate "), "{shown}");
}

#[test]
fn a_thread_that_is_busy_for_too_long_is_named() {
    let monitor = running();
    assert!(monitor.busy_longer_than(Duration::ZERO).is_empty());
    monitor.worker_pulse(1).busy(|| {
        let busy = monitor.busy_longer_than(Duration::ZERO);
        assert_eq!(
            busy.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["worker 1"]
        );
        assert!(monitor.stuck().is_empty(), "it has only just begun");
    });
}

#[test]
fn states_and_checkpoints_are_told() {
    let monitor = running();
    monitor.set_states(0, 5, 80);
    monitor.snapshot_taken(Duration::from_micros(30));
    monitor.checkpoint_published(EpochId(7), 1_000, Duration::from_millis(20));
    monitor.checkpoint_failed();
    let metrics = monitor.metrics();
    for line in [
        "wasmill_state_groups{aggregate=\"daily\"} 5\n",
        "wasmill_state_bytes{aggregate=\"daily\"} 80\n",
        "wasmill_checkpoints_total 1\n",
        "wasmill_checkpoint_failures_total 1\n",
        "wasmill_checkpoint_epoch 7\n",
        "wasmill_checkpoint_bytes_total 1000\n",
        "wasmill_checkpoint_pause_seconds_count 1\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(monitor.status().checkpoint.is_some_and(|c| c.epoch == 7));
}

#[test]
fn what_keeps_its_name_goes_on_counting_in_another_version() {
    let monitor = running();
    monitor.add(Stage::Transform(0), 5, Duration::from_millis(1));
    monitor.set_states(0, 7, 70);
    monitor.reshape(Outline {
        transforms: vec!["clean".into(), "sales".into()],
        aggregates: vec!["monthly".into()],
        ..Outline::default()
    });
    monitor.add(Stage::Transform(1), 6, Duration::from_millis(1));
    // A worker that has it not yet.
    monitor.add(Stage::Fold(9), 1, Duration::from_millis(1));
    let rows = |name: &str| {
        let stages = monitor.status().stages.into_iter();
        stages
            .filter(|stage| stage.name == name)
            .map(|stage| stage.rows)
            .collect::<Vec<_>>()
    };
    assert_eq!(rows("transform sales"), [11]);
    assert_eq!(rows("transform clean"), [0]);
    assert!(rows("fold daily").is_empty());
    assert!(monitor.metrics().contains("{aggregate=\"monthly\"} 0"));
}
