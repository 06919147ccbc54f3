//! Deployments: which version of a pipeline's logic made which epochs.
//!
//! Every change of the logic is a deployment with a number of its own, the start of the pipeline
//! included. It begins with an epoch without records, in whose transaction it is written down; so for
//! every record there is exactly one deployment that it went through, in a replay as well.
//!
//! # Not here
//!
//! How one comes to be: [`crate::reload`]. Where it is written down: [`crate::sink::Ledger`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint::FileRef;
use crate::epoch::EpochId;
use crate::record::Positions;

/// Digits of a component's digest that a person needs to tell it from others.
pub(crate) const DIGEST_DIGITS: usize = 12;

/// The number of a deployment; the first is 1, and 0 is "none yet".
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub u32);

impl Version {
    /// The one that a pipeline begins with.
    pub const FIRST: Self = Self(1);

    /// The one after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What asked for a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// the host was started with a file that had changed, or for the first time
    Start,
    /// a file has changed
    File,
    /// SIGHUP
    Signal,
    /// `wasmill reload`, or whoever else asked the admin server
    Api,
    /// `wasmill rollback`
    Rollback,
    /// the version before it failed in its probation
    Probation,
    /// an aggregate has all that came before it
    Backfill,
}

impl Trigger {
    /// As it is written down: one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::File => "file",
            Self::Signal => "signal",
            Self::Api => "api",
            Self::Rollback => "rollback",
            Self::Probation => "probation",
            Self::Backfill => "backfill",
        }
    }

    /// The trigger of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Self::Start,
            Self::File,
            Self::Signal,
            Self::Api,
            Self::Rollback,
            Self::Probation,
            Self::Backfill,
        ];
        all.into_iter().find(|trigger| trigger.name() == name)
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What became of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// it is in force, and watched
    Probation,
    /// it has passed its probation, or needed none
    Accepted,
    /// it did not, and the version before came back
    RolledBack {
        /// why
        reason: String,
    },
}

/// All that it takes to make a version of the logic again, and to compare it with another one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blueprint {
    /// `pipeline.toml` as it is written: variables are not expanded, so that no password is in it
    pub pipeline: String,
    /// SHA-256 of each component's file, in hexadecimal
    pub components: BTreeMap<String, String>,
    /// the configuration of each stage, variables expanded: what its guest was given
    pub configs: Value,
    /// what the states of each aggregate are
    pub states: Value,
    /// a digest of everything that rows and states depend on
    pub logic: String,
}

/// Aggregates that are given what came before them, from the start of the topic on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backfills {
    /// each of them that the version has, and the first offset of each partition that it has folded itself
    pub begins: BTreeMap<String, Positions>,
    /// those that lack what came before in this version: no sink is shown their rows
    pub under_way: BTreeSet<String>,
    /// those that get it with the epoch that this version begins with, and the files that it is in
    pub joined: BTreeMap<String, Vec<FileRef>>,
}

/// How many of its records a version has rejected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rejections {
    /// offsets that it went over
    pub records: u64,
    /// records that some stage left out
    pub rejected: u64,
}

/// A version of the pipeline's logic, and since when it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// its number
    pub version: Version,
    /// what asked for it
    pub trigger: Trigger,
    /// when it came into force
    pub deployed_at: DateTime<Utc>,
    /// the epoch that it begins with, which has no records
    pub epoch: EpochId,
    /// the first offset of each partition that it is about
    pub positions: Positions,
    /// what it consists of
    pub blueprint: Blueprint,
    /// what is made of records that came before it
    pub backfills: Backfills,
    /// what the version before had done, as far as it is known: what this one is measured by
    pub former: Rejections,
    /// what became of it
    pub outcome: Outcome,
}

impl Outcome {
    /// As it is written down: one word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Probation => "probation",
            Self::Accepted => "accepted",
            Self::RolledBack { .. } => "rolled_back",
        }
    }

    /// Why it was rolled back.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::RolledBack { reason } => Some(reason),
            Self::Probation | Self::Accepted => None,
        }
    }

    /// The other way; `None` for a word that is none of them.
    #[must_use]
    pub fn read(name: &str, reason: Option<String>) -> Option<Self> {
        match name {
            "probation" => Some(Self::Probation),
            "accepted" => Some(Self::Accepted),
            "rolled_back" => Some(Self::RolledBack {
                reason: reason.unwrap_or_default(),
            }),
            _ => None,
        }
    }
}

