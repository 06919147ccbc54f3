//! Casts: values of one type → the same values of another, or a reason why a value has none.
//!
//! # Invariants
//!
//! 1. A cast loses nothing: cast back, a value is what it was (but for the time of day, see
//!    `Cast::between`). Only with `round` may digits go, half to even.
//! 2. Missing values stay missing, and are not looked at.
//! 3. Nothing is allocated for a row, unless it fails.

use std::io::Write;

use wasmill_guest::{AnyDecimal, Column, DataType, Date, Timestamp, Values, VarBytes};

use crate::text;

/// µs of a day.
const DAY_MICROS: i64 = 86_400_000_000;

/// Integers of up to this magnitude, scaled or not, have a double that shows all their digits.
const DOUBLE_DIGITS: u64 = 10_u64.pow(15);

/// How values of a type become values of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cast {
    way: Way,
    to: DataType,
    round: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// no value changes
    Same,
    FlagToInteger,
    IntegerToFlag,
    /// between scales; an `int64` has scale 0
    Exact(u8, u8),
    /// from this scale; `None`: from an integer
    ExactToDouble(Option<u8>),
    /// `int64`, or a decimal of this scale
    DoubleToExact(Option<u8>),
    TimeToDay,
    DayToTime,
    ToText(DataType),
    FromText,
    BytesToText,
}

impl Cast {
    /// The cast, if there is one.
    ///
    /// Between a time and a number there is none: nobody could tell in which unit. A time becomes the
    /// day that it is in, in UTC, and a day its midnight.
    #[must_use]
    pub fn between(from: DataType, to: DataType, round: bool) -> Option<Self> {
        use DataType::{Binary, Boolean, Date, Decimal, Float64, Int64, Timestamp, Utf8};

        let way = match (from, to) {
            (from, to) if from == to => Way::Same,
            (Utf8, Binary) => Way::Same,
            (Binary, Utf8) => Way::BytesToText,
            (from, Utf8) => Way::ToText(from),
            (Utf8, _) => Way::FromText,
            (Boolean, Int64) => Way::FlagToInteger,
            (Int64, Boolean) => Way::IntegerToFlag,
            (Int64, Decimal(to)) => Way::Exact(0, to),
            (Decimal(from), Int64) => Way::Exact(from, 0),
            (Decimal(from), Decimal(to)) => Way::Exact(from, to),
            (Int64, Float64) => Way::ExactToDouble(None),
            (Decimal(from), Float64) => Way::ExactToDouble(Some(from)),
            (Float64, Int64) => Way::DoubleToExact(None),
            (Float64, Decimal(to)) => Way::DoubleToExact(Some(to)),
            (Timestamp, Date) => Way::TimeToDay,
            (Date, Timestamp) => Way::DayToTime,
            _ => return None,
        };
        Some(Self { way, to, round })
    }

    /// The column of the other type. Where a value does not fit, `fail` is told its row and why, and
    /// something stands in its place.
    ///
    /// # Errors
    ///
    /// When the column is not of the type that the cast is from.
    pub fn apply(
        self,
        column: Column,
        mut fail: impl FnMut(usize, String),
    ) -> Result<Column, String> {
        let Column { values, validity } = column;
        let mut each = Each {
            present: validity.as_deref(),
            fail: &mut fail,
        };
        let values = match (self.way, values) {
            (Way::Same, values) => values,
            (Way::FlagToInteger, Values::Bools(flags)) => {
                Values::I64s(each.map(&flags, |flag| Ok(flag.into())))
            }
            (Way::IntegerToFlag, Values::I64s(integers)) => {
                Values::Bools(each.map(&integers, integer_to_flag))
            }
            (Way::Exact(from, to), Values::I64s(unscaled)) => {
                Values::I64s(each.map(&unscaled, |value| self.exact(value, from, to)))
            }
            (Way::ExactToDouble(scale), Values::I64s(unscaled)) => {
                let mut scratch = String::new();
                Values::F64s(each.map(&unscaled, |value| {
                    self.to_double(value, scale, &mut scratch)
                }))
            }
            (Way::DoubleToExact(scale), Values::F64s(doubles)) => {
                let mut scratch = String::new();
                Values::I64s(each.map(&doubles, |double| match scale {
                    None => self.to_integer(double),
                    Some(scale) => self.to_decimal(double, scale, &mut scratch),
                }))
            }
            (Way::TimeToDay, Values::I64s(times)) => Values::I32s(each.map(&times, |time| {
                Ok(Timestamp::from_micros(time).date().days())
            })),
            (Way::DayToTime, Values::I32s(days)) => Values::I64s(each.map(&days, |day| {
                let micros = i64::from(day).checked_mul(DAY_MICROS);
                micros.ok_or_else(|| format!("{} is too far away", Date::from_days(day)))
            })),
            (Way::ToText(from), values) => Values::Bytes(to_text(from, &values, each.present)?),
            (Way::FromText, Values::Bytes(texts)) => self.read(&texts, &mut each),
            (Way::BytesToText, Values::Bytes(bytes)) => {
                each.rows(bytes.len(), |row| {
                    match std::str::from_utf8(bytes.get(row)) {
                        Ok(_) => Ok(()),
                        Err(_) => Err("the bytes are no text in UTF-8".to_owned()),
                    }
                });
                // What fails stays as it is: the row is taken out by whoever is told.
                Values::Bytes(bytes)
            }
            _ => return Err("got a column of another type than configured".to_owned()),
        };
        Ok(Column { values, validity })
    }

