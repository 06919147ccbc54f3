//! The columns of a sink's table or index, computed from those of a stream.
//!
//! A plain column is shared, not copied. `date()`, `year()` and `month()` are those in UTC.
//!
//! # Not here
//!
//! Which rows are written: [`super::latest`].

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch, RecordBatchOptions};
use thiserror::Error;

use crate::calendar::{civil_from_days, day_of};
use crate::config::{Projection, TableColumn};
use crate::schema::{DataType, DuplicateColumn, Field, Schema};

/// Why a sink's columns cannot be computed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ProjectionError {
    /// The stream has no such column.
    #[error("the stream has no column `{0}`")]
    UnknownColumn(String),
    /// `date()`, `year()` or `month()` of something else than they take.
    #[error("{function}() takes {takes}, but column `{column}` is {ty}")]
    WrongType {
        /// the function
        function: &'static str,
        /// what it takes, for a person
        takes: &'static str,
        /// its argument
        column: String,
        /// the argument's type
        ty: DataType,
    },
    /// Two columns of the sink have one name.
    #[error(transparent)]
    Duplicate(#[from] DuplicateColumn),
}

#[derive(Debug, Clone, Copy)]
enum Derivation {
    Same,
    DateOfTimestamp,
    YearOfTimestamp,
    YearOfDate,
    MonthOfTimestamp,
    MonthOfDate,
}

/// Makes the columns of a sink from those of a stream. Made once, applied to every batch.
#[derive(Debug, Clone)]
pub struct Projector {
    schema: Schema,
    columns: Vec<(usize, Derivation)>,
}

impl Projector {
    /// A projector from `stream` to `columns`; `None` takes every column by its own name.
    ///
    /// # Errors
    ///
    /// [`ProjectionError`] at the first column that cannot be computed.
    pub fn new(stream: &Schema, columns: Option<&[TableColumn]>) -> Result<Self, ProjectionError> {
        let Some(columns) = columns else {
            return Ok(Self {
                schema: stream.clone(),
                columns: (0..stream.fields().len())
                    .map(|index| (index, Derivation::Same))
                    .collect(),
            });
        };
        let mut fields = Vec::with_capacity(columns.len());
        let mut sources = Vec::with_capacity(columns.len());
        for column in columns {
            let (index, derivation, ty) = resolve(stream, &column.value)?;
            fields.push(Field::new(
                column.name.clone(),
                ty,
                stream.fields()[index].nullable,
            ));
            sources.push((index, derivation));
        }
        Ok(Self {
            schema: Schema::new(fields)?,
            columns: sources,
        })
    }

    /// The sink's columns.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// For each of the sink's columns the index of the stream's column that it is computed from.
    pub(super) fn sources(&self) -> impl Iterator<Item = usize> + '_ {
        self.columns.iter().map(|&(index, _)| index)
    }

    /// The same rows with the sink's columns.
    ///
    /// # Panics
    ///
    /// When `rows` does not have the schema of the stream that this was made for.
    #[must_use]
    pub fn apply(&self, rows: &RecordBatch) -> RecordBatch {
        let columns = self
            .columns
            .iter()
            .map(|&(index, derivation)| derive(rows.column(index), derivation))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(self.schema.arrow()), columns, &options)
            .expect("the rows have the schema of the stream")
    }
}

