//! Brokers that are stopped, killed or stand still, and leaders that change.

use super::Pipeline;
use crate::support::broker::Cluster;

/// Waits until the host says that it waits for the source, and for whom.
fn wait_until_noticed(pipeline: &Pipeline) -> String {
    pipeline.ask("/readyz", |answer| {
        if answer.status == 200 {
            return None;
        }
        let answer = answer.json();
        let first = answer["waiting_for"].get(0)?;
        assert_eq!(first["part"], "source", "{answer}");
        first["reason"].as_str().map(str::to_owned)
    })
}

#[test]
fn a_broker_that_is_killed_stopped_or_stands_still_is_waited_for() {
    let mut cluster = Cluster::start(1);
    let mut pipeline = Pipeline::on(&cluster.addresses(), "");
    pipeline.topic.make(2, &[]);
    for partition in 0..2 {
        pipeline.write(partition, 500);
    }
    let run = pipeline.start();
    pipeline.wait_for_all();

    cluster.kill(0);
    let reason = wait_until_noticed(&pipeline);
    assert!(reason.contains(&cluster.addresses()), "{reason}");
    cluster.restart(0);
    pipeline.write(0, 300);
    pipeline.wait_for_all();
    pipeline.wait_until_ready();

    // More is there than was read when it goes.
    pipeline.write(1, 5_000);
    cluster.stop(0);
    wait_until_noticed(&pipeline);
    cluster.restart(0);
    pipeline.write(0, 300);
    pipeline.wait_for_all();
    pipeline.wait_until_ready();

    cluster.suspend(0);
    wait_until_noticed(&pipeline);
    cluster.resume(0);
    pipeline.write(0, 300);
    pipeline.write(1, 300);
    pipeline.wait_for_all();
    pipeline.wait_until_ready();
    run.stop(&pipeline);
    pipeline.assert_exact();
}

#[test]
fn a_partition_whose_leader_dies_is_read_on_from_the_next_one() {
    let mut cluster = Cluster::start(2);
    let mut pipeline = Pipeline::on(&cluster.addresses(), "");
    pipeline.topic.make(2, &[]);
    let leaders = [0, 1].map(|partition| cluster.leader_of(&pipeline.name, partition));
    assert_ne!(leaders[0], leaders[1], "each leads one");
    let theirs = u32::from(leaders[1] == 1);
    pipeline.write(theirs, 3_000);
    pipeline.write(1 - theirs, 3_000);
    let run = pipeline.start();
    pipeline.wait("it reads", || !pipeline.read().is_empty());
    cluster.kill(1);
    // It takes a moment until the other one leads.
    pipeline.write(theirs, 500);
    pipeline.write(1 - theirs, 500);
    pipeline.wait_for_all();
    assert_eq!(cluster.leader_of(&pipeline.name, theirs.cast_signed()), 0);
    pipeline.wait_until_ready();

    cluster.restart(1);
    pipeline.write(theirs, 500);
    pipeline.wait_for_all();
    run.stop(&pipeline);
    pipeline.assert_exact();
}
