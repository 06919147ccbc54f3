//! Elasticsearch: one document per row, exactly once.
//!
//! Elasticsearch has no transactions. Instead each document has the row's key as `_id` and the epoch
//! as its external version: a document that is there in this version or a later one is not written
//! again, so an epoch can be repeated as often as it takes.
//!
//! # Invariants
//!
//! 1. The result of every single document is read. [`Sink::write`] returns once each is stored, or
//!    refused for good.
//! 2. Within an epoch no `_id` is sent twice: equal ones are folded first, the greatest origin wins.
//! 3. Nothing is remembered between epochs but buffers: dropping a future of [`Sink::write`] is fine.
//!
//! # Not here
//!
//! Which epochs are confirmed: the [`Ledger`](super::Ledger) keeps that.

mod bulk;
mod client;
mod delivery;
mod outcome;
mod provenance;
mod render;
mod target;
mod template;
mod waiting;

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tracing::{info, warn};

use self::bulk::{ID_BYTES_MAX, RequestLimit, Requests, Unusable};
use self::client::{Client, NoAnswer, Reply};
use self::template::Comparison;
use self::waiting::Waiting;
use super::latest::{self, Winner};
use super::{CHECK_TIME_MAX, Durable, Sink, SinkError, Targets};
use crate::config::{Secret, SinkKind};
use crate::epoch::{EpochId, EpochOutput, OutputBatch};
use crate::record::{Cause, DeadLetter, Origin};
use crate::schema::Field;
use crate::waiting::Waits;

pub(crate) use self::render::Documents;
pub use self::target::{IndexError, IndexTarget};

/// Requests at a time: while the server works on one, the next is written or on its way.
const LANES: usize = 2;
const DOCUMENTS_MAX: usize = 5_000;
const BYTES_MAX: usize = 5 * 1024 * 1024;

/// Where documents go.
#[derive(Debug, Clone, Copy)]
struct Destination<'a> {
    index: &'a str,
    /// of the bulk requests
    path: &'a str,
}

/// A [`Sink`] that writes to the indices of one Elasticsearch.
#[derive(Debug)]
pub struct ElasticsearchSink {
    name: String,
    client: Client,
    indices: Vec<IndexTarget>,
    limit: RequestLimit,
    /// how long the server may give no usable answer before the caller is told
    patience: Duration,
    waiting: Waiting,
    /// buffers of answered requests, for the next ones
    buffers: Mutex<Vec<Vec<u8>>>,
    /// indices that were missing at this start
    created: Vec<String>,
}

impl ElasticsearchSink {
    /// A sink that is not connected yet. `url` is `http://[user:password@]host[:port]`.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] when the URL is not usable; the message does not quote it.
    pub fn new(
        name: impl Into<String>,
        url: &Secret,
        indices: Vec<IndexTarget>,
    ) -> Result<Self, SinkError> {
        Self::giving_up_after(SinkKind::ELASTICSEARCH_TIMEOUT, name, url, indices)
    }

    /// The same which gives a request up that is not answered for so long, and sends it again.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new).
    pub fn giving_up_after(
        timeout: Duration,
        name: impl Into<String>,
        url: &Secret,
        indices: Vec<IndexTarget>,
    ) -> Result<Self, SinkError> {
        let name = name.into();
        Ok(Self {
            client: Client::new(url, timeout)?,
            indices,
            limit: RequestLimit {
                documents_max: DOCUMENTS_MAX,
                bytes_max: BYTES_MAX,
            },
            patience: timeout,
            waiting: Waiting::of(Waits::default().part(&name)),
            buffers: Mutex::default(),
            created: Vec::new(),
            name,
        })
    }

    /// The same sink, which notes in `waits` when it waits for the server.
    #[must_use]
    pub fn noting_in(mut self, waits: &Waits) -> Self {
        self.waiting = Waiting::of(waits.part(&self.name));
        self
    }

