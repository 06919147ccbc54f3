//! Offsets that are committed under the name of a group, by a client of its own.
//!
//! Not by the client that reads: where the group has members, the coordinator refuses the commit of an
//! outsider, and librdkafka (2.12) then takes the whole assignment away; while an answer is on its way,
//! it holds up changes of the assignment. And not as an administrator does it: when a coordinator is
//! away, an answer to such a request may come after its time is up, and librdkafka aborts the process.
//!
//! # Invariants
//!
//! 1. The queue is destroyed before the client, as librdkafka demands.
//! 2. Nobody waits for this client to close, which takes seconds where its coordinator is away.

use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{IsError, KafkaError, RDKafkaErrorCode};

use super::{BATCH_MAX, BatchConsumer, Event, code, millis, text};

/// What the client says on its own is looked at so often while it waits for an answer.
const LOOK_WAIT: Duration = Duration::from_millis(100);

/// A commit that no coordinator takes is given up after this, and so is the group at the end. (Names
/// of librdkafka's; the group is never joined, so there is no session.)
const GIVE_UP: [(&str, &str); 3] = [
    ("session.timeout.ms", "3000"),
    ("heartbeat.interval.ms", "1000"),
    ("socket.timeout.ms", "5000"),
];

/// The offsets of one group.
pub(in super::super) struct GroupOffsets {
    queue: *mut sys::rd_kafka_queue_t,
    /// taken when it is closed
    client: Option<BatchConsumer>,
    /// why the group is not ours to write to, once that is known: it is said once
    refused: Option<String>,
}

// SAFETY: librdkafka's objects may be used from any thread.
unsafe impl Send for GroupOffsets {}

impl GroupOffsets {
    /// Those of the group that the settings of a consumer name.
    ///
    /// # Errors
    ///
    /// When librdkafka makes no client of the settings.
    pub(in super::super) fn new(config: &ClientConfig) -> Result<Self, KafkaError> {
        let mut config = config.clone();
        for (key, value) in GIVE_UP {
            config.set(key, value);
        }
        // The client that reads says what is wrong with the brokers.
        config.set_log_level(RDKafkaLogLevel::Critical);
        let client = BatchConsumer::new(&config)?;
        // SAFETY: the client is alive; the queue that we get is ours to destroy.
        let queue = unsafe { sys::rd_kafka_queue_new(client.native()) };
        Ok(Self {
            queue,
            client: Some(client),
            refused: None,
        })
    }

    /// Commits offsets, and waits for the answer at most so long.
    ///
    /// # Errors
    ///
    /// What the coordinator or librdkafka says; some offsets may be committed then, or later.
    pub(in super::super) fn commit(
        &mut self,
        offsets: &TopicPartitionList,
        wait_max: Duration,
    ) -> Result<(), (RDKafkaErrorCode, String)> {
        let deadline = Instant::now() + wait_max;
        while let Some(late) = self.poll(Duration::ZERO) {
            // SAFETY: the event is ours, and not used after this.
            unsafe { sys::rd_kafka_event_destroy(late) };
        }
        let client = self.client.as_ref().expect("it is not closed");
        // SAFETY: client, list and queue are alive; librdkafka copies the list. Without a callback the
        // answer comes through the queue.
        let error = unsafe {
            sys::rd_kafka_commit_queue(
                client.native(),
                offsets.ptr(),
                self.queue,
                None,
                ptr::null_mut(),
            )
        };
        if error.is_error() {
            let error = RDKafkaErrorCode::from(error);
            return Err((error, error.to_string()));
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(event) = self.poll(left.min(LOOK_WAIT)) {
                // SAFETY: the event is ours, and destroyed after its last use.
                return unsafe {
                    let outcome = outcome(event);
                    sys::rd_kafka_event_destroy(event);
                    outcome
                };
            }
            self.hear();
            if let Some(reason) = &self.refused {
                return Err((RDKafkaErrorCode::GroupAuthorizationFailed, reason.clone()));
            }
            if left.is_zero() {
                let reason = "the coordinator of the group does not answer".to_owned();
                return Err((RDKafkaErrorCode::OperationTimedOut, reason));
            }
        }
    }

    /// Hears what the client says on its own: that is kept until somebody does.
    pub(in super::super) fn hear(&mut self) {
        let client = self.client.as_mut().expect("it is not closed");
        while client.receive(BATCH_MAX, Duration::ZERO) {
            while let Some(event) = client.peek() {
                if let Event::Error { code, reason } = event
                    && code == RDKafkaErrorCode::GroupAuthorizationFailed
                {
                    self.refused = Some(reason);
                }
                client.advance();
            }
        }
        while client.take_error().is_some() {}
    }

    /// The next answer, which is ours to destroy.
    fn poll(&self, wait: Duration) -> Option<*mut sys::rd_kafka_event_t> {
        // SAFETY: the queue lives as long as `self`.
        let event = unsafe { sys::rd_kafka_queue_poll(self.queue, millis(wait)) };
        (!event.is_null()).then_some(event)
    }
}

impl Drop for GroupOffsets {
    fn drop(&mut self) {
        // SAFETY: the queue is ours, and not used after this.
        unsafe { sys::rd_kafka_queue_destroy(self.queue) };
        let client = self.client.take();
        thread::spawn(move || drop(client));
    }
}

/// What an answer says: its own error, or the first one of a partition.
///
/// # Safety
///
/// `event` must be alive.
unsafe fn outcome(event: *mut sys::rd_kafka_event_t) -> Result<(), (RDKafkaErrorCode, String)> {
    // SAFETY: the caller's promise; everything that is looked at belongs to the event. The code of a
    // partition is read as the C `int` that it is: a broker may send one that the crate's enum does
    // not have.
    unsafe {
        let error = code(sys::rd_kafka_event_error(event) as i32);
        if error != RDKafkaErrorCode::NoError {
            return Err((error, text(sys::rd_kafka_event_error_string(event))));
        }
        let partitions = sys::rd_kafka_event_topic_partition_list(event);
        if partitions.is_null() {
            return Ok(());
        }
        for index in 0..usize::try_from((*partitions).cnt).unwrap_or(0) {
            let partition = (*partitions).elems.add(index);
            let error = code((&raw const (*partition).err).cast::<i32>().read());
            if error != RDKafkaErrorCode::NoError {
                return Err((error, error.to_string()));
            }
        }
    }
    Ok(())
}
