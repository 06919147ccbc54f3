//! What outlives a run that begins anew within one process: which version is wanted, and which one is
//! on trial.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::deployment::{Deployment, Outcome, Version};
use crate::pipeline::{PipelineError, Plan};

/// Shared by the run and whoever reloads. Clones are the same.
#[derive(Clone)]
pub(in crate::pipeline) struct Standing(Arc<Mutex<Inner>>);

struct Inner {
    /// what the pipeline is to be
    wanted: Arc<Plan>,
    /// the logic that is about to come into force
    under_way: Option<String>,
    /// the version that is watched
    on_probation: Option<Version>,
    /// logic that failed before it was in force
    refused: BTreeSet<String>,
    /// why the version in force has to go
    goes_back: Option<String>,
}

impl Standing {
    pub(in crate::pipeline) fn of(wanted: Arc<Plan>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            wanted,
            under_way: None,
            on_probation: None,
            refused: BTreeSet::new(),
            goes_back: None,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the pipeline is to be.
    pub(in crate::pipeline) fn wanted(&self) -> Arc<Plan> {
        Arc::clone(&self.inner().wanted)
    }

    /// Whether another version than the last of these is to come into force.
    pub(in crate::pipeline) fn wants_another(&self, known: &[Deployment]) -> bool {
        let inner = self.inner();
        let logic = &inner.wanted.blueprint().logic;
        let Some(in_force) = known.last() else {
            return false;
        };
        if inner.goes_back.is_some() {
            return true;
        }
        if in_force.blueprint.logic == *logic || inner.refused.contains(logic) {
            return false;
        }
        let last = known.iter().rfind(|d| d.blueprint.logic == *logic);
        if let Some(Outcome::RolledBack { reason }) = last.map(|deployment| &deployment.outcome) {
            tracing::warn!(
                reason,
                version = %in_force.version,
                "the pipeline's files are those of a version that was rolled back: the one that came back \
                 stays in force; `wasmill reload` puts them into force all the same"
            );
            return false;
        }
        true
    }

    /// Why the version in force has to go, if it has to.
    pub(in crate::pipeline) fn goes_back(&self) -> Option<String> {
        self.inner().goes_back.clone()
    }

    /// Another version is about to come into force.
    pub(super) fn begin(&self, logic: &str) {
        self.inner().under_way = Some(logic.to_owned());
    }

    /// It is in force, and watched or not.
    pub(super) fn done(&self, plan: &Arc<Plan>, on_probation: Option<Version>) {
        let mut inner = self.inner();
        inner.wanted = Arc::clone(plan);
        inner.under_way = None;
        inner.goes_back = None;
        inner.on_probation = on_probation;
    }

    /// Other settings are in force, and the logic is the same.
    pub(super) fn settled(&self, plan: &Arc<Plan>) {
        self.inner().wanted = Arc::clone(plan);
    }

    /// The version in force is watched, or has passed.
    pub(super) fn watch(&self, version: Option<Version>) {
        self.inner().on_probation = version;
    }

    /// A run has failed; whether another one may do better, with other logic.
    pub(in crate::pipeline) fn learns_from(&self, error: &PipelineError) -> bool {
        if !is_of_a_guest(error) {
            return false;
        }
        let mut inner = self.inner();
        if let Some(logic) = inner.under_way.take() {
            // It never was in force.
            inner.refused.insert(logic);
            return true;
        }
        let on_trial = inner.on_probation.take();
        if on_trial.is_some() && inner.goes_back.is_none() {
            inner.goes_back = Some(full(error));
            return true;
        }
        false
    }
}

/// Whether a guest is to blame.
fn is_of_a_guest(error: &PipelineError) -> bool {
    matches!(
        error,
        PipelineError::Aggregate(_)
            | PipelineError::Transform(_)
            | PipelineError::Fold { .. }
            | PipelineError::Configure(_)
    )
}

/// An error with all of its causes.
pub(in crate::pipeline) fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
