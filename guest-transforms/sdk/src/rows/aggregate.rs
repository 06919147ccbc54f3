//! An [`Aggregate`] as a [`ColumnAggregate`].

use crate::columns::{Batch, DataType, Field};
use crate::contract::{AggregateContract, ColumnAggregate, Folded};

use super::bind::{Bind, BoundInput, BoundOutput, Source, list, sources_of};
use super::traits::{Aggregate, Input, OpenColumns, Output, State};
use super::transform::reject;

/// An aggregate with the columns that its fields are.
#[derive(Debug)]
pub struct AggregateRows<A> {
    aggregate: A,
    input: BoundInput,
    state: BoundOutput,
    /// a state is read as it was written
    state_sources: Vec<Source>,
    output: BoundOutput,
}

impl<A> AggregateRows<A> {
    /// The aggregate itself.
    #[must_use]
    pub fn aggregate(&self) -> &A {
        &self.aggregate
    }
}

impl<A: Aggregate> ColumnAggregate for AggregateRows<A> {
    type Config = A::Config;

    fn configure(input: &[Field], config: A::Config) -> Result<(Self, AggregateContract), String> {
        let mut aggregate = A::new(config)?;
        let state = <A::State as Output>::FIELDS;
        let mut bind = Bind::new(input, A::Input::FIELDS, A::Output::FIELDS, state);
        aggregate.bind(&mut bind)?;
        let (input, output, state, _) = bind.settle::<A::Input<'_>>()?;
        let contract = AggregateContract {
            needs: input.needs.clone(),
            state: state.fields.clone(),
            state_version: A::STATE_VERSION,
            output: output.fields.clone(),
        };
        let rows = Self {
            aggregate,
            input,
            state_sources: in_order(&state.types),
            state,
            output,
        };
        Ok((rows, contract))
    }

    fn fold(&self, groups: &[u32], group_count: u32, input: Batch) -> Result<Folded, String> {
        let rows = input.rows as usize;
        let groups = one_a_row(groups, rows)?;
        let columns = <A::Input<'_> as Input<'_>>::open(&OpenColumns {
            columns: &input.columns,
            sources: &self.input.sources,
            rows,
        })?;
        let mut states = Vec::new();
        states.resize_with(group_count as usize, A::State::default);
        let mut rejections = Vec::new();
        for row in 0..rows {
            let state = &mut states[groups[row] as usize];
            if let Err(rejected) = self.aggregate.add(state, A::Input::read(&columns, row)) {
                reject(&mut rejections, row, rejected.into_reason());
            }
        }
        if rejections.is_empty() {
            self.write_states(states).map(Folded::States)
        } else {
            Ok(Folded::Rejected(rejections))
        }
    }

    fn merge(&self, groups: &[u32], group_count: u32, parts: Batch) -> Result<Batch, String> {
        let rows = parts.rows as usize;
        let groups = one_a_row(groups, rows)?;
        let columns = self.open_states::<A::State>(&parts)?;
        let mut merged: Vec<Option<A::State>> = Vec::new();
        merged.resize_with(group_count as usize, || None);
        for row in 0..rows {
            let part = A::State::read(&columns, row);
            match &mut merged[groups[row] as usize] {
                Some(state) => self.aggregate.merge(state, &part)?,
                none => *none = Some(part),
            }
        }
        self.write_states(merged.into_iter().map(Option::unwrap_or_default))
    }

    fn finish(&self, states: Batch) -> Result<Batch, String> {
        let columns = self.open_states::<A::State>(&states)?;
        let rows = states.rows as usize;
        let mut writer = Writer::new(&self.output, rows);
        for row in 0..rows {
            writer.push(self.aggregate.finish(&A::State::read(&columns, row))?)?;
        }
        Ok(writer.finish())
    }

    fn migrate(&self, version: u32, state: &[Field], states: Batch) -> Result<Batch, String> {
        if version == A::STATE_VERSION {
            if state == self.state.fields {
                return Ok(states);
            }
            let (theirs, ours) = (list(state), list(&self.state.fields));
            return Err(format!(
                "the stored states are {theirs}, and those of this version {version} are {ours}"
            ));
        }
        let migrated = self.aggregate.migrate(version, state, &states)?;
        self.write_states(migrated)
    }
}

impl<A: Aggregate> AggregateRows<A> {
    fn open_states<'a, S: Input<'a>>(&self, states: &'a Batch) -> Result<S::Columns, String> {
        S::open(&OpenColumns {
            columns: &states.columns,
            sources: &self.state_sources,
            rows: states.rows as usize,
        })
    }

    fn write_states(
        &self,
        states: impl IntoIterator<Item = A::State, IntoIter: ExactSizeIterator>,
    ) -> Result<Batch, String> {
        let states = states.into_iter();
        let mut writer = Writer::new(&self.state, states.len());
        for state in states {
            writer.push(state)?;
        }
        Ok(writer.finish())
    }
}

/// Rows that become a batch.
struct Writer<'a, O: Output> {
    bound: &'a BoundOutput,
    builders: O::Builders,
    rows: usize,
}

impl<'a, O: Output> Writer<'a, O> {
    /// For so many rows.
    fn new(bound: &'a BoundOutput, rows: usize) -> Self {
        Self {
            bound,
            builders: O::builders(&bound.types, rows),
            rows,
        }
    }

    #[inline]
    fn push(&mut self, row: O) -> Result<(), String> {
        row.push(&mut self.builders)
            .map_err(|fault| self.bound.explain(fault))
    }

    fn finish(self) -> Batch {
        Batch {
            rows: self.rows as u32,
            columns: O::finish(self.builders),
        }
    }
}

/// Groups whose number the compiler knows, so that it need not ask for the group of each row.
#[inline]
fn one_a_row(groups: &[u32], rows: usize) -> Result<&[u32], String> {
    if groups.len() == rows {
        Ok(&groups[..rows])
    } else {
        Err(format!("got {} groups for {rows} rows", groups.len()))
    }
}

/// Each field from the column in its place.
fn in_order(types: &[DataType]) -> Vec<Source> {
    let source = |(column, &ty)| Source { column, ty };
    types.iter().enumerate().map(source).collect()
}

/// Reads states that were written with these columns, for [`Aggregate::migrate`].
///
/// ```
/// # use wasmill_guest::{Batch, Column, Field, State, Values, read_states, DataType};
/// #[derive(State, Default)]
/// struct CountV1 {
///     orders: i64,
/// }
/// # let fields = [Field::new("orders", DataType::Int64)];
/// # let states = Batch { rows: 1, columns: vec![Column::new(Values::I64s(vec![7]))] };
/// let old: Vec<CountV1> = read_states(&fields, &states)?;
/// # assert_eq!(old[0].orders, 7);
/// # Ok::<(), String>(())
/// ```
///
/// # Errors
///
/// When a field of the struct is not among the columns, or has another type.
pub fn read_states<S: State>(fields: &[Field], states: &Batch) -> Result<Vec<S>, String> {
    let sources = sources_of::<S>(fields)?;
    let columns = <S as Input<'_>>::open(&OpenColumns {
        columns: &states.columns,
        sources: &sources,
        rows: states.rows as usize,
    })?;
    let read = |row| <S as Input<'_>>::read(&columns, row);
    Ok((0..states.rows as usize).map(read).collect())
}
