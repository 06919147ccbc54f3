//! PostgreSQL: the sink that is also the ledger.
//!
//! An epoch's rows, journal entry and progress are one transaction, so a record is in everywhere or
//! nowhere. The row of `wasmill_progress` is the fence: the transaction begins with
//! moving it from the epoch before to this one, under the generation that this host has claimed.
//! Whoever cannot move it does not write: the epoch is committed already, or another host owns the
//! pipeline.
//!
//! # Invariants
//!
//! 1. After any error the connection is given up, and the next call starts on a new one from what is
//!    committed. So an unanswered COMMIT needs no special care: the fence tells what became of it.
//! 2. No call takes longer than its time limit, whatever the server and the network do.
//!
//! # Not here
//!
//! Repeating a call: the caller does, as [`SinkError::remedy`] says.

mod catalog;
mod claim;
mod deployments;
mod direct;
mod encode;
mod failure;
mod letters;
mod numeric;
mod obstacle;
mod presence;
mod progress;
mod provenance;
mod refused;
mod session;
mod setup;
mod table;
mod write;

use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use tokio::time::timeout;
use tracing::{debug, warn};

use self::direct::Direct;
use self::failure::Failure;
use self::presence::{Presence, wait_for_owner};
use self::progress::Owner;
use self::refused::Suspects;
use self::session::{Server, Session, stage_name};
use self::write::{TableRows, TableWrite};
use super::letters::{LetterTable, batches_for};
use super::screen::Bounds;
use super::table::TableTarget;
use super::{CHECK_TIME_MAX, Claim, Durable, Ledger, Sink, SinkError, Targets};
use crate::config::Secret;
use crate::deployment::{Deployment, Outcome, Version};
use crate::epoch::{EpochId, EpochOutput, JournalEntry, OutputBatch};
use crate::record::DeadLetter;

pub use self::letters::PostgresLetters;
pub use self::provenance::PostgresRows;

/// What its tables hold: from 4714-11-24 BC on; its last timestamp, in the year 294276, is later than
/// all of ours. A row of an index takes 2,704 bytes.
pub static BOUNDS: Bounds = Bounds {
    database: "PostgreSQL",
    micros: -210_866_803_200_000_000..=i64::MAX,
    timestamps: "4714 BC to 294276 AD",
    days: -2_440_588..=2_145_042_905,
    dates: "4714 BC to 5874897 AD",
    nan: true,
    key_bytes_max: Some(2_000),
};

const CLAIMED: &str = "a pipeline is claimed before anything is written";

/// Tables in PostgreSQL, with the journal and everybody's progress beside them.
pub struct PostgresLedger {
    name: String,
    pipeline: String,
    server: Server,
    /// that of the dead letters last, where they are kept here
    targets: Vec<TableTarget>,
    letters: Option<LetterTable>,
    /// one for each table, kept for their allocations
    buffers: Vec<BytesMut>,
    /// one for each table
    direct: Vec<Direct>,
    /// `None` while a call uses it, and after an error
    session: Option<Session>,
    owner: Option<Owner>,
    courtesy: Option<Courtesy>,
    /// tables that were missing at this start
    created: Vec<String>,
}

/// What a ledger does that takes no pipeline from a host that runs it.
#[derive(Default)]
struct Courtesy {
    /// whether there was such a host
    met: bool,
    /// tells others that this host runs it
    presence: Option<Presence>,
}

impl PostgresLedger {
    /// A ledger called `name` in `pipeline`, not connected yet.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] when `url` is no `postgres://` URL; the message does not quote it.
    pub fn new(
        name: &str,
        pipeline: &str,
        url: &Secret,
        tables: Vec<TableTarget>,
    ) -> Result<Self, SinkError> {
        Ok(Self {
            name: name.to_owned(),
            pipeline: pipeline.to_owned(),
            server: Server::new(name, pipeline, url)?,
            buffers: tables.iter().map(|_| BytesMut::new()).collect(),
            direct: vec![Direct::default(); tables.len()],
            targets: tables,
            letters: None,
            session: None,
            owner: None,
            courtesy: None,
            created: Vec::new(),
        })
    }

