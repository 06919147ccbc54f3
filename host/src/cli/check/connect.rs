//! `wasmill check --connect`: whether the servers are there and fit, without changing anything.
//!
//! All of them are asked at the same time, and every answer that is a failure is reported.
//!
//! # Not here
//!
//! The dead letters: opening them would change them.

use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::timeout;

use crate::checkpoint::{CheckpointError, CheckpointStore};
use crate::config::{
    CheckpointLocation, Diagnostic, Diagnostics, Pipeline, Places, SinkKind, SourceKind,
};
use crate::pipeline::{Endpoints, OpenSource, PipelineError, Plan};
use crate::sink::{CHECK_TIME_MAX, Ledger, Remedy, Sink, SinkError};
use crate::source::SourceError;
use crate::waiting::Waits;

/// What a sink says.
struct Answer {
    faults: Vec<SinkError>,
    /// what a start adds to what is there
    additions: Vec<String>,
}

/// What the servers say of a pipeline.
struct Answers {
    checkpoints: Result<(), CheckpointError>,
    source: Result<usize, PipelineError>,
    /// by name of the sink
    sinks: Vec<(String, Answer)>,
}

/// Asks all servers: a line for each that is fine, and in `diagnostics` what is wrong with the
/// others.
///
/// # Errors
///
/// When nobody can be asked, because an address or a setting can never work.
pub(super) async fn check(
    pipeline: &Pipeline,
    plan: &Plan,
    diagnostics: &mut Diagnostics,
) -> Result<Vec<String>, PipelineError> {
    let answers = ask(
        Endpoints::open(plan, &Waits::default())?,
        &plan.definition(),
        &pipeline.checkpoint.location,
    )
    .await;
    let mut fine = Vec::new();
    match answers.source {
        Ok(1) => fine.push("source: reached, 1 partition".to_owned()),
        Ok(count) => fine.push(format!("source: reached, {count} partitions")),
        Err(error) => diagnostics.push(faulty_source(pipeline, &error)),
    }
    for sink in &pipeline.sinks {
        let what = match sink.kind {
            SinkKind::Postgres { .. } | SinkKind::Sqlite { .. } => "tables",
            SinkKind::Elasticsearch { .. } => "indices",
        };
        let mut answers = answers.sinks.iter().filter(|(name, _)| *name == sink.name);
        let Some((name, answer)) = answers.next() else {
            continue;
        };
        if answer.faults.is_empty() {
            fine.push(format!("{name}: reached, {what} fit or will be created"));
            let additions = answer.additions.iter();
            fine.extend(additions.map(|addition| format!("{name}: with the start, {addition}")));
        }
        let place = match sink.kind {
            SinkKind::Sqlite { .. } => "path",
            SinkKind::Postgres { .. } | SinkKind::Elasticsearch { .. } => "url",
        };
        let place = pipeline.places.find(&sink.span, place);
        for fault in &answer.faults {
            let message = format!("sink `{}`: {fault}", sink.name);
            let diagnostic = Diagnostic::error(message).at(&place);
            diagnostics.push(match fault.remedy() {
                Remedy::Retry => diagnostic.help(
                    "see that the server runs, and that `url` is its address as seen from here",
                ),
                Remedy::LeaveOut | Remedy::Stop => diagnostic,
            });
        }
    }
    match answers.checkpoints {
        Ok(()) => fine.push("checkpoints: reached".to_owned()),
        Err(error) => diagnostics.push(faulty_store(pipeline, &error)),
    }
    Ok(fine)
}

async fn ask(
    endpoints: Endpoints,
    definition: &Value,
    checkpoints: &CheckpointLocation,
) -> Answers {
    let Endpoints {
        open_source,
        ledger,
        sinks,
        ..
    } = endpoints;
    let others: Vec<String> = sinks.iter().map(|sink| sink.name().to_owned()).collect();
    let (checkpoints, source, ledger, mut sinks) = tokio::join!(
        ask_store(checkpoints),
        ask_source(open_source),
        ask_ledger(ledger, definition, &others),
        join_all(sinks.into_iter().map(ask_sink))
    );
    sinks.push(ledger);
    Answers {
        checkpoints,
        source,
        sinks,
    }
}

