//! Guest `distinct`: about how many different values a column has.
//!
//! A state is one `sketch` of the hashes of the values: exact while they are few, a HyperLogLog
//! afterwards. Missing values are not counted.

mod estimate;
mod hash;
pub mod sketch;

use schemars::JsonSchema;
use serde::Deserialize;
use wasmill_guest::columns::find;
use wasmill_guest::{
    AggregateContract, Batch, Column, ColumnAggregate, DataType, Field, Folded, Values, VarBytes,
};

use sketch::{Builder, Precision, Sketch};

/// Raised when what a state means changes, the hash included.
const STATE_VERSION: u32 = 1;

/// The precision without a config: a standard error of 1.6 %, and at most 3 KiB a state.
const PRECISION: u8 = 12;

/// Which column, and how precisely.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// a column of any type
    column: String,
    /// 4 to 14: there are 2^precision registers, and the standard error is 1.04 / √ of that
    #[serde(default = "precision")]
    #[schemars(range(min = 4, max = 14))]
    precision: u8,
}

fn precision() -> u8 {
    PRECISION
}

/// The guest.
#[derive(Debug)]
pub struct Distinct {
    precision: Precision,
    ty: DataType,
}

wasmill_guest::column_aggregate!(Distinct);

impl ColumnAggregate for Distinct {
    type Config = Config;

    fn configure(input: &[Field], config: Config) -> Result<(Self, AggregateContract), String> {
        let field = find(input, &config.column)?;
        let precision = Precision::new(config.precision)
            .ok_or_else(|| format!("`precision` is 4 to 14, not {}", config.precision))?;
        let distinct = Self {
            precision,
            ty: field.ty,
        };
        let contract = AggregateContract {
            needs: vec![config.column],
            state: distinct.state(),
            state_version: STATE_VERSION,
            output: vec![Field::new("distinct", DataType::Int64)],
        };
        Ok((distinct, contract))
    }

    fn fold(&self, groups: &[u32], group_count: u32, input: Batch) -> Result<Folded, String> {
        let [Column { values, validity }] = input.columns.as_slice() else {
            return Err(other_columns());
        };
        if !values.fit(self.ty) {
            return Err(other_columns());
        }
        let mut hashes = Vec::with_capacity(groups.len());
        hash::each(values, validity.as_deref(), |row, hash| {
            hashes.push((groups[row], hash));
        });
        let (hashes, ends) = by_group(&hashes, group_count);
        let mut builder = Builder::new(self.precision);
        Ok(Folded::States(collect(group_count, |group, out| {
            let [begin, end] = [ends[group], ends[group + 1]];
            hashes[begin..end]
                .iter()
                .for_each(|&hash| builder.add(hash));
            builder.finish(out);
            Ok(())
        })?))
    }

    fn merge(&self, groups: &[u32], group_count: u32, parts: Batch) -> Result<Batch, String> {
        let parts = sketches(&parts)?;
        let of_group: Vec<_> = groups.iter().copied().zip(0..).collect();
        let (rows, ends) = by_group(&of_group, group_count);
        let mut builder = Builder::new(self.precision);
        collect(group_count, |group, out| {
            for &row in &rows[ends[group]..ends[group + 1]] {
                builder.add_sketch(Sketch::read(parts.get(row), self.precision)?);
            }
            builder.finish(out);
            Ok(())
        })
    }

    fn finish(&self, states: Batch) -> Result<Batch, String> {
        let states = sketches(&states)?;
        let count = |row| {
            let sketch = Sketch::read(states.get(row), self.precision)?;
            // An estimate beyond 64 bits is cut to the largest number of them.
            Ok(sketch.count(self.precision).round() as i64)
        };
        let counts: Vec<i64> = (0..states.len())
            .map(count)
            .collect::<Result<_, String>>()?;
        Ok(Batch {
            rows: counts.len() as u32,
            columns: vec![Column::new(Values::I64s(counts))],
        })
    }

    fn migrate(&self, version: u32, state: &[Field], states: Batch) -> Result<Batch, String> {
        if version != STATE_VERSION {
            return Err(format!(
                "states of version {version} cannot be read: this is version {STATE_VERSION}"
            ));
        }
        if state != self.state() {
            return Err(format!(
                "the stored states are not those of a column of type {} with precision {}",
                self.ty,
                self.precision.get()
            ));
        }
        Ok(states)
    }
}

impl Distinct {
    /// Type and precision are in the name, so that states of others are found at start and not at the
    /// first merge: they are hashes of other bytes.
    fn state(&self) -> Vec<Field> {
        let ty = self.ty.to_string().replace(['(', ')'], "");
        let name = format!("sketch_{ty}_p{}", self.precision.get());
        vec![Field::new(name, DataType::Binary)]
    }
}

fn other_columns() -> String {
    "got other columns than configured".to_owned()
}

fn sketches(states: &Batch) -> Result<&VarBytes, String> {
    match states.columns.as_slice() {
        [
            Column {
                values: Values::Bytes(sketches),
                validity: None,
            },
        ] => Ok(sketches),
        _ => Err(other_columns()),
    }
}

/// The items in the order of their groups, and where each group begins and the last one ends.
fn by_group<T: Copy + Default>(items: &[(u32, T)], group_count: u32) -> (Vec<T>, Vec<usize>) {
    let mut ends = vec![0; group_count as usize + 1];
    for &(group, _) in items {
        ends[group as usize + 1] += 1;
    }
    for group in 1..ends.len() {
        ends[group] += ends[group - 1];
    }
    let mut sorted = vec![T::default(); items.len()];
    let mut next = ends.clone();
    for &(group, item) in items {
        let next = &mut next[group as usize];
        sorted[*next] = item;
        *next += 1;
    }
    (sorted, ends)
}

/// A state for each group, of what `write` appends.
fn collect(
    group_count: u32,
    mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<(), String>,
) -> Result<Batch, String> {
    let mut states = VarBytes::with_capacity(group_count as usize, 0);
    for group in 0..group_count as usize {
        write(group, &mut states.bytes)?;
        states.push(&[]);
    }
    Ok(Batch {
        rows: group_count,
        columns: vec![Column::new(Values::Bytes(states))],
    })
}

#[cfg(test)]
mod tests;
