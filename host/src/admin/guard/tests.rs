//! Who is answered, as a table.

use proptest::prelude::*;

use super::*;

const TOKEN: &str = "0123456789abcdef";
const HERE: &str = "127.0.0.1:8080";
const ALL: &str = "0.0.0.0:8080";

/// A request in one line: `METHOD PATH`, then `Header: value` after each `|`.
fn judged(listen: &str, token: Option<&str>, peer: &str, request: &str) -> Result<(), Denial> {
    let listen: SocketAddr = listen.parse().unwrap();
    let admin = Admin {
        listen,
        token: token.map(|token| Secret::new(token.to_owned())),
    };
    let mut parts = request.split('|').map(str::trim);
    let (method, uri) = parts.next().unwrap().split_once(' ').unwrap();
    let mut headers = HeaderMap::new();
    for header in parts {
        let (name, value) = header.split_once(':').unwrap();
        headers.append(
            HeaderName::try_from(name).unwrap(),
            value.trim().try_into().unwrap(),
        );
    }
    Guard::new(&admin, listen).judge(Question {
        peer: peer.parse().unwrap(),
        method: &method.parse().unwrap(),
        uri: &uri.parse().unwrap(),
        headers: &headers,
    })
}

fn all_are(
    expected: Result<(), Denial>,
    listen: &str,
    token: Option<&str>,
    peer: &str,
    requests: &[&str],
) {
    for request in requests {
        let found = judged(listen, token, peer, request);
        assert_eq!(found, expected, "{request} on {listen} from {peer}");
    }
}

#[test]
fn probes_and_metrics_answer_everybody() {
    let requests = [
        "GET /healthz",
        "GET /readyz | Host: 10.1.2.3:8080",
        "GET /metrics | Host: wasmill.prod.svc:8080",
        "GET /metrics | Host: evil.example | Origin: http://evil.example",
        "GET /healthz | Host: x | Authorization: Bearer wrong",
    ];
    for token in [None, Some(TOKEN)] {
        all_are(Ok(()), ALL, token, "10.9.9.9", &requests);
        all_are(Ok(()), HERE, token, "127.0.0.1", &requests);
    }
}

#[test]
fn without_a_token_this_machine_may_read_and_change() {
    let requests = [
        "GET /api/status | Host: localhost",
        "GET /api/status | Host: LocalHost:9999",
        "GET /api/events | Host: 127.0.0.1:8080",
        "HEAD /api/pipeline | Host: 127.9.9.9",
        "OPTIONS /api/reload | Host: [::1]:8080",
        "POST /api/reload | Host: [::1]",
        "POST /api/reload | Host: [::ffff:127.0.0.1]:80",
        "POST /api/reload | Host: 127.0.0.1:8080 | Origin: http://127.0.0.1:8080",
        "POST /api/rollback | Host: localhost:8080 | Authorization: Bearer whatever",
        "GET / | Host: localhost",
    ];
    all_are(Ok(()), HERE, None, "127.0.0.1", &requests);
    all_are(Ok(()), "[::1]:8080", None, "::1", &requests);
    all_are(Ok(()), "[::ffff:127.0.0.1]:1", None, "127.0.0.1", &requests);
    all_are(Ok(()), HERE, None, "::ffff:127.0.0.1", &requests);
}

#[test]
fn a_name_that_may_have_been_pointed_here_is_not_answered() {
    let requests = [
        "GET /api/status",
        "GET /api/status | Host: evil.example",
        "GET /api/pipeline | Host: evil.example:8080",
        "GET /api/events | Host: localhost.evil.example",
        "GET /api/events | Host: 127.0.0.1.evil.example",
        "GET /api/status | Host: localhost.",
        "GET /api/status | Host: ",
        "GET /api/status | Host: :8080",
        "GET /api/status | Host: [::1",
        "GET /api/status | Host: [::1]x",
        "GET /api/status | Host: [::1]:99999",
        "GET /api/status | Host: 127.0.0.1:+80",
        "GET /api/status | Host: evil@127.0.0.1",
        "GET /api/status | Host: 0x7f.1",
        "GET /api/status | Host: localhost, evil.example",
        "GET /api/status | Host: localhost | Host: evil.example",
        "GET http://evil.example/api/status | Host: localhost",
        "OPTIONS /api/reload | Host: evil.example",
        "GET /nothing | Host: evil.example",
        "GET /healthz/ | Host: evil.example",
        "POST /api/reload | Host: evil.example",
        "POST /api/reload | Host: 10.0.0.1:8080",
        "DELETE /api/status | Host: 10.0.0.1:8080",
    ];
    all_are(Err(Denial::Host), HERE, None, "127.0.0.1", &requests);
}

#[test]
fn a_page_from_elsewhere_is_not_answered() {
    let requests = [
        "GET /api/status | Host: localhost:8080 | Origin: http://evil.example",
        "POST /api/reload | Host: localhost:8080 | Origin: http://evil.example",
        "POST /api/reload | Host: localhost:8080 | Origin: null",
        "POST /api/reload | Host: localhost:8080 | Origin: http://localhost:3000",
        "POST /api/reload | Host: localhost:8080 | Origin: https://localhost:8080",
        "POST /api/reload | Host: localhost:8080 | Origin: localhost:8080",
        "OPTIONS /api/reload | Host: localhost:8080 | Origin: http://evil.example",
        "GET /api/status | Host: localhost:8080 | Origin: http://localhost:8080 | Origin: null",
    ];
    all_are(Err(Denial::Origin), HERE, None, "127.0.0.1", &requests);
}

