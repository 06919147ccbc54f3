//! A set of hashes in little room: the hashes themselves while they are few, then HyperLogLog registers.
//!
//! # Layout
//!
//! Byte 0 is the layout's version, 1. Byte 1 is the precision p, 4 to 14. Byte 2 is the form:
//!
//! - 0, **sparse**: all hashes, 8 bytes each, little-endian, ascending and different. There are at most
//!   as many as fit into the bytes of the registers: `capacity(p)`.
//! - 1, **dense**: 2^p registers of 6 bits, four of them in three bytes, the first in the lowest bits.
//!   The first p bits of a hash say which register; the register has the largest rank of them, and the
//!   rank is one more than the number of zeros that follow the first p bits, at most 65 − p. 0 is a
//!   register without a hash.
//!
//! # Invariants
//!
//! 1. A sketch is a function of the set of hashes alone, byte for byte: sparse if and only if they are
//!    at most `capacity(p)`. So it makes no difference how they were cut and merged.
//! 2. Bytes that come from outside are checked before they are used (`Sketch::read`).

use crate::estimate::estimate;

pub(crate) const LAYOUT_VERSION: u8 = 1;

const HEADER: usize = 3;
const SPARSE: u8 = 0;
const DENSE: u8 = 1;

/// How many registers there are: 2^p. It also says how large a sketch gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Precision(u8);

impl Precision {
    /// From 4 to 14.
    #[must_use]
    pub fn new(precision: u8) -> Option<Self> {
        (4..=14).contains(&precision).then_some(Self(precision))
    }

    pub(crate) fn get(self) -> u8 {
        self.0
    }

    fn registers(self) -> usize {
        1 << self.0
    }

    fn dense_bytes(self) -> usize {
        self.registers() / 4 * 3
    }

    /// How many hashes are kept as they are, and so counted exactly.
    #[must_use]
    pub fn capacity(self) -> usize {
        self.dense_bytes() / 8
    }

    /// The largest rank: of a hash that has only zeros behind its first bits.
    fn rank_max(self) -> u8 {
        65 - self.0
    }
}

/// A stored sketch, checked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sketch<'a> {
    /// 8 bytes a hash
    Sparse(&'a [u8]),
    /// three bytes for four registers
    Dense(&'a [u8]),
}

impl<'a> Sketch<'a> {
    /// # Errors
    ///
    /// When the bytes are no sketch of this precision.
    pub(crate) fn read(bytes: &'a [u8], precision: Precision) -> Result<Self, String> {
        let Some((&[version, of, form], body)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(damaged("it is too short"));
        };
        if version != LAYOUT_VERSION {
            return Err(format!(
                "a stored sketch has layout {version}: this build reads layout {LAYOUT_VERSION}"
            ));
        }
        if of != precision.0 {
            return Err(format!(
                "a stored sketch has precision {of}, and the config says {}",
                precision.0
            ));
        }
        match form {
            SPARSE => {
                let (hashes, []) = body.as_chunks::<8>() else {
                    return Err(damaged("a hash is cut off"));
                };
                let is_ascending =
                    hashes.is_sorted_by(|a, b| u64::from_le_bytes(*a) < u64::from_le_bytes(*b));
                if hashes.len() > precision.capacity() || !is_ascending {
                    return Err(damaged("its hashes are too many or out of order"));
                }
                Ok(Self::Sparse(body))
            }
            DENSE if body.len() != precision.dense_bytes() => Err(damaged("it has another length")),
            DENSE if registers(body).any(|rank| rank > precision.rank_max()) => {
                Err(damaged("a register is too large"))
            }
            DENSE => Ok(Self::Dense(body)),
            _ => Err(damaged("it has no form that there is")),
        }
    }

    /// How many different hashes it is of: exactly, or about.
    pub(crate) fn count(self, precision: Precision) -> f64 {
        match self {
            Self::Sparse(hashes) => (hashes.len() / 8) as f64,
            Self::Dense(packed) => {
                let mut histogram = [0; 62];
                for rank in registers(packed) {
                    histogram[usize::from(rank)] += 1;
                }
                estimate(&histogram[..=usize::from(precision.rank_max())])
            }
        }
    }
}

fn damaged(how: &str) -> String {
    format!("a stored sketch is damaged: {how}")
}

fn registers(packed: &[u8]) -> impl Iterator<Item = u8> {
    packed.as_chunks::<3>().0.iter().flat_map(|&[a, b, c]| {
        let four = u32::from_le_bytes([a, b, c, 0]);
        [0, 6, 12, 18].map(|shift| (four >> shift & 63) as u8)
    })
}

/// Gathers hashes and sketches into one sketch at a time. Reused, so that it allocates only until it
/// has seen the largest.
#[derive(Debug)]
pub(crate) struct Builder {
    precision: Precision,
    hashes: Vec<u64>,
    /// one byte each; empty until there is a dense part
    registers: Vec<u8>,
}

impl Builder {
    pub(crate) fn new(precision: Precision) -> Self {
        Self {
            precision,
            hashes: Vec::new(),
            registers: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, hash: u64) {
        self.hashes.push(hash);
    }

    pub(crate) fn add_sketch(&mut self, sketch: Sketch<'_>) {
        match sketch {
            Sketch::Sparse(hashes) => {
                let hashes = hashes.as_chunks::<8>().0.iter();
                self.hashes
                    .extend(hashes.map(|&hash| u64::from_le_bytes(hash)));
            }
            Sketch::Dense(packed) => {
                self.registers.resize(self.precision.registers(), 0);
                for (register, rank) in self.registers.iter_mut().zip(registers(packed)) {
                    *register = rank.max(*register);
                }
            }
        }
    }

    /// Appends the sketch of all that was added, and begins anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        self.hashes.sort_unstable();
        self.hashes.dedup();
        let is_sparse = self.registers.is_empty() && self.hashes.len() <= self.precision.capacity();
        out.extend([
            LAYOUT_VERSION,
            self.precision.0,
            if is_sparse { SPARSE } else { DENSE },
        ]);
        if is_sparse {
            out.extend(self.hashes.iter().flat_map(|hash| hash.to_le_bytes()));
        } else {
            self.registers.resize(self.precision.registers(), 0);
            for &hash in &self.hashes {
                let (index, rank) = place(hash, self.precision);
                let register = &mut self.registers[index];
                *register = rank.max(*register);
            }
            for &[a, b, c, d] in self.registers.as_chunks::<4>().0 {
                let four = [a, b, c, d]
                    .into_iter()
                    .rev()
                    .fold(0, |all, rank| all << 6 | u32::from(rank));
                out.extend(&four.to_le_bytes()[..3]);
            }
        }
        self.hashes.clear();
        self.registers.clear();
    }
}

/// The register of a hash, and its rank there.
fn place(hash: u64, precision: Precision) -> (usize, u8) {
    let index = hash >> (64 - precision.0);
    // The bit behind the last one stops the count.
    let rest = hash << precision.0 | 1 << (precision.0 - 1);
    (index as usize, rest.leading_zeros() as u8 + 1)
}

#[cfg(test)]
mod tests;
