//! A control that nobody serves: every request is refused, and what is in force never changes.

use std::sync::Arc;

use super::{Control, Refusal, control};
use crate::description::Description;

/// The way to nobody. Its other end is a task that ends when the last of its clones is dropped.
///
/// # Panics
///
/// Outside of a runtime.
#[must_use]
pub fn unserved(description: Description) -> Control {
    let (control, mut requests) = control();
    requests.description.send_replace(Arc::new(description));
    tokio::spawn(async move {
        while let Some(request) = requests.requests.recv().await {
            let reason = "this run cannot be changed while it runs: stop it, and start it again";
            // Who asked may have gone.
            let _ = request
                .answer
                .send(Err(Refusal::NotRunning(reason.to_owned())));
        }
    });
    control
}
