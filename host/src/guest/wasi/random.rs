//! `wasi:random`: the same numbers in every instance, so that guests stay pure functions.

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use super::HostState;

/// Bytes that one call may ask for.
const BYTES_MAX: u64 = 4096;

/// `SplitMix64` (Steele, Lea and Flood, 2014) from a fixed seed.
#[derive(Debug)]
pub(in super::super) struct Randomness(u64);

impl Default for Randomness {
    fn default() -> Self {
        Self(0x5eed_0fa6_7e57_ab1e)
    }
}

impl Randomness {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

pub(super) fn random(
    linker: &mut LinkerInstance<'_, HostState>,
    name: &str,
) -> wasmtime::Result<bool> {
    define(linker, name, "get-random-bytes", "get-random-u64")
}

pub(super) fn insecure(
    linker: &mut LinkerInstance<'_, HostState>,
    name: &str,
) -> wasmtime::Result<bool> {
    define(
        linker,
        name,
        "get-insecure-random-bytes",
        "get-insecure-random-u64",
    )
}

pub(super) fn insecure_seed(
    linker: &mut LinkerInstance<'_, HostState>,
    name: &str,
) -> wasmtime::Result<bool> {
    if name != "insecure-seed" {
        return Ok(false);
    }
    linker.func_wrap(name, |mut store: StoreContextMut<'_, HostState>, ()| {
        let randomness = &mut store.data_mut().randomness;
        Ok(((randomness.next(), randomness.next()),))
    })?;
    Ok(true)
}

fn define(
    linker: &mut LinkerInstance<'_, HostState>,
    name: &str,
    bytes_name: &str,
    number_name: &str,
) -> wasmtime::Result<bool> {
    if name == bytes_name {
        linker.func_wrap(name, random_bytes)?;
    } else if name == number_name {
        linker.func_wrap(name, |mut store: StoreContextMut<'_, HostState>, ()| {
            Ok((store.data_mut().randomness.next(),))
        })?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn random_bytes(
    mut store: StoreContextMut<'_, HostState>,
    (len,): (u64,),
) -> wasmtime::Result<(Vec<u8>,)> {
    if len > BYTES_MAX {
        wasmtime::bail!("it asked for {len} random bytes at once");
    }
    let randomness = &mut store.data_mut().randomness;
    let words = std::iter::repeat_with(|| randomness.next().to_le_bytes());
    Ok((words.flatten().take(len as usize).collect(),))
}
