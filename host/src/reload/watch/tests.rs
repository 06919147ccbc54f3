//! Files that change in every way that there is. Each test waits for a report, and none relies on how
//! fast it comes.

mod random;

use std::fs;
use std::future::Future;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::SystemTime;

use tokio::time::timeout;

use super::*;

/// For a report that has to come.
const PATIENCE: Duration = Duration::from_mins(1);
/// In which a report that must not come would have come: several looks.
const WHILE: Duration = Duration::from_millis(2_500);

/// A folder with a pipeline and a component, and a watch on both.
struct Place {
    folder: tempfile::TempDir,
    watch: Watch,
}

impl Place {
    fn new() -> Self {
        Self::prepared(|folder| {
            fs::write(folder.join("pipeline.toml"), "one").unwrap();
            fs::write(folder.join("guest.wasm"), "one").unwrap();
        })
    }

    fn prepared(prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let names = ["pipeline.toml", "guest.wasm"];
        let files = names.map(|name| (folder.path().join(name), None));
        let watch = Watch::begin(files.into());
        Self { folder, watch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// As editors and `wasmill build` do it.
    fn replace(&self, name: &str, text: &str) {
        let part = self.path(".part");
        fs::write(&part, text).unwrap();
        fs::rename(part, self.path(name)).unwrap();
    }

    async fn reported(&mut self) -> Vec<String> {
        let changed = timeout(PATIENCE, self.watch.changed()).await;
        let changed = changed.expect("a change is reported");
        let names = changed
            .iter()
            .map(|path| path.strip_prefix(self.folder.path()).unwrap());
        names.map(|name| name.display().to_string()).collect()
    }

    async fn nothing_is_reported(&mut self) {
        if let Ok(changed) = timeout(WHILE, self.watch.changed()).await {
            panic!("{changed:?}");
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(test);
}

#[test]
fn a_file_that_is_written_in_place_or_renamed_over_is_reported() {
    run(async {
        let mut place = Place::new();
        place.write("pipeline.toml", "two");
        assert_eq!(place.reported().await, ["pipeline.toml"]);
        place.replace("pipeline.toml", "three");
        assert_eq!(place.reported().await, ["pipeline.toml"]);
    });
}

#[test]
fn a_component_alone_is_reported() {
    run(async {
        let mut place = Place::new();
        place.replace("guest.wasm", "two");
        assert_eq!(place.reported().await, ["guest.wasm"]);
    });
}

#[test]
fn both_at_once_are_one_report() {
    run(async {
        let mut place = Place::new();
        place.write("guest.wasm", "two");
        place.write("pipeline.toml", "two");
        let mut reported = place.reported().await;
        // A loaded machine may see one of them much later.
        while reported.len() < 2 {
            reported.extend(place.reported().await);
        }
        reported.sort();
        assert_eq!(reported, ["guest.wasm", "pipeline.toml"]);
        place.nothing_is_reported().await;
    });
}

#[test]
fn a_file_that_is_deleted_and_created_again_is_reported_once() {
    run(async {
        let mut place = Place::new();
        let started = Instant::now();
        fs::remove_file(place.path("pipeline.toml")).unwrap();
        tokio::time::sleep(QUIET * 3).await;
        place.write("pipeline.toml", "two");
        let away = started.elapsed();
        assert_eq!(place.reported().await, ["pipeline.toml"]);
        // On a machine that stands still in between, that it is gone may be reported, too.
        if away < QUIET_AFTER_ALL {
            place.nothing_is_reported().await;
        }
    });
}

#[test]
fn a_file_that_is_gone_or_empty_is_reported_after_a_while_and_again_when_it_is_back() {
    run(async {
        let mut place = Place::new();
        let started = Instant::now();
        fs::remove_file(place.path("guest.wasm")).unwrap();
        assert_eq!(place.reported().await, ["guest.wasm"]);
        assert!(started.elapsed() >= QUIET_AFTER_ALL);
        // What is known to be missing holds up nothing else.
        place.write("pipeline.toml", "two");
        assert_eq!(place.reported().await, ["pipeline.toml"]);
        place.write("guest.wasm", "");
        assert_eq!(place.reported().await, ["guest.wasm"]);
        place.write("guest.wasm", "one");
        assert_eq!(place.reported().await, ["guest.wasm"]);
    });
}

#[test]
fn a_file_that_never_rests_is_reported_all_the_same_and_once_more_at_the_end() {
    run(async {
        let mut place = Place::new();
        let path = place.path("guest.wasm");
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let writer = std::thread::spawn(move || {
            for i in 0_u64.. {
                fs::write(&path, format!("{i}")).unwrap();
                if told.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        assert_eq!(place.reported().await, ["guest.wasm"]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap();
        place.write("guest.wasm", "end");
        assert_eq!(place.reported().await, ["guest.wasm"]);
    });
}

/// As the kubelet updates a mounted `ConfigMap`: both files are links into a folder that is a link itself,
/// which is switched in one step.
#[test]
fn a_switched_link_of_kubernetes_is_reported() {
    fn version(folder: &Path, name: &str, text: &str) {
        let version = folder.join(name);
        fs::create_dir(&version).unwrap();
        fs::write(version.join("pipeline.toml"), text).unwrap();
        fs::write(version.join("guest.wasm"), "one").unwrap();
        symlink(name, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    }
    run(async {
        let mut place = Place::prepared(|folder| {
            version(folder, "..2026_1", "one");
            for name in ["pipeline.toml", "guest.wasm"] {
                symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
            }
        });
        for (name, former) in [("..2026_2", "..2026_1"), ("..2026_3", "..2026_2")] {
            version(place.folder.path(), name, name);
            fs::remove_dir_all(place.path(former)).unwrap();
            assert_eq!(place.reported().await, ["pipeline.toml"]);
        }
    });
}

#[test]
fn a_link_far_away_on_the_path_is_followed() {
    run(async {
        let elsewhere = tempfile::tempdir().unwrap();
        for version in ["v1", "v2", "v3"] {
            fs::create_dir(elsewhere.path().join(version)).unwrap();
            fs::write(elsewhere.path().join(version).join("guest.wasm"), version).unwrap();
        }
        let current = elsewhere.path().join("current");
        let switch = |version: &str| {
            symlink(version, elsewhere.path().join("next")).unwrap();
            fs::rename(elsewhere.path().join("next"), &current).unwrap();
        };
        switch("v1");
        let mut place = Place::prepared(|folder| {
            fs::write(folder.join("pipeline.toml"), "one").unwrap();
            symlink(current.join("guest.wasm"), folder.join("guest.wasm")).unwrap();
        });
        switch("v2");
        assert_eq!(place.reported().await, ["guest.wasm"]);
        // The new target is watched from now on, and the old one no more.
        fs::write(elsewhere.path().join("v2/guest.wasm"), "mended").unwrap();
        assert_eq!(place.reported().await, ["guest.wasm"]);
        fs::write(elsewhere.path().join("v1/guest.wasm"), "late").unwrap();
        place.nothing_is_reported().await;
        switch("v3");
        assert_eq!(place.reported().await, ["guest.wasm"]);
    });
}

#[test]
fn a_folder_that_is_replaced_or_appears_later_is_reported() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let file = path("guests/target/a.wasm");
        let mut watch = Watch::begin([(file.clone(), None)].into());
        let make = |name: &str, text: &str| {
            fs::create_dir_all(path(name).join("target")).unwrap();
            fs::write(path(name).join("target/a.wasm"), text).unwrap();
        };
        make("guests", "one");
        let reported = timeout(PATIENCE, watch.changed()).await.unwrap();
        assert_eq!(reported, [file.clone()].into());
        make("next", "two");
        fs::rename(path("guests"), path("former")).unwrap();
        fs::rename(path("next"), path("guests")).unwrap();
        assert_eq!(timeout(PATIENCE, watch.changed()).await.unwrap(), reported);
        fs::write(&file, "three").unwrap();
        assert_eq!(timeout(PATIENCE, watch.changed()).await.unwrap(), reported);
    });
}

#[test]
fn times_neighbours_and_what_is_undone_are_no_change() {
    run(async {
        let mut place = Place::new();
        let file = fs::File::options()
            .append(true)
            .open(place.path("pipeline.toml"));
        file.unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        place.replace("guest.wasm", "one");
        place.write("guest.wasm.part", "two");
        place.write("neighbour.toml", "two");
        place.nothing_is_reported().await;
        // Looking has not made the watch blind.
        place.write("guest.wasm", "two");
        assert_eq!(place.reported().await, ["guest.wasm"]);
    });
}

#[test]
fn what_is_not_in_force_is_reported_at_once_and_the_rest_is_not() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        fs::write(&old, "old").unwrap();
        fs::write(&new, "new").unwrap();
        let digest = |text: &str| {
            use sha2::{Digest, Sha256};
            Some(crate::guest::hex(&Sha256::digest(text)))
        };
        let files = [(old.clone(), digest("old")), (new.clone(), digest("old"))];
        let mut watch = Watch::begin(files.into());
        let reported = timeout(PATIENCE, watch.changed()).await.unwrap();
        assert_eq!(reported, [new].into());
        assert!(timeout(WHILE, watch.changed()).await.is_err());
    });
}

#[test]
fn other_files_can_be_followed_and_what_was_reported_is_remembered() {
    run(async {
        let mut place = Place::new();
        place.write("pipeline.toml", "two");
        assert_eq!(place.reported().await, ["pipeline.toml"]);
        place.write("other.wasm", "one");
        let names = ["pipeline.toml", "other.wasm"];
        let files = names.map(|name| (place.path(name), None));
        // What is said to be in force of a file that was watched before does not bring it up again.
        let mut files = Files::from(files);
        files.insert(place.path("pipeline.toml"), Some("another".to_owned()));
        place.watch.follow(files);
        place.nothing_is_reported().await;
        place.write("guest.wasm", "two");
        place.nothing_is_reported().await;
        place.write("other.wasm", "two");
        assert_eq!(place.reported().await, ["other.wasm"]);
    });
}

#[test]
fn waiting_can_be_given_up_without_losing_a_report() {
    run(async {
        let mut place = Place::new();
        place.write("pipeline.toml", "two");
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(1) {
            tokio::select! {
                biased;
                () = tokio::task::yield_now() => {}
                _ = place.watch.changed() => return,
            }
        }
        assert_eq!(place.reported().await, ["pipeline.toml"]);
    });
}

#[test]
fn sources_that_are_saved_added_moved_or_removed_are_reported() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("src")).unwrap();
        fs::write(path("Cargo.toml"), "").unwrap();
        fs::write(path("src/lib.rs"), "mod a;").unwrap();
        let mut watch = Watch::sources([folder.path().to_owned()].into());
        let mut reported = async |names: &[&str]| {
            let mut awaited: BTreeSet<PathBuf> = names.iter().map(|name| path(name)).collect();
            while !awaited.is_empty() {
                let changed = timeout(PATIENCE, watch.changed()).await;
                for path in changed.expect("a change is reported") {
                    assert!(awaited.remove(&path), "{}", path.display());
                }
            }
        };
        fs::write(path("src/lib.rs"), "mod b;").unwrap();
        reported(&["src/lib.rs"]).await;
        fs::create_dir_all(path("src/b/c")).unwrap();
        fs::write(path("src/b/c/mod.rs"), "x").unwrap();
        reported(&["src/b/c/mod.rs"]).await;
        fs::write(path("src/b/c/.mod.rs.swp"), "x").unwrap();
        fs::create_dir_all(path("target/debug")).unwrap();
        fs::write(path("target/debug/x.rs"), "x").unwrap();
        fs::rename(path("src/b"), path("src/d")).unwrap();
        reported(&["src/b/c/mod.rs", "src/d/c/mod.rs"]).await;
        fs::remove_file(path("src/d/c/mod.rs")).unwrap();
        reported(&["src/d/c/mod.rs"]).await;
    });
}

