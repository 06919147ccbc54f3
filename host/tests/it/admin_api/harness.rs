//! A server, what it tells of, and an engine that answers as a test wants.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use wasmill::admin::AdminServer;
use wasmill::config::{self, Admin, Embedding, Pipeline, Secret};
use wasmill::deployment::{Outcome, Trigger, Version};
use wasmill::description::Description;
use wasmill::guest::GuestEngine;
use wasmill::pipeline::{self, Endpoints, Monitor, PipelineError, Plan, RunOptions};
use wasmill::reload::{
    self, Control, Event, Happening, Refusal, Report, Request, Requests, Wanted,
};
use wasmill::status::DeploymentStatus;

use crate::support::http::{self, Answer};

pub(super) const TOKEN: &str = "0123456789abcdef-token";

/// `${NAME:-default}` everywhere, but for one that is a secret.
pub(super) const SECRET: &str = "hunter2";

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipeline.toml");

fn environment(name: &str) -> Option<String> {
    match name {
        // Port 9 is "discard", and nobody listens there.
        "DATABASE_URL" => Some(format!("postgres://me:{SECRET}@127.0.0.1:9/shop")),
        "ELASTICSEARCH_URL" => Some(format!("http://me:{SECRET}@127.0.0.1:9")),
        _ => None,
    }
}

/// The shipped pipeline, loaded.
pub(super) struct Shipped {
    pipeline: Pipeline,
    plan: Arc<Plan>,
    pub(super) description: Description,
}

/// Once for all tests: loading compiles its components.
static SHIPPED: LazyLock<Shipped> = LazyLock::new(|| {
    let engine = GuestEngine::new(None).unwrap();
    let (pipeline, mut diagnostics) = config::load(Path::new(FILE), &environment).unwrap();
    let plan = Plan::build(&pipeline, &engine, &mut diagnostics);
    let plan = plan.unwrap_or_else(|| panic!("{diagnostics}"));
    Shipped {
        description: Description::of(&pipeline, &plan),
        pipeline,
        plan: Arc::new(plan),
    }
});

/// A pipeline to run.
pub(super) struct Runnable {
    pipeline: Pipeline,
    plan: Arc<Plan>,
    _data: Option<TempDir>,
}

impl Runnable {
    /// The shipped pipeline, whose servers are away.
    pub(super) fn waiting() -> Self {
        Self {
            pipeline: SHIPPED.pipeline.clone(),
            plan: Arc::clone(&SHIPPED.plan),
            _data: None,
        }
    }

    /// The same with nothing installed.
    pub(super) fn embedded() -> Self {
        let data = tempfile::tempdir().unwrap();
        let embedding = Embedding {
            data: data.path().to_owned(),
            rate: Some(500.0),
            bad_share: Some(0.05),
            ..Embedding::default()
        };
        let (pipeline, mut diagnostics) = config::load(Path::new(FILE), &environment).unwrap();
        let embedded = config::embed(pipeline, &embedding, &mut diagnostics).unwrap();
        let mut pipeline = embedded.pipeline;
        pipeline.checkpoint.interval = Duration::from_millis(200);
        let engine = GuestEngine::new(None).unwrap();
        let plan = Plan::build(&pipeline, &engine, &mut diagnostics).unwrap();
        Self {
            pipeline,
            plan: Arc::new(plan),
            _data: Some(data),
        }
    }

    pub(super) fn monitor(&self) -> Arc<Monitor> {
        Monitor::new(&self.pipeline, &self.plan)
    }

    /// Runs it until `stop`; then says whether it had begun.
    pub(super) fn run(&self, monitor: &Arc<Monitor>, stop: &CancellationToken) -> JoinHandle<bool> {
        let plan = Arc::clone(&self.plan);
        let options = RunOptions {
            once: false,
            stop: stop.clone(),
            monitor: Arc::clone(monitor),
            reloading: None,
        };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            let connect = Endpoints::of(&plan);
            let run = pipeline::run(&plan, &connect, &options);
            match runtime.block_on(run) {
                Ok(_) => true,
                Err(PipelineError::StoppedWhileStarting(_)) => false,
                Err(error) => panic!("{error}"),
            }
        })
    }
}

/// What the engine does with a request.
pub(super) enum Script {
    Answer(Result<Report, Refusal>),
    /// nothing, for as long as the engine is there
    Hold,
    /// it drops the request
    Drop,
}

/// Answers requests as it is told, and with a new version where it is not.
#[derive(Clone)]
pub(super) struct Engine {
    events: broadcast::Sender<Event>,
    deployments: Arc<watch::Sender<Arc<Vec<DeploymentStatus>>>>,
    script: Arc<Mutex<VecDeque<Script>>>,
    asked: Arc<Mutex<Vec<(Wanted, Trigger, bool)>>>,
}

