//! Watching files: telling when their contents have really changed, and have come to rest.
//!
//! # Invariants
//!
//! 1. After any sequence of changes the last report comes after the last of them, unless that left
//!    things as they were reported before.
//! 2. There is no report while contents stay the same, whatever times and neighbours do.
//! 3. Nothing depends on the operating system telling of changes: files are looked at every
//!    [`LOOK_EVERY`] anyway.
//!
//! # Not here
//!
//! What follows from a change: [`super::changes`] and, for sources, `wasmill dev`.

mod contents;
mod eyes;
mod subject;
mod way;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use self::contents::Contents;
use self::eyes::{Eyes, MakeWatcher};
use self::subject::Subject;
use crate::blocking::off_the_runtime;

/// So often files are looked at even if nobody says that they have changed: by their times, which costs
/// some microseconds.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Contents that stay the same for so long are complete.
const QUIET: Duration = Duration::from_millis(150);

/// What does not come to rest, is missing or is empty is reported after this time all the same: somebody
/// waits for a message.
const QUIET_AFTER_ALL: Duration = Duration::from_secs(2);

/// Files, each with the SHA-256 (in hexadecimal digits) of what of it is in force, where that is known.
pub type Files = BTreeMap<PathBuf, Option<String>>;

/// Files that are watched, until it is dropped.
#[derive(Debug)]
pub struct Watch {
    subject: watch::Sender<Subject>,
    changed: Arc<Mutex<BTreeSet<PathBuf>>>,
    reports: mpsc::Receiver<()>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Watches these files from now on. One that is not what is said to be in force is reported at
    /// once; where nothing is said, what it is now is taken for that. Reads the files once.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    #[must_use]
    pub fn begin(files: Files) -> Self {
        Self::of(Subject::Files(files), |handler| {
            notify::recommended_watcher(handler)
        })
    }

    /// Watches all sources at and below these paths: no build folders, nothing hidden, no droppings of
    /// editors, no `Cargo.lock`.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    #[must_use]
    pub(crate) fn sources(paths: BTreeSet<PathBuf>) -> Self {
        Self::of(Subject::Sources(paths), |handler| {
            notify::recommended_watcher(handler)
        })
    }

    fn of(subject: Subject, make_watcher: MakeWatcher) -> Self {
        let hints = Arc::<Notify>::default();
        let mut eyes = Eyes::new(subject.clone(), Arc::clone(&hints), make_watcher);
        let seen = off_the_runtime(|| eyes.look(true));
        let (asking, reports) = mpsc::channel(1);
        let known = known(&subject, &seen, None);
        let (subject, followed) = watch::channel(subject);
        let changed = Arc::default();
        let watching = Watching {
            eyes: Some(eyes),
            known,
            hints,
            followed,
            changed: Arc::clone(&changed),
            reports: asking,
        };
        Self {
            subject,
            changed,
            reports,
            task: tokio::spawn(watching.run(seen)),
        }
    }

    /// Waits until contents have changed, and says of which files. May be given up and called again:
    /// nothing is lost by that.
    pub async fn changed(&mut self) -> BTreeSet<PathBuf> {
        if self.reports.recv().await.is_none() {
            tracing::error!("files are not watched any more: this is a mistake in wasmill");
            std::future::pending::<()>().await;
        }
        std::mem::take(&mut *lock(&self.changed))
    }

    /// Watches these files instead. Of those that were watched before, what was reported last is still
    /// what the next change is told from.
    pub fn follow(&mut self, files: Files) {
        self.subject.send_replace(Subject::Files(files));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The watches and their thread go with it.
        self.task.abort();
    }
}

/// The task that watches.
struct Watching {
    /// `None` only while it looks
    eyes: Option<Eyes>,
    /// what was reported, or is in force
    known: BTreeMap<PathBuf, Contents>,
    hints: Arc<Notify>,
    followed: watch::Receiver<Subject>,
    changed: Arc<Mutex<BTreeSet<PathBuf>>>,
    reports: mpsc::Sender<()>,
}

