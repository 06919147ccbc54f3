//! Progress, shown under the name of the pipeline's group: where tools for lags look.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset};

use super::native::GroupOffsets;
use super::{offsets, settings, unavailable};
use crate::record::Positions;
use crate::source::{Show, SourceError};

/// The group under whose name progress is shown.
pub(super) struct Group {
    brokers: String,
    topic: String,
    config: ClientConfig,
    /// connected when there is something to show
    offsets: Option<GroupOffsets>,
}

impl Group {
    /// The group that the settings of a consumer name, for the offsets of this topic.
    pub(super) fn new(brokers: &str, topic: &str, config: &ClientConfig) -> Self {
        Self {
            brokers: brokers.to_owned(),
            topic: topic.to_owned(),
            config: config.clone(),
            offsets: None,
        }
    }

    fn failed(&self, code: RDKafkaErrorCode, reason: String) -> SourceError {
        match code {
            RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::TopicAuthorizationFailed => SourceError::Permanent(reason),
            _ => unavailable(&self.brokers, reason),
        }
    }
}

impl Show for Group {
    fn show(&mut self, done: &Positions, wait_max: Duration) -> Result<(), SourceError> {
        let next = done
            .iter()
            .map(|(partition, next)| (partition.0 as i32, Offset::Offset(next)));
        let list = offsets::list(&self.topic, next);
        let list = list.map_err(|error| unavailable(&self.brokers, error.to_string()))?;
        let offsets = match &mut self.offsets {
            Some(offsets) => offsets,
            none => none.insert(GroupOffsets::new(&self.config).map_err(settings::refused)?),
        };
        let committed = offsets.commit(&list, wait_max);
        committed.map_err(|(code, reason)| self.failed(code, reason))
    }

    fn rest(&mut self) {
        if let Some(offsets) = &mut self.offsets {
            offsets.hear();
        }
    }
}
