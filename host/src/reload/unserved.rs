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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::Trigger;
    use crate::reload::Wanted;

    #[tokio::test]
    async fn every_request_is_refused_and_says_what_to_do() {
        let control = unserved(Description::default());
        for wanted in [Wanted::Files, Wanted::Previous] {
            let refused = control.ask(wanted, Trigger::Api, false).await.unwrap_err();
            assert_eq!(refused.kind(), "not_running");
            assert!(refused.to_string().contains("start it again"), "{refused}");
        }
        assert!(control.deployments().is_empty());
    }
}
