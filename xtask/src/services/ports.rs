//! Which ports the servers listen on: the same ones after every start, as long as they are free.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};

/// Below the ports that Linux gives to outgoing connections (from 32,768): nobody takes one of ours
/// while its server is down just by connecting somewhere.
const RANGE: Range<u16> = 20_000..32_000;

/// Returns the ports in `file` if they are `count` and all free, or else new ones, and remembers them.
/// `taken` are those of the other servers; what is returned is added to them.
pub(super) fn reserve(file: &Path, count: usize, taken: &mut BTreeSet<u16>) -> Result<Vec<u16>> {
    let remembered = remembered(file)?;
    let is_free = |port: u16| !taken.contains(&port) && is_free(port);
    let ports = if remembered.len() == count && remembered.iter().all(|&port| is_free(port)) {
        remembered
    } else {
        let start = RandomState::new().hash_one(file);
        choose(count, start, is_free).context("there are no free ports")?
    };
    taken.extend(&ports);
    fs::write(file, render(&ports))
        .with_context(|| format!("failed to write {}", file.display()))?;
    Ok(ports)
}

/// Whether nobody listens on any of these.
pub(super) fn are_free(ports: &[u16]) -> bool {
    ports.iter().copied().all(is_free)
}

/// The ports in `file`, none if there is no such file.
pub(super) fn remembered(file: &Path) -> Result<Vec<u16>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", file.display())),
    }
}

/// `count` ports of [`RANGE`] for which `is_free`, looked for from `start` on, around the end.
fn choose(count: usize, start: u64, is_free: impl Fn(u16) -> bool) -> Option<Vec<u16>> {
    let offset = (start % u64::from(RANGE.end - RANGE.start)) as u16;
    let ports: Vec<_> = (RANGE.start + offset..RANGE.end)
        .chain(RANGE.start..RANGE.start + offset)
        .filter(|&port| is_free(port))
        .take(count)
        .collect();
    (ports.len() == count).then_some(ports)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn render(ports: &[u16]) -> String {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    ports.join(" ") + "\n"
}

/// What was cut off in the middle, or is no port, makes the whole worthless: other ports are chosen.
fn parse(text: &str) -> Vec<u16> {
    let ports: Option<Vec<_>> = text
        .split_whitespace()
        .map(|port| port.parse().ok())
        .collect();
    ports.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_use_are_passed_over() {
        let ports = choose(2, 0, |port| ![20_000, 20_002].contains(&port));
        assert_eq!(ports, Some(vec![20_001, 20_003]));
    }

    #[test]
    fn the_search_goes_around_the_end() {
        let ports = choose(3, 11_998, |_| true);
        assert_eq!(ports, Some(vec![31_998, 31_999, 20_000]));
        assert_eq!(
            choose(1, u64::MAX, |port| port == 20_000),
            Some(vec![20_000])
        );
    }

    #[test]
    fn too_few_free_ports_are_none() {
        assert_eq!(choose(2, 0, |port| port == 25_000), None);
    }

    #[test]
    fn ports_survive_a_restart_unless_somebody_took_them() {
        let file = std::env::temp_dir().join(format!("wasmill-ports-{}", std::process::id()));
        let first = reserve(&file, 2, &mut BTreeSet::new()).unwrap();
        let mut taken = BTreeSet::new();
        assert_eq!(reserve(&file, 2, &mut taken).unwrap(), first);
        assert_eq!(taken, first.iter().copied().collect());

        let _squatter = TcpListener::bind((Ipv4Addr::LOCALHOST, first[1])).unwrap();
        let second = reserve(&file, 2, &mut BTreeSet::new()).unwrap();
        assert!(!second.contains(&first[1]), "{second:?}");
        assert_eq!(remembered(&file).unwrap(), second);
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        assert!(parse("20000 2000x\n").is_empty());
        assert!(parse("20000 99999\n").is_empty());
        assert_eq!(parse("20000 20001\n"), [20_000, 20_001]);
    }
}
