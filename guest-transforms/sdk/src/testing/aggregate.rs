//! An aggregate, driven natively.

use serde_json::Value;

use super::{check, config_text, json};
use crate::columns::{Batch, Column, Field, Values};
use crate::contract::{AggregateContract, ColumnAggregate, Folded};
use crate::{columns, export};

/// An aggregate that has been configured.
#[derive(Debug)]
pub struct AggregateGuest<A> {
    guest: A,
    contract: AggregateContract,
    needs: Vec<Field>,
}

impl<A: ColumnAggregate> AggregateGuest<A> {
    pub(super) fn configure(input: &[Field], config: &Value) -> Result<Self, String> {
        let (guest, contract) = export::configure_aggregate::<A>(input, &config_text(config))?;
        check::aggregate_contract(&contract, input)?;
        let needs = contract.needs.iter();
        Ok(Self {
            needs: needs
                .map(|name| columns::find(input, name).cloned())
                .collect::<Result<_, _>>()?,
            guest,
            contract,
        })
    }

    /// What it agreed to.
    #[must_use]
    pub fn contract(&self) -> &AggregateContract {
        &self.contract
    }

    /// The guest itself.
    #[must_use]
    pub fn guest(&self) -> &A {
        &self.guest
    }

    /// Folds rows of the input in one batch; `groups[i]` is the group of row `i`. Groups are numbered
    /// from 0, without a gap.
    ///
    /// # Errors
    ///
    /// That of the guest for the whole batch.
    ///
    /// # Panics
    ///
    /// When a row is not one of the input, there is not a group a row, or the guest breaks its contract.
    #[track_caller]
    pub fn fold(&self, groups: &[u32], rows: &[Value]) -> Result<Folded, String> {
        assert_eq!(groups.len(), rows.len(), "there has to be a group a row");
        let count = group_count(groups);
        let batch = json::batch(&self.needs, rows);
        let folded = self.guest.fold(groups, count, batch)?;
        let checked = match &folded {
            Folded::States(states) => check::batch(&self.contract.state, states, count as usize),
            Folded::Rejected(none) if none.is_empty() => {
                Err("rows are rejected, and there are none".to_owned())
            }
            Folded::Rejected(rejected) => check::rejections(rejected, rows.len() as u32).map(drop),
        };
        keep(checked);
        Ok(folded)
    }

    /// Folds rows that are all good.
    ///
    /// # Errors
    ///
    /// That of the guest for the whole batch.
    ///
    /// # Panics
    ///
    /// As [`fold`](Self::fold), and when the guest rejects a row.
    #[track_caller]
    pub fn states(&self, groups: &[u32], rows: &[Value]) -> Result<Batch, String> {
        match self.fold(groups, rows)? {
            Folded::States(states) => Ok(states),
            Folded::Rejected(rejections) => panic!("rows are rejected: {rejections:?}"),
        }
    }

    /// Merges states; `groups[i]` is the group of row `i` of `parts`.
    ///
    /// # Errors
    ///
    /// That of the guest.
    ///
    /// # Panics
    ///
    /// When the guest breaks its contract.
    #[track_caller]
    pub fn merge(&self, groups: &[u32], parts: Batch) -> Result<Batch, String> {
        assert_eq!(
            groups.len(),
            parts.rows as usize,
            "there has to be a group a part"
        );
        let count = group_count(groups);
        let merged = self.guest.merge(groups, count, parts)?;
        keep(check::batch(&self.contract.state, &merged, count as usize));
        Ok(merged)
    }

    /// The visible values of states.
    ///
    /// # Errors
    ///
    /// That of the guest.
    ///
    /// # Panics
    ///
    /// When the guest breaks its contract.
    #[track_caller]
    pub fn finish(&self, states: Batch) -> Result<Vec<Value>, String> {
        let rows = states.rows as usize;
        let output = self.guest.finish(states)?;
        keep(check::batch(&self.contract.output, &output, rows));
        Ok(json::rows(&self.contract.output, &output))
    }

    /// Folds rows that are all good, and finishes: a row of output for each group.
    ///
    /// # Errors
    ///
    /// That of the guest.
    ///
    /// # Panics
    ///
    /// As [`states`](Self::states) and [`finish`](Self::finish).
    #[track_caller]
    pub fn run(&self, groups: &[u32], rows: &[Value]) -> Result<Vec<Value>, String> {
        self.finish(self.states(groups, rows)?)
    }

