//! The one engine: how guests are compiled, and the clock of their time limits.

use std::env;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use wasmtime::{Config, Engine, ProfilingStrategy};

use super::cache::Cache;
use super::component::Component;
use super::error::CallError;
use super::load::{self, LoadError};
use super::ticker::Ticker;

/// Address space of a linear memory: the whole of what 32 bits can name, so that no access needs a
/// check in the code.
const MEMORY_RESERVATION: u64 = 4 << 30;
/// When this is set, `/tmp/perf-PID.map` tells `perf` the names of the guests' functions.
const PERF_MAP: &str = "WASMILL_PERF_MAP";
/// Functions that a trap's backtrace holds at most.
const BACKTRACE_FRAMES_MAX: NonZeroUsize = NonZeroUsize::new(32).expect("32 is not 0");

/// Compiles and loads components. Cheap to clone; all clones are one engine.
#[derive(Debug, Clone)]
pub struct GuestEngine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    cache: Option<Cache>,
    _ticker: Ticker,
}

/// The engine could not be made, or a component not be asked.
#[derive(Debug, Error)]
pub enum GuestError {
    /// This machine or build has no wasmtime engine with our settings.
    #[error("failed to set up the wasm engine: {0}")]
    Engine(String),
    /// The thread that time limits need could not be started.
    #[error("failed to start the clock of the guests: {0}")]
    Clock(io::Error),
    /// `describe` did not come back with an answer.
    #[error("failed to ask component `{component}` what it is: {error}")]
    Describe {
        /// the component's name
        component: String,
        /// why
        error: CallError,
    },
}

impl GuestEngine {
    /// An engine that keeps compiled code in the directory `cache`, or compiles at each start.
    ///
    /// A cache that cannot be used is reported in the log, and the engine does without.
    ///
    /// # Errors
    ///
    /// [`GuestError::Engine`] and [`GuestError::Clock`], when the system does not let us.
    pub fn new(cache: Option<PathBuf>) -> Result<Self, GuestError> {
        let engine =
            Engine::new(&settings()).map_err(|error| GuestError::Engine(format!("{error:#}")))?;
        let cache = cache.and_then(|directory| {
            let shown = directory.display().to_string();
            Cache::open(directory, &engine)
                .inspect_err(|error| {
                    tracing::warn!(directory = shown, %error, "components are compiled at each start, as their cache cannot be used");
                })
                .ok()
        });
        let ticker = Ticker::start(engine.clone()).map_err(GuestError::Clock)?;
        Ok(Self(Arc::new(Inner {
            engine,
            cache,
            _ticker: ticker,
        })))
    }

    /// Loads the component in the file `path`; `name` is what it is called in `pipeline.toml`.
    ///
    /// # Errors
    ///
    /// One [`LoadError`] for each way in which a file is no guest. The file is not run.
    pub fn load(&self, name: &str, path: &Path) -> Result<Component, LoadError> {
        load::load(self, name, path)
    }

    /// The same with the contents of a file that were kept; `path` is what messages say.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load), but for those about files.
    pub fn load_binary(
        &self,
        name: &str,
        path: &Path,
        binary: Vec<u8>,
    ) -> Result<Component, LoadError> {
        load::load_binary(self, name, path, binary)
    }

    pub(super) fn wasm(&self) -> &Engine {
        &self.0.engine
    }

    pub(super) fn cache(&self) -> Option<&Cache> {
        self.0.cache.as_ref()
    }
}

fn settings() -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .cranelift_nan_canonicalization(true)
        // Like the bits of a NaN, these would differ between machines, and a replay with them.
        .relaxed_simd_deterministic(true)
        .epoch_interruption(true)
        .memory_reservation(MEMORY_RESERVATION)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES_MAX));
    if env::var_os(PERF_MAP).is_some() {
        config.profiler(ProfilingStrategy::PerfMap);
    }
    config
}
