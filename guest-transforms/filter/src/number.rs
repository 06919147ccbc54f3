//! Arithmetic over columns: exact in 128 bits, or in doubles.
//!
//! Exact numbers are unscaled integers whose scale is known when the expression is checked, so no row
//! carries one.

use wasmill_guest::{Batch, Column, Values};

use crate::syntax::Operator;
use crate::truth::Truth;

/// An expression over numbers of one kind.
#[derive(Debug, Clone)]
pub(crate) enum Tree<T: Number> {
    Leaf(T::Leaf),
    Literal(T),
    Negative(Box<Self>),
    Pair(Operator, Box<Self>, Box<Self>),
}

/// A kind of number.
pub(crate) trait Number: Copy + Default + PartialOrd {
    /// what it comes from
    type Leaf;

    fn load(leaf: &Self::Leaf, batch: &Batch) -> Numbers<Self>;

    /// The result, or why there is none.
    fn compute(operator: Operator, left: Self, right: Self) -> Result<Self, Truth>;

    fn negative(self) -> Self;
}

/// A number a row.
pub(crate) struct Numbers<T> {
    pub(crate) values: Vec<T>,
    /// `True`: there is a number; otherwise why there is none
    pub(crate) states: Vec<Truth>,
}

/// Where a double comes from.
#[derive(Debug, Clone)]
pub(crate) enum Double {
    /// a `float64` column
    Column(usize),
    /// an exact number, and 10^scale of it
    Exact(Tree<i128>, f64),
}

impl<T: Number> Tree<T> {
    pub(crate) fn pair(operator: Operator, left: Self, right: Self) -> Self {
        Self::Pair(operator, Box::new(left), Box::new(right))
    }

    pub(crate) fn evaluate(&self, batch: &Batch) -> Numbers<T> {
        match self {
            Self::Leaf(leaf) => T::load(leaf, batch),
            Self::Literal(value) => Numbers {
                values: vec![*value; batch.rows as usize],
                states: vec![Truth::True; batch.rows as usize],
            },
            Self::Negative(inner) => {
                let mut numbers = inner.evaluate(batch);
                for value in &mut numbers.values {
                    *value = value.negative();
                }
                numbers
            }
            Self::Pair(operator, left, right) => {
                let mut numbers = left.evaluate(batch);
                numbers.combine(*operator, &right.evaluate(batch));
                numbers
            }
        }
    }
}

impl<T: Number> Numbers<T> {
    fn combine(&mut self, operator: Operator, right: &Self) {
        let left = self.values.iter_mut().zip(&mut self.states);
        for ((value, state), (&other, &others)) in left.zip(right.values.iter().zip(&right.states))
        {
            *state = state.and(others);
            if *state == Truth::True {
                match T::compute(operator, *value, other) {
                    Ok(result) => *value = result,
                    Err(why) => *state = why,
                }
            }
        }
    }
}

/// Which rows of a column have a value.
fn presence(column: &Column) -> Vec<Truth> {
    match &column.validity {
        None => vec![Truth::True; column.values.len()],
        Some(validity) => (validity.iter())
            .map(|&present| {
                if present == 0 {
                    Truth::Unknown
                } else {
                    Truth::True
                }
            })
            .collect(),
    }
}

impl Number for i128 {
    /// an `int64` or decimal column
    type Leaf = usize;

    fn load(&leaf: &usize, batch: &Batch) -> Numbers<Self> {
        let column = &batch.columns[leaf];
        let Values::I64s(values) = &column.values else {
            unreachable!("the columns were checked before");
        };
        Numbers {
            values: values.iter().map(|&value| value.into()).collect(),
            states: presence(column),
        }
    }

    fn compute(operator: Operator, left: Self, right: Self) -> Result<Self, Truth> {
        let result = match operator {
            Operator::Add => left.checked_add(right),
            Operator::Subtract => left.checked_sub(right),
            Operator::Multiply => left.checked_mul(right),
            Operator::Divide if right == 0 => return Err(Truth::DividesByZero),
            Operator::Divide => half_even(left, right),
        };
        // The least number has no negative, so it counts as too large as well.
        result.filter(|&it| it != Self::MIN).ok_or(Truth::TooLarge)
    }

