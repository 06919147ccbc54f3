//! A loaded component: what it is, and how stages get instances of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::component::InstancePre;

use super::aggregate::AggregateGuest;
use super::bindings::{PACKAGE, aggregate, data, transform};
use super::engine::{GuestEngine, GuestError};
use super::error::{CallError, ConfigureError, clip};
use super::instance::{HostState, Instance};
use super::meter::GuestMeter;
use super::transform::TransformGuest;
use crate::config::Limits;
use crate::schema::Schema;

/// What `describe` may use. It runs once, when somebody asks.
const DESCRIBE_LIMITS: Limits = Limits {
    memory: 256 << 20,
    time: Duration::from_secs(2),
    output: 1 << 20,
};

/// Which of the contract's interfaces a component implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// rows to rows
    Transform,
    /// rows to states, by groups
    Aggregate,
}

impl Kind {
    fn with_article(self) -> &'static str {
        match self {
            Self::Transform => "a transform",
            Self::Aggregate => "an aggregate",
        }
    }
}

/// What a component says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// its own name, which need not be that in `pipeline.toml`
    pub name: String,
    /// its own version
    pub version: String,
    /// what it does, for a person
    pub about: String,
    /// JSON Schema of its config
    pub config_schema: Option<String>,
}

/// A component that fits the contract, compiled. Cheap to clone.
#[derive(Clone)]
pub struct Component(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    digest: String,
    /// its file
    binary: Arc<[u8]>,
    exports: Exports,
    instance_pre: InstancePre<HostState>,
    /// by stage
    meters: Mutex<BTreeMap<String, Arc<GuestMeter>>>,
    /// Keeps the clock running as long as there are instances.
    engine: GuestEngine,
}

/// Where the functions of its interface stand among its exports.
pub(super) enum Exports {
    Transform(transform::GuestIndices),
    Aggregate(aggregate::GuestIndices),
}

impl Component {
    pub(super) fn new(
        engine: &GuestEngine,
        name: &str,
        (digest, binary): (String, Arc<[u8]>),
        exports: Exports,
        instance_pre: InstancePre<HostState>,
    ) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            digest,
            binary,
            exports,
            instance_pre,
            meters: Mutex::default(),
            engine: engine.clone(),
        }))
    }

    /// What it is called in `pipeline.toml`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Which interface it implements.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.0.exports {
            Exports::Transform(_) => Kind::Transform,
            Exports::Aggregate(_) => Kind::Aggregate,
        }
    }

    /// SHA-256 of its file, in hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// What its file holds.
    #[must_use]
    pub fn binary(&self) -> &Arc<[u8]> {
        &self.0.binary
    }

    /// Names of what it imports beside the contract's own types, in order: parts of WASI that the
    /// host stubs, as anything else is refused when it is loaded.
    #[must_use]
    pub fn imports(&self) -> Vec<String> {
        let engine = self.0.engine.wasm();
        let ty = self.0.instance_pre.component().component_type();
        ty.imports(engine)
            .map(|(name, _)| name.to_owned())
            .filter(|name| !name.starts_with(PACKAGE))
            .collect()
    }

    /// What its instances for this stage cost and hold.
    #[must_use]
    pub fn meter(&self, stage: &str) -> Arc<GuestMeter> {
        let mut meters = self.0.meters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = meters.get(stage) {
            return Arc::clone(meter);
        }
        Arc::clone(meters.entry(stage.to_owned()).or_default())
    }

    /// Asks it what it is, in an instance of its own.
    ///
    /// # Errors
    ///
    /// [`GuestError::Describe`] when the call fails.
    pub fn describe(&self) -> Result<Description, GuestError> {
        let description = match &self.0.exports {
            Exports::Transform(indices) => self
                .instantiate("describe", DESCRIBE_LIMITS, |store, instance| {
                    indices.load(store, instance)
                })
                .and_then(|mut instance| {
                    instance.call(0, |guest, store| guest.call_describe(store))
                }),
            Exports::Aggregate(indices) => self
                .instantiate("describe", DESCRIBE_LIMITS, |store, instance| {
                    indices.load(store, instance)
                })
                .and_then(|mut instance| {
                    instance.call(0, |guest, store| guest.call_describe(store))
                }),
        };
        match description {
            Ok(description) => Ok(description.into()),
            Err(error) => Err(GuestError::Describe {
                component: self.name().to_owned(),
                error,
            }),
        }
    }

    /// Configures an instance for the transform `stage`. `config` is handed over as JSON.
    ///
    /// # Errors
    ///
    /// When it is no transform, refuses its configuration, or its contract does not suit `input`.
    pub fn transform(
        &self,
        stage: &str,
        input: &Schema,
        config: &serde_json::Value,
        limits: &Limits,
    ) -> Result<TransformGuest, ConfigureError> {
        TransformGuest::configure(self, stage, input, config, *limits)
    }

    /// Configures an instance for the aggregate `stage`. `config` is handed over as JSON.
    ///
    /// # Errors
    ///
    /// When it is no aggregate, refuses its configuration, or its contract does not suit `input`.
    pub fn aggregate(
        &self,
        stage: &str,
        input: &Schema,
        config: &serde_json::Value,
        limits: &Limits,
    ) -> Result<AggregateGuest, ConfigureError> {
        AggregateGuest::configure(self, stage, input, config, *limits)
    }

    pub(super) fn transform_instance(
        &self,
        stage: &str,
        limits: Limits,
    ) -> Result<Instance<transform::Guest>, ConfigureError> {
        let Exports::Transform(indices) = &self.0.exports else {
            return Err(self.wrong_kind(Kind::Transform));
        };
        self.instantiate(stage, limits, |store, instance| {
            indices.load(store, instance)
        })
        .map_err(ConfigureError::Failed)
    }

    pub(super) fn aggregate_instance(
        &self,
        stage: &str,
        limits: Limits,
    ) -> Result<Instance<aggregate::Guest>, ConfigureError> {
        let Exports::Aggregate(indices) = &self.0.exports else {
            return Err(self.wrong_kind(Kind::Aggregate));
        };
        self.instantiate(stage, limits, |store, instance| {
            indices.load(store, instance)
        })
        .map_err(ConfigureError::Failed)
    }

    fn wrong_kind(&self, due: Kind) -> ConfigureError {
        ConfigureError::WrongKind {
            found: self.kind().with_article(),
            due: due.with_article(),
        }
    }

    pub(super) fn instantiate<G>(
        &self,
        stage: &str,
        limits: Limits,
        load: impl FnOnce(
            &mut wasmtime::Store<HostState>,
            &wasmtime::component::Instance,
        ) -> wasmtime::Result<G>,
    ) -> Result<Instance<G>, CallError> {
        let host = HostState::new(&self.0.name, stage, limits, self.meter(stage));
        Instance::new(self.0.engine.wasm(), &self.0.instance_pre, host, load)
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("name", &self.name())
            .field("kind", &self.kind())
            .field("digest", &self.digest())
            .finish_non_exhaustive()
    }
}

impl From<data::Description> for Description {
    fn from(description: data::Description) -> Self {
        Self {
            name: clip(&description.name),
            version: clip(&description.version),
            about: clip(&description.about),
            config_schema: description.config_schema,
        }
    }
}
