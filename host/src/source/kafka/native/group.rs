//! Offsets of a group, committed as an administrator does it: from outside of the group.
//!
//! A consumer's own commit would go through its place in the group. Where somebody else is a member
//! of that group the coordinator refuses it, and librdkafka then takes the whole assignment away; and
//! while an answer is on its way, it holds up changes of the assignment. This way reading is
//! untouched by whatever comes of it.
//!
//! # Invariants
//!
//! The queue is destroyed before the client, as librdkafka demands.

use std::ffi::CString;
use std::ptr;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode;

use super::{Enquiry, code, millis, text};

/// How much later than it should the answer of librdkafka itself may come.
const GRACE: Duration = Duration::from_millis(500);

/// The offsets of one group.
pub(in super::super) struct GroupOffsets {
    group: CString,
    queue: *mut sys::rd_kafka_queue_t,
    // Last, so that it is let go of after our own `drop`.
    client: Enquiry,
}

// SAFETY: librdkafka's objects may be used from any thread.
unsafe impl Send for GroupOffsets {}

impl GroupOffsets {
    /// Those of the group of this name; `None` where that is no name.
    pub(in super::super) fn new(client: &Enquiry, group: &str) -> Option<Self> {
        let group = CString::new(group).ok().filter(|name| !name.is_empty())?;
        // SAFETY: the client is alive; the queue that we get is ours to destroy.
        let queue = unsafe { sys::rd_kafka_queue_new(client.0.native_ptr()) };
        (!queue.is_null()).then(|| Self {
            group,
            queue,
            client: client.clone(),
        })
    }

    /// Commits offsets, and waits for the answer at most so long.
    ///
    /// # Errors
    ///
    /// What the coordinator or librdkafka says; some offsets may be committed then.
    pub(in super::super) fn commit(
        &self,
        offsets: &TopicPartitionList,
        wait_max: Duration,
    ) -> Result<(), (RDKafkaErrorCode, String)> {
        let client = self.client.0.native_ptr();
        // SAFETY: client, list, queue and name are alive. librdkafka copies what we hand over, and
        // what we made ourselves is destroyed; so is the event, after its last use.
        unsafe {
            while let Some(late) = self.poll(Duration::ZERO) {
                sys::rd_kafka_event_destroy(late);
            }
            let options = sys::rd_kafka_AdminOptions_new(
                client,
                sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS,
            );
            let wait_ms = millis(wait_max);
            // A wait that is out of bounds leaves the default, which is bounded too.
            sys::rd_kafka_AdminOptions_set_request_timeout(options, wait_ms, ptr::null_mut(), 0);
            let mut request =
                sys::rd_kafka_AlterConsumerGroupOffsets_new(self.group.as_ptr(), offsets.ptr());
            sys::rd_kafka_AlterConsumerGroupOffsets(
                client,
                &raw mut request,
                1,
                options,
                self.queue,
            );
            sys::rd_kafka_AlterConsumerGroupOffsets_destroy(request);
            sys::rd_kafka_AdminOptions_destroy(options);
            let Some(event) = self.poll(wait_max + GRACE) else {
                let timed_out = RDKafkaErrorCode::OperationTimedOut;
                return Err((timed_out, timed_out.to_string()));
            };
            let outcome = outcome(event);
            sys::rd_kafka_event_destroy(event);
            outcome
        }
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
    }
}

/// What an answer says: its own error, that of the group, or the first one of a partition.
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
        let result = sys::rd_kafka_event_AlterConsumerGroupOffsets_result(event);
        if result.is_null() {
            return Ok(());
        }
        let mut count = 0;
        let groups = sys::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &raw mut count);
        for index in 0..count {
            let group = *groups.add(index);
            let error = sys::rd_kafka_group_result_error(group);
            if !error.is_null() {
                let reason = text(sys::rd_kafka_error_string(error));
                return Err((code(sys::rd_kafka_error_code(error) as i32), reason));
            }
            let partitions = sys::rd_kafka_group_result_partitions(group);
            if partitions.is_null() {
                continue;
            }
            for index in 0..usize::try_from((*partitions).cnt).unwrap_or(0) {
                let partition = (*partitions).elems.add(index);
                let error = code((&raw const (*partition).err).cast::<i32>().read());
                if error != RDKafkaErrorCode::NoError {
                    return Err((error, error.to_string()));
                }
            }
        }
    }
    Ok(())
}
