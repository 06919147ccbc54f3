//! Guest `top`: the values of a column that weigh most, in bounded room.
//!
//! A state is a `summary` of at most `capacity` values and its error. While a group has no more
//! different values than that, everything is exact and the laws of `wit/aggregate.wit` hold to the
//! byte. Beyond, weights are at most `error` too small, and the laws hold within that error: **this is
//! a deviation from the contract**, which `docs/guests/top.md` explains.

mod input;
mod layout;
mod summary;

use hashbrown::{DefaultHashBuilder, HashMap};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use wasmill_guest::columns::find;
use wasmill_guest::{
    AggregateContract, AnyDecimal, Batch, Column, ColumnAggregate, DataType, Field, Folded, Values,
    VarBytes,
};

use input::Rows;
use summary::Entry;

/// Raised when what a state means changes.
const STATE_VERSION: u32 = 1;

/// The largest magnitude of a decimal, unscaled.
const DECIMAL_MAX: i64 = 999_999_999_999_999_999;

/// Values that a state has room for at most.
const CAPACITY_MAX: u32 = 10_000;

/// Which values, by which weights, and how many.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// a column of `utf8` or `int64`, whose values are ranked
    column: String,
    /// a column of decimals or `int64`, 0 or more, that is added up; without it rows are counted
    weight: Option<String>,
    /// how many values are shown
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 10_000))]
    k: u32,
    /// how many values a state has room for, at least `k`; 20 times `k` if it is not given
    #[schemars(range(min = 1, max = 10_000))]
    capacity: Option<u32>,
}

fn ten() -> u32 {
    10
}

/// The guest.
#[derive(Debug)]
pub struct Top {
    needs: Vec<String>,
    value: DataType,
    weight: DataType,
    k: usize,
    capacity: usize,
}

wasmill_guest::column_aggregate!(Top);

impl ColumnAggregate for Top {
    type Config = Config;

    fn configure(input: &[Field], config: Config) -> Result<(Self, AggregateContract), String> {
        let value = find(input, &config.column)?;
        if !matches!(value.ty, DataType::Utf8 | DataType::Int64) {
            return Err(format!(
                "column `{}` is {}: only utf8 and int64 can be ranked (`project` casts others to utf8)",
                value.name, value.ty
            ));
        }
        let weight = config
            .weight
            .as_deref()
            .map(|name| find(input, name))
            .transpose()?;
        if let Some(Field { name, ty, .. }) = weight
            && !matches!(ty, DataType::Decimal(_) | DataType::Int64)
        {
            return Err(format!(
                "the weight `{name}` has to be a decimal or int64, but is {ty}"
            ));
        }
        let (k, capacity) = sizes(&config)?;
        let top = Self {
            value: value.ty,
            weight: weight.map_or(DataType::Int64, |field| field.ty),
            needs: std::iter::once(config.column)
                .chain(config.weight)
                .collect(),
            k,
            capacity,
        };
        let contract = AggregateContract {
            needs: top.needs.clone(),
            state: top.state(),
            state_version: STATE_VERSION,
            output: vec![
                Field::new("top", DataType::Utf8),
                Field::new("error", top.weight),
            ],
        };
        Ok((top, contract))
    }

    fn fold(&self, groups: &[u32], group_count: u32, input: Batch) -> Result<Folded, String> {
        let rows = Rows::new(&input).ok_or_else(other_columns)?;
        let rejected = rows.rejected(groups.len(), &self.needs, self.weight);
        if !rejected.is_empty() {
            return Ok(Folded::Rejected(rejected));
        }
        let mut weights: HashMap<(u32, &[u8]), i128, DefaultHashBuilder> = HashMap::default();
        for (row, &group) in groups.iter().enumerate() {
            if let Some((value, weight)) = rows.get(row) {
                *weights.entry((group, value)).or_default() += i128::from(weight);
            }
        }
        let mut of_group = vec![Vec::new(); group_count as usize];
        for ((group, value), weight) in weights {
            of_group[group as usize].push(Entry { value, weight });
        }
        let mut states = States::default();
        for mut entries in of_group {
            let error = summary::cut(&mut entries, self.capacity);
            self.push(&mut states, &entries, error)?;
        }
        Ok(Folded::States(states.into_batch()))
    }

    fn merge(&self, groups: &[u32], group_count: u32, parts: Batch) -> Result<Batch, String> {
        let (errors, summaries) = columns(&parts)?;
        let mut of_group = vec![(0, Vec::new()); group_count as usize];
        for (row, &group) in groups.iter().enumerate() {
            let (error, entries) = &mut of_group[group as usize];
            *error += i128::from(errors[row]);
            layout::read(summaries.get(row), entries)?;
        }
        let mut states = States::default();
        for (error, mut entries) in of_group {
            entries.sort_by(|a, b| a.value.cmp(b.value));
            summary::join(&mut entries);
            let more = summary::cut(&mut entries, self.capacity);
            self.push(&mut states, &entries, error + more)?;
        }
        Ok(states.into_batch())
    }

