//! Deployments as the databases keep them.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

use super::journal::{offsets_json, parse_offsets};
use crate::deployment::{Blueprint, Deployment, Outcome, Trigger, Version};
use crate::epoch::EpochId;

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
            outcome: Outcome::read(&self.outcome, self.reason)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::Partition;

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
            outcome: Outcome::Accepted,
        };
        let damages: [fn(&mut Stored); 4] = [
            |stored| stored.trigger = "chance".to_owned(),
            |stored| stored.offsets = "[]".to_owned(),
            |stored| stored.components = "3".to_owned(),
            |stored| stored.outcome = String::new(),
        ];
        for damage in damages {
            let mut stored = Stored::from(&deployment);
            damage(&mut stored);
            assert_eq!(stored.read(), None);
        }
    }
}