impl Watching {
    /// `first` is what was seen at the beginning.
    async fn run(mut self, first: BTreeMap<PathBuf, Contents>) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut differs = first != self.known;
        loop {
            if differs && self.settle().await.is_none() {
                return;
            }
            let thorough = tokio::select! {
                followed = self.followed.changed() => {
                    if followed.is_err() {
                        return;
                    }
                    self.follow();
                    true
                }
                () = self.hints.notified() => true,
                _ = ticks.tick() => false,
            };
            let Some(seen) = self.look(thorough).await else {
                return;
            };
            differs = seen != self.known;
        }
    }

    /// Waits for contents to come to rest, and reports them, unless they are what is known. `None` at
    /// the end of the runtime.
    async fn settle(&mut self) -> Option<()> {
        let deadline = Instant::now() + QUIET_AFTER_ALL;
        let mut before = None;
        loop {
            let seen = self.look(true).await?;
            if seen == self.known {
                return Some(());
            }
            let is_at_rest = before.as_ref() == Some(&seen) && !self.is_passing(&seen);
            if is_at_rest || Instant::now() >= deadline {
                self.report(seen);
                return Some(());
            }
            before = Some(seen);
            self.quiet(deadline).await;
        }
    }

    /// Until nothing has happened for [`QUIET`], but not beyond the deadline.
    async fn quiet(&self, deadline: Instant) {
        loop {
            let until = (Instant::now() + QUIET).min(deadline);
            let is_quiet = timeout_at(until, self.hints.notified()).await.is_err();
            if is_quiet || Instant::now() >= deadline {
                return;
            }
        }
    }

    /// Whether a file has become missing or empty, which is probably not for long.
    fn is_passing(&self, seen: &BTreeMap<PathBuf, Contents>) -> bool {
        let is_news = |path: &PathBuf, contents| self.known.get(path) != Some(contents);
        let mut seen = seen.iter();
        seen.any(|(path, contents)| contents.is_passing() && is_news(path, contents))
    }

    fn report(&mut self, seen: BTreeMap<PathBuf, Contents>) {
        let paths = self.known.keys().chain(seen.keys());
        let differing = paths.filter(|path| self.known.get(*path) != seen.get(*path));
        lock(&self.changed).extend(differing.cloned());
        self.known = seen;
        // One that waits there is enough: whoever takes it looks at the files after that.
        let _ = self.reports.try_send(());
    }

    fn follow(&mut self) {
        let subject = self.followed.borrow_and_update().clone();
        if let Some(eyes) = &mut self.eyes {
            eyes.subject = subject;
        }
    }

    /// `None` at the end of the runtime.
    async fn look(&mut self, thorough: bool) -> Option<BTreeMap<PathBuf, Contents>> {
        let mut eyes = self.eyes.take()?;
        let looking = spawn_blocking(move || {
            let seen = eyes.look(thorough);
            (eyes, seen)
        });
        let (eyes, seen) = looking.await.ok()?;
        self.known = known(&eyes.subject, &seen, Some(&self.known));
        self.eyes = Some(eyes);
        Some(seen)
    }
}

/// What is known of the files of a subject: of those that were watched before what was known of them, of
/// others what is in force or, where nobody says that, what was seen.
fn known(
    subject: &Subject,
    seen: &BTreeMap<PathBuf, Contents>,
    before: Option<&BTreeMap<PathBuf, Contents>>,
) -> BTreeMap<PathBuf, Contents> {
    let Subject::Files(files) = subject else {
        return before.unwrap_or(seen).clone();
    };
    let known = |(path, in_force): (&PathBuf, &Option<String>)| {
        let before = before.and_then(|before| before.get(path)).cloned();
        let in_force = || in_force.clone().map(Contents::Some);
        let contents = before.or_else(in_force);
        let contents = contents.or_else(|| seen.get(path).cloned())?;
        Some((path.clone(), contents))
    };
    files.iter().filter_map(known).collect()
}

/// A set of paths is whole at any time.
fn lock(changed: &Mutex<BTreeSet<PathBuf>>) -> std::sync::MutexGuard<'_, BTreeSet<PathBuf>> {
    changed.lock().unwrap_or_else(PoisonError::into_inner)
}
