//! Rows of figures: printed as they come, kept in `results.json`, drawn into `chart.svg`.
//!
//! # Not here
//!
//! What figures should be: [`super::marks`].

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::machine::Machine;
use super::{chart, marks};

/// Several runs of one thing.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) group: &'static str,
    pub(super) name: String,
    pub(super) figures: Vec<Figure>,
    /// what one has to know to read it
    pub(super) note: Option<String>,
}

/// One figure of a row, of each run.
#[derive(Debug, Clone)]
pub(super) struct Figure {
    pub(super) what: String,
    pub(super) unit: &'static str,
    runs: Vec<f64>,
}

impl Row {
    pub(super) fn new(group: &'static str, name: &str, figures: Vec<Figure>) -> Self {
        Self {
            group,
            name: name.to_owned(),
            figures,
            note: None,
        }
    }

    /// Says what one has to know to read it.
    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// The median of a figure.
    pub(super) fn median(&self, what: &str) -> Option<f64> {
        let figure = self.figures.iter().find(|figure| figure.what == what);
        figure.map(Figure::median)
    }

    fn json(&self) -> Value {
        let mut row = json!({
            "group": self.group,
            "name": self.name,
            "figures": self.figures.iter().map(Figure::json).collect::<Vec<_>>(),
        });
        if let Some(note) = &self.note {
            row["note"] = json!(note);
        }
        row
    }

    fn text(&self) -> String {
        let figures: Vec<_> = self.figures.iter().map(Figure::text).collect();
        format!("  {:<44} {}", self.name, figures.join(", "))
    }
}

impl Figure {
    /// Of at least one run.
    pub(super) fn new(what: impl Into<String>, unit: &'static str, runs: Vec<f64>) -> Self {
        let what = what.into();
        assert!(!runs.is_empty(), "{what} was never measured");
        Self { what, unit, runs }
    }

    /// The middle one; of an even number, the mean of the two.
    pub(super) fn median(&self) -> f64 {
        let mut sorted = self.runs.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        f64::midpoint(low, high)
    }

    fn min(&self) -> f64 {
        self.runs.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn max(&self) -> f64 {
        self.runs.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what,
            "unit": self.unit,
            "median": self.median(),
            "min": self.min(),
            "max": self.max(),
            "runs": self.runs,
        })
    }

    fn text(&self) -> String {
        let space = if self.unit.is_empty() { "" } else { " " };
        format!(
            "{} {}{space}{}",
            self.what,
            number(self.median()),
            self.unit
        )
    }
}

/// Everything of one invocation.
pub(super) struct Results {
    folder: PathBuf,
    machine: Machine,
    records: u64,
    runs: usize,
    rows: Vec<Row>,
}

impl Results {
    pub(super) fn new(folder: &Path, machine: Machine, (records, runs): (u64, usize)) -> Self {
        Self {
            folder: folder.to_owned(),
            machine,
            records,
            runs,
            rows: Vec::new(),
        }
    }

    /// Adds a row, shows it, and keeps it in the file.
    pub(super) fn add(&mut self, row: Row) -> Result<()> {
        if self.rows.last().is_none_or(|last| last.group != row.group) {
            eprintln!("{}", row.group);
        }
        eprintln!("{}", row.text());
        self.rows.push(row);
        self.write("results.json", &format!("{:#}\n", self.json()))
    }

    /// The row of this name.
    pub(super) fn row(&self, group: &str, name: &str) -> Option<&Row> {
        let mut rows = self.rows.iter();
        rows.find(|row| row.group == group && row.name == name)
    }

    /// Draws the chart, and prints everything.
    pub(super) fn finish(&self) -> Result<()> {
        self.write("chart.svg", &chart::draw(&self.rows)?)?;
        println!("{}", self.machine.text());
        println!("{} records, median of {}", self.records, self.runs);
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = row.group;
                println!("\n{group}");
            }
            println!("{}", row.text());
            if let Some(note) = &row.note {
                println!("    {note}");
            }
        }
        println!("\n{}", marks::text(self));
        println!("{}", self.folder.join("results.json").display());
        println!("{}", self.folder.join("chart.svg").display());
        Ok(())
    }

    fn json(&self) -> Value {
        json!({
            "machine": self.machine.json(),
            "records": self.records,
            "runs": self.runs,
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "marks": marks::json(self),
        })
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    }
}

/// Three digits that count, and thousands apart.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 || size == 0.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, whole) = whole
        .strip_prefix('-')
        .map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |runs: &[f64]| Figure::new("wall", "s", runs.to_vec()).median();
        assert_eq!(number(of(&[3.0, 1.0, 2.0])), "2.00");
        assert_eq!(number(of(&[4.0, 1.0, 2.0, 3.0])), "2.50");
        assert_eq!(number(of(&[7.0])), "7.00");
    }

    #[test]
    fn numbers_have_the_digits_that_count() {
        let cases = [
            (1_234_567.8, "1,234,568"),
            (999.6, "1,000"),
            (12.34, "12.3"),
            (0.004_21, "0.0042"),
            (0.0, "0.00"),
            (-1234.0, "-1,234"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}