    /// The same giving up a call with its connection after so long; the server's own limits, which are
    /// parts of it, end single statements before.
    #[must_use]
    pub fn giving_up_after(mut self, timeout: Duration) -> Self {
        self.server.call_time_max = timeout;
        self
    }

    /// The same claiming the pipeline only once no other host that does the same runs it.
    #[must_use]
    pub fn waiting_for_the_owner(mut self) -> Self {
        self.courtesy = Some(Courtesy::default());
        self
    }

    /// The same keeping dead letters in this table, for records of `topic`.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] when the name is none for a table.
    pub fn keeping_letters(mut self, table: &str, topic: &str) -> Result<Self, SinkError> {
        let letters = LetterTable::new(table, &self.pipeline, topic)?;
        self.targets.push(letters.target().clone());
        self.buffers.push(BytesMut::new());
        self.direct.push(Direct::default());
        self.letters = Some(letters);
        Ok(self)
    }

    /// Letters as rows; none where they are kept elsewhere.
    fn letter_rows(&self, epoch: EpochId, letters: &[DeadLetter]) -> Vec<OutputBatch> {
        let table = self.letters.as_ref();
        table.map_or_else(Vec::new, |table| table.batches(epoch, letters, &BOUNDS))
    }

    /// The session of the last call, or a new one.
    async fn session(&mut self) -> Result<Session, SinkError> {
        match self.session.take() {
            Some(session) if !session.is_closed() => return Ok(session),
            Some(lost) => {
                let error = lost.close().await;
                warn!(server = self.server.what(), error = ?error, "lost the connection");
            }
            None => {}
        }
        let mut session = Session::open(&self.server).await?;
        debug!(server = self.server.what(), "connected");
        match within(self.server.call_time_max, session.stage(&self.targets)).await {
            Ok(Ok(())) => Ok(session),
            Ok(Err(failure)) => Err(self.give_up(session, failure).await),
            Err(limit) => Err(self.server.silent("prepare statements", limit)),
        }
    }

    /// A session of its own for looking around.
    async fn look(&self) -> Result<Session, SinkError> {
        let session = Session::open(&self.server).await?;
        match session.read_only().await {
            Ok(()) => Ok(session),
            Err(failure) => Err(self.give_up(session, failure).await),
        }
    }

    /// Ends what [`look`](Self::look) began.
    async fn looked<T>(
        &self,
        session: Session,
        outcome: Result<T, Failure>,
    ) -> Result<T, SinkError> {
        match outcome {
            Ok(found) => {
                session.close().await;
                Ok(found)
            }
            Err(failure) => Err(self.give_up(session, failure).await),
        }
    }

    /// Ends a check that takes too long.
    async fn in_time<T>(
        &self,
        doing: &str,
        checking: impl Future<Output = Result<T, SinkError>>,
    ) -> Result<T, SinkError> {
        let limit = CHECK_TIME_MAX;
        let checked = timeout(limit, checking).await;
        checked.unwrap_or_else(|_| Err(self.server.silent(doing, limit)))
    }

    /// Keeps the session after a success, and ends it after anything else.
    async fn settle<T>(
        &mut self,
        session: Session,
        doing: &str,
        outcome: Timed<T>,
    ) -> Result<T, SinkError> {
        match outcome {
            Ok(Ok(value)) => {
                self.session = Some(session);
                Ok(value)
            }
            Ok(Err(failure)) => Err(self.give_up(session, failure).await),
            Err(limit) => Err(self.server.silent(doing, limit)),
        }
    }

