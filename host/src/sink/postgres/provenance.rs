//! Which version wrote a row, by the transaction that the server notes with it.
//!
//! Every row has the id of the transaction that wrote it last, its `xmin`. An epoch is one transaction,
//! and those of a pipeline follow one another, so their ids grow with the epochs; each entry of the
//! journal and each deployment has the id of its own in a column.
//!
//! `xmin` has 32 bits of an id of 64. What the other half may be is found from both ends: the pipeline
//! wrote nothing before its first deployment, and nobody later than now. So there is one such id as long
//! as fewer than 2³² transactions lie between, and several are told apart where they are of one version.
//!
//! A database that was restored from a dump has other ids than those in our columns. There the row of a
//! deployment differs from its own column, so it is noticed: what was in force before is not told.

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::catalog::Existing;
use super::deployments;
use super::failure::Failure;
use super::session::{Server, Session, column, unsigned};
use crate::config::Secret;
use crate::deployment::Version;
use crate::epoch::EpochId;
use crate::sink::SinkError;
use crate::sink::provenance::{Found, History, Maker};
use crate::sink::table::{commas, quote, quote_table};

/// Ids that `xmin` tells apart.
const SPAN: u64 = 1 << 32;

/// Ids below this one are the server's own.
const FIRST_ID: u32 = 3;

/// The first id that no transaction has yet.
const NOW: &str = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";

/// The newest entry of the journal is always there.
const NEWEST: &str = "SELECT coalesce(max(epoch), 0) FROM wasmill_epochs WHERE pipeline = $1";

const BEGINS: &str = "\
    SELECT version, epoch, xid::text::bigint,
        xmin::text::bigint = written::text::bigint % 4294967296
    FROM wasmill_deployments WHERE pipeline = $1 ORDER BY version";

/// What the journal has of a transaction, and the epochs around it.
const AROUND: &str = "\
    SELECT min(epoch) FILTER (WHERE id = $3), max(epoch) FILTER (WHERE id < $3),
        min(epoch) FILTER (WHERE id > $3)
    FROM (SELECT epoch, xid::text::bigint AS id FROM wasmill_epochs
          WHERE pipeline = $1 AND epoch >= $2) journal";

/// A deployment, and the transaction that it came into force with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Begin {
    version: Version,
    epoch: EpochId,
    id: u64,
    /// its row was written by the transaction that it names, so this server's ids are meant
    original: bool,
}

/// What the journal has of a transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Around {
    exactly: Option<EpochId>,
    before: Option<EpochId>,
    after: Option<EpochId>,
}

/// What may have written a row.
#[derive(Debug, PartialEq, Eq)]
enum Suspects<'a> {
    /// transactions that all were while one version was in force
    Of(&'a Begin, Vec<u64>),
    /// nobody can tell, for this reason
    Unknown(String),
}

/// The rows of a pipeline in one database, for whoever asks what made them. Changes nothing, and takes
/// nothing from the host that runs the pipeline.
pub struct PostgresRows {
    server: Server,
    pipeline: String,
}

impl PostgresRows {
    /// Those of `pipeline` in the sink's database, which is not connected yet.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] when `url` is no `postgres://` URL; the message does not quote it.
    pub fn new(sink: &str, pipeline: &str, url: &Secret) -> Result<Self, SinkError> {
        Ok(Self {
            server: Server::new(sink, pipeline, url)?.called("wasmill status"),
            pipeline: pipeline.to_owned(),
        })
    }

    /// What the ledger knows of the past.
    ///
    /// # Errors
    ///
    /// [`SinkError`], also where no pipeline has written anything yet.
    pub async fn history(&self) -> Result<History, SinkError> {
        let session = Session::open(&self.server).await?;
        let read = async {
            session.read_only().await?;
            let client = session.client();
            expect_ours(client).await?;
            let deployments = deployments::all(client, &self.pipeline).await?;
            let newest = client.query_one(NEWEST, &[&self.pipeline]).await;
            let newest = newest.map_err(Failure::to("read wasmill_epochs"))?;
            let epoch = EpochId(unsigned(&newest, 0)?);
            Ok(History { deployments, epoch })
        };
        let read = read.await;
        session.close().await;
        read.map_err(|failure: Failure| failure.into_sink_error(self.server.what()))
    }

