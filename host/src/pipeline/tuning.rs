//! Settings that parts look up when they need them: so a reload changes them for parts that run.

use std::time::Duration;

use super::outlet::HELD_UP_MAX;
use crate::config::Pipeline;

/// These settings, as they are at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tuning {
    pub(super) checkpoints_kept: usize,
    /// how long an orderly stop may take
    pub(super) stop_time_max: Duration,
}

impl Tuning {
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        Self {
            checkpoints_kept: pipeline.checkpoint.keep,
            stop_time_max: pipeline.shutdown.timeout,
        }
    }

    /// How long a sink that may lag holds up a stop.
    pub(super) fn held_up_max(&self) -> Duration {
        HELD_UP_MAX.min(self.stop_time_max / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_that_may_lag_leaves_half_of_a_stop_to_the_others() {
        let held_up_max = |seconds| {
            let tuning = Tuning {
                checkpoints_kept: 1,
                stop_time_max: Duration::from_secs(seconds),
            };
            tuning.held_up_max()
        };
        assert_eq!(held_up_max(4), Duration::from_secs(2));
        assert_eq!(held_up_max(60), HELD_UP_MAX);
    }
}