    async fn write_on(&mut self, session: &Session, epoch: &EpochOutput) -> Result<(), Failure> {
        let owner = self.owner.as_ref().expect(CLAIMED);
        let letters = self.letter_rows(epoch.epoch, &epoch.dead_letters);
        let rows: Vec<TableRows<'_>> = self
            .targets
            .iter()
            .map(|target| TableRows::new(target, batches_for(target, epoch, &letters)))
            .collect();
        let tables = (&rows[..], &mut self.buffers[..], &mut self.direct[..]);
        let written = direct::write(session, owner, epoch, self.letters.as_ref(), tables).await;
        let Err(failure) = written else {
            return Ok(());
        };
        if !refused::is_about_rows(&failure) {
            return Err(failure);
        }
        let client = session.client();
        let rolled_back = client.batch_execute("ROLLBACK").await;
        rolled_back.map_err(Failure::to("roll back"))?;
        let mut suspects = Vec::with_capacity(rows.len());
        let staged = &session.statements().tables;
        let each = rows.iter().zip(staged).zip(&mut self.buffers);
        for (index, ((rows, staged), buffer)) in each.enumerate() {
            suspects.push(Suspects {
                rows,
                encoders: rows.encoders().map_err(Failure::Sink)?,
                staged,
                buffer,
                stage: stage_name(index),
            });
        }
        match refused::find(client, suspects).await? {
            none if none.is_empty() => Err(Failure::Sink(SinkError::Unavailable {
                what: self.server.what().to_owned(),
                reason: format!("{}; tried alone, every row is taken", failure.said()),
            })),
            records => Err(Failure::Sink(SinkError::Refused(records))),
        }
    }

    async fn confirm_on(
        &mut self,
        session: &Session,
        confirmed: (&str, EpochId, Option<u64>),
        refused: &[DeadLetter],
    ) -> Result<(), Failure> {
        let letters = self.letter_rows(confirmed.1, refused);
        let owner = self.owner.as_ref().expect(CLAIMED);
        let statements = session.statements();
        let table = self.targets.last().filter(|_| !letters.is_empty());
        let rows = table.map(|target| TableRows::new(target, &letters));
        let write = match (&rows, statements.tables.last(), self.buffers.last_mut()) {
            (Some(rows), Some(staged), Some(buffer)) => Some(TableWrite {
                rows,
                encoders: rows.encoders().map_err(Failure::Sink)?,
                staged,
                buffer,
                is_direct: false,
            }),
            _ => None,
        };
        owner
            .confirm(session.client(), &statements.progress, confirmed, write)
            .await
    }

    /// Ends a session after a failure, which may lie in what the server said last.
    async fn give_up(&self, session: Session, failure: Failure) -> SinkError {
        let unexplained = failure.is_closed();
        let last_words = session.close().await;
        let failure = match (unexplained, last_words) {
            (true, Some(error)) => Failure::to("keep the connection")(error),
            _ => failure,
        };
        failure.into_sink_error(self.server.what())
    }
}

/// What became of work with a time limit; the outer error is the limit that it exceeded.
type Timed<T> = Result<Result<T, Failure>, Duration>;

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Failure>>) -> Timed<T> {
    timeout(limit, work).await.map_err(|_| limit)
}

#[async_trait]
impl Sink for PostgresLedger {
    fn name(&self) -> &str {
        &self.name
    }

    async fn prepare(&mut self) -> Result<(), SinkError> {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
        let mut session = Session::open(&self.server).await?;
        let work = async {
            let created = setup::set_up(&session, self.server.what(), &self.targets).await?;
            session.stage(&self.targets).await?;
            Ok(created)
        };
        let outcome = within(self.server.call_time_max, work).await;
        let settled = self.settle(session, "create and compare tables", outcome);
        self.created = settled.await?;
        Ok(())
    }

    fn aim(&mut self, targets: &Targets) -> Result<(), SinkError> {
        self.targets.clone_from(&targets.tables);
        let letters = self
            .letters
            .as_ref()
            .map(|letters| letters.target().clone());
        self.targets.extend(letters);
        self.buffers.resize_with(self.targets.len(), BytesMut::new);
        self.direct = vec![Direct::default(); self.targets.len()];
        Ok(())
    }

    async fn check(&mut self) -> Result<Vec<String>, SinkError> {
        let this = &*self;
        let checking = async {
            let session = this.look().await?;
            let outcome = setup::check(&session, this.server.what(), &this.targets).await;
            this.looked(session, outcome).await
        };
        this.in_time("connect and compare tables", checking).await
    }

