//! Records that are taken up again: a version that was rolled back had rejected them.
//!
//! # Invariants
//!
//! An epoch that takes up records again has no others and moves no positions. A replay reads exactly
//! these again, but for those that it excludes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::EpochOutput;
use crate::record::{DeadLetter, Origin};

/// Records that some stage rejected, by the name of the stage.
pub type ByStage = BTreeMap<Arc<str>, BTreeSet<Origin>>;

/// The records of letters.
pub(crate) fn by_stage<'a>(letters: impl Iterator<Item = &'a DeadLetter>) -> ByStage {
    let mut records = ByStage::new();
    for letter in letters {
        if let Some(of_stage) = records.get_mut(letter.stage.as_str()) {
            of_stage.insert(letter.origin);
        } else {
            let stage = letter.stage.as_str().into();
            records.insert(stage, [letter.origin].into());
        }
    }
    records
}

/// What an epoch takes up again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readmission {
    /// the records, by the stage that rejected them
    pub records: ByStage,
    /// those of them that the source does not have any more: they stay left out
    pub gone: BTreeSet<Origin>,
}

impl Readmission {
    /// Notes in the output of its epoch, which has what the stages made of the records, which these are
    /// and what became of them.
    pub(super) fn note(&self, output: &mut EpochOutput) {
        output.excluded.extend(&self.gone);
        for (stage, records) in &self.records {
            output.readmitted.extend(records);
            let settled: BTreeSet<Origin> = records.difference(&self.gone).copied().collect();
            if !settled.is_empty() {
                output.settled.insert(Arc::clone(stage), settled);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Partition;

    fn records(offsets: &[i64]) -> BTreeSet<Origin> {
        let offsets = offsets.iter();
        let origin = |&offset| Origin {
            partition: Partition(0),
            offset,
        };
        offsets.map(origin).collect()
    }

    #[test]
    fn letters_are_settled_but_for_those_of_records_that_are_gone() {
        let (decode, sales): (Arc<str>, Arc<str>) = ("decode".into(), "sales".into());
        let readmission = Readmission {
            records: [
                (Arc::clone(&decode), records(&[1])),
                (Arc::clone(&sales), records(&[2, 3, 4])),
            ]
            .into(),
            gone: records(&[1, 2]),
        };
        let mut output = EpochOutput {
            excluded: records(&[3]),
            ..EpochOutput::default()
        };
        readmission.note(&mut output);
        assert_eq!(output.readmitted, records(&[1, 2, 3, 4]));
        assert_eq!(output.excluded, records(&[1, 2, 3]));
        assert_eq!(output.settled, [(sales, records(&[3, 4]))].into());
    }
}
