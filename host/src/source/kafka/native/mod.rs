//! A consumer over librdkafka's C functions: the one place that calls them.
//!
//! `BaseConsumer::poll` hands over one message a call, each wrapped in an event of its own: 203 to
//! 259 ns a message. `rd_kafka_consume_batch_queue` fills an array with many in one call: 82 to
//! 96 ns. A batch call reports errors to callbacks that the crate's consumers leave empty. So the
//! crate makes the client, and this module makes a consumer of it.
//!
//! # Invariants
//!
//! 1. Every pointer in `messages[next..]` is a message that we own, and was not destroyed; every
//!    pointer before `next` was destroyed.
//! 2. Messages and queue are destroyed before the consumer, as librdkafka demands.
//! 3. No assignment is changed, and no consumer closed, while partitions of an earlier assignment
//!    are still being stopped. librdkafka (2.12, mended after 2.15) then stops them a second time,
//!    and aborts the process when the second answer comes.
//!
//! # Not here
//!
//! What a message means for the position of its partition: [`super::reading`].

mod callbacks;
mod group;
mod headers;

use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::config::ClientConfig;
use rdkafka::error::{IsError, KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::{RDKafkaRespErr, RDKafkaType};

use self::callbacks::Heard;
pub(super) use self::group::GroupOffsets;
use self::headers::Headers;

/// Messages taken in one call: what librdkafka has touched of them is then still in the nearer caches
/// when they are copied and let go of.
const BATCH_MAX: usize = 256;

/// A consumer whose messages are taken in batches. Its group is never joined: partitions are
/// assigned by hand.
pub(super) struct BatchConsumer {
    messages: Vec<*mut sys::rd_kafka_message_t>,
    next: usize,
    queue: *mut sys::rd_kafka_queue_t,
    // Last, so that it is let go of after our own `drop`.
    client: Enquiry,
}

/// What may be asked of a consumer's client beside reading, from any thread.
#[derive(Clone)]
pub(super) struct Enquiry(Arc<Client<Heard>>);

// SAFETY: librdkafka's objects may be used from any thread, messages included; nothing here is
// bound to the thread that made it. (Not `Sync`: the array of messages has no lock.)
unsafe impl Send for BatchConsumer {}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// a record
    Record {
        partition: u32,
        offset: i64,
        timestamp_ms: Option<i64>,
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
        headers: Headers<'a>,
    },
    /// the end of a partition: nothing is there (yet) at this offset and beyond
    End { partition: u32, offset: i64 },
    /// an error of a partition
    Error {
        code: RDKafkaErrorCode,
        reason: String,
    },
}

impl BatchConsumer {
    pub(super) fn new(config: &ClientConfig) -> KafkaResult<Self> {
        let native_config = config.create_native_config()?;
        callbacks::register(&native_config);
        let kind = RDKafkaType::RD_KAFKA_CONSUMER;
        let client = Client::new(config, native_config, kind, Heard::default())?;
        // SAFETY: the client is alive. What is for callbacks comes through the queue of messages
        // from now on.
        let error = unsafe { sys::rd_kafka_poll_set_consumer(client.native_ptr()) };
        if error.is_error() {
            return Err(KafkaError::Global(error.into()));
        }
        // SAFETY: the client is alive; the queue that we get is ours to destroy.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(client.native_ptr()) };
        if queue.is_null() {
            return Err(KafkaError::ClientCreation("it has no queue".to_owned()));
        }
        Ok(Self {
            messages: Vec::with_capacity(BATCH_MAX),
            next: 0,
            queue,
            client: Enquiry(Arc::new(client)),
        })
    }

    /// The client, for questions.
    pub(super) fn enquiry(&self) -> &Enquiry {
        &self.client
    }

    fn native(&self) -> *mut sys::rd_kafka_t {
        self.client.0.native_ptr()
    }

    /// Reads these partitions from these offsets, and no others.
    pub(super) fn assign(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        self.wait_for_stops();
        // SAFETY: client and list are alive; librdkafka copies the list.
        let error = unsafe { sys::rd_kafka_assign(self.native(), partitions.ptr()) };
        if error.is_error() {
            return Err(KafkaError::Global(error.into()));
        }
        Ok(())
    }

    /// Reads these partitions too, from these offsets.
    pub(super) fn assign_more(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        self.wait_for_stops();
        // SAFETY: client and list are alive; librdkafka copies the list. The error is ours.
        unsafe {
            taken(sys::rd_kafka_incremental_assign(
                self.native(),
                partitions.ptr(),
            ))
        }
    }

    /// Reads these partitions no longer.
    pub(super) fn unassign(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        self.wait_for_stops();
        // SAFETY: client and list are alive; librdkafka copies the list. The error is ours.
        unsafe {
            taken(sys::rd_kafka_incremental_unassign(
                self.native(),
                partitions.ptr(),
            ))
        }
    }

