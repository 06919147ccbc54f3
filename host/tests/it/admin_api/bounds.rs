//! Whoever is slow, says too much or hangs up takes nothing from others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use wasmill::deployment::Version;
use wasmill::reload::Happening;

use super::harness::{Listener, Script, serve};
use crate::support::http::{call, get};

/// More than a question may take.
const LONG: Duration = Duration::from_secs(11);

/// Sends this, and waits for the other side to hang up.
fn is_given_up(address: SocketAddr, start: &str) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream.write_all(start.as_bytes()).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => !answer.starts_with(b"HTTP/1.1 200"),
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_answer_that_takes_its_time_has_it() {
    let served = serve(None).await;
    let address = served.address();
    let mut listener = Listener::new(address);
    served.engine.next(Script::Hold);
    let waiting = std::thread::spawn(move || call(address, "POST", "/api/reload", &[], b""));
    let halves = [
        String::new(),
        format!("POST /api/reload HTTP/1.1\r\nHost: {address}\r\nX-"),
        format!("POST /api/reload HTTP/1.1\r\nHost: {address}\r\nContent-Length: 100\r\n\r\n{{"),
        format!(
            "POST /api/reload HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n"
        ),
    ];
    let started = Instant::now();
    let halves = halves.map(|half| std::thread::spawn(move || is_given_up(address, &half)));
    for half in halves {
        assert!(half.join().unwrap(), "half a request is given up");
    }
    while started.elapsed() < LONG {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    served.engine.tell(Happening::Accepted {
        version: Version(1),
    });
    assert_eq!(listener.event().unwrap().0, "accepted");
    assert!(!waiting.is_finished(), "the change is waited for");
    assert_eq!(served.engine.asked().len(), 1, "no half request was one");
    served.server.stop().await;
    assert_eq!(waiting.join().unwrap().unwrap().status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_body_is_not_read() {
    let served = serve(None).await;
    let address = served.address();
    let body = vec![b' '; 64 << 20];
    let json = [("Content-Type", "application/json")];
    // It may hang up before everything is sent, and then the answer may be lost.
    let answer = call(address, "POST", "/api/reload", &json, &body);
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 413));
    assert_eq!(get(address, "/healthz").status, 200);
    assert!(served.engine.asked().is_empty());
    served.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_makes_room_for_the_next_change() {
    let served = serve(None).await;
    let address = served.address();
    for count in 1..=40 {
        served.engine.next(Script::Hold);
        let started = Instant::now();
        // Until the one before it was missed.
        while served.engine.asked().len() < count {
            let mut stream = TcpStream::connect(address).unwrap();
            let request = format!("POST /api/reload HTTP/1.1\r\nHost: {address}\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "no place becomes free"
            );
        }
    }
    served.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_answered_or_hung_up_on() {
    let served = serve(None).await;
    let address = served.address();
    for nonsense in [
        "\r\n\r\n",
        "GET\r\n\r\n",
        "POST /api/reload HTTP/9.9\r\n\r\n",
        "POST /api/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "POST /api/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        "POST /api/reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}",
    ] {
        assert!(is_given_up(address, nonsense), "{nonsense:?}");
    }
    assert_eq!(get(address, "/healthz").status, 200);
    assert!(served.engine.asked().is_empty());
    served.server.stop().await;
}
