//! What a ledger's tables cannot hold, and the screen that keeps it out of the stream.
//!
//! A row that cannot be stored would hold its epoch up for ever. So it is found as soon as there are
//! columns: its record is left out of everything and goes to the dead letters.
//!
//! # Invariants
//!
//! 1. Whether a record passes depends on its values alone: a replay rejects the same ones.
//! 2. A screen and the encoder of the ledger, which looks again, ask the same [`Limit`].
//!
//! # Not here
//!
//! What an aggregate's guest returns comes from no single record; the encoder refuses it. The
//! bounds of each database: [`super::postgres`], [`super::sqlite`].

use std::fmt;
use std::ops::RangeInclusive;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};

use super::SinkError;
use super::table::TableTarget;
use crate::record::{Cause, Origin, Rejection, Rows};
use crate::schema::{DataType, Schema};

/// What the tables of one kind of database can hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Bounds {
    /// its name, for a person
    pub(super) database: &'static str,
    /// its timestamps, µs since 1970
    pub(super) micros: RangeInclusive<i64>,
    /// the same for a person
    pub(super) timestamps: &'static str,
    /// its dates, days since 1970
    pub(super) days: RangeInclusive<i32>,
    /// the same for a person
    pub(super) dates: &'static str,
    /// whether it has NaN
    pub(super) nan: bool,
    /// bytes of all texts of a key together, where they are bounded
    pub(super) key_bytes_max: Option<usize>,
}

/// What bounds the values of a column in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    kind: Kind,
    bounds: &'static Bounds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// no zero byte
    Text,
    /// the range of timestamps
    Timestamp,
    /// the range of dates
    Date,
    /// numbers only
    Float,
    /// so many bytes of a text or binary in a key
    Key(usize),
}

impl Limit {
    /// The limit of values of this type; `None` where the database can hold all of them.
    pub(super) fn of(ty: DataType, bounds: &'static Bounds) -> Option<Self> {
        let kind = match ty {
            DataType::Utf8 => Kind::Text,
            DataType::Timestamp => Kind::Timestamp,
            DataType::Date => Kind::Date,
            DataType::Float64 if !bounds.nan => Kind::Float,
            DataType::Boolean
            | DataType::Int64
            | DataType::Float64
            | DataType::Decimal(_)
            | DataType::Binary => return None,
        };
        Some(Self { kind, bounds })
    }

    /// The limit of values of one type that become another one on their way into a table.
    fn between(from: DataType, to: DataType, bounds: &'static Bounds) -> Option<Self> {
        match (from, to) {
            // Timestamps and dates begin on the same day, and timestamps end first.
            (DataType::Timestamp, DataType::Date) => Self::of(from, bounds),
            (_, to) => Self::of(to, bounds),
        }
    }

    /// Whether some value may be beyond the limit, perhaps one under a null: one pass over all
    /// values at once, which is nearly always the only one.
    pub(super) fn may_be_exceeded(self, column: &dyn Array) -> bool {
        match self.kind {
            Kind::Text => {
                let column = column.as_string::<i32>();
                let offsets = column.value_offsets();
                let (first, last) = (offsets[0], offsets[column.len()]);
                let bytes = &column.value_data()[first as usize..last as usize];
                memchr::memchr(0, bytes).is_some()
            }
            Kind::Timestamp => column
                .as_primitive::<TimestampMicrosecondType>()
                .values()
                .iter()
                .any(|micros| !self.bounds.micros.contains(micros)),
            Kind::Date => column
                .as_primitive::<Date32Type>()
                .values()
                .iter()
                .any(|days| !self.bounds.days.contains(days)),
            Kind::Float => column
                .as_primitive::<Float64Type>()
                .values()
                .iter()
                .any(|value| value.is_nan()),
            Kind::Key(_) => (0..column.len()).any(|row| self.is_exceeded(column, row)),
        }
    }

