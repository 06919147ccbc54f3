//! Guest `stats`: count, sum, least, greatest and mean of a column of numbers.
//!
//! Missing values leave no trace; a group without values has a count of 0 and no least, greatest and
//! mean. Decimals and integers are exact (`exact`); of doubles there is neither sum nor mean
//! (`doubles`).
//!
//! This file maps columns to these two and back.

pub mod doubles;
pub mod exact;

use schemars::JsonSchema;
use serde::Deserialize;
use wasmill_guest::columns::find;
use wasmill_guest::{
    AggregateContract, AnyDecimal, Batch, Column, ColumnAggregate, DataType, Field, Folded,
    Rejection, Values,
};

/// Raised when what a state means changes.
const STATE_VERSION: u32 = 1;

/// The largest magnitude of a decimal, unscaled.
const DECIMAL_MAX: i64 = 999_999_999_999_999_999;

/// Digits after the point that a mean has, where the column has fewer and none are given.
const MEAN_SCALE: u8 = 2;

const COUNT_TOO_LARGE: &str = "a count does not fit into 64 bits";

/// Which column, and how fine its mean.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// a column of decimals, `int64` or `float64`
    column: String,
    /// digits after the point of the mean, 0 to 18: those of the column, or 2 if that has fewer
    #[schemars(range(max = 18))]
    mean_scale: Option<u8>,
}

/// The guest.
#[derive(Debug)]
pub struct Stats {
    column: String,
    numbers: Numbers,
}

/// What kind of numbers the column has.
#[derive(Debug, Clone, Copy)]
enum Numbers {
    Exact(Exact),
    Doubles,
}

/// How the column and its mean are scaled.
#[derive(Debug, Clone, Copy)]
struct Exact {
    ty: DataType,
    scale: u8,
    mean_scale: u8,
}

impl Exact {
    fn sum_max(self) -> i64 {
        match self.ty {
            DataType::Int64 => i64::MAX,
            _ => DECIMAL_MAX,
        }
    }

    /// 10 to the power of how much finer the mean is; it is never coarser.
    fn factor(self) -> i64 {
        10_i64.pow(u32::from(self.mean_scale - self.scale))
    }

    /// The largest magnitude of a value that can be a mean. The mean of smaller ones is smaller.
    fn value_max(self) -> i64 {
        DECIMAL_MAX / self.factor()
    }
}

wasmill_guest::column_aggregate!(Stats);

impl ColumnAggregate for Stats {
    type Config = Config;

    fn configure(input: &[Field], config: Config) -> Result<(Self, AggregateContract), String> {
        let field = find(input, &config.column)?;
        let stats = Self {
            column: config.column,
            numbers: numbers(field, config.mean_scale)?,
        };
        let contract = AggregateContract {
            needs: vec![stats.column.clone()],
            state: stats.state(),
            state_version: STATE_VERSION,
            output: stats.output(),
        };
        Ok((stats, contract))
    }

    fn fold(&self, groups: &[u32], group_count: u32, input: Batch) -> Result<Folded, String> {
        let [column] = input.columns.as_slice() else {
            return Err(other_columns());
        };
        let validity = column.validity.as_deref();
        let states = match (self.numbers, &column.values) {
            (Numbers::Exact(exact), Values::I64s(values)) => {
                let rejected = self.too_large(exact, values, validity);
                if !rejected.is_empty() {
                    return Ok(Folded::Rejected(rejected));
                }
                let states = exact::fold(groups, group_count, values, validity);
                from_exact(states.ok_or(COUNT_TOO_LARGE)?)
            }
            (Numbers::Doubles, Values::F64s(values)) => {
                from_doubles(doubles::fold(groups, group_count, values, validity))
            }
            _ => return Err(other_columns()),
        };
        Ok(Folded::States(states))
    }

