//! Rows "by stage": the job grows from row to row, so that the difference of two is what a stage costs.
//!
//! Up to the aggregates nothing is written: rows, and then totals, are handed to a ledger that forgets them
//! (`discard`).

use anyhow::Result;

use super::Bench;
use super::job::{self, Job};
use super::pipeline::Sales;
use super::results::{Results, Row};
use super::servers::Server::{self, Elasticsearch, Kafka, Postgres};

pub(super) const GROUP: &str = "by stage";
/// The row that has a mark.
pub(super) const TOTALS: &str = "Kafka: + PostgreSQL, aggregates only";

/// A row: its name, the stage of `wasmill-bench`, the variant of the job, and what it writes to.
struct Step {
    name: &'static str,
    stage: &'static str,
    variant: fn(Sales) -> Sales,
    sinks: &'static [Server],
}

const STEPS: [Step; 8] = [
    Step {
        name: "consume",
        stage: "consume",
        variant: Sales::without_stages,
        sinks: &[],
    },
    Step {
        name: "+ decode",
        stage: "decode",
        variant: Sales::without_stages,
        sinks: &[],
    },
    Step {
        name: "+ passthrough",
        stage: "discard",
        variant: Sales::passthrough,
        sinks: &[],
    },
    Step {
        name: "+ currency",
        stage: "discard",
        variant: Sales::rows_only,
        sinks: &[],
    },
    Step {
        name: "+ four aggregates",
        stage: "discard",
        variant: Sales::totals_only,
        sinks: &[],
    },
    Step {
        name: "+ PostgreSQL, aggregates only",
        stage: "run",
        variant: Sales::totals_only,
        sinks: &[Postgres],
    },
    Step {
        name: "full job into PostgreSQL",
        stage: "run",
        variant: Sales::without_search,
        sinks: &[Postgres],
    },
    Step {
        name: "full job into PostgreSQL and Elasticsearch",
        stage: "run",
        variant: |sales| sales,
        sinks: &[Postgres, Elasticsearch],
    },
];

/// Each step from Kafka, and each from files.
pub(super) fn measure(bench: &Bench<'_>, results: &mut Results) -> Result<()> {
    for (place, servers) in [("Kafka", &[Kafka][..]), ("files", &[])] {
        for step in &STEPS {
            let name = format!("{place}: {}", step.name);
            if !bench.wants(GROUP, &name) {
                continue;
            }
            let mut sales = bench.sales()?;
            if place == "files" {
                sales = sales.from_files(&bench.topic.files(bench)?);
            }
            let pipeline = (step.variant)(sales).write(&name.replace([':', ' ', ',', '+'], "-"))?;
            let servers = [servers, step.sinks].concat();
            let runs = Job::new(step.stage, &pipeline).on(&servers).runs(bench)?;
            results.add(Row::new(GROUP, &name, job::figures(&runs)))?;
        }
    }
    Ok(())
}