    /// How the index differs from what is needed; `None` when there is no such index.
    async fn compare<'a>(
        &self,
        target: &'a IndexTarget,
    ) -> Result<Option<Comparison<'a>>, SinkError> {
        let reply = self
            .client
            .get(&format!("{}/_mapping", encoded(&target.index)))
            .await;
        let reply = match reply {
            // Another server's 404 says nothing about an index.
            Ok(Reply { status: 404, body })
                if outcome::describe(404, &body).contains("index_not_found_exception") =>
            {
                return Ok(None);
            }
            reply => self.accepted(reply, &format!("read the mapping of `{}`", target.index))?,
        };
        template::compare(target.schema(), &reply)
            .map(Some)
            .map_err(|error| {
                self.client
                    .unavailable(format!("the answer is not Elasticsearch's: {error}"))
            })
    }

    /// The error that names these differences, if there are any.
    fn refuse(&self, differences: &[String]) -> Result<(), SinkError> {
        if differences.is_empty() {
            return Ok(());
        }
        Err(SinkError::Permanent(format!(
            "{} does not fit sink `{}`: {}; name another index, or delete this one",
            self.client.place(),
            self.name,
            differences.join("; ")
        )))
    }

    /// Says it where an index was missing that earlier epochs were written to.
    fn tell_created(&mut self, epoch: EpochId) {
        let created = std::mem::take(&mut self.created);
        // The first one has no rows, and may be left out.
        if !created.is_empty() && epoch > EpochId(2) {
            let (part, indices) = (&self.name, created.join(", "));
            warn!(
                part,
                indices,
                epoch = epoch.0,
                "indices were missing and are new: what the epochs before this one made is not in them; \
                 to have it there, start over"
            );
        }
    }

    async fn put_template(&self, target: &IndexTarget) -> Result<(), SinkError> {
        let name = template::name(&target.index);
        let body = template::body(&target.index, target.schema()).to_string();
        let path = format!("_index_template/{}", encoded(&name));
        let reply = self.client.put(&path, Some(body.into())).await;
        self.accepted(reply, &format!("put index template `{name}`"))?;
        Ok(())
    }

    /// Has the index know these fields, too.
    async fn add(&self, target: &IndexTarget, missing: &[&Field]) -> Result<(), SinkError> {
        if missing.is_empty() {
            return Ok(());
        }
        let path = format!("{}/_mapping", encoded(&target.index));
        let body = template::additions_body(missing).to_string();
        let reply = self.client.put(&path, Some(body.into())).await;
        let index = &target.index;
        self.accepted(reply, &format!("add fields to index `{index}`"))?;
        let fields: Vec<&str> = missing.iter().map(|field| field.name.as_str()).collect();
        let fields = fields.join(", ");
        info!(
            index,
            fields, "added fields, which the documents that are there do not have"
        );
        Ok(())
    }

    async fn create(&self, target: &IndexTarget) -> Result<(), SinkError> {
        let reply = self.client.put(&encoded(&target.index), None).await;
        if let Ok(Reply { status: 400, body }) = &reply
            && outcome::describe(400, body).contains("resource_already_exists_exception")
        {
            return Ok(());
        }
        self.accepted(reply, &format!("create index `{}`", target.index))?;
        Ok(())
    }

    /// The body of an answer that is no error.
    fn accepted(&self, reply: Result<Reply, NoAnswer>, action: &str) -> Result<Bytes, SinkError> {
        let Reply { status, body } =
            reply.map_err(|NoAnswer(reason)| self.client.unavailable(reason))?;
        match status {
            200..=299 => Ok(body),
            _ if outcome::is_busy(status, &body) => {
                Err(self.client.unavailable(outcome::describe(status, &body)))
            }
            _ => Err(SinkError::Permanent(format!(
                "{} refused to {action}: {}{}",
                self.client.place(),
                outcome::describe(status, &body),
                outcome::advice(status)
            ))),
        }
    }

    /// Writes one epoch's rows of one index; the rows that are refused are returned.
    async fn write_index(
        &self,
        target: &IndexTarget,
        epoch: EpochId,
        batches: &[OutputBatch],
    ) -> Result<Vec<DeadLetter>, SinkError> {
        let survivors = latest::survivors(&target.projector, batches, &[target.id], Winner::Last);
        let requests = Mutex::new(Requests::new(&survivors, target.id, epoch, self.limit));
        let path = format!(
            "{}/_bulk?filter_path={}",
            encoded(&target.index),
            outcome::FILTER
        );
        let to = Destination {
            index: &target.index,
            path: &path,
        };
        // As many as there are lanes.
        let (mut refused, more) = tokio::try_join!(
            self.deliver_all(to, &requests),
            self.deliver_all(to, &requests)
        )?;
        refused.extend(more);
        let requests = requests
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let unusable = requests.into_unusable().into_iter();
        refused.extend(unusable.map(|unusable| self.dead_letter(to.index, unusable)));
        if !refused.is_empty() {
            // Where the index is another one by now, it is not the documents that are at fault.
            let comparison = self.compare(target).await?.unwrap_or_default();
            let lacking = comparison.missing.iter();
            let lacking = lacking.map(|field| target.lacks(&field.name));
            self.refuse(&lacking.chain(comparison.differences).collect::<Vec<_>>())?;
        }
        Ok(refused)
    }

    async fn deliver_all(
        &self,
        to: Destination<'_>,
        requests: &Mutex<Requests<'_>>,
    ) -> Result<Vec<DeadLetter>, SinkError> {
        let mut refused = Vec::new();
        loop {
            let buffer = lock(&self.buffers).pop().unwrap_or_default();
            let Some(request) = lock(requests).next(buffer) else {
                return Ok(refused);
            };
            self.deliver(to, request, &mut refused).await?;
        }
    }

    fn dead_letter(&self, index: &str, unusable: Unusable) -> DeadLetter {
        let Unusable {
            reason,
            origin,
            id,
            document,
        } = unusable;
        DeadLetter {
            origin: origin.unwrap_or(Origin::NO_RECORD),
            document: Some(document_name(index, &id)),
            stage: self.name.clone(),
            component: None,
            column: None,
            cause: Cause::Refused,
            reason,
            timestamp_ms: None,
            key: None,
            headers: Vec::new(),
            value: Some(document),
        }
    }
}

