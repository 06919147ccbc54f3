//! What answers the calls of a plan's stages: its guests, or what somebody puts in their place to find out
//! what the sandbox costs.

use crate::aggregate::AggregateLogic;
use crate::guest::{AggregateGuest, TransformGuest};
use crate::transform::TransformLogic;

/// Chooses what answers the calls of each stage, in each worker. The guest is configured, so its contract
/// tells what is due; what takes its place has to do the same.
pub trait Answers: Send + Sync {
    /// What answers for the transform `stage`.
    fn transform(&self, stage: &str, guest: TransformGuest) -> Box<dyn TransformLogic>;

    /// What answers for the aggregate `stage`.
    fn aggregate(&self, stage: &str, guest: AggregateGuest) -> Box<dyn AggregateLogic>;
}

/// The guests themselves.
pub(super) struct Guests;

impl Answers for Guests {
    fn transform(&self, _stage: &str, guest: TransformGuest) -> Box<dyn TransformLogic> {
        Box::new(guest)
    }

    fn aggregate(&self, _stage: &str, guest: AggregateGuest) -> Box<dyn AggregateLogic> {
        Box::new(guest)
    }
}
