//! What happens in a round, by its seed alone.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wasmill::generate::Settings;

/// What all rounds have in common.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) records: u64,
    /// records a second
    pub(crate) rate: u64,
    /// how many in a round
    pub(crate) faults: usize,
    /// drawn from these; one that is there twice comes twice as often
    pub(crate) kinds: Vec<Fault>,
    /// between two checkpoints; `None`: another one in each round
    pub(crate) interval: Option<Duration>,
}

/// What is done to the job or its servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL, and started again at once
    Kill,
    /// SIGTERM, and started again
    Term,
    /// SIGSTOP; another host takes over; SIGCONT
    Freeze,
    /// PostgreSQL ends the job's connections
    Backends,
    /// Elasticsearch refuses writes for a while
    Block,
    /// SIGKILL, and one bit of the newest checkpoint is turned over
    Damage,
    /// PostgreSQL dies at once and comes back
    Postgres,
    /// Elasticsearch is killed and comes back
    Elasticsearch,
    /// Kafka is killed and comes back
    Kafka,
}

impl Fault {
    pub(crate) const ALL: [Self; 9] = [
        Self::Kill,
        Self::Term,
        Self::Freeze,
        Self::Backends,
        Self::Block,
        Self::Damage,
        Self::Postgres,
        Self::Elasticsearch,
        Self::Kafka,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Term => "term",
            Self::Freeze => "freeze",
            Self::Backends => "backends",
            Self::Block => "block",
            Self::Damage => "damage",
            Self::Postgres => "postgres",
            Self::Elasticsearch => "elasticsearch",
            Self::Kafka => "kafka",
        }
    }

    /// How often it comes, if nobody says anything: what is quick more often than what takes long.
    fn weight(self) -> usize {
        match self {
            Self::Kill => 6,
            Self::Term | Self::Backends | Self::Block | Self::Damage => 2,
            Self::Freeze | Self::Postgres | Self::Elasticsearch | Self::Kafka => 1,
        }
    }

    /// Whether servers have to be there that are nobody else's.
    pub(crate) fn needs_own_servers(self) -> bool {
        matches!(self, Self::Postgres | Self::Elasticsearch | Self::Kafka)
    }

    /// Those that `WASMILL_SOAK_ONLY` names, or all by their weight, without those that cannot be here.
    pub(crate) fn chosen() -> Vec<Self> {
        let own_servers = std::env::var_os(super::faults::OWN_SERVERS).is_some();
        let chosen: Vec<Self> = match std::env::var("WASMILL_SOAK_ONLY") {
            Ok(names) => names.split(',').map(|name| name.parse().unwrap()).collect(),
            Err(_) => Self::ALL
                .into_iter()
                .flat_map(|fault| std::iter::repeat_n(fault, fault.weight()))
                .filter(|fault| own_servers || !fault.needs_own_servers())
                .collect(),
        };
        assert!(
            own_servers || !chosen.iter().any(|fault| fault.needs_own_servers()),
            "only `cargo xtask soak` can start servers again"
        );
        chosen
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|fault| fault.name() == name);
        found.ok_or_else(|| format!("there is no fault `{name}`"))
    }
}

/// When a fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// so long after so many records were committed
    Committed { records: u64, later: Duration },
    /// after that, so long after the next file of a checkpoint appears
    Checkpoint { records: u64, later: Duration },
    /// so long after the process was started, however far it has come
    Starting { later: Duration },
}

/// A fault and its moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blow {
    pub(crate) fault: Fault,
    pub(crate) moment: Moment,
}

/// A round.
#[derive(Debug, Clone)]
pub(crate) struct Course {
    pub(crate) records: u64,
    pub(crate) rate: u64,
    pub(crate) generator: Settings,
    pub(crate) partitions: u32,
    /// records of an epoch
    pub(crate) max_rows: u64,
    /// between two checkpoints
    pub(crate) interval: Duration,
    /// whether the stream goes on while Elasticsearch is away
    pub(crate) may_lag: bool,
    pub(crate) blows: Vec<Blow>,
    /// for what is drawn on the way
    pub(crate) dice: Dice,
}

impl Frame {
    /// The round of this seed.
    pub(crate) fn course(&self, seed: u64) -> Course {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let intervals = [1, 2, 5].map(Duration::from_secs);
        let drawn = dice.one_of(&intervals);
        let interval = self.interval.unwrap_or(drawn);
        let partitions = 2 + dice.below(4) as u32;
        let max_rows = dice.one_of(&[500, 2_000, 10_000]);
        // The last twentieth is for the last start to find something.
        let end = (self.records * 19 / 20).max(1);
        let mut thresholds: Vec<u64> = (0..self.faults).map(|_| dice.below(end)).collect();
        thresholds.sort_unstable();
        let blows = thresholds.into_iter().map(|records| Blow {
            fault: dice.one_of(&self.kinds),
            moment: dice.moment(records, interval),
        });
        Course {
            blows: blows.map(Blow::possible).collect(),
            records: self.records - self.records % u64::from(partitions),
            rate: self.rate,
            generator: Settings {
                seed,
                bad_share: 0.01,
                duplicates: 0.1,
                ..Settings::default()
            },
            partitions,
            max_rows,
            interval,
            // Every other round, whatever the dice say.
            may_lag: seed % 2 == 1,
            dice,
        }
    }
}

impl Blow {
    /// Only a kill makes sense at any moment of a start.
    fn possible(mut self) -> Self {
        if let Moment::Starting { later } = self.moment
            && self.fault != Fault::Kill
        {
            self.moment = Moment::Committed { records: 0, later };
        }
        self
    }
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            records,
            rate,
            partitions,
            max_rows,
            interval,
            may_lag,
            ..
        } = self;
        write!(
            f,
            "{records} records at {rate}/s, {partitions} partitions, epochs of {max_rows}, a checkpoint \
             every {interval:?}{}:",
            if *may_lag {
                ", Elasticsearch may lag"
            } else {
                ""
            }
        )?;
        let names = self.blows.iter().map(|blow| blow.fault.name());
        names.into_iter().try_for_each(|name| write!(f, " {name}"))
    }
}

/// The chance of one seed.
#[derive(Debug, Clone)]
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0.random_range(0..end)
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn moment(&mut self, records: u64, interval: Duration) -> Moment {
        // A checkpoint that is far off would be waited for while no fault comes.
        let kinds = if interval <= Duration::from_secs(5) {
            6
        } else {
            4
        };
        match self.below(kinds) {
            0..3 => Moment::Committed {
                records,
                later: Duration::from_millis(self.below(300)),
            },
            3 => Moment::Starting {
                later: Duration::from_millis(self.below(1_500)),
            },
            _ => Moment::Checkpoint {
                records,
                later: Duration::from_micros(self.below(4_000)),
            },
        }
    }
}
