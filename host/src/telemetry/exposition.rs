//! Prometheus' text format, version 0.0.4, as it is written.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use super::metrics::{Family, Kind};

/// The content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text so far.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// The samples of one family.
#[derive(Debug)]
pub struct Samples<'a> {
    text: &'a mut String,
    family: &'static Family,
}

impl Exposition {
    /// Begins a family. Each may occur once.
    pub fn family(&mut self, family: &'static Family) -> Samples<'_> {
        let Family { name, help, .. } = family;
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let kind = family.kind.name();
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        Samples {
            text: &mut self.0,
            family,
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.0.write_fmt(line);
        self.0.push('\n');
    }

    /// The whole text.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }
}

impl Samples<'_> {
    /// Adds a counter's or gauge's value. `labels` are the values of the family's labels, in order.
    ///
    /// # Panics
    ///
    /// When there are more or fewer of them than the family has, or it is a histogram.
    pub fn add(&mut self, labels: &[&str], value: impl Display) -> &mut Self {
        assert_ne!(self.family.kind, Kind::Histogram, "a histogram has buckets");
        self.sample("", labels, None, value);
        self
    }

    /// Adds a histogram: how many values are within each bound, all of them last, and their sum.
    ///
    /// # Panics
    ///
    /// When there are more or fewer labels than the family has, it is no histogram, or there is not
    /// one count more than there are bounds.
    pub fn add_histogram(
        &mut self,
        labels: &[&str],
        bounds: &[f64],
        cumulative: &[u64],
        sum: Duration,
    ) -> &mut Self {
        assert_eq!(self.family.kind, Kind::Histogram, "others have no buckets");
        assert_eq!(bounds.len() + 1, cumulative.len(), "one has no bound");
        for (bound, count) in bounds.iter().zip(cumulative) {
            self.sample("_bucket", labels, Some(&bound.to_string()), count);
        }
        let all = cumulative[bounds.len()];
        self.sample("_bucket", labels, Some("+Inf"), all);
        self.sample("_sum", labels, None, sum.as_secs_f64());
        self.sample("_count", labels, None, all);
        self
    }

    fn sample(&mut self, suffix: &str, labels: &[&str], bound: Option<&str>, value: impl Display) {
        assert_eq!(labels.len(), self.family.labels.len(), "a value a label");
        self.text.push_str(self.family.name);
        self.text.push_str(suffix);
        let named = self
            .family
            .labels
            .iter()
            .copied()
            .zip(labels.iter().copied());
        let mut separator = '{';
        for (name, value) in named.chain(bound.map(|bound| ("le", bound))) {
            self.text.push(separator);
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape_into(self.text, value);
            self.text.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, " {value}");
    }
}

fn escape_into(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics;

    #[test]
    fn values_of_labels_are_escaped() {
        let mut exposition = Exposition::default();
        let mut samples = exposition.family(&metrics::PIPELINE_INFO);
        samples.add(&["a\\b\"c\nd{é}"], 1);
        let text = exposition.finish();
        let expected = "wasmill_pipeline_info{pipeline=\"a\\\\b\\\"c\\nd{é}\"} 1\n";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn a_histogram_ends_with_all_its_sum_and_its_count() {
        let mut exposition = Exposition::default();
        exposition
            .family(&metrics::SINK_WRITE_SECONDS)
            .add_histogram(
                &["db"],
                &[0.001, 1.0],
                &[1, 2, 5],
                Duration::from_millis(2500),
            );
        let lines = exposition.finish();
        let lines: Vec<&str> = lines.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "# TYPE wasmill_sink_write_duration_seconds histogram",
                "wasmill_sink_write_duration_seconds_bucket{sink=\"db\",le=\"0.001\"} 1",
                "wasmill_sink_write_duration_seconds_bucket{sink=\"db\",le=\"1\"} 2",
                "wasmill_sink_write_duration_seconds_bucket{sink=\"db\",le=\"+Inf\"} 5",
                "wasmill_sink_write_duration_seconds_sum{sink=\"db\"} 2.5",
                "wasmill_sink_write_duration_seconds_count{sink=\"db\"} 5",
            ]
        );
    }
}