fn resolve(
    stream: &Schema,
    value: &Projection,
) -> Result<(usize, Derivation, DataType), ProjectionError> {
    let (Projection::Column(name)
    | Projection::Date(name)
    | Projection::Year(name)
    | Projection::Month(name)) = value;
    let index = stream
        .index_of(name)
        .ok_or_else(|| ProjectionError::UnknownColumn(name.clone()))?;
    let ty = stream.fields()[index].ty;
    let wrong = |function, takes| ProjectionError::WrongType {
        function,
        takes,
        column: name.clone(),
        ty,
    };
    let (derivation, ty) = match (value, ty) {
        (Projection::Column(_), ty) => (Derivation::Same, ty),
        (Projection::Date(_), DataType::Timestamp) => (Derivation::DateOfTimestamp, DataType::Date),
        (Projection::Year(_), DataType::Timestamp) => {
            (Derivation::YearOfTimestamp, DataType::Int64)
        }
        (Projection::Year(_), DataType::Date) => (Derivation::YearOfDate, DataType::Int64),
        (Projection::Month(_), DataType::Timestamp) => {
            (Derivation::MonthOfTimestamp, DataType::Int64)
        }
        (Projection::Month(_), DataType::Date) => (Derivation::MonthOfDate, DataType::Int64),
        (Projection::Date(_), _) => return Err(wrong("date", "a timestamp")),
        (Projection::Year(_), _) => return Err(wrong("year", "a timestamp or a date")),
        (Projection::Month(_), _) => return Err(wrong("month", "a timestamp or a date")),
    };
    Ok((index, derivation, ty))
}

fn derive(column: &ArrayRef, derivation: Derivation) -> ArrayRef {
    let timestamps = || column.as_primitive::<TimestampMicrosecondType>();
    let dates = || column.as_primitive::<Date32Type>();
    match derivation {
        Derivation::Same => Arc::clone(column),
        Derivation::DateOfTimestamp => {
            // The i64 range of µs spans 213 million days, which an i32 holds.
            let days: PrimitiveArray<Date32Type> =
                timestamps().unary(|micros| day_of(micros) as i32);
            Arc::new(days)
        }
        Derivation::YearOfTimestamp => {
            int64(timestamps().unary(|micros| year_and_month(day_of(micros)).0))
        }
        Derivation::MonthOfTimestamp => {
            int64(timestamps().unary(|micros| year_and_month(day_of(micros)).1))
        }
        Derivation::YearOfDate => int64(dates().unary(|day| year_and_month(i64::from(day)).0)),
        Derivation::MonthOfDate => int64(dates().unary(|day| year_and_month(i64::from(day)).1)),
    }
}

fn int64(values: PrimitiveArray<Int64Type>) -> ArrayRef {
    Arc::new(values)
}

/// Year and month (1 to 12) of a day.
fn year_and_month(day: i64) -> (i64, i64) {
    let (year, month, _) = civil_from_days(day);
    (year, i64::from(month))
}

#[cfg(test)]
mod tests {
    use arrow_array::{Array, Date32Array, StringArray, TimestampMicrosecondArray};
    use chrono::{DateTime, Datelike, Days, NaiveDate};
    use proptest::prelude::*;

    use super::*;

    fn stream() -> Schema {
        Schema::new(vec![
            Field::new("transaction_id", DataType::Utf8, false),
            Field::new("window_start", DataType::Timestamp, true),
            Field::new("day", DataType::Date, false),
        ])
        .unwrap()
    }

    fn rows(micros: Vec<Option<i64>>, days: Vec<i32>) -> RecordBatch {
        RecordBatch::try_new(
            Arc::clone(stream().arrow()),
            vec![
                Arc::new(StringArray::from_iter_values(
                    (0..days.len()).map(|i| i.to_string()),
                )),
                Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC")),
                Arc::new(Date32Array::from(days)),
            ],
        )
        .unwrap()
    }

    fn column(name: &str, value: Projection) -> TableColumn {
        TableColumn {
            name: name.into(),
            value,
        }
    }

    fn calendar() -> Projector {
        let timestamp = || "window_start".to_owned();
        let day = || "day".to_owned();
        let columns = [
            column("date", Projection::Date(timestamp())),
            column("year", Projection::Year(timestamp())),
            column("month", Projection::Month(timestamp())),
            column("year_of_day", Projection::Year(day())),
            column("month_of_day", Projection::Month(day())),
        ];
        Projector::new(&stream(), Some(&columns)).unwrap()
    }

