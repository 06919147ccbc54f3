//! Changing the running pipeline: another version is planned, prepared beside the running one, and
//! put into force at an epoch boundary; if it proves bad, the version before comes back.
//!
//! # Not here
//!
//! The swap itself: [`crate::pipeline`]. What is written down of it: [`crate::deployment`].

mod answering;
mod changes;
mod control;
mod unserved;
pub(crate) mod watch;

pub use answering::{Answering, Settle};
pub use changes::reload_on_change;
pub use control::{Control, Event, Happening, Refusal, Report, Request, Requests, Wanted, control};
pub use unserved::unserved;
pub use watch::{Files, Watch};
