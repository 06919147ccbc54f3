//! Looking at files, and being told by the operating system when to look.
//!
//! What notify tells is a hint and never a fact: it says when to look, and looking says what is there.
//! So events that get lost, and file systems that send none, cost time and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::contents::{Contents, Seen};
use super::subject::{Subject, Survey};

/// How often folders are surveyed again because they change while watches are set.
const SURVEYS_MAX: usize = 3;

/// What is called with what notify tells.
pub(super) type Handler = Box<dyn FnMut(notify::Result<notify::Event>) + Send>;

/// Makes what watches folders.
pub(super) type MakeWatcher = fn(Handler) -> notify::Result<RecommendedWatcher>;

/// What looks.
pub(super) struct Eyes {
    pub(super) subject: Subject,
    seen: BTreeMap<PathBuf, Seen>,
    /// what notify watches
    survey: Arc<Mutex<Survey>>,
    /// watches on folders, until it is dropped; `None` where there can be none
    watcher: Option<RecommendedWatcher>,
    make_watcher: MakeWatcher,
    hints: Arc<Notify>,
    has_complained: bool,
}

impl Eyes {
    pub(super) fn new(subject: Subject, hints: Arc<Notify>, make_watcher: MakeWatcher) -> Self {
        Self {
            subject,
            seen: BTreeMap::new(),
            survey: Arc::default(),
            watcher: None,
            make_watcher,
            hints,
            has_complained: false,
        }
    }

    /// What is in the files now. They are read if `thorough`, or if they may have changed since the
    /// last look. Blocks.
    pub(super) fn look(&mut self, thorough: bool) -> BTreeMap<PathBuf, Contents> {
        // Before the files, so that no change after this look goes without a hint.
        for _ in 0..SURVEYS_MAX {
            let survey = self.subject.survey();
            let mut known = lock(&self.survey);
            let same_folders = known.folders == survey.folders;
            *known = survey;
            drop(known);
            if same_folders {
                break;
            }
            self.watch();
        }
        let files = lock(&self.survey).files.clone();
        let look = |path: PathBuf| {
            let seen = Seen::of(&path, self.seen.get(&path), thorough);
            (path, seen)
        };
        self.seen = files.into_iter().map(look).collect();
        let contents = |(path, seen): (&PathBuf, &Seen)| (path.clone(), seen.contents.clone());
        self.seen.iter().map(contents).collect()
    }

    /// Has the folders of the last survey watched instead of those before it.
    fn watch(&mut self) {
        let folders: Vec<PathBuf> = lock(&self.survey).folders.keys().cloned().collect();
        let (hints, survey) = (Arc::clone(&self.hints), Arc::clone(&self.survey));
        let handler = move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| is_hint(&event, &lock(&survey))) {
                hints.notify_one();
            }
        };
        let mut watcher = match (self.make_watcher)(Box::new(handler)) {
            Ok(watcher) => watcher,
            Err(error) => {
                self.complain(&error, None);
                self.watcher = None;
                return;
            }
        };
        for folder in &folders {
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {}
                // It was there a moment ago; the next survey says what there is in its place.
                Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => {}
                Err(error) => self.complain(&error, Some(folder)),
            }
        }
        // Only now are the old watches given up.
        self.watcher = Some(watcher);
    }

    /// Says once that there will be no hints.
    fn complain(&mut self, error: &notify::Error, folder: Option<&Path>) {
        if self.has_complained {
            return;
        }
        self.has_complained = true;
        let folder = folder.map(|folder| folder.display().to_string());
        tracing::warn!(
            %error,
            folder,
            "cannot be told when files change: they are looked at every 2 s instead"
        );
    }
}

/// Whether something may have changed that is surveyed.
fn is_hint(event: &notify::Event, survey: &Survey) -> bool {
    // Looking opens files, and must not be a reason to look again.
    let is_change = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    };
    let is_ours = || event.paths.iter().any(|path| survey.concerns(path));
    // Without a path it says that others were lost.
    is_change && (event.paths.is_empty() || is_ours())
}

/// A survey is put there whole.
fn lock(survey: &Mutex<Survey>) -> std::sync::MutexGuard<'_, Survey> {
    survey.lock().unwrap_or_else(PoisonError::into_inner)
}