    #[test]
    fn without_columns_the_stream_goes_through_unchanged() {
        let projector = Projector::new(&stream(), None).unwrap();
        assert_eq!(projector.schema(), &stream());
        let rows = rows(vec![Some(1), None], vec![1, 2]);
        assert_eq!(projector.apply(&rows), rows);
    }

    #[test]
    fn a_plain_column_is_renamed_and_not_copied() {
        let columns = [column("id", Projection::Column("transaction_id".into()))];
        let projector = Projector::new(&stream(), Some(&columns)).unwrap();
        let rows = rows(vec![None], vec![1]);
        let projected = projector.apply(&rows);
        assert_eq!(projected.schema().field(0).name(), "id");
        assert!(Arc::ptr_eq(rows.column(0), projected.column(0)));
    }

    #[test]
    fn an_unknown_column_is_named() {
        let columns = [column("id", Projection::Column("zzz".into()))];
        let error = Projector::new(&stream(), Some(&columns)).unwrap_err();
        assert_eq!(error.to_string(), "the stream has no column `zzz`");
    }

    #[test]
    fn date_of_a_date_and_year_of_a_text_are_refused() {
        let columns = [column("d", Projection::Date("day".into()))];
        assert_eq!(
            Projector::new(&stream(), Some(&columns))
                .unwrap_err()
                .to_string(),
            "date() takes a timestamp, but column `day` is date"
        );
        let columns = [column("y", Projection::Year("transaction_id".into()))];
        assert_eq!(
            Projector::new(&stream(), Some(&columns))
                .unwrap_err()
                .to_string(),
            "year() takes a timestamp or a date, but column `transaction_id` is utf8"
        );
    }

    #[test]
    fn two_columns_of_one_name_are_refused() {
        let columns = [
            column("a", Projection::Column("day".into())),
            column("a", Projection::Year("day".into())),
        ];
        assert_eq!(
            Projector::new(&stream(), Some(&columns)).unwrap_err(),
            ProjectionError::Duplicate(DuplicateColumn("a".into()))
        );
    }

    #[test]
    fn nulls_stay_null_and_nullability_is_inherited() {
        let projector = calendar();
        assert!(projector.schema().fields()[0].nullable);
        assert!(!projector.schema().fields()[3].nullable);
        let projected = projector.apply(&rows(vec![None, Some(-1)], vec![0, 0]));
        let dates = projected.column(0).as_primitive::<Date32Type>();
        assert!(dates.is_null(0));
        assert_eq!(dates.value(1), -1, "1 µs before 1970 is 1969-12-31");
    }

    #[test]
    fn the_whole_range_of_a_column_is_computed_without_overflow() {
        let extremes = rows(
            vec![Some(i64::MIN), Some(i64::MAX)],
            vec![i32::MIN, i32::MAX],
        );
        assert_eq!(calendar().apply(&extremes).num_rows(), 2);
    }

    proptest! {
        #[test]
        fn calendar_fields_are_those_of_chrono(
            micros in -8_334_601_228_800_000_000_i64..8_210_266_876_799_999_999,
            day in -95_000_000_i32..95_000_000,
        ) {
            let time = DateTime::from_timestamp_micros(micros).unwrap();
            let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
            let span = Days::new(u64::from(day.unsigned_abs()));
            let date = if day < 0 { epoch - span } else { epoch + span };
            let projected = calendar().apply(&rows(vec![Some(micros)], vec![day]));
            let number = |column: usize| projected.column(column).as_primitive::<Int64Type>().value(0);
            let days = projected.column(0).as_primitive::<Date32Type>().value(0);
            prop_assert_eq!(i64::from(days), (time.date_naive() - epoch).num_days());
            prop_assert_eq!(number(1), i64::from(time.year()));
            prop_assert_eq!(number(2), i64::from(time.month()));
            prop_assert_eq!(number(3), i64::from(date.year()));
            prop_assert_eq!(number(4), i64::from(date.month()));
        }
    }
}
