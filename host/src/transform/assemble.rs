//! Puts the output of a batch together from what the calls returned.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_empty_array,
};
use arrow_schema::DataType;
use arrow_select::concat::concat;
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take;

use crate::guest::{Changes, OutputColumn, TransformContract};
use crate::record::{Rejection, Rows};

/// What one call made of these rows of the batch.
pub(super) struct Piece {
    pub(super) rows: Range<usize>,
    pub(super) changes: Changes,
}

/// The output of a batch. `pieces` are in order; rows in none of them are left out.
pub(super) fn assemble(contract: &TransformContract, input: &Rows, pieces: &[Piece]) -> Rows {
    let selection = selection(input.records.len(), pieces);
    let columns = contract
        .sources
        .iter()
        .map(|&source| match source {
            OutputColumn::Kept(index) => keep(input.columns.column(index), selection.as_ref()),
            OutputColumn::Returned(index) => {
                join(pieces, index, &contract.returns[index].ty.to_arrow())
            }
        })
        .collect();
    let records = match &selection {
        None => input.records.clone(),
        Some(rows) => (rows.values().iter())
            .map(|&row| input.records[row as usize])
            .collect(),
    };
    let options = RecordBatchOptions::new().with_row_count(Some(records.len()));
    let columns =
        RecordBatch::try_new_with_options(contract.output.arrow().clone(), columns, &options)
            .expect("returned columns were checked, and kept ones are those of the input");
    Rows { columns, records }
}

/// The input row of each output row; `None`: each row, once.
fn selection(rows: usize, pieces: &[Piece]) -> Option<UInt32Array> {
    let whole = |piece: &Piece| piece.changes.selection.is_none();
    let covered: usize = pieces.iter().map(|piece| piece.rows.len()).sum();
    if covered == rows && pieces.iter().all(whole) {
        return None;
    }
    let mut selected = Vec::with_capacity(rows);
    for Piece { rows, changes } in pieces {
        let start = rows.start as u32;
        match &changes.selection {
            None => selected.extend(start..rows.end as u32),
            Some(selection) => selected.extend(selection.iter().map(|row| start + row)),
        }
    }
    Some(selected.into())
}

fn keep(column: &ArrayRef, selection: Option<&UInt32Array>) -> ArrayRef {
    match selection {
        None => column.clone(),
        Some(rows) => take(column, rows, None)
            .expect("selected rows are in range, and their bytes were counted"),
    }
}

fn join(pieces: &[Piece], index: usize, ty: &DataType) -> ArrayRef {
    match pieces {
        [] => new_empty_array(ty),
        [piece] => Arc::clone(&piece.changes.columns[index]),
        pieces => {
            let parts: Vec<&dyn Array> = pieces
                .iter()
                .map(|piece| &*piece.changes.columns[index])
                .collect();
            concat(&parts).expect("all parts have one type, and their bytes were counted")
        }
    }
}

/// Bytes of kept columns that a call's selection makes by repeating rows; 0 where it repeats none.
pub(super) fn repeated_bytes(
    contract: &TransformContract,
    columns: &RecordBatch,
    rows: &Range<usize>,
    changes: &Changes,
) -> u64 {
    let Some(selection) = &changes.selection else {
        return 0;
    };
    if selection.is_sorted_by(|a, b| a < b) {
        return 0;
    }
    let kept = contract.sources.iter().filter_map(|source| match source {
        OutputColumn::Kept(index) => Some(columns.column(*index)),
        OutputColumn::Returned(_) => None,
    });
    kept.map(|column| {
        let bytes_of = |row: &u32| value_bytes(column, rows.start + *row as usize);
        selection.iter().map(bytes_of).sum::<u64>()
    })
    .sum()
}

fn value_bytes(column: &ArrayRef, row: usize) -> u64 {
    let bytes = match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value_length(row) as u64,
        DataType::Binary => column.as_binary::<i32>().value_length(row) as u64,
        _ => 0,
    };
    bytes + 8
}

/// The rows that come from none of the rejected records, which are in order.
pub(super) fn without_records(rows: Rows, rejected: &[Rejection]) -> Rows {
    let is_rejected = |record: u32| {
        rejected
            .binary_search_by_key(&record, |rejection| rejection.record)
            .is_ok()
    };
    // Rejected rows are not in the output; only where a record has several can one be left.
    if !rows.records.iter().any(|&record| is_rejected(record)) {
        return rows;
    }
    let stays: Vec<bool> = rows.records.iter().map(|&r| !is_rejected(r)).collect();
    let columns = filter_record_batch(&rows.columns, &BooleanArray::from(stays))
        .expect("there is one flag for each row");
    let mut records = rows.records;
    records.retain(|&record| !is_rejected(record));
    Rows { columns, records }
}
