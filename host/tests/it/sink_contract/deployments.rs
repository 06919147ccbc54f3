//! What every ledger has to keep of deployments.

use std::sync::Arc;

use chrono::DateTime;
use serde_json::json;
use wasmill::deployment::{
    Backfills, Blueprint, Deployment, Outcome, Rejections, Trigger, Version,
};
use wasmill::epoch::{Deployed, EpochId, EpochOutput};
use wasmill::record::{Partition, Positions};
use wasmill::sink::table::TableTarget;
use wasmill::sink::{Ledger, SinkError, Targets};

use super::harness::LedgerHarness;
use super::{claim, write};
use crate::support::rows::{self, batch, epoch, row, stored};

fn deployment(version: u32, epoch: u64) -> Deployment {
    Deployment {
        version: Version(version),
        trigger: if version == 1 {
            Trigger::Start
        } else {
            Trigger::File
        },
        deployed_at: DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap(),
        epoch: EpochId(epoch),
        positions: Positions::from_iter([(Partition(0), 7), (Partition(11), i64::MAX)]),
        blueprint: Blueprint {
            pipeline: "[pipeline]\nname = \"it's\" # größer 😀\n".to_owned(),
            components: [("currency".to_owned(), "00ff".to_owned())].into(),
            configs: json!({ "sales": { "rates": { "EUR": "1.08" }, "list": [1, null, true] } }),
            states: json!({ "totals": { "columns": ["a", "b"] } }),
            logic: format!("logic of {version}"),
        },
        backfills: Backfills {
            begins: [("days".to_owned(), Positions::from_iter([(Partition(0), 3)]))].into(),
            under_way: ["days".to_owned()].into(),
            joined: [("totals".to_owned(), vec![])].into(),
        },
        former: Rejections {
            records: 9,
            rejected: 1,
        },
        outcome: Outcome::Probation,
    }
}

/// The empty epoch that `deployment` begins with.
fn begin(deployment: &Deployment, concludes: Option<(Version, Outcome)>) -> EpochOutput {
    let deployed = Deployed {
        deployment: deployment.clone(),
        concludes,
        targets: Arc::default(),
    };
    EpochOutput {
        version: deployment.version,
        deployed: Some(Arc::new(deployed)),
        ..epoch(deployment.epoch.0, vec![])
    }
}

fn rolled_back() -> Outcome {
    Outcome::RolledBack {
        reason: "it traps; \"DROP TABLE\" 'x' \n é".to_owned(),
    }
}

pub(super) async fn deployments_come_back_in_order(harness: &impl LedgerHarness) {
    let mut ledger = harness.open_ledger().await;
    claim(&mut *ledger).await;
    assert_eq!(ledger.deployments().await.unwrap(), []);
    let (first, second) = (deployment(1, 1), deployment(2, 3));
    write(&mut *ledger, &begin(&first, None)).await;
    write(&mut *ledger, &epoch(2, vec![batch(&[row("a", 1)])])).await;
    write(&mut *ledger, &begin(&second, None)).await;
    let both = [first, second];
    assert_eq!(ledger.deployments().await.unwrap(), both);
    drop(ledger);
    let mut later = harness.open_ledger().await;
    claim(&mut *later).await;
    assert_eq!(later.deployments().await.unwrap(), both);
}

pub(super) async fn a_deployment_whose_answer_was_lost_is_there_once(harness: &impl LedgerHarness) {
    let mut ledger = harness.open_ledger().await;
    claim(&mut *ledger).await;
    let first = deployment(1, 1);
    write(&mut *ledger, &begin(&first, None)).await;
    write(&mut *ledger, &begin(&first, None)).await;
    assert_eq!(ledger.deployments().await.unwrap(), [first]);
}

pub(super) async fn the_journal_says_which_version_made_an_epoch(harness: &impl LedgerHarness) {
    let mut ledger = harness.open_ledger().await;
    claim(&mut *ledger).await;
    for (number, version) in [(1, 1), (2, 1), (3, 4), (4, 5)] {
        let output = EpochOutput {
            version: Version(version),
            ..epoch(number, vec![batch(&[row("a", 1)])])
        };
        write(&mut *ledger, &output).await;
    }
    let journal = ledger.journal(EpochId(1), 2).await.unwrap();
    let versions: Vec<(EpochId, Version)> = journal.iter().map(|e| (e.epoch, e.version)).collect();
    let expected = [(EpochId(2), Version(1)), (EpochId(3), Version(4))];
    assert_eq!(versions, expected);
}

