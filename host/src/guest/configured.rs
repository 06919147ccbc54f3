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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
    use wit_parser::{ManglingAndAbi, Resolve};

    use super::*;
    use crate::guest::GuestEngine;

    /// A guest whose contract is how many instances there were before it. No component can do that:
    /// it has nothing to tell its instances apart by.
    struct Fickle;

    static INSTANCES: AtomicU32 = AtomicU32::new(0);

    impl Interface for Fickle {
        type Contract = u32;

        fn instantiate(
            component: &Component,
            stage: &str,
            limits: Limits,
        ) -> Result<Instance<Self>, ConfigureError> {
            let instance = component.instantiate(stage, limits, |_, _| Ok(Self));
            instance.map_err(ConfigureError::Failed)
        }

        fn configure(
            _instance: &mut Instance<Self>,
            _input: &Schema,
            _config: &str,
        ) -> Result<u32, ConfigureError> {
            Ok(INSTANCES.fetch_add(1, Ordering::Relaxed))
        }
    }

    /// A transform whose functions trap.
    fn dummy() -> Component {
        let mut resolve = Resolve::default();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
        let (package, _) = resolve.push_dir(wit).unwrap();
        let world = resolve.select_world(&[package], Some("transform-guest"));
        let world = world.unwrap();
        let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        let mut encoder = ComponentEncoder::default();
        let binary = encoder.module(&module).unwrap().encode().unwrap();
        let engine = GuestEngine::new(None).unwrap();
        let path = Path::new("dummy.wasm");
        engine.load_binary("dummy", path, binary).unwrap()
    }

    #[test]
    fn an_instance_with_another_contract_than_the_one_before_is_refused_by_name() {
        let limits = Limits {
            memory: 1 << 20,
            time: Duration::from_secs(10),
            output: 1 << 20,
        };
        let component = dummy();
        let input = Schema::new(vec![]).unwrap();
        let config = serde_json::json!({});
        let mut guest =
            Configured::<Fickle>::new(&component, "stage", &input, &config, limits).unwrap();
        let batch = RecordBatch::new_empty(input.arrow().clone());
        let failed = guest.call(&batch, |_, _, _| -> Result<(), _> {
            Err(CallError::Refused("no".to_owned()))
        });
        assert!(matches!(failed, Err(CallError::Refused(_))));
        let error = guest.call(&batch, |_, _, _| Ok(())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no fresh instance of the guest could be made: the guest's contract changed between \
             two instances: guests must be pure functions"
        );
    }
}
