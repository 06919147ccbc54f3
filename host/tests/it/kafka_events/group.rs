//! What tools for lags see of a pipeline, under the name of its group.

use std::time::Duration;

use rdkafka::consumer::Consumer;

use super::Pipeline;
use crate::support::exposition::Exposition;
use crate::support::kafka::{commit_to_group, group_offsets, member_of};

impl Pipeline {
    fn group(&self) -> String {
        format!("wasmill-{}", self.name)
    }

    fn shown(&self) -> Vec<Option<i64>> {
        group_offsets(&self.brokers, &self.group(), &self.name, 2)
    }
}

#[test]
fn what_is_done_is_committed_to_the_group_and_reading_never_begins_there() {
    let mut pipeline = Pipeline::new(2, "");
    pipeline.write(0, 120);
    let run = pipeline.start();
    pipeline.wait_for_all();
    pipeline.wait("the offsets are shown", || {
        pipeline.shown() == [Some(120), Some(0)]
    });
    pipeline.write(1, 30);
    pipeline.wait_for_all();
    run.stop(&pipeline);
    // The end of a run shows what was last done.
    assert_eq!(pipeline.shown(), [Some(120), Some(30)]);
    pipeline.write(0, 5);
    pipeline.run_once();
    assert_eq!(pipeline.shown(), [Some(125), Some(30)]);

    for wrong in [0, 60, 9_999] {
        commit_to_group(&pipeline.brokers, &pipeline.group(), &pipeline.name, wrong);
        let output = pipeline.run_once();
        let summary = String::from_utf8_lossy(&output.stdout);
        assert!(summary.starts_with("0 records "), "{summary}");
        pipeline.assert_exact();
        assert_eq!(pipeline.shown(), [Some(125), Some(30)], "put right");
    }
}

/// The coordinator refuses offsets from outside while a group has members.
#[test]
fn a_member_of_the_group_holds_up_nothing() {
    let mut pipeline = Pipeline::new(1, "");
    pipeline.write(0, 50);
    let member = member_of(&pipeline.brokers, &pipeline.group());
    member.subscribe(&[&pipeline.name]).expect("subscribed");
    pipeline.wait("it is a member", || {
        let _ = member.poll(Duration::from_millis(100));
        let assigned = member.assignment().expect("known");
        assigned.count() > 0
    });
    let run = pipeline.start();
    pipeline.wait_for_all();
    let line = "failed to commit the offsets of the group";
    pipeline.wait("it says so", || {
        let _ = member.poll(Duration::ZERO);
        pipeline.log().contains(line)
    });
    pipeline.write(0, 50);
    pipeline.wait_for_all();
    pipeline.ask("/metrics", |answer| {
        let metrics = Exposition::parse(&answer.body);
        (metrics.value("wasmill_ready", &[]) > 0.0).then_some(())
    });
    run.stop(&pipeline);
    pipeline.assert_exact();
    assert_eq!(
        pipeline.log().matches(line).count(),
        1,
        "{}",
        pipeline.log()
    );
}
