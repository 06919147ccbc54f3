//! Work that blocks its thread, from within asynchronous code.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Blocks this thread, after its other tasks were handed to another one.
///
/// # Panics
///
/// Outside of a runtime.
pub(crate) fn off_the_runtime<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        // There is no other thread to hand them to.
        _ => work(),
    }
}
