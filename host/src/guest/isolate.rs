//! Finds the rows that a call fails on.
//!
//! A failed batch is repeated once, since its instance may have been at fault. If it fails again it
//! is halved, and so are the halves that fail, until faulty rows stand alone: about 2·log2(n) calls
//! for one bad row of n.
//!
//! That is bounded, so that a guest which fails on everything does not cost n calls with their
//! time limits. Once [`LONE_FAILURES_IN_A_ROW`] rows have failed alone with no success between
//! them, or [`SLOW_LONE_FAILURES`] rows in all have run out of time alone, what remains is no longer
//! halved: each range that is still to do gets one call and fails or succeeds as a whole. There are
//! at most log2(n) of those. A success ends the first of these states, not the second.

use std::ops::Range;

/// So many rows that failed alone, one after the other, make a range not worth halving.
const LONE_FAILURES_IN_A_ROW: usize = 32;
/// So many rows that ran out of time alone do the same for the rest of the batch.
const SLOW_LONE_FAILURES: usize = 8;

/// Why a call failed, as far as it matters for what is tried next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault<E> {
    /// Some row may be at fault.
    Rows(E),
    /// The same, and trying took long.
    Slow(E),
    /// No other call would do better.
    Fatal(E),
}

/// What came of a batch. The ranges of `done` and `failed` are each in order; together they are the
/// batch.
#[derive(Debug)]
pub(crate) struct Isolated<T, E> {
    /// results, with the rows that they are for
    pub(crate) done: Vec<(Range<usize>, T)>,
    /// rows that failed, with the reason; mostly one row each
    pub(crate) failed: Vec<(Range<usize>, E)>,
}

