//! Whether an epoch's rows are copied straight into their table, or by way of a temporary one.
//!
//! Rows that a chain of transforms makes mostly have keys that the table has not seen: then a COPY into
//! the table itself does what an upsert would do, at little more than half of the server's CPU. It fails
//! where a key is there already. Then the epoch is written again with upserts, and more epochs are before
//! the next attempt: twice as many after each failure, so that a stream whose keys do come again costs
//! hardly more than without any attempt.
//!
//! # Not here
//!
//! Rows of aggregates: their keys come again by nature, so nothing is attempted.

use bytes::BytesMut;

use super::failure::Failure;
use super::progress::Owner;
use super::refused;
use super::session::Session;
use super::write::{TableRows, TableWrite, write_epoch};
use crate::epoch::EpochOutput;
use crate::sink::letters::LetterTable;

/// Epochs between two attempts at most.
const PAUSE_MAX: u32 = 1_024;

/// States in which an upsert may work where COPY does not: beside what is about rows, a table with
/// row-level security.
const NOT_SUPPORTED: &str = "0A000";

/// Whether to attempt it with the next epoch of one table.
#[derive(Debug, Clone, Default)]
pub(super) struct Direct {
    /// epochs before the next attempt
    wait: u32,
    /// the same after the next failure
    pause: u32,
}

impl Direct {
    /// Whether the epoch at hand is to be copied straight into the table. Asked once an epoch that has
    /// rows for it.
    pub(super) fn attempt(&mut self) -> bool {
        let now = self.wait == 0;
        self.wait = self.wait.saturating_sub(1);
        now
    }

    /// An attempt has worked.
    pub(super) fn worked(&mut self) {
        self.pause /= 2;
    }

    /// An attempt has failed.
    pub(super) fn failed(&mut self) {
        self.pause = (self.pause * 2).clamp(1, PAUSE_MAX);
        self.wait = self.pause;
    }
}

/// Writes an epoch, and returns once it is committed: with the attempts that are due, and once more
/// without any where one of them has failed. The slices have one item for each table.
pub(super) async fn write(
    session: &Session,
    owner: &Owner,
    epoch: &EpochOutput,
    letters: Option<&LetterTable>,
    (rows, buffers, direct): (&[TableRows<'_>], &mut [BytesMut], &mut [Direct]),
) -> Result<(), Failure> {
    let attempts = rows.iter().zip(direct.iter_mut());
    let mut attempts: Vec<bool> = attempts
        .map(|(rows, direct)| rows.are_of_records() && direct.attempt())
        .collect();
    loop {
        let staged = &session.statements().tables;
        let mut tables = Vec::with_capacity(rows.len());
        let each = rows.iter().zip(staged).zip(buffers.iter_mut());
        for (((rows, staged), buffer), &is_direct) in each.zip(&attempts) {
            tables.push(TableWrite {
                rows,
                encoders: rows.encoders().map_err(Failure::Sink)?,
                staged,
                buffer,
                is_direct,
            });
        }
        let written = write_epoch(session, owner, epoch, (letters, tables)).await;
        let attempted = direct.iter_mut().zip(&attempts);
        let attempted = attempted.filter_map(|(direct, &attempt)| attempt.then_some(direct));
        let Err(failure) = written else {
            attempted.for_each(Direct::worked);
            return Ok(());
        };
        if !attempts.contains(&true) || !upserts_may_help(&failure) {
            return Err(failure);
        }
        attempted.for_each(Direct::failed);
        attempts.fill(false);
        let rolled_back = session.client().batch_execute("ROLLBACK").await;
        rolled_back.map_err(Failure::to("roll back"))?;
    }
}

/// Whether upserts may do what a COPY into the table could not.
pub(super) fn upserts_may_help(failure: &Failure) -> bool {
    refused::is_about_rows(failure)
        || failure
            .code()
            .is_some_and(|code| code.code() == NOT_SUPPORTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attempts and epochs of a table whose every attempt ends like this.
    fn attempts(epochs: u32, fails: bool) -> u32 {
        let mut direct = Direct::default();
        let mut attempts = 0;
        for _ in 0..epochs {
            if direct.attempt() {
                attempts += 1;
                if fails {
                    direct.failed();
                } else {
                    direct.worked();
                }
            }
        }
        attempts
    }

    #[test]
    fn every_epoch_is_copied_where_no_key_comes_again() {
        assert_eq!(attempts(1_000, false), 1_000);
    }

    #[test]
    fn where_keys_come_again_attempts_become_rare() {
        assert_eq!(attempts(1_000, true), 10);
        assert!(attempts(100_000, true) < 120);
    }

    #[test]
    fn after_a_rare_failure_attempts_go_on_soon() {
        let mut direct = Direct::default();
        assert!(direct.attempt());
        direct.failed();
        assert!(!direct.attempt());
        assert!(direct.attempt());
        direct.worked();
        assert!(direct.attempt());
        direct.failed();
        assert!(!direct.attempt());
        assert!(direct.attempt());
    }
}
