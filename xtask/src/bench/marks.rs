//! What figures should be on two cores, and whether they are.
//!
//! A mark names a figure of a row. One whose row was not measured says so; none ever fails a run.

use serde_json::{Value, json};

use super::results::{Results, number};

/// Which side of the value is good.
#[derive(Debug, Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

use Bound::{AtLeast, AtMost};

/// A figure with its bound: what it means, group and name of the row, the figure.
struct Mark {
    what: &'static str,
    row: (&'static str, &'static str),
    figure: &'static str,
    bound: Bound,
    unit: &'static str,
}

const MARKS: [Mark; 0] = [];

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            AtMost(most) => value <= most,
            AtLeast(least) => value >= least,
        }
    }

    fn text(self, unit: &str) -> String {
        let (sign, value) = match self {
            AtMost(most) => ('≤', most),
            AtLeast(least) => ('≥', least),
        };
        format!("{sign} {} {unit}", number(value))
            .trim_end()
            .to_owned()
    }
}

impl Mark {
    fn value(&self, results: &Results) -> Option<f64> {
        let (group, name) = self.row;
        results.row(group, name)?.median(self.figure)
    }
}

/// A line a mark.
pub(super) fn text(results: &Results) -> String {
    let lines = MARKS.iter().map(|mark| {
        let (value, verdict) = match mark.value(results) {
            Some(value) if mark.bound.holds(value) => (number(value), "met"),
            Some(value) => (number(value), "not met"),
            None => ("-".to_owned(), "not measured"),
        };
        let bound = mark.bound.text(mark.unit);
        format!("  {:<72} {bound:<26} {value:>12}  {verdict}", mark.what)
    });
    let lines: Vec<_> = std::iter::once("marks".to_owned()).chain(lines).collect();
    lines.join("\n")
}

/// The same for programs; `met` is null where it was not measured.
pub(super) fn json(results: &Results) -> Value {
    let marks = MARKS.iter().map(|mark| {
        let value = mark.value(results);
        json!({
            "what": mark.what,
            "mark": mark.bound.text(mark.unit),
            "value": value,
            "met": value.map(|value| mark.bound.holds(value)),
        })
    });
    Value::Array(marks.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_holds_on_its_side() {
        assert!(AtMost(1.1).holds(1.1) && !AtMost(1.1).holds(1.11));
        assert!(AtLeast(0.85).holds(0.85) && !AtLeast(0.85).holds(0.84));
        assert_eq!(AtMost(8.0).text("ns"), "≤ 8.00 ns");
        assert_eq!(AtLeast(1e6).text(""), "≥ 1,000,000");
    }
}
