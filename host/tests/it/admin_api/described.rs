//! The server, held against its description: every path, method, status and field of it is really there,
//! and nothing else.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wasmill::deployment::{Outcome, Trigger, Version};
use wasmill::reload::{Happening, Refusal, Report, Wanted};

use super::asker::{Asker, JSON};
use super::harness::{
    Engine, Listener, Runnable, SECRET, Script, Served, TOKEN, deployment, report, serve,
    serve_control, serve_monitor,
};
use crate::support::http::{call, get, request};

/// What no test can bring about within its time: a thread that is stuck for five minutes.
const UNSEEN_ANSWER: (&str, &str, u16) = ("get", "/healthz", 503);
const UNSEEN_SCHEMA: &str = "/components/schemas/Stuck/";

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_as_it_is_described() {
    let runnable = Runnable::embedded();
    let monitor = runnable.monitor();
    let served = serve_monitor(monitor.clone(), None).await;
    let guarded = serve_control(monitor.clone(), &served.control, Some(TOKEN)).await;
    let here = served.address();
    let mut asker = Asker::new(here);

    waits(&mut asker).await;
    assert_eq!(asker.get(here, "/readyz").status, 503);
    let stop = CancellationToken::new();
    let run = runnable.run(&monitor, &stop);
    until_it_has_done_everything(&mut asker, here);

    in_force(&mut asker, &served);
    changes(&mut asker, &served);
    faulty_bodies(&mut asker, here);
    denials(&mut asker, here, guarded.address());
    events(&mut asker, &served);
    others(&mut asker, here);
    busy(&mut asker, &served);

    let mut unseen: BTreeSet<_> = asker.described();
    unseen.retain(|answer| !asker.answers.contains(answer));
    let (method, path, status) = UNSEEN_ANSWER;
    assert_eq!(
        unseen,
        [(method.to_owned(), path.to_owned(), status)].into()
    );
    let mut unseen = asker.schemas.unseen();
    unseen.retain(|property| !property.starts_with(UNSEEN_SCHEMA));
    assert_eq!(unseen, BTreeSet::new());
    let kinds = &asker.schemas.document()["components"]["schemas"]["Error"]["properties"]["kind"];
    let kinds = kinds["enum"].as_array().unwrap().iter();
    let kinds: BTreeSet<String> = kinds.map(|k| k.as_str().unwrap().to_owned()).collect();
    assert_eq!(asker.kinds, kinds);

    stop.cancel();
    assert!(run.join().unwrap());
    served.server.stop().await;
    guarded.stop().await;
}

/// What a run says that waits for a server.
async fn waits(asker: &mut Asker) {
    let waiting = Runnable::waiting();
    let monitor = waiting.monitor();
    let served = serve_monitor(monitor.clone(), None).await;
    let stop = CancellationToken::new();
    let run = waiting.run(&monitor, &stop);
    until(|| {
        let answer = asker.get(served.address(), "/readyz").json();
        Some(answer["waiting_for"][0]["part"].clone()).filter(|part| part == "postgres")
    });
    let status = asker.get(served.address(), "/api/status");
    assert!(!status.body.contains(SECRET), "{}", status.body);
    stop.cancel();
    assert!(!run.join().unwrap());
    served.server.stop().await;
}