#[test]
fn without_a_token_nobody_else_may_change() {
    let change = ["POST /api/reload | Host: 127.0.0.1", "PUT /x | Host: [::1]"];
    all_are(Err(Denial::Exposed), ALL, None, "127.0.0.1", &change);
    all_are(Err(Denial::Exposed), ALL, None, "10.9.9.9", &change);
    all_are(Err(Denial::Exposed), "[::]:1", None, "::1", &change);
    all_are(
        Err(Denial::Exposed),
        "10.0.0.1:1",
        None,
        "10.0.0.1",
        &change,
    );
    all_are(Err(Denial::Elsewhere), HERE, None, "10.9.9.9", &change);
}

#[test]
fn others_read_by_address() {
    let by_address = [
        "GET /api/status | Host: 10.0.0.1:8080",
        "GET /api/status | Host: [fd00::1]:8080",
    ];
    let by_name = ["GET /api/status | Host: wasmill.prod.svc:8080"];
    for token in [None, Some(TOKEN)] {
        all_are(Ok(()), ALL, token, "10.9.9.9", &by_address);
        all_are(Err(Denial::Host), ALL, token, "10.9.9.9", &by_name);
    }
}

#[test]
fn the_token_opens_everything_to_everybody() {
    let requests = [
        "POST /api/reload | Authorization: Bearer 0123456789abcdef",
        "POST /api/reload | Host: wasmill.prod.svc | Authorization: bearer 0123456789abcdef",
        "POST /api/rollback | Host: x | Origin: http://y | Authorization: BEARER  0123456789abcdef",
        "GET /api/status | Host: wasmill.prod.svc | Authorization: Bearer 0123456789abcdef",
    ];
    for listen in [HERE, ALL] {
        all_are(Ok(()), listen, Some(TOKEN), "10.9.9.9", &requests);
    }
}

#[test]
fn with_a_token_a_change_needs_it_from_here_too() {
    let none = [
        "POST /api/reload | Host: localhost",
        "POST /api/reload | Host: evil.example | Origin: http://evil.example",
        "POST /api/reload | Host: localhost | Authorization: Basic 0123456789abcdef",
        "POST /api/reload | Host: localhost | Authorization: Bearer",
        "POST /api/reload | Host: localhost | Authorization: 0123456789abcdef",
        "PATCH /nothing | Host: localhost",
    ];
    all_are(Err(Denial::NoToken), HERE, Some(TOKEN), "127.0.0.1", &none);
    let wrong = [
        "POST /api/reload | Host: localhost | Authorization: Bearer 0123456789abcdeF",
        "POST /api/reload | Host: localhost | Authorization: Bearer 0123456789abcde",
        "POST /api/reload | Host: localhost | Authorization: Bearer 0123456789abcdef0",
        "GET /api/status | Host: localhost | Authorization: Bearer wrong",
    ];
    all_are(
        Err(Denial::WrongToken),
        HERE,
        Some(TOKEN),
        "127.0.0.1",
        &wrong,
    );
    let read = ["GET /api/status | Host: localhost"];
    all_are(Ok(()), HERE, Some(TOKEN), "127.0.0.1", &read);
}

#[test]
fn another_token_holds_from_then_on() {
    let admin = Admin {
        listen: HERE.parse().unwrap(),
        token: Some(Secret::new(TOKEN.to_owned())),
    };
    let guard = Guard::new(&admin, admin.listen);
    let mut headers = HeaderMap::new();
    headers.insert(HOST, "localhost".parse().unwrap());
    headers.insert(AUTHORIZATION, "Bearer fedcba9876543210".parse().unwrap());
    let judge = |headers: &HeaderMap| {
        guard.judge(Question {
            peer: [127, 0, 0, 1].into(),
            method: &Method::POST,
            uri: &Uri::from_static("/api/reload"),
            headers,
        })
    };
    assert_eq!(judge(&headers), Err(Denial::WrongToken));
    guard.set_token(Some(&Secret::new("fedcba9876543210".to_owned())));
    assert_eq!(judge(&headers), Ok(()));
    guard.set_token(None);
    headers.remove(AUTHORIZATION);
    assert_eq!(judge(&headers), Ok(()));
}

#[test]
fn no_token_is_in_what_is_logged() {
    let admin = Admin {
        listen: HERE.parse().unwrap(),
        token: Some(Secret::new(TOKEN.to_owned())),
    };
    let shown = format!("{:?}", Guard::new(&admin, admin.listen));
    assert!(!shown.contains(TOKEN), "{shown}");
}

proptest! {
    #[test]
    fn whatever_is_in_host_and_origin_is_judged(host in "\\PC{0,30}", origin in "\\PC{0,30}") {
        let mut headers = HeaderMap::new();
        for (name, value) in [(HOST, &host), (ORIGIN, &origin)] {
            if let Ok(value) = value.as_str().try_into() {
                headers.insert(name, value);
            }
        }
        let admin = Admin { listen: HERE.parse().unwrap(), token: None };
        let _ = Guard::new(&admin, admin.listen).judge(Question {
            peer: [127, 0, 0, 1].into(),
            method: &Method::POST,
            uri: &Uri::from_static("/api/reload"),
            headers: &headers,
        });
    }

    /// A name that a browser looks up is never taken for an address of this machine.
    #[test]
    fn no_other_name_is_of_this_machine(name in "[a-z0-9-]{1,10}(\\.[a-z0-9-]{1,10}){0,4}") {
        prop_assume!(name != "localhost" && name.parse::<Ipv4Addr>().is_err());
        prop_assert_eq!(Host::of(&name), Some(Host::Name));
        prop_assert_eq!(Host::of(&format!("{name}:80")), Some(Host::Name));
    }
}