    /// Rewrites states, given as JSON, that were written under this version with these columns.
    ///
    /// # Errors
    ///
    /// That of the guest.
    ///
    /// # Panics
    ///
    /// When a row is not one of `state`, or the guest breaks its contract.
    #[track_caller]
    pub fn migrate(
        &self,
        version: u32,
        state: &[Field],
        states: &[Value],
    ) -> Result<Vec<Value>, String> {
        let migrated = self
            .guest
            .migrate(version, state, json::batch(state, states))?;
        keep(check::batch(&self.contract.state, &migrated, states.len()));
        Ok(json::rows(&self.contract.state, &migrated))
    }

    /// Holds the laws of an aggregate against these rows, as of one group: that it makes no difference
    /// where the rows are cut into batches, nor in which order and how the partial states are merged.
    ///
    /// # Errors
    ///
    /// That of the guest.
    ///
    /// # Panics
    ///
    /// When the laws do not hold, and as [`states`](Self::states) and [`merge`](Self::merge).
    #[track_caller]
    pub fn check_laws(&self, rows: &[Value]) -> Result<(), String> {
        let fold = |rows: &[Value]| self.states(&vec![0; rows.len()], rows);
        let merge = |parts: &[&Batch]| self.merge(&vec![0; parts.len()], concat(parts));
        let show = |states: &Batch| json::rows(&self.contract.state, states);
        if rows.is_empty() {
            return Ok(());
        }
        let whole = show(&fold(rows)?);
        assert_eq!(
            show(&merge(&[&fold(rows)?])?),
            whole,
            "a state that is merged with nothing has changed"
        );
        for cut in 1..rows.len() {
            let (a, b) = rows.split_at(cut);
            let (a, b) = (fold(a)?, fold(b)?);
            let why = format!("rows 0 to {cut} and the others, folded apart and merged");
            assert_eq!(show(&merge(&[&a, &b])?), whole, "{why}");
            assert_eq!(show(&merge(&[&b, &a])?), whole, "{why} the other way round");
        }
        let thirds: Vec<Batch> = rows
            .chunks(rows.len().div_ceil(3))
            .map(fold)
            .collect::<Result<_, _>>()?;
        if let [a, b, c] = thirds.as_slice() {
            let left = merge(&[&merge(&[a, b])?, c])?;
            let right = merge(&[a, &merge(&[b, c])?])?;
            assert_eq!(show(&left), show(&right), "merge is not associative");
            assert_eq!(
                show(&merge(&[a, b, c])?),
                whole,
                "three parts merged at once"
            );
        }
        Ok(())
    }
}

fn group_count(groups: &[u32]) -> u32 {
    groups.iter().max().map_or(0, |&last| last + 1)
}

#[track_caller]
fn keep(checked: Result<(), String>) {
    if let Err(breach) = checked {
        panic!("the guest breaks its contract: {breach}");
    }
}

/// Batches of the same columns, one behind the other.
fn concat(parts: &[&Batch]) -> Batch {
    let column = |at: usize| {
        let mut values = parts[0].columns[at].values.clone();
        let mut validity = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            let column: &Column = &part.columns[at];
            match &column.validity {
                Some(present) => validity.extend_from_slice(present),
                None => validity.resize(validity.len() + part.rows as usize, 1),
            }
            if number > 0 {
                append(&mut values, &column.values);
            }
        }
        Column {
            values,
            validity: validity.contains(&0).then_some(validity),
        }
    };
    Batch {
        rows: parts.iter().map(|part| part.rows).sum(),
        columns: (0..parts[0].columns.len()).map(column).collect(),
    }
}

fn append(values: &mut Values, more: &Values) {
    match (values, more) {
        (Values::Bools(values), Values::Bools(more)) => values.extend_from_slice(more),
        (Values::I32s(values), Values::I32s(more)) => values.extend_from_slice(more),
        (Values::I64s(values), Values::I64s(more)) => values.extend_from_slice(more),
        (Values::F64s(values), Values::F64s(more)) => values.extend_from_slice(more),
        (Values::Bytes(values), Values::Bytes(more)) => {
            (0..more.len()).for_each(|row| values.push(more.get(row)));
        }
        _ => unreachable!("parts were checked against the same contract"),
    }
}