    fn exact(self, value: i64, from: u8, to: u8) -> Result<i64, String> {
        let decimal = AnyDecimal::new(value, from)
            .ok_or_else(|| format!("{value} has more than 18 digits"))?;
        self.rescale(decimal, to)
    }

    fn rescale(self, decimal: AnyDecimal, to: u8) -> Result<i64, String> {
        let Some(rescaled) = decimal.rescale(to) else {
            return Err(format!(
                "{decimal} has more digits than a {} can have",
                self.to
            ));
        };
        if !self.round && rescaled.rescale(decimal.scale()) != Some(decimal) {
            return Err(format!(
                "{decimal} would have to be rounded to be of type {}",
                self.to
            ));
        }
        Ok(rescaled.unscaled())
    }

    /// The nearest double.
    fn to_double(self, value: i64, from: Option<u8>, scratch: &mut String) -> Result<f64, String> {
        let scale = from.unwrap_or(0);
        if value.unsigned_abs() <= DOUBLE_DIGITS {
            // Both are doubles exactly, so one rounding makes the nearest one.
            return Ok(value as f64 / 10_f64.powi(scale.into()));
        }
        write_over(scratch, format_args!("{value}e-{scale}"));
        let double: f64 = scratch
            .parse()
            .map_err(|_| format!("{scratch} is no number"))?;
        // Nothing is lost where the cast back gives it again.
        let back = match from {
            None => double as i128 == i128::from(value),
            Some(scale) => self.to_decimal(double, scale, scratch) == Ok(value),
        };
        if back || self.round {
            Ok(double)
        } else {
            let digits = AnyDecimal::new(value, scale)
                .map_or_else(|| value.to_string(), |it| it.to_string());
            Err(format!(
                "{digits} would have to be rounded to be of type float64"
            ))
        }
    }

    fn to_integer(self, double: f64) -> Result<i64, String> {
        let whole = double.round_ties_even();
        // The bounds are −2^63 and 2^63, which are doubles.
        if !(i64::MIN as f64..-(i64::MIN as f64)).contains(&whole) {
            return Err(format!("{double} does not fit into int64"));
        }
        // Exactly 0 where nothing was rounded.
        if (double - whole).abs() > 0.0 && !self.round {
            return Err(format!(
                "{double} would have to be rounded to be of type int64"
            ));
        }
        Ok(whole as i64)
    }

    /// By the shortest digits that read back as the double: those that people see.
    fn to_decimal(self, double: f64, scale: u8, scratch: &mut String) -> Result<i64, String> {
        if !double.is_finite() {
            return Err(format!("{double} is no {}", self.to));
        }
        write_over(scratch, format_args!("{double:e}"));
        self.parse_decimal(scratch, scale)
    }

    fn parse_decimal(self, text: &str, scale: u8) -> Result<i64, String> {
        let decimal = text.parse().map_err(|error| format!("{error}"))?;
        self.rescale(decimal, scale)
    }

