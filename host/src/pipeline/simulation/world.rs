//! A world: the records, the places that outlive a host, and the hosts that come and go.

mod checks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use object_store::memory::InMemory;
use tokio_util::sync::CancellationToken;

use super::bugs::Bug;
use super::dice::Dice;
use super::host::Host;
use super::logic::{EXTRA, LEDGER, Logic, May, Program, ROWS, SUMS};
use super::places::{
    Documents, Letters, Notes, SEARCH, SimulatedLedger, SimulatedLetters, SimulatedSearch,
};
use super::records::{Producer, Sound};
use super::store::SimulatedStore;
use crate::checkpoint::CheckpointStore;
use crate::config::OnLost;
use crate::deployment::{Deployment, Outcome};
use crate::epoch::EpochId;
use crate::pipeline::monitor::Monitor;
use crate::pipeline::reload::full;
use crate::pipeline::start::make_ready;
use crate::pipeline::topology::{Settings, Stages, Topology};
use crate::pipeline::tuning::Tuning;
use crate::pipeline::waiter::Waiter;
use crate::pipeline::{Endpoints, PipelineError, Refusals, RunOptions};
use crate::record::{Origin, Positions};
use crate::sink::memory::MemoryStore;
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
    notes: Notes,
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
    may: May,
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
        let may = May {
            backfill: dice.chance(0.5),
            reject: dice.chance(0.5),
        };
        Self {
            producer: Producer::new(&dice, settings.remembered, may),
            dying: rate(&dice, 0.004),
            standing: rate(&dice, 0.3),
            stopping: rate(&dice, 0.001),
            leaving: rate(&dice, 0.005),
            reloading: rate(&dice, if may.reject { 0.15 } else { 0.05 }),
            may,
            is_ending: false,
            dice,
            bug,
            settings,
            ledger: MemoryStore::new(),
            documents: Documents::default(),
            letters: Letters::default(),
            objects: Arc::new(InMemory::new()),
            notes: Notes::default(),
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
            if self.producer.to_come == 0 {
                // What is under way comes to an end.
                host.let_versions_be();
            }
            let all_is_there = self.producer.to_come == 0
                && host.is_live()
                && !host.has_more_to_do()
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
            Some(_) if self.dice.chance(self.reloading) => Program::any(&self.dice, self.may),
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
        let (reloading, may) = (self.reloading, self.may);
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
            let reloading = (logic, reloading, may);
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
                &self.notes,
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
}
