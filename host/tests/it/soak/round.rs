//! One round: records flow in, faults come, and in the end everything is compared.

use std::mem::ManuallyDrop;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::end_to_end::look;
use super::super::support::job::{Job, wait_for_exit};
use super::audit::{Truth, audit};
use super::course::{Blow, Course, Fault, Moment};
use super::faults;
use super::host::Host;
use super::observer::{Observer, Seen};
use super::report::{Outcome, Recovery};

/// Between two looks at how it goes.
const LOOK: Duration = Duration::from_millis(10);
/// So long nothing may be committed although there are records: a server may be starting.
const STALL_MAX: Duration = Duration::from_mins(3);
/// For what an idle machine does in a second.
const PATIENCE: Duration = Duration::from_mins(2);
/// A checkpoint that does not come is not waited for longer.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(10);
/// A host may run on so many workers, another number after each start.
const WORKERS: [u64; 3] = [1, 2, 3];

/// Plays it. The job goes away when all is right, and stays for a look when this panics.
pub(crate) async fn play(course: Course) -> Outcome {
    let job = ManuallyDrop::new(job_of(course.max_rows, course.interval, course.may_lag).await);
    println!(
        "  {} with database, topic and index {}",
        job.path("").display(),
        job.topic
    );
    let mut generator = generate(&job, &course);
    let mut round = Round::begin(&job, course);
    for blow in round.course.blows.clone() {
        round.strike(blow).await;
    }
    let generated = wait_for_exit(&mut generator.0, STALL_MAX + round.time_to_generate());
    let said = std::fs::read_to_string(job.path("generate.log")).unwrap_or_default();
    assert!(
        generated.success() && !said.contains("other offsets"),
        "{said}"
    );
    let outcome = round.end().await;
    drop(ManuallyDrop::into_inner(job));
    outcome
}

/// The sales job with dead letters in the database, otherwise as it is shipped.
pub(crate) async fn small_job() -> Job {
    job_of(10_000, Duration::from_secs(30), false).await
}

/// It runs to the end of the topic.
pub(crate) fn run_once(job: &Job) -> Command {
    let mut command = job.wasmill(&["run", "pipeline.toml", "--once"]);
    command.env("WORKERS", "2");
    command
}

/// The same with epochs of so many records, and a checkpoint every so often; Elasticsearch may lag, or
/// the stream waits for it.
async fn job_of(max_rows: u64, interval: Duration, may_lag: bool) -> Job {
    Job::new("soak", |text| {
        let max_rows = format!("max_rows = {max_rows}");
        let interval = format!("interval = \"{}ms\"", interval.as_millis());
        let name = "name = \"ecommerce-sales\"";
        let search = "type = \"elasticsearch\"\n";
        let policy = if may_lag { "continue" } else { "wait" };
        let edits = [
            ("max_rows = 10_000", max_rows.as_str()),
            ("interval = \"30s\"", interval.as_str()),
            (name, &format!("workers = \"${{WORKERS}}\"\n{name}")),
            (search, &format!("{search}on_unavailable = \"{policy}\"\n")),
        ];
        let text = edits.into_iter().fold(text, |text, (from, to)| {
            assert!(text.contains(from), "the shipped pipeline has {from}");
            text.replacen(from, to, 1)
        });
        let (before, rest) = text.split_once("[dead_letters]").expect("it has them");
        let (_, admin) = rest.split_once("[admin]").expect("it has that behind them");
        format!("{before}[dead_letters]\ntype = \"postgres\"\n\n[admin]{admin}")
    })
    .await
}

/// A generator that runs until it is done, or dropped.
struct Generating(Child);

impl Drop for Generating {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes the topic with its first records, and lets the others come.
fn generate(job: &Job, course: &Course) -> Generating {
    let first = u64::from(course.partitions);
    job.generate(&course.generator, course.partitions, first);
    let text = |number: &dyn ToString| number.to_string();
    let settings = &course.generator;
    let log = std::fs::File::create(job.path("generate.log")).expect("room for a log");
    let child = job
        .wasmill(&["generate", "--topic", &job.topic])
        .args(["--count", &text(&(course.records - first))])
        .args(["--rate", &text(&course.rate)])
        .args(["--seed", &text(&settings.seed)])
        .args(["--bad", &text(&settings.bad_share)])
        .args(["--duplicates", &text(&settings.duplicates)])
        .stdout(log.try_clone().expect("a file of ours"))
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .expect("the binary is there");
    Generating(child)
}

struct Round<'j> {
    job: &'j Job,
    course: Course,
    host: Host,
    observer: Observer,
    starts: usize,
    outcome: Outcome,
    /// whether the last host stopped in good order
    stopped: bool,
    /// when the last host was started
    started: Instant,
}

