//! What a field of a row can be: how its type lies in a column, how it is read and how it is written.
//!
//! # Invariants
//!
//! 1. Reading a value that is borrowed or has a fixed size allocates nothing; writing one allocates
//!    nothing as long as the rows fit into the capacity that the builder was made with.
//! 2. Nothing that a column holds can make a reader unsound: text is checked once a column, and every
//!    slice is bounds-checked.

use crate::calendar::{Date, Timestamp};
use crate::columns::{Column, DataType, Values, VarBytes};
use crate::decimal::{AnyDecimal, Decimal};

/// Which columns a field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// those of this type
    Exactly(DataType),
    /// decimals of any scale
    AnyDecimal,
}

/// A type that a field of an [`Input`](crate::Input) or a [`State`](crate::State) can have.
#[diagnostic::on_unimplemented(
    message = "no column is read into `{Self}`",
    label = "no type of a column",
    note = "there are bool, i64, f64, Decimal<S>, AnyDecimal, Timestamp, Date, &str and &[u8], and Option of each where a value may be missing; a State also has String, Vec<u8> and Sum<…>"
)]
pub trait InputValue<'a>: Sized {
    /// The opened column; as long as the batch.
    type Column: Copy;

    /// Which columns it takes.
    const EXPECTED: Expected;

    /// Whether it takes missing values.
    const NULLABLE: bool = false;

    /// Opens a column of this type; `None` when its values or their number are not as agreed.
    fn open(column: &'a Column, ty: DataType, rows: usize) -> Option<Self::Column>;

    /// The value of a row.
    fn get(column: Self::Column, row: usize) -> Self;
}

/// A type that a field of an [`Output`](crate::Output) or a [`State`](crate::State) can have.
#[diagnostic::on_unimplemented(
    message = "no column is made of `{Self}`",
    label = "no type of a column",
    note = "there are bool, i64, f64, Decimal<S>, AnyDecimal, Timestamp, Date, String, &'static str and Vec<u8>, and Option of each where a value may be missing; and Sum<…>"
)]
pub trait OutputValue: Sized {
    /// What gathers the values.
    type Builder;

    /// Which columns it makes.
    const EXPECTED: Expected;

    /// Whether a value may be missing.
    const NULLABLE: bool = false;

    /// A builder of a column of this type, with room for so many rows.
    fn builder(ty: DataType, rows: usize) -> Self::Builder;

    /// Appends the value.
    ///
    /// # Errors
    ///
    /// When the column cannot hold it: "has more than 18 digits" or the like. Nothing is appended.
    fn write(self, builder: &mut Self::Builder) -> Result<(), &'static str>;

    /// Appends something in the place of a missing value.
    fn write_missing(builder: &mut Self::Builder);

    /// Forgets all but the first `rows` values.
    fn truncate(builder: &mut Self::Builder, rows: usize);

    /// The column.
    fn finish(builder: Self::Builder) -> Column;
}

/// A type whose values lie in a column as they are, under another name perhaps.
macro_rules! plain {
    ({$($generics:tt)*} $ty:ty: $expected:expr, $variant:ident($raw:ty), $read:expr, $write:expr) => {
        impl<'a, $($generics)*> InputValue<'a> for $ty {
            type Column = &'a [$raw];
            const EXPECTED: Expected = Expected::Exactly($expected);

            #[inline]
            fn open(column: &'a Column, _: DataType, rows: usize) -> Option<Self::Column> {
                match &column.values {
                    Values::$variant(values) if values.len() == rows => Some(&values[..rows]),
                    _ => None,
                }
            }

            #[inline]
            fn get(column: Self::Column, row: usize) -> Self {
                $read(column[row])
            }
        }

        impl<$($generics)*> OutputValue for $ty {
            type Builder = Vec<$raw>;
            const EXPECTED: Expected = Expected::Exactly($expected);

            fn builder(_: DataType, rows: usize) -> Self::Builder {
                Vec::with_capacity(rows)
            }

            #[inline]
            fn write(self, builder: &mut Self::Builder) -> Result<(), &'static str> {
                builder.push($write(self));
                Ok(())
            }

            fn write_missing(builder: &mut Self::Builder) {
                builder.push(<$raw>::default());
            }

            fn truncate(builder: &mut Self::Builder, rows: usize) {
                builder.truncate(rows);
            }

            fn finish(builder: Self::Builder) -> Column {
                Column::new(Values::$variant(builder))
            }
        }
    };
}

