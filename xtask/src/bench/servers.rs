//! What the servers use: CPU time of all processes of an instance, as `/proc` tells it.
//!
//! A server is found by the port that it listens on. One that is not on this machine, in a container or of
//! another user is not found, and its figures are left out.
//!
//! # Invariants
//!
//! The sum never falls: what a process used that has ended is in its parent's, once that has waited for it.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;

use super::Session;
use crate::http;

/// A server of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Server {
    Kafka,
    Postgres,
    Elasticsearch,
}

/// The first process of each, where it was found.
pub(super) struct Servers(Vec<(Server, u32)>);

impl Server {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kafka => "Kafka",
            Self::Postgres => "PostgreSQL",
            Self::Elasticsearch => "Elasticsearch",
        }
    }

    /// The program that it is: anything else that listens there is a proxy.
    fn program(self) -> &'static str {
        match self {
            Self::Kafka | Self::Elasticsearch => "java",
            Self::Postgres => "postgres",
        }
    }
}

impl Servers {
    /// Looks for the servers of the session.
    pub(super) fn find(session: &Session) -> Self {
        let addresses = [
            (Server::Kafka, Some(session.kafka().to_owned())),
            (Server::Postgres, http::authority(session.postgres())),
            (
                Server::Elasticsearch,
                http::authority(session.elasticsearch()),
            ),
        ];
        let found = addresses.into_iter().filter_map(|(server, address)| {
            let port = address?.rsplit_once(':')?.1.parse().ok()?;
            let found = listener(port).filter(|process| {
                let program = fs::read_to_string(format!("/proc/{process}/comm"));
                program.is_ok_and(|program| program.trim() == server.program())
            });
            if found.is_none() {
                eprintln!(
                    "{} is not seen here: its CPU time is left out",
                    server.name()
                );
            }
            Some((server, found?))
        });
        Self(found.collect())
    }

    /// What a server used since it began, s; `None` where it was not found.
    pub(super) fn cpu(&self, server: Server) -> Option<f64> {
        let (_, root) = self.0.iter().find(|(found, _)| *found == server)?;
        // A child that is waited for in between would be counted twice, or not at all.
        let ticks = loop {
            let before = stat(*root)?.ticks_of_children;
            let all = processes().filter_map(stat);
            let of_server = all.filter(|stat| stat.process == *root || stat.parent == *root);
            let ticks: u64 = of_server.map(|s| s.ticks + s.ticks_of_children).sum();
            if stat(*root)?.ticks_of_children == before {
                break ticks;
            }
        };
        // SAFETY: asks for a constant of the system.
        let a_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        Some(ticks as f64 / a_second as f64)
    }
}

/// What the system says of a process.
struct Stat {
    process: u32,
    parent: u32,
    ticks: u64,
    /// of those that it has waited for
    ticks_of_children: u64,
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn stat(process: u32) -> Option<Stat> {
    parse(
        process,
        &fs::read_to_string(format!("/proc/{process}/stat")).ok()?,
    )
}

fn parse(process: u32, stat: &str) -> Option<Stat> {
    // The name, in brackets, may hold anything.
    let (_, behind) = stat.rsplit_once(')')?;
    let fields: Vec<_> = behind.split_ascii_whitespace().collect();
    let ticks = |range: Range<usize>| {
        let fields = fields.get(range)?.iter();
        fields
            .map(|field| field.parse::<u64>().ok())
            .sum::<Option<u64>>()
    };
    Some(Stat {
        process,
        parent: fields.get(1)?.parse().ok()?,
        ticks: ticks(11..13)?,
        ticks_of_children: ticks(13..15)?,
    })
}

/// The process that listens on a port of this machine; the oldest, where a child holds the socket too.
fn listener(port: u16) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let sockets: BTreeSet<String> = tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines().filter_map(|line| listening(line, port)))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let holds = |process: &u32| {
        let files = fs::read_dir(format!("/proc/{process}/fd"));
        let mut files = files.into_iter().flatten().flatten();
        files.any(|file| {
            let target = fs::read_link(file.path());
            target.is_ok_and(|target| target.to_str().is_some_and(|t| sockets.contains(t)))
        })
    };
    processes().filter(holds).min()
}

/// The inode of a line of `/proc/net/tcp`, if it is a socket that listens on this port.
fn listening(line: &str, port: u16) -> Option<&str> {
    const LISTEN: &str = "0A";
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let (_, local) = fields.get(1)?.rsplit_once(':')?;
    let is_it = u16::from_str_radix(local, 16).ok()? == port && *fields.get(3)? == LISTEN;
    is_it.then(|| fields.get(9).copied())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_listens_is_found_by_its_port() {
        let line = "   0: 0100007F:6E19 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1";
        assert_eq!(listening(line, 0x6e19), Some("4711"));
        assert_eq!(listening(line, 1), None);
        assert_eq!(listening(&line.replace(" 0A ", " 01 "), 0x6e19), None);
    }

    #[test]
    fn a_name_with_brackets_confuses_nobody() {
        let text = "7 (a) b) S 3 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5";
        let stat = parse(7, text).unwrap();
        assert_eq!(
            (stat.parent, stat.ticks, stat.ticks_of_children),
            (3, 30, 70)
        );
    }

    #[test]
    fn this_process_is_seen() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(listener(port), Some(std::process::id()));
        assert!(stat(std::process::id()).is_some());
    }
}
