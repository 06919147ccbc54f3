//! `wasi:cli`: no arguments, no variables, no terminal, no way to exit.

use wasmtime::component::{LinkerInstance, Resource};

use super::console::Stream;
use super::{HostState, InputStream, OutputStream, TerminalInput, TerminalOutput};

pub(super) fn environment(
    linker: &mut LinkerInstance<'_, HostState>,
    name: &str,
) -> wasmtime::Result<bool> {
    match name {
        "get-environment" => {
            linker.func_wrap(name, |_, ()| Ok((Vec::<(String, String)>::new(),)))?;
        }
        "get-arguments" => linker.func_wrap(name, |_, ()| Ok((Vec::<String>::new(),)))?,
        "initial-cwd" => linker.func_wrap(name, |_, ()| Ok((None::<String>,)))?,
        _ => return Ok(false),
    }
    Ok(true)
}

pub(super) fn exit(
    linker: &mut LinkerInstance<'_, HostState>,
    name: &str,
) -> wasmtime::Result<bool> {
    if name != "exit" {
        return Ok(false);
    }
    linker.func_wrap(
        name,
        |_, (_status,): (Result<(), ()>,)| -> wasmtime::Result<()> { wasmtime::bail!("it exited") },
    )?;
    Ok(true)
}

pub(super) fn stdio(
    linker: &mut LinkerInstance<'_, HostState>,
    name: &str,
) -> wasmtime::Result<bool> {
    let output = |stream: Stream| {
        move |_: wasmtime::StoreContextMut<'_, HostState>, ()| {
            Ok((Resource::<OutputStream>::new_own(stream.handle()),))
        }
    };
    match name {
        "get-stdin" => {
            linker.func_wrap(name, |_, ()| Ok((Resource::<InputStream>::new_own(0),)))?;
        }
        "get-stdout" => linker.func_wrap(name, output(Stream::Stdout))?,
        "get-stderr" => linker.func_wrap(name, output(Stream::Stderr))?,
        _ => return Ok(false),
    }
    Ok(true)
}

pub(super) fn terminal(
    linker: &mut LinkerInstance<'_, HostState>,
    name: &str,
) -> wasmtime::Result<bool> {
    match name {
        "get-terminal-stdin" => {
            linker.func_wrap(name, |_, ()| Ok((None::<Resource<TerminalInput>>,)))?;
        }
        "get-terminal-stdout" | "get-terminal-stderr" => {
            linker.func_wrap(name, |_, ()| Ok((None::<Resource<TerminalOutput>>,)))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}
