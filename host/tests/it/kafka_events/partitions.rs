//! Partitions that are added to the topic.

use super::Pipeline;

#[test]
fn a_partition_that_is_added_is_read_from_its_beginning_and_replayed() {
    let mut pipeline = Pipeline::new(1, "");
    pipeline.write(0, 250);
    let run = pipeline.start();
    pipeline.wait_for_all();
    pipeline.topic.add_partitions(3);
    pipeline.write(2, 150);
    pipeline.write(0, 50);
    pipeline.write(1, 70);
    pipeline.wait_for_all();
    for partition in [1, 2] {
        pipeline.wait_for_metric("wasmill_partition_lag", partition, 0.0);
        let line = format!("a new partition: reading it too partition={partition} begin=0");
        assert!(pipeline.log().contains(&line), "{}", pipeline.log());
    }
    // There is no checkpoint: all is read again along the journal.
    run.kill();
    pipeline.write(1, 30);
    let run = pipeline.start();
    pipeline.wait_for_all();
    pipeline.topic.add_partitions(4);
    pipeline.write(3, 10);
    pipeline.wait_for_all();
    run.stop(&pipeline);
    pipeline.assert_exact();
    pipeline.write(3, 5);
    pipeline.run_once();
    pipeline.assert_exact();
    assert_eq!(
        pipeline.committed(),
        [(0, 300), (1, 100), (2, 150), (3, 15)].into()
    );
}

/// What was there before the very first run is not read; what comes later is, all of it.
#[test]
fn a_partition_that_came_while_nobody_ran_is_read_from_its_beginning_even_with_start_latest() {
    let mut pipeline = Pipeline::new(1, "start = \"latest\"");
    pipeline.write(0, 40);
    pipeline.written.clear();
    pipeline.run_once();
    pipeline.topic.add_partitions(2);
    pipeline.write(1, 60);
    pipeline.write_from(0, 40, 10);
    let run = pipeline.start();
    pipeline.wait_for_all();
    run.kill();
    // The journal says where the new one began: a replay has the same records.
    pipeline.write(1, 5);
    pipeline.run_once();
    pipeline.assert_exact();
    assert_eq!(pipeline.committed(), [(0, 50), (1, 65)].into());
}

/// A replay does not begin a partition where its oldest record is now, but where it was.
#[test]
fn a_replay_of_a_partition_that_was_added_misses_no_record_in_silence() {
    let mut pipeline = Pipeline::new(1, "");
    pipeline.write(0, 10);
    pipeline.run_once();
    pipeline.topic.add_partitions(2);
    pipeline.write(1, 60);
    let run = pipeline.start();
    pipeline.wait_for_all();
    run.kill();
    pipeline.topic.delete_before(1, 20);
    let output = pipeline.try_once();
    assert_eq!(output.status.code(), Some(1), "{}", super::said(&output));
    let expected = "20 offsets of partition 1 (0 to 19)";
    assert!(
        super::said(&output).contains(expected),
        "{}",
        super::said(&output)
    );
}
