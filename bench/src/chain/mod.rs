//! The guests of the sales job, in the sandbox or compiled natively, with a clock around their calls.
//!
//! Natively the very same crates are called, by way of the SDK's columns. An SDK call takes its columns over,
//! so they are copied once beforehand, as they are into a guest's memory; what comes back becomes Arrow columns
//! without a copy and, other than what a guest returned, without being checked.
//!
//! # Not here
//!
//! Grouping, and putting outputs together: that is the host's, and the same for both.

mod clock;
mod columns;
mod native;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde_json::Value;
use wasmill::aggregate::AggregateLogic;
use wasmill::guest::{AggregateGuest, TransformGuest};
use wasmill::pipeline::{Answers, Plan};
use wasmill::schema::Schema;
use wasmill::transform::TransformLogic;

use self::clock::Clocked;
pub(crate) use self::clock::{Clock, thread_cpu};
use self::native::NativeAggregate;
pub(crate) use self::native::NativeTransform;

/// What answers the calls of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Logic {
    /// the components, in the sandbox
    Wasm,
    /// the same code, compiled for this machine
    Native,
}

/// Answers for each stage, and counts the time of it.
pub(crate) struct Chain {
    logic: Logic,
    clock: Clock,
    stages: BTreeMap<String, Stage>,
}

struct Stage {
    input: Schema,
    config: Value,
}

impl Chain {
    /// For the stages of a plan, which have to be `currency` and `totals`.
    pub(crate) fn new(plan: &Plan, logic: Logic, clock: Clock) -> anyhow::Result<Self> {
        let pipeline = plan.pipeline();
        let transforms = pipeline.transforms.iter();
        let transforms = transforms.map(|t| (&t.name, &t.from, &t.component, &t.config));
        let aggregates = pipeline.aggregates.iter();
        let aggregates = aggregates.map(|a| (&a.name, &a.from, &a.component, &a.config));
        let mut stages = BTreeMap::new();
        for (name, from, component, config) in transforms.chain(aggregates) {
            if !["currency", "totals"].contains(&component.as_str()) {
                bail!("component `{component}` is not compiled natively");
            }
            let stream = plan.streams().iter().find(|stream| *stream.name == **from);
            let stream = stream.context("a plan has the streams that its stages read")?;
            let stage = Stage {
                input: stream.schema.clone(),
                config: config.clone(),
            };
            stages.insert(name.clone(), stage);
        }
        Ok(Self {
            logic,
            clock,
            stages,
        })
    }

    fn stage(&self, name: &str) -> &Stage {
        let stage = self.stages.get(name);
        stage.expect("every stage of the plan is known")
    }
}

impl Answers for Chain {
    fn transform(&self, stage: &str, guest: TransformGuest) -> Box<dyn TransformLogic> {
        let clock = self.clock.clone();
        let Stage { input, config } = self.stage(stage);
        match self.logic {
            Logic::Wasm => Box::new(Clocked::new(guest, clock)),
            Logic::Native => {
                let native = NativeTransform::new(&guest, input, config);
                let native = native.expect("the component took this configuration");
                Box::new(Clocked::new(native, clock))
            }
        }
    }

    fn aggregate(&self, stage: &str, guest: AggregateGuest) -> Box<dyn AggregateLogic> {
        let clock = self.clock.clone();
        let Stage { input, config } = self.stage(stage);
        match self.logic {
            Logic::Wasm => Box::new(Clocked::new(guest, clock)),
            Logic::Native => {
                let native = NativeAggregate::new(&guest, input, config);
                let native = native.expect("the component took this configuration");
                Box::new(Clocked::new(native, clock))
            }
        }
    }
}

/// The chain of a plan, and the plan answered by it.
pub(crate) fn answered(plan: Plan, logic: Logic, clock: Clock) -> anyhow::Result<Plan> {
    let chain = Chain::new(&plan, logic, clock)?;
    Ok(plan.answered_by(Arc::new(chain)))
}
