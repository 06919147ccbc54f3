//! Statuses for tests: a rich one, and any at all.

use std::time::Duration;

use proptest::prelude::*;

use super::{Amount, Bar, Chart, Check, Model, Sum, Totals};
use crate::status::{
    ComponentStatus, DeadLetterStatus, EpochStatus, PartitionStatus, Phase, SinkStatus,
    StageStatus, Status, Waiting,
};

/// The sales job after `seconds` seconds at a steady rate.
#[expect(clippy::too_many_lines, reason = "one value, written down")]
pub(super) fn status(seconds: u64) -> Status {
    let records = seconds * 12_000;
    let stage = |name: &str, rows: u64, nanos: u64| StageStatus {
        name: name.into(),
        rows,
        time: Duration::from_nanos(rows * nanos),
    };
    let component = |name: &str, digest: &str, stages: &[&str]| ComponentStatus {
        name: name.into(),
        version: "0.1.0".into(),
        digest: digest.repeat(8),
        stages: stages.iter().map(|&stage| stage.into()).collect(),
    };
    Status {
        pipeline: "ecommerce-sales".into(),
        version: "0.1.0".into(),
        phase: Phase::Running,
        uptime: Duration::from_secs(seconds),
        waiting_for: Vec::new(),
        epoch: seconds,
        epochs: seconds,
        records,
        bytes: records * 342,
        dead_letters: records / 1_000,
        duplicates: None,
        readmission_backlog: 0,
        records_per_second: 12_000.0,
        partitions: (0..4_i32)
            .map(|partition| PartitionStatus {
                partition,
                position: (records / 4).cast_signed() + i64::from(partition) * 100,
                committed: (records / 4).cast_signed(),
                end: Some((records / 4).cast_signed() + 3_000),
            })
            .collect(),
        stages: vec![
            stage("read", records, 40),
            stage("decode", records, 290),
            stage("transform sales", records, 12),
            stage("fold sales_per_day", records, 24),
            stage("fold sales_per_month", records, 21),
            stage("fold sales_per_category", records, 31),
            stage("merge and finish", seconds * 3_200, 90),
            stage("write sqlite", seconds * 15_200, 5_100),
        ],
        sinks: vec![
            SinkStatus {
                name: "sqlite".into(),
                epoch: seconds,
                lags: false,
                last_write: Some(Duration::from_millis(61)),
            },
            SinkStatus {
                name: "search".into(),
                epoch: seconds.saturating_sub(2),
                lags: false,
                last_write: None,
            },
        ],
        components: vec![
            component("currency", "3f2a91c4", &["sales"]),
            component(
                "totals",
                "b8d0417e",
                &["sales_per_day", "sales_per_month", "sales_per_category"],
            ),
        ],
        recent_epochs: (seconds.saturating_sub(31)..=seconds)
            .map(|epoch| EpochStatus {
                epoch,
                records: 10_000 + epoch % 7 * 311,
                dead_letters: epoch % 13,
                duration: Duration::from_millis(1_004 + epoch % 5 * 17),
                commit: Duration::from_millis(58 + epoch % 3 * 4),
                age: Duration::from_secs(seconds - epoch),
            })
            .collect(),
        recent_dead_letters: (0..12_i64)
            .map(|number| DeadLetterStatus {
                partition: (number % 4) as i32,
                offset: 118_200 + number * 977,
                stage: ["decode", "sales"][number as usize % 2].into(),
                reason: [
                    "column `total_amount`: `12,50` is no decimal(2)",
                    "no rate for currency `XXX`",
                ][number as usize % 2]
                    .into(),
            })
            .collect(),
        checkpoint: None,
        deployments: Vec::new(),
        refused: None,
    }
}

/// A model that has seen the sales job for two minutes, at a rate that goes up and down.
pub(super) fn model() -> Model {
    let mut model = Model::default();
    let mut records = 0;
    for second in 0..=120_u64 {
        records += 9_000 + (second % 24).abs_diff(12) * 500;
        let mut status = status(second);
        status.records = records;
        model.observe(status);
    }
    model
}

/// One that waits for a server.
pub(super) fn waiting_model() -> Model {
    let mut model = model();
    let mut status = model.status().clone();
    status.waiting_for = vec![Waiting {
        part: "postgres".into(),
        reason: "connection refused (localhost:5432); tried again every 5 s".into(),
        since: Duration::from_secs(23),
        holds_up: true,
    }];
    model.observe(status);
    model
}

