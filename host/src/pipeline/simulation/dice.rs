//! Chance, and the moments at which a call can be interrupted.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// All chance of one seed. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Dice(Arc<Mutex<Rolls>>);

#[derive(Debug)]
struct Rolls {
    rng: ChaCha8Rng,
    /// how likely a call fails; 0 at the end
    failing: f64,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Succeeds,
    FailsBefore,
    /// it does its work, and the answer is lost
    FailsAfter,
}

impl Dice {
    pub(super) fn of(seed: u64) -> Self {
        let rolls = Rolls {
            rng: ChaCha8Rng::seed_from_u64(seed),
            failing: 0.0,
        };
        Self(Arc::new(Mutex::new(rolls)))
    }

    /// Lets calls fail from now on as likely as this.
    pub(super) fn let_fail(&self, share: f64) {
        self.with(|rolls| rolls.failing = share);
    }

    pub(super) fn chance(&self, share: f64) -> bool {
        self.with(|rolls| rolls.rng.random_bool(share))
    }

    /// A number below `end`.
    pub(super) fn below(&self, end: u64) -> u64 {
        self.with(|rolls| rolls.rng.random_range(0..end))
    }

    pub(super) fn between(&self, first: u64, last: u64) -> u64 {
        first + self.below(last + 1 - first)
    }

    pub(super) fn fate(&self) -> Fate {
        self.with(|rolls| {
            let failing = rolls.failing;
            if !rolls.rng.random_bool(failing) {
                Fate::Succeeds
            } else if rolls.rng.random_bool(0.5) {
                Fate::FailsBefore
            } else {
                Fate::FailsAfter
            }
        })
    }

    /// A moment at which others may go on, or the host dies.
    pub(super) async fn moment(&self) {
        while self.chance(0.5) {
            let mut waited = false;
            std::future::poll_fn(|_| {
                if std::mem::replace(&mut waited, true) {
                    Poll::Ready(())
                } else {
                    // Whoever drives the simulation asks again without being told.
                    Poll::Pending
                }
            })
            .await;
        }
    }

    fn with<T>(&self, roll: impl FnOnce(&mut Rolls) -> T) -> T {
        roll(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