impl Blueprint {
    /// What is not as it was before: components by name and digest, stages by name, or only that there is
    /// something else. Configurations are not quoted: there may be secrets in them.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Vec<String> {
        let short = |digest: &str| digest.chars().take(DIGEST_DIGITS).collect::<String>();
        let mut changes = Vec::new();
        for (name, digest) in &self.components {
            match before.components.get(name) {
                None => changes.push(format!("component `{name}` is new")),
                Some(old) if old != digest => changes.push(format!(
                    "component `{name}` was {}, is {}",
                    short(old),
                    short(digest)
                )),
                Some(_) => {}
            }
        }
        let gone = before.components.keys();
        let gone = gone.filter(|name| !self.components.contains_key(*name));
        changes.extend(gone.map(|name| format!("component `{name}` is gone")));
        for (ours, theirs, what) in [
            (&self.configs, &before.configs, "config"),
            (&self.states, &before.states, "state"),
        ] {
            let stages = ours.as_object().into_iter().flatten();
            let others = stages.filter(|(name, value)| {
                let old = theirs.get(name.as_str());
                old.is_some_and(|old| old != *value)
            });
            changes.extend(others.map(|(name, _)| format!("{what} of stage `{name}`")));
        }
        if changes.is_empty() && self.logic != before.logic {
            changes.push("stages, columns, tables or limits in pipeline.toml".to_owned());
        }
        changes
    }
}

impl Backfills {
    /// Whether the rows of an aggregate are not to be shown yet.
    #[must_use]
    pub fn hides(&self, aggregate: &str) -> bool {
        self.under_way.contains(aggregate)
    }

    /// What is under way still when these aggregates join, whose states are in these files.
    #[must_use]
    pub fn join(&self, joined: BTreeMap<String, Vec<FileRef>>) -> Self {
        let mut under_way = self.under_way.clone();
        under_way.retain(|name| !joined.contains_key(name));
        Self {
            begins: self.begins.clone(),
            under_way,
            joined,
        }
    }

    /// One more aggregate that lacks what came before it; where it begins is not known yet.
    pub fn add(&mut self, aggregate: String) {
        self.begins.insert(aggregate.clone(), Positions::default());
        self.under_way.insert(aggregate);
    }

    /// An aggregate that was there goes on as it was.
    pub fn go_on(&mut self, aggregate: &str, before: &Self) {
        if let Some(begin) = before.begins.get(aggregate) {
            self.begins.insert(aggregate.to_owned(), begin.clone());
        }
        if before.hides(aggregate) {
            self.under_way.insert(aggregate.to_owned());
        }
    }

    /// Those that lack what came before them, with where they begin.
    pub fn lacking(&self) -> impl Iterator<Item = (&String, &Positions)> {
        let begins = self.begins.iter();
        begins.filter(|(name, _)| self.under_way.contains(*name))
    }

    /// Aggregates that are new have themselves what comes from these positions on.
    pub fn begin_at(&mut self, positions: &Positions) {
        let begins = self.begins.values_mut();
        let new = begins.filter(|begin| **begin == Positions::default());
        new.for_each(|begin| begin.clone_from(positions));
    }
}

impl Deployment {
    /// The one that was in force at an epoch, of those in order.
    #[must_use]
    pub fn at(deployments: &[Self], epoch: EpochId) -> Option<&Self> {
        deployments
            .iter()
            .rfind(|deployment| deployment.epoch <= epoch)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn blueprint(component: (&str, &str), rate: u32) -> Blueprint {
        Blueprint {
            components: [(component.0.to_owned(), component.1.to_owned())].into(),
            configs: json!({ "sales": { "rate": rate } }),
            ..Blueprint::default()
        }
    }

    #[test]
    fn what_changed_is_named_without_the_values_of_configurations() {
        let before = blueprint(("currency", "0123456789abcdef"), 777);
        assert!(before.changes_since(&before).is_empty());
        let other = blueprint(("currency", "fedcba9876543210"), 778);
        assert_eq!(
            other.changes_since(&before),
            [
                "component `currency` was 0123456789ab, is fedcba987654",
                "config of stage `sales`"
            ]
        );
        let renamed = blueprint(("money", "00"), 777);
        let expected = ["component `money` is new", "component `currency` is gone"];
        assert_eq!(renamed.changes_since(&before), expected);
    }

    #[test]
    fn where_nothing_simple_changed_the_rest_did() {
        let before = blueprint(("currency", "00"), 1);
        let other = Blueprint {
            logic: "another".to_owned(),
            ..before.clone()
        };
        assert_eq!(other.changes_since(&before).len(), 1);
    }
}
