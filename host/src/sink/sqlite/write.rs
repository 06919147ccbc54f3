//! One epoch in one transaction.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal64Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_buffer::NullBuffer;
use chrono::{SecondsFormat, Utc};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Statement, TransactionBehavior, params};

use super::BOUNDS;
use super::failure::Failure;
use super::progress::{Fence, Owner};
use super::table::FileTable;
use crate::epoch::{EpochOutput, OutputBatch};
use crate::schema::DataType;
use crate::sink::latest::{Survivors, survivors};
use crate::sink::letters::{LetterTable, batches_for};
use crate::sink::screen::find_refusal;
use crate::sink::times::{write_day, write_timestamp};
use crate::sink::{Refused, SinkError};

/// Writes an epoch and returns once it is committed.
pub(super) fn write_epoch(
    connection: &mut Connection,
    owner: &Owner,
    tables: &[FileTable],
    epoch: &EpochOutput,
    (table, letters): (Option<&LetterTable>, &[OutputBatch]),
) -> Result<(), Failure> {
    let rows: Vec<TableRows<'_>> = tables
        .iter()
        .map(|table| TableRows::new(table, batches_for(table.target(), epoch, letters)))
        .collect::<Result<_, _>>()?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(Failure::to("begin a transaction"))?;
    // The fence comes first: nothing is written by a host that no longer owns the pipeline, and no
    // epoch twice.
    match owner.advance(&transaction, epoch.epoch)? {
        Fence::Next => {}
        Fence::Durable => {
            return transaction.rollback().map_err(Failure::to("roll back"));
        }
    }
    // Before a record that is rejected again gets its new letter in the place of the old one.
    if let Some(table) = table {
        settle(&transaction, table, epoch).map_err(Failure::to("settle dead letters"))?;
    }
    let mut refused = Vec::new();
    for rows in &rows {
        rows.write(&transaction, &mut refused)?;
    }
    if !refused.is_empty() {
        // Several rows may be made of one record.
        refused.sort_by_key(|refused: &Refused| refused.origin);
        refused.dedup_by_key(|refused| refused.origin);
        return Err(Failure::Sink(SinkError::Refused(refused)));
    }
    owner.record(&transaction, epoch)?;
    transaction
        .commit()
        .map_err(Failure::to(format!("commit epoch {}", epoch.epoch)))
}

/// Marks the letters that an epoch settles.
fn settle(
    connection: &Connection,
    letters: &LetterTable,
    epoch: &EpochOutput,
) -> rusqlite::Result<()> {
    let record =
        "pipeline = ?3 AND topic = ?4 AND partition = ?5 AND record_offset = ?6 AND stage = ?7";
    let (pipeline, topic) = letters.of();
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    for (stage, records) in &epoch.settled {
        let mut update = connection.prepare_cached(&letters.settle_sql(("?1", "?2"), record))?;
        for record in records {
            update.execute(params![
                epoch.version.0,
                now,
                pipeline,
                topic,
                record.partition.0,
                record.offset,
                stage
            ])?;
        }
    }
    Ok(())
}

/// The rows of one epoch for one table, at most one of each key.
pub(super) struct TableRows<'a> {
    table: &'a FileTable,
    batches: Vec<Survivors<'a>>,
}

impl<'a> TableRows<'a> {
    /// # Errors
    ///
    /// The first value that SQLite cannot hold, and its record.
    pub(super) fn new(table: &'a FileTable, sources: &'a [OutputBatch]) -> Result<Self, Failure> {
        let target = table.target();
        let winner = target.on_conflict().into();
        let batches = survivors(target.projector(), sources, target.key(), winner);
        for batch in &batches {
            let staying = batch.rows.as_deref();
            let refusal = find_refusal(target.schema(), &batch.columns, staying, &BOUNDS);
            if let Some(refusal) = refusal {
                return Err(Failure::Sink(refusal.into_error(target, batch.origins)));
            }
        }
        Ok(Self { table, batches })
    }

