//! `wasmill demo` over the shipped pipeline: in lines, and in a terminal of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{Termios, tcgetattr};
use rusqlite::{Connection, OpenFlags};

use crate::support::binary::{stderr, stdout, wasmill};

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const PATIENCE: Duration = Duration::from_mins(1);

/// `wasmill demo` of the shipped pipeline, with its data in this folder.
fn demo(data: &Path, arguments: &[&str]) -> Command {
    let mut command = wasmill(&["demo", "pipeline.toml"]);
    command
        .current_dir(WORKSPACE)
        .args(["--data", data.to_str().unwrap()])
        .args(arguments);
    command
}

/// The first row of this query, of integers.
fn ask<const N: usize>(data: &Path, query: &str) -> [i64; N] {
    let connection = Connection::open(data.join("ecommerce-sales.sqlite3")).unwrap();
    let read = |row: &rusqlite::Row<'_>| Ok(std::array::from_fn(|i| row.get(i).unwrap()));
    connection.query_row(query, [], read).unwrap()
}

/// The rows of the raw table, if there is one already.
fn rows(data: &Path) -> Option<i64> {
    // Opened so, a file that is not there is not made.
    let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let path = data.join("ecommerce-sales.sqlite3");
    let connection = Connection::open_with_flags(path, read_only).ok()?;
    let count = "SELECT count(*) FROM transactions";
    connection.query_row(count, [], |row| row.get(0)).ok()
}

#[test]
fn in_lines_it_computes_equal_sums_goes_on_and_starts_over() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let picture = data.join("view.svg");
    let run = |arguments: &[&str]| {
        let output = demo(data, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    let text = run(&[
        "--plain",
        "--seconds",
        "3",
        "--picture",
        picture.to_str().unwrap(),
    ]);
    assert!(text.contains(" sums equal: "), "{text}");
    assert!(!text.contains("NOT EQUAL"), "{text}");
    assert!(
        text.contains("sales_per_day: total_sales by transaction_date"),
        "{text}"
    );
    assert!(
        text.contains("sales_per_category: total_sales by category"),
        "{text}"
    );
    assert!(text.contains("ecommerce-sales.sqlite3"), "{text}");
    let drawn = std::fs::read_to_string(&picture).unwrap();
    assert!(
        drawn.starts_with("<svg") && drawn.contains("ecommerce-sales"),
        "{drawn}"
    );

    let sums = "SELECT (SELECT count(*) FROM transactions),
                       (SELECT sum(total_amount_base) FROM transactions_minor),
                       (SELECT sum(total_sales) FROM sales_per_day_minor),
                       (SELECT sum(total_sales) FROM sales_per_category_minor)";
    let [rows, all, days, categories] = ask(data, sums);
    assert!(rows > 0);
    assert_eq!([days, categories], [all, all]);

    let epoch = "SELECT max(epoch) FROM wasmill_progress";
    let [first] = ask(data, epoch);
    // stdout is no terminal, so these are lines, too.
    run(&["--seconds", "2"]);
    let [second] = ask(data, epoch);
    assert!(second > first, "{second} after {first}");
    let [more] = ask(data, "SELECT count(*) FROM transactions");
    assert!(more > rows, "{more} after {rows}");

    run(&["--seconds", "1", "--rate", "100", "--fresh"]);
    let [fresh] = ask(data, "SELECT count(*) FROM transactions");
    assert!(fresh < rows, "{fresh} after {rows}");
}

#[test]
fn components_that_are_not_built_are_named_with_what_builds_them() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = std::fs::read_to_string(format!("{WORKSPACE}/pipeline.toml")).unwrap();
    std::fs::write(folder.path().join("pipeline.toml"), shipped).unwrap();
    let output = wasmill(&["demo", "--plain"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let reason = stderr(&output);
    assert!(reason.contains("target/guests/currency.wasm"), "{reason}");
    assert!(reason.contains("cargo xtask guests"), "{reason}");
    assert!(!folder.path().join("data").exists());
}

/// The demo in a terminal of 100 by 30 cells.
struct Screen {
    child: Child,
    keyboard: File,
    /// everything that it wrote
    written: Arc<Mutex<String>>,
    before: Termios,
}

impl Screen {
    fn open(data: &Path, arguments: &[&str]) -> Self {
        let size = Winsize {
            ws_row: 30,
            ws_col: 100,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).unwrap();
        let before = tcgetattr(&pty.master).unwrap();
        let terminal = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = demo(data, arguments)
            .env("TERM", "xterm-256color")
            .stdin(terminal())
            .stdout(terminal())
            .stderr(terminal())
            .spawn()
            .unwrap();
        let keyboard = File::from(pty.master);
        let mut screen = keyboard.try_clone().unwrap();
        let written = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&written);
        // Ends with an error when the last one that has the terminal open is gone.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                shared.lock().unwrap().push_str(&text);
            }
        });
        Self {
            child,
            keyboard,
            written,
            before,
        }
    }

    fn written(&self) -> String {
        self.written.lock().unwrap().clone()
    }

    /// The end of that.
    fn tail(&self) -> String {
        let written = self.written();
        let from = written.char_indices().rev().nth(2_000);
        written[from.map_or(0, |(at, _)| at)..].to_owned()
    }

    fn press(&mut self, key: &str) {
        self.keyboard.write_all(key.as_bytes()).unwrap();
    }

    /// Waits until this was written.
    fn wait_for(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.written().contains(text) {
            assert!(Instant::now() < end, "no `{text}` in {:?}", self.tail());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end, and returns the exit code.
    fn end(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "it goes on: {:?}", self.tail());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_as_before(&self) -> bool {
        tcgetattr(&self.keyboard).unwrap() == self.before
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

#[test]
fn q_stops_it_in_order_and_gives_the_terminal_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut screen = Screen::open(folder.path(), &[]);
    screen.wait_for(ENTER);
    let end = Instant::now() + PATIENCE;
    while rows(folder.path()).unwrap_or(0) == 0 {
        assert!(Instant::now() < end, "no row in the table");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(!screen.is_as_before(), "keys come at once, and unseen");
    screen.press("?");
    // Cells that stay as they are are not written again: one that is nowhere else tells it best.
    screen.wait_for("┌");
    screen.press("q");
    assert_eq!(screen.end(), Some(0), "{:?}", screen.tail());
    screen.wait_for("sqlite3 -box");
    assert!(screen.is_as_before());
    let written = screen.written();
    let (before, after) = written.split_once(LEAVE).unwrap();
    let (_, view) = before.split_once(ENTER).unwrap();
    assert!(after.contains("records/s"), "the summary stays: {after}");
    assert!(!view.contains("INFO"), "the log does not tear the view");
    let log = std::fs::read_to_string(folder.path().join("ecommerce-sales.log")).unwrap();
    assert!(log.contains("running"), "{log}");
}

#[test]
fn a_run_that_fails_gives_the_terminal_back_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    // A file that is there and is no database.
    let database = folder.path().join("ecommerce-sales.sqlite3");
    std::fs::write(&database, "no database".repeat(100)).unwrap();
    let mut screen = Screen::open(folder.path(), &[]);
    assert_eq!(screen.end(), Some(1), "{:?}", screen.tail());
    screen.wait_for("error: ");
    assert!(screen.is_as_before());
    assert!(screen.written().contains(LEAVE));
}
