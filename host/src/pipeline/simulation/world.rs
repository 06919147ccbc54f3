//! A world: the records, the places that outlive a host, and the hosts that come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use object_store::memory::InMemory;
use tokio_util::sync::CancellationToken;

use super::bugs::Bug;
use super::dice::Dice;
use super::host::Host;
use super::logic::{EXTRA, LEDGER, Logic, Program, ROWS, SUMS};
use super::places::{
    Documents, Letters, SEARCH, SimulatedLedger, SimulatedLetters, SimulatedSearch,
};
use super::records::Producer;
use super::store::SimulatedStore;
use crate::checkpoint::CheckpointStore;
use crate::config::OnLost;
use crate::deployment::Deployment;
use crate::epoch::EpochId;
use crate::pipeline::monitor::Monitor;
use crate::pipeline::reload::full;
use crate::pipeline::start::{Waiter, make_ready};
use crate::pipeline::topology::{Settings, Stages, Topology};
use crate::pipeline::tuning::Tuning;
use crate::pipeline::{Endpoints, PipelineError, Refusals, RunOptions};
use crate::record::{Origin, Positions};
use crate::sink::memory::{MemoryStore, Value};
use crate::sink::{Ledger, SinkError, Targets};

/// A world that does not come to an end within so many steps is stuck.
const STEPS_MAX: u64 = 400_000;

/// So many hosts die at most: where each dies before it has read again what the ones before it had
/// done, nobody ever gets further.
const HOSTS_DYING_MAX: u64 = 30;

/// Everything of one seed.
pub(super) struct World {
    dice: Dice,
    bug: Option<Bug>,
    settings: Settings,
    producer: Producer,
    ledger: MemoryStore,
    documents: Documents,
    letters: Letters,
    objects: Arc<InMemory>,
    refused_once: Arc<Mutex<Vec<Origin>>>,
    /// how likely the host dies at a step
    dying: f64,
    /// how likely the host stands still instead of dying
    standing: f64,
    /// how likely it is told to stop at a step
    stopping: f64,
    /// how likely the other sink goes away at a step
    leaving: f64,
    /// how likely somebody wants another version of the logic
    reloading: f64,
    /// whether new aggregates may get what came before them
    may_backfill: bool,
    /// whether everything is there, and the host is to come to its end
    is_ending: bool,
    /// hosts that stand still, and may wake up
    asleep: Vec<Host>,
    seen: (EpochId, Positions),
    /// how often the ledger was used when it was last checked
    checked: u64,
    /// steps that were done
    pub(super) steps: u64,
    /// hosts that were started
    pub(super) hosts: u64,
}

/// Settings as the dice say.
pub(super) fn settings(dice: &Dice) -> Settings {
    Settings {
        workers: dice.between(1, 3) as usize,
        in_flight: dice.between(1, 3) as usize,
        max_rows: dice.between(3, 30) as usize,
        max_wait: Duration::from_secs(30),
        checkpoint_interval: Duration::from_secs(100),
        tuning: Tuning {
            checkpoints_kept: dice.between(1, 3) as usize,
            stop_time_max: Duration::from_secs(10),
        },
        start_at_end: false,
        on_lost: OnLost::Stop,
        poll_wait: Duration::ZERO,
        remembered: if dice.chance(0.5) {
            dice.between(1, 20) as usize
        } else {
            0
        },
        may_lag: dice
            .chance(0.5)
            .then(|| SEARCH.to_owned())
            .into_iter()
            .collect(),
    }
}

