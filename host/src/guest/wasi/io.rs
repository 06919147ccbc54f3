//! `wasi:io`: stdin is at its end, stdout and stderr go to the [`Console`](super::Console).
//!
//! Streams are always ready, and std asks whether they are before it writes. So the only pollables
//! that there are never make anyone wait.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower, Resource};

use super::console::Stream;
use super::{HostState, InputStream, IoError, OutputStream, Pollable};

/// Bytes that one write may have, as `check-write` says.
const WRITE_BYTES_MAX: u64 = 4096;

/// Why a stream did not do what it was asked. Nothing fails here, but the type has to be that of the
/// interface.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

type Done = (Result<(), StreamError>,);

pub(super) fn error(
    linker: &mut LinkerInstance<'_, HostState>,
    name: &str,
) -> wasmtime::Result<bool> {
    if name != "[method]error.to-debug-string" {
        return Ok(false);
    }
    linker.func_wrap(name, |_, (_error,): (Resource<IoError>,)| {
        Ok((String::new(),))
    })?;
    Ok(true)
}

pub(super) fn poll(
    linker: &mut LinkerInstance<'_, HostState>,
    name: &str,
) -> wasmtime::Result<bool> {
    match name {
        "[method]pollable.ready" => {
            linker.func_wrap(name, |_, (_pollable,): (Resource<Pollable>,)| Ok((true,)))?;
        }
        "[method]pollable.block" => {
            linker.func_wrap(name, |_, (_pollable,): (Resource<Pollable>,)| Ok(()))?;
        }
        "poll" => {
            linker.func_wrap(name, |_, (pollables,): (Vec<Resource<Pollable>>,)| {
                Ok(((0..pollables.len() as u32).collect::<Vec<_>>(),))
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

pub(super) fn streams(
    linker: &mut LinkerInstance<'_, HostState>,
    name: &str,
) -> wasmtime::Result<bool> {
    match name {
        "[method]input-stream.read" | "[method]input-stream.blocking-read" => {
            linker.func_wrap(name, |_, (_stream, _len): (Resource<InputStream>, u64)| {
                Ok((Err::<Vec<u8>, _>(StreamError::Closed),))
            })?;
        }
        "[method]input-stream.skip" | "[method]input-stream.blocking-skip" => {
            linker.func_wrap(name, |_, (_stream, _len): (Resource<InputStream>, u64)| {
                Ok((Err::<u64, _>(StreamError::Closed),))
            })?;
        }
        "[method]input-stream.subscribe" => {
            linker.func_wrap(name, |_, (_stream,): (Resource<InputStream>,)| {
                Ok((Resource::<Pollable>::new_own(0),))
            })?;
        }
        "[method]output-stream.subscribe" => {
            linker.func_wrap(name, |_, (_stream,): (Resource<OutputStream>,)| {
                Ok((Resource::<Pollable>::new_own(0),))
            })?;
        }
        "[method]output-stream.check-write" => {
            linker.func_wrap(name, |_, (_stream,): (Resource<OutputStream>,)| {
                Ok((Ok::<_, StreamError>(WRITE_BYTES_MAX),))
            })?;
        }
        "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush" => {
            linker.func_wrap(name, |store, call| Ok(write(store, call)))?;
        }
        "[method]output-stream.flush" | "[method]output-stream.blocking-flush" => {
            linker.func_wrap(
                name,
                |_, (_stream,): (Resource<OutputStream>,)| -> wasmtime::Result<Done> {
                    Ok((Ok(()),))
                },
            )?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn write(
    mut store: StoreContextMut<'_, HostState>,
    (stream, bytes): (Resource<OutputStream>, Vec<u8>),
) -> Done {
    let stream = Stream::from_handle(stream.rep());
    store.data_mut().console.write(stream, &bytes);
    (Ok(()),)
}
