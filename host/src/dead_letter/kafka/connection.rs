//! How the brokers of the dead letters are reached, and what is said when they are not.

use indexmap::IndexMap;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use crate::sink::SinkError;

/// What librdkafka's properties for consumers and producers alike begin with. Others belong to the
/// client that they were given for.
const SHARED: [&str; 9] = [
    "security.",
    "sasl.",
    "ssl.",
    "https.",
    "socket.",
    "broker.",
    "client.",
    "reconnect.",
    "enable.ssl.",
];

/// A client of these brokers that makes no topics, with those properties of another client that say how
/// brokers are reached.
pub(super) fn client_config(brokers: &str, properties: &IndexMap<String, String>) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in properties {
        if SHARED.iter().any(|prefix| name.starts_with(prefix)) {
            config.set(name, value);
        }
    }
    config
        .set("bootstrap.servers", brokers)
        .set("allow.auto.create.topics", "false");
    config
}

/// Refuses what librdkafka does not take. No message quotes a value.
///
/// # Errors
///
/// [`SinkError::Permanent`].
pub(super) fn check(config: &ClientConfig) -> Result<(), SinkError> {
    let checked = config.create_native_config();
    checked.map(drop).map_err(|error| match error {
        KafkaError::ClientConfig(_, reason, name, _) => {
            SinkError::Permanent(format!("dead letters: Kafka property `{name}`: {reason}"))
        }
        other => SinkError::Permanent(format!("dead letters: {other}")),
    })
}

/// The brokers do not answer, or not now.
pub(super) fn unavailable(brokers: &str, reason: &str) -> SinkError {
    SinkError::Unavailable {
        what: format!("Kafka at {brokers} (dead letters)"),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_how_to_reach_brokers_and_nothing_else() {
        let properties = [
            ("sasl.password", "x"),
            ("fetch.min.bytes", "1"),
            ("linger.ms", "5"),
            ("ssl.ca.location", "ca.pem"),
        ];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = client_config("kafka:9092", &IndexMap::from(properties));
        assert_eq!(config.get("sasl.password"), Some("x"));
        assert_eq!(config.get("ssl.ca.location"), Some("ca.pem"));
        assert_eq!(config.get("fetch.min.bytes"), None);
        assert_eq!(config.get("linger.ms"), None);
    }
}
