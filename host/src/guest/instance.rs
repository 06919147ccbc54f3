//! One instance of a component: its store, and calls under its limits.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::InstancePre;
use wasmtime::{Engine, Store};

use super::error::{CallBounds, CallError, classify, clip};
use super::limits::{Deadline, Memory, time_for};
use super::meter::GuestMeter;
use super::wasi::{Console, Randomness};
use crate::config::Limits;

/// Resources of the host that an instance may hold at a time. Rust's std holds fewer than ten.
const HANDLES_MAX: usize = 1024;

/// What the host keeps for an instance.
#[derive(Debug)]
pub(super) struct HostState {
    limits: Limits,
    meter: Arc<GuestMeter>,
    memory: Memory,
    deadline: Deadline,
    pub(super) console: Console,
    pub(super) randomness: Randomness,
}

impl HostState {
    pub(super) fn new(
        component: &Arc<str>,
        stage: &str,
        limits: Limits,
        meter: Arc<GuestMeter>,
    ) -> Self {
        Self {
            limits,
            memory: Memory::new(limits.memory, Arc::clone(&meter)),
            meter,
            deadline: Deadline::passed(),
            console: Console::new(component, stage),
            randomness: Randomness::default(),
        }
    }
}

/// An instance, with the typed functions `G` of its interface.
pub(super) struct Instance<G> {
    store: Store<HostState>,
    guest: G,
}

impl<G> Instance<G> {
    /// Instantiates under the limits of `state`, and loads the functions.
    ///
    /// # Errors
    ///
    /// As those of a call: code of the guest may run here.
    pub(super) fn new(
        engine: &Engine,
        instance_pre: &InstancePre<HostState>,
        state: HostState,
        load: impl FnOnce(&mut Store<HostState>, &wasmtime::component::Instance) -> wasmtime::Result<G>,
    ) -> Result<Self, CallError> {
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.memory);
        store.epoch_deadline_callback(|store| store.data().deadline.check());
        store.set_max_component_handles(HANDLES_MAX);
        let output = store.data().limits.output;
        store.set_hostcall_fuel(usize::try_from(output).unwrap_or(usize::MAX));

        let instance = bounded(&mut store, 0, |store| instance_pre.instantiate(store))?;
        let guest = load(&mut store, &instance).map_err(|error| {
            CallError::Invalid(format!("its functions have other types: {error:#}"))
        })?;
        Ok(Self { store, guest })
    }

    /// Bytes that its memories and tables take.
    pub(super) fn memory_bytes(&self) -> usize {
        self.store.data().memory.used()
    }

    /// Makes one call for so many rows.
    ///
    /// # Errors
    ///
    /// When it does not come back: the instance must not be used again then.
    pub(super) fn call<R>(
        &mut self,
        rows: usize,
        call: impl FnOnce(&G, &mut Store<HostState>) -> wasmtime::Result<R>,
    ) -> Result<R, CallError> {
        let guest = &self.guest;
        bounded(&mut self.store, rows, |store| call(guest, store))
    }

    /// The same with a call that the guest may answer with an error of its own.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call), and [`CallError::Refused`] with the guest's words.
    pub(super) fn ask<R>(
        &mut self,
        rows: usize,
        call: impl FnOnce(&G, &mut Store<HostState>) -> wasmtime::Result<Result<R, String>>,
    ) -> Result<R, CallError> {
        self.call(rows, call)?
            .map_err(|words| CallError::Refused(clip(&words)))
    }
}

/// Runs code of the guest under the limits, in the time that so many rows have.
fn bounded<R>(
    store: &mut Store<HostState>,
    rows: usize,
    run: impl FnOnce(&mut Store<HostState>) -> wasmtime::Result<R>,
) -> Result<R, CallError> {
    let state = store.data_mut();
    let time = match rows {
        // Instantiating, configuring and describing are no work on rows.
        0 => state.limits.time,
        rows => time_for(state.limits.time, rows),
    };
    state.memory.begin_call();
    state.console.begin_call();
    let ticks = state.deadline.begin_call(time);
    // Without this before the first call, that call would trap at once.
    store.set_epoch_deadline(ticks);

    let started = Instant::now();
    let result = run(store);
    let state = store.data_mut();
    state.meter.called(started.elapsed());
    state.console.end_call();
    result.map_err(|error| {
        let bounds = CallBounds {
            time,
            memory: state.limits.memory,
            output: state.limits.output,
        };
        let said = state.console.last_words();
        classify(&error, bounds, state.memory.denied(), said)
    })
}
