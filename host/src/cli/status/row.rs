//! `wasmill status --row`: which version of the pipeline's logic made a row.
//!
//! It asks the databases and not the pipeline, which need not run; nothing is locked or changed.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use super::show::{self, Page, plain};
use crate::config::{self, Pipeline, Sink, SinkKind};
use crate::deployment::{DIGEST_DIGITS, Deployment};
use crate::sink::SinkError;
use crate::sink::elasticsearch::ElasticsearchSink;
use crate::sink::postgres::PostgresRows;
use crate::sink::provenance::{Found, History, Maker};
use crate::sink::sqlite;
use crate::status::DeploymentStatus;

/// What is asked for.
pub(super) struct Wanted<'a> {
    /// any, if it is `None`
    pub(super) sink: Option<&'a str>,
    /// of a table or an index
    pub(super) name: &'a str,
    pub(super) key: &'a [String],
}

/// Where a row may be.
#[derive(Debug)]
struct Place<'a> {
    sink: &'a Sink,
    /// names of the key columns
    key: &'a [String],
}

/// A row, and what is known of who made it.
#[derive(Debug)]
struct Answer<'a> {
    place: &'a Place<'a>,
    maker: Maker,
    deployment: Option<&'a Deployment>,
    /// what that deployment has changed; `None` where there was none before
    changes: Option<Vec<String>>,
}

/// Prints which version made the row; once for each sink that has one of the name.
///
/// # Errors
///
/// When there is no such row, table or index; when a server does not answer.
pub(super) fn run(path: &Path, wanted: &Wanted<'_>, json: bool) -> anyhow::Result<()> {
    let loaded = config::load(path, &super::super::environment);
    let (pipeline, _) = loaded.map_err(|found| super::super::refuse(&found))?;
    let places = places(&pipeline, wanted)?;
    let runtime = super::super::runtime()?;
    let asked = runtime.block_on(async {
        let history = history(&pipeline).await?;
        let mut found = Vec::with_capacity(places.len());
        for place in &places {
            found.push(find(&pipeline, place, wanted, &history).await?);
        }
        anyhow::Ok((history, found))
    });
    // What still waits for a server does not hold up the exit.
    runtime.shutdown_background();
    let (history, found) = asked?;
    let mut answers = Vec::with_capacity(found.len());
    for (place, found) in places.iter().zip(found) {
        let Found::Row(maker) = found else { continue };
        answers.push(Answer::new(place, maker, &history));
    }
    if answers.is_empty() {
        bail!("{}", nothing(&places[0], wanted));
    }
    let text = if json {
        let answers: Vec<Value> = answers.iter().map(|a| a.json(wanted)).collect();
        serde_json::to_string_pretty(&answers)? + "\n"
    } else {
        let answers: Vec<String> = answers.iter().map(|a| a.text(wanted)).collect();
        answers.join("\n")
    };
    super::super::terminal::print(&text)
}

/// The tables and indices of this name.
fn places<'a>(pipeline: &'a Pipeline, wanted: &Wanted<'_>) -> anyhow::Result<Vec<Place<'a>>> {
    let mut known = Vec::new();
    let mut places = Vec::new();
    for sink in &pipeline.sinks {
        let indices = match &sink.kind {
            SinkKind::Elasticsearch { indices, .. } => &indices[..],
            SinkKind::Postgres { .. } | SinkKind::Sqlite { .. } => &[],
        };
        let tables = sink.kind.tables().iter();
        let tables = tables.map(|table| (&table.table, &table.key[..]));
        let indices = indices.iter();
        let indices = indices.map(|index| (&index.index, std::slice::from_ref(&index.id)));
        for (name, key) in tables.chain(indices) {
            known.push(name.as_str());
            let meant = wanted.sink.is_none_or(|meant| meant == sink.name);
            if meant && name == wanted.name {
                places.push(Place { sink, key });
            }
        }
    }
    if places.is_empty() {
        let of = wanted.sink.map(|sink| format!(" of sink `{sink}`"));
        bail!(
            "pipeline `{}` has no table or index `{}`{}: there is {}",
            pipeline.name,
            plain(wanted.name),
            plain(&of.unwrap_or_default()),
            known.join(", ")
        );
    }
    for place in &places {
        if place.key.len() != wanted.key.len() {
            bail!(
                "the key of `{}` in sink `{}` is ({}), so it takes {} values and not {}",
                plain(wanted.name),
                place.sink.name,
                place.key.join(", "),
                place.key.len(),
                wanted.key.len()
            );
        }
    }
    Ok(places)
}

/// What the ledger of the pipeline knows of the past.
async fn history(pipeline: &Pipeline) -> anyhow::Result<History> {
    let ledger = pipeline.sinks.iter().find(|sink| sink.kind.is_ledger());
    let ledger = ledger.context("a pipeline has one sink of type `postgres` or `sqlite`")?;
    let history = match &ledger.kind {
        SinkKind::Postgres { url, .. } => {
            let rows = PostgresRows::new(&ledger.name, &pipeline.name, url)?;
            rows.history().await
        }
        SinkKind::Sqlite { path, .. } => sqlite::history(path, &pipeline.name),
        SinkKind::Elasticsearch { .. } => unreachable!("it is no ledger"),
    };
    let history = history.with_context(|| format!("sink `{}`", ledger.name))?;
    if history.deployments.is_empty() {
        bail!(
            "sink `{}` knows no version of pipeline `{}`: it has not run yet, or under another name",
            ledger.name,
            pipeline.name
        );
    }
    Ok(history)
}