/// What became of a host.
enum End {
    Dead,
    /// its work is done
    Done,
    /// the ledger refused records
    Refused(Vec<crate::sink::Refused>),
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let dice = Dice::of(seed);
        let settings = settings(&dice);
        let rate = |dice: &Dice, most: f64| if dice.chance(0.3) { 0.0 } else { most };
        dice.let_fail(rate(&dice, 0.03));
        let may_backfill = dice.chance(0.5);
        Self {
            // Those that the ledger refused are decided again when what came before is read.
            producer: Producer::new(&dice, settings.remembered, !may_backfill),
            dying: rate(&dice, 0.004),
            standing: rate(&dice, 0.3),
            stopping: rate(&dice, 0.001),
            leaving: rate(&dice, 0.005),
            reloading: rate(&dice, 0.05),
            may_backfill,
            is_ending: false,
            dice,
            bug,
            settings,
            ledger: MemoryStore::new(),
            documents: Documents::default(),
            letters: Letters::default(),
            objects: Arc::new(InMemory::new()),
            refused_once: Arc::default(),
            asleep: Vec::new(),
            seen: (EpochId(0), Positions::default()),
            checked: 0,
            steps: 0,
            hosts: 0,
        }
    }

    /// Plays it to its end and checks it.
    pub(super) async fn run(mut self) -> Result<(), String> {
        self.play().await
    }

    pub(super) async fn play(&mut self) -> Result<(), String> {
        let mut refused = Refusals::default();
        loop {
            match self.live(&refused).await? {
                End::Done if self.is_ending => break,
                End::Done | End::Dead => refused = Refusals::default(),
                End::Refused(records) => Arc::make_mut(&mut refused)
                    .extend(records.into_iter().map(|r| (r.origin, r.reason))),
            }
        }
        self.check_end().await
    }

    /// A host from its start to its end.
    async fn live(&mut self, refused: &Refusals) -> Result<End, String> {
        self.hosts += 1;
        if self.hosts > HOSTS_DYING_MAX {
            self.dying = 0.0;
        }
        let monitor = Arc::new(Monitor::simulated(
            self.settings.workers,
            SUMS,
            &[LEDGER, SEARCH],
        ));
        let stop = CancellationToken::new();
        let logic = self.logic();
        let Some(mut host) = self.start(logic, &monitor, &stop, refused).await? else {
            return Ok(End::Dead);
        };
        loop {
            self.count_step()?;
            if let Err(error) = host.step(&self.dice).await {
                return match error {
                    PipelineError::Sink {
                        source: SinkError::Refused(records),
                        ..
                    } => Ok(End::Refused(records)),
                    other => Err(full(&other)),
                };
            }
            self.wake_somebody().await?;
            self.check_step()?;
            if host.is_over() {
                return Ok(End::Done);
            }
            if self.producer.to_come > 0 && self.dice.chance(0.1) {
                self.producer.produce();
            }
            self.let_search_come_and_go();
            let all_is_there = self.producer.to_come == 0
                && host.is_live()
                && !host.is_filling()
                && self.committed_all();
            if all_is_there && !host.stop.is_cancelled() {
                // From here on nothing dies any more: it has to come to its end.
                (self.dying, self.standing, self.stopping, self.leaving) = (0.0, 0.0, 0.0, 0.0);
                self.dice.let_fail(0.0);
                // At a stop, nobody waits for a sink that lags.
                if self.settings.may_lag.is_empty() || self.search_has_all() {
                    self.is_ending = true;
                    host.stop.cancel();
                }
            }
            if self.dice.chance(self.stopping) {
                host.stop.cancel();
            }
            if self.dice.chance(self.dying) {
                if self.dice.chance(self.standing) && !host.stop.is_cancelled() {
                    self.asleep.push(host);
                }
                return Ok(End::Dead);
            }
        }
    }

    /// What the file says at a start: mostly, what is in force.
    fn logic(&self) -> Logic {
        let deployments = self.ledger.deployments("simulated");
        let in_force = deployments.last().map(|d| Program::of(&d.blueprint));
        let program = match in_force {
            None => Program::FIRST,
            Some(_) if self.dice.chance(self.reloading) => {
                Program::any(&self.dice, self.may_backfill)
            }
            Some(program) => program,
        };
        Logic {
            remembered: self.settings.remembered,
            program,
        }
    }

    /// The other sink goes away, or comes back.
    fn let_search_come_and_go(&self) {
        let change = if self.documents.is_away() {
            0.01
        } else {
            self.leaving
        };
        if self.dice.chance(change) {
            self.documents.set_away(!self.documents.is_away());
        }
    }

    fn search_has_all(&self) -> bool {
        self.ledger.confirmed("simulated", SEARCH) == self.seen.0
    }

    /// `None` when it died while it started.
    async fn start(
        &mut self,
        logic: Logic,
        monitor: &Arc<Monitor>,
        stop: &CancellationToken,
        refused: &Refusals,
    ) -> Result<Option<Host>, String> {
        let (settings, bug) = (self.settings.clone(), self.bug);
        let (reloading, may_backfill) = (self.reloading, self.may_backfill);
        let endpoints = self.endpoints(logic);
        let newcomers = self.producer.newcomers();
        let starting = async {
            let waiter = Waiter {
                stop,
                waits: monitor.waits(),
            };
            let stages: Arc<dyn Stages> = Arc::new(logic);
            let wants = |known: &[Deployment]| {
                let in_force = known.last().map(|d| Program::of(&d.blueprint));
                in_force.is_some_and(|program| program != logic.program)
            };
            let ready = make_ready(&settings, (&stages, &wants), endpoints, waiter).await?;
            let options = RunOptions {
                once: false,
                stop: stop.clone(),
                monitor: Arc::clone(monitor),
                reloading: None,
            };
            let topology = Topology::assemble(
                &settings,
                &stages,
                (ready, newcomers),
                (&options, stop),
                refused,
            )?;
            let reloading = (logic, reloading, may_backfill);
            Ok::<_, PipelineError>(Host::new(topology, reloading, stop.clone(), bug))
        };
        let mut starting = std::pin::pin!(starting);
        loop {
            self.count_step()?;
            if let Poll::Ready(started) = poll!(&mut starting) {
                return started.map(Some).map_err(|error| full(&error));
            }
            self.wake_somebody().await?;
            self.let_search_come_and_go();
            if self.dice.chance(0.05) {
                tokio::time::advance(Duration::from_mins(2)).await;
            }
            if self.dice.chance(self.dying) {
                return Ok(None);
            }
        }
    }

    fn endpoints(&self, logic: Logic) -> Endpoints {
        let (dice, bug) = (self.dice.clone(), self.bug);
        let store = SimulatedStore {
            objects: Arc::clone(&self.objects),
            dice: dice.clone(),
            bug,
        };
        let partitions = self.producer.partitions.clone();
        Endpoints {
            open_source: Arc::new(move || Ok(Box::new(partitions.source()))),
            ledger: Box::new(SimulatedLedger::new(
                &self.ledger,
                &logic.targets(),
                &dice,
                bug,
                &self.refused_once,
            )),
            sinks: vec![Box::new(SimulatedSearch {
                documents: self.documents.clone(),
                dice: dice.clone(),
                bug,
            })],
            dead_letters: Box::new(SimulatedLetters {
                letters: self.letters.clone(),
                opened: 0,
                dice,
                bug,
            }),
            checkpoints: Box::new(move |life| {
                Ok(CheckpointStore::over(
                    Arc::new(store),
                    "",
                    "simulated",
                    life,
                ))
            }),
        }
    }

    /// A host that stands still does a step all the same, now and then.
    async fn wake_somebody(&mut self) -> Result<(), String> {
        if self.asleep.is_empty() || !self.dice.chance(0.2) {
            return Ok(());
        }
        let index = self.dice.below(self.asleep.len() as u64) as usize;
        let stepped = if self.dice.chance(0.5) {
            self.asleep[index].write_on(&self.dice).await
        } else {
            self.asleep[index].step(&self.dice).await
        };
        match stepped {
            Ok(()) => Ok(()),
            // It notices, and is gone.
            Err(PipelineError::Sink {
                source: SinkError::Fenced { .. } | SinkError::Refused(_),
                ..
            }) => {
                drop(self.asleep.swap_remove(index));
                Ok(())
            }
            Err(other) => Err(format!("a host that woke up: {}", full(&other))),
        }
    }

    fn count_step(&mut self) -> Result<(), String> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err("it is stuck".to_owned());
        }
        Ok(())
    }

    fn committed_all(&self) -> bool {
        let (epoch, positions) = &self.seen;
        let ranges = self.producer.partitions.ends();
        *epoch > EpochId(0)
            && ranges
                .iter()
                .all(|(p, end)| positions.get(*p) == Some(*end))
    }

    /// What holds at every moment.
    fn check_step(&mut self) -> Result<(), String> {
        if self.ledger.uses() == self.checked {
            return Ok(());
        }
        let (of_rows, of_sums) = (self.ledger.sum(ROWS, 2), self.ledger.sum(SUMS, 1));
        if of_rows != of_sums {
            return Err(format!("rows come to {of_rows}, and totals to {of_sums}"));
        }
        let (epoch, positions) = self.ledger.progress("simulated");
        if epoch < self.seen.0 || !positions.reached(&self.seen.1) {
            return Err(format!(
                "progress went back from epoch {} to {epoch}",
                self.seen.0
            ));
        }
        self.seen = (epoch, positions);
        self.checked = self.ledger.uses();
        let indexed = self.documents.newest();
        if indexed > epoch {
            return Err(format!(
                "the sink has epoch {indexed}, and the ledger {epoch}"
            ));
        }
        Ok(())
    }

    async fn check_end(&mut self) -> Result<(), String> {
        let rows = self.rows();
        same("rows", &rows, &self.producer.expected.rows)?;
        same("totals", &self.sums(), &self.producer.expected.sums)?;
        let number = |text: &String| text.parse::<i64>().unwrap_or(i64::MIN);
        let documents = self.documents.of(ROWS).into_iter();
        let documents = documents
            .map(|(id, c)| (id, (c[1].clone(), number(&c[2]))))
            .collect();
        same("documents", &documents, &self.producer.expected.rows)?;
        let documents = self.documents.of(SUMS).into_iter();
        let documents = documents.map(|(group, c)| (group, number(&c[1]))).collect();
        same(
            "documents of totals",
            &documents,
            &self.producer.expected.sums,
        )?;
        self.check_versions()?;
        let letters = self.letters.all();
        let distinct: BTreeSet<Origin> = letters.iter().copied().collect();
        if distinct != self.producer.expected.left_out || letters.len() != distinct.len() {
            let expected = self.producer.expected.left_out.len();
            let (found, distinct) = (letters.len(), distinct.len());
            return Err(format!(
                "{found} dead letters of {distinct} records, and {expected} were left out"
            ));
        }
        self.check_checkpoint().await
    }

    /// Each record was counted by the version that the deployments say.
    fn check_versions(&self) -> Result<(), String> {
        let deployments = self.ledger.deployments("simulated");
        let numbers = deployments.iter().map(|d| d.version.0);
        if !numbers.eq(1..=deployments.len() as u32) {
            return Err("the deployments are not numbered in order".to_owned());
        }
        let (mut weighted, mut extra) = (BTreeMap::new(), BTreeMap::new());
        let mut before: Option<&Deployment> = None;
        for (number, deployment) in deployments.iter().enumerate() {
            let program = Program::of(&deployment.blueprint);
            let counted = self.producer.expected.counted.iter();
            let of_it = counted.filter(|(origin, ..)| made_by(&deployments, *origin) == number);
            for (_, group, amount) in of_it.clone() {
                *weighted.entry(group.clone()).or_default() += amount * program.weight;
            }
            if program.has_extra {
                let goes_on = before.filter(|d| Program::of(&d.blueprint).has_extra);
                if goes_on.is_none() {
                    begin_anew(&mut extra);
                }
                if deployment.backfills.joined.contains_key(EXTRA) {
                    let begin = goes_on.and_then(|d| d.backfills.under_way.get(EXTRA));
                    let begin = begin.ok_or("what joins was not lacking")?;
                    let counted = self.producer.expected.counted.iter();
                    count(&mut extra, counted.filter(|(o, ..)| is_before(*o, begin)));
                    extra.values_mut().for_each(|sum| sum.1 = sum.0);
                }
                let groups = count(&mut extra, of_it);
                if !deployment.backfills.hides(EXTRA) {
                    for group in groups {
                        let sum: &mut (i64, i64) = extra.entry(group).or_default();
                        sum.1 = sum.0;
                    }
                }
            }
            before = Some(deployment);
        }
        same("weighted totals", &self.column(SUMS, 2), &weighted)?;
        // Groups that were never shown have no row.
        let shown = extra.into_iter().map(|(group, (_, shown))| (group, shown));
        let shown = shown.filter(|(_, shown)| *shown != 0);
        same(
            "totals of the second aggregate",
            &self.column(EXTRA, 1),
            &shown.collect(),
        )?;
        let documents = self.documents.of(SUMS).into_iter();
        let documents = documents.map(|(group, c)| (group, c[2].parse().unwrap_or(i64::MIN)));
        same(
            "documents of weighted totals",
            &documents.collect(),
            &weighted,
        )
    }

    /// The newest checkpoint is that of the last epoch: a restart reads nothing again.
    async fn check_checkpoint(&mut self) -> Result<(), String> {
        self.dice.let_fail(0.0);
        let (targets, refused) = (Targets::default(), &self.refused_once);
        let mut ledger = SimulatedLedger::new(&self.ledger, &targets, &self.dice, None, refused);
        let others = [SEARCH.to_owned()];
        let definition = serde_json::json!({ "simulated": true });
        let claimed = until_ready(ledger.claim(&definition, &others)).await;
        let claim = claimed.map_err(|error| error.to_string())?;
        let objects = Arc::clone(&self.objects);
        let store = CheckpointStore::over(objects, "", "simulated", &claim.life);
        let epochs = store.list().await.map_err(|error| error.to_string())?;
        match epochs.first() {
            Some(newest) if *newest == claim.epoch => Ok(()),
            newest => Err(format!(
                "the newest checkpoint is {newest:?}, and the last epoch {}",
                claim.epoch
            )),
        }
    }

    fn rows(&self) -> BTreeMap<String, (String, i64)> {
        let table = self.ledger.table(ROWS).map(|table| table.rows);
        let rows = table.into_iter().flatten().map(|(key, values)| {
            let group = values[1].to_string();
            (key[0].clone(), (group, integer(&values[2])))
        });
        rows.collect()
    }

    fn sums(&self) -> BTreeMap<String, i64> {
        self.column(SUMS, 1)
    }

    fn column(&self, table: &str, column: usize) -> BTreeMap<String, i64> {
        let table = self.ledger.table(table).map(|table| table.rows);
        let rows = table.into_iter().flatten();
        rows.map(|(key, values)| (key[0].clone(), integer(&values[column])))
            .collect()
    }
}

