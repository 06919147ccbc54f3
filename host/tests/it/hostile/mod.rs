//! Guests that are up to no good, each in a whole pipeline: what they cost, and whom.
//!
//! Each row of a table below is a guest and what is due: the host ends in good order, exactly the
//! guilty records are dead letters, which name the stage and what its guest did; all others are in
//! all tables and totals exactly once; and the failures are counted under their kind.
//!
//! `docs/guides/sandbox.md` has the same for people.

mod aggregates;
mod bounds;
mod files;
mod job;
mod raw;
mod raw_transforms;
mod transforms;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use wasmill::guest::Failure;

use self::job::{Job, Place, Role, all, poisoned};

/// Whose records are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guilty {
    /// those with the poison
    Poisoned,
    /// all, as every call fails
    Everybody,
    Nobody,
}

impl Guilty {
    fn places(self) -> BTreeSet<Place> {
        match self {
            Self::Poisoned => poisoned(),
            Self::Everybody => all(),
            Self::Nobody => BTreeSet::new(),
        }
    }
}

/// A guest and what is due.
struct Case {
    /// the fact
    name: &'static str,
    guest: PathBuf,
    config: Value,
    guilty: Guilty,
    /// how its calls fail, if they do
    failure: Option<Failure>,
    /// what each dead letter says
    says: &'static str,
}

/// Runs all, and says of each that failed what was wrong.
async fn hold(role: Role, cases: impl IntoIterator<Item = Case>) {
    let mut wrong = Vec::new();
    for case in cases {
        let started = std::time::Instant::now();
        if let Err(error) = holds(role, &case).await {
            wrong.push(format!("{}: {error}", case.name));
        }
        eprintln!("{:7.1?} {}", started.elapsed(), case.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn holds(role: Role, case: &Case) -> Result<(), String> {
    let job = Job::new(role, &case.guest, &case.config);
    let run = job.run().await;
    if let Err(error) = &run.ended {
        return Err(format!("the run ended with {error:?}"));
    }
    let letters = job.letters();
    let places: BTreeSet<Place> = letters.iter().map(|letter| letter.place).collect();
    if places != case.guilty.places() || places.len() != letters.len() {
        let found: Vec<_> = letters.iter().take(5).collect();
        return Err(format!("{} dead letters: {found:?} …", letters.len()));
    }
    for letter in &letters {
        let is_named = letter.stage == role.stage() && letter.component == "guilty";
        let is_sane = letter.reason.chars().count() < 4000
            && !letter.reason.contains(|c: char| c.is_control());
        if !is_named || !is_sane || !letter.reason.contains(case.says) {
            return Err(format!("`{}` is due in {letter:?}", case.says));
        }
    }
    for failure in Failure::ALL {
        let count = run.failures(role, failure);
        if (count > 0) != (case.failure == Some(failure)) {
            let name = failure.name();
            return Err(format!("{count} failures of the kind `{name}` are counted"));
        }
    }
    job.compare(&case.guilty.places())
}
