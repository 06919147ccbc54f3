//! Rows → values with weights: what can be used, and what is rejected.

use wasmill_guest::{AnyDecimal, Batch, Column, DataType, Rejection, Values};

use crate::layout::VALUE_BYTES_MAX;

/// The columns of a batch, as `fold` reads them.
pub(crate) struct Rows<'a> {
    values: &'a Column,
    /// `None`: every row weighs 1
    weights: Option<(&'a Column, &'a [i64])>,
    /// integers as bytes, 8 each
    integers: Vec<u8>,
}

impl<'a> Rows<'a> {
    /// `None` when the batch has other columns than configured.
    pub(crate) fn new(input: &'a Batch) -> Option<Self> {
        let (values, weights) = match input.columns.as_slice() {
            [values] => (values, None),
            [values, weights] => match &weights.values {
                Values::I64s(unscaled) => (values, Some((weights, unscaled.as_slice()))),
                _ => return None,
            },
            _ => return None,
        };
        let integers = match &values.values {
            Values::Bytes(_) => Vec::new(),
            Values::I64s(integers) => integers
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
            _ => return None,
        };
        Some(Self {
            values,
            weights,
            integers,
        })
    }

    /// The value and the weight of a row, if both are there and the weight is not 0.
    pub(crate) fn get(&self, row: usize) -> Option<(&[u8], i64)> {
        if !self.values.is_present(row) {
            return None;
        }
        let weight = match self.weights {
            None => 1,
            Some((column, _)) if !column.is_present(row) => return None,
            Some((_, weights)) => weights[row],
        };
        let value = match &self.values.values {
            Values::Bytes(values) => values.get(row),
            _ => &self.integers[row * 8..row * 8 + 8],
        };
        (weight != 0).then_some((value, weight))
    }

    /// The rows that cannot be used: with a weight below 0, which would break the guarantee, or with a
    /// value that is too long for a state.
    pub(crate) fn rejected(&self, rows: usize, names: &[String], ty: DataType) -> Vec<Rejection> {
        let reason = |row: usize| {
            let (value, weight) = self.get(row)?;
            if weight < 0 {
                let scale = if let DataType::Decimal(scale) = ty {
                    scale
                } else {
                    0
                };
                let shown = AnyDecimal::new(weight, scale)
                    .map_or_else(|| weight.to_string(), |it| it.to_string());
                return Some(format!(
                    "the weight `{}` is {shown}, and has to be 0 or more",
                    names[1]
                ));
            }
            (value.len() > VALUE_BYTES_MAX).then(|| {
                let length = value.len();
                format!(
                    "`{}` has {length} bytes, and may have {VALUE_BYTES_MAX}",
                    names[0]
                )
            })
        };
        (0..rows)
            .filter_map(|row| {
                reason(row).map(|reason| Rejection {
                    row: row as u32,
                    reason,
                })
            })
            .collect()
    }
}
