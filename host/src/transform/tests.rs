//! Assembling outputs. The stage itself needs a component: see `tests/it/sandbox.rs`.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, StringArray};

use super::*;
use crate::guest::{OutputColumn, TransformContract};
use crate::schema::{DataType, Field};

fn field(name: &str, ty: DataType) -> Field {
    Field::new(name, ty, false)
}

/// `text` is kept, `number` replaced.
fn contract() -> TransformContract {
    let output = vec![
        field("text", DataType::Utf8),
        field("number", DataType::Int64),
    ];
    TransformContract {
        needs: vec![1],
        returns: vec![output[1].clone()],
        selects: true,
        output: Schema::new(output).unwrap(),
        sources: vec![OutputColumn::Kept(0), OutputColumn::Returned(0)],
    }
}

/// Rows 0 to 5 of the records 10, 10, 11, 12, 12, 13.
fn input() -> Rows {
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "d", "e", "f"]));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![0; 6]));
    Rows {
        columns: RecordBatch::try_from_iter([("text", texts), ("number", numbers)]).unwrap(),
        records: vec![10, 10, 11, 12, 12, 13],
    }
}

fn piece(rows: Range<usize>, selection: Option<Vec<u32>>, numbers: &[i64]) -> Piece {
    Piece {
        rows,
        changes: Changes {
            selection,
            columns: vec![Arc::new(Int64Array::from(numbers.to_vec()))],
            rejections: vec![],
        },
    }
}

fn shown(rows: &Rows) -> Vec<(&str, i64, u32)> {
    let texts = rows.columns.column(0).as_string::<i32>();
    let numbers = rows.columns.column(1).as_primitive::<Int64Type>();
    let values = texts.iter().zip(numbers).zip(&rows.records);
    values
        .map(|((text, number), &record)| (text.unwrap(), number.unwrap(), record))
        .collect()
}

#[test]
fn columns_that_the_guest_leaves_alone_are_not_copied() {
    let input = input();
    for pieces in [
        vec![piece(0..6, None, &[1, 2, 3, 4, 5, 6])],
        vec![piece(0..2, None, &[1, 2]), piece(2..6, None, &[3, 4, 5, 6])],
    ] {
        let output = assemble(&contract(), &input, &pieces);
        assert!(Arc::ptr_eq(
            output.columns.column(0),
            input.columns.column(0)
        ));
        assert_eq!(output.records, input.records);
        assert_eq!(shown(&output)[5], ("f", 6, 13));
    }
}

#[test]
fn pieces_with_selections_and_gaps_line_up() {
    let pieces = [
        piece(0..2, Some(vec![1, 1]), &[1, 2]),
        // Row 2 failed.
        piece(3..5, None, &[3, 4]),
        piece(5..6, Some(vec![]), &[]),
    ];
    let output = assemble(&contract(), &input(), &pieces);
    let expected = [("b", 1, 10), ("b", 2, 10), ("d", 3, 12), ("e", 4, 12)];
    assert_eq!(shown(&output), expected);
}

#[test]
fn nothing_left_is_an_output_without_rows() {
    let output = assemble(&contract(), &input(), &[]);
    assert_eq!(output.columns.num_rows(), 0);
    assert_eq!(output.columns.schema(), *contract().output.arrow());
}

#[test]
fn a_record_is_rejected_whole_and_once() {
    let refuse = |row, reason: &str| Refused {
        row,
        cause: Cause::Rejected,
        reason: reason.into(),
    };
    let mut rejected = vec![];
    let refused = vec![refuse(4, "late"), refuse(3, "first"), refuse(0, "bad")];
    reject(&input(), refused, &mut rejected);
    let shown_rejected: Vec<_> = rejected.iter().map(|r| (r.record, &*r.reason)).collect();
    assert_eq!(shown_rejected, [(10, "bad"), (12, "first")]);

    let pieces = [piece(0..6, Some(vec![1, 2, 5]), &[1, 2, 3])];
    let output = without_records(assemble(&contract(), &input(), &pieces), &rejected);
    assert_eq!(shown(&output), [("c", 2, 11), ("f", 3, 13)]);
}

#[test]
fn only_repeated_rows_count_as_growth() {
    let (contract, input) = (contract(), input());
    let bytes = |selection: Option<Vec<u32>>| {
        let changes = piece(2..6, selection, &[]).changes;
        repeated_bytes(&contract, &input.columns, &(2..6), &changes)
    };
    assert_eq!(bytes(None), 0);
    assert_eq!(bytes(Some(vec![0, 2, 3])), 0);
    assert_eq!(bytes(Some(vec![0, 0, 0])), 3 * (1 + 8));
}
