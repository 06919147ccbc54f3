//! Sees in PostgreSQL what is committed, and when, by a connection of its own that is made again whenever it
//! breaks.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(5);
/// Between two looks while PostgreSQL, or the table, is away.
const AWAY: Duration = Duration::from_millis(50);

/// What the last committed epoch says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) epoch: u64,
    /// committed records, those that were left out included
    pub(crate) records: u64,
    /// when it was first seen
    pub(crate) at: Instant,
}

/// Looks until it is dropped.
pub(crate) struct Observer {
    seen: watch::Receiver<Seen>,
    looking: JoinHandle<()>,
}

impl Observer {
    pub(crate) fn start(database_url: &str) -> Self {
        let nothing = Seen {
            epoch: 0,
            records: 0,
            at: Instant::now(),
        };
        let (tell, seen) = watch::channel(nothing);
        let looking = tokio::spawn(look(database_url.to_owned(), tell));
        Self { seen, looking }
    }

    pub(crate) fn seen(&self) -> Seen {
        *self.seen.borrow()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

async fn look(url: String, tell: watch::Sender<Seen>) {
    loop {
        if let Ok((client, connection)) = tokio_postgres::connect(&url, NoTls).await {
            let connection = tokio::spawn(connection);
            while let Some((epoch, records)) = last_epoch(&client).await {
                tell.send_if_modified(|seen| {
                    let is_new = epoch != seen.epoch;
                    if is_new {
                        let at = Instant::now();
                        *seen = Seen { epoch, records, at };
                    }
                    is_new
                });
                tokio::time::sleep(EVERY).await;
            }
            connection.abort();
        }
        tokio::time::sleep(AWAY).await;
    }
}

/// The last committed epoch, and how many records are before its end.
async fn last_epoch(client: &Client) -> Option<(u64, u64)> {
    let sql = "SELECT epoch, (SELECT coalesce(sum(value::bigint), 0)::bigint FROM jsonb_each_text(offsets)) \
               FROM wasmill_epochs ORDER BY epoch DESC LIMIT 1";
    let row = client.query_one(sql, &[]).await.ok()?;
    let (epoch, records): (i64, i64) = (row.get(0), row.get(1));
    Some((epoch.unsigned_abs(), records.unsigned_abs()))
}