    /// Who wrote the row last that has these `values`, as texts, in the `key` columns of a table.
    ///
    /// # Errors
    ///
    /// [`SinkError`], also when there is no such table, or a value is none of its column's type.
    pub async fn find(
        &self,
        table: &str,
        key: &[String],
        values: &[String],
    ) -> Result<Found, SinkError> {
        let name = table;
        let table = quote_table(name).map_err(|error| SinkError::Permanent(error.to_string()))?;
        let session = Session::open(&self.server).await?;
        let wanted = Wanted {
            name,
            table: &table,
            key,
            values,
        };
        let found = async {
            session.read_only().await?;
            expect_ours(session.client()).await?;
            find(session.client(), &self.pipeline, &wanted).await
        };
        let found = found.await;
        session.close().await;
        found.map_err(|failure: Failure| failure.into_sink_error(self.server.what()))
    }
}

/// A table and the values of its key, as texts.
struct Wanted<'a> {
    name: &'a str,
    /// as SQL
    table: &'a str,
    key: &'a [String],
    values: &'a [String],
}

/// Refuses a database that has no deployments.
async fn expect_ours(client: &Client) -> Result<(), Failure> {
    match Existing::find(client, "wasmill_deployments").await? {
        Some(_) => Ok(()),
        None => Err(Failure::permanent(
            "the database has no table wasmill_deployments: no pipeline has run there yet",
        )),
    }
}

/// Who wrote a row last. `client` is in a transaction that sees one state of the database.
async fn find(client: &Client, pipeline: &str, wanted: &Wanted<'_>) -> Result<Found, Failure> {
    let Some(xmin) = xmin(client, wanted).await? else {
        return Ok(Found::Nothing);
    };
    let now = client
        .query_one(NOW, &[])
        .await
        .map_err(Failure::to("ask for the newest transaction"))?;
    let now = unsigned(&now, 0)?;
    let begins = begins(client, pipeline).await?;
    let (begin, ids) = match suspects(xmin, now, &begins) {
        Suspects::Of(begin, ids) => (begin, ids),
        Suspects::Unknown(reason) => return Ok(Found::Row(Maker::Unknown(reason))),
    };
    // Where several transactions may have been it, none of them is it for sure.
    let [id] = ids[..] else {
        return Ok(Found::Row(Maker::Version(begin.version)));
    };
    let oldest = begins.iter().find(|begin| begin.original);
    let oldest = oldest.map_or(EpochId(0), |begin| begin.epoch);
    let around = around(client, pipeline, (oldest, id)).await?;
    Ok(Found::Row(judge(begin.version, around)))
}

/// `xmin` of the row; `None` when there is no such row.
async fn xmin(client: &Client, wanted: &Wanted<'_>) -> Result<Option<u32>, Failure> {
    let Wanted {
        name,
        table,
        key,
        values,
    } = wanted;
    let Some(existing) = Existing::find(client, table).await? else {
        return Err(Failure::permanent(format!("there is no table `{name}`")));
    };
    let mut conditions = Vec::with_capacity(key.len());
    for (index, column) in key.iter().enumerate() {
        let Some(ty) = existing.type_of(column) else {
            let message = format!("table `{name}` has no column `{column}`");
            return Err(Failure::permanent(message));
        };
        let (column, number) = (quote(column), index + 1);
        conditions.push(format!("{column} = CAST(${number}::text AS {ty})"));
    }
    let sql = format!(
        "SELECT xmin::text::bigint FROM {table} WHERE {}",
        conditions.join(" AND ")
    );
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
    let named = commas(key.iter().map(|column| format!("`{column}`")));
    let row = client
        .query_opt(&sql, &values)
        .await
        .map_err(Failure::to(format!(
            "look a row of table `{name}` up by its key, {named}"
        )))?;
    let Some(row) = row else { return Ok(None) };
    let xmin = unsigned(&row, 0)?;
    Ok(u32::try_from(xmin).ok())
}