/// The deployment that counted a record, by what is written down.
fn made_by(deployments: &[Deployment], origin: Origin) -> usize {
    let begins = |d: &Deployment| d.positions.get(origin.partition).unwrap_or(0);
    let found = deployments.iter().rposition(|d| begins(d) <= origin.offset);
    found.unwrap_or(0)
}

/// Adds up the amounts of records; the groups that they are of.
fn count<'a>(
    sums: &mut BTreeMap<String, (i64, i64)>,
    records: impl Iterator<Item = &'a (Origin, String, i64)>,
) -> BTreeSet<String> {
    let mut groups = BTreeSet::new();
    for (_, group, amount) in records {
        sums.entry(group.clone()).or_default().0 += amount;
        groups.insert(group.clone());
    }
    groups
}

fn is_before(origin: Origin, positions: &Positions) -> bool {
    let begin = positions.get(origin.partition);
    begin.is_some_and(|begin| origin.offset < begin)
}

/// Groups of an aggregate that begins with nothing: what its table shows stays until there is more.
fn begin_anew(groups: &mut BTreeMap<String, (i64, i64)>) {
    for (so_far, _) in groups.values_mut() {
        *so_far = 0;
    }
}

async fn until_ready<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        if let Poll::Ready(done) = poll!(&mut work) {
            return done;
        }
    }
}

fn integer(value: &Value) -> i64 {
    match value {
        Value::Int64(value) => *value,
        _ => i64::MIN,
    }
}

fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &BTreeMap<String, T>,
    expected: &BTreeMap<String, T>,
) -> Result<(), String> {
    let keys: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let differing = keys
        .into_iter()
        .find(|key| found.get(*key) != expected.get(*key));
    match differing {
        None => Ok(()),
        Some(key) => Err(format!(
            "{what} differ at {key}: {:?} instead of {:?}",
            found.get(key),
            expected.get(key)
        )),
    }
}
