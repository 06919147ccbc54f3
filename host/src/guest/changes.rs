//! What a transform returned for a batch, checked.

use arrow_array::ArrayRef;

use super::bindings::data::Rejection;
use super::bindings::transform as wit;
use super::columns;
use super::contract::TransformContract;
use super::error::clip;

/// An input row that a guest rejects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowRejection {
    /// which row of the input
    pub row: u32,
    /// why, for a person; clipped
    pub reason: String,
}

/// What a transform made of a batch, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// the input row of each output row, never falling; `None`: each row, once
    pub selection: Option<Vec<u32>>,
    /// the returned columns, in the contract's order, as long as the output
    pub columns: Vec<ArrayRef>,
    /// rows that are rejected, in order of row, each once and none of them selected
    pub rejections: Vec<RowRejection>,
}

/// Checks what came back for so many rows.
pub(super) fn check(
    contract: &TransformContract,
    changes: wit::Changes,
    rows: usize,
) -> Result<Changes, String> {
    let rejections = check_rejections(changes.rejections, rows)?;
    let selection = match changes.selection {
        Some(selection) => {
            if !contract.selects {
                return Err(
                    "it returned a selection, and its contract says that it makes none".to_owned(),
                );
            }
            check_selection(&selection, &rejections, rows)?;
            let identity = rejections.is_empty() && is_identity(&selection, rows);
            (!identity).then_some(selection)
        }
        None if rejections.is_empty() => None,
        None => Some(all_but(&rejections, rows)),
    };
    let output_rows = selection.as_ref().map_or(rows, Vec::len);
    Ok(Changes {
        columns: columns::lift_columns(&contract.returns, changes.columns, output_rows)?,
        selection,
        rejections,
    })
}

/// Puts rejections in order, and makes sure that each is of another row of the input.
pub(super) fn check_rejections(
    rejections: Vec<Rejection>,
    rows: usize,
) -> Result<Vec<RowRejection>, String> {
    let mut rejections: Vec<RowRejection> = rejections
        .into_iter()
        .map(|rejection| RowRejection {
            row: rejection.row,
            reason: clip(&rejection.reason),
        })
        .collect();
    rejections.sort_by_key(|rejection| rejection.row);
    if let Some(last) = rejections.last()
        && last.row as usize >= rows
    {
        return Err(format!("it rejected row {} of {rows}", last.row));
    }
    if let Some(pair) = rejections
        .windows(2)
        .find(|pair| pair[0].row == pair[1].row)
    {
        return Err(format!("it rejected row {} twice", pair[0].row));
    }
    Ok(rejections)
}

fn check_selection(
    selection: &[u32],
    rejections: &[RowRejection],
    rows: usize,
) -> Result<(), String> {
    if let Some(row) = selection.windows(2).position(|pair| pair[0] > pair[1]) {
        let (from, to) = (selection[row], selection[row + 1]);
        return Err(format!("its selection falls from {from} to {to}"));
    }
    if let Some(&last) = selection.last()
        && last as usize >= rows
    {
        return Err(format!("it selected row {last} of {rows}"));
    }
    for RowRejection { row, .. } in rejections {
        if selection.binary_search(row).is_ok() {
            return Err(format!("it both selected and rejected row {row}"));
        }
    }
    Ok(())
}

fn is_identity(selection: &[u32], rows: usize) -> bool {
    selection.len() == rows && (0..).zip(selection).all(|(row, &selected)| row == selected)
}

/// Every row that is not rejected. `rejections` are in order.
fn all_but(rejections: &[RowRejection], rows: usize) -> Vec<u32> {
    let mut rejected = rejections.iter().map(|rejection| rejection.row).peekable();
    (0..rows as u32)
        .filter(|&row| rejected.next_if_eq(&row).is_none())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::bindings::data::{ColumnResult, ValuesResult};
    use crate::schema::{DataType, Field, Schema};

    fn contract(selects: bool) -> TransformContract {
        let field = Field::new("a", DataType::Int64, false);
        TransformContract {
            needs: vec![],
            returns: vec![field],
            selects,
            output: Schema::new(vec![]).unwrap(),
            sources: vec![],
        }
    }

    fn changes(selection: Option<Vec<u32>>, rejected: &[u32], output_rows: usize) -> wit::Changes {
        let reject = |&row: &u32| Rejection {
            row,
            reason: "bad".into(),
        };
        wit::Changes {
            selection,
            columns: vec![ColumnResult {
                values: ValuesResult::I64s(vec![0; output_rows]),
                validity: None,
            }],
            rejections: rejected.iter().map(reject).collect(),
        }
    }

    fn checked(
        selection: Option<Vec<u32>>,
        rejected: &[u32],
        output_rows: usize,
    ) -> Result<Changes, String> {
        check(
            &contract(true),
            changes(selection, rejected, output_rows),
            4,
        )
    }

    #[test]
    fn no_selection_means_every_row_that_is_not_rejected() {
        assert_eq!(checked(None, &[], 4).unwrap().selection, None);
        let some = checked(None, &[2, 0], 2).unwrap();
        assert_eq!(some.selection, Some(vec![1, 3]));
        let rows: Vec<u32> = some.rejections.iter().map(|r| r.row).collect();
        assert_eq!(rows, [0, 2]);
    }

    #[test]
    fn a_selection_of_every_row_is_none() {
        assert_eq!(
            checked(Some(vec![0, 1, 2, 3]), &[], 4).unwrap().selection,
            None
        );
    }

    #[test]
    fn a_selection_may_repeat_and_omit() {
        let selection = Some(vec![0, 0, 3]);
        assert_eq!(
            checked(selection.clone(), &[1], 3).unwrap().selection,
            selection
        );
        assert_eq!(
            checked(Some(vec![]), &[], 0).unwrap().selection,
            Some(vec![])
        );
    }

    #[test]
    fn nonsense_is_named() {
        let cases = [
            (
                checked(Some(vec![1, 0]), &[], 2),
                "its selection falls from 1 to 0",
            ),
            (checked(Some(vec![0, 4]), &[], 2), "it selected row 4 of 4"),
            (
                checked(Some(vec![0, 1]), &[1], 2),
                "it both selected and rejected row 1",
            ),
            (checked(None, &[4], 3), "it rejected row 4 of 4"),
            (checked(None, &[1, 3, 1], 2), "it rejected row 1 twice"),
            (
                checked(None, &[1], 4),
                "in column `a`, there are 4 values where 3 were due",
            ),
            (
                check(&contract(false), changes(Some(vec![0]), &[], 1), 4),
                "it returned a selection, and its contract says that it makes none",
            ),
        ];
        for (result, expected) in cases {
            assert_eq!(result.unwrap_err(), expected);
        }
    }
}