    /// Waits until no partition is being stopped (invariant 3). No broker takes part in that.
    ///
    /// librdkafka's main thread serves one queue in order. A change of the assignment puts a stop
    /// for each partition there, and each stop its answer. A first question of ours gets its answer
    /// after the stops, so a second one gets it after the answers to them.
    fn wait_for_stops(&self) {
        for _ in 0..2 {
            let mut assigned = ptr::null_mut();
            // SAFETY: the client is alive; the list that we get is ours to destroy.
            unsafe {
                sys::rd_kafka_assignment(self.native(), &raw mut assigned);
                if !assigned.is_null() {
                    sys::rd_kafka_topic_partition_list_destroy(assigned);
                }
            }
        }
    }

    /// The oldest error since the last call that belongs to no message.
    pub(super) fn take_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.client.0.context().take_error()
    }

    /// The last error that says which server failed, and how.
    pub(super) fn complaint(&mut self) -> Option<String> {
        // Errors travel through the queue like messages.
        if self.peek().is_none() {
            self.receive(BATCH_MAX, Duration::ZERO);
        }
        self.client.complaint()
    }

    /// Takes at most `count_max` messages from the queue: those that are there, or else the first
    /// that comes within `wait`. Returns whether there was any. All earlier ones must have been
    /// read.
    pub(super) fn receive(&mut self, count_max: usize, wait: Duration) -> bool {
        assert!(self.next == self.messages.len(), "messages are left unread");
        self.messages.clear();
        self.next = 0;
        let count_max = count_max.clamp(1, BATCH_MAX);
        self.receive_now(count_max, Duration::ZERO);
        if self.messages.is_empty() && !wait.is_zero() {
            // A call returns when its array is full or its time is up, so we wait for one message
            // and then take what came with it.
            self.receive_now(1, wait);
            if !self.messages.is_empty() {
                self.receive_now(count_max - 1, Duration::ZERO);
            }
        }
        !self.messages.is_empty()
    }

    fn receive_now(&mut self, count_max: usize, wait: Duration) {
        let free = self.messages.spare_capacity_mut();
        let count_max = count_max.min(free.len());
        // SAFETY: `queue` lives as long as `self`, and `free` has room for `count_max` pointers.
        let received = unsafe {
            sys::rd_kafka_consume_batch_queue(
                self.queue,
                millis(wait),
                free.as_mut_ptr().cast(),
                count_max,
            )
        };
        // Negative means an error, of which there is none for a queue.
        let received = usize::try_from(received).unwrap_or(0);
        assert!(received <= count_max, "librdkafka overran its array");
        // SAFETY: so many of the free places were filled.
        unsafe { self.messages.set_len(self.messages.len() + received) };
    }

    /// The next message, if one is left.
    pub(super) fn peek(&self) -> Option<Event<'_>> {
        let &message = self.messages.get(self.next)?;
        let next = self.messages.get(self.next + 1);
        // SAFETY: invariant 1; what we return borrows `self`, and destroying takes `&mut self`.
        Some(unsafe { event(message, next.map(|&next| next.cast_const())) })
    }

    /// Leaves the next message behind.
    pub(super) fn advance(&mut self) {
        if let Some(&message) = self.messages.get(self.next) {
            self.next += 1;
            // SAFETY: invariant 1, and `next` has just moved past it.
            unsafe { sys::rd_kafka_message_destroy(message) };
        }
    }

    /// Leaves all messages behind that were received of these partitions, errors included.
    pub(super) fn discard_of(&mut self, is_stale: impl Fn(u32) -> bool) {
        let unread = self.messages.split_off(self.next);
        for message in unread {
            // SAFETY: invariant 1, for what came after `next`; a message is kept or destroyed.
            unsafe {
                if u32::try_from((*message).partition).is_ok_and(&is_stale) {
                    sys::rd_kafka_message_destroy(message);
                } else {
                    self.messages.push(message);
                }
            }
        }
    }

    /// Leaves all messages behind that were received.
    pub(super) fn discard(&mut self) {
        while self.next < self.messages.len() {
            self.advance();
        }
    }
}

impl Enquiry {
    /// The client, for metadata.
    pub(super) fn client(&self) -> &Client<Heard> {
        &self.0
    }

    /// Replaces the special offset (beginning, end) of each partition in the list by the number
    /// that it stands for now, or by an error.
    pub(super) fn look_up(
        &self,
        partitions: &mut TopicPartitionList,
        wait_max: Duration,
    ) -> KafkaResult<()> {
        // SAFETY: client and list are alive, and the list is borrowed for us alone.
        let error = unsafe {
            sys::rd_kafka_offsets_for_times(self.0.native_ptr(), partitions.ptr(), millis(wait_max))
        };
        if error.is_error() {
            return Err(KafkaError::OffsetFetch(error.into()));
        }
        Ok(())
    }

