//! What Linux tells of this process. What it does not tell is left out.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

/// Ticks a second in `/proc`: the same on every Linux, whatever the kernel's own clock is.
const TICKS: f64 = 100.0;

/// User and system time of all threads so far.
pub(crate) fn cpu() -> Option<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Some(Duration::from_micros(micros.unsigned_abs()))
}

/// User and system time of the current thread so far.
pub(crate) fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("every thread has a processor clock")
        .into()
}

/// The most memory that was ever resident, bytes.
pub(crate) fn memory_peak() -> Option<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    // Linux counts in KiB.
    Some(usage.max_rss().unsigned_abs() * 1024)
}

/// Memory that is resident now, bytes.
pub(crate) fn memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// File descriptors that are open.
pub(crate) fn open_fds() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    // One of them is that of the reading itself.
    entries.checked_sub(1)
}

/// File descriptors that may be open.
pub(crate) fn max_fds() -> Option<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    Some(soft)
}

/// How long the process has been there, to a hundredth of a second.
pub(crate) fn age() -> Option<Duration> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let now: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(now - started_after_boot()?).ok()
}

/// When the process started, in seconds since 1970, to a second.
pub(crate) fn start_time() -> Option<f64> {
    let system = fs::read_to_string("/proc/stat").ok()?;
    let booted = system
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?;
    Some(booted.trim().parse::<f64>().ok()? + started_after_boot()?)
}

/// When the process started, in seconds since the system did.
fn started_after_boot() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in brackets, may hold anything; the start is the 20th field behind it.
    let (_, behind) = stat.rsplit_once(')')?;
    let ticks: f64 = behind.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(ticks / TICKS)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn linux_tells_all_of_it() {
        assert!(cpu().is_some());
        let (now, peak) = (memory().expect("told"), memory_peak().expect("told"));
        assert!(now > 1 << 20 && now <= peak + (64 << 20), "{now} {peak}");
        let open = open_fds().expect("told");
        assert!(open >= 3 && open <= max_fds().expect("told"), "{open}");
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
        let since = now.as_secs_f64() - start_time().expect("told");
        assert!((-5.0..3600.0).contains(&since), "started {since} s ago");
        let age = age().expect("told").as_secs_f64();
        assert!((age - since).abs() < 5.0, "{age} {since}");
    }
}
