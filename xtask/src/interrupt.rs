//! Ctrl-C and SIGTERM: remembered, and asked for wherever something waits.
//!
//! Nothing is torn down inside a signal handler. Whoever waits returns [`Interrupted`], and what was
//! started is stopped on the way out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// What a shell expects of a program that Ctrl-C ended.
pub(crate) const EXIT_CODE: u8 = 130;

/// How often a wait looks whether it is over.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// Ctrl-C, SIGTERM or SIGHUP arrived.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

static REQUESTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on the signals are remembered instead of ending the process.
pub(crate) fn listen() -> Result<()> {
    let flag = REQUESTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(flag))
            .with_context(|| format!("failed to listen for signal {signal}"))?;
    }
    Ok(())
}

/// Whether one of the signals has arrived.
pub(crate) fn requested() -> bool {
    REQUESTED
        .get()
        .is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// # Errors
///
/// [`Interrupted`] once one of the signals has arrived.
pub(crate) fn check() -> Result<()> {
    if requested() {
        return Err(Interrupted.into());
    }
    Ok(())
}

/// Sleeps for `duration`, or until a signal arrives.
pub(crate) fn sleep(duration: Duration) {
    let end = Instant::now() + duration;
    while !requested() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(POLL));
    }
}
