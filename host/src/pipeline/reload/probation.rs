//! Watching a version that has just come into force.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::LOOK_EVERY;
use crate::config;
use crate::deployment::Version;
use crate::pipeline::monitor::Monitor;
use crate::pipeline::versions::{Tally, Versions};

/// Below so many records, the share of those that are rejected says nothing before the probation ends.
const RECORDS_MIN: u64 = 10_000;
/// Nor then below so many.
const RECORDS_MIN_AT_END: u64 = 100;
/// Of fewer records than [`RECORDS_MIN`] it has to be too large by so many standard deviations: a few bad
/// records in a row are chance.
const DEVIATIONS: f64 = 3.0;

/// Where nothing is known of the version before, it has to be a larger share than this, from 0 to 1.
const UNKNOWN_SHARE_MAX: f64 = 0.5;

/// A version that is watched, or none.
pub(super) struct Probation(Option<Watched>);

struct Watched {
    version: Version,
    until: Instant,
    /// by how much the share of rejected records may rise
    rejected_share: f64,
    /// what the version before did
    before: Tally,
}

impl Probation {
    /// Nothing is watched.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Watches a version from now on.
    pub(super) fn of(version: Version, settings: config::Reload, versions: &Arc<Versions>) -> Self {
        Self(Some(Watched {
            version,
            until: Instant::now() + settings.probation,
            rejected_share: settings.rejected_share,
            before: versions.measure_of(version),
        }))
    }

    /// Whether one is watched.
    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Waits for the end of it: the version has passed, or why it has not. Never, where nothing is
    /// watched.
    ///
    /// A version that has finished nothing yet, while there are records that it works on, is watched for
    /// longer: calls that run to their limits take their time to fail.
    pub(super) async fn verdict(
        &self,
        versions: &Arc<Versions>,
        monitor: &Monitor,
    ) -> Result<Version, String> {
        let Some(watched) = &self.0 else {
            return std::future::pending().await;
        };
        loop {
            let is_working = monitor.has_unfinished_records();
            let tally = versions.tally(watched.version);
            let left = watched.until.saturating_duration_since(Instant::now());
            let is_over = left == Duration::ZERO && !(is_working && tally.records == 0);
            if let Some(reason) = watched.fault(&tally, is_over) {
                return Err(reason);
            }
            if is_over {
                return Ok(watched.version);
            }
            let pause = if left == Duration::ZERO {
                LOOK_EVERY
            } else {
                left.min(LOOK_EVERY)
            };
            tokio::time::sleep(pause).await;
        }
    }
}

impl Watched {
    /// What is wrong with it, as far as can be told by now, or at the end.
    fn fault(&self, tally: &Tally, at_end: bool) -> Option<String> {
        if tally.failed > 0 && self.before.failed == 0 {
            let example = tally.example.as_deref().unwrap_or_default();
            return Some(format!(
                "its code fails on {} of the first {} records, on which the version before did not: {example}",
                tally.failed, tally.records
            ));
        }
        let (share, before) = (tally.rejected_share(), self.before.rejected_share());
        let most = if self.before.records == 0 {
            UNKNOWN_SHARE_MAX
        } else {
            before + self.rejected_share
        };
        let records = tally.records as f64;
        let chance = DEVIATIONS * (most * (1.0 - most).max(0.0) / records.max(1.0)).sqrt();
        let most = match tally.records {
            RECORDS_MIN.. => most,
            RECORDS_MIN_AT_END.. if at_end => most + chance,
            _ => return None,
        };
        (share > most).then(|| {
            format!(
                "it rejects {:.2} % of the first {} records, the version before {:.2} % (`rejected_share` of `[reload]`)",
                100.0 * share,
                tally.records,
                100.0 * before
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(before: Tally) -> Watched {
        Watched {
            version: Version(2),
            until: Instant::now(),
            rejected_share: 0.01,
            before,
        }
    }

    fn tally(records: u64, rejected: u64, failed: u64) -> Tally {
        Tally {
            records,
            rejected,
            failed,
            example: None,
        }
    }

    #[tokio::test]
    async fn a_share_of_rejected_records_counts_from_ten_thousand_on() {
        let watched = watched(tally(100_000, 2_000, 0));
        assert_eq!(watched.fault(&tally(9_999, 9_999, 0), false), None);
        assert_eq!(watched.fault(&tally(10_000, 299, 0), false), None);
        let fault = watched
            .fault(&tally(10_000, 400, 0), false)
            .expect("it rejects too many");
        assert!(
            fault.starts_with("it rejects 4.00 % of the first 10000 records"),
            "{fault}"
        );
    }

    #[tokio::test]
    async fn at_the_end_fewer_records_count_where_it_is_no_chance() {
        let watched = watched(tally(100_000, 2_000, 0));
        assert_eq!(watched.fault(&tally(99, 99, 0), true), None);
        assert_eq!(watched.fault(&tally(100, 8, 0), true), None);
        assert!(watched.fault(&tally(100, 9, 0), true).is_some());
        assert_eq!(watched.fault(&tally(5_000, 180, 0), true), None);
        assert!(watched.fault(&tally(5_000, 200, 0), true).is_some());
    }

    #[tokio::test]
    async fn where_nothing_is_known_of_the_version_before_half_of_the_records_may_be_bad() {
        let watched = watched(Tally::default());
        assert_eq!(watched.fault(&tally(20_000, 10_000, 0), true), None);
        assert!(watched.fault(&tally(20_000, 10_001, 0), true).is_some());
    }

    #[tokio::test]
    async fn one_record_on_which_the_code_fails_is_enough_unless_it_did_before() {
        assert!(
            watched(tally(100, 0, 0))
                .fault(&tally(1, 1, 1), false)
                .is_some()
        );
        assert_eq!(
            watched(tally(100, 1, 1)).fault(&tally(1, 1, 1), false),
            None
        );
    }
}