    fn merge(&self, groups: &[u32], group_count: u32, parts: Batch) -> Result<Batch, String> {
        match self.numbers {
            Numbers::Exact(_) => {
                let parts = to_exact(parts)?;
                let states = exact::merge(groups, group_count, &parts);
                Ok(from_exact(states.ok_or(COUNT_TOO_LARGE)?))
            }
            Numbers::Doubles => {
                let states = doubles::merge(groups, group_count, &to_doubles(parts)?);
                Ok(from_doubles(states.ok_or(COUNT_TOO_LARGE)?))
            }
        }
    }

    fn finish(&self, states: Batch) -> Result<Batch, String> {
        let Numbers::Exact(exact) = self.numbers else {
            // A state is what is shown of it.
            return to_doubles(states).map(from_doubles);
        };
        self.show(exact, to_exact(states)?)
    }

    fn migrate(&self, version: u32, state: &[Field], states: Batch) -> Result<Batch, String> {
        if version != STATE_VERSION {
            return Err(format!(
                "states of version {version} cannot be read: this is version {STATE_VERSION}"
            ));
        }
        if state != self.state() {
            return Err(format!(
                "the stored states are not those of a column of type {}",
                self.ty()
            ));
        }
        Ok(states)
    }
}

fn numbers(field: &Field, mean_scale: Option<u8>) -> Result<Numbers, String> {
    let Field { name, ty, .. } = field;
    let scale = match *ty {
        DataType::Decimal(scale) => scale,
        DataType::Int64 => 0,
        DataType::Float64 if mean_scale.is_none() => return Ok(Numbers::Doubles),
        DataType::Float64 => {
            return Err(format!(
                "column `{name}` is float64, of which there is no mean: declare it as a decimal, or \
                 leave out `mean_scale`"
            ));
        }
        _ => {
            return Err(format!(
                "column `{name}` has to be a decimal, int64 or float64, but is {ty}"
            ));
        }
    };
    let mean_scale = mean_scale.unwrap_or(scale.max(MEAN_SCALE));
    if !(scale..=18).contains(&mean_scale) {
        return Err(format!(
            "`mean_scale` is {scale} (the scale of column `{name}`) to 18, not {mean_scale}"
        ));
    }
    Ok(Numbers::Exact(Exact {
        ty: *ty,
        scale,
        mean_scale,
    }))
}

impl Stats {
    fn ty(&self) -> DataType {
        match self.numbers {
            Numbers::Exact(exact) => exact.ty,
            Numbers::Doubles => DataType::Float64,
        }
    }

    fn state(&self) -> Vec<Field> {
        let ty = self.ty();
        let mut fields = vec![Field::new("count", DataType::Int64)];
        if let Numbers::Exact(_) = self.numbers {
            // The two halves of 128 bits.
            fields.extend(["sum_high", "sum_low"].map(|name| Field::new(name, DataType::Int64)));
        }
        fields.extend(["min", "max"].map(|name| Field::nullable(name, ty)));
        fields
    }

    fn output(&self) -> Vec<Field> {
        let mut fields = self.state();
        if let Numbers::Exact(exact) = self.numbers {
            fields.splice(1..3, [Field::new("sum", exact.ty)]);
            fields.push(Field::nullable("mean", DataType::Decimal(exact.mean_scale)));
        }
        fields
    }

    /// What is shown of states: with the sums in one column, and the means.
    fn show(&self, exact: Exact, states: exact::States) -> Result<Batch, String> {
        let max = exact.sum_max().unsigned_abs().into();
        let mut sums = Vec::with_capacity(states.sums.len());
        let mut means = Vec::with_capacity(states.sums.len());
        for (&sum, &count) in states.sums.iter().zip(&states.counts) {
            if sum.unsigned_abs() > max {
                return Err(self.sum_too_large());
            }
            sums.push(sum as i64);
            means.push(match count {
                ..1 => 0,
                _ => exact::mean(sum as i64, count, exact.factor()),
            });
        }
        let mut output = from_exact(states);
        let validity = output.columns[4].validity.clone();
        output
            .columns
            .splice(1..3, [Column::new(Values::I64s(sums))]);
        output.columns.push(Column {
            values: Values::I64s(means),
            validity,
        });
        Ok(output)
    }

