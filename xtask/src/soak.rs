//! `cargo xtask soak`: the sales job, killed, stopped and cut off at random moments for as long as one likes.
//!
//! The rounds themselves are a test of the host (`host/tests/it/soak.rs`), which is told by variables what to
//! do. Here are the optimised binary, servers that are nobody else's, and whoever lets these crash and starts
//! them again: the test asks for that with a line on its output, and a file tells it that it is done.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::services::Session;
use crate::workspace::{Metadata, cargo};
use crate::{group, guests};

/// What the test runs.
const TEST: &str = "soak::rounds_of_random_faults";
/// How a line begins with which the test asks for a server to be killed and started again.
const RESTART: &str = "xtask: restart ";

/// `cargo xtask soak …`
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask soak --minutes 60\n  \
    cargo xtask soak --rounds 1 --seed 17\n  \
    cargo xtask soak --rounds 1 --only kill --records 500000 --rate 5000 --faults 24\n\n\
    The first difference ends it with exit code 1. Folder, database, topic and index of that round are\n\
    left in place, and the servers go on. docs/guides/soak.md says more.")]
pub(crate) struct Options {
    /// Begin no round after so long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,

    /// At most so many rounds
    #[arg(long)]
    rounds: Option<u64>,

    /// The seed of the first round; the next one has the next seed [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,

    /// Records of a round
    #[arg(long, default_value_t = 240_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    records: u64,

    /// Records a second
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,

    /// Faults of a round
    #[arg(long, default_value_t = 12)]
    faults: usize,

    /// Only these, separated by commas: kill, term, freeze, backends, block, damage, postgres,
    /// elasticsearch, kafka
    #[arg(long, value_name = "FAULTS")]
    only: Option<String>,

    /// Seconds between two checkpoints [default: 1, 2 or 5, by the seed]
    #[arg(long, value_name = "SECONDS")]
    interval: Option<f64>,
}

/// Builds what is needed and plays the rounds.
pub(crate) fn run(options: &Options, services_dir: &Path) -> Result<ExitCode> {
    eprintln!("building in release mode (the first time this takes 5 to 15 minutes)");
    group::run(&mut cargo(["build", "--release", "-p", "wasmill"]))?;
    guests::build()?;
    let target = Metadata::load()?.target_directory()?;
    let soak = Soak {
        program: target.join("release/wasmill"),
        folder: target.join("soak"),
    };
    let rounds = soak.rounds();
    fs::create_dir_all(&rounds)
        .with_context(|| format!("failed to create {}", rounds.display()))?;
    let session = Session::open_apart(services_dir, "soak")?;
    let passed = soak.play(options, &session)?;
    println!("{}", soak.results().display());
    if passed {
        session.close()?;
        return Ok(ExitCode::SUCCESS);
    }
    for address in session.addresses() {
        println!("{}={}", address.variable, address.value);
    }
    session.leave();
    Ok(ExitCode::FAILURE)
}

struct Soak {
    program: PathBuf,
    /// where everything goes
    folder: PathBuf,
}

impl Soak {
    /// Whether all rounds were right.
    fn play(&self, options: &Options, session: &Session) -> Result<bool> {
        // As `cargo xtask test` compiles it.
        let mut test = cargo(["test", "--workspace", "--test", "it", "--"]);
        test.args([TEST, "--exact", "--ignored", "--nocapture"]);
        self.tell(options, session, &mut test);
        let mut problem = Ok(());
        let status = group::run_lines(&mut test, |line| match line.strip_prefix(RESTART) {
            None => println!("{line}"),
            Some(server) => {
                if let Err(error) = self.restart(server, session) {
                    // The test gives up waiting for it, and says what became of its round.
                    eprintln!("failed to restart {server}: {error:#}");
                    problem = Err(error);
                }
            }
        })?;
        problem?;
        Ok(status.success())
    }

    fn restart(&self, server: &str, session: &Session) -> Result<()> {
        session.restart(server)?;
        let done = self.folder.join(format!("{server}.done"));
        fs::write(&done, "").with_context(|| format!("failed to write {}", done.display()))
    }

    /// Tells the test what to do, and where everything is.
    fn tell(&self, options: &Options, session: &Session, test: &mut Command) {
        for address in session.addresses() {
            test.env(address.variable, &address.value);
        }
        test.env("WASMILL_TEST_BINARY", &self.program)
            // Where the folders of the rounds are made.
            .env("TMPDIR", self.rounds())
            .env("WASMILL_SOAK_SERVERS", &self.folder)
            .env("WASMILL_SOAK_RESULTS", self.results());
        let settings = [
            ("MINUTES", Some(options.minutes.to_string())),
            ("ROUNDS", options.rounds.map(|rounds| rounds.to_string())),
            ("SEED", options.seed.map(|seed| seed.to_string())),
            ("RECORDS", Some(options.records.to_string())),
            ("RATE", Some(options.rate.to_string())),
            ("FAULTS", Some(options.faults.to_string())),
            ("ONLY", options.only.clone()),
            (
                "INTERVAL",
                options.interval.map(|seconds| seconds.to_string()),
            ),
        ];
        for (name, value) in settings {
            let variable = format!("WASMILL_SOAK_{name}");
            match value {
                Some(value) => test.env(variable, value),
                None => test.env_remove(variable),
            };
        }
    }

    fn rounds(&self) -> PathBuf {
        self.folder.join("rounds")
    }

    fn results(&self) -> PathBuf {
        self.folder.join("results.json")
    }
}
