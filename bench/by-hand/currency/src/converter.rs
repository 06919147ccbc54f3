//! One pass over a batch: currency to rate, amount to base.

use std::ops::Range;

use crate::config::{CODE_BYTES_MAX, Config};
use crate::conversion::Conversion;

/// Characters of an unknown currency that a reason quotes.
const QUOTED_CHARS_MAX: usize = 32;

/// The amounts of a batch, unscaled; `validity` as in the contract.
#[derive(Debug, Clone, Copy)]
pub struct Amounts<'a> {
    /// one a row
    pub values: &'a [i64],
    /// 1 = present
    pub validity: Option<&'a [u8]>,
}

/// The currencies of a batch, laid out as in the contract.
#[derive(Debug, Clone, Copy)]
pub struct Codes<'a> {
    /// one more than rows
    pub offsets: &'a [u32],
    /// UTF-8, back to back
    pub bytes: &'a [u8],
    /// 1 = present
    pub validity: Option<&'a [u8]>,
}

impl<'a> Codes<'a> {
    fn range(&self, row: usize) -> Range<usize> {
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }

    fn get(&self, row: usize) -> &'a [u8] {
        &self.bytes[self.range(row)]
    }
}

/// What became of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// the rows that were converted, in order: hundredths of the base
    pub cents: Vec<i64>,
    /// the other rows, each with why
    pub rejections: Vec<(u32, String)>,
}

/// Why a row cannot be converted.
#[derive(Debug, Clone, Copy)]
enum Fault {
    NoAmount,
    NoCurrency,
    UnknownCurrency,
    TooLarge,
}

/// Converts batches; made once, at `configure`.
#[derive(Debug)]
pub struct Converter {
    config: Config,
    // Packed and sorted; beside each its conversion.
    codes: Vec<u64>,
    conversions: Vec<Conversion>,
}

impl Converter {
    /// For amounts of this scale.
    #[must_use]
    pub fn new(config: Config, scale: u8) -> Self {
        let mut by_code: Vec<_> = config
            .rates
            .iter()
            .map(|(code, &rate)| {
                (
                    pack(code.as_bytes(), 0..code.len()),
                    Conversion::new(scale, rate),
                )
            })
            .collect();
        by_code.sort_unstable_by_key(|&(code, _)| code);
        let (codes, conversions) = by_code.into_iter().unzip();
        Self {
            config,
            codes,
            conversions,
        }
    }

    /// Converts every row or says why not.
    ///
    /// # Panics
    ///
    /// When the columns differ in length or the offsets leave `bytes`; the host guarantees both.
    #[must_use]
    pub fn convert(&self, amounts: Amounts<'_>, codes: Codes<'_>) -> Converted {
        let mut converted = Converted {
            cents: Vec::with_capacity(amounts.values.len()),
            rejections: Vec::new(),
        };
        for (row, &amount) in amounts.values.iter().enumerate() {
            let base = if !is_present(amounts.validity, row) {
                Err(Fault::NoAmount)
            } else if !is_present(codes.validity, row) {
                Err(Fault::NoCurrency)
            } else {
                self.convert_row(amount, pack(codes.bytes, codes.range(row)))
            };
            match base {
                Ok(cents) => converted.cents.push(cents),
                Err(fault) => {
                    let reason = self.explain(fault, codes.get(row));
                    converted.rejections.push((row as u32, reason));
                }
            }
        }
        converted
    }

    fn convert_row(&self, amount: i64, code: u64) -> Result<i64, Fault> {
        // No cache of the last hit: sales mix currencies, and a branch that is foreseen half of the
        // time costs more than this search, which has none.
        let found = self
            .codes
            .binary_search(&code)
            .map_err(|_| Fault::UnknownCurrency)?;
        self.conversions[found].apply(amount).ok_or(Fault::TooLarge)
    }

    #[cold]
    fn explain(&self, fault: Fault, code: &[u8]) -> String {
        let Config {
            amount,
            currency,
            output,
            ..
        } = &self.config;
        match fault {
            Fault::NoAmount => format!("`{amount}` is missing"),
            Fault::NoCurrency => format!("`{currency}` is missing"),
            Fault::UnknownCurrency => {
                let code = String::from_utf8_lossy(code);
                let quoted: String = code.chars().take(QUOTED_CHARS_MAX).collect();
                let more = if quoted.len() < code.len() { "…" } else { "" };
                format!("there is no rate for `{currency}` `{quoted}{more}`")
            }
            Fault::TooLarge => format!(
                "`{output}` would have more than 18 digits: `{amount}` in `{}`",
                String::from_utf8_lossy(code)
            ),
        }
    }
}

fn is_present(validity: Option<&[u8]>, row: usize) -> bool {
    validity.is_none_or(|validity| validity[row] != 0)
}

/// The code at `bytes[range]` as one number: its bytes, the first lowest, and its length on top. 0,
/// which no code has, for what is too long.
fn pack(bytes: &[u8], range: Range<usize>) -> u64 {
    let len = range.len();
    if len > CODE_BYTES_MAX {
        return 0;
    }
    let word = match bytes.get(range.start..range.start + 8) {
        // Eight bytes at once, then without those of the next codes.
        Some(eight) => {
            let word = u64::from_le_bytes(eight.try_into().expect("these are eight bytes"));
            word & ((1 << (8 * len)) - 1)
        }
        None => bytes[range]
            .iter()
            .rev()
            .fold(0, |word, &byte| (word << 8) | u64::from(byte)),
    };
    ((len as u64) << 56) | word
}
