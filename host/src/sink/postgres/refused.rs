//! Which rows of an epoch the server refuses: those that break a constraint or a trigger of the
//! user's, or that a column of theirs cannot hold.
//!
//! Rows are copied and written as an epoch's are, in a transaction that is rolled back at the end.
//! What is refused is cut in halves, each inside of a savepoint, until single rows are left: about
//! 2 · log₂ n attempts for one row of n.

use bytes::BytesMut;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::encode::Encoder;
use super::failure::Failure;
use super::write::{Copy, TableRows};
use crate::record::Origin;
use crate::sink::{Refused, SinkError};

/// Classes of states, and states, that are about the values of a row.
const ABOUT_ROWS: &[&str] = &[
    "22",    // data exceptions
    "23",    // constraints
    "44",    // a view's WITH CHECK OPTION
    "P0001", // RAISE EXCEPTION, in a trigger
];

/// Whether a failure is about the values of some row.
pub(super) fn is_about_rows(failure: &Failure) -> bool {
    failure.code().is_some_and(says_row)
}

fn says_row(code: &SqlState) -> bool {
    ABOUT_ROWS
        .iter()
        .any(|state| code.code().starts_with(state))
}

/// Finds them, in all tables. `client` is not in a transaction, before and after. None are found
/// where it was something else that is gone by now.
///
/// # Errors
///
/// [`SinkError::Permanent`] where it is the row of an aggregate, which stands for many records.
pub(super) async fn find(
    client: &Client,
    tables: Vec<Suspects<'_>>,
) -> Result<Vec<Refused>, Failure> {
    client
        .batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED; SET CONSTRAINTS ALL IMMEDIATE")
        .await
        .map_err(Failure::to("begin a transaction"))?;
    let mut refused = Vec::new();
    for table in tables {
        table.find(client, &mut refused).await?;
    }
    client
        .batch_execute("ROLLBACK")
        .await
        .map_err(Failure::to("roll back"))?;
    // Several rows may be made of one record.
    refused.sort_by_key(|refused: &Refused| refused.origin);
    refused.dedup_by_key(|refused| refused.origin);
    Ok(refused)
}

/// The rows of an epoch for one table.
pub(super) struct Suspects<'a> {
    pub(super) rows: &'a TableRows<'a>,
    pub(super) encoders: Vec<Encoder<'a>>,
    pub(super) staged: &'a super::session::Staged,
    pub(super) buffer: &'a mut BytesMut,
    /// the temporary table
    pub(super) stage: String,
}

impl Suspects<'_> {
    async fn find(mut self, client: &Client, refused: &mut Vec<Refused>) -> Result<(), Failure> {
        let encoders = self.encoders.iter().enumerate();
        let places: Vec<(usize, usize)> = encoders
            .flat_map(|(batch, encoder)| encoder.rows().map(move |row| (batch, row)))
            .collect();
        // Taken from the end, so that rows are tried in their order: one may stand in another's way.
        let mut ranges: Vec<_> = std::iter::once(0..places.len()).collect();
        while let Some(range) = ranges.pop() {
            if range.is_empty() {
                continue;
            }
            let Some(reason) = self.attempt(client, &places[range.clone()]).await? else {
                continue;
            };
            if range.len() > 1 {
                let middle = range.start + range.len() / 2;
                ranges.extend([middle..range.end, range.start..middle]);
                continue;
            }
            let (batch, row) = places[range.start];
            refused.push(Refused {
                origin: self.origin(batch, row, &reason)?,
                reason,
            });
        }
        Ok(())
    }

    fn origin(&self, batch: usize, row: usize, reason: &str) -> Result<Origin, Failure> {
        let origins = self.rows.origins(batch);
        origins.get(row).copied().ok_or_else(|| {
            Failure::Sink(SinkError::Permanent(format!(
                "{reason}\nThe row is one of an aggregate and stands for many records, so none of them can be left out for it. \
                 Nothing of the epoch was written: change the table, then start again"
            )))
        })
    }

    /// Writes some rows; the reason if they are refused, and then they are not there.
    async fn attempt(
        &mut self,
        client: &Client,
        places: &[(usize, usize)],
    ) -> Result<Option<String>, Failure> {
        let table = self.rows.name();
        let failed = || Failure::to(format!("write to table `{table}`"));
        client
            .batch_execute("SAVEPOINT wasmill_rows")
            .await
            .map_err(failed())?;
        let mut copy = Copy::start(client, &self.staged.copy, self.buffer)
            .await
            .map_err(failed())?;
        for &(batch, row) in places {
            let encoder = &self.encoders[batch];
            let copied = copy.row(|out| encoder.encode(row, out)).await;
            copied.map_err(|error| failed()(error))?;
        }
        copy.finish().await.map_err(failed())?;
        let (after, refused) = match client.execute(&self.staged.upsert, &[]).await {
            Ok(_) => {
                let stage = &self.stage;
                (
                    format!("DELETE FROM pg_temp.{stage}; RELEASE wasmill_rows"),
                    None,
                )
            }
            Err(error) if error.code().is_some_and(says_row) => {
                let failure = failed()(error);
                ("ROLLBACK TO wasmill_rows".to_owned(), Some(failure.said()))
            }
            Err(error) => return Err(failed()(error)),
        };
        client.batch_execute(&after).await.map_err(failed())?;
        Ok(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_values_is_blamed_on_rows() {
        for code in [
            "22003", "22021", "23502", "23503", "23505", "23514", "44000", "P0001",
        ] {
            assert!(says_row(&SqlState::from_code(code)), "{code}");
        }
        for code in [
            "25P02", "42501", "42P01", "40001", "53100", "57014", "XX000",
        ] {
            assert!(!says_row(&SqlState::from_code(code)), "{code}");
        }
    }
}