pub(super) async fn what_became_of_a_deployment_is_kept(harness: &impl LedgerHarness) {
    let mut ledger = harness.open_ledger().await;
    claim(&mut *ledger).await;
    let (mut first, second) = (deployment(1, 1), deployment(2, 2));
    write(&mut *ledger, &begin(&first, None)).await;
    write(&mut *ledger, &begin(&second, None)).await;
    // The other one, and what is not there, are left alone.
    for outcome in [rolled_back(), Outcome::Accepted] {
        ledger.conclude(Version(1), &outcome).await.unwrap();
        first.outcome = outcome;
        let both = [first.clone(), second.clone()];
        assert_eq!(ledger.deployments().await.unwrap(), both);
    }
    ledger.conclude(Version(9), &rolled_back()).await.unwrap();
    drop(ledger);
    let mut later = harness.open_ledger().await;
    claim(&mut *later).await;
    assert_eq!(later.deployments().await.unwrap(), [first, second]);
}

pub(super) async fn a_version_that_takes_anothers_place_says_what_became_of_it(
    harness: &impl LedgerHarness,
) {
    let mut ledger = harness.open_ledger().await;
    claim(&mut *ledger).await;
    let (mut first, second) = (deployment(1, 1), deployment(2, 2));
    write(&mut *ledger, &begin(&first, None)).await;
    let output = begin(&second, Some((Version(1), rolled_back())));
    write(&mut *ledger, &output).await;
    first.outcome = rolled_back();
    assert_eq!(ledger.deployments().await.unwrap(), [first, second]);
}

pub(super) async fn a_host_that_was_overtaken_deploys_and_concludes_nothing(
    harness: &impl LedgerHarness,
) {
    let mut old = harness.open_ledger().await;
    claim(&mut *old).await;
    let first = deployment(1, 1);
    write(&mut *old, &begin(&first, None)).await;
    let mut new = harness.open_ledger().await;
    claim(&mut *new).await;

    let error = old.conclude(Version(1), &rolled_back()).await.unwrap_err();
    assert!(matches!(error, SinkError::Fenced { .. }), "{error}");
    let output = begin(&deployment(2, 2), Some((Version(1), rolled_back())));
    let error = old.write(&output).await.unwrap_err();
    assert!(matches!(error, SinkError::Fenced { .. }), "{error}");

    assert_eq!(new.deployments().await.unwrap(), [first]);
    assert_eq!(new.journal(EpochId(0), usize::MAX).await.unwrap().len(), 1);
}

/// A table of this name, in place of those of the harness.
fn targets(table: &str) -> Targets {
    let table = TableTarget::new(&rows::table(table), &rows::schema()).unwrap();
    Targets {
        tables: vec![table],
        ..Targets::default()
    }
}

pub(super) async fn rows_go_to_the_tables_that_a_ledger_is_aimed_at(harness: &impl LedgerHarness) {
    let mut ledger = harness.open_ledger().await;
    claim(&mut *ledger).await;
    let sales = epoch(1, vec![batch(&[row("a", 1)])]);
    write(&mut *ledger, &sales).await;
    let go_on = async |ledger: &mut dyn Ledger, table: &str, output: &EpochOutput| {
        ledger.aim(&targets(table)).unwrap();
        ledger.prepare().await.unwrap();
        write(ledger, output).await;
    };
    let elsewhere = epoch(2, vec![batch(&[row("a", 2), row("b", 2)])]);
    go_on(&mut *ledger, "other", &elsewhere).await;
    assert_eq!(harness.rows().await, stored(&[row("a", 1)]));
    let back = epoch(3, vec![batch(&[row("c", 3)])]);
    go_on(&mut *ledger, "sales", &back).await;
    assert_eq!(harness.rows().await, stored(&[row("a", 1), row("c", 3)]));
    // Nothing else has changed by it.
    assert_eq!(claim(&mut *ledger).await.epoch, EpochId(3));
}
