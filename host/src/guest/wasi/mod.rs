//! What guests may import: the WASI interfaces that Rust's std needs, with nothing behind them.
//!
//! Guests built for `wasm32-wasip2` import WASI because std does. Here the environment is empty,
//! there are no files, clocks stand at zero, the random seed is the same for every instance, and
//! what is written to stdout and stderr goes to the log, in bounded amounts. What would wait for a
//! clock traps: a time limit does not reach a guest that sleeps inside the host.
//!
//! # Invariants
//!
//! 1. An interface that is not in [`Interface::find`] is refused when a component is loaded.
//! 2. A function of a known interface that has no definition here traps when it is called.
//! 3. Nothing here blocks, and nothing allocates more than a bound that stands beside it.

mod cli;
mod clocks;
mod console;
mod filesystem;
mod io;
mod random;

pub(super) use console::Console;
pub(super) use random::Randomness;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, LinkerInstance, ResourceType};

use super::instance::HostState;

/// The versions of WASI that we stand in for. They are compatible among themselves.
const VERSIONS: &str = "0.2.";

/// Defines one function of an interface; `false` where there is no definition for this name.
type Define = fn(&mut LinkerInstance<'_, HostState>, &str) -> wasmtime::Result<bool>;

/// An interface that guests may import.
struct Interface {
    define: Define,
}

impl Interface {
    fn find(name: &str) -> Option<Self> {
        let define: Define = match name {
            "wasi:cli/environment" => cli::environment,
            "wasi:cli/exit" => cli::exit,
            "wasi:cli/stdin" | "wasi:cli/stdout" | "wasi:cli/stderr" => cli::stdio,
            "wasi:cli/terminal-stdin" | "wasi:cli/terminal-stdout" | "wasi:cli/terminal-stderr" => {
                cli::terminal
            }
            "wasi:clocks/monotonic-clock" => clocks::monotonic,
            "wasi:clocks/wall-clock" => clocks::wall,
            "wasi:filesystem/preopens" => filesystem::preopens,
            "wasi:io/error" => io::error,
            "wasi:io/poll" => io::poll,
            "wasi:io/streams" => io::streams,
            "wasi:random/random" => random::random,
            "wasi:random/insecure" => random::insecure,
            "wasi:random/insecure-seed" => random::insecure_seed,
            "wasi:cli/terminal-input" | "wasi:cli/terminal-output" | "wasi:filesystem/types" => {
                |_, _| Ok(false)
            }
            _ => return None,
        };
        Some(Self { define })
    }
}

/// Defines what the component imports, and returns the names of imports that no guest gets.
///
/// Imports are defined under the version that the component names.
///
/// # Errors
///
/// When the linker does not take a definition.
pub(super) fn link(
    linker: &mut Linker<HostState>,
    component: &Component,
) -> wasmtime::Result<Vec<String>> {
    let engine = linker.engine().clone();
    let mut unknown = Vec::new();
    for (name, import) in component.component_type().imports(&engine) {
        let ComponentItem::ComponentInstance(import) = import.ty else {
            unknown.push(name.to_owned());
            continue;
        };
        // Types alone ask nothing of the host: the contract's own `data` is imported so.
        let is_type = |item: &ComponentItem| matches!(item, ComponentItem::Type(_));
        if import.exports(&engine).all(|(_, item)| is_type(&item.ty)) {
            continue;
        }
        let interface = name
            .split_once('@')
            .filter(|(_, version)| version.starts_with(VERSIONS))
            .and_then(|(interface, _)| Interface::find(interface));
        let Some(interface) = interface else {
            unknown.push(name.to_owned());
            continue;
        };
        let mut instance = linker.instance(name)?;
        for (item_name, item) in import.exports(&engine) {
            match item.ty {
                ComponentItem::Type(_) => {}
                ComponentItem::Resource(_) => {
                    instance.resource(item_name, resource(item_name), |_, _| Ok(()))?;
                }
                ComponentItem::ComponentFunc(_) => {
                    if !(interface.define)(&mut instance, item_name)? {
                        define_trap(&mut instance, name, item_name)?;
                    }
                }
                _ => unknown.push(format!("{name}#{item_name}")),
            }
        }
    }
    Ok(unknown)
}

fn define_trap(
    instance: &mut LinkerInstance<'_, HostState>,
    interface: &str,
    function: &str,
) -> wasmtime::Result<()> {
    let name = format!("{interface}#{function}");
    instance.func_new(function, move |_, _, _, _| {
        wasmtime::bail!("it called `{name}`, which does nothing for a guest")
    })
}

/// `wasi:io/streams.input-stream`
enum InputStream {}
/// `wasi:io/streams.output-stream`; the handle's number says which of [`console::Stream`]
enum OutputStream {}
/// `wasi:io/error.error`
enum IoError {}
/// `wasi:cli/terminal-input.terminal-input`
enum TerminalInput {}
/// `wasi:cli/terminal-output.terminal-output`
enum TerminalOutput {}
/// `wasi:filesystem/types.descriptor`
enum Descriptor {}
/// `wasi:filesystem/types.directory-entry-stream`
enum DirectoryEntryStream {}
/// `wasi:io/poll.pollable`
enum Pollable {}
/// Any resource that later versions may add.
enum Other {}

/// The type of a resource by its name, which is one in all the interfaces that use it.
fn resource(name: &str) -> ResourceType {
    match name {
        "input-stream" => ResourceType::host::<InputStream>(),
        "output-stream" => ResourceType::host::<OutputStream>(),
        "error" => ResourceType::host::<IoError>(),
        "terminal-input" => ResourceType::host::<TerminalInput>(),
        "terminal-output" => ResourceType::host::<TerminalOutput>(),
        "descriptor" => ResourceType::host::<Descriptor>(),
        "directory-entry-stream" => ResourceType::host::<DirectoryEntryStream>(),
        "pollable" => ResourceType::host::<Pollable>(),
        _ => ResourceType::host::<Other>(),
    }
}
