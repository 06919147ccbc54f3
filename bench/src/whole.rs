//! The whole pipeline, as `wasmill run --once` runs it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::bail;
use tokio_util::sync::CancellationToken;
use wasmill::config::{Diagnostics, Look, Pipeline};
use wasmill::guest::GuestEngine;
use wasmill::pipeline::{self, Connect, Endpoints, Monitor, PipelineError, Plan, RunOptions};
use wasmill::waiting::Waits;

use crate::chain::{self, Clock, Logic};
use crate::discard::Discard;
use crate::measured::{Measured, Ready};

/// Where rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sinks {
    /// where the pipeline says
    Real,
    /// nowhere
    Discard,
}

/// Runs it to the end of its source; with `logic`, that answers the calls of the chain.
pub(crate) fn run(
    (pipeline, mut diagnostics): (Pipeline, Diagnostics),
    began: Instant,
    (sinks, logic): (Sinks, Option<Logic>),
) -> anyhow::Result<Measured> {
    let cache = std::env::var_os("WASMILL_CACHE").map(PathBuf::from);
    let engine = GuestEngine::new(cache)?;
    let Some(plan) = Plan::build(&pipeline, &engine, &mut diagnostics) else {
        bail!("{}", diagnostics.render(Look::Plain));
    };
    let clock = Clock::default();
    let plan = match logic {
        Some(logic) => chain::answered(plan, logic, clock.clone())?,
        None => plan,
    };
    let plan = Arc::new(plan);
    let of = Arc::clone(&plan);
    let connect: Arc<Connect> = Arc::new(move |waits: &Waits| {
        let mut endpoints = Endpoints::open(&of, waits)?;
        if sinks == Sinks::Discard {
            let discard = Discard::new(&of.pipeline().name);
            let discard = discard.map_err(|source| PipelineError::Sink {
                sink: of.ledger().to_owned(),
                source,
            })?;
            endpoints.ledger = Box::new(discard);
            endpoints.sinks.clear();
        }
        Ok(endpoints)
    });
    let options = RunOptions {
        once: true,
        stop: CancellationToken::new(),
        monitor: Monitor::new(&pipeline, &plan),
        reloading: None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let ready = Ready::now(began);
    let summary = runtime.block_on(pipeline::run(&plan, &connect, &options))?;
    let stages = summary.stages.into_iter();
    let stages = stages.map(|stage| (stage.name, stage.time.as_secs_f64()));
    let measured = ready.measured(summary.records, summary.wall, stages.collect());
    Ok(match logic {
        Some(_) => measured.with_calls(clock.total()),
        None => measured,
    })
}
