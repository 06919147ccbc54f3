//! A configured guest of either kind: one instance at a time, and what it takes to make the next.

use std::fmt;

use arrow_array::RecordBatch;

use super::bindings::data::BatchParam;
use super::columns::{self, Scratch};
use super::component::Component;
use super::error::{CallError, ConfigureError};
use super::instance::Instance;
use crate::config::Limits;
use crate::schema::Schema;

/// The functions of one of the contract's interfaces, as far as configuring goes.
pub(super) trait Interface: Sized {
    /// what a guest declares, resolved for its input
    type Contract: PartialEq;

    /// A new instance, if the component is of this kind.
    fn instantiate(
        component: &Component,
        stage: &str,
        limits: Limits,
    ) -> Result<Instance<Self>, ConfigureError>;

    /// Calls `configure`, which is the first call of an instance.
    fn configure(
        instance: &mut Instance<Self>,
        input: &Schema,
        config: &str,
    ) -> Result<Self::Contract, ConfigureError>;
}

/// One configured instance, for one worker and stage.
pub(super) struct Configured<I: Interface> {
    component: Component,
    stage: String,
    input: Schema,
    config: String,
    limits: Limits,
    contract: I::Contract,
    /// none after a call that failed
    instance: Option<Instance<I>>,
    scratch: Scratch,
}

impl<I: Interface> Configured<I> {
    /// Configures the first instance. `config` is handed over as JSON.
    pub(super) fn new(
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
    pub(super) fn contract(&self) -> &I::Contract {
        &self.contract
    }

    /// Bytes that the input of one call may take: an eighth of the memory.
    pub(super) fn input_bytes_max(&self) -> usize {
        usize::try_from(self.limits.memory / 8).unwrap_or(usize::MAX)
    }

    /// Bytes that one call may hand back.
    pub(super) fn output_bytes_max(&self) -> u64 {
        self.limits.output
    }

    /// Bytes that memories and tables of the instance take; none right after a call that failed.
    pub(super) fn memory_bytes(&self) -> Option<usize> {
        self.instance.as_ref().map(Instance::memory_bytes)
    }

    /// Lowers a batch and calls with it, in a fresh instance after a failure.
    pub(super) fn call<R>(
        &mut self,
        input: &RecordBatch,
        call: impl FnOnce(&mut Instance<I>, BatchParam<'_>, &I::Contract) -> Result<R, CallError>,
    ) -> Result<R, CallError> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => self.fresh().inspect_err(|error| self.count(error))?,
        };
        let columns = columns::lower(input, &mut self.scratch);
        let batch = BatchParam {
            rows: u32::try_from(input.num_rows()).expect("a batch has fewer than 2^32 rows"),
            columns: &columns,
        };
        let result = call(&mut instance, batch, &self.contract);
        match &result {
            Ok(_) => self.instance = Some(instance),
            Err(error) => self.count(error),
        }
        result
    }

    fn count(&self, error: &CallError) {
        self.component.meter(&self.stage).failed(error.failure());
    }

    fn fresh(&self) -> Result<Instance<I>, CallError> {
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

impl<I: Interface> fmt::Debug for Configured<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configured")
            .field("component", &self.component)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

fn configured<I: Interface>(
    component: &Component,
    stage: &str,
    input: &Schema,
    config: &str,
    limits: Limits,
) -> Result<(Instance<I>, I::Contract), ConfigureError> {
    let mut instance = I::instantiate(component, stage, limits)?;
    let contract = I::configure(&mut instance, input, config)?;
    Ok((instance, contract))
}
