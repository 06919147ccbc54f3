//! A configured aggregate.

use arrow_array::RecordBatch;

use super::bindings::aggregate as wit;
use super::changes::{RowRejection, check_rejections};
use super::columns;
use super::component::Component;
use super::configured::{Configured, Interface};
use super::contract::{AggregateContract, field_params};
use super::error::{CallError, ConfigureError};
use super::instance::Instance;
use crate::config::Limits;
use crate::schema::Schema;

/// What `fold` made of a batch, checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Folded {
    /// one state a group, in order of group
    States(RecordBatch),
    /// fold again without these rows, of which there is at least one; in order of row
    Rejected(Vec<RowRejection>),
}

/// One configured instance of an aggregate, for one worker and stage.
#[derive(Debug)]
pub struct AggregateGuest(Configured<wit::Guest>);

impl AggregateGuest {
    /// See [`Component::aggregate`].
    pub(super) fn configure(
        component: &Component,
        stage: &str,
        input: &Schema,
        config: &serde_json::Value,
        limits: Limits,
    ) -> Result<Self, ConfigureError> {
        Configured::new(component, stage, input, config, limits).map(Self)
    }

    /// What it declared, resolved for its input.
    #[must_use]
    pub fn contract(&self) -> &AggregateContract {
        self.0.contract()
    }

    /// Bytes that the input of one call may take: an eighth of the memory. See
    /// [`call_ranges`](super::call_ranges).
    #[must_use]
    pub fn input_bytes_max(&self) -> usize {
        self.0.input_bytes_max()
    }

    /// Bytes that memories and tables of its instance take; none right after a call that failed.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<usize> {
        self.0.memory_bytes()
    }

    /// Folds rows into one state a group. `input` has the columns of `contract().needs`, in that
    /// order; `groups` has an entry below `group_count` for each row, and every group occurs.
    ///
    /// # Errors
    ///
    /// When the call fails, or what came back breaks the contract. The next call gets a fresh
    /// instance.
    ///
    /// # Panics
    ///
    /// When `groups` has another length than `input`, or `input` a column of a layout that no stream
    /// has.
    pub fn fold(
        &mut self,
        groups: &[u32],
        group_count: u32,
        input: &RecordBatch,
    ) -> Result<Folded, CallError> {
        assert_eq!(groups.len(), input.num_rows(), "each row has a group");
        self.0.call(input, |instance, batch, contract| {
            let rows = batch.rows as usize;
            let folded = instance.ask(rows, |guest, store| {
                guest.call_fold(store, groups, group_count, batch)
            })?;
            check_folded(contract, folded, group_count as usize, rows).map_err(CallError::Invalid)
        })
    }

    /// Combines states into one a group. `parts` has the columns of `contract().state`; `groups` has
    /// an entry below `group_count` for each, and every group occurs.
    ///
    /// # Errors
    ///
    /// As [`fold`](Self::fold).
    ///
    /// # Panics
    ///
    /// As [`fold`](Self::fold).
    pub fn merge(
        &mut self,
        groups: &[u32],
        group_count: u32,
        parts: &RecordBatch,
    ) -> Result<RecordBatch, CallError> {
        assert_eq!(groups.len(), parts.num_rows(), "each part has a group");
        self.0.call(parts, |instance, batch, contract| {
            let merged = instance.ask(batch.rows as usize, |guest, store| {
                guest.call_merge(store, groups, group_count, batch)
            })?;
            columns::lift_batch(&contract.state, merged, group_count as usize)
                .map_err(CallError::Invalid)
        })
    }

    /// Makes one output row of each state.
    ///
    /// # Errors
    ///
    /// As [`fold`](Self::fold).
    ///
    /// # Panics
    ///
    /// When `states` has a column of a layout that no stream has.
    pub fn finish(&mut self, states: &RecordBatch) -> Result<RecordBatch, CallError> {
        self.0.call(states, |instance, batch, contract| {
            let rows = batch.rows as usize;
            let finished = instance.ask(rows, |guest, store| guest.call_finish(store, batch))?;
            columns::lift_batch(&contract.output, finished, rows).map_err(CallError::Invalid)
        })
    }

    /// Rewrites states that another version of it has written: `states` has the columns of `state`.
    ///
    /// # Errors
    ///
    /// As [`fold`](Self::fold); it may say that it cannot.
    ///
    /// # Panics
    ///
    /// When `states` has a column of a layout that no stream has.
    pub fn migrate(
        &mut self,
        version: u32,
        state: &Schema,
        states: &RecordBatch,
    ) -> Result<RecordBatch, CallError> {
        let fields = field_params(state);
        self.0.call(states, |instance, batch, contract| {
            let rows = batch.rows as usize;
            let migrated = instance.ask(rows, |guest, store| {
                guest.call_migrate(store, version, &fields, batch)
            })?;
            columns::lift_batch(&contract.state, migrated, rows).map_err(CallError::Invalid)
        })
    }
}

impl Interface for wit::Guest {
    type Contract = AggregateContract;

    fn instantiate(
        component: &Component,
        stage: &str,
        limits: Limits,
    ) -> Result<Instance<Self>, ConfigureError> {
        component.aggregate_instance(stage, limits)
    }

    fn configure(
        instance: &mut Instance<Self>,
        input: &Schema,
        config: &str,
    ) -> Result<AggregateContract, ConfigureError> {
        let fields = field_params(input);
        let declared = instance.ask(0, |guest, store| {
            guest.call_configure(store, &fields, config)
        })?;
        AggregateContract::resolve(declared, input)
    }
}

fn check_folded(
    contract: &AggregateContract,
    folded: wit::Folded,
    group_count: usize,
    rows: usize,
) -> Result<Folded, String> {
    match folded {
        wit::Folded::States(states) => {
            columns::lift_batch(&contract.state, states, group_count).map(Folded::States)
        }
        wit::Folded::Rejected(rejections) if rejections.is_empty() => {
            Err("it wants the rows again, and rejected none".to_owned())
        }
        wit::Folded::Rejected(rejections) => {
            check_rejections(rejections, rows).map(Folded::Rejected)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::bindings::data::{BatchResult, Rejection};

    fn contract() -> AggregateContract {
        AggregateContract {
            needs: vec![],
            state: Schema::new(vec![]).unwrap(),
            state_version: 1,
            output: Schema::new(vec![]).unwrap(),
        }
    }

    fn rejected(rows: &[u32]) -> wit::Folded {
        let reject = |&row: &u32| Rejection {
            row,
            reason: "bad".into(),
        };
        wit::Folded::Rejected(rows.iter().map(reject).collect())
    }

    #[test]
    fn a_fold_returns_as_many_states_as_groups() {
        let states = |rows| {
            wit::Folded::States(BatchResult {
                rows,
                columns: vec![],
            })
        };
        assert!(check_folded(&contract(), states(2), 2, 5).is_ok());
        assert_eq!(
            check_folded(&contract(), states(3), 2, 5).unwrap_err(),
            "it returned 3 rows where 2 were due"
        );
    }

    #[test]
    fn a_fold_rejects_rows_that_exist_and_at_least_one() {
        assert!(check_folded(&contract(), rejected(&[4, 0]), 2, 5).is_ok());
        for (rows, expected) in [
            (&[][..], "it wants the rows again, and rejected none"),
            (&[5], "it rejected row 5 of 5"),
            (&[1, 1], "it rejected row 1 twice"),
        ] {
            let result = check_folded(&contract(), rejected(rows), 2, 5);
            assert_eq!(result.unwrap_err(), expected);
        }
    }
}
