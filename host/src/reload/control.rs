//! Asking for another version, and hearing what came of it: the only way in, for files that change,
//! signals and the admin server alike.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::deployment::{Trigger, Version};
use crate::description::Description;
use crate::status::DeploymentStatus;

/// Requests that wait. Each is answered, the last one wins.
const REQUESTS_MAX: usize = 64;
/// Events that a slow listener may miss.
const EVENTS_MAX: usize = 256;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// the pipeline and the components as their files are now
    Files,
    /// the version before the one in force
    Previous,
    /// this one of the former versions
    Version(Version),
}

/// Somebody asks.
#[derive(Debug)]
pub struct Request {
    /// what for
    pub wanted: Wanted,
    /// what made them ask
    pub trigger: Trigger,
    /// whether to say what would be done, and do nothing
    pub dry_run: bool,
    /// where the answer goes
    pub answer: oneshot::Sender<Result<Report, Refusal>>,
}

/// What a reload does or has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// the version that came into force by it; `None` where it was a dry run or there was nothing to do
    pub version: Option<Version>,
    /// each change of the pipeline, for a person; empty where there is nothing to do
    pub changes: Vec<String>,
    /// what becomes of the states of each aggregate that changes, for a person
    pub states: Vec<String>,
    /// what somebody should know before, such as that there is no way back
    pub warnings: Vec<String>,
}

/// Why the running version stays.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The files make no pipeline, or a component does not fit.
    #[error("{0}")]
    Invalid(String),
    /// It would be another pipeline, or needs a restart.
    #[error("{0}")]
    NotLive(String),
    /// States cannot be taken over.
    #[error("{0}")]
    States(String),
    /// It failed on records that the running version could use.
    #[error("{0}")]
    Rehearsal(String),
    /// There is no such version to go back to.
    #[error("{0}")]
    NoSuchVersion(String),
    /// A later request came before this one was in force.
    #[error("a later reload came before this one was in force")]
    Superseded,
    /// The run ends, or has not come so far.
    #[error("{0}")]
    NotRunning(String),
}

impl Refusal {
    /// As it is told to programs: one word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::NotLive(_) => "not_live",
            Self::States(_) => "states",
            Self::Rehearsal(_) => "rehearsal",
            Self::NoSuchVersion(_) => "no_such_version",
            Self::Superseded => "superseded",
            Self::NotRunning(_) => "not_running",
        }
    }
}

/// Something that happened to the running version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// when
    #[serde(serialize_with = "rfc3339")]
    pub at: DateTime<Utc>,
    /// what
    #[serde(flatten)]
    pub what: Happening,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    /// somebody asked for another version
    Requested {
        /// what made them ask
        trigger: Trigger,
    },
    /// the running version stays
    Refused {
        /// what had asked
        trigger: Trigger,
        /// why it stays
        reason: String,
    },
    /// another version is in force
    Deployed {
        /// which
        version: Version,
        /// what had asked
        trigger: Trigger,
    },
    /// what came before some aggregates cannot be folded
    BackfillFailed {
        /// which
        aggregates: String,
        /// why
        reason: String,
    },
    /// a version has passed its probation
    Accepted {
        /// which
        version: Version,
    },
    /// a version was found bad, and the one before comes back
    Failed {
        /// which
        version: Version,
        /// why
        reason: String,
    },
}

impl Happening {
    /// Now.
    #[must_use]
    pub fn now(self) -> Event {
        Event {
            at: Utc::now(),
            what: self,
        }
    }
}

fn rfc3339<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// The way to whoever reloads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    requests: mpsc::Sender<Request>,
    events: broadcast::Sender<Event>,
    deployments: watch::Receiver<Arc<Vec<DeploymentStatus>>>,
    description: watch::Receiver<Arc<Description>>,
}

/// The other end of it.
#[derive(Debug)]
pub struct Requests {
    /// what is asked for
    pub requests: mpsc::Receiver<Request>,
    /// where it is told what happens
    pub events: broadcast::Sender<Event>,
    /// the newest deployments, newest last
    pub deployments: watch::Sender<Arc<Vec<DeploymentStatus>>>,
    /// what is in force
    pub description: watch::Sender<Arc<Description>>,
}

/// Both ends.
#[must_use]
pub fn control() -> (Control, Requests) {
    let (asking, requests) = mpsc::channel(REQUESTS_MAX);
    let (events, _) = broadcast::channel(EVENTS_MAX);
    let (deployments, known) = watch::channel(Arc::default());
    let (description, described) = watch::channel(Arc::default());
    let control = Control {
        requests: asking,
        events: events.clone(),
        deployments: known,
        description: described,
    };
    let requests = Requests {
        requests,
        events,
        deployments,
        description,
    };
    (control, requests)
}

impl Control {
    /// Has another version put into force, and waits until it is, or was refused; with `dry_run` only
    /// says what would be done.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: the running version stays.
    pub async fn ask(
        &self,
        wanted: Wanted,
        trigger: Trigger,
        dry_run: bool,
    ) -> Result<Report, Refusal> {
        let (answer, answered) = oneshot::channel();
        let request = Request {
            wanted,
            trigger,
            dry_run,
            answer,
        };
        let gone = || Refusal::NotRunning("the run is ending".to_owned());
        self.requests.send(request).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// What happens from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// The newest deployments, newest last.
    #[must_use]
    pub fn deployments(&self) -> Arc<Vec<DeploymentStatus>> {
        Arc::clone(&self.deployments.borrow())
    }

    /// What is in force.
    #[must_use]
    pub fn description(&self) -> Arc<Description> {
        Arc::clone(&self.description.borrow())
    }
}
