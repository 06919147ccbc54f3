//! librdkafka's settings: what is fixed, what is a default, and what the user adds.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use crate::config;
use crate::source::SourceError;

/// What correctness rests on. `source.properties` may not set these.
const FIXED: [(&str, &str); 5] = [
    // Progress is stored where the rows are stored; Kafka's own offsets would only contradict it.
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // The end of a partition is how positions get past trailing gaps (transaction markers).
    ("enable.partition.eof", "true"),
    // A position that is gone must be reported, never replaced by another one.
    ("auto.offset.reset", "error"),
    ("allow.auto.create.topics", "false"),
];

/// Named by `source.brokers`, so `source.properties` may not set them either.
const BROKERS: [&str; 2] = ["bootstrap.servers", "metadata.broker.list"];

/// Good for throughput within bounded memory. `source.properties` override them.
const DEFAULTS: [(&str, &str); 13] = [
    ("isolation.level", "read_committed"),
    // All that librdkafka may hold ahead of the pipeline, all partitions together. It looks at
    // this before it asks for more, so a response of each broker (`fetch.max.bytes`, compressed)
    // comes on top, and some 300 bytes a message. Measured with records of 350 bytes behind a slow
    // pipeline: 57 MB resident, and no less speed than with twice as much.
    ("queued.max.messages.kbytes", "16384"),
    ("queued.min.messages", "1000000"),
    ("fetch.max.bytes", "2097152"),
    // A partition's share of a response, compressed: what it unpacks to is then still in the caches
    // when it is taken apart and copied: a sixth less of a processor than with 1 MiB.
    ("fetch.message.max.bytes", "262144"),
    // A full queue drains in some 30 ms; the default pause of 1 s would leave it empty for long.
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.wait.max.ms", "100"),
    // After a restart of the broker, reading goes on within a second, not ten.
    ("reconnect.backoff.ms", "100"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.keepalive.enable", "true"),
    // TCP has checksums; `check.crcs` costs 5 % and is there for whoever wants it.
    ("check.crcs", "false"),
    ("log.connection.close", "false"),
    ("statistics.interval.ms", "0"),
];

/// Settings for the consumer of this pipeline.
///
/// # Errors
///
/// [`SourceError::Permanent`] when `source.properties` set what is fixed.
pub(super) fn client_config(
    source: &config::KafkaSource,
    pipeline_name: &str,
) -> Result<ClientConfig, SourceError> {
    for key in source.properties.keys() {
        if BROKERS.contains(&key.as_str()) {
            return Err(SourceError::Permanent(format!(
                "source.properties may not set {key}: use source.brokers"
            )));
        }
        if let Some((_, value)) = FIXED.iter().find(|(fixed, _)| fixed == key) {
            return Err(SourceError::Permanent(format!(
                "source.properties may not set {key}: reading every record once needs it to be {value}"
            )));
        }
    }
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Info);
    config.set("bootstrap.servers", &source.brokers);
    config.set("client.id", format!("wasmill-{pipeline_name}"));
    config.set("group.id", format!("wasmill-{pipeline_name}"));
    for (key, value) in DEFAULTS.into_iter().chain(FIXED) {
        config.set(key, value);
    }
    for (key, value) in &source.properties {
        config.set(key, value);
    }
    Ok(config)
}

/// A setting that librdkafka refused. Its message may quote the value, which may be a secret, but
/// those that it refuses are numbers and choices.
pub(super) fn refused(error: KafkaError) -> SourceError {
    SourceError::Permanent(match error {
        KafkaError::ClientConfig(_, reason, key, _) => {
            format!("failed to set {key} of source.properties: {reason}")
        }
        other => format!("failed to set up the Kafka consumer: {other}"),
    })
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;
    use crate::config::{OnLost, Start};

    fn with(properties: &[(&str, &str)]) -> config::KafkaSource {
        config::KafkaSource {
            brokers: "localhost:9092".to_owned(),
            topic: "sales".to_owned(),
            start: Start::Earliest,
            on_lost: OnLost::Stop,
            properties: properties
                .iter()
                .map(|&(key, value)| (key.to_owned(), value.to_owned()))
                .collect::<IndexMap<_, _>>(),
        }
    }

    #[test]
    fn properties_override_defaults() {
        let source = with(&[("check.crcs", "true"), ("group.id", "sales-lag")]);
        let config = client_config(&source, "sales").expect("allowed");
        assert_eq!(config.get("check.crcs"), Some("true"));
        assert_eq!(config.get("group.id"), Some("sales-lag"));
        assert_eq!(config.get("client.id"), Some("wasmill-sales"));
        assert_eq!(config.get("enable.auto.commit"), Some("false"));
    }

    #[test]
    fn properties_may_not_set_what_correctness_rests_on() {
        for (key, _) in FIXED {
            let error = client_config(&with(&[(key, "true")]), "sales").expect_err("fixed");
            assert!(error.to_string().contains(key), "{error}");
        }
        for key in BROKERS {
            let error = client_config(&with(&[(key, "else:9092")]), "sales").expect_err("fixed");
            assert!(error.to_string().contains("source.brokers"), "{error}");
        }
    }

    #[test]
    fn librdkafka_knows_every_setting_of_ours() {
        let config = client_config(&with(&[]), "sales").expect("allowed");
        assert!(config.create_native_config().is_ok());
    }

    #[test]
    fn a_refused_property_is_named() {
        let config = client_config(&with(&[("no.such", "1")]), "sales").expect("not seen by us");
        let Err(error) = config.create_native_config() else {
            panic!("librdkafka accepts no.such");
        };
        let text = refused(error).to_string();
        assert!(text.contains("no.such of source.properties"), "{text}");
    }
}