#[async_trait]
impl Sink for ElasticsearchSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn prepare(&mut self) -> Result<(), SinkError> {
        let mut differences = Vec::new();
        let mut created = Vec::new();
        for target in &self.indices {
            match self.compare(target).await? {
                Some(found) if found.differences.is_empty() => {
                    self.put_template(target).await?;
                    self.add(target, &found.missing).await?;
                }
                Some(found) => differences.extend(found.differences),
                None => {
                    self.put_template(target).await?;
                    self.create(target).await?;
                    created.push(target.index.clone());
                    // Somebody's template of a higher priority may have made another mapping of it.
                    let found = self.compare(target).await?.unwrap_or_default();
                    self.add(target, &found.missing).await?;
                    differences.extend(found.differences);
                }
            }
        }
        self.created.extend(created);
        self.refuse(&differences)
    }

    fn aim(&mut self, targets: &Targets) -> Result<(), SinkError> {
        self.indices = targets.indices(&self.name).to_vec();
        Ok(())
    }

    async fn check(&mut self) -> Result<Vec<String>, SinkError> {
        let this = &*self;
        let comparing = async {
            let (mut differences, mut additions) = (Vec::new(), Vec::new());
            for target in &this.indices {
                let found = this.compare(target).await?.unwrap_or_default();
                differences.extend(found.differences);
                let missing = found.missing.iter();
                additions.extend(missing.map(|field| target.addition(&field.name)));
            }
            this.refuse(&differences)?;
            Ok(additions)
        };
        timeout(CHECK_TIME_MAX, comparing)
            .await
            .unwrap_or_else(|_| {
                let limit = CHECK_TIME_MAX.as_secs();
                let reason = format!("no answer within {limit} s");
                Err(this.client.unavailable(reason))
            })
    }

    async fn write(&mut self, epoch: &EpochOutput) -> Result<Durable, SinkError> {
        self.tell_created(epoch.epoch);
        let mut refused = Vec::new();
        for target in &self.indices {
            if let Some(batches) = epoch.streams.get(target.from.as_str()) {
                refused.extend(self.write_index(target, epoch.epoch, batches).await?);
            }
        }
        Ok(Durable { refused })
    }
}

/// What a document is called in its dead letter. An `_id` that is longer than any index takes is in the
/// document itself.
fn document_name(index: &str, id: &str) -> String {
    if id.len() <= ID_BYTES_MAX {
        return format!("{index}/{id}");
    }
    let mut name = format!("{index}/sha256:");
    for byte in Sha256::digest(id) {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, RecordBatch, StringArray};

    use super::*;
    use crate::config;
    use crate::schema::{DataType, Field, Schema};

    #[tokio::test]
    async fn a_server_that_stays_away_is_reported_after_a_while() {
        let stream = Schema::new(vec![Field::new("id", DataType::Utf8, false)]).unwrap();
        let index = config::Index {
            from: "sales".into(),
            index: "sales".into(),
            id: "id".into(),
            columns: None,
            span: 0..0,
        };
        let target = IndexTarget::new(&index, &stream).unwrap();
        // Port 9 is "discard", and nobody listens there.
        let url = Secret::new("http://127.0.0.1:9".into());
        let mut sink = ElasticsearchSink::new("search", &url, vec![target]).unwrap();
        sink.patience = Duration::from_millis(150);
        let ids: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let batch = OutputBatch {
            columns: RecordBatch::try_new(Arc::clone(stream.arrow()), vec![ids]).unwrap(),
            origins: Vec::new(),
        };
        let output = EpochOutput {
            epoch: EpochId(1),
            streams: BTreeMap::from([("sales".into(), vec![batch])]),
            ..EpochOutput::default()
        };
        let error = sink.write(&output).await.unwrap_err();
        assert!(matches!(error, SinkError::Unavailable { .. }), "{error}");
        let message = error.to_string();
        assert!(
            message.starts_with("failed to reach Elasticsearch at 127.0.0.1:9: "),
            "{message}"
        );
    }
}