async fn find(
    pipeline: &Pipeline,
    place: &Place<'_>,
    wanted: &Wanted<'_>,
    history: &History,
) -> anyhow::Result<Found> {
    let sink = &place.sink.name;
    let found = match &place.sink.kind {
        SinkKind::Postgres { url, .. } => {
            let rows = PostgresRows::new(sink, &pipeline.name, url)?;
            rows.find(wanted.name, place.key, wanted.key).await
        }
        SinkKind::Elasticsearch { url, timeout, .. } => {
            let documents = ElasticsearchSink::giving_up_after(*timeout, sink, url, Vec::new())?;
            let written = documents.written_by(wanted.name, &wanted.key[0]).await;
            written.map(|epoch| match epoch {
                None => Found::Nothing,
                Some(epoch) if epoch > history.epoch => Found::Row(Maker::Unknown(format!(
                    "its version is {epoch}, and the last epoch is {}: somebody else has written it",
                    history.epoch
                ))),
                Some(epoch) => Found::Row(Maker::Epoch(epoch)),
            })
        }
        SinkKind::Sqlite { .. } => Err(SinkError::Permanent(
            "SQLite does not keep which transaction wrote a row. A table with the columns `@partition` and `@offset` of its records tells: \
             their version is the last one in wasmill_deployments whose `offsets` are not behind them"
                .to_owned(),
        )),
    };
    found.with_context(|| format!("sink `{sink}`"))
}

fn nothing(place: &Place<'_>, wanted: &Wanted<'_>) -> String {
    format!(
        "`{}` has no row with the key {}",
        plain(wanted.name),
        named(place, wanted)
    )
}

/// `(a, b) = (1, 2)`
fn named(place: &Place<'_>, wanted: &Wanted<'_>) -> String {
    let (key, values) = (place.key.join(", "), wanted.key.join(", "));
    plain(&format!("({key}) = ({values})"))
}

impl<'a> Answer<'a> {
    fn new(place: &'a Place<'a>, maker: Maker, history: &'a History) -> Self {
        let deployment = history.deployment(&maker);
        let changes = deployment.and_then(|deployment| {
            let before = history.before(deployment.version)?;
            Some(deployment.blueprint.changes_since(&before.blueprint))
        });
        Self {
            place,
            maker,
            deployment,
            changes,
        }
    }

    fn kind(&self) -> &'static str {
        match self.maker {
            Maker::Epoch(_) => "epoch",
            Maker::Version(_) => "version",
            Maker::Somebody { .. } => "somebody_else",
            Maker::Unknown(_) => "unknown",
        }
    }

    /// What the answer rests on.
    fn basis(&self) -> String {
        match &self.maker {
            Maker::Epoch(epoch) => format!("epoch {epoch} has written it"),
            Maker::Version(version) => format!(
                "it was written while version {version} was in force; the journal no longer has its epoch, so a change by somebody else would look the same"
            ),
            Maker::Somebody { after } => {
                format!("somebody else has written it, after epoch {after}: no epoch has")
            }
            Maker::Unknown(reason) => plain(reason),
        }
    }

    fn text(&self, wanted: &Wanted<'_>) -> String {
        let mut page = Page(String::new());
        let (name, sink) = (plain(wanted.name), &self.place.sink.name);
        let row = format!("{} of {name} in {sink}", named(self.place, wanted));
        page.line("row", &row);
        let made_by = match (&self.maker, self.deployment) {
            (Maker::Somebody { .. }, _) => "somebody else".to_owned(),
            (_, Some(deployment)) => format!("version {}", deployment.version),
            (_, None) => "unknown".to_owned(),
        };
        page.line("made by", &made_by);
        page.line("because", &self.basis());
        let Some(deployment) = self.deployment else {
            return page.0;
        };
        let status = DeploymentStatus::from(deployment);
        page.line("deployment", &show::deployment(&status));
        for (name, digest) in &status.components {
            let digest: String = digest.chars().take(DIGEST_DIGITS).collect();
            page.line(
                "component",
                &format!("{} ({})", plain(name), plain(&digest)),
            );
        }
        for change in self.changes.iter().flatten() {
            page.line("changed", &plain(change));
        }
        page.0
    }

    fn json(&self, wanted: &Wanted<'_>) -> Value {
        let key = self.place.key.iter().cloned();
        let values = wanted.key.iter().map(|value| json!(value));
        let epoch = match self.maker {
            Maker::Epoch(epoch) => Some(epoch.0),
            _ => None,
        };
        json!({
            "sink": self.place.sink.name,
            "name": wanted.name,
            "key": key.zip(values).collect::<Map<_, _>>(),
            "made_by": self.kind(),
            "because": self.basis(),
            "epoch": epoch,
            "deployment": self.deployment.map(DeploymentStatus::from),
            "changes": self.changes,
        })
    }
}
