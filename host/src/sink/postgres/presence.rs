//! That the owner of a pipeline lives, as other hosts see it: for `takeover = false`.
//!
//! The owner holds an advisory lock on a connection of its own. The server lets go of the lock when the
//! owner ends, and also when the owner is stopped or its machine vanishes: it pings, and a connection
//! without a ping is closed. An owner that loses the connection gets another one within the time that
//! who waits takes to be sure.
//!
//! # Invariants
//!
//! This is courtesy and not safety. Whoever is wrong about it claims a pipeline that somebody runs, and
//! then the fence stops the other one: see [`super::progress`].

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use xxhash_rust::xxh3::Xxh3;

use super::failure::Failure;
use super::session::{Server, Session, column, unsigned};
use crate::backoff::Backoff;
use crate::sink::SinkError;

/// Between two pings of the owner.
const PING: Duration = Duration::from_secs(5);
/// The server closes the connection after so long without one.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// The longest wait of an owner that has lost its connection.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// The lock has to be free for so long: an owner that has lost its connection takes it again by then.
const GRACE: Duration = Duration::from_secs(2);
/// Between two looks at the lock.
const LOOK: Duration = Duration::from_millis(250);
/// A wait is reported anew after so long.
const REPORT: Duration = Duration::from_secs(10);

const TAKE: &str = "SELECT pg_try_advisory_lock($1)";

/// Servers before 14 do not know the setting.
const CLOSE_WHEN_SILENT: &str = "\
    SELECT set_config(name, $1, false) FROM pg_settings WHERE name = 'idle_session_timeout'";

const GENERATION: &str = "\
    SELECT coalesce(max(generation), 0) AS generation FROM wasmill_progress WHERE pipeline = $1";

/// Whoever holds the lock, but for this process: a run of it that has just ended may still do so.
const HOLDER: &str = "\
    SELECT coalesce(host(a.client_addr), 'a socket'),
           coalesce(to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), 'it started')
    FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.classid = $1 AND l.objid = $2
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND a.application_name IS DISTINCT FROM $3
    LIMIT 1";

/// The lock of an owner. A later one has another, so one that was overtaken stands in nobody's way.
fn key(pipeline: &str, generation: u64) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(b"wasmill owner\0");
    hash.update(pipeline.as_bytes());
    hash.update(&generation.to_le_bytes());
    hash.digest()
}

/// What this process calls itself at the server while it owns a pipeline.
fn own_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| format!("wasmill owner {:016x}", rand::random::<u64>()))
}

/// A task that holds the lock of this owner until it is dropped.
pub(super) struct Presence(JoinHandle<()>);

