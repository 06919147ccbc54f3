//! The way from the states that reading begins with along the journal.

use std::collections::VecDeque;

use super::PipelineError;
use super::reader::Rebuild;
use super::recover::Restored;
use crate::deployment::Version;
use crate::epoch::{EpochId, JournalEntry};
use crate::record::Positions;

/// What is read again, from where on.
pub(super) struct Path {
    /// where the records begin
    base: Positions,
    /// the epoch that has the states that it begins with, and the version that they are of
    pub(super) start: (EpochId, Version),
    pub(super) rebuild: Option<Rebuild>,
    pub(super) replay: VecDeque<JournalEntry>,
}

impl Path {
    /// The way from the checkpoint, or else from the first epoch, along `journal`. That has the epochs
    /// after the checkpoint, or else all that it still has.
    ///
    /// # Errors
    ///
    /// [`PipelineError::JournalGap`]: an epoch is missing in between.
    pub(super) fn along(
        journal: Vec<JournalEntry>,
        checkpoint: Option<&Restored>,
    ) -> Result<Self, PipelineError> {
        let mut replay = VecDeque::from(journal);
        let mut rebuild = None;
        let (start, base) = if let Some(restored) = checkpoint {
            let start = (restored.epoch, restored.version);
            (start, restored.positions.clone())
        } else {
            let first = replay
                .pop_front()
                .filter(|entry| entry.epoch == EpochId::FIRST);
            let first = first.ok_or(PipelineError::JournalGap(EpochId::FIRST))?;
            // What came between has been forgotten: its records have to be decided again.
            let gap = replay
                .front()
                .is_some_and(|entry| entry.epoch > EpochId::FIRST.next());
            let mut start = (EpochId::FIRST, first.version);
            if gap && let Some(oldest) = replay.pop_front() {
                start = (oldest.epoch, oldest.version);
                rebuild = Some(Rebuild {
                    epoch: oldest.epoch,
                    end: oldest.positions,
                    rows: 0,
                });
            }
            (start, first.positions)
        };
        let mut before = start.0;
        for entry in &replay {
            if entry.epoch != before.next() {
                return Err(PipelineError::JournalGap(before.next()));
            }
            before = entry.epoch;
        }
        Ok(Self {
            base,
            start,
            rebuild,
            replay,
        })
    }

    /// The epoch that it leads to; `None` when nothing is read again.
    pub(super) fn end(&self) -> Option<EpochId> {
        let rebuilt = self.rebuild.as_ref().map(|rebuild| rebuild.epoch);
        self.replay.back().map(|entry| entry.epoch).or(rebuilt)
    }

    /// The positions that it leads to.
    pub(super) fn to(&self) -> &Positions {
        let rebuilt = self
            .rebuild
            .as_ref()
            .map_or(&self.base, |rebuild| &rebuild.end);
        self.replay.back().map_or(rebuilt, |entry| &entry.positions)
    }

    /// Where reading begins, of the partitions that have positions in `live`. Those that the base does
    /// not know begin where the first epoch that has them says, which has no records of them. Where
    /// that is forgotten, it was their very first record.
    pub(super) fn from(&self, live: &Positions) -> Positions {
        let forgotten = self.rebuild.iter();
        let begin = |partition| {
            let mut first = self.replay.iter().map(|entry| &entry.positions);
            let first = first.find_map(|positions| positions.get(partition));
            let forgotten = forgotten.clone().find_map(|r| r.end.get(partition));
            let begin = self.base.get(partition).or(forgotten.map(|_| 0));
            begin.or(first)
        };
        live.iter()
            .map(|(partition, next)| (partition, begin(partition).unwrap_or(next)))
            .collect()
    }

    /// Says so in the log.
    pub(super) fn announce(&self, checkpoint: EpochId) {
        if let Some(rebuild) = &self.rebuild {
            tracing::warn!(
                up_to_epoch = rebuild.epoch.0,
                "no checkpoint can be used: making the states anew from all records since the beginning; \
                 nothing is written meanwhile, and which of these records are rejected is decided again"
            );
        }
        tracing::info!(
            checkpoint = checkpoint.0,
            epochs = self.replay.len(),
            "reading the epochs since the checkpoint again"
        );
    }
}
