//! Rows through a transform.

use std::collections::{BTreeMap, BTreeSet};

use super::{LAW_ROWS_MAX, Trial, batches, joined};
use crate::cli::subject::{Subject, rows};
use crate::guest::{OutputColumn, TransformContract};
use crate::record::Rows;
use crate::schema::Schema;
use crate::transform::TransformStage;

/// What the transform makes of the rows.
pub(super) fn run(subject: &Subject, input: &Schema, rows: &Rows) -> anyhow::Result<Trial> {
    let Subject {
        component,
        stage,
        config,
        limits,
        ..
    } = subject;
    let guest = component.transform(stage, input, config, limits)?;
    let shown = shown(guest.contract(), input);
    let mut stage = TransformStage::new(stage, guest);
    let output = stage.output().clone();

    let (mut made, mut records, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    for batch in batches(rows) {
        let batch = stage.apply(&batch, &mut rejected)?;
        made.push(batch.columns);
        records.extend(batch.records);
    }
    rejected.sort_by_key(|rejection| rejection.record);
    let whole = Rows {
        columns: joined(&output, &made)?,
        records,
    };
    let mut trial = Trial {
        output,
        rows: whole.columns.clone(),
        records: Some(whole.records.clone()),
        rejected,
        shown,
        tried: 0,
        broken_law: None,
    };
    try_alone(&mut stage, rows, &whole, &mut trial)?;
    Ok(trial)
}

/// The input columns that the guest reads, or all of them where it reads none, and the output
/// columns that it makes.
fn shown(contract: &TransformContract, input: &Schema) -> (Vec<usize>, Vec<usize>) {
    let read = if contract.needs.is_empty() {
        (0..input.fields().len()).collect()
    } else {
        contract.needs.clone()
    };
    let sources = contract.sources.iter().enumerate();
    let made = sources.filter(|(_, source)| matches!(source, OutputColumn::Returned(_)));
    (read, made.map(|(column, _)| column).collect())
}

/// Tries the law that what becomes of a row depends on that row alone: the first rows that were
/// not rejected once more, each in a batch of its own and from the last to the first.
fn try_alone(
    stage: &mut TransformStage,
    rows: &Rows,
    whole: &Rows,
    trial: &mut Trial,
) -> anyhow::Result<()> {
    let first = whole.records.partition_point(|&record| {
        let limit = rows.records.get(LAW_ROWS_MAX);
        limit.is_none_or(|&limit| record < limit)
    });
    let first = rows::slice(whole, 0, first);
    let mut together: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (line, &record) in rows::render(&first.columns).into_iter().zip(&first.records) {
        together.entry(record).or_default().push(line);
    }
    let left: BTreeSet<u32> = trial.rejected.iter().map(|r| r.record).collect();
    let count = rows.records.len().min(LAW_ROWS_MAX);
    for row in (0..count).rev() {
        let record = rows.records[row];
        if left.contains(&record) {
            continue;
        }
        let mut rejected = Vec::new();
        let alone = stage.apply(&rows::slice(rows, row, 1), &mut rejected)?;
        let alone = match rejected.first() {
            Some(rejection) => vec![format!("rejected: {}", rejection.reason)],
            None => rows::render(&alone.columns),
        };
        let together = together.get(&record).map_or(&[][..], Vec::as_slice);
        if alone != together {
            trial.broken_law = Some(format!(
                "what becomes of a row must depend on that row alone, but row {} gives {} among the \
                 others and {} on its own",
                row + 1,
                shown_lines(together),
                shown_lines(&alone)
            ));
            return Ok(());
        }
        trial.tried += 1;
    }
    Ok(())
}

fn shown_lines(lines: &[String]) -> String {
    if lines.is_empty() {
        "nothing".to_owned()
    } else {
        crate::cli::terminal::cell(&lines.join(", "))
    }
}
