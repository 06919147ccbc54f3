//! How many rows and bytes one call takes.

use std::ops::Range;

use arrow_array::RecordBatch;

use super::columns;

/// Rows of a full batch: what the time limit is for, and the most that one call gets.
pub const FULL_BATCH_ROWS: usize = 8192;

/// Bytes that a batch takes in the guest's memory. Exact but for padding; reads no row.
#[must_use]
pub fn lowered_bytes(batch: &RecordBatch) -> usize {
    batch
        .columns()
        .iter()
        .map(|column| columns::lowered_bytes(column))
        .sum()
}

/// Cuts a batch into the ranges that single calls take, in order: [`FULL_BATCH_ROWS`] rows and
/// `bytes_max` bytes at most. A row that is larger on its own stands alone.
#[must_use]
pub fn call_ranges(batch: &RecordBatch, bytes_max: usize) -> Vec<Range<usize>> {
    let mut ranges = Vec::with_capacity(batch.num_rows().div_ceil(FULL_BATCH_ROWS));
    for start in (0..batch.num_rows()).step_by(FULL_BATCH_ROWS) {
        let end = batch.num_rows().min(start + FULL_BATCH_ROWS);
        halve_until_fitting(batch, start..end, bytes_max, &mut ranges);
    }
    ranges
}

/// Recurses at most 13 deep, as a full batch has 2^13 rows.
fn halve_until_fitting(
    batch: &RecordBatch,
    range: Range<usize>,
    bytes_max: usize,
    ranges: &mut Vec<Range<usize>>,
) {
    let bytes = lowered_bytes(&batch.slice(range.start, range.len()));
    if range.len() == 1 || bytes <= bytes_max {
        ranges.push(range);
        return;
    }
    let middle = range.start + range.len() / 2;
    halve_until_fitting(batch, range.start..middle, bytes_max, ranges);
    halve_until_fitting(batch, middle..range.end, bytes_max, ranges);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn batch(column: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([("a", column)]).unwrap()
    }

    #[test]
    fn a_batch_is_cut_by_rows() {
        let batch = batch(Arc::new(Int64Array::from(vec![0; 20_000])));
        let ranges = call_ranges(&batch, usize::MAX);
        assert_eq!(ranges, [0..8192, 8192..16384, 16384..20_000]);
    }

    #[test]
    fn a_batch_is_cut_by_bytes_and_a_large_row_stands_alone() {
        let texts = ["a", "b", "c", "a long text that alone is too large", "d"];
        let batch = batch(Arc::new(StringArray::from(texts.to_vec())));
        let ranges = call_ranges(&batch, 20);
        assert_eq!(ranges, [0..2, 2..3, 3..4, 4..5]);
    }

    #[test]
    fn no_rows_make_no_call() {
        let batch = batch(Arc::new(Int64Array::from(Vec::<i64>::new())));
        assert!(call_ranges(&batch, 0).is_empty());
    }

    #[test]
    fn a_slice_counts_only_its_own_bytes() {
        let texts = ["a long text that alone is too large", "é"];
        let whole = batch(Arc::new(StringArray::from(texts.to_vec())));
        assert_eq!(lowered_bytes(&whole.slice(1, 1)), 2 + 2 * 4);
    }
}