/// Asks until every list of the status has something in it.
fn until_it_has_done_everything(asker: &mut Asker, address: SocketAddr) {
    let started = Instant::now();
    loop {
        let status = asker.get(address, "/api/status").json();
        let ready = asker.get(address, "/readyz").status == 200;
        let lists = [
            "recent_epochs",
            "recent_dead_letters",
            "partitions",
            "stages",
        ];
        let filled = lists
            .iter()
            .all(|list| status[list].as_array().is_some_and(|l| !l.is_empty()));
        let written = |value: &Value| !value.is_null();
        let checkpointed = written(&status["checkpoint"]["age"]);
        if ready && filled && checkpointed && written(&status["sinks"][0]["last_write"]) {
            break;
        }
        assert!(started.elapsed() < Duration::from_mins(2), "{status:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(asker.get(address, "/healthz").status, 200);
    assert_eq!(asker.get(address, "/metrics").status, 200);
    assert_eq!(asker.get(address, "/api/openapi.json").status, 200);
}

fn in_force(asker: &mut Asker, served: &Served) {
    let here = served.address();
    assert_eq!(
        asker.get(here, "/api/pipeline").json()["deployment"],
        Value::Null
    );
    let failed = Outcome::RolledBack {
        reason: "traps at once".to_owned(),
    };
    served.engine.deployed(vec![
        deployment(1, Trigger::Start, Outcome::Accepted),
        deployment(2, Trigger::File, failed),
        deployment(3, Trigger::Probation, Outcome::Probation),
    ]);
    let pipeline = asker.get(here, "/api/pipeline");
    assert!(!pipeline.body.contains(SECRET), "{}", pipeline.body);
    let pipeline = pipeline.json();
    assert_eq!(pipeline["deployment"], 3);
    assert_eq!(pipeline["source"]["name"], "financial_transactions");
    assert_eq!(
        pipeline["streams"][0]["columns"][0]["name"],
        "transaction_id"
    );
    assert_eq!(pipeline["stages"][1]["window"]["every"], "1 day");
    assert_eq!(pipeline["sinks"][0]["tables"][1]["key"][1], "category");
    assert_eq!(pipeline["sinks"][1]["indices"][0]["id"], "transaction_id");
    let components = asker.get(here, "/api/components").json();
    let currency = &components["components"][0];
    assert_eq!(currency["name"], "currency");
    assert_eq!(currency["limits"]["memory_bytes"], 64 << 20);
    assert_eq!(currency["limits"]["time_ms"], 1000);
    assert_eq!(currency["stages"], json!(["sales"]));
    let known = asker.get(here, "/api/deployments").json();
    assert_eq!(known["deployments"][1]["reason"], "traps at once");
    assert_eq!(known["deployments"][2]["version"], 3);
    assert_eq!(known["refused"], Value::Null);
}

fn changes(asker: &mut Asker, served: &Served) {
    let (here, engine) = (served.address(), &served.engine);
    let told = asker.post(here, "/api/reload", "").json();
    assert_eq!(told, serde_json::to_value(report()).unwrap());
    engine.next(Script::Answer(Ok(Report::default())));
    let told = asker
        .post(here, "/api/reload", r#"{"dry_run":true}"#)
        .json();
    assert_eq!(told["version"], Value::Null);
    asker.post(here, "/api/rollback", "{}");
    asker.post(here, "/api/rollback", r#"{"version":2,"dry_run":true}"#);
    let bodies = [
        json!({ "dry_run": true }),
        json!({ "version": 2, "dry_run": true }),
    ];
    for (name, body) in ["Reload", "Rollback"].iter().zip(&bodies) {
        asker
            .schemas
            .check(&format!("/components/schemas/{name}"), body);
    }
    let wanted = [
        (Wanted::Files, Trigger::Api, false),
        (Wanted::Files, Trigger::Api, true),
        (Wanted::Previous, Trigger::Rollback, false),
        (Wanted::Version(Version(2)), Trigger::Rollback, true),
    ];
    assert_eq!(engine.asked(), wanted);

    let why = || "because".to_owned();
    for path in ["/api/reload", "/api/rollback"] {
        for (refusal, status, kind) in [
            (Refusal::Invalid(why()), 422, "invalid"),
            (Refusal::NotLive(why()), 422, "not_live"),
            (Refusal::States(why()), 422, "states"),
            (Refusal::Rehearsal(why()), 422, "rehearsal"),
            (Refusal::Superseded, 409, "superseded"),
            (Refusal::NotRunning(why()), 503, "not_running"),
        ] {
            refuses(asker, engine, here, path, refusal, (status, kind));
        }
    }
    let refusal = Refusal::NoSuchVersion(why());
    refuses(
        asker,
        engine,
        here,
        "/api/rollback",
        refusal,
        (404, "no_such_version"),
    );
    engine.next(Script::Drop);
    let lost = asker.post(here, "/api/reload", "");
    assert_eq!(lost.status, 503, "{}", lost.body);
}

fn refuses(
    asker: &mut Asker,
    engine: &Engine,
    address: SocketAddr,
    path: &str,
    refusal: Refusal,
    (status, kind): (u16, &str),
) {
    let error = refusal.to_string();
    engine.next(Script::Answer(Err(refusal)));
    let answer = asker.post(address, path, "");
    assert_eq!(answer.status, status);
    assert_eq!(answer.json(), json!({ "error": error, "kind": kind }));
}

fn faulty_bodies(asker: &mut Asker, here: SocketAddr) {
    let wrong = [
        "not JSON",
        "[]",
        "[true]",
        "null",
        "1",
        r#"{"dry_run":"yes"}"#,
        r#"{"dry_run":1}"#,
        r#"{"dryrun":true}"#,
        r#"{"dry_run":true} x"#,
        "\u{0}",
    ];
    for path in ["/api/reload", "/api/rollback"] {
        for body in wrong {
            assert_eq!(asker.post(here, path, body).status, 400, "{body}");
        }
        let long = format!("{{\"dry_run\":true{}}}", " ".repeat(5000));
        assert_eq!(asker.post(here, path, &long).status, 413);
        let chunked = [JSON, ("Transfer-Encoding", "chunked")];
        let chunks = format!("1388\r\n{}\r\n0\r\n\r\n", " ".repeat(5000));
        let answer = asker.ask(here, "POST", path, &chunked, &chunks);
        assert_eq!(answer.status, 413);
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "json",
            "",
        ] {
            let kind = [("Content-Type", kind)];
            let answer = asker.ask(here, "POST", path, &kind, "{}");
            assert_eq!(answer.status, 415, "{kind:?}");
        }
        let charset = [("Content-Type", "Application/JSON; charset=utf-8")];
        let answer = asker.ask(here, "POST", path, &charset, "{}");
        assert_eq!(answer.status, 200);
    }
    for version in ["0", "-1", "1.5", "4294967296", "\"1\""] {
        let body = format!("{{\"version\":{version}}}");
        let answer = asker.post(here, "/api/rollback", &body);
        assert_eq!(answer.status, 400, "{version}");
    }
}

fn denials(asker: &mut Asker, here: SocketAddr, guarded: SocketAddr) {
    let wrong = ("Authorization", "Bearer 0123456789abcdef-other");
    let right = format!("Bearer {TOKEN}");
    let paths = asker.schemas.document()["paths"]
        .as_object()
        .unwrap()
        .clone();
    for (path, methods) in paths.iter().filter(|(path, _)| path.starts_with("/api/")) {
        let is_change = methods.get("post").is_some();
        let method = if is_change { "POST" } else { "GET" };
        let answer = asker.ask(here, method, path, &[("Host", "evil.example")], "");
        assert_eq!(answer.status, 403, "{path}");
        let answer = asker.ask(here, method, path, &[("Origin", "http://evil.example")], "");
        assert_eq!(answer.status, 403, "{path}");
        assert!(!answer.head.contains("access-control"), "{}", answer.head);
        let answer = asker.ask(guarded, method, path, &[wrong], "");
        assert_eq!(answer.status, 401, "{path}");
        assert!(
            answer.head.contains("www-authenticate: bearer"),
            "{}",
            answer.head
        );
        assert!(!answer.body.contains(TOKEN), "{}", answer.body);
        let without = if path == "/api/events" {
            403
        } else if is_change {
            401
        } else {
            200
        };
        let host = if without == 403 {
            [("Host", "evil.example")]
        } else {
            [("Host", "localhost")]
        };
        let answer = asker.ask(guarded, method, path, &host, "");
        assert_eq!(answer.status, without, "{path}");
        if path != "/api/events" {
            let allowed = [
                ("Authorization", right.as_str()),
                ("Host", "wasmill.prod.svc"),
            ];
            let answer = asker.ask(guarded, method, path, &allowed, "");
            assert_eq!(answer.status, 200, "{path}");
        }
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = asker.ask(guarded, "GET", path, &[("Host", "wasmill.prod.svc")], "");
        assert_eq!(answer.status, 200, "{path}");
    }
}

fn events(asker: &mut Asker, served: &Served) {
    let here = served.address();
    let mut listener = Listener::new(here);
    let (version, trigger) = (Version(4), Trigger::File);
    let reason = || "traps at once".to_owned();
    let all = [
        ("requested", Happening::Requested { trigger }),
        ("deployed", Happening::Deployed { version, trigger }),
        ("accepted", Happening::Accepted { version }),
        (
            "failed",
            Happening::Failed {
                version,
                reason: reason(),
            },
        ),
        (
            "backfill_failed",
            Happening::BackfillFailed {
                aggregates: "`totals`".to_owned(),
                reason: reason(),
            },
        ),
        (
            "refused",
            Happening::Refused {
                trigger,
                reason: reason(),
            },
        ),
    ];
    for (kind, what) in all {
        served.engine.tell(what);
        let (told, data) = listener.event().unwrap();
        assert_eq!((told.as_str(), &data["event"]), (kind, &json!(kind)));
        asker.schemas.check("/components/schemas/Event", &data);
    }
    let lagged = json!({ "event": "lagged", "missed": 3 });
    asker.schemas.check("/components/schemas/Event", &lagged);
    asker
        .answers
        .insert(("get".to_owned(), "/api/events".to_owned(), 200));

    // The refusal can be asked for afterwards, until another version is in force.
    let refused = |asker: &mut Asker| asker.get(here, "/api/deployments").json()["refused"].clone();
    assert_eq!(
        until(|| Some(refused(asker)).filter(|r| !r.is_null()))["reason"],
        "traps at once"
    );
    assert_eq!(
        asker.get(here, "/api/status").json()["refused"]["trigger"],
        "file"
    );
    served.engine.tell(Happening::Deployed { version, trigger });
    until(|| refused(asker).is_null().then_some(()));
    served.engine.tell(Happening::Refused {
        trigger,
        reason: reason(),
    });
    until(|| Some(refused(asker)).filter(|r| !r.is_null()));
}

fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(
            started.elapsed() < Duration::from_mins(1),
            "it does not come"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn busy(asker: &mut Asker, served: &Served) {
    let here = served.address();
    let mut listeners = Vec::new();
    let full = loop {
        match Listener::ask(here) {
            Ok(listener) => listeners.push(listener),
            Err(answer) => break answer,
        }
        assert!(listeners.len() <= 32, "there is no bound");
    };
    asker.note("GET", "/api/events", &full);
    assert_eq!(full.status, 429);

    let before = served.engine.asked().len();
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            served.engine.next(Script::Hold);
            std::thread::spawn(move || call(here, "POST", "/api/reload", &[], b""))
        })
        .collect();
    until(|| (served.engine.asked().len() == before + 8).then_some(()));
    for path in ["/api/reload", "/api/rollback"] {
        assert_eq!(asker.post(here, path, "").status, 429);
    }
    // Others are answered all the same.
    for path in ["/healthz", "/metrics", "/api/status"] {
        assert_eq!(asker.get(here, path).status, 200);
    }
    let head = request(here, "HEAD", "/api/events").unwrap();
    assert_eq!((head.status, head.body.as_str()), (429, ""));
    drop(waiting);
}

/// What is not described as a path: other paths, and other methods.
fn others(asker: &mut Asker, here: SocketAddr) {
    let paths = asker.schemas.document()["paths"]
        .as_object()
        .unwrap()
        .clone();
    let described: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(|method| (method.to_ascii_uppercase(), path.clone()))
        })
        .collect();
    for path in [
        "/",
        "/api",
        "/api/",
        "/api/reload/",
        "/API/status",
        "/%61pi/status",
    ] {
        let answer = get(here, path);
        assert_eq!(answer.status, 404, "{path}");
        let error = answer.json();
        asker.schemas.check("/components/schemas/Error", &error);
        asker
            .kinds
            .insert(error["kind"].as_str().unwrap().to_owned());
        let routes = error["paths"].as_array().unwrap().iter();
        let field = |route: &Value, name: &str| route[name].as_str().unwrap().to_owned();
        let routes = routes.map(|route| (field(route, "method"), field(route, "path")));
        assert_eq!(routes.collect::<BTreeSet<_>>(), described);
    }
    for (method, path) in &described {
        let mut methods = vec!["DELETE", "PUT", "PATCH", "TRACE"];
        methods.push(if method == "GET" { "POST" } else { "GET" });
        for wrong in methods {
            let answer = request(here, wrong, path).unwrap();
            assert_eq!(answer.status, 405, "{wrong} {path}");
            assert!(answer.head.contains("allow: "), "{}", answer.head);
            let error = answer.json();
            asker.schemas.check("/components/schemas/Error", &error);
            asker
                .kinds
                .insert(error["kind"].as_str().unwrap().to_owned());
        }
        let options = request(here, "OPTIONS", path).unwrap();
        assert_eq!((options.status, options.body.as_str()), (204, ""));
        let allow = options
            .head
            .lines()
            .find_map(|line| line.strip_prefix("allow: "));
        let allow = allow.map(str::to_ascii_uppercase).unwrap_or_default();
        assert!(
            allow.split(',').any(|allowed| allowed.trim() == method),
            "{path}: {allow}"
        );
        assert!(!options.head.contains("access-control"), "{}", options.head);
        let head = request(here, "HEAD", path).unwrap();
        let expected = if method == "GET" { 200 } else { 405 };
        assert_eq!((head.status, head.body.as_str()), (expected, ""), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_holds_at_once() {
    let served = serve(None).await;
    assert_eq!(served.post("/api/reload", "{}").status, 200);
    let token = wasmill::config::Secret::new(TOKEN.to_owned());
    served.server.set_token(Some(&token));
    assert_eq!(served.post("/api/reload", "{}").status, 401);
    served.server.stop().await;
}
