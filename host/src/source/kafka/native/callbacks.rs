//! What librdkafka says beside messages: its log, and errors of no single message.
//!
//! Both come as callbacks, on the thread that takes messages. The log goes on to `tracing`, errors
//! are kept until they are asked for.

use std::collections::VecDeque;
use std::ffi::{c_char, c_int, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::bindings as sys;
use rdkafka::client::ClientContext;
use rdkafka::config::NativeClientConfig;
use rdkafka::error::RDKafkaErrorCode;

use super::{code, text};

/// Errors that are kept when nobody asks; older ones are forgotten.
const ERRORS_MAX: usize = 16;

/// The context of a client: what its callbacks write to.
#[derive(Debug, Default)]
pub(in super::super) struct Heard {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    errors: VecDeque<(RDKafkaErrorCode, String)>,
    complaint: Option<String>,
}

impl Heard {
    /// The oldest error that nobody asked for yet.
    pub(super) fn take_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.state().errors.pop_front()
    }

    /// The last error that says which server failed, and how.
    pub(super) fn complaint(&self) -> Option<String> {
        self.state().complaint.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, code: RDKafkaErrorCode, reason: String) {
        tracing::debug!(target: "librdkafka", ?code, "{reason}");
        let mut state = self.state();
        // "All brokers are down" comes after what is wrong with each.
        if code != RDKafkaErrorCode::AllBrokersDown {
            state.complaint = Some(reason.clone());
        }
        if state.errors.len() == ERRORS_MAX {
            state.errors.pop_front();
        }
        state.errors.push_back((code, reason));
    }
}

/// The crate's own callbacks are not used: they belong to its way of polling.
impl ClientContext for Heard {}

/// Registers the callbacks with a configuration that is for a client with the context [`Heard`].
pub(super) fn register(config: &NativeClientConfig) {
    // SAFETY: the configuration is alive, and the callbacks live as long as the program.
    unsafe {
        sys::rd_kafka_conf_set_log_cb(config.ptr(), Some(log));
        sys::rd_kafka_conf_set_error_cb(config.ptr(), Some(error));
    }
}

/// # Safety
///
/// For librdkafka alone, which hands over C strings.
unsafe extern "C" fn log(
    _client: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // SAFETY: the caller's promise.
    let (facility, line) = unsafe { (text(facility), text(line)) };
    // The levels are those of syslog.
    match level {
        ..=4 => tracing::warn!(target: "librdkafka", facility, "{line}"),
        5 | 6 => tracing::info!(target: "librdkafka", facility, "{line}"),
        _ => tracing::debug!(target: "librdkafka", facility, "{line}"),
    }
}

/// # Safety
///
/// For librdkafka alone, which hands over a C string and the client's opaque pointer. That is the
/// address of its context (see `Client::new`), which outlives the client.
unsafe extern "C" fn error(
    _client: *mut sys::rd_kafka_t,
    error: c_int,
    reason: *const c_char,
    context: *mut c_void,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(heard) = context.cast::<Heard>().as_ref() {
            heard.error(code(error), text(reason));
        }
    }
}
