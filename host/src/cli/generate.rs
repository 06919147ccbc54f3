//! `wasmill generate`: synthetic sales into a Kafka topic or into files.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use chrono::NaiveDate;
use indicatif::{ProgressBar, ProgressStyle};

use crate::generate::plan::{Made, Plan, Stop};
use crate::generate::{Generator, Settings, file, kafka};

/// Between two looks of the progress bar at the count.
const PROGRESS_STEP: u64 = 1_000;

/// Make synthetic sales: the same seed always makes the same records
#[derive(Debug, clap::Args)]
#[command(
    group(clap::ArgGroup::new("target").required(true).args(["topic", "output"])),
    after_help = "Examples:\n  \
        wasmill generate --topic financial_transactions --rate 5000\n  \
        wasmill generate --topic financial_transactions --count 1000000 --bad 0.01\n  \
        wasmill generate --output sales/ --partitions 4 --count 200000 --seed 7\n\n\
        A topic is written on at its end: a second run makes the records after those of the first."
)]
pub(super) struct Args {
    /// Write to this Kafka topic, which is created if it is missing
    #[arg(long)]
    topic: Option<String>,

    /// Where Kafka is
    #[arg(
        long,
        value_name = "HOST:PORT,...",
        env = "KAFKA_BROKERS",
        default_value = "localhost:9092"
    )]
    brokers: String,

    /// Write to this file, or to one file a partition in this folder; what is there is replaced
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// How many records; without it a topic is written to until Ctrl-C
    #[arg(long, required_unless_present = "topic")]
    count: Option<u64>,

    /// Records a second; 0: as fast as possible
    #[arg(long, default_value_t = 0.0, value_parser = rate)]
    rate: f64,

    /// Another seed, other records
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Share of faulty records, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    bad: f64,

    /// Share of records that repeat one shortly before them in their partition, 0 to 0.9
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share_of_duplicates)]
    duplicates: f64,

    /// Spread the dates of the sales over so many days
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,

    /// The day after the last sale. Fixed, so that a seed makes the same records tomorrow
    #[arg(long, value_name = "YYYY-MM-DD", default_value_t = Settings::END)]
    end: NaiveDate,

    /// Partitions: those of a topic that is created (4), or how many files (1)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    partitions: Option<u32>,

    /// Begin at this offset in every partition (files; a topic is written on at its end)
    #[arg(long, value_name = "OFFSET", conflicts_with = "topic", value_parser = clap::value_parser!(i64).range(0..))]
    start: Option<i64>,
}

/// Makes the records.
///
/// # Errors
///
/// When they cannot be written, or not all of them were delivered.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let generator = Generator::new(Settings {
        seed: args.seed,
        days: args.days,
        end: args.end,
        bad_share: args.bad,
        duplicates: args.duplicates,
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let stop = Stop::default();
    runtime.spawn(stop_on_signal(stop.clone()));
    let plan = |first| Plan {
        first,
        count: args.count,
        rate: (args.rate > 0.0).then_some(args.rate),
    };
    match (args.topic, args.output) {
        (Some(name), None) => {
            let topic = kafka::Topic::open(&args.brokers, &name, args.partitions);
            let topic = runtime.block_on(topic)?;
            let plan = plan(topic.ends().to_vec());
            let report = Report::begin(args.count);
            let delivered =
                topic.write(&generator, &plan, &stop, |count| report.progress(count))?;
            report.end(
                delivered.made,
                &format!("topic {name}, {} partitions", plan.first.len()),
            );
            if delivered.displaced > 0 {
                println!(
                    "another producer wrote to the topic meanwhile: {} records stand at other offsets than in a run alone",
                    delivered.displaced
                );
            }
        }
        (None, Some(output)) => {
            let paths = file::paths(&output, args.partitions.unwrap_or(1));
            let plan = plan(vec![args.start.unwrap_or(0); paths.len()]);
            let report = Report::begin(args.count);
            let made = file::write(&generator, &plan, &paths, &stop, |count| {
                report.progress(count);
            })?;
            report.end(made, &output.display().to_string());
        }
        _ => bail!("give either --topic or --output"),
    }
    // The signal handler waits for ever.
    runtime.shutdown_background();
    Ok(())
}

/// Progress on a terminal, and the line at the end.
struct Report {
    bar: ProgressBar,
    begun: Instant,
}

impl Report {
    fn begin(count: Option<u64>) -> Self {
        // Drawn on stderr, and only where that is a terminal.
        let (bar, template) = match count {
            Some(count) => (
                ProgressBar::new(count),
                "{wide_bar} {human_pos}/{human_len} records, {per_sec}, {eta} left",
            ),
            None => (
                ProgressBar::new_spinner(),
                "{spinner} {human_pos} records, {per_sec}, Ctrl-C to stop",
            ),
        };
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.expect("the template is a constant that parses"));
        Self {
            bar,
            begun: Instant::now(),
        }
    }

    fn progress(&self, count: u64) {
        if count.is_multiple_of(PROGRESS_STEP) {
            self.bar.set_position(count);
        }
    }

    fn end(&self, made: Made, target: &str) {
        self.bar.finish_and_clear();
        let seconds = self.begun.elapsed().as_secs_f64();
        let Made { records, faulty } = made;
        let rate = records as f64 / seconds.max(1e-9);
        println!(
            "{records} records, {faulty} of them faulty, to {target} in {seconds:.1} s: {rate:.0} records/s"
        );
    }
}

/// Ctrl-C and SIGTERM end the run after the record in hand.
async fn stop_on_signal(stop: Stop) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    stop.set();
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate >= 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("a rate is a number from 0 on".to_owned()),
    }
}

fn share_of_duplicates(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=0.9).contains(&share) => Ok(share),
        _ => Err("a share of duplicates is a number from 0 to 0.9".to_owned()),
    }
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is a number from 0 to 1".to_owned()),
    }
}