    fn negative(self) -> Self {
        -self
    }
}

/// The quotient, rounded to the nearest whole number and half-way to the even one.
fn half_even(left: i128, right: i128) -> Option<i128> {
    let (quotient, rest) = (left.checked_div(right)?, left.checked_rem(right)?);
    let (rest, divisor) = (rest.unsigned_abs(), right.unsigned_abs());
    let up = match rest.cmp(&(divisor - rest)) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
        std::cmp::Ordering::Greater => true,
    };
    let away = if (left < 0) == (right < 0) { 1 } else { -1 };
    quotient.checked_add(if up { away } else { 0 })
}

impl Number for f64 {
    type Leaf = Double;

    fn load(leaf: &Double, batch: &Batch) -> Numbers<Self> {
        match leaf {
            Double::Column(index) => {
                let column = &batch.columns[*index];
                let Values::F64s(values) = &column.values else {
                    unreachable!("the columns were checked before");
                };
                Numbers {
                    values: values.clone(),
                    states: presence(column),
                }
            }
            Double::Exact(tree, one) => {
                let exact = tree.evaluate(batch);
                Numbers {
                    values: exact
                        .values
                        .iter()
                        .map(|&value| value as Self / one)
                        .collect(),
                    states: exact.states,
                }
            }
        }
    }

    fn compute(operator: Operator, left: Self, right: Self) -> Result<Self, Truth> {
        let result = match operator {
            Operator::Add => left + right,
            Operator::Subtract => left - right,
            Operator::Multiply => left * right,
            Operator::Divide if right == 0.0 => return Err(Truth::DividesByZero),
            Operator::Divide => left / right,
        };
        if result.is_infinite() {
            return Err(Truth::TooLarge);
        }
        Ok(result)
    }

    fn negative(self) -> Self {
        -self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn a_quotient_is_rounded_half_way_to_the_even_one() {
        for (left, right, quotient) in [
            (5, 2, 2),
            (7, 2, 4),
            (-5, 2, -2),
            (-7, 2, -4),
            (7, -2, -4),
            (2, 3, 1),
            (1, 3, 0),
            (-2, 3, -1),
        ] {
            assert_eq!(half_even(left, right), Some(quotient), "{left} / {right}");
        }
    }

    #[test]
    fn what_has_too_many_digits_or_divides_by_zero_has_no_result() {
        let compute = i128::compute;
        let most = i128::MAX;
        assert_eq!(compute(Operator::Add, most, 1), Err(Truth::TooLarge));
        assert_eq!(compute(Operator::Subtract, -most, 1), Err(Truth::TooLarge));
        assert_eq!(compute(Operator::Multiply, most, 2), Err(Truth::TooLarge));
        assert_eq!(compute(Operator::Divide, 1, 0), Err(Truth::DividesByZero));
        assert_eq!(
            f64::compute(Operator::Divide, 1.0, 0.0),
            Err(Truth::DividesByZero)
        );
        assert_eq!(
            f64::compute(Operator::Add, f64::MAX, f64::MAX),
            Err(Truth::TooLarge)
        );
    }

    proptest! {
        #[test]
        fn a_quotient_is_within_half_a_unit(left in any::<i64>(), right in any::<i64>()) {
            prop_assume!(right != 0);
            let (left, right) = (i128::from(left), i128::from(right));
            let quotient = half_even(left, right).unwrap();
            prop_assert!((2 * (quotient * right - left)).abs() <= right.abs());
        }

        #[test]
        fn no_numbers_make_it_panic(left in any::<i128>(), right in any::<i128>()) {
            for operator in [Operator::Add, Operator::Subtract, Operator::Multiply, Operator::Divide] {
                let _ = i128::compute(operator, left, right);
            }
        }
    }
}