async fn begins(client: &Client, pipeline: &str) -> Result<Vec<Begin>, Failure> {
    client
        .query(BEGINS, &[&pipeline])
        .await
        .map_err(Failure::to("read wasmill_deployments"))?
        .iter()
        .map(|row| {
            let version = unsigned(row, 0)?;
            Ok(Begin {
                version: Version(u32::try_from(version).unwrap_or(u32::MAX)),
                epoch: EpochId(unsigned(row, 1)?),
                id: unsigned(row, 2)?,
                original: column(row, 3)?,
            })
        })
        .collect()
}

async fn around(
    client: &Client,
    pipeline: &str,
    (oldest, id): (EpochId, u64),
) -> Result<Around, Failure> {
    let (oldest, id) = (oldest.0.cast_signed(), id.cast_signed());
    let row = client
        .query_one(AROUND, &[&pipeline, &oldest, &id])
        .await
        .map_err(Failure::to("read wasmill_epochs"))?;
    let epoch = |index| {
        let epoch: Option<i64> = column(&row, index)?;
        Ok::<_, Failure>(epoch.map(|epoch| EpochId(epoch.unsigned_abs())))
    };
    Ok(Around {
        exactly: epoch(0)?,
        before: epoch(1)?,
        after: epoch(2)?,
    })
}

/// Which transactions the 32 bits of `xmin` may mean. `now` is the first id that nobody has yet.
fn suspects(xmin: u32, now: u64, begins: &[Begin]) -> Suspects<'_> {
    let begins: Vec<&Begin> = begins.iter().filter(|begin| begin.original).collect();
    let Some(first) = begins.first() else {
        return Suspects::Unknown(
            "the database was restored from a dump since the last version came into force, and a dump keeps no transactions".to_owned(),
        );
    };
    let earliest = first.id - first.id % SPAN + u64::from(xmin);
    let ids: Vec<u64> = (earliest..now)
        .step_by(SPAN as usize)
        .filter(|&id| id >= first.id && xmin >= FIRST_ID)
        .collect();
    let mut by: Vec<&Begin> = ids
        .iter()
        .filter_map(|&id| begins.iter().rfind(|begin| begin.id <= id).copied())
        .collect();
    by.dedup();
    match by[..] {
        [] if first.version == Version::FIRST => Suspects::Unknown(
            "it was written before the pipeline's first version came into force".to_owned(),
        ),
        [] => Suspects::Unknown(format!(
            "it was written before version {} came into force, or came out of a dump with the versions before that one, and a dump keeps no transactions",
            first.version
        )),
        [begin] => Suspects::Of(begin, ids),
        _ => {
            let versions = commas(by.iter().map(|begin| begin.version.to_string()));
            Suspects::Unknown(format!(
                "its transaction id has come round again since it may have been written: it was one of the versions {versions}"
            ))
        }
    }
}

