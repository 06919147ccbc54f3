//! The proxy between plain sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::*;

/// A server that sends back what it gets.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut bytes = [0; 1024];
                while let Ok(length @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&bytes[..length]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address.to_string()
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ask(stream: &mut TcpStream, text: &str) -> std::io::Result<String> {
    stream.write_all(text.as_bytes())?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8(answer).unwrap())
}

#[test]
fn connections_are_refused_cut_and_taken_again() {
    let proxy = Proxy::to(&echo());
    let (mut first, mut second) = (connect(&proxy), connect(&proxy));
    assert_eq!(ask(&mut first, "one").unwrap(), "one");
    proxy.refuse();
    let refused = TcpStream::connect(proxy.address()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(ask(&mut first, "two").unwrap(), "two");
    assert_eq!(ask(&mut second, "two").unwrap(), "two");
    proxy.cut(Cut::Rst);
    let mut rest = Vec::new();
    let error = second.read_to_end(&mut rest).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    proxy.accept();
    let mut third = connect(&proxy);
    assert_eq!(ask(&mut third, "three").unwrap(), "three");
    proxy.cut(Cut::Fin);
    assert_eq!(third.read_to_end(&mut rest).unwrap(), 0);
    assert_eq!(proxy.accepted(), 3);
}

#[test]
fn what_is_held_back_comes_later_and_whole() {
    let proxy = Proxy::to(&echo());
    let mut stream = connect(&proxy);
    assert_eq!(ask(&mut stream, "a").unwrap(), "a");
    proxy.stall();
    stream.write_all(b"kept").unwrap();
    let short = Duration::from_millis(100);
    stream.set_read_timeout(Some(short)).unwrap();
    let mut answer = [0; 4];
    let silent = stream.read(&mut answer).unwrap_err();
    assert_eq!(silent.kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    proxy.go_on();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"kept");
    proxy.delay(short, short);
    let started = Instant::now();
    assert_eq!(ask(&mut stream, "slow").unwrap(), "slow");
    assert!(started.elapsed() >= 2 * short);
}

#[test]
fn a_connection_ends_after_so_many_bytes() {
    let proxy = Proxy::to(&echo());
    let mut stream = connect(&proxy);
    proxy.cut_after(5, Cut::Fin);
    assert_eq!(ask(&mut stream, "abc").unwrap(), "abc");
    stream.write_all(b"defgh").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(b"de".starts_with(&answer), "{answer:?}");
    assert_eq!(proxy.sprung(), 1);
}

#[test]
fn an_answer_is_lost_after_the_request_with_a_pattern_in_two_pieces() {
    let proxy = Proxy::to(&echo());
    proxy.lose(b"COMMIT", Loss::Answer);
    let mut stream = connect(&proxy);
    assert_eq!(ask(&mut stream, "a COM").unwrap(), "a COM");
    let error = ask(&mut stream, "MIT").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(proxy.sprung(), 1);
    let mut next = connect(&proxy);
    assert_eq!(ask(&mut next, "COMMIT").unwrap(), "COMMIT");
}

#[test]
fn a_server_can_be_spoken_for() {
    let proxy = Proxy::to(&echo());
    proxy.answer(b"busy");
    let mut stream = connect(&proxy);
    stream.write_all(b"well?").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "busy");
    let url = "postgres://me:pw@db.example/shop?x=1";
    let expected = format!("postgres://me:pw@{}/shop?x=1", proxy.address());
    assert_eq!(proxy.instead_of(url), expected);
}
