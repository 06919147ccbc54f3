//! Deployments as the databases keep them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::journal::{offsets, offsets_json, parse_offsets};
use crate::checkpoint::FileRef;
use crate::deployment::{Backfills, Blueprint, Deployment, Outcome, Rejections, Trigger, Version};
use crate::epoch::EpochId;
use crate::record::Partition;

/// A row of `wasmill_deployments`, in the order of its columns behind the pipeline.
pub(super) struct Stored {
    pub(super) version: i64,
    pub(super) trigger: String,
    /// in RFC 3339
    pub(super) deployed_at: String,
    pub(super) epoch: i64,
    pub(super) offsets: String,
    pub(super) pipeline_toml: String,
    pub(super) components: String,
    pub(super) configs: String,
    pub(super) states: String,
    pub(super) logic: String,
    pub(super) backfills: String,
    pub(super) former_records: i64,
    pub(super) former_rejected: i64,
    pub(super) outcome: String,
    pub(super) reason: Option<String>,
}

impl From<&Deployment> for Stored {
    fn from(deployment: &Deployment) -> Self {
        let Blueprint {
            pipeline,
            components,
            configs,
            states,
            logic,
        } = &deployment.blueprint;
        let at = deployment.deployed_at;
        Self {
            version: deployment.version.0.into(),
            trigger: deployment.trigger.name().to_owned(),
            deployed_at: at.to_rfc3339_opts(SecondsFormat::Micros, true),
            epoch: deployment.epoch.0.cast_signed(),
            offsets: offsets_json(&deployment.positions),
            pipeline_toml: pipeline.clone(),
            components: serde_json::json!(components).to_string(),
            configs: configs.to_string(),
            states: states.to_string(),
            logic: logic.clone(),
            backfills: backfills_json(&deployment.backfills),
            former_records: deployment.former.records.cast_signed(),
            former_rejected: deployment.former.rejected.cast_signed(),
            outcome: deployment.outcome.name().to_owned(),
            reason: deployment.outcome.reason().map(ToOwned::to_owned),
        }
    }
}

impl Stored {
    /// The other way; `None` when it is damaged.
    pub(super) fn read(self) -> Option<Deployment> {
        let json = |text: &str| serde_json::from_str::<Value>(text).ok();
        let components: BTreeMap<String, String> = serde_json::from_str(&self.components).ok()?;
        let at = DateTime::parse_from_rfc3339(&self.deployed_at).ok()?;
        Some(Deployment {
            version: Version(u32::try_from(self.version).ok()?),
            trigger: Trigger::named(&self.trigger)?,
            deployed_at: at.with_timezone(&Utc),
            epoch: EpochId(u64::try_from(self.epoch).ok()?),
            positions: parse_offsets(&self.offsets)?,
            blueprint: Blueprint {
                pipeline: self.pipeline_toml,
                components,
                configs: json(&self.configs)?,
                states: json(&self.states)?,
                logic: self.logic,
            },
            backfills: parse_backfills(&self.backfills)?,
            former: Rejections {
                records: u64::try_from(self.former_records).ok()?,
                rejected: u64::try_from(self.former_rejected).ok()?,
            },
            outcome: Outcome::read(&self.outcome, self.reason)?,
        })
    }
}

/// Backfills as the databases have them:
/// `{"begins": {"totals": {"0": 12}}, "under_way": ["totals"], "joined": {}}`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredBackfills {
    begins: BTreeMap<String, BTreeMap<u32, i64>>,
    under_way: BTreeSet<String>,
    joined: BTreeMap<String, Vec<FileRef>>,
}

fn backfills_json(backfills: &Backfills) -> String {
    let begins = backfills.begins.iter();
    let stored = StoredBackfills {
        begins: begins
            .map(|(name, begin)| (name.clone(), offsets(begin)))
            .collect(),
        under_way: backfills.under_way.clone(),
        joined: backfills.joined.clone(),
    };
    serde_json::json!(stored).to_string()
}

/// The other way; `None` when it is damaged.
fn parse_backfills(json: &str) -> Option<Backfills> {
    let stored: StoredBackfills = serde_json::from_str(json).ok()?;
    let positions = |offsets: BTreeMap<u32, i64>| {
        let offsets = offsets.into_iter();
        offsets.map(|(p, next)| (Partition(p), next)).collect()
    };
    let begins = stored.begins.into_iter();
    Some(Backfills {
        begins: begins
            .map(|(name, begin)| (name, positions(begin)))
            .collect(),
        under_way: stored.under_way,
        joined: stored.joined,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checkpoint::Checksum;

    #[test]
    fn a_deployment_reads_back() {
        let deployment = Deployment {
            version: Version(3),
            trigger: Trigger::File,
            deployed_at: DateTime::from_timestamp_micros(1_700_000_000_000_001).expect("a time"),
            epoch: EpochId(17),
            positions: [(Partition(0), 5)].into_iter().collect(),
            blueprint: Blueprint {
                pipeline: "[pipeline]".to_owned(),
                components: [("a".to_owned(), "00ff".to_owned())].into(),
                configs: json!({ "sales": { "base": "USD" } }),
                states: json!({}),
                logic: "abc".to_owned(),
            },
            backfills: Backfills {
                begins: [(
                    "totals".to_owned(),
                    [(Partition(3), 7)].into_iter().collect(),
                )]
                .into(),
                under_way: ["totals".to_owned()].into(),
                joined: [(
                    "days".to_owned(),
                    vec![FileRef {
                        name: "backfills/days/1.arrow".to_owned(),
                        rows: 1,
                        bytes: 2,
                        checksum: Checksum::of(b"x"),
                    }],
                )]
                .into(),
            },
            former: Rejections {
                records: 1 << 40,
                rejected: 7,
            },
            outcome: Outcome::RolledBack {
                reason: "it traps".to_owned(),
            },
        };
        assert_eq!(Stored::from(&deployment).read(), Some(deployment));
    }

    #[test]
    fn a_damaged_row_is_no_deployment() {
        let deployment = Deployment {
            version: Version::FIRST,
            trigger: Trigger::Start,
            deployed_at: Utc::now(),
            epoch: EpochId::FIRST,
            positions: [(Partition(0), 5)].into_iter().collect(),
            blueprint: Blueprint::default(),
            backfills: Backfills::default(),
            former: Rejections::default(),
            outcome: Outcome::Accepted,
        };
        let damages: [fn(&mut Stored); 5] = [
            |stored| stored.trigger = "chance".to_owned(),
            |stored| stored.offsets = "[]".to_owned(),
            |stored| stored.components = "3".to_owned(),
            |stored| stored.backfills = "{}".to_owned(),
            |stored| stored.outcome = String::new(),
        ];
        for damage in damages {
            let mut stored = Stored::from(&deployment);
            damage(&mut stored);
            assert_eq!(stored.read(), None);
        }
    }
}
