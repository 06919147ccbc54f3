//! One bulk request, sent until each of its documents is stored or refused.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::bulk::{Request, Unusable};
use super::client::{NoAnswer, Reply};
use super::outcome::{self, Outcome, Verdict};
use super::{Destination, ElasticsearchSink, lock};
use crate::backoff::Backoff;
use crate::record::DeadLetter;
use crate::sink::SinkError;

/// The longest wait before a request is sent again.
const WAIT_MAX: Duration = Duration::from_secs(10);

impl ElasticsearchSink {
    /// Sends `request` to its index and returns when every document is stored or in `refused`.
    ///
    /// Documents that the server is too busy for, or that a block keeps out, are sent again for as
    /// long as it takes; the caller may drop the future.
    ///
    /// # Errors
    ///
    /// [`SinkError::Unavailable`] when no usable answer came for `patience`;
    /// [`SinkError::Permanent`] when no document would be taken.
    pub(super) async fn deliver(
        &self,
        to: Destination<'_>,
        request: Request,
        refused: &mut Vec<DeadLetter>,
    ) -> Result<(), SinkError> {
        let mut wait = self.waiting.request();
        let mut backoff = Backoff::up_to(WAIT_MAX);
        let mut answered = Instant::now();
        // More than one after a request was too large and was halved.
        let mut pending = vec![request];
        while let Some(request) = pending.pop() {
            let reason = match self.send(to.path, &request).await {
                Verdict::Stored => {
                    self.recycle(request);
                    answered = Instant::now();
                    wait.over();
                    continue;
                }
                Verdict::TooLarge => {
                    pending.extend(self.halved(to, &request, refused));
                    continue;
                }
                Verdict::Stop(reason) => return Err(self.stopped(&reason)),
                Verdict::Busy(reason) if answered.elapsed() >= self.patience => {
                    return Err(self.client.unavailable(reason));
                }
                Verdict::Busy(reason) => {
                    pending.push(request);
                    reason
                }
                Verdict::Items(outcomes) => {
                    answered = Instant::now();
                    let (again, reason) = self.sort(to, &request, outcomes, refused)?;
                    if again.len() < request.len() {
                        backoff = Backoff::up_to(WAIT_MAX);
                    }
                    if again.is_empty() {
                        self.recycle(request);
                        wait.over();
                        continue;
                    }
                    if again.len() == request.len() {
                        pending.push(request);
                    } else {
                        pending.push(request.only(again));
                        self.recycle(request);
                    }
                    reason
                }
            };
            wait.begin(self.client.place(), &reason);
            sleep(backoff.wait()).await;
        }
        Ok(())
    }

    /// Keeps the buffer of an answered request for a later one, as many as are used at a time.
    fn recycle(&self, request: Request) {
        let mut buffers = lock(&self.buffers);
        if buffers.len() < super::LANES {
            buffers.push(request.into_buffer());
        }
    }

    async fn send(&self, path: &str, request: &Request) -> Verdict {
        match self.client.post_lines(path, request.body()).await {
            Ok(Reply { status, body }) => outcome::judge(status, &body, request.len()),
            Err(NoAnswer(reason)) => Verdict::Busy(reason),
        }
    }

    /// The documents to send again, with the reason of one; the refused ones go to `refused`.
    fn sort(
        &self,
        to: Destination<'_>,
        request: &Request,
        outcomes: Vec<Outcome>,
        refused: &mut Vec<DeadLetter>,
    ) -> Result<(Vec<usize>, String), SinkError> {
        let mut again = Vec::new();
        let mut why = String::new();
        for (index, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Outcome::Stored => {}
                Outcome::Again(reason) => {
                    again.push(index);
                    why = reason;
                }
                Outcome::Refused(reason) => {
                    refused.push(self.refusal(to, request, index, reason));
                }
                Outcome::Stop(reason) => return Err(self.stopped(&reason)),
            }
        }
        Ok((again, why))
    }

    /// Two halves of a request that is too large; a single document goes to `refused` instead.
    fn halved(
        &self,
        to: Destination<'_>,
        request: &Request,
        refused: &mut Vec<DeadLetter>,
    ) -> Vec<Request> {
        let count = request.len();
        if count > 1 {
            let middle = count / 2;
            return vec![request.only(middle..count), request.only(0..middle)];
        }
        let reason = format!(
            "the document has {} bytes, more than Elasticsearch takes in a request",
            request.document(0).len()
        );
        refused.push(self.refusal(to, request, 0, reason));
        Vec::new()
    }

    fn refusal(
        &self,
        to: Destination<'_>,
        request: &Request,
        index: usize,
        reason: String,
    ) -> DeadLetter {
        self.dead_letter(
            to.index,
            Unusable {
                reason,
                origin: request.origin(index),
                id: request.id(index),
                document: request.document(index).to_vec(),
            },
        )
    }

    fn stopped(&self, reason: &str) -> SinkError {
        SinkError::Permanent(format!(
            "{} refuses to store what sink `{}` writes: {reason}",
            self.client.place(),
            self.name
        ))
    }
}
