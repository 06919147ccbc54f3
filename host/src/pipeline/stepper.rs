//! One worker and the merging of epochs, without threads, queues, source and sinks: what is measured
//! where every step has to cost the same each time.
//!
//! # Not here
//!
//! Anything of its own: it takes the steps of the parts that a run is made of.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::line::Merger;
use super::look::Looks;
use super::monitor::Monitor;
use super::topology::Stages;
use super::worker::{ToWorker, Worker};
use super::{PipelineError, Plan};
use crate::deduplicate::Seen;
use crate::deployment::Version;
use crate::epoch::{Barrier, Coordinator, EpochId, EpochOutput, Mode};
use crate::record::{Positions, RawBatch};

/// A pipeline that goes on when it is told to.
pub struct Stepper {
    worker: Worker,
    merger: Merger,
    monitor: Arc<Monitor>,
    epoch: EpochId,
}

impl Stepper {
    /// The stages of a plan, with no states yet.
    ///
    /// # Errors
    ///
    /// When a guest cannot be set up.
    pub fn new(plan: &Plan) -> Result<Self, PipelineError> {
        let monitor = Monitor::new(plan.pipeline(), plan);
        let worker = Worker::new(plan.chain()?, &Seen::new(), 0, Arc::clone(&monitor));
        Ok(Self {
            worker,
            merger: Merger {
                coordinator: Coordinator::new(1, plan.states()?),
                looks: Looks::default(),
                monitor: Arc::clone(&monitor),
            },
            monitor,
            epoch: EpochId::FIRST,
        })
    }

    /// Runs records of the current epoch through the stages of a worker.
    ///
    /// # Errors
    ///
    /// When a guest cannot be called any more.
    pub fn process(&mut self, raw: RawBatch) -> Result<(), PipelineError> {
        self.monitor.worker_queue(0).entered();
        let batch = ToWorker::Batch {
            raw,
            excluded: Arc::new(BTreeSet::new()),
            // As a live one, but that no copy of it is kept now and then, by the clock.
            mode: Mode::Rebuild,
        };
        self.worker.take(batch).map(|_| ())
    }

    /// Ends the current epoch, and merges it into the states.
    ///
    /// # Errors
    ///
    /// When states cannot be merged or shown.
    ///
    /// # Panics
    ///
    /// When the host breaks its own rule: a barrier makes the only worker hand over all that the epoch has.
    pub fn end_epoch(&mut self) -> Result<EpochOutput, PipelineError> {
        self.epoch = self.epoch.next();
        self.monitor.worker_queue(0).entered();
        let barrier = ToWorker::Barrier(Barrier {
            number: self.epoch.0,
            epoch: self.epoch,
            version: Version::FIRST,
            swap: None,
            readmission: None,
            positions: Arc::new(Positions::default()),
            mode: Mode::Live,
            checkpoint: false,
        });
        let part = self.worker.take(barrier)?;
        let part = part.expect("a barrier makes the worker hand over");
        let completed = self.merger.take(part)?;
        // The ledger's task would take it from its queue.
        self.monitor.ledger_queue().left();
        Ok(completed
            .expect("the only worker's part completes it")
            .output)
    }
}