plain!({} bool: DataType::Boolean, Bools(u8), |byte| byte != 0, u8::from);
plain!({} i64: DataType::Int64, I64s(i64), |value| value, |value| value);
plain!({} f64: DataType::Float64, F64s(f64), |value| value, |value| value);
plain!({} Date: DataType::Date, I32s(i32), Date::from_days, Date::days);
plain!({} Timestamp: DataType::Timestamp, I64s(i64), Timestamp::from_micros, Timestamp::micros);
plain!({const S: u8} Decimal<S>: DataType::Decimal(S), I64s(i64), Decimal::trusted, Decimal::unscaled);

/// Decimals whose scale their column has.
#[derive(Debug, Clone, Copy)]
pub struct Scaled<V> {
    pub(crate) values: V,
    pub(crate) scale: u8,
}

impl<'a> Scaled<&'a [i64]> {
    #[inline]
    pub(crate) fn open(column: &'a Column, ty: DataType, rows: usize) -> Option<Self> {
        match (&column.values, ty) {
            (Values::I64s(values), DataType::Decimal(scale)) if values.len() == rows => {
                Some(Self {
                    values: &values[..rows],
                    scale,
                })
            }
            _ => None,
        }
    }
}

impl Scaled<Vec<i64>> {
    /// # Panics
    ///
    /// When the column is no decimal: binding has made sure of it.
    pub(crate) fn builder(ty: DataType, rows: usize) -> Self {
        let DataType::Decimal(scale) = ty else {
            panic!("a decimal is written into a column of {ty}");
        };
        Self {
            values: Vec::with_capacity(rows),
            scale,
        }
    }
}

impl<'a> InputValue<'a> for AnyDecimal {
    type Column = Scaled<&'a [i64]>;
    const EXPECTED: Expected = Expected::AnyDecimal;

    #[inline]
    fn open(column: &'a Column, ty: DataType, rows: usize) -> Option<Self::Column> {
        Scaled::open(column, ty, rows)
    }

    #[inline]
    fn get(column: Self::Column, row: usize) -> Self {
        Self::trusted(column.values[row], column.scale)
    }
}

impl OutputValue for AnyDecimal {
    type Builder = Scaled<Vec<i64>>;
    const EXPECTED: Expected = Expected::AnyDecimal;

    fn builder(ty: DataType, rows: usize) -> Self::Builder {
        Scaled::builder(ty, rows)
    }

    #[inline]
    fn write(self, builder: &mut Self::Builder) -> Result<(), &'static str> {
        let rescaled = self.rescale(builder.scale).ok_or(TOO_MANY_DIGITS)?;
        builder.values.push(rescaled.unscaled());
        Ok(())
    }

    fn write_missing(builder: &mut Self::Builder) {
        builder.values.push(0);
    }

    fn truncate(builder: &mut Self::Builder, rows: usize) {
        builder.values.truncate(rows);
    }

    fn finish(builder: Self::Builder) -> Column {
        Column::new(Values::I64s(builder.values))
    }
}

pub(crate) const TOO_MANY_DIGITS: &str = "has more than 18 digits";

/// An opened column of values of variable length.
#[derive(Debug, Clone, Copy)]
pub struct Slices<'a, B> {
    // One more than rows.
    offsets: &'a [u32],
    all: B,
}

impl<B> Slices<'_, B> {
    #[inline]
    fn range(&self, row: usize) -> std::ops::Range<usize> {
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }
}

fn open_bytes(column: &Column, rows: usize) -> Option<Slices<'_, &[u8]>> {
    match &column.values {
        Values::Bytes(VarBytes { offsets, bytes }) if offsets.len() == rows + 1 => Some(Slices {
            offsets: &offsets[..=rows],
            all: bytes,
        }),
        _ => None,
    }
}

impl<'a> InputValue<'a> for &'a [u8] {
    type Column = Slices<'a, &'a [u8]>;
    const EXPECTED: Expected = Expected::Exactly(DataType::Binary);

    fn open(column: &'a Column, _: DataType, rows: usize) -> Option<Self::Column> {
        open_bytes(column, rows)
    }

    #[inline]
    fn get(column: Self::Column, row: usize) -> Self {
        &column.all[column.range(row)]
    }
}

impl<'a> InputValue<'a> for &'a str {
    type Column = Slices<'a, &'a str>;
    const EXPECTED: Expected = Expected::Exactly(DataType::Utf8);

    fn open(column: &'a Column, _: DataType, rows: usize) -> Option<Self::Column> {
        let Slices { offsets, all } = open_bytes(column, rows)?;
        // The host hands over nothing but UTF-8, in the place of missing values too. To check that once
        // a column is cheap, and a slice of text then only looks at its two ends.
        let all = str::from_utf8(all).ok()?;
        Some(Slices { offsets, all })
    }

    #[inline]
    fn get(column: Self::Column, row: usize) -> Self {
        &column.all[column.range(row)]
    }
}