/// Calls with all rows (`0..rows`), and finds those that make it fail. No rows, no call.
///
/// `call` must get a fresh instance after each failure.
///
/// # Errors
///
/// The first [`Fault::Fatal`]: then there is no result for any row.
pub(crate) fn isolate<T, E>(
    rows: usize,
    mut call: impl FnMut(Range<usize>) -> Result<T, Fault<E>>,
) -> Result<Isolated<T, E>, E> {
    let mut result = Isolated {
        done: Vec::new(),
        failed: Vec::new(),
    };
    if rows == 0 {
        return Ok(result);
    }
    match call(0..rows) {
        Ok(done) => {
            result.done.push((0..rows, done));
            return Ok(result);
        }
        Err(Fault::Fatal(error)) => return Err(error),
        Err(Fault::Rows(_) | Fault::Slow(_)) => {}
    }

    let mut left: Vec<Range<usize>> = std::iter::once(0..rows).collect();
    let mut in_a_row = 0;
    let mut slow = 0;
    while let Some(range) = left.pop() {
        let (error, is_slow) = match call(range.clone()) {
            Ok(done) => {
                in_a_row = 0;
                result.done.push((range, done));
                continue;
            }
            Err(Fault::Fatal(error)) => return Err(error),
            Err(Fault::Rows(error)) => (error, false),
            Err(Fault::Slow(error)) => (error, true),
        };
        let given_up = in_a_row >= LONE_FAILURES_IN_A_ROW || slow >= SLOW_LONE_FAILURES;
        if range.len() > 1 && !given_up {
            let middle = range.start + range.len() / 2;
            left.push(middle..range.end);
            left.push(range.start..middle);
            continue;
        }
        if range.len() == 1 {
            in_a_row += 1;
            slow += usize::from(is_slow);
        }
        result.failed.push((range, error));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Fails where a range holds one of `bad`; counts calls.
    fn run(rows: usize, bad: &[usize], slow: bool) -> (Isolated<(), usize>, usize) {
        let mut calls = 0;
        let result = isolate(rows, |range| {
            calls += 1;
            match bad.iter().find(|row| range.contains(row)) {
                None => Ok(()),
                Some(&row) if slow => Err(Fault::Slow(row)),
                Some(&row) => Err(Fault::Rows(row)),
            }
        });
        (result.unwrap(), calls)
    }

    fn rows_of<X>(ranges: &[(Range<usize>, X)]) -> Vec<usize> {
        ranges.iter().flat_map(|(range, _)| range.clone()).collect()
    }

    #[test]
    fn a_good_batch_takes_one_call() {
        let (result, calls) = run(8192, &[], false);
        assert_eq!(calls, 1);
        assert_eq!(result.done, [(0..8192, ())]);
        assert!(result.failed.is_empty());
    }

    #[test]
    fn no_rows_take_no_call() {
        let (result, calls) = run(0, &[], false);
        assert_eq!(calls, 0);
        assert!(result.done.is_empty());
    }

    #[test]
    fn a_failure_that_does_not_come_again_costs_one_more_call() {
        let mut calls = 0;
        let result = isolate(8192, |_| {
            calls += 1;
            if calls == 1 {
                Err(Fault::Rows(()))
            } else {
                Ok(())
            }
        });
        assert_eq!(result.unwrap().done, [(0..8192, ())]);
        assert_eq!(calls, 2);
    }

    #[test]
    fn one_bad_row_takes_two_calls_a_halving() {
        for bad in [0, 1, 4095, 4096, 5000, 8191] {
            let (result, calls) = run(8192, &[bad], false);
            assert_eq!(result.failed, [(bad..bad + 1, bad)]);
            assert_eq!(calls, 2 + 2 * 13, "for row {bad}");
        }
    }

    #[test]
    fn a_lone_bad_row_is_tried_twice() {
        let (result, calls) = run(1, &[0], false);
        assert_eq!(rows_of(&result.failed), [0]);
        assert_eq!(calls, 2);
    }

    #[test]
    fn a_guest_that_always_fails_takes_a_bounded_number_of_calls() {
        let every_row: Vec<usize> = (0..8192).collect();
        let (result, calls) = run(8192, &every_row, false);
        assert_eq!(rows_of(&result.failed), every_row);
        assert!(calls < 100, "{calls} calls");

        let (result, calls) = run(8192, &every_row, true);
        assert_eq!(rows_of(&result.failed), every_row);
        assert!(calls < 50, "{calls} calls");
    }

    #[test]
    fn many_scattered_bad_rows_take_no_neighbour_with_them() {
        let scattered: Vec<usize> = (0..8192).step_by(3).collect();
        let (result, _) = run(8192, &scattered, false);
        assert_eq!(rows_of(&result.failed), scattered);
    }

    #[test]
    fn rows_after_a_long_run_of_bad_ones_are_still_tried() {
        let run_of_bad: Vec<usize> = (0..64).collect();
        let (result, _) = run(8192, &run_of_bad, false);
        assert_eq!(rows_of(&result.failed), run_of_bad);
    }

    #[test]
    fn scattered_slow_rows_are_given_up_in_time() {
        let scattered: Vec<usize> = (0..8192).step_by(100).collect();
        let (result, calls) = run(8192, &scattered, true);
        assert!(calls < 2 + SLOW_LONE_FAILURES * 26 + 13, "{calls} calls");
        let lone = result.failed.iter().filter(|(range, _)| range.len() == 1);
        assert_eq!(lone.count(), SLOW_LONE_FAILURES);
    }

    #[test]
    fn a_fatal_fault_ends_it_at_once() {
        let mut calls = 0;
        let result = isolate(100, |_| -> Result<(), _> {
            calls += 1;
            Err(if calls == 3 {
                Fault::Fatal("gone")
            } else {
                Fault::Rows("bad")
            })
        });
        assert_eq!(result.unwrap_err(), "gone");
        assert_eq!(calls, 3);
    }

    proptest! {
        #[test]
        fn exactly_the_bad_rows_fail(
            rows in 1_usize..300,
            bad in proptest::collection::btree_set(0_usize..300, 0..20),
        ) {
            let bad: Vec<usize> = bad.into_iter().filter(|&row| row < rows).collect();
            let (result, _) = run(rows, &bad, false);
            prop_assert_eq!(rows_of(&result.failed), bad);
            let mut all = rows_of(&result.done);
            prop_assert!(all.is_sorted());
            all.extend(rows_of(&result.failed));
            all.sort_unstable();
            prop_assert_eq!(all, (0..rows).collect::<Vec<_>>());
        }
    }
}