    /// Whether the value of a row is beyond the limit.
    pub(super) fn is_exceeded(self, column: &dyn Array, row: usize) -> bool {
        if column.is_null(row) {
            return false;
        }
        match self.kind {
            Kind::Text => {
                let text = column.as_string::<i32>().value(row);
                memchr::memchr(0, text.as_bytes()).is_some()
            }
            Kind::Timestamp => {
                let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
                !self.bounds.micros.contains(&micros)
            }
            Kind::Date => {
                let day = column.as_primitive::<Date32Type>().value(row);
                !self.bounds.days.contains(&day)
            }
            Kind::Float => column.as_primitive::<Float64Type>().value(row).is_nan(),
            Kind::Key(bytes) => match column.as_string_opt::<i32>() {
                Some(texts) => texts.value(row).len() > bytes,
                None => column.as_binary::<i32>().value(row).len() > bytes,
            },
        }
    }
}

/// What is wrong with a value beyond the limit: completes "the value …".
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bounds {
            database,
            timestamps,
            dates,
            ..
        } = self.bounds;
        match self.kind {
            Kind::Key(bytes) => {
                write!(f, "is longer than the {bytes} bytes that a key may have")
            }
            Kind::Text => write!(
                f,
                "has the character \\u0000, which {database} cannot store in a text"
            ),
            Kind::Timestamp => write!(f, "is beyond {database}'s timestamps ({timestamps})"),
            Kind::Date => write!(f, "is beyond {database}'s dates ({dates})"),
            Kind::Float => write!(f, "is NaN, which {database} cannot store"),
        }
    }
}

/// Where a value stands that no column of its type can hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) limit: Limit,
}

impl Refusal {
    /// The same for a person, with the record that the row came from.
    pub(super) fn into_error(self, target: &TableTarget, origins: &[Origin]) -> SinkError {
        let column = &target.schema().fields()[self.column].name;
        let origin = match origins.get(self.row) {
            Some(origin) => format!(
                "the record at partition {}, offset {}",
                origin.partition, origin.offset
            ),
            None => format!("a row of `{}`", target.from()),
        };
        SinkError::Permanent(format!(
            "table `{}`, column `{column}`: the value from {origin} {}; let a transform mend or reject it",
            target.name(),
            self.limit
        ))
    }
}

/// The first value, column by column, that cannot be stored, in the rows of `staying`, or in all, of
/// a batch that has this schema.
pub(super) fn find_refusal(
    schema: &Schema,
    batch: &RecordBatch,
    staying: Option<&[u32]>,
    bounds: &'static Bounds,
) -> Option<Refusal> {
    let fields = schema.fields().iter().zip(batch.columns());
    fields.enumerate().find_map(|(column, (field, values))| {
        let limit = Limit::of(field.ty, bounds)?;
        if !limit.may_be_exceeded(values) {
            return None;
        }
        let exceeded = |row: &usize| limit.is_exceeded(values, *row);
        let row = match staying {
            Some(rows) => rows.iter().map(|&row| row as usize).find(exceeded),
            None => (0..batch.num_rows()).find(exceeded),
        };
        row.map(|row| Refusal { row, column, limit })
    })
}

/// Finds the rows of a stream that a ledger cannot hold, in the columns that reach a table.
#[derive(Debug, Clone)]
pub struct Screen {
    stream: Schema,
    bounds: &'static Bounds,
    columns: Vec<Screened>,
}

#[derive(Debug, Clone)]
struct Screened {
    index: usize,
    limit: Limit,
    /// the first table that it reaches
    table: String,
}

impl Screen {
    /// A screen of a stream with these columns, for tables with these bounds, that lets everything
    /// pass.
    #[must_use]
    pub fn new(stream: &Schema, bounds: &'static Bounds) -> Self {
        Self {
            stream: stream.clone(),
            bounds,
            columns: Vec::new(),
        }
    }