    async fn write(&mut self, epoch: &EpochOutput) -> Result<Durable, SinkError> {
        let session = self.session().await?;
        let outcome = within(self.server.call_time_max, self.write_on(&session, epoch)).await;
        let doing = format!("write epoch {}", epoch.epoch);
        self.settle(session, &doing, outcome).await?;
        Ok(Durable::default())
    }
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn claim(
        &mut self,
        definition: &serde_json::Value,
        others: &[String],
    ) -> Result<Claim, SinkError> {
        self.owner = None;
        if let Some(courtesy) = &mut self.courtesy {
            courtesy.presence = None;
            // Looking locks nothing, and so holds up nobody.
            let session = Session::open(&self.server).await?;
            let gone = wait_for_owner(&session, &self.pipeline, &mut courtesy.met).await;
            self.looked(session, gone).await?;
        }
        let session = self.session().await?;
        let names = (self.pipeline.as_str(), self.name.as_str());
        let polite = self.courtesy.is_some().then_some(&self.server);
        let work = claim::claim(&session, names, definition, others, polite);
        let work = obstacle::cutting_off(&self.server, work);
        let outcome = within(self.server.call_time_max, work).await;
        let claimed = self.settle(session, "claim the pipeline", outcome).await?;
        let (owner, claim, presence) = claimed;
        self.owner = Some(owner);
        let created = std::mem::take(&mut self.created);
        if !created.is_empty() && claim.epoch > EpochId(0) {
            warn!(
                tables = created.join(", "),
                epoch = claim.epoch.0,
                "tables were missing and are new: what the epochs up to this one made is not in them; \
                 to have it there, start over"
            );
        }
        if let Some(courtesy) = &mut self.courtesy {
            courtesy.presence = presence;
        }
        Ok(claim)
    }

    async fn check_claim(
        &mut self,
        definition: &serde_json::Value,
        others: &[String],
    ) -> Result<(), SinkError> {
        let this = &*self;
        let checking = async {
            let session = this.look().await?;
            let names = (this.pipeline.as_str(), this.name.as_str());
            let outcome = claim::check(session.client(), names, definition, others).await;
            this.looked(session, outcome).await
        };
        this.in_time("compare the stored definition", checking)
            .await
    }

    async fn journal(
        &mut self,
        after: EpochId,
        entries_max: usize,
    ) -> Result<Vec<JournalEntry>, SinkError> {
        let session = self.session().await?;
        let work = progress::journal(session.client(), &self.pipeline, (after, entries_max));
        let outcome = within(self.server.call_time_max, work).await;
        self.settle(session, "read wasmill_epochs", outcome).await
    }

    async fn deployments(&mut self) -> Result<Vec<Deployment>, SinkError> {
        let session = self.session().await?;
        let work = deployments::all(session.client(), &self.pipeline);
        let outcome = within(self.server.call_time_max, work).await;
        self.settle(session, "read wasmill_deployments", outcome)
            .await
    }

    async fn conclude(&mut self, version: Version, outcome: &Outcome) -> Result<(), SinkError> {
        let session = self.session().await?;
        let owner = self.owner.as_ref().expect(CLAIMED);
        let work = owner.conclude(session.client(), version, outcome);
        let outcome = within(self.server.call_time_max, work).await;
        self.settle(session, "write to wasmill_deployments", outcome)
            .await
    }

    async fn confirm(
        &mut self,
        sink: &str,
        epoch: EpochId,
        refused: &[DeadLetter],
        dead_letter_bytes: Option<u64>,
    ) -> Result<(), SinkError> {
        let session = self.session().await?;
        let confirmed = (sink, epoch, dead_letter_bytes);
        let limit = self.server.call_time_max;
        let work = self.confirm_on(&session, confirmed, refused);
        let outcome = within(limit, work).await;
        self.settle(session, "write to wasmill_progress", outcome)
            .await
    }

    async fn checkpointed(&mut self, oldest: EpochId) -> Result<(), SinkError> {
        let session = self.session().await?;
        let owner = self.owner.as_ref().expect(CLAIMED);
        let outcome = within(
            self.server.call_time_max,
            owner.forget(session.client(), oldest),
        )
        .await;
        self.settle(session, "write to wasmill_epochs", outcome)
            .await
    }
}
