//! `[admin]` of a run that goes on: another address, another token, none at all.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wasmill::admin::Reception;
use wasmill::config::{Admin, Secret};
use wasmill::deployment::Trigger;
use wasmill::reload::{self, Answering, Happening, Requests};

use super::harness::{Listener, Runnable, TOKEN, report};
use crate::support::http::{Answer, call, get};
use crate::support::job::free_address;

const OTHER_TOKEN: &str = "fedcba9876543210-token";

/// For what takes milliseconds on a quiet machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn admin(listen: SocketAddr, token: Option<&str>) -> Admin {
    Admin {
        listen,
        token: token.map(|token| Secret::new(token.to_owned())),
    }
}

async fn open(admin: Option<&Admin>) -> (Reception, Requests) {
    let (control, requests) = reload::control();
    let monitor = Runnable::waiting().monitor();
    let reception = Reception::open(admin, monitor, control).await;
    (reception.expect("the address is free"), requests)
}

async fn settle(reception: &Reception, admin: Option<&Admin>) {
    let settle = reception.prepare(admin).await.expect("it can be");
    settle();
}

fn post(address: SocketAddr, token: Option<&str>) -> JoinHandle<Answer> {
    let bearer = token.map(|token| format!("Bearer {token}"));
    std::thread::spawn(move || {
        let headers: Vec<_> = bearer.iter().map(|b| ("Authorization", &**b)).collect();
        call(address, "POST", "/api/reload", &headers, b"").unwrap()
    })
}

/// Waits until nobody takes connections there.
fn is_given_up(address: SocketAddr) {
    let started = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(started.elapsed() < PATIENCE, "{address} still answers");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asked_at_the_address_before_gets_the_answer() {
    let (old, new) = (free_address(), free_address());
    let (reception, mut requests) = open(Some(&admin(old, None))).await;
    let mut listener = Listener::new(old);
    let asking = post(old, None);
    let request = requests.requests.recv().await.expect("somebody asks");

    let ready = reception.prepare(Some(&admin(new, None))).await.unwrap();
    assert_eq!(get(old, "/api/status").status, 200, "until it is settled");
    let trigger = Trigger::Api;
    let reason = "told before".to_owned();
    let refused = Happening::Refused { trigger, reason };
    requests.events.send(refused.now()).unwrap();
    ready();
    is_given_up(old);
    assert_eq!(get(new, "/healthz").status, 200);
    let (kind, _) = listener.event().expect("what was told before");
    assert_eq!(kind, "refused");
    assert_eq!(listener.event(), None);
    let status = get(new, "/api/status").json();
    assert_eq!(status["refused"]["reason"], "told before");

    request.answer.send(Ok(report())).unwrap();
    let answer = asking.join().unwrap();
    assert_eq!((answer.status, &answer.json()["version"]), (200, &4.into()));
    reception.stop().await;
    is_given_up(new);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_whoever_still_waits_at_the_address_before() {
    let (old, new) = (free_address(), free_address());
    let (reception, mut requests) = open(Some(&admin(old, None))).await;
    let asking = post(old, None);
    let _held = requests.requests.recv().await.expect("somebody asks");
    settle(&reception, Some(&admin(new, None))).await;
    reception.stop().await;
    let answer = asking.join().unwrap();
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(answer.json()["kind"], "not_running");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_somebody_has_is_refused_by_name_and_nothing_changes() {
    let own = free_address();
    let (reception, _requests) = open(Some(&admin(own, Some(TOKEN)))).await;
    let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = somebody.local_addr().unwrap();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], own.port()));
    for (wanted, words) in [
        (taken, "stop whoever has it"),
        (everywhere, "this run itself"),
    ] {
        let wanted = admin(wanted, Some(OTHER_TOKEN));
        let refused = reception.prepare(Some(&wanted)).await;
        let reason = refused.err().expect("it is taken");
        assert!(reason.contains(&wanted.listen.to_string()), "{reason}");
        assert!(reason.contains(words), "{reason}");
        assert!(reason.contains("`listen` in `[admin]`"), "{reason}");
        assert_eq!(get(own, "/api/status").status, 200);
        let answer = post(own, Some(OTHER_TOKEN)).join().unwrap();
        assert_eq!(answer.status, 401, "{}", answer.body);
    }
    reception.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_prepared_and_not_settled_leaves_nothing_behind() {
    let (own, other) = (free_address(), free_address());
    let (reception, _requests) = open(Some(&admin(own, None))).await;
    let prepared = reception.prepare(Some(&admin(other, None))).await.unwrap();
    assert!(TcpListener::bind(other).is_err(), "it is had");
    drop(prepared);
    assert!(TcpListener::bind(other).is_ok(), "and given back");
    assert_eq!(get(own, "/healthz").status, 200);
    reception.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_is_wanted_at_the_same_address() {
    let own = free_address();
    let (reception, mut requests) = open(Some(&admin(own, Some(TOKEN)))).await;
    let answering = tokio::spawn(async move {
        while let Some(request) = requests.requests.recv().await {
            let _ = request.answer.send(Ok(report()));
        }
    });
    let status = |token| post(own, token).join().unwrap().status;
    let statuses = || [None, Some(TOKEN), Some(OTHER_TOKEN)].map(status);
    assert_eq!(statuses(), [401, 200, 401]);
    settle(&reception, Some(&admin(own, Some(OTHER_TOKEN)))).await;
    assert_eq!(statuses(), [401, 401, 200]);
    settle(&reception, Some(&admin(own, None))).await;
    assert_eq!(statuses(), [200, 200, 200]);
    reception.stop().await;
    answering.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_goes_with_its_section_and_comes_back_with_it() {
    let own = free_address();
    let (reception, _requests) = open(None).await;
    is_given_up(own);
    for _ in 0..2 {
        settle(&reception, Some(&admin(own, None))).await;
        assert_eq!(get(own, "/healthz").status, 200);
        settle(&reception, None).await;
        is_given_up(own);
    }
    reception.stop().await;
}