impl<'j> Round<'j> {
    fn begin(job: &'j Job, course: Course) -> Self {
        let host = Host::start(job, "host-000.log", 2, false);
        Self {
            observer: Observer::start(&job.database_url),
            outcome: Outcome::new(&course),
            job,
            course,
            host,
            starts: 1,
            stopped: false,
            started: Instant::now(),
        }
    }

    fn time_to_generate(&self) -> Duration {
        Duration::from_secs(self.course.records / self.course.rate.max(1))
    }

    /// Waits for the moment and lets the fault come.
    async fn strike(&mut self, Blow { fault, moment }: Blow) {
        self.wait_for(moment).await;
        self.outcome.count(fault);
        self.outcome.saw_memory(self.host.memory_peak());
        match fault {
            Fault::Kill => {
                let killed = self.host.kill();
                self.start();
                self.recover(killed, fault).await;
            }
            Fault::Damage => {
                let killed = self.host.kill();
                let damaged = faults::damage_checkpoint(self.job, &mut self.course.dice);
                self.start();
                self.recover(killed, fault).await;
                let log = self.host.log();
                // Where the next blow comes while it starts, it may not have looked yet.
                if let Some(file) = damaged.filter(|_| self.host.start_times().is_some()) {
                    let file = file.display();
                    assert!(
                        log.contains("cannot be used"),
                        "nobody saw that {file} is damaged: {log}"
                    );
                }
            }
            Fault::Term => self.stop_and_start().await,
            Fault::Freeze => self.take_over().await,
            Fault::Backends => {
                self.outcome.connections += faults::terminate_backends(self.job).await;
            }
            Fault::Block => {
                faults::block_writes(self.job, true).await;
                // A sink that may lag does so after 5 s.
                let most = if self.course.may_lag { 15_000 } else { 4_500 };
                let pause = Duration::from_millis(500 + self.course.dice.below(most));
                tokio::time::sleep(pause).await;
                faults::block_writes(self.job, false).await;
            }
            Fault::Postgres | Fault::Elasticsearch | Fault::Kafka => faults::restart(fault).await,
        }
    }

    async fn wait_for(&mut self, moment: Moment) {
        match moment {
            Moment::Committed { records, later } => {
                self.until(|seen| seen.records > records).await;
                tokio::time::sleep(later).await;
            }
            Moment::Checkpoint { records, later } => {
                self.until(|seen| seen.records > records).await;
                let before = faults::checkpoint_files(self.job);
                let began = Instant::now();
                let mut new = false;
                // None comes any more once there are no more records.
                let more = |round: &Self| round.observer.seen().records < round.course.records;
                while !new && more(self) && began.elapsed() < CHECKPOINT_WAIT {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    new = !faults::checkpoint_files(self.job).is_subset(&before);
                }
                self.outcome.in_checkpoints += u64::from(new);
                tokio::time::sleep(later).await;
            }
            Moment::Starting { later } => {
                tokio::time::sleep(later.saturating_sub(self.started.elapsed())).await;
                self.outcome.in_starts += 1;
            }
        }
    }

    /// Another host on the same job.
    fn start(&mut self) {
        let host = self.another(false);
        self.host = host;
    }

    fn another(&mut self, once: bool) -> Host {
        let log = format!("host-{:03}.log", self.starts);
        self.starts += 1;
        self.started = Instant::now();
        let workers = self.course.dice.one_of(&WORKERS);
        Host::start(self.job, &log, workers, once)
    }

    /// Waits for the first rows of the host that was started after a kill, unless the next blow comes while
    /// it starts.
    async fn recover(&mut self, killed: Instant, fault: Fault) {
        let next = self.outcome.faults_so_far();
        if let Some(Blow {
            moment: Moment::Starting { .. },
            ..
        }) = self.course.blows.get(next)
        {
            return;
        }
        self.until_running().await;
        let start = self.host.start_times().expect("it runs");
        let Some(base) = self.records_of(start.epoch).await else {
            return;
        };
        // Without another record there is no first row.
        let total = self.course.records;
        let seen = self
            .until(|seen| seen.records > base || base == total)
            .await;
        let _ = look(&self.job.database().await).await;
        if fault == Fault::Kill && seen.records > base {
            // Its log is written a moment after the commit.
            tokio::time::sleep(LOOK).await;
            self.outcome.recoveries.push(Recovery {
                first_row: seen.at.saturating_duration_since(killed),
                replay: self.host.replay(),
                first_commit: self.host.first_commit(),
                start,
            });
        }
    }

