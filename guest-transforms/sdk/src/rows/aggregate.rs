//! An [`Aggregate`] as a [`ColumnAggregate`].

use crate::columns::{Batch, DataType, Field, Rejection};
use crate::contract::{AggregateContract, ColumnAggregate, Folded};

use super::bind::{Bind, BoundInput, BoundOutput, Source, list, sources_of};
use super::traits::{Aggregate, Input, OpenColumns, Output, State};

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
        let columns = <A::Input<'_> as Input<'_>>::open(&OpenColumns {
            columns: &input.columns,
            sources: &self.input.sources,
            rows: input.rows as usize,
        })?;
        check_groups(groups, &input)?;
        let mut states = Vec::new();
        states.resize_with(group_count as usize, A::State::default);
        let mut rejections = Vec::new();
        for (row, &group) in groups.iter().enumerate() {
            let state = &mut states[group as usize];
            if let Err(reject) = self.aggregate.add(state, A::Input::read(&columns, row)) {
                rejections.push(Rejection {
                    row: row as u32,
                    reason: reject.into_reason(),
                });
            }
        }
        if rejections.is_empty() {
            self.write_states(states).map(Folded::States)
        } else {
            Ok(Folded::Rejected(rejections))
        }
    }

    fn merge(&self, groups: &[u32], group_count: u32, parts: Batch) -> Result<Batch, String> {
        check_groups(groups, &parts)?;
        let columns = self.open_states::<A::State>(&parts)?;
        let mut merged: Vec<Option<A::State>> = Vec::new();
        merged.resize_with(group_count as usize, || None);
        for (row, &group) in groups.iter().enumerate() {
            let part = A::State::read(&columns, row);
            match &mut merged[group as usize] {
                Some(state) => self.aggregate.merge(state, &part)?,
                none => *none = Some(part),
            }
        }
        self.write_states(merged.into_iter().map(Option::unwrap_or_default))
    }

    fn finish(&self, states: Batch) -> Result<Batch, String> {
        let columns = self.open_states::<A::State>(&states)?;
        let rows = (0..states.rows as usize).map(|row| {
            let state = A::State::read(&columns, row);
            self.aggregate.finish(&state)
        });
        write(&self.output, rows)
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
        write(&self.state, states.into_iter().map(Ok))
    }
}

fn write<O: Output>(
    bound: &BoundOutput,
    rows: impl ExactSizeIterator<Item = Result<O, String>>,
) -> Result<Batch, String> {
    let count = rows.len();
    let mut builders = O::builders(&bound.types, count);
    for row in rows {
        row?.push(&mut builders)
            .map_err(|fault| bound.explain(fault))?;
    }
    Ok(Batch {
        rows: count as u32,
        columns: O::finish(builders),
    })
}

fn check_groups(groups: &[u32], batch: &Batch) -> Result<(), String> {
    if groups.len() == batch.rows as usize {
        Ok(())
    } else {
        let (groups, rows) = (groups.len(), batch.rows);
        Err(format!("got {groups} groups for {rows} rows"))
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