impl Presence {
    /// Returns once the lock is held, or cannot be held now: the task goes on trying.
    pub(super) async fn begin(server: &Server, pipeline: &str, generation: u64) -> Self {
        let server = server.called(own_name());
        let key = key(pipeline, generation).cast_signed();
        let (tried, first) = oneshot::channel();
        let task = tokio::spawn(hold(server, key, tried));
        // Whoever begins is in a transaction, which must not wait for long.
        let _ = timeout(PING, first).await;
        Self(task)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn hold(server: Server, key: i64, tried: oneshot::Sender<()>) {
    let mut tried = Some(tried);
    let mut backoff = Backoff::up_to(BACKOFF_MAX);
    let mut said = false;
    loop {
        let error = match take(&server, key).await {
            Ok(mut session) => {
                backoff = Backoff::up_to(BACKOFF_MAX);
                said = false;
                tried.take().map(|tried| tried.send(()));
                ping(&mut session).await
            }
            Err(error) => error.to_string(),
        };
        if !std::mem::replace(&mut said, true) {
            let part = server.what();
            tracing::warn!(
                part,
                error,
                "hosts with `takeover = false` cannot see this one now"
            );
        }
        tried.take().map(|tried| tried.send(()));
        sleep(backoff.wait()).await;
    }
}

async fn take(server: &Server, key: i64) -> Result<Session, SinkError> {
    let session = Session::open(server).await?;
    let said = |failure: Failure| failure.into_sink_error(server.what());
    let silence = format!("{}ms", SILENCE_MAX.as_millis());
    let client = session.client();
    client
        .execute(CLOSE_WHEN_SILENT, &[&silence])
        .await
        .map_err(|error| said(Failure::to("limit silence")(error)))?;
    let row = client
        .query_one(TAKE, &[&key])
        .await
        .map_err(|error| said(Failure::to("take the lock of the owner")(error)))?;
    if column(&row, 0).map_err(said)? {
        return Ok(session);
    }
    Err(SinkError::Unavailable {
        what: server.what().to_owned(),
        reason: "a former connection still holds the lock of the owner".to_owned(),
    })
}

/// Pings until the connection is lost; why it is.
async fn ping(session: &mut Session) -> String {
    loop {
        tokio::select! {
            why = session.lost() => return why,
            () = sleep(PING) => {}
        }
        match timeout(PING, session.client().batch_execute("")).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("no answer within {} s", PING.as_secs()),
        }
    }
}

/// Somebody else owns the pipeline and lives.
struct Holder {
    generation: u64,
    from: String,
    since: String,
}

impl Holder {
    /// `None` when nobody does.
    async fn find(session: &Session, pipeline: &str) -> Result<Option<Self>, Failure> {
        let client = session.client();
        let row = client
            .query_one(GENERATION, &[&pipeline])
            .await
            .map_err(Failure::to("read wasmill_progress"))?;
        let generation = unsigned(&row, 0)?;
        let key = key(pipeline, generation);
        let (high, low) = ((key >> 32) as u32, key as u32);
        let found = client
            .query_opt(HOLDER, &[&high, &low, &own_name()])
            .await
            .map_err(Failure::to("look for another host"))?;
        let Some(row) = found else { return Ok(None) };
        Ok(Some(Self {
            generation,
            from: column(&row, 0)?,
            since: column(&row, 1)?,
        }))
    }

    fn into_failure(self, pipeline: &str) -> Failure {
        let Self {
            generation,
            from,
            since,
        } = self;
        Failure::Sink(SinkError::Owned {
            pipeline: pipeline.to_owned(),
            owner: format!("generation {generation}, connected from {from} since {since} UTC"),
        })
    }
}

/// Waits for the owner to go, who was seen `before` or not; for a while only, so that it can be told
/// who that is. An owner that was never seen needs no waiting for.
///
/// # Errors
///
/// [`SinkError::Owned`] as long as there is one.
pub(super) async fn wait_for_owner(
    session: &Session,
    pipeline: &str,
    before: &mut bool,
) -> Result<(), Failure> {
    let began = Instant::now();
    let mut free_since = None;
    loop {
        match Holder::find(session, pipeline).await? {
            Some(holder) => {
                free_since = None;
                if !std::mem::replace(before, true) || began.elapsed() >= REPORT {
                    return Err(holder.into_failure(pipeline));
                }
            }
            None if !*before => return Ok(()),
            None if free_since.get_or_insert_with(Instant::now).elapsed() >= GRACE => return Ok(()),
            None => {}
        }
        sleep(LOOK).await;
    }
}

/// Refuses a claim while somebody else owns the pipeline.
pub(super) async fn refuse_owned(session: &Session, pipeline: &str) -> Result<(), Failure> {
    let holder = Holder::find(session, pipeline).await?;
    holder.map_or(Ok(()), |holder| Err(holder.into_failure(pipeline)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_owner_of_every_pipeline_has_a_lock_of_its_own() {
        assert_eq!(key("sales", 1), key("sales", 1));
        assert_ne!(key("sales", 1), key("sales", 2));
        assert_ne!(key("sales", 1), key("sale", 1));
    }

    #[test]
    fn the_name_of_an_owner_is_not_cut_by_the_server() {
        assert!(own_name().len() < 64);
    }
}