/// For states, which own what they hold.
macro_rules! owned {
    ($ty:ty, $borrowed:ty, $expected:expr) => {
        impl<'a> InputValue<'a> for $ty {
            type Column = Slices<'a, &'a $borrowed>;
            const EXPECTED: Expected = Expected::Exactly($expected);

            fn open(column: &'a Column, ty: DataType, rows: usize) -> Option<Self::Column> {
                <&$borrowed>::open(column, ty, rows)
            }

            fn get(column: Self::Column, row: usize) -> Self {
                <&$borrowed>::get(column, row).to_owned()
            }
        }
    };
}

owned!(String, str, DataType::Utf8);
owned!(Vec<u8>, [u8], DataType::Binary);

macro_rules! bytes {
    ($ty:ty, $expected:expr) => {
        impl OutputValue for $ty {
            type Builder = VarBytes;
            const EXPECTED: Expected = Expected::Exactly($expected);

            fn builder(_: DataType, rows: usize) -> Self::Builder {
                VarBytes::with_capacity(rows, 0)
            }

            #[inline]
            fn write(self, builder: &mut Self::Builder) -> Result<(), &'static str> {
                builder.push(self.as_ref());
                Ok(())
            }

            fn write_missing(builder: &mut Self::Builder) {
                builder.push(&[]);
            }

            fn truncate(builder: &mut Self::Builder, rows: usize) {
                builder.offsets.truncate(rows + 1);
                builder.bytes.truncate(builder.offsets[rows] as usize);
            }

            fn finish(builder: Self::Builder) -> Column {
                Column::new(Values::Bytes(builder))
            }
        }
    };
}

bytes!(String, DataType::Utf8);
bytes!(&'static str, DataType::Utf8);
bytes!(Vec<u8>, DataType::Binary);

/// A column of values that may be missing.
#[derive(Debug, Clone, Copy)]
pub struct Nullable<'a, C> {
    values: C,
    validity: Option<&'a [u8]>,
}

impl<'a, V: InputValue<'a>> InputValue<'a> for Option<V> {
    type Column = Nullable<'a, V::Column>;
    const EXPECTED: Expected = V::EXPECTED;
    const NULLABLE: bool = true;

    #[inline]
    fn open(column: &'a Column, ty: DataType, rows: usize) -> Option<Self::Column> {
        let validity = match &column.validity {
            Some(validity) if validity.len() == rows => Some(&validity[..rows]),
            Some(_) => return None,
            None => None,
        };
        Some(Nullable {
            values: V::open(column, ty, rows)?,
            validity,
        })
    }

    #[inline]
    fn get(column: Self::Column, row: usize) -> Self {
        let is_present = column.validity.is_none_or(|validity| validity[row] != 0);
        is_present.then(|| V::get(column.values, row))
    }
}

/// Gathers values that may be missing.
#[derive(Debug)]
pub struct NullableBuilder<B> {
    values: B,
    validity: Vec<u8>,
}

impl<V: OutputValue> OutputValue for Option<V> {
    type Builder = NullableBuilder<V::Builder>;
    const EXPECTED: Expected = V::EXPECTED;
    const NULLABLE: bool = true;

    fn builder(ty: DataType, rows: usize) -> Self::Builder {
        NullableBuilder {
            values: V::builder(ty, rows),
            validity: Vec::with_capacity(rows),
        }
    }

    #[inline]
    fn write(self, builder: &mut Self::Builder) -> Result<(), &'static str> {
        let is_present = self.is_some();
        match self {
            Some(value) => value.write(&mut builder.values)?,
            None => V::write_missing(&mut builder.values),
        }
        builder.validity.push(u8::from(is_present));
        Ok(())
    }

    fn write_missing(builder: &mut Self::Builder) {
        V::write_missing(&mut builder.values);
        builder.validity.push(0);
    }

    fn truncate(builder: &mut Self::Builder, rows: usize) {
        V::truncate(&mut builder.values, rows);
        builder.validity.truncate(rows);
    }

    fn finish(builder: Self::Builder) -> Column {
        Column {
            validity: builder.validity.contains(&0).then_some(builder.validity),
            ..V::finish(builder.values)
        }
    }
}
