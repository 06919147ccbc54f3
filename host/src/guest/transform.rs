//! A configured transform.

use arrow_array::RecordBatch;

use super::bindings::transform as wit;
use super::changes::{self, Changes};
use super::component::Component;
use super::configured::{Configured, Interface};
use super::contract::{TransformContract, field_params};
use super::error::{CallError, ConfigureError};
use super::instance::Instance;
use crate::config::Limits;
use crate::schema::Schema;

/// One configured instance of a transform, for one worker and stage.
#[derive(Debug)]
pub struct TransformGuest(Configured<wit::Guest>);

impl TransformGuest {
    /// See [`Component::transform`].
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
    pub fn contract(&self) -> &TransformContract {
        self.0.contract()
    }

    /// Bytes that the input of one call may take: an eighth of the memory. See
    /// [`call_ranges`](super::call_ranges).
    #[must_use]
    pub fn input_bytes_max(&self) -> usize {
        self.0.input_bytes_max()
    }

    /// Bytes that one call may hand back.
    #[must_use]
    pub fn output_bytes_max(&self) -> u64 {
        self.0.output_bytes_max()
    }

    /// Bytes that memories and tables of its instance take; none right after a call that failed.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<usize> {
        self.0.memory_bytes()
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
        self.0.call(input, |instance, batch, contract| {
            let rows = batch.rows as usize;
            let changes = instance.ask(rows, |guest, store| guest.call_apply(store, batch))?;
            changes::check(contract, changes, rows).map_err(CallError::Invalid)
        })
    }
}

impl Interface for wit::Guest {
    type Contract = TransformContract;

    fn instantiate(
        component: &Component,
        stage: &str,
        limits: Limits,
    ) -> Result<Instance<Self>, ConfigureError> {
        component.transform_instance(stage, limits)
    }

    fn configure(
        instance: &mut Instance<Self>,
        input: &Schema,
        config: &str,
    ) -> Result<TransformContract, ConfigureError> {
        let fields = field_params(input);
        let declared = instance.ask(0, |guest, store| {
            guest.call_configure(store, &fields, config)
        })?;
        TransformContract::resolve(declared, input)
    }
}
