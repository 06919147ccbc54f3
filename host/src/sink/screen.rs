//! What a ledger's tables cannot hold, and the screen that keeps it out of the stream.
//!
//! A row that cannot be stored would hold its epoch up for ever. So it is found as soon as there are
//! columns: its record is left out of everything and goes to the dead letters.
//!
//! # Invariants
//!
//! 1. Whether a record passes depends on its values alone: a replay rejects the same ones.
//! 2. A screen and the encoder of the ledger, which looks again, ask the same `Limit`.
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
mod tests;
