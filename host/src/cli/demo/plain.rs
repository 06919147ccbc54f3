//! The demo in lines, where there is no terminal.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use super::look::Seen;
use super::picture::Picture;
use super::{Job, POLL};
use crate::live::{Model, Totals, clock, count, per_second};

/// Between two looks.
const STEP: Duration = Duration::from_secs(1);
/// Bars of a chart in the report.
const BARS: usize = 8;

/// Prints how far the run is until it has ended or is given up.
///
/// # Errors
///
/// When stdout is gone; the run goes on then.
pub(super) fn show(job: &Job, picture: &mut Option<Picture>) -> io::Result<()> {
    let mut model = Model::default();
    let mut next = Instant::now();
    while !job.is_over() {
        model.observe(job.monitor.status());
        if Instant::now() >= next {
            next += STEP;
            let seen = job.looker.seen();
            writeln!(io::stdout(), "{}", line(&model, &seen))?;
            if let Some(picture) = picture
                && !job.stop.is_requested()
            {
                picture.take(&model, &seen.totals);
            }
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// How far the run is.
fn line(model: &Model, seen: &Seen) -> String {
    let status = model.status();
    let mut line = format!(
        "{} epoch {} · {} records, {}/s · {} dead letters",
        clock(status.uptime),
        count(status.epoch),
        count(status.records),
        per_second(model.rate().records),
        count(status.dead_letters),
    );
    if let Some(waiting) = status.waiting_for.first() {
        // Writing to a string does not fail, here and below.
        let _ = write!(line, " · waiting for {}: {}", waiting.part, waiting.reason);
    }
    for check in &seen.totals.checks {
        let verdict = if check.agrees() { "equal" } else { "NOT EQUAL" };
        if let Some(sum) = check.sums.first() {
            let _ = write!(
                line,
                " · {} sums {verdict}: {}",
                check.sums.len(),
                sum.amount
            );
        }
    }
    if let Some(error) = &seen.error {
        let _ = write!(line, " · {error}");
    }
    line
}

/// The totals at the end.
pub(super) fn report(totals: &Totals) -> String {
    let mut text = String::new();
    for check in &totals.checks {
        let verdict = if check.agrees() { "equal" } else { "NOT EQUAL" };
        let _ = writeln!(text, "\nsums, which are {verdict}:");
        for sum in &check.sums {
            let name = format!("{}.{}", sum.table, sum.column);
            let _ = writeln!(text, "  {name:<40}{:>24}", sum.amount);
        }
    }
    for chart in &totals.charts {
        let _ = writeln!(text, "\n{}: {} by {}", chart.table, chart.column, chart.by);
        for bar in chart.bars.iter().take(BARS) {
            let _ = writeln!(text, "  {:<40}{:>24}", bar.label, bar.amount);
        }
        if chart.bars.len() > BARS {
            text.push_str("  and more\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{Amount, Bar, Chart, Check, Sum};

    fn totals(units: [i64; 2]) -> Totals {
        let amount = |units| Amount { units, scale: 2 };
        let sum = |table: &str, units| Sum {
            table: table.into(),
            column: "total".into(),
            amount: amount(units),
        };
        Totals {
            checks: vec![Check {
                sums: vec![sum("sales", units[0]), sum("days", units[1])],
            }],
            charts: vec![Chart {
                table: "days".into(),
                column: "total".into(),
                by: "day".into(),
                bars: (1..=10)
                    .map(|day| Bar {
                        label: format!("2026-01-{day:02}"),
                        amount: amount(day * 100),
                    })
                    .collect(),
            }],
        }
    }

    #[test]
    fn the_report_has_sums_and_the_first_bars() {
        let report = report(&totals([123_456, 123_456]));
        assert!(report.contains("sums, which are equal"), "{report}");
        assert!(report.contains("1,234.56"), "{report}");
        assert!(report.contains("2026-01-08"), "{report}");
        assert!(!report.contains("2026-01-09"), "{report}");
        assert!(report.contains("and more"), "{report}");
    }

    #[test]
    fn a_line_says_whether_the_sums_are_equal() {
        let seen = |units| Seen {
            totals: totals(units),
            ..Seen::default()
        };
        let model = Model::default();
        assert!(line(&model, &seen([5, 5])).ends_with("2 sums equal: 0.05"));
        assert!(line(&model, &seen([5, 6])).contains("NOT EQUAL"));
    }
}
