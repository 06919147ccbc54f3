//! A checked condition, and what it is for the rows of a batch.
//!
//! Each node makes one vector a batch; nothing is allocated for a row.
//!
//! # Invariants
//!
//! Columns are indices into the batch, and have the types that the nodes expect: `crate::check` has
//! seen to it.

use std::cmp::Ordering;

use wasmill_guest::{Batch, Column, Values};

use crate::like::Pattern;
use crate::number::{Number, Tree};
use crate::syntax::Comparator;
use crate::truth::Truth;

/// What has to hold for a row.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    Constant(Truth),
    /// a boolean column
    Flag(usize),
    /// a column without a value
    Missing(usize),
    /// an integer as it is stored (a number, a time, a day) from `least` to `greatest`
    Within {
        column: usize,
        least: i64,
        greatest: i64,
    },
    /// an integer as it is stored among these, which are sorted
    OneOf {
        column: usize,
        values: Vec<i64>,
    },
    /// a text or bytes among these, which are sorted
    TextOneOf {
        column: usize,
        values: Vec<Vec<u8>>,
    },
    /// times or days of two columns
    Times(usize, Comparator, usize),
    Texts(Text, Comparator, Text),
    Exact(Tree<i128>, Comparator, Tree<i128>),
    Doubles(Tree<f64>, Comparator, Tree<f64>),
    Like(usize, Pattern),
    /// whether two conditions are both true or both false
    Same(Box<Self>, Box<Self>),
    Is(Box<Self>, Truth),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
}

/// A text or bytes.
#[derive(Debug, Clone)]
pub(crate) enum Text {
    Column(usize),
    Literal(Vec<u8>),
}

impl Comparator {
    /// Whether it holds for values that are ordered like this. A NaN has no order: it is unequal.
    fn accepts(self, ordering: Option<Ordering>) -> bool {
        match self {
            Self::Less => ordering == Some(Ordering::Less),
            Self::LessOrEqual => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
            Self::Equal => ordering == Some(Ordering::Equal),
            Self::Unequal => ordering != Some(Ordering::Equal),
            Self::GreaterOrEqual => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
            Self::Greater => ordering == Some(Ordering::Greater),
        }
    }
}

impl Condition {
    /// What it is for each row.
    pub(crate) fn evaluate(&self, batch: &Batch) -> Vec<Truth> {
        let column = |index: &usize| &batch.columns[*index];
        match self {
            Self::Constant(truth) => vec![*truth; batch.rows as usize],
            Self::Flag(index) => {
                let flags = bools(column(index));
                each(column(index), |row| flags[row] != 0)
            }
            Self::Missing(index) => missing(column(index)),
            Self::Within {
                column: index,
                least,
                greatest,
            } => integers(column(index), |value| (*least..=*greatest).contains(&value)),
            Self::OneOf {
                column: index,
                values,
            } => integers(column(index), |value| values.binary_search(&value).is_ok()),
            Self::TextOneOf {
                column: index,
                values,
            } => texts(column(index), |text| {
                values
                    .binary_search_by(|value| value.as_slice().cmp(text))
                    .is_ok()
            }),
            Self::Like(index, pattern) => texts(column(index), |text| pattern.matches(text)),
            Self::Times(left, comparator, right) => times(column(left), *comparator, column(right)),
            Self::Texts(left, comparator, right) => compare_texts(left, *comparator, right, batch),
            Self::Exact(left, comparator, right) => compare(left, *comparator, right, batch),
            Self::Doubles(left, comparator, right) => compare(left, *comparator, right, batch),
            _ => self.combine(batch),
        }
    }

    /// The conditions that are made of conditions.
    fn combine(&self, batch: &Batch) -> Vec<Truth> {
        match self {
            Self::Same(left, right) => zip(left.evaluate(batch), &right.evaluate(batch), |a, b| {
                a.and(b).or(a.not().and(b.not()))
            }),
            Self::Is(inner, expected) => map(inner.evaluate(batch), |truth| truth.is(*expected)),
            Self::Not(inner) => map(inner.evaluate(batch), Truth::not),
            Self::All(parts) => fold(parts, batch, Truth::True, Truth::and),
            Self::Any(parts) => fold(parts, batch, Truth::False, Truth::or),
            _ => unreachable!("`evaluate` has the others"),
        }
    }
}

fn map(mut truths: Vec<Truth>, change: impl Fn(Truth) -> Truth) -> Vec<Truth> {
    for truth in &mut truths {
        *truth = change(*truth);
    }
    truths
}