/// How many partitions the source has.
async fn ask_source(open: OpenSource) -> Result<usize, PipelineError> {
    let asking = tokio::task::spawn_blocking(move || open()?.partitions());
    match timeout(CHECK_TIME_MAX, asking).await {
        Ok(Ok(Ok(partitions))) => Ok(partitions.len()),
        Ok(Ok(Err(error))) => Err(PipelineError::Source(error)),
        Ok(Err(error)) => Err(PipelineError::Panicked {
            part: "the source".into(),
            message: error.to_string(),
        }),
        Err(_) => Err(PipelineError::Source(SourceError::Unavailable {
            what: "the source".into(),
            reason: format!("no answer within {} s", CHECK_TIME_MAX.as_secs()),
        })),
    }
}

async fn ask_store(location: &CheckpointLocation) -> Result<(), CheckpointError> {
    let asking = timeout(CHECK_TIME_MAX, CheckpointStore::check(location));
    asking.await.unwrap_or_else(|_| {
        Err(CheckpointError::Unavailable {
            action: "list",
            what: format!("the checkpoints in {location}"),
            reason: format!("no answer within {} s", CHECK_TIME_MAX.as_secs()),
        })
    })
}

async fn ask_sink(mut sink: Box<dyn Sink>) -> (String, Answer) {
    let answer = Answer::from(sink.check().await);
    (sink.name().to_owned(), answer)
}

impl From<Result<Vec<String>, SinkError>> for Answer {
    fn from(checked: Result<Vec<String>, SinkError>) -> Self {
        match checked {
            Ok(additions) => Self {
                faults: Vec::new(),
                additions,
            },
            Err(fault) => Self {
                faults: vec![fault],
                additions: Vec::new(),
            },
        }
    }
}

async fn ask_ledger(
    mut ledger: Box<dyn Ledger>,
    definition: &Value,
    others: &[String],
) -> (String, Answer) {
    let mut answer = Answer::from(ledger.check().await);
    // Who cannot be reached needs not be asked twice.
    let mut faults = answer.faults.iter();
    if faults.all(|fault| fault.remedy() == Remedy::Stop) {
        answer
            .faults
            .extend(ledger.check_claim(definition, others).await.err());
    }
    (ledger.name().to_owned(), answer)
}

fn faulty_store(pipeline: &Pipeline, error: &CheckpointError) -> Diagnostic {
    let (key, help) = match pipeline.checkpoint.location {
        CheckpointLocation::File { .. } => ("checkpoint.store", "see that the folder is there"),
        CheckpointLocation::S3(_) => (
            "checkpoint.endpoint",
            "see that the server runs, and that `endpoint` is its address as seen from here",
        ),
    };
    let place = pipeline.places.find(&Places::ROOT, key);
    let diagnostic = Diagnostic::error(format!("checkpoints: {error}")).at(&place);
    match error.remedy() {
        Remedy::Retry => diagnostic.help(help),
        Remedy::LeaveOut | Remedy::Stop => diagnostic,
    }
}

fn faulty_source(pipeline: &Pipeline, error: &PipelineError) -> Diagnostic {
    let (key, help) = match pipeline.source.kind {
        SourceKind::Kafka(_) => (
            "source.brokers",
            "see that the brokers run, that `brokers` are their addresses as seen from here, and that the topic exists",
        ),
        SourceKind::File { .. } => ("source.paths", "see that the files are there"),
        SourceKind::Generator(_) => ("source.type", "it needs nothing but itself"),
    };
    let place = pipeline.places.find(&Places::ROOT, key);
    let diagnostic = Diagnostic::error(format!("source: {error}")).at(&place);
    match error {
        PipelineError::Source(SourceError::Unavailable { .. }) => diagnostic.help(help),
        _ => diagnostic,
    }
}
