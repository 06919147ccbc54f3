//! Time limits, `[shutdown]`, and what a second host does.

use std::time::Duration;

use insta::assert_snapshot;

use super::{RIGHT, accepted, refused, with};
use crate::config::{Pipeline, SinkKind};

fn timeouts(pipeline: &Pipeline) -> Vec<Duration> {
    let sinks = pipeline.sinks.iter();
    let timeout = |kind: &SinkKind| match kind {
        SinkKind::Postgres { timeout, .. } | SinkKind::Elasticsearch { timeout, .. } => *timeout,
        SinkKind::Sqlite { .. } => panic!("no server"),
    };
    sinks.map(|sink| timeout(&sink.kind)).collect()
}

#[test]
fn what_is_not_said_has_a_default() {
    let pipeline = accepted(RIGHT);
    assert!(pipeline.takeover);
    assert_eq!(pipeline.shutdown.timeout, Duration::from_secs(9));
    let expected = [Duration::from_mins(2), Duration::from_secs(30)];
    assert_eq!(timeouts(&pipeline), expected);
}

#[test]
fn everything_can_be_set() {
    let text = with(&[
        ("name = \"shop\"", "name = \"shop\"\ntakeover = false"),
        (
            "type = \"postgres\"",
            "type = \"postgres\"\ntimeout = \"5m\"",
        ),
        (
            "type = \"elasticsearch\"",
            "type = \"elasticsearch\"\ntimeout = \"1s\"",
        ),
    ]);
    let pipeline = accepted(&format!("{text}\n[shutdown]\ntimeout = \"25s\"\n"));
    assert!(!pipeline.takeover);
    assert_eq!(pipeline.shutdown.timeout, Duration::from_secs(25));
    let expected = [Duration::from_mins(5), Duration::from_secs(1)];
    assert_eq!(timeouts(&pipeline), expected);
}

#[test]
fn bounds_and_types_are_named() {
    assert_snapshot!(refused(&[
        ("name = \"shop\"", "name = \"shop\"\ntakeover = \"never\""),
        (
            "type = \"postgres\"",
            "type = \"postgres\"\ntimeout = \"500ms\""
        ),
        (
            "[commit]\n",
            "[shutdown]\ntimeout = \"2h\"\ndeadline = \"1s\"\n\n[commit]\n"
        ),
    ]));
}