    fn read<F: FnMut(usize, String)>(self, texts: &VarBytes, each: &mut Each<'_, F>) -> Values {
        let no = |text: &str| format!("`{text}` is no {}", self.to);
        match self.to {
            DataType::Boolean => Values::Bools(each.texts(texts, |text| match text {
                "true" => Ok(1),
                "false" => Ok(0),
                _ => Err(format!("`{text}` is neither true nor false")),
            })),
            DataType::Int64 => {
                Values::I64s(each.texts(texts, |text| text.parse().map_err(|_| no(text))))
            }
            DataType::Float64 => Values::F64s(each.texts(texts, |text| {
                let double: Option<f64> = text.parse().ok();
                double
                    .filter(|double| double.is_finite())
                    .ok_or_else(|| no(text))
            })),
            DataType::Decimal(scale) => {
                Values::I64s(each.texts(texts, |text| self.parse_decimal(text, scale)))
            }
            DataType::Timestamp => Values::I64s(
                each.texts(texts, |text| text::timestamp(text).ok_or_else(|| no(text))),
            ),
            DataType::Date => Values::I32s(each.texts(texts, |text| {
                let date: Result<Date, _> = text.parse();
                date.map(Date::days).map_err(|_| no(text))
            })),
            DataType::Utf8 | DataType::Binary => Values::Bytes(texts.clone()),
        }
    }
}

fn integer_to_flag(integer: i64) -> Result<u8, String> {
    match integer {
        0 | 1 => Ok(integer as u8),
        _ => Err(format!("{integer} is neither 0 nor 1")),
    }
}

fn write_over(scratch: &mut String, text: std::fmt::Arguments<'_>) {
    scratch.clear();
    std::fmt::Write::write_fmt(scratch, text).expect("writing to memory cannot fail");
}

/// Goes over the values that are there, and reports those that do not fit.
struct Each<'a, F> {
    present: Option<&'a [u8]>,
    fail: &'a mut F,
}

impl<F: FnMut(usize, String)> Each<'_, F> {
    fn map<T: Copy, U: Default>(
        &mut self,
        values: &[T],
        mut cast: impl FnMut(T) -> Result<U, String>,
    ) -> Vec<U> {
        self.rows(values.len(), |row| cast(values[row]))
    }

    fn texts<U: Default>(
        &mut self,
        texts: &VarBytes,
        mut cast: impl FnMut(&str) -> Result<U, String>,
    ) -> Vec<U> {
        self.rows(texts.len(), |row| {
            match std::str::from_utf8(texts.get(row)) {
                Ok(text) => cast(text),
                Err(_) => Err("it is no text in UTF-8".to_owned()),
            }
        })
    }

    fn rows<U: Default>(
        &mut self,
        rows: usize,
        mut cast: impl FnMut(usize) -> Result<U, String>,
    ) -> Vec<U> {
        let mut out = Vec::with_capacity(rows);
        for row in 0..rows {
            let present = self.present.is_none_or(|present| present[row] != 0);
            out.push(if present {
                cast(row).unwrap_or_else(|reason| {
                    (self.fail)(row, reason);
                    U::default()
                })
            } else {
                U::default()
            });
        }
        out
    }
}

fn to_text(from: DataType, values: &Values, present: Option<&[u8]>) -> Result<VarBytes, String> {
    let mut texts = VarBytes::with_capacity(values.len(), values.len() * 12);
    for row in 0..values.len() {
        if present.is_none_or(|present| present[row] != 0) {
            write_value(&mut texts.bytes, from, values, row)?;
        }
        texts.push(&[]);
    }
    Ok(texts)
}

/// Appends a value as text. `texts.push(&[])` then ends it there.
fn write_value(out: &mut Vec<u8>, ty: DataType, values: &Values, row: usize) -> Result<(), String> {
    let written = match (ty, values) {
        (DataType::Boolean, Values::Bools(flags)) => write!(out, "{}", flags[row] != 0),
        (DataType::Int64, Values::I64s(integers)) => write!(out, "{}", integers[row]),
        (DataType::Float64, Values::F64s(doubles)) => write!(out, "{}", doubles[row]),
        (DataType::Decimal(scale), Values::I64s(unscaled)) => {
            match AnyDecimal::new(unscaled[row], scale) {
                Some(decimal) => write!(out, "{decimal}"),
                None => return Err("a decimal has more than 18 digits".to_owned()),
            }
        }
        (DataType::Timestamp, Values::I64s(times)) => {
            write!(out, "{}", Timestamp::from_micros(times[row]))
        }
        (DataType::Date, Values::I32s(days)) => write!(out, "{}", Date::from_days(days[row])),
        _ => return Err("got a column of another type than configured".to_owned()),
    };
    written.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
