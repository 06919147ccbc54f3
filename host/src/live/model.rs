//! Rates, out of statuses that follow one another. Pure: time is the run's own, as it says it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::status::{PartitionStatus, Status};

/// Rates are means over this time.
const RATE_SPAN: Duration = Duration::from_secs(5);
/// Statuses that are looked back at most; of more, older ones go first.
const SAMPLES_MAX: usize = 256;
/// Time for each point of the curve.
const CURVE_STEP: Duration = Duration::from_secs(1);
/// A lag from here on is that of a source without an end, which nobody can catch up with.
const ENDLESS: u64 = 1 << 40;
/// Points of the curve at most.
const CURVE_MAX: usize = 512;

/// A running pipeline as far as it was observed.
#[derive(Debug, Default)]
pub(crate) struct Model {
    status: Status,
    /// oldest first
    samples: VecDeque<Sample>,
    /// records a second, oldest first
    curve: VecDeque<u64>,
    /// where the next point of the curve begins
    curve_from: Option<(Duration, u64)>,
}

/// The counters at one moment.
#[derive(Debug)]
struct Sample {
    at: Duration,
    records: u64,
    bytes: u64,
    dead_letters: u64,
    stages: Vec<(u64, Duration)>,
}

/// How fast a pipeline is, each a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rate {
    pub(crate) records: f64,
    pub(crate) bytes: f64,
    pub(crate) dead_letters: f64,
}

/// How fast a stage is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct StageRate {
    /// rows a second
    pub(crate) rows: f64,
    /// share of one thread's time
    pub(crate) busy: f64,
    /// time for a row, nanoseconds
    pub(crate) row_nanos: f64,
}

