//! Settings that a reload changes while the run goes on: what is kept, where it is asked and by whom, and
//! what is logged.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::binary::wasmill;
use crate::support::http::{self, Answer};
use crate::support::job::{free_address, send_signal, wait_for_exit};

/// For what takes seconds on a quiet machine.
const PATIENCE: Duration = Duration::from_mins(1);

const TOKENS: [&str; 2] = ["0123456789abcdef", "fedcba9876543210"];

/// What the file of the pipeline says.
#[derive(Debug, Clone)]
struct Settings {
    keep: usize,
    timeout: &'static str,
    /// address and token
    admin: Option<(SocketAddr, &'static str)>,
    level: &'static str,
    /// another column: other logic
    column: &'static str,
}

impl Settings {
    fn text(&self) -> String {
        let Self {
            keep,
            timeout,
            admin,
            level,
            column,
        } = self;
        let admin = admin.map_or(String::new(), |(listen, token)| {
            format!("[admin]\nlisten = \"{listen}\"\ntoken = \"{token}\"\n")
        });
        format!(
            r#"
[pipeline]
name = "live"

[source]
type = "generator"
rate = 100
columns = [
  {{ name = "transaction_id", from = "transactionId", type = "utf8" }},
  {column}
]

[checkpoint]
interval = "1s"
keep = {keep}

[commit]
max_wait = "100ms"

[shutdown]
timeout = "{timeout}"

[[sink]]
name = "db"
type = "sqlite"
path = "live.sqlite3"
tables = [{{ from = "source", table = "sales", key = ["transaction_id"] }}]

[dead_letters]
type = "sqlite"

[reload]
watch = false

[log]
level = "{level}"

{admin}
"#
        )
    }
}

/// A run of such a pipeline.
struct Live {
    folder: TempDir,
    child: Child,
}

impl Live {
    fn start(settings: &Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("pipeline.toml"), settings.text()).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let child = wasmill(&["run", "pipeline.toml"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary was built with the tests");
        Self { folder, child }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < PATIENCE, "no {what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn write(&self, settings: &Settings) {
        fs::write(self.path("pipeline.toml"), settings.text()).unwrap();
    }

    fn ask(&self, (address, token): (SocketAddr, &str), body: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("Authorization", &*bearer),
            ("Content-Type", "application/json"),
        ];
        http::call(address, "POST", "/api/reload", &headers, body.as_bytes())
            .unwrap_or_else(|error| panic!("{error}: {}", self.log()))
    }

    /// Has these settings taken, and whoever asks for it at this address told of each change.
    fn reload(&self, settings: &Settings, at: (SocketAddr, &str)) -> Vec<String> {
        self.write(settings);
        let answer = self.ask(at, "");
        assert_eq!(answer.status, 200, "{}: {}", answer.body, self.log());
        for token in TOKENS {
            assert!(!answer.body.contains(token), "{}", answer.body);
        }
        let changes = answer.json()["changes"].as_array().unwrap().clone();
        let texts = changes.iter().map(|change| change.as_str().unwrap());
        texts.map(str::to_owned).collect()
    }

    fn answers(&self, address: SocketAddr) {
        self.until("answer", || {
            http::request(address, "GET", "/readyz").is_ok_and(|answer| answer.status == 200)
        });
    }

    fn is_given_up(&self, address: SocketAddr) {
        self.until("end of it", || TcpStream::connect(address).is_err());
    }

    fn checkpoints(&self) -> usize {
        let lives = fs::read_dir(self.path("data/checkpoints/live"));
        let life = lives.ok().and_then(|mut lives| lives.next());
        let manifests = life.map(|life| fs::read_dir(life.unwrap().path().join("manifests")));
        manifests.map_or(0, |manifests| manifests.map_or(0, Iterator::count))
    }

    fn stop(mut self) {
        send_signal(&self.child, "TERM");
        let ended = wait_for_exit(&mut self.child, PATIENCE);
        assert!(ended.success(), "{ended}: {}", self.log());
        let log = self.log();
        for token in TOKENS {
            assert!(!log.contains(token), "{log}");
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings(listen: SocketAddr) -> Settings {
    Settings {
        keep: 2,
        timeout: "9s",
        admin: Some((listen, TOKENS[0])),
        level: "info",
        column: "",
    }
}

#[test]
fn settings_that_are_live_take_effect_in_a_reload() {
    let (first, second) = (free_address(), free_address());
    let mut wanted = settings(first);
    let live = Live::start(&wanted);
    live.answers(first);

    wanted.keep = 4;
    wanted.timeout = "20s";
    wanted.admin = Some((second, TOKENS[1]));
    let changes = live.reload(&wanted, (first, TOKENS[0]));
    for setting in [
        "checkpoint.keep was 2, is now 4",
        "shutdown.timeout was \"9s\", is now \"20s\"",
        "admin.listen was ",
        "admin.token was \"(not shown, ",
    ] {
        let told = changes.iter().any(|change| change.starts_with(setting));
        assert!(told, "{setting}: {changes:?}");
    }
    live.is_given_up(first);
    live.answers(second);
    assert_eq!(live.ask((second, TOKENS[0]), "").status, 401);
    live.until("fourth checkpoint", || live.checkpoints() == 4);

    wanted.keep = 2;
    let changes = live.reload(&wanted, (second, TOKENS[1]));
    assert_eq!(changes, ["checkpoint.keep was 4, is now 2"]);
    live.until("end of old checkpoints", || live.checkpoints() == 2);

    // Logic and settings at once: both take effect.
    wanted.column = "{ name = \"currency\", from = \"currency\", type = \"utf8\" }";
    wanted.level = "debug";
    let denied = "a request was denied";
    assert!(!live.log().contains(denied), "{}", live.log());
    live.reload(&wanted, (second, TOKENS[1]));
    assert_eq!(live.ask((second, TOKENS[0]), "").status, 401);
    live.until("other level", || live.log().contains(denied));
    live.stop();
}

#[test]
fn an_address_that_is_taken_is_refused_by_name_and_nothing_changes() {
    let own = free_address();
    let running = settings(own);
    let live = Live::start(&running);
    live.answers(own);
    let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = somebody.local_addr().unwrap();
    live.write(&Settings {
        keep: 5,
        admin: Some((taken, TOKENS[1])),
        ..running.clone()
    });
    for body in ["", "{\"dry_run\": true}"] {
        let answer = live.ask((own, TOKENS[0]), body);
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert_eq!(answer.json()["kind"], "invalid");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(&taken.to_string()), "{error}");
    }
    // A dry run has the address for a moment, and gives it back.
    let free = free_address();
    let wanted = Settings {
        keep: 5,
        admin: Some((free, TOKENS[0])),
        ..running.clone()
    };
    live.write(&wanted);
    let planned = live.ask((own, TOKENS[0]), "{\"dry_run\": true}");
    assert_eq!(planned.status, 200, "{}", planned.body);
    assert!(TcpListener::bind(free).is_ok(), "it is free");
    assert_eq!(
        live.reload(&running, (own, TOKENS[0])),
        Vec::<String>::new(),
        "nothing has changed"
    );
    live.stop();
}

#[test]
fn the_admin_server_goes_and_comes_with_its_section() {
    let own = free_address();
    let running = settings(own);
    let live = Live::start(&running);
    live.answers(own);
    let without = Settings {
        admin: None,
        ..running.clone()
    };
    let changes = live.reload(&without, (own, TOKENS[0]));
    assert!(changes[0].ends_with("is now null"), "{changes:?}");
    live.is_given_up(own);
    live.write(&running);
    send_signal(&live.child, "HUP");
    live.answers(own);
    live.stop();
}
