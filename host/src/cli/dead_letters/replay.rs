//! `wasmill dead-letters replay`: counts what is meant, asks, and produces it.
//!
//! # Invariants
//!
//! 1. A record is produced once, however many letters there are of it.
//! 2. What is written after the counting, by a pipeline that runs meanwhile, is not produced: so a
//!    record that is rejected again does not go round.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::groups::Groups;
use super::{Filter, letter, when};
use crate::cli::terminal::{note, print, step};
use crate::config::{self, KafkaSource, Pipeline, SourceKind};
use crate::dead_letter::{
    Delivered, LetterStore, NoReplay, PartitionChoice, Remembered, ReplayTopic, Selection,
    StoredLetter,
};
use crate::record::Origin;
use crate::sink::SinkError;

/// Places that are named of what cannot be produced.
const NAMED_MAX: usize = 5;

/// What `wasmill dead-letters replay` is told.
#[derive(Debug, clap::Args)]
#[command(
    group(clap::ArgGroup::new("which").required(true).multiple(true).args(["places", "all", "stage", "reason", "since"])),
    after_help = "Examples:\n  \
        wasmill dead-letters replay pipeline.toml --stage sales --reason 'no rate' --dry-run\n  \
        wasmill dead-letters replay pipeline.toml 3:4711 3:4712 --yes\n\n\
        Each record goes to the partition that it was read from, with its key, headers and time, and a\n\
        header `wasmill-replayed-from`. Letters stay where they are: a second replay of the same letters\n\
        produces their records a second time."
)]
pub(super) struct Args {
    /// The pipeline
    pipeline: PathBuf,

    /// Which records, as `list` shows them
    #[arg(value_name = "PARTITION:OFFSET", value_parser = super::place, conflicts_with_all = ["all", "stage", "reason", "since"])]
    places: Vec<Origin>,

    /// All of them
    #[arg(long, conflicts_with_all = ["stage", "reason"])]
    all: bool,

    #[command(flatten)]
    filter: Filter,

    /// Say what would be produced, and produce nothing
    #[arg(long)]
    dry_run: bool,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,

    /// Each to the partition that its key has now, as these clients choose it: for a topic that has
    /// other partitions than it had
    #[arg(long, value_name = "CLIENTS")]
    by_key: Option<Clients>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Clients {
    /// murmur2
    Java,
    /// CRC-32
    Librdkafka,
}

/// What the letters that are meant come to.
#[derive(Default)]
struct Survey {
    records: u64,
    groups: Groups,
    /// of each kind that cannot be produced: how many, and some of them
    others: BTreeMap<NoReplay, (u64, Vec<String>)>,
    /// when the newest was written
    newest_ms: Option<i64>,
    /// of the records that were asked for, those of which there is no letter
    missing: Vec<Origin>,
}

/// Counts, asks, produces.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let (pipeline, _) = config::load(&args.pipeline, &crate::cli::environment)
        .map_err(|found| crate::cli::refuse(&found))?;
    let source = kafka(&pipeline)?;
    let choice = match args.by_key {
        None => PartitionChoice::Same,
        Some(Clients::Java) => PartitionChoice::Java,
        Some(Clients::Librdkafka) => PartitionChoice::Librdkafka,
    };
    let mut store = super::store(&pipeline)?;
    let (dry_run, yes) = (args.dry_run, args.yes);
    let mut selection = Selection {
        places: args.places,
        with_settled: true,
        ..args.filter.selection()
    };
    let runtime = crate::cli::runtime()?;
    let place = store.place();
    let looking = survey(&mut *store, &selection, &source.topic);
    let survey = step(format!("counting in {place}"), || runtime.block_on(looking))?;
    survey.tell_others(&source.topic);
    survey.refuse_missing(&place)?;
    let target = format!("topic {} at {}", source.topic, source.brokers);
    if dry_run {
        if !survey.groups.is_empty() {
            print(&format!("{}\n", survey.groups.table()))?;
        }
        return print(&format!(
            "{} would be produced to {target}\n",
            records(survey.records)
        ));
    }
    if survey.records == 0 {
        if !selection.places.is_empty() {
            bail!("none of these records can be produced again");
        }
        return print("nothing to replay\n");
    }
    if !yes && !agreed(&format!("produce {} to {target}?", records(survey.records)))? {
        bail!("nothing was produced");
    }
    selection.until_ms = survey.newest_ms;
    let stop = stop_on_signal(&runtime);
    let topic = ReplayTopic::open(source, choice)?;
    let replay = Replay {
        topic,
        bar: bar(survey.records),
        stop,
    };
    let (outcome, delivered) = runtime.block_on(replay.run(&mut *store, &selection, &source.topic));
    runtime.shutdown_background();
    conclude(outcome, &delivered, &survey, &target)
}

fn kafka(pipeline: &Pipeline) -> anyhow::Result<&KafkaSource> {
    let what = match &pipeline.source.kind {
        SourceKind::Kafka(kafka) => return Ok(kafka),
        SourceKind::File { .. } => {
            "files: mend the line and append it to one of them, or name a file with the mended lines in `paths`"
        }
        SourceKind::Generator(_) => "a generator, which makes its records anew",
    };
    bail!("nothing can be produced to the source of this pipeline: it is {what}")
}

async fn survey(
    store: &mut dyn LetterStore,
    selection: &Selection,
    topic: &str,
) -> Result<Survey, SinkError> {
    let mut survey = Survey {
        missing: selection.places.clone(),
        ..Survey::default()
    };
    let mut once = Remembered::default();
    let mut visit = |letter: StoredLetter| {
        survey.add(&letter, topic, &mut once);
        ControlFlow::Continue(())
    };
    store.scan(selection, None, &mut visit).await?;
    Ok(survey)
}

