//! Listening: how long, how slowly, and until when.

use std::time::{Duration, Instant};

use wasmill::deployment::{Trigger, Version};
use wasmill::reload::Happening;

use super::harness::{Listener, Script, serve};
use crate::support::http::get;

#[tokio::test(flavor = "multi_thread")]
async fn every_listener_hears_everything_in_order() {
    let served = serve(None).await;
    let mut listeners = [
        Listener::new(served.address()),
        Listener::new(served.address()),
    ];
    for version in 1..=100 {
        let version = Version(version);
        served.engine.tell(Happening::Accepted { version });
    }
    for listener in &mut listeners {
        for version in 1..=100 {
            let (kind, data) = listener.event().unwrap();
            assert_eq!(
                (kind.as_str(), &data["version"]),
                ("accepted", &version.into())
            );
        }
    }
    served.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_is_too_slow_is_told_what_it_missed() {
    let served = serve(None).await;
    let mut slow = Listener::new(served.address());
    let reason = "x".repeat(1000);
    let trigger = Trigger::File;
    // It reads nothing meanwhile: what the buffers do not hold is left out.
    for _ in 0..20_000 {
        let reason = reason.clone();
        served.engine.tell(Happening::Refused { trigger, reason });
    }
    served.engine.tell(Happening::Requested { trigger });
    let (mut heard, mut missed) = (0, 0);
    loop {
        let (kind, data) = slow.event().expect("it is still told");
        match kind.as_str() {
            "refused" => heard += 1,
            "lagged" => missed += data["missed"].as_u64().unwrap(),
            "requested" => break,
            other => panic!("nobody told {other}"),
        }
    }
    assert!(missed > 0, "{heard} heard");
    assert_eq!(heard + missed, 20_000);
    served.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_stream_and_answers_who_waits() {
    let served = serve(None).await;
    let address = served.address();
    let mut listener = Listener::new(address);
    served.engine.next(Script::Hold);
    let waiting = std::thread::spawn(move || {
        crate::support::http::call(address, "POST", "/api/reload", &[], b"").unwrap()
    });
    while served.engine.asked().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let started = Instant::now();
    served.server.stop().await;
    assert_eq!(listener.event(), None);
    let answer = waiting.join().unwrap();
    assert_eq!(
        (answer.status, &answer.json()["kind"]),
        (503, &"not_running".into())
    );
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_leaves_makes_room_for_another() {
    let served = serve(None).await;
    let address = served.address();
    let many = 12;
    let listeners: Vec<_> = (0..many).map(|_| Listener::new(address)).collect();
    assert_eq!(get(address, "/api/events").status, 429);
    drop(listeners);
    // It is noticed with the next thing that is sent.
    let started = Instant::now();
    loop {
        served.engine.tell(Happening::Accepted {
            version: Version(1),
        });
        let head = crate::support::http::request(address, "HEAD", "/api/events").unwrap();
        if head.status == 200 {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_mins(1),
            "no place becomes free"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    served.server.stop().await;
}
