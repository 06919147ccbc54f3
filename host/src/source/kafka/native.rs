//! Batch consumption: the one place that talks to librdkafka's C functions.
//!
//! `BaseConsumer::poll` hands over one message a call, each wrapped in an event of its own: 203 to
//! 259 ns a message. `rd_kafka_consume_batch_queue` fills an array with thousands in one call: 82 to
//! 96 ns. So the crate makes the consumer, and this module takes its messages.
//!
//! # Invariants
//!
//! 1. Every pointer in `messages[next..]` is a message that we own, and was not destroyed; every
//!    pointer before `next` was destroyed.
//! 2. Messages and queue are destroyed before the consumer, as librdkafka demands.
//!
//! # Not here
//!
//! What a message means for the position of its partition: [`super::reading`].

use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use std::slice;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

/// Messages taken in one call.
const BATCH_MAX: usize = 4096;

/// A consumer whose messages are taken in batches. Its group is never joined: partitions are
/// assigned by hand.
pub(super) struct BatchConsumer {
    messages: Vec<*mut sys::rd_kafka_message_t>,
    next: usize,
    queue: *mut sys::rd_kafka_queue_t,
    // Last, so that it is dropped after our own `drop`.
    client: BaseConsumer<LibrdkafkaLog>,
}

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
    },
    /// the end of a partition: nothing is there (yet) at this offset and beyond
    End { partition: u32, offset: i64 },
    /// an error; `code` is one of [`RDKafkaErrorCode`], or newer than those
    Error { code: i32, reason: String },
}

impl BatchConsumer {
    pub(super) fn new(config: &ClientConfig) -> KafkaResult<Self> {
        let client: BaseConsumer<_> = config.create_with_context(LibrdkafkaLog::default())?;
        let native = client.client().native_ptr();
        // SAFETY: `native` is a living client, and `forward_log` lives as long as the program.
        // Without it, log lines that pass through a batch call would go to stderr.
        unsafe { sys::rd_kafka_set_logger(native, Some(forward_log)) };
        // SAFETY: `native` is a living client; the queue that we get is ours to destroy.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(native) };
        if queue.is_null() {
            return Err(KafkaError::ClientCreation("it has no queue".to_owned()));
        }
        Ok(Self {
            messages: Vec::with_capacity(BATCH_MAX),
            next: 0,
            queue,
            client,
        })
    }

    /// The consumer itself, for assignments and metadata. Its messages are taken here alone.
    pub(super) fn client(&self) -> &BaseConsumer<LibrdkafkaLog> {
        &self.client
    }

    /// The last thing that librdkafka complained about.
    pub(super) fn last_complaint(&mut self) -> Option<String> {
        // Log lines travel through the queue like messages.
        if self.peek().is_none() {
            self.receive(BATCH_MAX, Duration::ZERO);
        }
        self.client.client().context().complaint().clone()
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
        let wait_ms = c_int::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX);
        let free = self.messages.spare_capacity_mut();
        let count_max = count_max.min(free.len());
        // SAFETY: `queue` lives as long as `self`, and `free` has room for `count_max` pointers.
        let received = unsafe {
            sys::rd_kafka_consume_batch_queue(
                self.queue,
                wait_ms,
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
        // SAFETY: invariant 1; what we return borrows `self`, and destroying takes `&mut self`.
        Some(unsafe { event(message) })
    }

    /// Leaves the next message behind.
    pub(super) fn advance(&mut self) {
        if let Some(&message) = self.messages.get(self.next) {
            self.next += 1;
            // SAFETY: invariant 1, and `next` has just moved past it.
            unsafe { sys::rd_kafka_message_destroy(message) };
        }
    }

    /// Leaves all messages behind that were received.
    pub(super) fn discard(&mut self) {
        while self.next < self.messages.len() {
            self.advance();
        }
    }
}

impl Drop for BatchConsumer {
    fn drop(&mut self) {
        self.discard();
        // SAFETY: the queue is ours, and not used after this.
        unsafe { sys::rd_kafka_queue_destroy(self.queue) };
    }
}

/// Reads a message.
///
/// # Safety
///
/// `message` must be a message of a consumer, and stay alive for `'a`.
unsafe fn event<'a>(message: *const sys::rd_kafka_message_t) -> Event<'a> {
    // SAFETY: the caller's promise. `err` is read as the C `int` that it is: a broker may send a
    // code that the crate's enum does not have. A non-null key or payload points to as many bytes
    // as the message says.
    unsafe {
        let code: i32 = (&raw const (*message).err).cast::<i32>().read();
        let partition = u32::try_from((*message).partition).unwrap_or(u32::MAX);
        let offset = (*message).offset;
        if code == RDKafkaErrorCode::NoError as i32 {
            return Event::Record {
                partition,
                offset,
                timestamp_ms: timestamp(message),
                key: bytes((*message).key.cast(), (*message).key_len),
                value: bytes((*message).payload.cast(), (*message).len),
            };
        }
        if code == RDKafkaErrorCode::PartitionEOF as i32 {
            return Event::End { partition, offset };
        }
        Event::Error {
            code,
            reason: text(sys::rd_kafka_message_errstr(message)),
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

/// librdkafka's log, passed on to `tracing`. It keeps the last complaint, because calls that fail
/// say no more than that they failed. librdkafka itself limits how often it repeats one.
#[derive(Debug, Default)]
pub(super) struct LibrdkafkaLog {
    complaint: Mutex<Option<String>>,
}

impl LibrdkafkaLog {
    fn complaint(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.complaint
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, level: c_int, facility: &str, line: &str) {
        // The levels are those of syslog.
        match level {
            0..=3 => {
                tracing::warn!(target: "librdkafka", facility, "{line}");
                *self.complaint() = Some(line.to_owned());
            }
            4 => tracing::warn!(target: "librdkafka", facility, "{line}"),
            5 | 6 => tracing::info!(target: "librdkafka", facility, "{line}"),
            _ => tracing::debug!(target: "librdkafka", facility, "{line}"),
        }
    }
}

impl ClientContext for LibrdkafkaLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.line(level as c_int, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "librdkafka", %error, "{reason}");
    }
}

impl ConsumerContext for LibrdkafkaLog {}

/// librdkafka's log callback.
///
/// # Safety
///
/// Called by librdkafka alone, with a client that this module made and with C strings.
unsafe extern "C" fn forward_log(
    client: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // SAFETY: the crate stores the address of the client's context (an `Arc<LibrdkafkaLog>`, see
    // `new`) as its opaque pointer; the context outlives the client.
    unsafe {
        let log = sys::rd_kafka_opaque(client).cast::<LibrdkafkaLog>();
        if let Some(log) = log.as_ref() {
            log.line(level, &text(facility), &text(line));
        }
    }
}