    /// Values that could make a mean of more than 18 digits, which nobody could be blamed for later.
    fn too_large(&self, exact: Exact, values: &[i64], validity: Option<&[u8]>) -> Vec<Rejection> {
        let max = exact.value_max().unsigned_abs();
        let too_large = |value: i64| value.unsigned_abs() > max;
        if !values.iter().copied().any(too_large) {
            return Vec::new();
        }
        let present = |row: usize| validity.is_none_or(|validity| validity[row] != 0);
        let rows = values.iter().enumerate();
        rows.filter(|&(row, &value)| too_large(value) && present(row))
            .map(|(row, &value)| Rejection {
                row: row as u32,
                reason: self.too_large_for_mean(exact, value),
            })
            .collect()
    }

    fn too_large_for_mean(&self, exact: Exact, value: i64) -> String {
        let shown = AnyDecimal::new(value, exact.scale)
            .map_or_else(|| value.to_string(), |it| it.to_string());
        format!(
            "`{}` is {shown}: a mean of such values has more than 18 digits, {} of them after the point",
            self.column, exact.mean_scale
        )
    }

    #[cold]
    fn sum_too_large(&self) -> String {
        let bound = match self.ty() {
            DataType::Int64 => "does not fit into 64 bits",
            _ => "has more than 18 digits",
        };
        format!("the sum of `{}` in a group {bound}", self.column)
    }
}

fn other_columns() -> String {
    "got other columns than configured".to_owned()
}

/// Which counts are of at least one value.
fn presence(counts: &[i64]) -> Vec<u8> {
    counts.iter().map(|&count| u8::from(count > 0)).collect()
}

fn from_exact(states: exact::States) -> Batch {
    let validity = Some(presence(&states.counts));
    let ends = [states.least, states.greatest].map(|values| Column {
        values: Values::I64s(values),
        validity: validity.clone(),
    });
    let mut columns = vec![
        Column::new(Values::I64s(states.counts)),
        Column::new(Values::I64s(
            states.sums.iter().map(|sum| (sum >> 64) as i64).collect(),
        )),
        Column::new(Values::I64s(
            states.sums.iter().map(|sum| *sum as i64).collect(),
        )),
    ];
    let rows = columns[0].values.len() as u32;
    columns.extend(ends);
    Batch { rows, columns }
}

fn to_exact(states: Batch) -> Result<exact::States, String> {
    let integers = |column: Column| match column.values {
        Values::I64s(values) => Ok(values),
        _ => Err(other_columns()),
    };
    let columns: Vec<_> = states
        .columns
        .into_iter()
        .map(integers)
        .collect::<Result<_, _>>()?;
    let [counts, high, low, least, greatest] = columns.try_into().map_err(|_| other_columns())?;
    let whole = |(high, low): (i64, i64)| i128::from(high) << 64 | i128::from(low.cast_unsigned());
    Ok(exact::States {
        counts,
        sums: high.into_iter().zip(low).map(whole).collect(),
        least,
        greatest,
    })
}

fn from_doubles(states: doubles::States) -> Batch {
    let validity = Some(presence(&states.counts));
    let ends = [states.least, states.greatest].map(|values| Column {
        values: Values::F64s(values),
        validity: validity.clone(),
    });
    let mut columns = vec![Column::new(Values::I64s(states.counts))];
    let rows = columns[0].values.len() as u32;
    columns.extend(ends);
    Batch { rows, columns }
}

fn to_doubles(states: Batch) -> Result<doubles::States, String> {
    let columns: [Column; 3] = states.columns.try_into().map_err(|_| other_columns())?;
    match columns.map(|column| column.values) {
        [
            Values::I64s(counts),
            Values::F64s(least),
            Values::F64s(greatest),
        ] => Ok(doubles::States {
            counts,
            least,
            greatest,
        }),
        _ => Err(other_columns()),
    }
}

#[cfg(test)]
mod tests;