    /// The last error that says which server failed, and how, as far as the reading thread has
    /// heard of it.
    pub(super) fn complaint(&self) -> Option<String> {
        self.0.context().complaint()
    }
}

impl Drop for BatchConsumer {
    fn drop(&mut self) {
        self.discard();
        self.wait_for_stops();
        // SAFETY: the queue is ours, and not used after this.
        unsafe { sys::rd_kafka_queue_destroy(self.queue) };
    }
}

/// Reads a message; `next` is the one after it.
///
/// # Safety
///
/// Both must be messages of a consumer, and stay alive for `'a`.
unsafe fn event<'a>(
    message: *const sys::rd_kafka_message_t,
    next: Option<*const sys::rd_kafka_message_t>,
) -> Event<'a> {
    // SAFETY: the caller's promise. `err` is read as the C `int` that it is: a broker may send a
    // code that the crate's enum does not have. A non-null key or payload points to as many bytes
    // as the message says.
    unsafe {
        let code = code((&raw const (*message).err).cast::<c_int>().read());
        let partition = u32::try_from((*message).partition).unwrap_or(u32::MAX);
        let offset = (*message).offset;
        match code {
            RDKafkaErrorCode::NoError => Event::Record {
                partition,
                offset,
                timestamp_ms: timestamp(message),
                key: bytes((*message).key.cast(), (*message).key_len),
                value: bytes((*message).payload.cast(), (*message).len),
                headers: Headers::of(message, next),
            },
            RDKafkaErrorCode::PartitionEOF => Event::End { partition, offset },
            code => Event::Error {
                code,
                reason: text(sys::rd_kafka_message_errstr(message)),
            },
        }
    }
}

/// The timestamp of a message, if it has one.
///
/// # Safety
///
/// As for [`event`].
unsafe fn timestamp(message: *const sys::rd_kafka_message_t) -> Option<i64> {
    // SAFETY: the caller's promise; librdkafka takes null for "the kind does not matter".
    let timestamp = unsafe { sys::rd_kafka_message_timestamp(message, ptr::null_mut()) };
    (timestamp >= 0).then_some(timestamp)
}

/// # Safety
///
/// `start` must be null or point to `len` bytes that live for `'a`.
unsafe fn bytes<'a>(start: *const u8, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start, len) })
}

/// # Safety
///
/// `start` must be null or a C string.
unsafe fn text(start: *const c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(start) };
    text.to_string_lossy().trim().to_owned()
}

/// An error that librdkafka hands over, as a result. It is destroyed.
///
/// # Safety
///
/// `error` must be null or an error that is ours.
unsafe fn taken(error: *mut sys::rd_kafka_error_t) -> KafkaResult<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe {
        let reason = text(sys::rd_kafka_error_string(error));
        sys::rd_kafka_error_destroy(error);
        Err(KafkaError::Subscription(reason))
    }
}

/// The crate's name for an error code.
fn code(raw: c_int) -> RDKafkaErrorCode {
    RDKafkaRespErr::try_from(raw).map_or(RDKafkaErrorCode::Unknown, RDKafkaErrorCode::from)
}

/// Whole milliseconds, rounded up so that a short wait is still a wait.
fn millis(wait: Duration) -> c_int {
    c_int::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rdkafka::Offset;

    use super::*;

    /// A consumer whose broker does not exist.
    fn lonely() -> BatchConsumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1");
        config.set("group.id", "lonely");
        BatchConsumer::new(&config).expect("a consumer")
    }

    fn partitions(count: i32) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in 0..count {
            list.add_partition_offset("topic", partition, Offset::Offset(0))
                .expect("added");
        }
        list
    }

    #[test]
    fn a_refused_assignment_is_an_error() {
        let consumer = lonely();
        assert!(consumer.unassign(&partitions(1)).is_err());
    }

    #[test]
    fn an_error_of_no_message_is_heard() {
        let mut consumer = lonely();
        let started = Instant::now();
        let error = loop {
            assert!(started.elapsed() < Duration::from_mins(1), "nothing heard");
            consumer.receive(1, Duration::from_millis(50));
            consumer.discard();
            if let Some((RDKafkaErrorCode::BrokerTransportFailure, reason)) = consumer.take_error()
            {
                break reason;
            }
        };
        assert!(error.contains("127.0.0.1:1"), "{error}");
        assert!(
            consumer
                .complaint()
                .is_some_and(|line| line.contains("refused"))
        );
    }
}
