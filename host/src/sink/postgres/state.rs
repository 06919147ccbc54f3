//! The state of every aggregate, in the table `wasmill_state`.
//!
//! Until there are checkpoints: the states that an epoch touched are written in its own transaction.

use std::pin::pin;

use async_trait::async_trait;
use bytes::BytesMut;
use futures_util::TryStreamExt;

use super::encode::{put_bytes, put_field_count};
use super::failure::Failure;
use super::session::{Server, Session, column};
use super::write::Copy;
use crate::checkpoint::{StateChange, StateStore};
use crate::sink::SinkError;

/// The temporary table that states are copied into.
pub(super) const STAGE: &str = "wasmill_stage_state";

/// Its columns.
pub(super) const STAGE_COLUMNS: &str = "aggregate text, key bytea, state bytea";

/// Their names.
pub(super) const COPIED_COLUMNS: &str = "aggregate, key, state";

pub(super) const UPSERT: &str = "\
    INSERT INTO wasmill_state (pipeline, aggregate, key, state)
    SELECT $1::text, aggregate, key, state FROM pg_temp.wasmill_stage_state
    ON CONFLICT (pipeline, aggregate, key) DO UPDATE SET state = EXCLUDED.state";

const RESTORE: &str = "SELECT aggregate, key, state FROM wasmill_state WHERE pipeline = $1";

/// One pipeline's rows of `wasmill_state`, inside the transaction that the session is in.
pub(super) struct StateTable<'a> {
    pub(super) server: &'a Server,
    pub(super) session: &'a Session,
    pub(super) pipeline: &'a str,
    pub(super) buffer: &'a mut BytesMut,
}

impl StateTable<'_> {
    async fn read(&self) -> Result<Vec<StateChange>, Failure> {
        let failed = || Failure::to("read wasmill_state");
        let rows = self
            .session
            .client()
            .query_raw(RESTORE, [self.pipeline])
            .await
            .map_err(failed())?;
        let mut rows = pin!(rows);
        let mut states = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(failed())? {
            states.push(StateChange {
                aggregate: column::<&str>(&row, 0)?.into(),
                key: column::<&[u8]>(&row, 1)?.into(),
                state: column::<&[u8]>(&row, 2)?.into(),
            });
        }
        Ok(states)
    }

    async fn upsert(&mut self, changes: &[StateChange]) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        let failed = || Failure::to("write to wasmill_state");
        let staged = &self.session.statements().state;
        let client = self.session.client();
        let mut copy = Copy::start(client, &staged.copy, self.buffer)
            .await
            .map_err(failed())?;
        for change in changes {
            copy.row(|out| {
                put_field_count(3, out);
                put_bytes(change.aggregate.as_bytes(), out);
                put_bytes(&change.key, out);
                put_bytes(&change.state, out);
            })
            .await
            .map_err(failed())?;
        }
        copy.finish().await.map_err(failed())?;
        client
            .execute(&staged.upsert, &[&self.pipeline])
            .await
            .map_err(failed())?;
        Ok(())
    }
}

#[async_trait]
impl StateStore for StateTable<'_> {
    async fn restore(&mut self) -> Result<Vec<StateChange>, SinkError> {
        let server = self.server;
        self.read()
            .await
            .map_err(|failure| failure.into_sink_error(server.what()))
    }

    async fn save(&mut self, changes: &[StateChange]) -> Result<(), SinkError> {
        let server = self.server;
        self.upsert(changes)
            .await
            .map_err(|failure| failure.into_sink_error(server.what()))
    }
}
