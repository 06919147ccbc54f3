//! Rows through an aggregate: folded, merged and finished, one row a group.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context;
use arrow_array::RecordBatch;

use super::{LAW_ROWS_MAX, Trial, batches, joined};
use crate::aggregate::{
    AggregateStage, FoldedRows, Layout, Partial, StateKind, StateTable, Touched,
};
use crate::cli::subject::{Subject, rows};
use crate::cli::terminal;
use crate::record::{Rejection, Rows};
use crate::schema::Schema;

/// What the aggregate makes of the rows.
pub(super) fn run(subject: &Subject, input: &Schema, rows: &Rows) -> anyhow::Result<Trial> {
    let mut bench = Bench::new(subject, input)?;
    let mut rejected = Vec::new();
    let mut good = rows.clone();
    let partials = loop {
        match bench.fold(batches(&good))? {
            Ok(partials) => break partials,
            Err(rejections) => {
                let records = rejections.iter().map(|rejection| rejection.record);
                good = rows::without(&good, &records.collect::<BTreeSet<_>>());
                rejected.extend(rejections);
            }
        }
    };
    rejected.sort_by_key(|rejection| rejection.record);
    let output = bench.layout.output().clone();
    let finished = bench.finish(&[partials])?;
    let columns = 0..output.fields().len();
    let mut trial = Trial {
        rows: joined(&output, &finished)?,
        output,
        records: None,
        rejected,
        shown: (Vec::new(), columns.collect()),
        tried: 0,
        broken_law: None,
    };
    let first = rows::slice(&good, 0, good.records.len().min(LAW_ROWS_MAX));
    bench.try_cuts(&first, &mut trial)?;
    Ok(trial)
}

/// An aggregate outside of a pipeline.
struct Bench<'a> {
    subject: &'a Subject,
    input: &'a Schema,
    layout: Layout,
    stage: AggregateStage,
}

impl<'a> Bench<'a> {
    fn new(subject: &'a Subject, input: &'a Schema) -> anyhow::Result<Self> {
        let Subject {
            component,
            stage,
            config,
            limits,
            key,
            window,
            ..
        } = subject;
        let guest = component.aggregate(stage, input, config, limits)?;
        let contract = guest.contract();
        let kind = StateKind {
            columns: contract.state.clone(),
            version: contract.state_version,
        };
        let layout = Layout::new(input, key, window, kind, &contract.output)?;
        let needs = contract.needs.clone();
        let bytes_max = guest.input_bytes_max();
        let name: Arc<str> = stage.as_str().into();
        let stage = AggregateStage::new(name, Box::new(guest), needs, &layout, bytes_max);
        Ok(Self {
            subject,
            input,
            layout,
            stage,
        })
    }

    /// Folds batches, each on its own. The inner error: rows that the guest rejects.
    fn fold(
        &mut self,
        batches: impl Iterator<Item = Rows>,
    ) -> anyhow::Result<Result<Vec<Partial>, Vec<Rejection>>> {
        let (mut partials, mut rejected) = (Vec::new(), Vec::new());
        for batch in batches {
            match self.stage.fold(&batch)? {
                FoldedRows::Partials(more) => partials.extend(more),
                FoldedRows::Rejected(more) => rejected.extend(more),
            }
        }
        Ok(if rejected.is_empty() {
            Ok(partials)
        } else {
            Err(rejected)
        })
    }

    /// Merges the partials, those of each list at once and list by list, and finishes the states.
    fn finish(&self, lists: &[Vec<Partial>]) -> anyhow::Result<Vec<RecordBatch>> {
        let Subject {
            component,
            stage,
            config,
            limits,
            ..
        } = self.subject;
        let guest = component.aggregate(stage, self.input, config, limits)?;
        let bytes_max = guest.input_bytes_max();
        let name: Arc<str> = stage.as_str().into();
        let mut table = StateTable::new(name, self.layout.clone(), Box::new(guest), bytes_max);
        for partials in lists {
            table.merge(partials)?;
        }
        let touched = Touched::by(&lists.concat());
        Ok(table.rows(&touched)?)
    }

    /// Tries the laws of aggregates: that it makes no difference how rows are cut into batches, and
    /// in which order states are merged.
    fn try_cuts(&mut self, rows: &Rows, trial: &mut Trial) -> anyhow::Result<()> {
        let count = rows.records.len();
        let alone = || (0..count).map(|row| rows::slice(rows, row, 1));
        let middle = count / 2;
        let halves = [
            rows::slice(rows, 0, middle),
            rows::slice(rows, middle, count - middle),
        ];

        let whole = self.partials(std::iter::once(rows.clone()))?;
        let whole = self.lines(&[whole])?;
        let alone = self.partials(alone())?;
        let backwards: Vec<Partial> = alone.iter().rev().cloned().collect();
        let singly = alone.iter().map(|partial| vec![partial.clone()]).collect();
        let halves = self.partials(halves.into_iter().filter(|half| !half.records.is_empty()))?;
        let cuts = [
            ("one row at a time", vec![alone]),
            ("from the last row to the first", vec![backwards]),
            ("merged one by one", singly),
            ("in two halves", vec![halves]),
        ];
        for (how, lists) in cuts {
            let cut = self.lines(&lists)?;
            if let Some((whole, cut)) = whole.iter().zip(&cut).find(|(whole, cut)| whole != cut) {
                trial.broken_law = Some(format!(
                    "it must make no difference how rows are cut and merged, but all {count} rows at \
                     once give {}, and {how} {}",
                    terminal::cell(whole),
                    terminal::cell(cut)
                ));
                return Ok(());
            }
        }
        trial.tried = count;
        Ok(())
    }

    fn partials(&mut self, batches: impl Iterator<Item = Rows>) -> anyhow::Result<Vec<Partial>> {
        self.fold(batches)?.ok().context(
            "the guest breaks a law of the contract: it rejects a row that it folded in another batch",
        )
    }

    /// The finished rows in an order that does not depend on how they came about.
    fn lines(&self, lists: &[Vec<Partial>]) -> anyhow::Result<Vec<String>> {
        let finished = self.finish(lists)?;
        let mut lines: Vec<String> = finished.iter().flat_map(rows::render).collect();
        lines.sort();
        Ok(lines)
    }
}
