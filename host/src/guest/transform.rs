//! A configured transform.

use std::fmt;

use arrow_array::RecordBatch;

use super::bindings::data::BatchParam;
use super::bindings::transform as wit;
use super::changes::{self, Changes};
use super::columns::{self, Scratch};
use super::component::Component;
use super::contract::{TransformContract, field_params};
use super::error::{CallError, ConfigureError, clip};
use super::instance::Instance;
use crate::config::Limits;
use crate::schema::Schema;

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
        let changes = changes::check(&self.contract, changes, rows).map_err(CallError::Invalid)?;
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
