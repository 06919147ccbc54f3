//! How long a call takes: repeated until a clock can tell, and the median of several runs.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// A run takes this long, or one call where that is longer.
const RUN_TIME: Duration = Duration::from_millis(20);

/// Beyond this spread a figure is noise.
const SPREAD_MAX: f64 = 0.1;

/// What a call for so many rows costs.
#[derive(Debug)]
pub(super) struct Cost {
    /// the function of the contract
    pub(super) call: &'static str,
    pub(super) rows: usize,
    /// nanoseconds of a call, one for each run, in order of size; at least one
    nanos: Vec<f64>,
}

impl Cost {
    /// The median.
    pub(super) fn nanos_a_row(&self) -> f64 {
        self.quantile(0.5) / self.rows as f64
    }

    /// How far the middle half of the runs lies apart, as a share of the median.
    pub(super) fn spread(&self) -> f64 {
        (self.quantile(0.75) - self.quantile(0.25)) / self.quantile(0.5)
    }

    /// Whether the machine was busy with something else.
    pub(super) fn is_noisy(&self) -> bool {
        self.spread() > SPREAD_MAX
    }

    fn quantile(&self, share: f64) -> f64 {
        let last = self.nanos.len() - 1;
        self.nanos[(last as f64 * share).round() as usize]
    }
}

/// Calls for so many rows, in as many runs.
///
/// # Errors
///
/// The call's own.
pub(super) fn measure<E>(
    name: &'static str,
    rows: usize,
    runs: usize,
    mut call: impl FnMut() -> Result<(), E>,
) -> Result<Cost, E> {
    // The first calls fill caches, and say how many calls make a run.
    let mut calls = 1_u32;
    let took = loop {
        let took = time(calls, &mut call)?;
        if took >= RUN_TIME / 4 || calls >= 1 << 20 {
            break took;
        }
        calls *= 2;
    };
    let wanted = f64::from(calls) * RUN_TIME.as_secs_f64() / took.as_secs_f64().max(1e-9);
    let calls = wanted.clamp(1.0, f64::from(1 << 20)) as u32;
    let mut nanos = Vec::with_capacity(runs);
    for _ in 0..runs.max(1) {
        let took = time(calls, &mut call)?;
        nanos.push(took.as_nanos() as f64 / f64::from(calls));
    }
    nanos.sort_by(f64::total_cmp);
    Ok(Cost {
        call: name,
        rows,
        nanos,
    })
}

fn time<E>(calls: u32, call: &mut impl FnMut() -> Result<(), E>) -> Result<Duration, E> {
    let begun = Instant::now();
    for _ in 0..calls {
        black_box(call()?);
    }
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_middle_half_count() {
        let cost = Cost {
            call: "apply",
            rows: 10,
            nanos: vec![80.0, 90.0, 100.0, 110.0, 9_000.0],
        };
        assert!((cost.nanos_a_row() - 10.0).abs() < 1e-9);
        assert!((cost.spread() - 0.2).abs() < 1e-9);
        assert!(cost.is_noisy());
    }

    #[test]
    fn a_call_is_timed_as_often_as_asked_and_an_error_ends_it() {
        let cost = measure("apply", 1, 3, || {
            std::thread::sleep(Duration::from_millis(6));
            Ok::<_, ()>(())
        });
        let cost = cost.unwrap();
        assert_eq!(cost.nanos.len(), 3);
        assert!(cost.nanos_a_row() >= 6e6);
        assert_eq!(measure("apply", 1, 3, || Err("no")).unwrap_err(), "no");
    }
}
