//! A configured transform.

use std::fmt;

use arrow_array::{ArrayRef, RecordBatch};

use super::bindings::data::BatchParam;
use super::bindings::transform as wit;
use super::columns::{self, Scratch};
use super::component::Component;
use super::contract::{TransformContract, field_params};
use super::error::{CallError, ConfigureError, clip};
use super::instance::Instance;
use crate::config::Limits;
use crate::schema::Schema;

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

/// One configured instance of a transform, for one worker and stage.
pub struct TransformGuest {
    component: Component,
    stage: String,
    input: Schema,
    config: String,
    limits: Limits,
    contract: TransformContract,
    /// none after a call that failed
    instance: Option<Instance<wit::Guest>>,
    scratch: Scratch,
}

impl TransformGuest {
    /// See [`Component::transform`].
    pub(super) fn configure(
        component: &Component,
        stage: &str,
        input: &Schema,
        config: &serde_json::Value,
        limits: Limits,
    ) -> Result<Self, ConfigureError> {
        let config = config.to_string();
        let (instance, contract) = configured(component, stage, input, &config, limits)?;
        Ok(Self {
            component: component.clone(),
            stage: stage.to_owned(),
            input: input.clone(),
            config,
            limits,
            contract,
            instance: Some(instance),
            scratch: Scratch::default(),
        })
    }

    /// What it declared, resolved for its input.
    #[must_use]
    pub fn contract(&self) -> &TransformContract {
        &self.contract
    }

    /// Bytes that the input of one call may take: an eighth of the memory. See
    /// [`call_ranges`](super::call_ranges).
    #[must_use]
    pub fn input_bytes_max(&self) -> usize {
        usize::try_from(self.limits.memory / 8).unwrap_or(usize::MAX)
    }

    /// Bytes that one call may hand back.
    #[must_use]
    pub fn output_bytes_max(&self) -> u64 {
        self.limits.output
    }

    /// Makes one call. `input` has the columns of `contract().needs`, in that order; it may be a
    /// slice.
    ///
    /// # Errors
    ///
    /// When the call fails, or what came back breaks the contract. The next call gets a fresh
    /// instance.
    ///
    /// # Panics
    ///
    /// When `input` has a column of a layout that no stream has, or more than 2^32 rows.
    pub fn apply(&mut self, input: &RecordBatch) -> Result<Changes, CallError> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => self.fresh()?,
        };
        let rows = input.num_rows();
        let columns = columns::lower(input, &mut self.scratch);
        let batch = BatchParam {
            rows: u32::try_from(rows).expect("a batch has fewer than 2^32 rows"),
            columns: &columns,
        };
        let changes = instance
            .call(rows, |guest, store| guest.call_apply(store, batch))?
            .map_err(|words| CallError::Refused(clip(&words)))?;
        let changes = check(&self.contract, changes, rows).map_err(CallError::Invalid)?;
        self.instance = Some(instance);
        Ok(changes)
    }

    fn fresh(&self) -> Result<Instance<wit::Guest>, CallError> {
        let fresh = configured(
            &self.component,
            &self.stage,
            &self.input,
            &self.config,
            self.limits,
        );
        match fresh {
            Ok((instance, declared)) if declared == self.contract => Ok(instance),
            Ok(_) => Err(CallError::NoInstance(Box::new(ConfigureError::Changed))),
            Err(error) => Err(CallError::NoInstance(Box::new(error))),
        }
    }
}

impl fmt::Debug for TransformGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransformGuest")
            .field("component", &self.component)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

fn configured(
    component: &Component,
    stage: &str,
    input: &Schema,
    config: &str,
    limits: Limits,
) -> Result<(Instance<wit::Guest>, TransformContract), ConfigureError> {
    let mut instance = component.transform_instance(stage, limits)?;
    let fields = field_params(input);
    let declared = instance
        .call(0, |guest, store| {
            guest.call_configure(store, &fields, config)
        })
        .map_err(ConfigureError::Failed)?
        .map_err(|words| ConfigureError::Refused(clip(&words)))?;
    let contract = TransformContract::resolve(declared, input)?;
    Ok((instance, contract))
}

/// Checks what came back for so many rows.
fn check(
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
    rejections: Vec<super::bindings::data::Rejection>,
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
    if let Some(pair) = selection.windows(2).find(|pair| pair[0] > pair[1]) {
        return Err(format!(
            "its selection falls from {} to {}",
            pair[0], pair[1]
        ));
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
    use crate::guest::bindings::data::{ColumnResult, Rejection, ValuesResult};
    use crate::schema::{DataType, Field};

    fn contract(selects: bool) -> TransformContract {
        let field = Field {
            name: "a".into(),
            ty: DataType::Int64,
            nullable: false,
        };
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