    /// Writes the rows, in the transaction that is under way, but for those that break a constraint of
    /// the user's, which are noted.
    pub(super) fn write(
        &self,
        connection: &Connection,
        refused: &mut Vec<Refused>,
    ) -> Result<(), Failure> {
        let failed = || Failure::to(format!("write to table `{}`", self.table.base()));
        let target = self.table.target();
        let mut upsert = connection
            .prepare_cached(&self.table.upsert_sql())
            .map_err(failed())?;
        let batches: Vec<Vec<Column<'_>>> = self
            .batches
            .iter()
            .map(|batch| {
                let columns = target.schema().fields().iter().zip(batch.columns.columns());
                columns
                    .map(|(field, array)| Column::new(field.ty, array))
                    .collect()
            })
            .collect();
        let places = self.places(&batches, target.key()[0]);
        let mut text = Vec::new();
        let mut write = |place: &Place| -> rusqlite::Result<()> {
            let columns = batches[place.batch as usize].iter();
            for (column, index) in columns.zip(1..) {
                column.bind(place.row as usize, index, &mut upsert, &mut text)?;
            }
            upsert.raw_execute().map(drop)
        };
        for place in &places {
            match write(place) {
                Ok(()) => {}
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                    refused.push(self.refused(place, &error)?);
                }
                Err(error) => return Err(failed()(error)),
            }
        }
        Ok(())
    }

    fn refused(&self, place: &Place, error: &rusqlite::Error) -> Result<Refused, Failure> {
        let reason = format!("table `{}` refuses its row: {error}", self.table.base());
        let origins = self.batches[place.batch as usize].origins;
        match origins.get(place.row as usize) {
            Some(&origin) => Ok(Refused { origin, reason }),
            None => Err(Failure::permanent(format!(
                "{reason}\nThe row is one of an aggregate and stands for many records, so none of them can be left out for it. \
                 Nothing of the epoch was written: change the table, then start again"
            ))),
        }
    }

    /// All rows, about in the order of their first key column where that is text: ids are random, and
    /// the index of a large table is so written page after page, and not each page many times.
    fn places(&self, batches: &[Vec<Column<'_>>], key: usize) -> Vec<Place> {
        let mut places = Vec::new();
        for ((batch, survivors), columns) in (0..).zip(&self.batches).zip(batches) {
            let values = &columns[key].values;
            let place = |row| Place {
                order: values.order(row as usize),
                batch,
                row,
            };
            match &survivors.rows {
                Some(rows) => places.extend(rows.iter().map(|&row| place(row))),
                None => places.extend((0..survivors.columns.num_rows() as u32).map(place)),
            }
        }
        places.sort_unstable_by_key(|place| place.order);
        places
    }
}

/// Where a row is, and what comes before it.
struct Place {
    order: u64,
    batch: u32,
    row: u32,
}

struct Column<'a> {
    values: Values<'a>,
    nulls: Option<&'a NullBuffer>,
}

enum Values<'a> {
    Boolean(&'a BooleanArray),
    /// also a decimal's minor units
    Integer(&'a [i64]),
    Float(&'a [f64]),
    Text {
        offsets: &'a [i32],
        bytes: &'a [u8],
    },
    Blob {
        offsets: &'a [i32],
        bytes: &'a [u8],
    },
    Timestamp(&'a [i64]),
    Date(&'a [i32]),
}

impl<'a> Column<'a> {
    fn new(ty: DataType, array: &'a ArrayRef) -> Self {
        let values = match ty {
            DataType::Boolean => Values::Boolean(array.as_boolean()),
            DataType::Int64 => Values::Integer(array.as_primitive::<Int64Type>().values()),
            DataType::Decimal(_) => Values::Integer(array.as_primitive::<Decimal64Type>().values()),
            DataType::Float64 => Values::Float(array.as_primitive::<Float64Type>().values()),
            DataType::Utf8 => {
                let array = array.as_string::<i32>();
                Values::Text {
                    offsets: array.value_offsets(),
                    bytes: array.value_data(),
                }
            }
            DataType::Binary => {
                let array = array.as_binary::<i32>();
                Values::Blob {
                    offsets: array.value_offsets(),
                    bytes: array.value_data(),
                }
            }
            DataType::Timestamp => {
                Values::Timestamp(array.as_primitive::<TimestampMicrosecondType>().values())
            }
            DataType::Date => Values::Date(array.as_primitive::<Date32Type>().values()),
        };
        Self {
            values,
            nulls: array.nulls().filter(|nulls| nulls.null_count() > 0),
        }
    }

    /// Binds the value of a row; `text` is room for times.
    fn bind(
        &self,
        row: usize,
        index: usize,
        statement: &mut Statement<'_>,
        text: &mut Vec<u8>,
    ) -> rusqlite::Result<()> {
        let value = if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            ValueRef::Null
        } else {
            self.values.get(row, text)
        };
        statement.raw_bind_parameter(index, ToSqlOutput::Borrowed(value))
    }
}

impl Values<'_> {
    /// The first bytes of a text, as a number of the same order; equal for all others.
    fn order(&self, row: usize) -> u64 {
        match *self {
            Self::Text { offsets, bytes } | Self::Blob { offsets, bytes } => {
                let mut first = [0; 8];
                let bytes = slice(offsets, bytes, row);
                let length = bytes.len().min(first.len());
                first[..length].copy_from_slice(&bytes[..length]);
                u64::from_be_bytes(first)
            }
            _ => 0,
        }
    }

    fn get<'v>(&'v self, row: usize, text: &'v mut Vec<u8>) -> ValueRef<'v> {
        match *self {
            Self::Boolean(values) => ValueRef::Integer(values.value(row).into()),
            Self::Integer(values) => ValueRef::Integer(values[row]),
            Self::Float(values) => ValueRef::Real(values[row]),
            Self::Text { offsets, bytes } => ValueRef::Text(slice(offsets, bytes, row)),
            Self::Blob { offsets, bytes } => ValueRef::Blob(slice(offsets, bytes, row)),
            Self::Timestamp(values) => {
                text.clear();
                write_timestamp(values[row], text);
                ValueRef::Text(text)
            }
            Self::Date(values) => {
                text.clear();
                write_day(values[row].into(), text);
                ValueRef::Text(text)
            }
        }
    }
}

fn slice<'a>(offsets: &[i32], bytes: &'a [u8], row: usize) -> &'a [u8] {
    &bytes[offsets[row] as usize..offsets[row + 1] as usize]
}
