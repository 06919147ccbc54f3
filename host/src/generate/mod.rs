//! Synthetic sales, as the Python producer of the system that wasmill replaces wrote them.
//!
//! # Invariants
//!
//! 1. A record is a pure function of the settings, its partition and its offset. So any of them can
//!    be made again, by a test that knows what is right or by a source that replays.
//! 2. Ids are unique within a seed, but for the records that repeat another one.
//! 3. Which records repeat which depends on the share of them; what the others hold does not.
//! 4. Which records are faulty depends on the share of them; what a good record holds does not.
//!
//! # Not here
//!
//! The command: [`crate::cli`].

mod draw;
mod fault;
pub mod file;
pub mod kafka;
mod names;
pub mod plan;
#[cfg(test)]
mod tests;
mod transaction;

use chrono::NaiveDate;

use crate::record::Origin;
use draw::Draw;
pub use fault::BadKind;
pub use transaction::Transaction;
pub(crate) use transaction::{field_names, field_suits};

/// What the records are like.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// another seed, other records
    pub seed: u64,
    /// dates are spread over so many days, at least one
    pub days: u32,
    /// the day after the last of them
    pub end: NaiveDate,
    /// the share of faulty records, 0 to 1
    pub bad_share: f64,
    /// the share of records that repeat one shortly before them in their partition, 0 to 0.9
    pub duplicates: f64,
}

impl Settings {
    /// The end of the days by default. It is fixed, so that a seed means the same records
    /// tomorrow; 400 days before it there are a leap day and the ends of two years.
    pub const END: NaiveDate = NaiveDate::from_ymd_opt(2025, 1, 31).expect("a day of January");
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 0,
            days: 400,
            end: Self::END,
            bad_share: 0.0,
            duplicates: 0.0,
        }
    }
}

/// A record that repeats another one stands at most so many offsets behind it.
const REPEAT_REACH: i64 = 1_000;

/// Makes records.
#[derive(Debug)]
pub struct Generator {
    settings: Settings,
    customers: Vec<String>,
}

/// A record before it is JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Generated<'g> {
    /// a sale
    Good(Transaction<'g>),
    /// what would have been this sale
    Bad(BadKind, Transaction<'g>),
}

impl Generator {
    /// A generator of such records.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            customers: names::customers(settings.seed),
            settings,
        }
    }

    /// The place of the record that the one at this place repeats; its own, if it repeats none.
    #[must_use]
    pub fn original(&self, mut origin: Origin) -> Origin {
        let Settings {
            seed, duplicates, ..
        } = self.settings;
        while duplicates > 0.0 && origin.offset > 0 {
            let mut draw = Draw::of_repeats(seed, origin);
            if !draw.chance(duplicates) {
                break;
            }
            let reach = origin.offset.min(REPEAT_REACH).cast_unsigned();
            origin.offset -= 1 + draw.below(reach).cast_signed();
        }
        origin
    }

    /// The record at this place.
    #[must_use]
    pub fn generate(&self, origin: Origin) -> Generated<'_> {
        let mut draw = Draw::new(self.settings.seed, self.original(origin));
        let transaction = Transaction::draw(&mut draw, &self.settings, &self.customers);
        if draw.chance(self.settings.bad_share) {
            Generated::Bad(*draw.pick(&BadKind::ALL), transaction)
        } else {
            Generated::Good(transaction)
        }
    }
}

impl Generated<'_> {
    /// Appends the record's bytes. False: it has no value (a tombstone), and nothing is appended.
    pub fn render(&self, into: &mut Vec<u8>) -> bool {
        match self {
            Self::Good(transaction) => fault::render(transaction, None, into),
            Self::Bad(kind, transaction) => fault::render(transaction, Some(*kind), into),
        }
    }

    /// The sale that it is, or would have been.
    #[must_use]
    pub fn transaction(&self) -> &Transaction<'_> {
        match self {
            Self::Good(transaction) | Self::Bad(_, transaction) => transaction,
        }
    }

    /// What is wrong with it.
    #[must_use]
    pub fn fault(&self) -> Option<BadKind> {
        match self {
            Self::Good(_) => None,
            Self::Bad(kind, _) => Some(*kind),
        }
    }
}
