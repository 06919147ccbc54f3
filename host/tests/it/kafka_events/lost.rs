//! Offsets that were deleted before they were read, as retention does it.

use std::collections::BTreeMap;
use std::fs;

use super::{Pipeline, assert_same, said, sums};

const SKIP: &str = "on_lost = \"skip\"";

/// What is left without these offsets of partition 0.
fn without(
    written: &BTreeMap<(u32, i64), i64>,
    lost: std::ops::Range<i64>,
) -> BTreeMap<(u32, i64), i64> {
    let mut left = written.clone();
    left.retain(|(partition, offset), _| *partition != 0 || !lost.contains(offset));
    left
}

#[test]
fn what_is_gone_at_the_start_stops_the_run_or_is_passed_over_once() {
    let mut pipeline = Pipeline::new(2, "");
    pipeline.write(0, 60);
    pipeline.write(1, 30);
    pipeline.run_once();
    pipeline.write(0, 80);
    pipeline.write(1, 10);
    pipeline.topic.delete_before(0, 100);
    // Unread, for ever.
    pipeline.written = without(&pipeline.written, 60..100);

    let output = pipeline.try_once();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for part in [
        "40 offsets of partition 0 are gone (60 to 99)",
        "the oldest one left is 100",
        "set `on_lost = \"skip\"` in [source]",
    ] {
        assert!(said(&output).contains(part), "{}", said(&output));
    }
    assert_eq!(pipeline.committed(), [(0, 60), (1, 30)].into());

    pipeline.configure(SKIP);
    let run = pipeline.start();
    pipeline.wait_for_all();
    pipeline.wait_for_metric("wasmill_lost_offsets_total", 0, 40.0);
    pipeline.wait_for_metric("wasmill_lost_offsets_total", 1, 0.0);
    pipeline.wait_for_metric("wasmill_partition_lag", 0, 0.0);
    // No checkpoint has it yet: the journal alone knows.
    run.kill();
    pipeline.write(0, 5);
    let output = pipeline.run_once();
    assert!(!said(&output).contains("passing over"), "{}", said(&output));
    pipeline.assert_exact();
    assert_eq!(pipeline.log().matches("passing over").count(), 1);
    let line = "passing over offsets that were deleted before they were read \
                partition=0 offsets=40 first=60 last=99";
    assert!(pipeline.log().contains(line), "{}", pipeline.log());
}

/// The host stands still while more comes in and is deleted.
fn deleted_under_way(pipeline: &mut Pipeline) -> super::Run {
    pipeline.write(0, 60);
    pipeline.write(1, 30);
    let run = pipeline.start();
    pipeline.wait_for_all();
    run.signal("STOP");
    pipeline.write(0, 400);
    pipeline.write(1, 30);
    pipeline.topic.delete_before(0, 300);
    run.signal("CONT");
    run
}

#[test]
fn what_is_deleted_while_it_runs_is_passed_over_and_counted_exactly() {
    let mut pipeline = Pipeline::new(2, SKIP);
    let run = deleted_under_way(&mut pipeline);
    pipeline.wait("the last record is read", || {
        let read = pipeline.read();
        read.contains_key(&(0, 459)) && read.contains_key(&(1, 59))
    });
    // A few may have been on their way to the host when they were deleted.
    let read = pipeline.read();
    let first = (60..460).find(|offset| !read.contains_key(&(0, *offset)));
    let first = first.expect("not all were on their way");
    assert!(first < 300, "all were on their way");
    pipeline.written = without(&pipeline.written, first..300);
    pipeline.wait_for_metric("wasmill_lost_offsets_total", 0, (300 - first) as f64);
    pipeline.assert_exact();
    // A checkpoint follows at once, so nobody has to read again what is gone.
    pipeline.wait("a checkpoint", || {
        pipeline.log().contains(" checkpoint epoch=")
    });
    run.kill();
    pipeline.write(0, 10);
    let output = pipeline.run_once();
    assert!(!said(&output).contains("deleted"), "{}", said(&output));
    pipeline.assert_exact();
}

#[test]
fn what_is_deleted_while_it_runs_stops_it_unless_told_otherwise() {
    let mut pipeline = Pipeline::new(2, "");
    let run = deleted_under_way(&mut pipeline);
    assert_eq!(run.end(), Some(1), "{}", pipeline.log());
    let expected = "offsets of partition 0 are gone (";
    assert!(pipeline.log().contains(expected), "{}", pipeline.log());
    assert!(pipeline.log().contains("to 299)"), "{}", pipeline.log());
    // It has ended in good order, with a checkpoint: nothing has to be read again.
    let first = pipeline.committed()[&0];
    pipeline.configure(SKIP);
    pipeline.run_once();
    pipeline.written = without(&pipeline.written, first..300);
    pipeline.assert_exact();
}

/// A checkpoint at 50 records, 50 more without one, and the first 80 deleted.
fn deleted_behind_the_checkpoint(source: &str) -> Pipeline {
    let mut pipeline = Pipeline::new(2, source);
    pipeline.write(0, 50);
    pipeline.run_once();
    pipeline.write(0, 50);
    pipeline.write(1, 20);
    let run = pipeline.start();
    pipeline.wait_for_all();
    run.kill();
    pipeline.topic.delete_before(0, 80);
    pipeline
}

#[test]
fn records_since_the_checkpoint_that_are_gone_stop_the_start_or_are_missing_in_the_totals_alone() {
    let mut pipeline = deleted_behind_the_checkpoint("");
    let output = pipeline.try_once();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for part in [
        "30 offsets of partition 0 (50 to 79) were deleted from the source",
        "set `on_lost = \"skip\"` in [source]",
        "totals lack these records",
    ] {
        assert!(said(&output).contains(part), "{}", said(&output));
    }
    pipeline.assert_exact();

    pipeline.configure(SKIP);
    pipeline.write(0, 10);
    pipeline.write(1, 10);
    let output = pipeline.run_once();
    assert!(
        said(&output).contains("totals lack them"),
        "{}",
        said(&output)
    );
    assert!(said(&output).contains("offsets=30"), "{}", said(&output));
    assert_same(&pipeline.read(), &pipeline.written);
    let lacking = sums(&without(&pipeline.written, 50..80));
    assert_eq!(pipeline.sums(), lacking);
    // It was said once: from now on a checkpoint has it.
    pipeline.write(0, 10);
    let output = pipeline.run_once();
    assert!(!said(&output).contains("deleted"), "{}", said(&output));
    assert_eq!(pipeline.sums(), sums(&without(&pipeline.written, 50..80)));
}

#[test]
fn states_are_never_made_anew_from_what_is_left() {
    let pipeline = deleted_behind_the_checkpoint(SKIP);
    fs::remove_dir_all(pipeline.path("checkpoints")).expect("there is one");
    let output = pipeline.try_once();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let expected = "80 offsets of partition 0 (0 to 79) were deleted from the source";
    assert!(said(&output).contains(expected), "{}", said(&output));
    assert!(said(&output).contains("start over"), "{}", said(&output));
    pipeline.assert_exact();
}

#[test]
fn a_topic_that_was_made_again_is_not_read_even_if_what_is_lost_may_be_skipped() {
    let mut pipeline = Pipeline::new(1, SKIP);
    pipeline.write(0, 50);
    pipeline.run_once();
    pipeline.topic.delete();
    pipeline.topic.make(1, &[]);
    pipeline.write_from(0, 0, 20);
    let output = pipeline.try_once();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for part in [
        "partition 0 has offsets 0 to 20, but reading has to go on at 50",
        "another topic of the same name",
    ] {
        assert!(said(&output).contains(part), "{}", said(&output));
    }
}