/// Totals of the sales job.
pub(super) fn totals() -> Totals {
    let bar = |label: &str, units| Bar {
        label: label.into(),
        amount: Amount { units, scale: 2 },
    };
    let sum = |table: &str, column: &str| Sum {
        table: table.into(),
        column: column.into(),
        amount: Amount {
            units: 58_312_344_791,
            scale: 2,
        },
    };
    let categories = ["Electronics", "Home & Garden", "Clothing", "Books", "Toys"];
    Totals {
        charts: vec![
            Chart {
                table: "sales_per_day".into(),
                column: "total_sales".into(),
                by: "transaction_date".into(),
                bars: (1..=30)
                    .rev()
                    .map(|day| bar(&format!("2026-11-{day:02}"), 140_000_000 + day * 1_734_567))
                    .collect(),
            },
            Chart {
                table: "sales_per_category".into(),
                column: "total_sales".into(),
                by: "category".into(),
                bars: (1_i64..)
                    .zip(categories)
                    .map(|(place, name)| bar(name, 20_000_000_000 / place))
                    .collect(),
            },
        ],
        checks: vec![Check {
            sums: vec![
                sum("transactions", "total_amount_base"),
                sum("sales_per_day", "total_sales"),
                sum("sales_per_month", "total_sales"),
                sum("sales_per_category", "total_sales"),
            ],
        }],
    }
}

/// Any status: numbers without sense, texts without end.
#[expect(clippy::too_many_lines, reason = "one value, written down")]
pub(super) fn any_status() -> impl Strategy<Value = Status> {
    let text = || prop_oneof![".{0,40}", "[a-z\u{1F600}\u{7}\u{1b}表 ]{0,400}"];
    let time = || {
        let any = any::<u64>().prop_map(Duration::from_millis);
        prop_oneof![Just(Duration::ZERO), Just(Duration::MAX), any]
    };
    let stage = (text(), any::<u64>(), time()).prop_map(|(name, rows, time)| StageStatus {
        name,
        rows,
        time,
    });
    let partition = (
        any::<i32>(),
        any::<i64>(),
        any::<i64>(),
        any::<Option<i64>>(),
    )
        .prop_map(|(partition, position, committed, end)| PartitionStatus {
            partition,
            position,
            committed,
            end,
        });
    let sink = (
        text(),
        any::<u64>(),
        any::<bool>(),
        prop::option::of(time()),
    );
    let sink = sink.prop_map(|(name, epoch, lags, last_write)| SinkStatus {
        name,
        epoch,
        lags,
        last_write,
    });
    let waiting = (text(), text(), time(), any::<bool>());
    let waiting = waiting.prop_map(|(part, reason, since, holds_up)| Waiting {
        part,
        reason,
        since,
        holds_up,
    });
    let component = (text(), text(), text(), prop::collection::vec(text(), 0..3)).prop_map(
        |(name, version, digest, stages)| ComponentStatus {
            name,
            version,
            digest,
            stages,
        },
    );
    let epoch = (any::<[u64; 3]>(), time(), time()).prop_map(
        |([epoch, records, dead_letters], duration, commit)| EpochStatus {
            epoch,
            records,
            dead_letters,
            duration,
            commit,
            age: duration,
        },
    );
    let letter = (any::<i32>(), any::<i64>(), text(), text()).prop_map(
        |(partition, offset, stage, reason)| DeadLetterStatus {
            partition,
            offset,
            stage,
            reason,
        },
    );
    let lists = (
        prop::collection::vec(stage, 0..6),
        prop::collection::vec(partition, 0..6),
        prop::collection::vec(sink, 0..3),
        prop::collection::vec(waiting, 0..5),
        prop::collection::vec(component, 0..3),
        prop::collection::vec(epoch, 0..6),
        prop::collection::vec(letter, 0..6),
    );
    let phase = prop_oneof![
        Just(Phase::Starting),
        Just(Phase::Running),
        Just(Phase::Stopping)
    ];
    (text(), phase, time(), any::<[u64; 5]>(), lists).prop_map(
        |(pipeline, phase, uptime, numbers, lists)| {
            let [epoch, epochs, records, bytes, dead_letters] = numbers;
            let (stages, partitions, sinks, waiting_for, components, epochs_seen, letters) = lists;
            Status {
                pipeline,
                version: "0.1.0".into(),
                phase,
                uptime,
                waiting_for,
                epoch,
                epochs,
                records,
                bytes,
                dead_letters,
                duplicates: Some(dead_letters),
                readmission_backlog: 0,
                records_per_second: f64::NAN,
                partitions,
                stages,
                sinks,
                components,
                recent_epochs: epochs_seen,
                recent_dead_letters: letters,
                checkpoint: None,
                deployments: Vec::new(),
                refused: None,
            }
        },
    )
}
