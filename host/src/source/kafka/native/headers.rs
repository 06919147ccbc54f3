//! The headers of a message.
//!
//! librdkafka reads them when it is asked for them, and allocates for that even where there are none: a
//! third of what a message costs on the thread that asks. So what stands behind the payload is looked at
//! first. In Kafka's record format 2 (`org.apache.kafka.common.record.DefaultRecord`) the number of
//! headers follows the value, and librdkafka hands over values where they are in what was fetched.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr;
use std::slice;

use rdkafka::bindings as sys;
use rdkafka::error::IsError;

use crate::record::HeaderBuffer;

/// From the end of a value to the key or value of the next record of its batch there are at most so many
/// bytes, if it has no headers: their number, the next record's length, attributes, time, offset, and the
/// lengths of its key and value.
const GAP_MAX: usize = 1 + 5 + 1 + 10 + 5 + 5 + 5;

/// What librdkafka has of a message's headers; it reads them at the first question, and most messages
/// have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source::kafka) struct Headers<'a> {
    /// null: there are none
    native: *mut sys::rd_kafka_headers_t,
    message: PhantomData<&'a sys::rd_kafka_message_t>,
}

impl Headers<'_> {
    /// Those of a message; `next` is the one that was received after it.
    ///
    /// # Safety
    ///
    /// Both must be messages of a consumer, the first one without an error, and stay alive for the
    /// lifetime of what is returned.
    pub(super) unsafe fn of(
        message: *const sys::rd_kafka_message_t,
        next: Option<*const sys::rd_kafka_message_t>,
    ) -> Self {
        let mut native = ptr::null_mut();
        // SAFETY: the caller's promise.
        if next.is_some_and(|next| unsafe { is_without(message, next) }) {
            return Self {
                native,
                message: PhantomData,
            };
        }
        // SAFETY: the caller's promise; the headers belong to the message.
        let error = unsafe { sys::rd_kafka_message_headers(message, &raw mut native) };
        Self {
            native: if error.is_error() {
                ptr::null_mut()
            } else {
                native
            },
            message: PhantomData,
        }
    }

    /// Puts them into the buffer, and nothing else.
    pub(in crate::source::kafka) fn write(self, into: &mut HeaderBuffer) {
        into.clear();
        if self.native.is_null() {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the message, and its headers with it, is alive as long as this value may be.
            let error = unsafe {
                sys::rd_kafka_header_get_all(
                    self.native,
                    index,
                    &raw mut name,
                    &raw mut value,
                    &raw mut size,
                )
            };
            if error.is_error() {
                return;
            }
            // SAFETY: a name is a C string; a value that is not null has so many bytes.
            unsafe {
                let value = (!value.is_null()).then(|| slice::from_raw_parts(value.cast(), size));
                into.push(CStr::from_ptr(name).to_bytes(), value);
            }
        }
    }
}

/// Whether a message has no headers for certain.
///
/// It has none if 0 is their number. That is to be read only where memory goes on behind the value, which
/// the next record shows, and only in the format that has it there: the older ones have no epoch of a
/// leader, and no headers either. (An empty value stands nowhere.)
///
/// # Safety
///
/// As for [`Headers::of`].
unsafe fn is_without(
    message: *const sys::rd_kafka_message_t,
    next: *const sys::rd_kafka_message_t,
) -> bool {
    // SAFETY: the caller's promise. The byte behind the value lies between two records that are less than
    // `GAP_MAX` apart, both of which librdkafka keeps: in what was fetched, or at the least in its heap.
    unsafe {
        if (*message).payload.is_null() || (*message).len == 0 {
            return false;
        }
        let end = (*message).payload.cast::<u8>().add((*message).len);
        let first = if (*next).key_len == 0 {
            (*next).payload
        } else {
            (*next).key
        };
        let gap = first.addr().wrapping_sub(end.addr());
        (1..=GAP_MAX).contains(&gap)
            && sys::rd_kafka_message_leader_epoch(message) >= 0
            && *end == 0
    }
}
