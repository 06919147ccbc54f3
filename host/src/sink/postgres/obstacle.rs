//! Cutting off a former host that stands in the way of a claim.
//!
//! A host that stands still in the middle of a transaction holds the rows that a claim locks. Mostly the
//! server ends its transaction after a while without a statement. But in the middle of a `COPY` it waits for
//! the next bytes for ever, and heeds no time limit meanwhile: as long as the other side's system lives, as it
//! does under a host that was stopped, nobody else gets these rows.
//!
//! # Invariants
//!
//! 1. Only sessions of the same pipeline, database and role are ended, and only those that hold up another
//!    session of it while they wait for their client.
//! 2. That is never wrong, at worst in vain: who claims the pipeline fences such a host off anyway, and what
//!    it had not committed is made again.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::session::{Server, Session};

/// A claim that waits for so long is helped. So long the server lets a transaction without a statement be.
const STANDSTILL: Duration = Duration::from_secs(10);
/// How long that may take.
const CUT_TIME_MAX: Duration = Duration::from_secs(10);

const CUT_OFF: &str = "\
    SELECT count(*) FILTER (WHERE pg_terminate_backend(holder.pid)) FROM (
        SELECT DISTINCT holder.pid FROM pg_stat_activity waiting
        CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) blocking (pid)
        JOIN pg_stat_activity holder ON holder.pid = blocking.pid
        WHERE waiting.application_name = current_setting('application_name')
          AND holder.application_name = waiting.application_name
          AND waiting.datname = current_database() AND holder.datname = waiting.datname
          AND waiting.usename = current_user AND holder.usename = waiting.usename
          AND holder.wait_event = 'ClientRead'
    ) holder";

/// Does `work`. Where it waits for too long, whoever stands still in its way is cut off.
pub(super) async fn cutting_off<T>(server: &Server, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = async {
                sleep(STANDSTILL).await;
                cut_off(server).await;
            } => {}
        }
    }
}

/// On a connection of its own: the other one waits.
async fn cut_off(server: &Server) {
    let Ok(session) = Session::open(server).await else {
        // The work says itself that the server is away.
        return;
    };
    let cutting = async {
        let row = session.client().query_one(CUT_OFF, &[]).await?;
        row.try_get::<_, i64>(0)
    };
    match timeout(CUT_TIME_MAX, cutting).await {
        Ok(Ok(0)) | Err(_) => {}
        Ok(Ok(sessions)) => tracing::warn!(
            server = server.what(),
            sessions,
            "another host of this pipeline stood still in the middle of a transaction: it was cut off"
        ),
        Ok(Err(error)) => tracing::warn!(
            server = server.what(),
            %error,
            "failed to look for a host that stands still"
        ),
    }
}
