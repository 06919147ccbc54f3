//! A status, for a person (pure).

use std::fmt::Write as _;
use std::time::Duration;

use crate::deployment::{DIGEST_DIGITS, Outcome};
use crate::status::{
    DeadLetterStatus, DeploymentStatus, PartitionStatus, Phase, RefusalStatus, Status,
};

/// Dead letters that are shown.
const LETTERS_MAX: usize = 5;

/// The whole status.
pub(super) fn text(status: &Status) -> String {
    let mut out = Page(String::new());
    out.line(
        "pipeline",
        &format!(
            "{}, {} for {}, wasmill {}",
            plain(&status.pipeline),
            phase(status.phase),
            time(status.uptime),
            plain(&status.version)
        ),
    );
    if status.waiting_for.is_empty() {
        out.line("waiting for", "nobody");
    }
    for waiting in &status.waiting_for {
        let (part, reason) = (plain(&waiting.part), plain(&waiting.reason));
        let since = time(waiting.since);
        out.line("waiting for", &format!("{part} for {since}: {reason}"));
    }
    let mut records = format!(
        "{} read, {} committed a second of late, {} left out",
        count(status.records),
        count(status.records_per_second.round() as u64),
        count(status.dead_letters)
    );
    if let Some(duplicates) = status.duplicates {
        let _ = write!(records, ", {} duplicates", count(duplicates));
    }
    out.line("records", &records);
    if status.readmission_backlog > 0 {
        let left = count(status.readmission_backlog);
        out.line(
            "again",
            &format!("{left} to process again that a version rejected which was rolled back"),
        );
    }
    let lag: i64 = status.partitions.iter().map(lag).sum();
    out.line("lag", &format!("{} to read", count(lag.unsigned_abs())));
    out.line("epochs", &epochs(status));
    for partition in &status.partitions {
        out.line("partition", &self::partition(partition));
    }
    let newest = status.sinks.iter().map(|sink| sink.epoch).max();
    for sink in &status.sinks {
        let behind = newest.unwrap_or_default() - sink.epoch;
        let mut line = format!("{}, epoch {}", plain(&sink.name), sink.epoch);
        if behind > 0 {
            let _ = write!(line, ", {behind} behind");
        }
        if sink.lags {
            line.push_str(", the stream goes on without it");
        }
        if let Some(took) = sink.last_write {
            let _ = write!(line, ", last write took {}", time(took));
        }
        out.line("sink", &line);
    }
    for component in &status.components {
        let digest: String = component.digest.chars().take(DIGEST_DIGITS).collect();
        let (name, version) = (plain(&component.name), plain(&component.version));
        let stages = plain(&component.stages.join(", "));
        let line = format!("{name} {version} ({}) in {stages}", plain(&digest));
        out.line("component", &line);
    }
    versions(&mut out, status);
    let letters = &status.recent_dead_letters;
    for letter in letters.iter().rev().take(LETTERS_MAX) {
        out.line("dead letter", &self::letter(letter));
    }
    out.0
}

/// The versions of its logic, and what became of the last one that was asked for.
fn versions(out: &mut Page, status: &Status) {
    for deployment in status.deployments.iter().rev() {
        out.line("deployment", &self::deployment(deployment));
    }
    if let Some(refused) = &status.refused {
        let RefusalStatus {
            at,
            trigger,
            reason,
        } = refused;
        let line = format!("by {trigger} at {}: {}", plain(at), plain(reason));
        out.line("refused", &line);
    }
}

/// Lines with headings.
pub(super) struct Page(pub(super) String);

impl Page {
    /// One line; the same heading is written once.
    pub(super) fn line(&mut self, heading: &str, text: &str) {
        let same = self.0.lines().rev().find(|line| !line.starts_with(' '));
        let same = same.is_some_and(|line| line.starts_with(&format!("{heading}  ")));
        let heading = if same { "" } else { heading };
        let _ = writeln!(self.0, "{heading:<12}  {text}");
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Stopping => "stopping",
    }
}

fn epochs(status: &Status) -> String {
    let mut line = format!(
        "the last is {}, {} since the start",
        status.epoch,
        count(status.epochs)
    );
    if let Some(last) = status.recent_epochs.last() {
        let _ = write!(
            line,
            ", committed {} ago with {} records after {} ({} in the commit)",
            time(last.age),
            count(last.records),
            time(last.duration),
            time(last.commit)
        );
    }
    line
}

fn lag(partition: &PartitionStatus) -> i64 {
    let end = partition.end.unwrap_or(partition.position);
    (end - partition.position).max(0)
}

fn partition(partition: &PartitionStatus) -> String {
    let end = partition.end.map_or("?".to_owned(), |end| end.to_string());
    format!(
        "{}: {} to read, at {} of {end}, committed to {}",
        partition.partition,
        count(lag(partition).unsigned_abs()),
        partition.position,
        partition.committed
    )
}

