//! Sums that may be large on the way.

use crate::columns::{Column, DataType};
use crate::decimal::{AnyDecimal, Decimal};

use super::value::{Expected, InputValue, OutputValue, TOO_MANY_DIGITS};

/// A sum of `i64`, [`Decimal`] or [`AnyDecimal`], as a field of a [`State`](crate::State).
///
/// It is gathered in 128 bits, and only the sum of a whole batch has to fit into the column, so no order
/// of the rows makes a difference, not even on the way. What does not fit is an error of the batch.
///
/// ```
/// # use wasmill_guest::{Decimal, Sum};
/// let mut sum = Sum::default();
/// sum.add(Decimal::<2>::MAX);
/// sum.add(Decimal::<2>::MAX);
/// assert_eq!(sum.get(), None);
/// sum.add(-Decimal::<2>::MAX);
/// assert_eq!(sum.get(), Some(Decimal::MAX));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum<T: Summand> {
    // Cannot overflow: a batch has fewer than 2^32 rows of less than 2^63 each.
    total: i128,
    form: T::Form,
}

impl<T: Summand> Sum<T> {
    /// Adds a value. Of [`AnyDecimal`], all have to have one scale, as those of a column do.
    #[inline]
    pub fn add(&mut self, value: T) {
        let (unscaled, form) = value.parts();
        self.total += i128::from(unscaled);
        self.form = T::meet(self.form, form);
    }

    /// Adds what another sum has gathered.
    #[inline]
    pub fn merge(&mut self, other: &Self) {
        self.total += other.total;
        self.form = T::meet(self.form, other.form);
    }

    /// The sum; `None` when it does not fit into a `T`, or different scales were mixed.
    #[must_use]
    #[inline]
    pub fn get(&self) -> Option<T> {
        T::from_parts(i64::try_from(self.total).ok()?, self.form)
    }
}

impl<T: Summand> Default for Sum<T> {
    fn default() -> Self {
        Self {
            total: 0,
            form: T::Form::default(),
        }
    }
}

/// What a [`Sum`] can be of.
pub trait Summand: OutputValue + Copy + sealed::Summand {}

impl<T: OutputValue + Copy + sealed::Summand> Summand for T {}

mod sealed {
    use std::fmt::Debug;

    /// A number as an integer, and what that means.
    pub trait Summand: Sized {
        type Form: Copy + Default + Eq + Debug;
        /// why a total does not fit
        const FAULT: &'static str;
        fn parts(self) -> (i64, Self::Form);
        fn from_parts(unscaled: i64, form: Self::Form) -> Option<Self>;
        fn meet(a: Self::Form, b: Self::Form) -> Self::Form;
    }
}

impl sealed::Summand for i64 {
    type Form = ();
    const FAULT: &'static str = "does not fit into 64 bits";

    #[inline]
    fn parts(self) -> (i64, ()) {
        (self, ())
    }

    #[inline]
    fn from_parts(unscaled: i64, (): ()) -> Option<Self> {
        Some(unscaled)
    }

    #[inline]
    fn meet((): (), (): ()) {}
}

impl<const S: u8> sealed::Summand for Decimal<S> {
    type Form = ();
    const FAULT: &'static str = TOO_MANY_DIGITS;

    #[inline]
    fn parts(self) -> (i64, ()) {
        (self.unscaled(), ())
    }

    #[inline]
    fn from_parts(unscaled: i64, (): ()) -> Option<Self> {
        Self::from_unscaled(unscaled)
    }

    #[inline]
    fn meet((): (), (): ()) {}
}

/// The scale of all that was added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scale {
    /// nothing was added
    #[default]
    None,
    /// this
    One(u8),
    /// there is none in common
    Mixed,
}

impl sealed::Summand for AnyDecimal {
    type Form = Scale;
    const FAULT: &'static str = TOO_MANY_DIGITS;

    #[inline]
    fn parts(self) -> (i64, Scale) {
        (self.unscaled(), Scale::One(self.scale()))
    }

    #[inline]
    fn from_parts(unscaled: i64, form: Scale) -> Option<Self> {
        match form {
            Scale::One(scale) => Self::new(unscaled, scale),
            Scale::None => Some(Self::default()),
            Scale::Mixed => None,
        }
    }

    #[inline]
    fn meet(a: Scale, b: Scale) -> Scale {
        match (a, b) {
            _ if a == b => a,
            (Scale::None, one) | (one, Scale::None) => one,
            _ => Scale::Mixed,
        }
    }
}

impl<'a, T: Summand + InputValue<'a>> InputValue<'a> for Sum<T> {
    type Column = T::Column;
    const EXPECTED: Expected = <T as InputValue<'a>>::EXPECTED;

    #[inline]
    fn open(column: &'a Column, ty: DataType, rows: usize) -> Option<Self::Column> {
        T::open(column, ty, rows)
    }

    #[inline]
    fn get(column: Self::Column, row: usize) -> Self {
        let mut sum = Self::default();
        sum.add(T::get(column, row));
        sum
    }
}

impl<T: Summand> OutputValue for Sum<T> {
    type Builder = T::Builder;
    const EXPECTED: Expected = <T as OutputValue>::EXPECTED;

    fn builder(ty: DataType, rows: usize) -> Self::Builder {
        T::builder(ty, rows)
    }

    #[inline]
    fn write(self, builder: &mut Self::Builder) -> Result<(), &'static str> {
        self.get().ok_or(T::FAULT)?.write(builder)
    }

    fn write_missing(builder: &mut Self::Builder) {
        T::write_missing(builder);
    }

    fn truncate(builder: &mut Self::Builder, rows: usize) {
        T::truncate(builder, rows);
    }

    fn finish(builder: Self::Builder) -> Column {
        T::finish(builder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> AnyDecimal {
        text.parse().unwrap()
    }

    #[test]
    fn a_sum_of_any_decimal_has_the_scale_of_its_values() {
        let mut sum = Sum::default();
        assert_eq!(sum.get(), Some(AnyDecimal::default()));
        sum.add(decimal("1.25"));
        sum.add(decimal("2.75"));
        assert_eq!(sum.get(), AnyDecimal::new(400, 2));
        let mut other = Sum::default();
        other.add(decimal("0.5"));
        sum.merge(&other);
        assert_eq!(sum.get(), None, "scales were mixed");
    }

    #[test]
    fn a_sum_of_integers_may_leave_64_bits_and_come_back() {
        let mut sum = Sum::default();
        sum.add(i64::MAX);
        sum.add(1);
        assert_eq!(sum.get(), None);
        let mut other = Sum::default();
        other.add(-1);
        sum.merge(&other);
        assert_eq!(sum.get(), Some(i64::MAX));
    }
}