    fn finish(&self, states: Batch) -> Result<Batch, String> {
        let (errors, summaries) = columns(&states)?;
        let mut lists = VarBytes::with_capacity(summaries.len(), summaries.len() * self.k * 32);
        let mut entries = Vec::new();
        for row in 0..summaries.len() {
            entries.clear();
            layout::read(summaries.get(row), &mut entries)?;
            summary::heaviest(&mut entries, self.k);
            self.write_list(&entries, &mut lists.bytes)?;
            lists.push(&[]);
        }
        Ok(Batch {
            rows: states.rows,
            columns: vec![
                Column::new(Values::Bytes(lists)),
                Column::new(Values::I64s(errors.to_vec())),
            ],
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
                "the stored states are not those of {} values with weights of type {}",
                self.value, self.weight
            ));
        }
        Ok(states)
    }
}

/// `k` and the capacity.
fn sizes(config: &Config) -> Result<(usize, usize), String> {
    let capacity = config
        .capacity
        .unwrap_or(config.k.saturating_mul(20).min(CAPACITY_MAX));
    if !(1..=CAPACITY_MAX).contains(&config.k) {
        return Err(format!("`k` is 1 to {CAPACITY_MAX}, not {}", config.k));
    }
    if !(config.k..=CAPACITY_MAX).contains(&capacity) {
        return Err(format!(
            "`capacity` is {} (`k`) to {CAPACITY_MAX}, not {capacity}",
            config.k
        ));
    }
    Ok((config.k as usize, capacity as usize))
}

impl Top {
    /// The type of the values is in the name, so that states of another column are found at start.
    /// States of another capacity can be read: they are cut at the next merge.
    fn state(&self) -> Vec<Field> {
        vec![
            Field::new("error", self.weight),
            Field::new(format!("entries_{}", self.value), DataType::Binary),
        ]
    }

    fn push(&self, states: &mut States, entries: &[Entry<'_>], error: i128) -> Result<(), String> {
        let max = match self.weight {
            DataType::Int64 => i64::MAX,
            _ => DECIMAL_MAX,
        };
        let too_large = || match self.needs.get(1) {
            Some(name) => format!(
                "the sum of `{name}` for a value has more digits than {} can have",
                self.weight
            ),
            None => "a count does not fit into 64 bits".to_owned(),
        };
        let error = i64::try_from(error).ok().filter(|error| *error <= max);
        states.errors.push(error.ok_or_else(too_large)?);
        layout::write(entries, max, &mut states.entries.bytes).ok_or_else(too_large)?;
        states.entries.push(&[]);
        Ok(())
    }

    /// `[{"value":"Acme","weight":12.50}]`
    fn write_list(&self, entries: &[Entry<'_>], out: &mut Vec<u8>) -> Result<(), String> {
        let list: Vec<_> = entries
            .iter()
            .map(|entry| self.item(entry))
            .collect::<Result<_, _>>()?;
        serde_json::to_writer(out, &list).map_err(|error| error.to_string())
    }

    fn item(&self, entry: &Entry<'_>) -> Result<Item, String> {
        let damaged = || "a stored state is damaged".to_owned();
        let value = match self.value {
            DataType::Int64 => {
                let bytes = entry.value.try_into().map_err(|_| damaged())?;
                i64::from_le_bytes(bytes).into()
            }
            _ => std::str::from_utf8(entry.value)
                .map_err(|_| damaged())?
                .into(),
        };
        let weight = match self.weight {
            DataType::Decimal(scale) => {
                let weight = AnyDecimal::new(entry.weight as i64, scale).ok_or_else(damaged)?;
                weight.to_string()
            }
            _ => entry.weight.to_string(),
        };
        // Digits and a point are a number in JSON; no digit is lost in a double.
        let weight = RawValue::from_string(weight).map_err(|error| error.to_string())?;
        Ok(Item { value, weight })
    }
}

#[derive(serde::Serialize)]
struct Item {
    value: serde_json::Value,
    weight: Box<RawValue>,
}

/// State columns in the making.
#[derive(Default)]
struct States {
    errors: Vec<i64>,
    entries: VarBytes,
}

impl States {
    fn into_batch(self) -> Batch {
        Batch {
            rows: self.errors.len() as u32,
            columns: vec![
                Column::new(Values::I64s(self.errors)),
                Column::new(Values::Bytes(self.entries)),
            ],
        }
    }
}

fn columns(states: &Batch) -> Result<(&[i64], &VarBytes), String> {
    match states.columns.as_slice() {
        [
            Column {
                values: Values::I64s(errors),
                validity: None,
            },
            Column {
                values: Values::Bytes(entries),
                validity: None,
            },
        ] => Ok((errors, entries)),
        _ => Err(other_columns()),
    }
}

fn other_columns() -> String {
    "got other columns than configured".to_owned()
}

#[cfg(test)]
mod tests;