impl Model {
    /// Takes in what the pipeline says now. One that is younger than the one before belongs to
    /// another run, and everything begins anew.
    pub(crate) fn observe(&mut self, status: Status) {
        let again = status.uptime < self.status.uptime || status.pipeline != self.status.pipeline;
        if again {
            *self = Self::default();
        }
        let sample = Sample::of(&status);
        self.extend_curve(&sample);
        // One sample stays that is as old as the span, so that the rates cover it.
        while self.samples.len() >= SAMPLES_MAX
            || self
                .samples
                .get(1)
                .is_some_and(|next| next.at.saturating_add(RATE_SPAN) <= sample.at)
        {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        self.status = status;
    }

    /// The last status.
    pub(crate) fn status(&self) -> &Status {
        &self.status
    }

    /// The pipeline's rates over the last seconds.
    pub(crate) fn rate(&self) -> Rate {
        let Some((before, now, seconds)) = self.ends() else {
            return Rate::default();
        };
        let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
        Rate {
            records: rate(before.records, now.records),
            bytes: rate(before.bytes, now.bytes),
            dead_letters: rate(before.dead_letters, now.dead_letters),
        }
    }

    /// The rates of each stage, in the order of the status.
    pub(crate) fn stages(&self) -> Vec<StageRate> {
        let mut rates = vec![StageRate::default(); self.status.stages.len()];
        if let Some((before, now, seconds)) = self.ends() {
            for (rate, (before, now)) in rates.iter_mut().zip(before.stages.iter().zip(&now.stages))
            {
                let rows = now.0.saturating_sub(before.0) as f64;
                let time = now.1.saturating_sub(before.1).as_secs_f64();
                *rate = StageRate {
                    rows: rows / seconds,
                    busy: time / seconds,
                    row_nanos: if rows > 0.0 { time * 1e9 / rows } else { 0.0 },
                };
            }
        }
        rates
    }

    /// Records a second, a point for each second, newest last.
    pub(crate) fn curve(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.curve.iter().copied()
    }

    /// Records that are in the source and not committed yet, as far as it is known.
    pub(crate) fn lag(&self) -> Option<u64> {
        let lags = self.status.partitions.iter().map(|partition| {
            let end = partition.end?;
            Some(
                end.saturating_sub(partition.committed)
                    .max(0)
                    .unsigned_abs(),
            )
        });
        let lags: Vec<u64> = lags.collect::<Option<_>>()?;
        let sum = || lags.iter().copied().fold(0, u64::saturating_add);
        (!lags.is_empty() && lags.iter().all(|&lag| lag < ENDLESS)).then(sum)
    }

    /// Both ends of what the rates are of, and the seconds between them.
    fn ends(&self) -> Option<(&Sample, &Sample, f64)> {
        let (before, now) = (self.samples.front()?, self.samples.back()?);
        let elapsed = now.at.saturating_sub(before.at);
        let seconds = elapsed.as_secs_f64();
        (seconds > 0.0).then_some((before, now, seconds))
    }

    fn extend_curve(&mut self, sample: &Sample) {
        let (from, records) = *self.curve_from.get_or_insert((sample.at, sample.records));
        let elapsed = sample.at.saturating_sub(from);
        if elapsed < CURVE_STEP {
            return;
        }
        let rate = sample.records.saturating_sub(records) as f64 / elapsed.as_secs_f64();
        if self.curve.len() >= CURVE_MAX {
            self.curve.pop_front();
        }
        self.curve.push_back(rate.round() as u64);
        self.curve_from = Some((sample.at, sample.records));
    }
}

/// Records of a partition that are there and not committed yet; `None` where nobody knows, or there
/// is no end of them.
pub(super) fn lag(partition: &PartitionStatus) -> Option<u64> {
    let behind = partition.end?.saturating_sub(partition.committed);
    let behind = behind.max(0).unsigned_abs();
    (behind < ENDLESS).then_some(behind)
}

impl Sample {
    fn of(status: &Status) -> Self {
        Self {
            at: status.uptime,
            records: status.records,
            bytes: status.bytes,
            dead_letters: status.dead_letters,
            stages: status.stages.iter().map(|s| (s.rows, s.time)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::live::fixture;
    use crate::status::StageStatus;

    fn status(millis: u64, records: u64) -> Status {
        Status {
            pipeline: "shop".into(),
            uptime: Duration::from_millis(millis),
            records,
            bytes: records * 300,
            stages: vec![StageStatus {
                name: "decode".into(),
                rows: records,
                time: Duration::from_micros(records),
            }],
            ..Status::default()
        }
    }

    fn observed(statuses: impl IntoIterator<Item = Status>) -> Model {
        let mut model = Model::default();
        for status in statuses {
            model.observe(status);
        }
        model
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6 * b.abs().max(1.0)
    }

    #[test]
    fn one_status_has_no_rates() {
        let model = observed([status(1_000, 50)]);
        assert_eq!(model.rate(), Rate::default());
        assert_eq!(model.stages(), [StageRate::default()]);
        assert_eq!(model.curve().len(), 0);
    }

    #[test]
    fn rates_are_of_the_last_seconds_only() {
        // 100 records/s for 20 s, then 1,000.
        let slow = (0..200).map(|i| status(i * 100, i * 10));
        let fast = (0..=60).map(|i| status(20_000 + i * 100, 2_000 + i * 100));
        let model = observed(slow.chain(fast));
        let rate = model.rate();
        assert!(near(rate.records, 1_000.0), "{rate:?}");
        assert!(near(rate.bytes, 300_000.0), "{rate:?}");
        let stage = model.stages()[0];
        assert!(near(stage.rows, 1_000.0), "{stage:?}");
        assert!(near(stage.busy, 0.001), "{stage:?}");
        assert!(near(stage.row_nanos, 1_000.0), "{stage:?}");
    }

    #[test]
    fn the_curve_has_a_point_a_second() {
        let model = observed((0..=35).map(|i| status(i * 100, i * i)));
        assert_eq!(model.curve().collect::<Vec<_>>(), [100, 300, 500]);
    }

    #[test]
    fn a_younger_run_begins_anew() {
        let mut model = observed((0..=50).map(|i| status(i * 100, i * 1_000)));
        model.observe(status(100, 3));
        assert_eq!(model.rate(), Rate::default());
        assert_eq!(model.curve().len(), 0);
        assert_eq!(model.status().records, 3);
    }

    #[test]
    fn the_lag_is_known_when_every_end_is() {
        let partition = |end| PartitionStatus {
            partition: 0,
            position: 20,
            committed: 10,
            end,
        };
        let of = |partitions: Vec<_>| {
            let mut status = status(1, 1);
            status.partitions = partitions;
            observed([status]).lag()
        };
        assert_eq!(of(vec![]), None);
        assert_eq!(of(vec![partition(Some(25)), partition(None)]), None);
        assert_eq!(of(vec![partition(Some(1 << 44))]), None, "without end");
        assert_eq!(of(vec![partition(Some(25)), partition(Some(5))]), Some(15));
    }

    proptest! {
        #[test]
        fn no_sequence_of_statuses_makes_it_panic(
            statuses in prop::collection::vec(fixture::any_status(), 0..20),
        ) {
            let model = observed(statuses);
            let rate = model.rate();
            let stages = model.stages();
            prop_assert_eq!(stages.len(), model.status().stages.len());
            let numbers = stages.iter().flat_map(|s| [s.rows, s.busy, s.row_nanos]);
            for number in numbers.chain([rate.records, rate.bytes, rate.dead_letters]) {
                prop_assert!(number.is_finite() && number >= 0.0, "{}", number);
            }
            let _ = (model.lag(), model.curve().max());
        }

        #[test]
        fn what_is_remembered_is_bounded(steps in prop::collection::vec(0_u64..3_000, 0..2_000)) {
            let mut at = 0;
            let model = observed(steps.iter().map(|step| { at += step; status(at, at) }));
            prop_assert!(model.samples.len() <= SAMPLES_MAX);
            prop_assert!(model.curve.len() <= CURVE_MAX);
        }
    }
}
