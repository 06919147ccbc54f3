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

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    use crate::rate::Rate;

    fn converter(scale: u8) -> Converter {
        let json =
            r#"{"base": "USD", "rates": {"EUR": "1.08", "GBP": "1.27", "ÆØ": "2", "X": "3"}}"#;
        Converter::new(Config::parse(json).unwrap(), scale)
    }

    /// Converts rows of amount and currency, either of which may be missing.
    fn convert(converter: &Converter, rows: &[(Option<i64>, Option<&str>)]) -> Converted {
        let amounts: Vec<_> = rows.iter().map(|row| row.0.unwrap_or(77)).collect();
        let amount_validity: Vec<_> = rows.iter().map(|row| u8::from(row.0.is_some())).collect();
        let code_validity: Vec<_> = rows.iter().map(|row| u8::from(row.1.is_some())).collect();
        let mut bytes = Vec::new();
        let mut offsets = vec![0];
        for (_, code) in rows {
            bytes.extend_from_slice(code.unwrap_or("?").as_bytes());
            offsets.push(bytes.len() as u32);
        }
        converter.convert(
            Amounts {
                values: &amounts,
                validity: Some(&amount_validity),
            },
            Codes {
                offsets: &offsets,
                bytes: &bytes,
                validity: Some(&code_validity),
            },
        )
    }

    #[test]
    fn each_row_is_converted_at_the_rate_of_its_currency() {
        let rows = [
            (Some(10_000), Some("EUR")),
            (Some(10_000), Some("USD")),
            (Some(-10_000), Some("GBP")),
            (Some(1), Some("ÆØ")),
            (Some(1), Some("X")),
        ];
        let converted = convert(&converter(2), &rows);
        assert_eq!(converted.cents, [10_800, 10_000, -12_700, 2, 3]);
        assert_eq!(converted.rejections, []);
    }

    #[test]
    fn a_row_that_cannot_be_converted_is_rejected_with_the_reason() {
        let long = "long".repeat(20);
        let rows = [
            (Some(1), Some("JPY")),
            (Some(100), Some("USD")),
            (None, Some("USD")),
            (Some(1), None),
            (Some(999_999_999_999_999_999), Some("EUR")),
            (Some(1), Some("")),
            (Some(1), Some("usd")),
            (Some(1), Some("USD\0")),
            (Some(1), Some(&long)),
            (Some(200), Some("USD")),
        ];
        let converted = convert(&converter(2), &rows);
        assert_eq!(converted.cents, [100, 200]);
        let expected = [
            (0, "there is no rate for `currency` `JPY`"),
            (2, "`total_amount` is missing"),
            (3, "`currency` is missing"),
            (
                4,
                "`total_amount_base` would have more than 18 digits: `total_amount` in `EUR`",
            ),
            (5, "there is no rate for `currency` ``"),
            (6, "there is no rate for `currency` `usd`"),
            (7, "there is no rate for `currency` `USD\0`"),
            (
                8,
                "there is no rate for `currency` `longlonglonglonglonglonglonglong…`",
            ),
        ];
        assert_eq!(
            converted.rejections,
            expected.map(|(row, reason)| (row, reason.to_owned()))
        );
    }

    #[test]
    fn a_batch_without_rows_gives_none() {
        let converted = convert(&converter(2), &[]);
        assert_eq!(converted, Converted::default());
    }

    #[test]
    fn different_codes_are_different_numbers() {
        let codes: [&[u8]; 7] = [b"", b"\0", b"\0\0", b"A", b"A\0", b"\0A", b"ABCDEFG"];
        for (i, a) in codes.iter().enumerate() {
            for b in &codes[i + 1..] {
                assert_ne!(pack(a, 0..a.len()), pack(b, 0..b.len()), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn a_code_is_the_same_number_whatever_follows_it() {
        let alone = pack(b"EUR", 0..3);
        assert_eq!(pack(b"EURGBPUSD", 0..3), alone);
        assert_eq!(pack(b"USDEUR", 3..6), alone);
        assert_eq!(pack(b"TWELVE BYTES", 0..8), 0);
    }

    fn row() -> impl Strategy<Value = (Option<i64>, Option<&'static str>)> {
        let amount = -999_999_999_999_999_999_i64..=999_999_999_999_999_999;
        let code = prop::sample::select(vec!["EUR", "GBP", "USD", "ÆØ", "X", "JPY", ""]);
        (
            prop::option::weighted(0.9, amount),
            prop::option::weighted(0.9, code),
        )
    }

    proptest! {
        #[test]
        fn every_row_comes_out_once_as_its_own_conversion_says(
            rows in prop::collection::vec(row(), 0..100), scale in 0_u8..=18
        ) {
            let converter = converter(scale);
            let converted = convert(&converter, &rows);
            let mut cents = converted.cents.iter();
            let mut rejected = converted.rejections.iter().map(|&(row, _)| row as usize);
            for (i, &(amount, code)) in rows.iter().enumerate() {
                let alone = amount.zip(code).and_then(|(amount, code)| {
                    let rate: &Rate = converter.config.rates.get(code)?;
                    Conversion::new(scale, *rate).apply(amount)
                });
                if let Some(base) = alone {
                    prop_assert_eq!(cents.next(), Some(&base));
                } else {
                    prop_assert_eq!(rejected.next(), Some(i));
                }
            }
            prop_assert_eq!((cents.next(), rejected.next()), (None, None));
        }
    }
}
