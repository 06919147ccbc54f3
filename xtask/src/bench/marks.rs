//! What figures should be on two cores, and whether they are.
//!
//! A mark names a figure of a row. One whose row was not measured says so; none ever fails a run.

use serde_json::{Value, json};

use super::results::{Results, number};
use super::{border, footprint, growth, latency, limits, sandbox, stages};

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

const MARKS: &[Mark] = &[
    Mark {
        what: "price of the sandbox, whole process, Wasm ÷ native CPU",
        row: (sandbox::GROUP, sandbox::PRICE),
        figure: "whole process",
        bound: AtMost(1.1),
        unit: "",
    },
    Mark {
        what: "price of the sandbox, chain alone",
        row: (sandbox::GROUP, sandbox::PRICE),
        figure: "chain alone",
        bound: AtMost(1.6),
        unit: "",
    },
    Mark {
        what: "border, 4,096 rows, one utf8 and one decimal in, one decimal out",
        row: (border::GROUP, border::MARKED),
        figure: "4096 rows",
        bound: AtMost(8.0),
        unit: "ns/row",
    },
    Mark {
        what: "Kafka → decode → chain → four aggregates → PostgreSQL",
        row: (stages::GROUP, stages::TOTALS),
        figure: "a CPU-second",
        bound: AtLeast(1e6),
        unit: "records",
    },
    Mark {
        what: "the same, stretch: ten times Flink",
        row: (stages::GROUP, stages::TOTALS),
        figure: "a CPU-second",
        bound: AtLeast(1.3e6),
        unit: "records",
    },
    Mark {
        what: "full job with raw rows, own CPU",
        row: (limits::GROUP, limits::POSTGRES_SHARE),
        figure: "own CPU",
        bound: AtMost(2.0),
        unit: "µs/record",
    },
    Mark {
        what: "full job with raw rows, PostgreSQL's CPU ÷ psql",
        row: (limits::GROUP, limits::POSTGRES_SHARE),
        figure: "PostgreSQL CPU",
        bound: AtMost(1.15),
        unit: "",
    },
    Mark {
        what: "full job, rate ÷ PostgreSQL's own limit",
        row: (limits::GROUP, limits::POSTGRES_SHARE),
        figure: "rate",
        bound: AtLeast(0.85),
        unit: "",
    },
    Mark {
        what: "both sinks, rate ÷ the slower one's own limit",
        row: (limits::GROUP, limits::BOTH_SHARE),
        figure: "rate",
        bound: AtLeast(0.75),
        unit: "",
    },
    Mark {
        what: "memory, no deduplication",
        row: (footprint::GROUP, footprint::MEMORY),
        figure: "peak memory",
        bound: AtMost(120.0),
        unit: "MB",
    },
    Mark {
        what: "memory, deduplication at 1,000,000 keys a partition",
        row: (footprint::GROUP, footprint::MEMORY_DEDUPLICATING),
        figure: "peak memory",
        bound: AtMost(220.0),
        unit: "MB",
    },
    Mark {
        what: "process start → first row committed, compiled code cached",
        row: (footprint::GROUP, footprint::WARM),
        figure: "after",
        bound: AtMost(0.9),
        unit: "s",
    },
    Mark {
        what: "process start → first row committed, nothing cached",
        row: (footprint::GROUP, footprint::COLD),
        figure: "after",
        bound: AtMost(2.0),
        unit: "s",
    },
    Mark {
        what: "latency p99 at half of the rate, max_wait 50 ms",
        row: (latency::GROUP, latency::HALF),
        figure: "p99",
        bound: AtMost(150.0),
        unit: "ms",
    },
    Mark {
        what: "state beside the key, 10,000,000 keys",
        row: (growth::GROUP, growth::STATE),
        figure: "a key",
        bound: AtMost(100.0),
        unit: "bytes",
    },
    Mark {
        what: "rate at 10,000,000 keys ÷ rate at 1,000",
        row: (growth::GROUP, growth::STATE),
        figure: "rate",
        bound: AtLeast(0.5),
        unit: "",
    },
    Mark {
        what: "two workers ÷ one, from files",
        row: (growth::GROUP, growth::WORKERS),
        figure: "rate",
        bound: AtLeast(1.85),
        unit: "",
    },
    Mark {
        what: "binary, stripped",
        row: (footprint::GROUP, footprint::BINARY),
        figure: "stripped",
        bound: AtMost(40.0),
        unit: "MB",
    },
];

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