/// Threads of notify in this process, those of other tests included.
fn watching_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(Result::ok);
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("notify")).count()
}

#[test]
fn no_thread_outlives_its_watch() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..100 {
            let watch = Watch::begin([(folder.path().join("a"), None)].into());
            drop(watch);
        }
        let started = Instant::now();
        // Other tests have some, one each.
        while watching_threads() > 50 {
            assert!(
                started.elapsed() < PATIENCE,
                "{} threads",
                watching_threads()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

fn without_watches(_: eyes::Handler) -> notify::Result<notify::RecommendedWatcher> {
    Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch))
}

fn with_watches(handler: eyes::Handler) -> notify::Result<notify::RecommendedWatcher> {
    notify::recommended_watcher(handler)
}

#[test]
fn without_watches_changes_are_seen_by_looking() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipeline.toml");
        fs::write(&path, "one").unwrap();
        let subject = Subject::Files([(path.clone(), None)].into());
        let mut watch = Watch::of(subject, without_watches);
        assert!(timeout(WHILE, watch.changed()).await.is_err());
        // As many bytes, within what a coarse clock calls the same time.
        for text in ["two", "six"] {
            fs::write(&path, text).unwrap();
            let reported = timeout(PATIENCE, watch.changed()).await;
            assert_eq!(reported.unwrap(), [path.clone()].into());
        }
    });
}