    /// Looks also at what goes into `target`. The first columns of the target's own stream are these
    /// columns of the screened one, unchanged; what the others hold is not known here.
    ///
    /// # Panics
    ///
    /// When one of them is no column of the screened stream.
    pub fn add(&mut self, target: &TableTarget, unchanged: impl IntoIterator<Item = usize>) {
        let unchanged: Vec<usize> = unchanged.into_iter().collect();
        let fields = target.schema().fields();
        let is_text = |ty| matches!(ty, DataType::Utf8 | DataType::Binary);
        let key_texts = target
            .key()
            .iter()
            .filter(|&&at| is_text(fields[at].ty))
            .count();
        let sources = target.projector().sources();
        for (at, (source, field)) in sources.zip(fields).enumerate() {
            let Some(&index) = unchanged.get(source) else {
                continue;
            };
            let in_key = is_text(field.ty) && target.key().contains(&at);
            let bounds = self.bounds;
            let key_bytes_max = bounds.key_bytes_max.filter(|_| in_key);
            let of_key = key_bytes_max.map(|bytes| Limit {
                kind: Kind::Key(bytes / key_texts),
                bounds,
            });
            let of_type = Limit::between(self.stream.fields()[index].ty, field.ty, bounds);
            for limit in of_type.into_iter().chain(of_key) {
                self.look(index, limit, target);
            }
        }
    }

    /// Looks at a column for a limit, if it does not yet.
    fn look(&mut self, index: usize, limit: Limit, target: &TableTarget) {
        let mut known = self.columns.iter();
        if !known.any(|column| (column.index, column.limit.kind) == (index, limit.kind)) {
            self.columns.push(Screened {
                index,
                limit,
                table: target.name().to_owned(),
            });
        }
    }

    /// Whether everything passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Appends a rejection for each value that the ledger cannot hold, column by column.
    ///
    /// # Panics
    ///
    /// When `rows` has other columns than the stream.
    pub fn check(&self, rows: &Rows, rejected: &mut Vec<Rejection>) {
        for &Screened {
            index,
            limit,
            ref table,
        } in &self.columns
        {
            let column = rows.columns.column(index);
            if !limit.may_be_exceeded(column) {
                continue;
            }
            for (row, &record) in rows.records.iter().enumerate() {
                if limit.is_exceeded(column, row) {
                    rejected.push(Rejection {
                        record,
                        cause: Cause::Unstorable,
                        reason: format!("the value {limit} (table `{table}`)"),
                        column: Some(self.stream.fields()[index].name.clone()),
                    });
                }
            }
        }
    }
}

