//! Aggregates that misbehave on request: see the guest `hostile-aggregate`.
//!
//! A `fold` that fails costs the rows that it fails on. `merge` and `finish` work on states, which
//! nobody can leave out: the run stops before the commit, and nothing is lost.

use serde_json::json;
use wasmill::aggregate::AggregateError;
use wasmill::guest::{CallError, Failure};
use wasmill::pipeline::PipelineError;

use super::job::{Job, POISON, Place, Role, all};
use super::{Case, Guilty, hold};
use crate::support;

const GUEST: &str = "hostile_aggregate";

/// Goes wrong wherever `fold` gets a row with the poison.
fn poisoned(
    name: &'static str,
    mode: &str,
    failure: impl Into<Option<Failure>>,
    says: &'static str,
) -> Case {
    Case {
        name,
        guest: support::guest(GUEST),
        config: json!({ "mode": mode, "in": "fold", "poison": POISON }),
        guilty: Guilty::Poisoned,
        failure: failure.into(),
        says,
    }
}

#[rustfmt::skip]
fn folds() -> Vec<Case> {
    use Failure::{Contract, Memory, Output, Refused, Time, Trap};
    vec![
        poisoned("a panic in a fold costs the row", "trap", Trap, "poison in 1 states"),
        poisoned("an endless fold is ended", "spin", Time, "used up its time"),
        poisoned("the memory of a fold has a bound", "allocate", Memory, "67108864 bytes of memory"),
        poisoned("the states of a fold have a bound", "flood", Output, "8388608 bytes of output"),
        poisoned("an error of a fold costs the row", "refuse", Refused, "poison in 1 states"),
        poisoned("a state of a group that is not there is noticed", "more-groups", Contract, "2 rows where 1 were due"),
        poisoned("a group without a state is noticed", "fewer-groups", Contract, "0 rows where 1 were due"),
        poisoned("four milliards of states that are not there are noticed", "lies-about-rows", Contract, "4294967295 rows where 1 were due"),
        poisoned("states of another type are noticed", "types", Contract, "values are bools and its type is int64"),
        poisoned("states that are null are noticed", "null", Contract, "row 0 is null"),
        poisoned("a fold that rejects nothing is noticed", "rejects-none", Contract, "rejected none"),
        poisoned("a fold that rejects what is not there is noticed", "rejects-a-stranger", Contract, "it rejected row 1 of 1"),
        poisoned("a fold that rejects a row twice is noticed", "rejects-twice", Contract, "it rejected row 0 twice"),
        poisoned("a fold that rejects one row after the other costs those", "rejects-one-poisoned", None, "not this one"),
    ]
}

#[rustfmt::skip]
fn folds_that_never_work() -> Vec<Case> {
    use Failure::{Contract, Refused, Trap};
    use Guilty::Everybody;
    let always = |name, mode: &str, failure, guilty, says| Case {
        config: json!({ "mode": mode, "in": "fold" }),
        guilty,
        ..poisoned(name, mode, failure, says)
    };
    let every = |name, mode: &str, failure| Case {
        config: json!({ "mode": mode, "in": "fold", "every": 2 }),
        guilty: Guilty::Nobody,
        ..poisoned(name, mode, Some(failure), "")
    };
    vec![
        always("a fold that always traps costs its records and not the run", "trap", Some(Trap), Everybody, "poison in"),
        always("a fold that always refuses costs its records and not the run", "refuse", Some(Refused), Everybody, "poison in"),
        always("a fold that rejects one more row each time it is asked ends", "rejects-the-first", None, Everybody, ""),
        every("a panic on every second fold costs no record", "trap", Trap),
        every("wrong states of every second fold cost no record", "types", Contract),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fold_costs_only_the_rows_that_it_fails_on() {
    hold(Role::Aggregate, folds()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fold_that_never_works_does_not_stop_the_run() {
    hold(Role::Aggregate, folds_that_never_work()).await;
}

/// What a function of an aggregate does to states, how that counts, and what the run says.
#[rustfmt::skip]
const ON_STATES: [(&str, Failure, &str); 8] = [
    ("trap", Failure::Trap, "poison in"),
    ("spin", Failure::Time, "used up its time"),
    ("allocate", Failure::Memory, "67108864 bytes of memory"),
    ("flood", Failure::Output, "8388608 bytes of output"),
    ("refuse", Failure::Refused, "the guest refused the batch: poison in"),
    ("more-groups", Failure::Contract, "rows where"),
    ("types", Failure::Contract, "values are bools"),
    ("null", Failure::Contract, "row 0 is null"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_that_fails_stops_the_run_and_loses_nothing() {
    for row in ON_STATES {
        stops("merge", row).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finish_that_fails_stops_the_run_and_loses_nothing() {
    for row in ON_STATES {
        stops("finish", row).await;
    }
}

/// The second call of each instance fails: the epochs before it stay as they are, and nothing is
/// anywhere of the one that cannot be completed. What is repeated at a start is merged again, and not
/// finished again, so the second run does not get further than the first one or it does.
async fn stops(function: &str, (mode, failure, says): (&str, Failure, &str)) {
    let name = format!("{function} {mode}");
    let config = json!({ "mode": mode, "in": function, "every": 2 });
    let job = Job::new(Role::Aggregate, &support::guest(GUEST), &config);
    let epoch = 500;
    for due in [
        epoch,
        if function == "merge" {
            epoch
        } else {
            2 * epoch
        },
    ] {
        let run = job.run().await;
        let error = run.ended.as_ref().expect_err("states cannot be left out");
        let (aggregate, call, source) = blamed(error);
        assert_eq!(
            (aggregate, call),
            (Role::Aggregate.stage(), function),
            "{name}"
        );
        assert_eq!(source.failure(), failure, "{name}: {source}");
        assert!(source.to_string().contains(says), "{name}: {source}");
        assert_eq!(run.failures(Role::Aggregate, failure), 1, "{name}");
        assert!(job.letters().is_empty(), "{name}");
        let kept = job.beginnings();
        assert_eq!(kept.values().sum::<u32>(), due, "{name}");
        let beyond = |&(partition, offset): &Place| offset >= kept[&partition];
        job.compare(&all().into_iter().filter(beyond).collect())
            .expect(&name);
    }
    if function == "finish" {
        let run = job.run().await;
        assert!(run.ended.is_ok(), "{name}: {:?}", run.ended);
        job.compare(&Guilty::Nobody.places()).expect(&name);
    }
}

fn blamed(error: &PipelineError) -> (&str, &'static str, &CallError) {
    match error {
        PipelineError::Aggregate(AggregateError::Guest {
            aggregate,
            call,
            source,
        }) => (aggregate, call, source),
        other => panic!("{other:?}"),
    }
}
