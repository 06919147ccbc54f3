//! `wasmill dev`: what is saved is built, what does not compile changes nothing, and nothing is left over
//! at the end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::scaffolds::{lock, settle_in};
use crate::support::binary::{stderr, wasmill};
use crate::support::job::{send_signal, wait_for_exit};

/// For a build with all its dependencies on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(5);

const PIPELINE: &str = r#"
[pipeline]
name = "dev"

[source]
type = "generator"
rate = 50
columns = [
  { name = "transaction_id", from = "transactionId", type = "utf8" },
  { name = "total_amount", from = "totalAmount", type = "decimal(2)" },
]

[components.size]
path = "guests/sale-size/target/guests/sale_size.wasm"

[[transform]]
name = "sized"
from = "source"
component = "size"
config = { large_from = "100.00" }

[[sink]]
name = "db"
type = "sqlite"
path = "data/dev.sqlite3"
tables = [{ from = "sized", table = "sized", key = ["transaction_id"] }]

[dead_letters]
type = "sqlite"
"#;

/// A folder with a pipeline and its guest, and `wasmill dev` in it.
struct Bench {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("pipeline.toml"), PIPELINE).unwrap();
        fs::create_dir(folder.path().join("guests")).unwrap();
        let new = ["new", "guests/sale-size", "--kind", "transform", "--plain"];
        let made = wasmill(&new).current_dir(folder.path()).output().unwrap();
        assert!(made.status.success(), "{}", stderr(&made));
        lock(&folder.path().join("guests/sale-size"));
        Self {
            folder,
            child: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&mut self, change: impl FnOnce(&mut Command)) {
        let mut command = wasmill(&["dev"]);
        settle_in(&mut command, self.folder.path());
        change(&mut command);
        command.stdout(Stdio::null());
        command.stderr(File::create(self.path("log")).unwrap());
        self.child = Some(command.spawn().expect("the binary starts"));
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Waits until something holds.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().unwrap());
            assert!(
                ended.is_none(),
                "it has ended before {what}: {}",
                self.log()
            );
            assert!(started.elapsed() < PATIENCE, "no {what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn says(&mut self, words: &str) {
        self.until(words, |bench| bench.log().contains(words));
    }

    fn component(&self) -> Vec<u8> {
        fs::read(self.path("guests/sale-size/target/guests/sale_size.wasm")).unwrap()
    }

    /// Saves the guest's source with a word replaced.
    fn save(&self, from: &str, to: &str) {
        let path = self.path("guests/sale-size/src/lib.rs");
        let source = fs::read_to_string(&path).unwrap();
        assert!(source.contains(from), "{source}");
        fs::write(path, source.replace(from, to)).unwrap();
    }

    fn stop(&mut self, signal: &str) {
        let mut child = self.child.take().unwrap();
        send_signal(&child, signal);
        let ended = wait_for_exit(&mut child, Duration::from_mins(1));
        assert!(ended.success(), "{ended}: {}", self.log());
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn what_is_saved_is_built_and_what_does_not_compile_changes_nothing() {
    let mut bench = Bench::new();
    bench.start(|_| {});
    bench.says("component `size`: built from the package sale-size");
    bench.says(" s: size");
    bench.until("rows", |bench| bench.path("data/dev.sqlite3").exists());
    let first = bench.component();

    bench.save("\"large\"", "no_such_value");
    bench.says("cannot find value `no_such_value`");
    bench.says("not built, the running version stays: cargo could not build the guests");
    assert!(bench.component() == first, "the component has changed");

    bench.save("no_such_value", "\"huge\"");
    bench.until("new component", |bench| bench.component() != first);
    let saved = "saved: guests/sale-size/src/lib.rs";
    assert_eq!(bench.log().matches(saved).count(), 2, "{}", bench.log());

    bench.stop("INT");
}

#[test]
fn what_is_built_comes_into_force_where_the_run_does_not_watch_its_files() {
    let mut bench = Bench::new();
    let unwatched = format!("{PIPELINE}\n[reload]\nwatch = false\n");
    fs::write(bench.path("pipeline.toml"), unwatched).unwrap();
    bench.start(|_| {});
    bench.until("rows", |bench| bench.path("data/dev.sqlite3").exists());
    bench.save("\"large\"", "\"huge\"");
    bench.says("reload asked for (file)");
    bench.says("version 2 is in force");
    let asked = bench.log().matches("reload asked for").count();
    assert_eq!(asked, 1, "{}", bench.log());
    bench.stop("TERM");
}

/// A cargo that describes packages as ever, and never ends a build.
fn endless_cargo(folder: &Path) -> PathBuf {
    let path = folder.join("endless-cargo");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = metadata ]; then exec {} \"$@\"; fi\nsleep 600 &\n\
         echo $! > {}/pid\nwait\n",
        env!("CARGO"),
        folder.display()
    );
    fs::write(&path, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&path, mode).unwrap();
    path
}

#[test]
fn a_signal_ends_the_build_with_all_that_it_has_started() {
    let mut bench = Bench::new();
    let cargo = endless_cargo(bench.folder.path());
    bench.start(|command| {
        command.env("CARGO", cargo);
    });
    let read = |bench: &Bench| fs::read_to_string(bench.path("pid")).unwrap_or_default();
    bench.until("build", |bench| read(bench).ends_with('\n'));
    let process = format!("/proc/{}/stat", read(&bench).trim());
    // Gone, or dead and not yet waited for by whoever inherited it.
    let is_over = || match fs::read_to_string(&process) {
        Ok(stat) => !stat.contains("(sleep)") || stat.contains(") Z "),
        Err(_) => true,
    };
    assert!(!is_over());
    bench.stop("TERM");
    let stopped = Instant::now();
    while !is_over() {
        assert!(stopped.elapsed() < PATIENCE, "the build goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_pipeline_without_guests_is_told_where_they_may_be() {
    let bench = Bench::new();
    fs::remove_dir_all(bench.path("guests/sale-size")).unwrap();
    let mut command = wasmill(&["dev"]);
    settle_in(&mut command, bench.folder.path());
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = stderr(&refused);
    assert!(said.contains("`--guests FOLDER`"), "{said}");
}