pub(super) fn deployment(deployment: &DeploymentStatus) -> String {
    let DeploymentStatus {
        version,
        trigger,
        deployed_at,
        epoch,
        outcome,
        ..
    } = deployment;
    let outcome = match outcome {
        Outcome::Probation => "in probation".to_owned(),
        Outcome::Accepted => "accepted".to_owned(),
        Outcome::RolledBack { reason } => format!("rolled back: {}", plain(reason)),
    };
    let at = plain(deployed_at);
    format!("{version}, by {trigger} at {at}, from epoch {epoch}, {outcome}")
}

fn letter(letter: &DeadLetterStatus) -> String {
    format!(
        "{} at {}/{}: {}",
        plain(&letter.stage),
        letter.partition,
        letter.offset,
        plain(&letter.reason)
    )
}

/// A number with its digits in groups.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A time, in the two largest units that matter.
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds < 1 => format!("{} ms", time.as_millis()),
        (0, 0, 0) if seconds < 10 => format!("{:.1} s", time.as_secs_f64()),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Text from elsewhere on one line, without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::deployment::{Trigger, Version};
    use crate::status::{ComponentStatus, EpochStatus, SinkStatus, Waiting};

    fn running() -> Status {
        let partition = |partition, end| PartitionStatus {
            partition,
            position: 1_234_000,
            committed: 1_230_000,
            end,
        };
        let sink = |name: &str, epoch| SinkStatus {
            name: name.into(),
            epoch,
            lags: false,
            last_write: Some(Duration::from_millis(48)),
        };
        Status {
            pipeline: "shop".into(),
            version: "0.1.0".into(),
            phase: Phase::Running,
            uptime: Duration::from_hours(3 * 24 + 2),
            epoch: 4711,
            epochs: 1200,
            records: 12_345_678,
            records_per_second: 8_765.4,
            dead_letters: 12,
            partitions: vec![partition(0, Some(1_234_567)), partition(1, None)],
            sinks: vec![sink("db", 4711), sink("search", 4709)],
            components: vec![ComponentStatus {
                name: "currency".into(),
                version: "0.2.0".into(),
                digest: "0123456789abcdef0123".into(),
                stages: vec!["sales".into()],
            }],
            recent_epochs: vec![EpochStatus {
                epoch: 4711,
                records: 10_000,
                dead_letters: 1,
                duration: Duration::from_millis(1_250),
                commit: Duration::from_millis(50),
                age: Duration::from_millis(300),
            }],
            ..Status::default()
        }
    }

    #[test]
    fn a_pipeline_that_runs() {
        assert_snapshot!(text(&running()));
    }

    #[test]
    fn a_pipeline_in_trouble() {
        let waiting = |part: &str, seconds| Waiting {
            part: part.into(),
            reason: format!("failed to reach {part}: refused"),
            since: Duration::from_secs(seconds),
            holds_up: true,
        };
        let letter = |offset| DeadLetterStatus {
            partition: 0,
            offset,
            stage: "decode".into(),
            reason: "invalid\u{1b}[2J JSON\nhere".into(),
        };
        let status = Status {
            waiting_for: vec![waiting("db", 75), waiting("search", 3)],
            recent_dead_letters: (0..7).map(letter).collect(),
            ..running()
        };
        assert_snapshot!(text(&status));
    }

    #[test]
    fn a_pipeline_that_was_changed() {
        let deployment = |version, trigger, outcome| DeploymentStatus {
            version: Version(version),
            trigger,
            deployed_at: format!("2026-11-23T0{version}:00:00Z"),
            epoch: 1000 * u64::from(version),
            positions: [(0, 1234)].into(),
            components: [("currency".into(), "0123".into())].into(),
            outcome,
        };
        let failed = Outcome::RolledBack {
            reason: "traps\u{1b}[2J at once".into(),
        };
        let status = Status {
            deployments: vec![
                deployment(1, Trigger::Start, Outcome::Accepted),
                deployment(2, Trigger::File, failed),
                deployment(3, Trigger::Probation, Outcome::Probation),
            ],
            refused: Some(RefusalStatus {
                at: "2026-11-23T04:00:00Z".into(),
                trigger: Trigger::Api,
                reason: "pipeline.toml has 4 errors".into(),
            }),
            ..running()
        };
        assert_snapshot!(text(&status));
    }

    #[test]
    fn a_pipeline_that_has_only_just_begun() {
        let status = Status {
            pipeline: "shop".into(),
            version: "0.1.0".into(),
            ..Status::default()
        };
        assert_snapshot!(text(&status));
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let grouped = [0, 999, 1_000, 123_456, 1_234_567].map(count);
        assert_eq!(grouped, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }

    #[test]
    fn a_time_has_two_units_at_most() {
        let shown = [0.25, 1.5, 59.0, 75.0, 3_725.0, 90_000.0];
        let shown = shown.map(|seconds| time(Duration::from_secs_f64(seconds)));
        assert_eq!(
            shown,
            [
                "250 ms",
                "1.5 s",
                "59 s",
                "1 min 15 s",
                "1 h 2 min",
                "1 d 1 h"
            ]
        );
    }
}