fn zip(mut left: Vec<Truth>, right: &[Truth], join: impl Fn(Truth, Truth) -> Truth) -> Vec<Truth> {
    for (truth, &other) in left.iter_mut().zip(right) {
        *truth = join(*truth, other);
    }
    left
}

fn fold(
    parts: &[Condition],
    batch: &Batch,
    neutral: Truth,
    join: impl Fn(Truth, Truth) -> Truth,
) -> Vec<Truth> {
    let Some((first, rest)) = parts.split_first() else {
        return vec![neutral; batch.rows as usize];
    };
    (rest.iter()).fold(first.evaluate(batch), |truths, part| {
        zip(truths, &part.evaluate(batch), &join)
    })
}

/// Asks for each row that has a value.
fn each(column: &Column, holds: impl Fn(usize) -> bool) -> Vec<Truth> {
    match &column.validity {
        None => (0..column.values.len())
            .map(|row| holds(row).into())
            .collect(),
        Some(validity) => (validity.iter().enumerate())
            .map(|(row, &present)| match present {
                0 => Truth::Unknown,
                _ => holds(row).into(),
            })
            .collect(),
    }
}

fn missing(column: &Column) -> Vec<Truth> {
    match &column.validity {
        None => vec![Truth::False; column.values.len()],
        Some(validity) => validity
            .iter()
            .map(|&present| (present == 0).into())
            .collect(),
    }
}

fn bools(column: &Column) -> &[u8] {
    let Values::Bools(flags) = &column.values else {
        unreachable!("the columns were checked before");
    };
    flags
}

fn integers(column: &Column, holds: impl Fn(i64) -> bool) -> Vec<Truth> {
    match &column.values {
        Values::I64s(values) => each(column, |row| holds(values[row])),
        Values::I32s(values) => each(column, |row| holds(values[row].into())),
        _ => unreachable!("the columns were checked before"),
    }
}

fn texts(column: &Column, holds: impl Fn(&[u8]) -> bool) -> Vec<Truth> {
    let Values::Bytes(values) = &column.values else {
        unreachable!("the columns were checked before");
    };
    each(column, |row| holds(values.get(row)))
}

fn times(left: &Column, comparator: Comparator, right: &Column) -> Vec<Truth> {
    let truths = match (&left.values, &right.values) {
        (Values::I64s(a), Values::I64s(b)) => {
            each(left, |row| comparator.accepts(Some(a[row].cmp(&b[row]))))
        }
        (Values::I32s(a), Values::I32s(b)) => {
            each(left, |row| comparator.accepts(Some(a[row].cmp(&b[row]))))
        }
        _ => unreachable!("the columns were checked before"),
    };
    unless_missing(truths, right)
}

fn compare_texts(left: &Text, comparator: Comparator, right: &Text, batch: &Batch) -> Vec<Truth> {
    let accepts = |a: &[u8], b: &[u8]| comparator.accepts(Some(a.cmp(b)));
    match (left, right) {
        (Text::Literal(left), Text::Literal(right)) => {
            vec![accepts(left, right).into(); batch.rows as usize]
        }
        (Text::Column(left), Text::Literal(right)) => {
            texts(&batch.columns[*left], |text| accepts(text, right))
        }
        (Text::Literal(left), Text::Column(right)) => {
            texts(&batch.columns[*right], |text| accepts(left, text))
        }
        (Text::Column(left), Text::Column(right)) => {
            let right = &batch.columns[*right];
            let Values::Bytes(others) = &right.values else {
                unreachable!("the columns were checked before");
            };
            let left = &batch.columns[*left];
            let Values::Bytes(values) = &left.values else {
                unreachable!("the columns were checked before");
            };
            let truths = each(left, |row| accepts(values.get(row), others.get(row)));
            unless_missing(truths, right)
        }
    }
}

/// Unknown where the other column has no value either.
fn unless_missing(truths: Vec<Truth>, other: &Column) -> Vec<Truth> {
    match &other.validity {
        None => truths,
        Some(validity) => (truths.into_iter().zip(validity))
            .map(|(truth, &present)| if present == 0 { Truth::Unknown } else { truth })
            .collect(),
    }
}

fn compare<T: Number>(
    left: &Tree<T>,
    comparator: Comparator,
    right: &Tree<T>,
    batch: &Batch,
) -> Vec<Truth> {
    let (left, right) = (left.evaluate(batch), right.evaluate(batch));
    let values = left.values.iter().zip(&right.values);
    let states = left.states.iter().zip(&right.states);
    (values.zip(states))
        .map(|((a, b), (&state, &other))| match state.and(other) {
            Truth::True => comparator.accepts(a.partial_cmp(b)).into(),
            why => why,
        })
        .collect()
}