    /// How many records had been committed by the end of this epoch, if the journal still has it.
    async fn records_of(&self, epoch: u64) -> Option<u64> {
        let sql = "SELECT (SELECT coalesce(sum(value::bigint), 0)::bigint FROM jsonb_each_text(offsets)) \
                   FROM wasmill_epochs WHERE epoch = $1";
        let database = self.job.database().await;
        let row = database
            .query_opt(sql, &[&epoch.cast_signed()])
            .await
            .ok()??;
        Some(row.get::<_, i64>(0).unsigned_abs())
    }

    async fn stop_and_start(&mut self) {
        // Before that it may not listen for signals yet.
        self.until_running().await;
        self.host.signal("TERM");
        let status = self.host.wait(PATIENCE);
        let log = self.host.log();
        // With a server that is slow it may be told to stop in vain: then the next start replays.
        // So it does where it was still reading again: then no checkpoint could be written.
        let was_live = !log.contains("reading the epochs") || log.contains("going on live");
        self.stopped = status.success() && was_live;
        assert!(
            status.success() || log.contains("before every sink had"),
            "{status}: {log}"
        );
        self.outcome.late_stops += u64::from(!status.success());
        self.start();
        self.until_running().await;
        let log = self.host.log();
        assert!(
            !self.stopped || !log.contains("again"),
            "it read something again: {log}"
        );
    }

    /// The host stands still while another one takes over, and is continued then.
    async fn take_over(&mut self) {
        self.until_running().await;
        self.host.signal("STOP");
        let second = self.another(false);
        let mut first = std::mem::replace(&mut self.host, second);
        self.until_running().await;
        let start = self.host.start_times().expect("it runs");
        let total = self.course.records;
        self.until(|seen| seen.epoch > start.epoch || seen.records == total)
            .await;
        first.signal("CONT");
        let status = first.wait(PATIENCE);
        let log = first.log();
        assert_eq!(status.code(), Some(1), "{status}: {log}");
        assert!(log.contains("another host has taken over"), "{log}");
    }

    async fn until_running(&mut self) {
        let began = Instant::now();
        while self.host.start_times().is_none() {
            self.check();
            assert!(
                began.elapsed() < STALL_MAX,
                "it does not start: {}",
                self.host.log()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until something is committed.
    async fn until(&mut self, is_so: impl Fn(Seen) -> bool) -> Seen {
        let began = Instant::now();
        loop {
            let seen = self.observer.seen();
            if is_so(seen) {
                return seen;
            }
            self.check();
            let still = seen.at.max(began).elapsed();
            assert!(
                still < STALL_MAX,
                "nothing was committed for {still:?}: {}",
                self.host.log()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The host must not end by itself.
    fn check(&mut self) {
        if let Some(status) = self.host.ended() {
            panic!("the host ended by itself ({status}): {}", self.host.log());
        }
    }

    /// Lets it finish, and compares.
    async fn end(mut self) -> Outcome {
        self.outcome.saw_memory(self.host.memory_peak());
        self.until_running().await;
        self.host.signal("TERM");
        self.host.wait(PATIENCE);
        self.host = self.another(true);
        let status = self.host.wait(STALL_MAX + self.time_to_generate());
        assert!(status.success(), "{status}: {}", self.host.log());

        let course = &self.course;
        let truth = Truth::new(&course.generator, course.partitions, course.records);
        let truth = Arc::new(truth);
        self.outcome.rows = truth.rows() as u64;
        self.outcome.dead_letters = truth.dead_letters() as u64;
        audit(self.job, &truth).await.assert_none();

        self.host = self.another(true);
        let status = self.host.wait(STALL_MAX);
        let log = self.host.log();
        assert!(status.success(), "{status}: {log}");
        assert!(
            log.contains("\n0 records (") || log.starts_with("0 records ("),
            "{log}"
        );
        assert!(
            !log.contains("again"),
            "the last start read something again: {log}"
        );
        self.outcome
    }
}