fn judge(version: Version, around: Around) -> Maker {
    match around {
        Around {
            exactly: Some(epoch),
            ..
        } => Maker::Epoch(epoch),
        Around {
            before: Some(before),
            after,
            ..
        } if after.is_none_or(|after| after == before.next()) => Maker::Somebody { after: before },
        // The journal has forgotten what came between.
        _ => Maker::Version(version),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn begin(version: u32, id: u64) -> Begin {
        Begin {
            version: Version(version),
            epoch: EpochId(u64::from(version) * 10),
            id,
            original: true,
        }
    }

    fn version_of(xmin: u32, now: u64, begins: &[Begin]) -> Result<Version, String> {
        match suspects(xmin, now, begins) {
            Suspects::Of(begin, _) => Ok(begin.version),
            Suspects::Unknown(reason) => Err(reason),
        }
    }

    #[test]
    fn a_transaction_is_of_the_last_version_that_came_into_force_before() {
        let begins = [begin(1, 1_000), begin(2, 2_000)];
        let of = |xmin| version_of(xmin, 3_000, &begins);
        assert_eq!(of(1_000), Ok(Version(1)));
        assert_eq!(of(1_999), Ok(Version(1)));
        assert_eq!(of(2_000), Ok(Version(2)));
        assert!(of(999).unwrap_err().contains("before the pipeline's first"));
        assert!(of(3_000).is_err(), "nobody has this one yet");
    }

    #[test]
    fn ids_go_on_where_32_bits_end() {
        let begins = [begin(1, SPAN - 10), begin(2, SPAN + 100)];
        let of = |xmin| version_of(xmin, SPAN + 200, &begins);
        assert_eq!(of(u32::MAX), Ok(Version(1)));
        assert_eq!(of(50), Ok(Version(1)));
        assert_eq!(of(100), Ok(Version(2)));
        assert!(of(2).is_err(), "the server's own");
    }

    #[test]
    fn an_id_that_came_round_is_told_only_where_it_makes_no_difference() {
        let begins = [begin(1, 1_000), begin(2, SPAN)];
        let of = |xmin| version_of(xmin, 3 * SPAN, &begins);
        let reason = of(5_000).unwrap_err();
        assert!(reason.contains("one of the versions 1, 2"), "{reason}");
        assert_eq!(of(500), Ok(Version(2)));
    }

    #[test]
    fn what_a_dump_brought_is_not_told() {
        let mut begins = [begin(1, 1_000), begin(2, 2_000), begin(3, 9_000)];
        begins[0].original = false;
        begins[1].original = false;
        let of = |xmin| version_of(xmin, 10_000, &begins);
        assert_eq!(of(9_500), Ok(Version(3)));
        assert!(of(2_500).unwrap_err().contains("before version 3"));
        begins[2].original = false;
        let reason = version_of(9_500, 10_000, &begins).unwrap_err();
        assert!(reason.contains("restored from a dump"), "{reason}");
    }

    #[test]
    fn the_journal_tells_whose_a_transaction_was_as_far_as_it_goes() {
        let around = |exactly, before, after| Around {
            exactly: Option::map(exactly, EpochId),
            before: Option::map(before, EpochId),
            after: Option::map(after, EpochId),
        };
        let version = Version(2);
        let judged = |exactly, before, after| judge(version, around(exactly, before, after));
        assert_eq!(judged(Some(5), Some(4), Some(6)), Maker::Epoch(EpochId(5)));
        let somebody = Maker::Somebody { after: EpochId(4) };
        assert_eq!(judged(None, Some(4), Some(5)), somebody);
        assert_eq!(judged(None, Some(4), None), somebody);
        assert_eq!(judged(None, Some(1), Some(9)), Maker::Version(version));
        assert_eq!(judged(None, None, Some(9)), Maker::Version(version));
    }

    proptest! {
        #[test]
        fn a_row_of_the_last_four_billion_transactions_is_of_its_version(
            first in 3u64..5 * SPAN,
            steps in prop::collection::vec(1u64..SPAN / 8, 1..6),
            at in any::<prop::sample::Index>(),
        ) {
            let mut begins = vec![begin(1, first)];
            for (index, step) in steps.iter().enumerate() {
                let last = begins[index].id;
                begins.push(begin(index as u32 + 2, last + step));
            }
            let now = begins[begins.len() - 1].id + 1;
            let id = first + at.index((now - first) as usize) as u64;
            prop_assume!(id % SPAN >= u64::from(FIRST_ID));
            let expected = begins.iter().rfind(|begin| begin.id <= id).unwrap().version;
            prop_assert_eq!(version_of((id % SPAN) as u32, now, &begins), Ok(expected));
        }
    }
}