#[cfg(test)]
<<<<<<< HEAD
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, BinaryArray, Date32Array, Float64Array, StringArray, TimestampMicrosecondArray,
    };
    use arrow_buffer::NullBuffer;

    use super::*;
    use crate::config::{OnConflict, Projection, Table, TableColumn};
    use crate::schema::Field;
    use crate::sink::postgres::BOUNDS;
    use crate::sink::sqlite;

    fn schema(fields: &[(&str, DataType)]) -> Schema {
        let field = |&(name, ty): &(&str, DataType)| Field::new(name, ty, name != "id");
        Schema::new(fields.iter().map(field).collect()).unwrap()
    }

    fn sales() -> Schema {
        schema(&[
            ("id", DataType::Utf8),
            ("note", DataType::Utf8),
            ("raw", DataType::Binary),
            ("at", DataType::Timestamp),
            ("day", DataType::Date),
        ])
    }

    fn table(stream: &Schema, columns: Option<Vec<(&str, Projection)>>) -> TableTarget {
        let columns = columns.map(|columns| {
            let column = |(name, value): (&str, Projection)| TableColumn {
                name: name.to_owned(),
                value,
            };
            columns.into_iter().map(column).collect()
        });
        let table = Table {
            from: "sales".into(),
            table: "stored".into(),
            key: vec!["id".into()],
            columns,
            on_conflict: OnConflict::Update,
            span: 0..0,
        };
        TableTarget::new(&table, stream).unwrap()
    }

    fn same(name: &str) -> (&str, Projection) {
        (name, Projection::Column(name.to_owned()))
    }

    /// Rows of `sales`, of the records 10, 20, 30, ...
    fn rows(ids: &[&str], notes: &[Option<&str>], micros: &[i64], days: &[i32]) -> Rows {
        let raw: Vec<&[u8]> = ids.iter().map(|_| &b"\0"[..]).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(ids.to_vec())),
            Arc::new(StringArray::from(notes.to_vec())),
            Arc::new(BinaryArray::from(raw)),
            Arc::new(TimestampMicrosecondArray::from(micros.to_vec()).with_timezone("UTC")),
            Arc::new(Date32Array::from(days.to_vec())),
        ];
        Rows {
            columns: RecordBatch::try_new(Arc::clone(sales().arrow()), columns).unwrap(),
            records: (1..=ids.len() as u32).map(|n| n * 10).collect(),
        }
    }

    /// Record and column of each rejection.
    fn rejected(screen: &Screen, rows: &Rows) -> Vec<(u32, String)> {
        let mut rejected = Vec::new();
        screen.check(rows, &mut rejected);
        let found = rejected.into_iter();
        found.map(|r| (r.record, r.column.unwrap())).collect()
    }

    #[test]
    fn a_key_that_no_index_takes_rejects_its_record() {
        let mut screen = Screen::new(&sales(), &BOUNDS);
        screen.add(&table(&sales(), None), 0..5);
        let key_bytes_max = BOUNDS.key_bytes_max.unwrap();
        let (fits, too_long) = ("x".repeat(key_bytes_max), "x".repeat(key_bytes_max + 1));
        let note = "y".repeat(3 * key_bytes_max);
        let rows = rows(&[&fits, &too_long], &[Some(&note), None], &[0; 2], &[0; 2]);
        assert_eq!(rejected(&screen, &rows), [(20, "id".to_owned())]);
    }

    #[test]
    fn a_zero_byte_rejects_the_records_that_have_it() {
        let mut screen = Screen::new(&sales(), &BOUNDS);
        screen.add(&table(&sales(), None), 0..5);
        let rows = rows(
            &["a\0", "b", "\0", ""],
            &[Some("x"), None, Some("\0"), Some("y")],
            &[0; 4],
            &[0; 4],
        );
        let mut found = Vec::new();
        screen.check(&rows, &mut found);
        assert_eq!(
            found[0],
            Rejection {
                record: 10,
                cause: Cause::Unstorable,
                reason: "the value has the character \\u0000, which PostgreSQL cannot store in a text (table `stored`)".into(),
                column: Some("id".into()),
            }
        );
        let expected = [(10, "id"), (30, "id"), (30, "note")];
        assert_eq!(
            rejected(&screen, &rows),
            expected.map(|(record, column)| (record, column.to_owned()))
        );
    }

    #[test]
    fn columns_that_reach_no_table_may_hold_anything() {
        let mut screen = Screen::new(&sales(), &BOUNDS);
        assert!(screen.is_empty());
        let rows = rows(&["a"], &[Some("\0")], &[i64::MIN], &[i32::MIN]);
        assert_eq!(rejected(&screen, &rows), []);
        let year = ("year", Projection::Year("at".into()));
        let month = ("month", Projection::Month("day".into()));
        screen.add(&table(&sales(), Some(vec![same("id"), year, month])), 0..5);
        assert_eq!(rejected(&screen, &rows), []);
    }

    #[test]
    fn times_beyond_the_servers_range_are_rejected() {
        let mut screen = Screen::new(&sales(), &BOUNDS);
        screen.add(&table(&sales(), Some(vec![same("id"), same("at")])), 0..5);
        screen.add(&table(&sales(), Some(vec![same("id"), same("day")])), 0..5);
        let first_micros = *BOUNDS.micros.start();
        let (first_day, last_day) = (*BOUNDS.days.start(), *BOUNDS.days.end());
        let rows = rows(
            &["a", "b", "c", "d"],
            &[None; 4],
            &[first_micros, first_micros - 1, i64::MIN, i64::MAX],
            &[i32::MIN, first_day, last_day, last_day + 1],
        );
        let expected = [(20, "at"), (30, "at"), (10, "day"), (40, "day")];
        assert_eq!(
            rejected(&screen, &rows),
            expected.map(|(record, column)| (record, column.to_owned()))
        );
    }

    #[test]
    fn the_date_of_a_timestamp_is_looked_at_before_it_is_taken() {
        let mut screen = Screen::new(&sales(), &BOUNDS);
        let date = ("date", Projection::Date("at".into()));
        screen.add(&table(&sales(), Some(vec![same("id"), date])), 0..5);
        let first_micros = *BOUNDS.micros.start();
        let micros = [first_micros - 1, first_micros, i64::MAX];
        let rows = rows(&["a", "b", "c"], &[None; 3], &micros, &[i32::MIN; 3]);
        assert_eq!(rejected(&screen, &rows), [(10, "at".to_owned())]);
    }

    #[test]
    fn the_key_of_an_aggregate_is_looked_at_in_the_stream_that_it_reads() {
        let totals = schema(&[
            ("note", DataType::Utf8),
            ("id", DataType::Utf8),
            ("comment", DataType::Utf8),
        ]);
        let mut screen = Screen::new(&sales(), &BOUNDS);
        // The columns `note` and `id` are its key, `comment` is what its guest returns.
        screen.add(&table(&totals, None), [1, 0]);
        let rows = rows(&["a", "b\0"], &[Some("\0"), None], &[0; 2], &[0; 2]);
        assert_eq!(
            rejected(&screen, &rows),
            [(10, "note".to_owned()), (20, "id".to_owned())]
        );
    }

    #[test]
    fn a_column_that_reaches_two_tables_is_looked_at_once() {
        let mut screen = Screen::new(&sales(), &BOUNDS);
        screen.add(&table(&sales(), None), 0..5);
        screen.add(&table(&sales(), None), 0..5);
        let rows = rows(&["\0"], &[None], &[0], &[0]);
        assert_eq!(rejected(&screen, &rows), [(10, "id".to_owned())]);
    }

    #[test]
    fn what_stands_under_a_null_or_outside_of_a_slice_passes() {
        let nulls = NullBuffer::from(vec![true, false]);
        let (offsets, bytes) = (vec![0, 1, 2], b"x\0".to_vec());
        let offsets = arrow_buffer::OffsetBuffer::new(offsets.into());
        let notes = StringArray::new(offsets, bytes.into(), Some(nulls.clone()));
        let micros = TimestampMicrosecondArray::new(vec![0, i64::MIN].into(), Some(nulls.clone()));
        let days = Date32Array::new(vec![0, i32::MIN].into(), Some(nulls));
        for (ty, column) in [
            (DataType::Utf8, &notes as &dyn Array),
            (DataType::Timestamp, &micros),
            (DataType::Date, &days),
        ] {
            let limit = Limit::of(ty, &BOUNDS).unwrap();
            assert!(limit.may_be_exceeded(column), "{limit:?}");
            assert!(!limit.is_exceeded(column, 0), "{limit:?}");
            assert!(!limit.is_exceeded(column, 1), "{limit:?}");
            let slice = column.slice(0, 1);
            assert!(!limit.may_be_exceeded(&slice), "{limit:?}");
            assert!(!limit.may_be_exceeded(&column.slice(0, 0)), "{limit:?}");
        }
    }

    #[test]
    fn what_sqlite_cannot_hold_or_read_is_rejected_for_it() {
        let stream = schema(&[
            ("id", DataType::Utf8),
            ("ratio", DataType::Float64),
            ("at", DataType::Timestamp),
        ]);
        let mut screen = Screen::new(&stream, &sqlite::BOUNDS);
        screen.add(&table(&stream, None), 0..3);
        let long = "x".repeat(10_000);
        let (first, last) = (*sqlite::BOUNDS.micros.start(), *sqlite::BOUNDS.micros.end());
        let times = TimestampMicrosecondArray::from(vec![first, last, last + 1, first - 1]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![&long, "b", "c", "d\0"])),
            Arc::new(Float64Array::from(vec![f64::INFINITY, f64::NAN, 0.0, 1.0])),
            Arc::new(times.with_timezone("UTC")),
        ];
        let rows = Rows {
            columns: RecordBatch::try_new(Arc::clone(stream.arrow()), columns).unwrap(),
            records: vec![10, 20, 30, 40],
        };
        let expected = [(40, "id"), (20, "ratio"), (30, "at"), (40, "at")];
        assert_eq!(
            rejected(&screen, &rows),
            expected.map(|(record, column)| (record, column.to_owned()))
        );
    }
}
=======
mod tests;
>>>>>>> h-embedded