/// What the letters of one record have in common.
fn record_key(letter: &StoredLetter) -> String {
    let Origin { partition, offset } = letter.origin;
    format!("{}/{partition}/{offset}", letter.topic)
}

impl Survey {
    fn add(&mut self, letter: &StoredLetter, topic: &str, once: &mut Remembered) {
        self.newest_ms = self.newest_ms.max(letter.written_ms);
        self.missing.retain(|place| *place != letter.origin);
        match letter.replayable(topic) {
            Ok(()) => {
                if once.is_new(&record_key(letter)) {
                    self.records += 1;
                    self.groups.add(letter);
                }
            }
            Err(why) => {
                let (count, named) = self.others.entry(why).or_default();
                *count += 1;
                if named.len() < NAMED_MAX {
                    let (partition, offset) = letter::place(letter);
                    let document = letter.document.as_ref();
                    let place = format!("{partition}:{offset}");
                    named.push(document.map_or(place, Clone::clone));
                }
            }
        }
    }

    /// Says what is not produced, and why.
    fn tell_others(&self, topic: &str) {
        for (why, (count, named)) in &self.others {
            let why = match why {
                NoReplay::Document => {
                    "a sink refused their documents after the records were committed: mend the cause, and fill the index anew".to_owned()
                }
                NoReplay::LeftOut => {
                    "they were too large for the topic of the dead letters, and only the source has them".to_owned()
                }
                NoReplay::Settled => {
                    "a later version has processed their records, after the one that rejected them was rolled back".to_owned()
                }
                NoReplay::OtherSource => format!("they were not read from topic {topic}"),
            };
            let more = if *count as usize > named.len() {
                ", …"
            } else {
                ""
            };
            note(&format!(
                "{count} cannot be produced again ({}{more}): {why}",
                named.join(", ")
            ));
        }
    }

    /// Refuses records that were asked for and are not there.
    fn refuse_missing(&self, store: &str) -> anyhow::Result<()> {
        let missing: Vec<String> = self
            .missing
            .iter()
            .map(|place| format!("{}:{}", place.partition, place.offset))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        bail!("no dead letter of {} in {store}", missing.join(", "))
    }
}

struct Replay {
    topic: ReplayTopic,
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
}

impl Replay {
    /// Produces the records. Those that were handed over before something failed are waited for, too.
    async fn run(
        self,
        store: &mut dyn LetterStore,
        selection: &Selection,
        source: &str,
    ) -> (anyhow::Result<()>, Delivered) {
        let Self { topic, bar, stop } = self;
        let mut once = Remembered::default();
        let mut failure = None;
        let mut visit = |letter: StoredLetter| {
            if stop.load(Ordering::Relaxed) {
                failure = Some(anyhow::anyhow!("stopped by a signal"));
                return ControlFlow::Break(());
            }
            if letter.replayable(source).is_err() || !once.is_new(&record_key(&letter)) {
                return ControlFlow::Continue(());
            }
            bar.set_position(topic.delivered());
            match topic.send(&letter) {
                Ok(true) => ControlFlow::Continue(()),
                Ok(false) => ControlFlow::Break(()),
                Err(error) => {
                    failure = Some(error.into());
                    ControlFlow::Break(())
                }
            }
        };
        let scanned = store.scan(selection, None, &mut visit).await;
        let delivered = topic.finish();
        bar.finish_and_clear();
        let outcome = match failure {
            Some(error) => Err(error),
            None => scanned.map_err(Into::into),
        };
        (outcome, delivered)
    }
}

/// Says what was done.
fn conclude(
    outcome: anyhow::Result<()>,
    delivered: &Delivered,
    survey: &Survey,
    target: &str,
) -> anyhow::Result<()> {
    let Delivered {
        records: produced,
        lost,
        first_loss,
    } = delivered;
    let done = format!(
        "produced {produced} of {} to {target}",
        records(survey.records)
    );
    if let Some((origin, reason)) = first_loss {
        let Origin { partition, offset } = origin;
        bail!(
            "{done}; {lost} were not delivered, the first of them {partition}:{offset}: {reason}. A replay of all of them would repeat those that were"
        );
    }
    outcome.with_context(|| done.clone())?;
    print(&format!("{done}\n"))?;
    if let Some(newest) = survey.newest_ms {
        let next = when::shown(newest.saturating_add(1));
        note(&format!(
            "the letters stay where they are: --since {next} leaves these out the next time"
        ));
    }
    Ok(())
}

fn records(count: u64) -> String {
    match count {
        1 => "1 record".to_owned(),
        count => format!("{count} records"),
    }
}

fn bar(count: u64) -> ProgressBar {
    // Drawn on stderr, and only where that is a terminal.
    let bar = ProgressBar::new(count);
    let template = "{wide_bar} {human_pos}/{human_len} records, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.expect("the template is a constant that parses"));
    bar
}

/// Asks back on the terminal.
fn agreed(question: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("{question} Nobody can answer: say --yes");
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush())?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Set by Ctrl-C and SIGTERM.
fn stop_on_signal(runtime: &tokio::runtime::Runtime) -> Arc<AtomicBool> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    runtime.spawn(async move {
        let Ok(mut terminate) = signal(SignalKind::terminate()) else {
            return;
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        told.store(true, Ordering::Relaxed);
    });
    stop
}