impl Engine {
    fn start(requests: Requests, description: &Description) -> Self {
        let Requests {
            mut requests,
            events,
            deployments,
            description: described,
        } = requests;
        described.send_replace(Arc::new(description.clone()));
        let engine = Self {
            events,
            deployments: Arc::new(deployments),
            script: Arc::default(),
            asked: Arc::default(),
        };
        let serving = engine.clone();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Some(request) = requests.recv().await {
                serving.serve(request, &mut held);
            }
            drop(described);
        });
        engine
    }

    fn serve(&self, request: Request, held: &mut Vec<Request>) {
        let asked = (request.wanted, request.trigger, request.dry_run);
        self.asked.lock().unwrap().push(asked);
        let scripted = self.script.lock().unwrap().pop_front();
        match scripted.unwrap_or_else(|| Script::Answer(Ok(report()))) {
            Script::Answer(answer) => {
                let _ = request.answer.send(answer);
            }
            Script::Hold => held.push(request),
            Script::Drop => {}
        }
    }

    pub(super) fn next(&self, script: Script) {
        self.script.lock().unwrap().push_back(script);
    }

    pub(super) fn asked(&self) -> Vec<(Wanted, Trigger, bool)> {
        self.asked.lock().unwrap().clone()
    }

    pub(super) fn tell(&self, what: Happening) {
        // Without a listener there is nobody to tell.
        let _ = self.events.send(what.now());
    }

    pub(super) fn deployed(&self, deployments: Vec<DeploymentStatus>) {
        self.deployments.send_replace(Arc::new(deployments));
    }
}

pub(super) fn report() -> Report {
    Report {
        version: Some(Version(4)),
        changes: vec!["component `currency`: 0.1.0 becomes 0.2.0".to_owned()],
        states: vec!["`sales_per_day`: taken over as they are".to_owned()],
        warnings: vec!["there is no way back".to_owned()],
    }
}

pub(super) fn deployment(version: u32, trigger: Trigger, outcome: Outcome) -> DeploymentStatus {
    DeploymentStatus {
        version: Version(version),
        trigger,
        deployed_at: "2026-11-23T07:00:00.000Z".to_owned(),
        epoch: 7 * u64::from(version),
        positions: [(0, 1234), (1, 0)].into(),
        components: [("currency".to_owned(), "ab".repeat(32))].into(),
        outcome,
    }
}

/// A server with an engine behind it.
pub(super) struct Served {
    pub(super) server: AdminServer,
    pub(super) engine: Engine,
    pub(super) control: Control,
    pub(super) name: String,
}

/// A server on a free port of this machine, over a run that never begins.
pub(super) async fn serve(token: Option<&str>) -> Served {
    let monitor = Monitor::new(&SHIPPED.pipeline, &SHIPPED.plan);
    serve_monitor(monitor, token).await
}

/// The same over a run that this monitor counts.
pub(super) async fn serve_monitor(monitor: Arc<Monitor>, token: Option<&str>) -> Served {
    let (control, requests) = reload::control();
    let engine = Engine::start(requests, &SHIPPED.description);
    let server = serve_control(monitor, &control, token).await;
    Served {
        server,
        engine,
        control,
        name: SHIPPED.pipeline.name.clone(),
    }
}

/// One more server for the same engine.
pub(super) async fn serve_control(
    monitor: Arc<Monitor>,
    control: &Control,
    token: Option<&str>,
) -> AdminServer {
    let admin = Admin {
        listen: ([127, 0, 0, 1], 0).into(),
        token: token.map(|token| Secret::new(token.to_owned())),
    };
    let server = AdminServer::start(&admin, monitor, control.clone()).await;
    server.expect("there is a free port")
}

impl Served {
    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(super) fn post(&self, path: &str, body: &str) -> Answer {
        let json = [("Content-Type", "application/json")];
        http::call(self.address(), "POST", path, &json, body.as_bytes()).unwrap()
    }
}

/// Somebody who listens to `/api/events`.
pub(super) struct Listener(BufReader<TcpStream>);

impl Listener {
    /// Asks for events; the head of the answer and its first line are there when this returns.
    pub(super) fn new(address: SocketAddr) -> Self {
        let asked = Self::ask(address);
        asked.unwrap_or_else(|answer| panic!("{answer:?}"))
    }

    /// The same; else the answer of a server that has no place.
    pub(super) fn ask(address: SocketAddr) -> Result<Self, Answer> {
        let mut stream = TcpStream::connect(address).unwrap();
        let patience = Duration::from_mins(1);
        stream.set_read_timeout(Some(patience)).unwrap();
        // HTTP/1.0: the stream comes as it is, not in chunks.
        let request = format!("GET /api/events HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut listener = Self(BufReader::new(stream));
        let head = listener.lines();
        let status = head[0].split(' ').nth(1).unwrap().parse().unwrap();
        if status != 200 {
            return Err(Answer {
                status,
                head: head.join("\r\n").to_ascii_lowercase(),
                body: listener.lines().concat(),
            });
        }
        let kind = "content-type: text/event-stream";
        assert!(head.iter().any(|line| line == kind), "{head:?}");
        assert_eq!(listener.lines(), [": listening"]);
        Ok(listener)
    }

    /// The lines up to the next empty one; none at the end of the stream.
    pub(super) fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.0.read_line(&mut line).expect("the server goes on");
            let line = line.trim_end().to_owned();
            if read == 0 || line.is_empty() {
                return lines;
            }
            lines.push(line);
        }
    }

    /// The next event, comments left out; `None` at the end of the stream.
    pub(super) fn event(&mut self) -> Option<(String, serde_json::Value)> {
        loop {
            let lines = self.lines();
            if lines.is_empty() {
                return None;
            }
            if lines.iter().all(|line| line.starts_with(':')) {
                continue;
            }
            let field = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name));
            let kind = field("event: ").expect("an event has a kind");
            let data = field("data: ").expect("an event has data");
            return Some((kind.to_owned(), serde_json::from_str(data).unwrap()));
        }
    }
}
