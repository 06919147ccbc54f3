//! The headers of a message.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr;
use std::slice;

use rdkafka::bindings as sys;
use rdkafka::error::IsError;

use crate::record::HeaderBuffer;

/// What librdkafka has of a message's headers; it reads them at the first question, and most messages
/// have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source::kafka) struct Headers<'a> {
    /// null: there are none
    native: *mut sys::rd_kafka_headers_t,
    message: PhantomData<&'a sys::rd_kafka_message_t>,
}

impl Headers<'_> {
    /// Those of a message.
    ///
    /// # Safety
    ///
    /// `message` must be a message of a consumer, and stay alive for the lifetime of what is returned.
    pub(super) unsafe fn of(message: *const sys::rd_kafka_message_t) -> Self {
        let mut native = ptr::null_mut();
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
