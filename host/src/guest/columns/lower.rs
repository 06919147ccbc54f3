//! Arrow to the contract: borrowed wherever the layouts agree.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ByteArrayType, Date32Type, Decimal64Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, GenericByteArray, RecordBatch};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, TimeUnit};

use super::super::bindings::data::{ColumnParam, ValuesParam, VarBytesParam};

/// What has no counterpart in the Arrow buffers, kept from call to call for its allocations.
#[derive(Debug, Default)]
pub(in super::super) struct Scratch(Vec<ColumnScratch>);

#[derive(Debug, Default)]
struct ColumnScratch {
    bools: Vec<u8>,
    offsets: Vec<u32>,
    validity: Vec<u8>,
}

/// The columns of a batch as parameters of a call.
///
/// # Panics
///
/// When a column has a layout that [`crate::schema::DataType::to_arrow`] does not give.
pub(in super::super) fn lower<'a>(
    batch: &'a RecordBatch,
    scratch: &'a mut Scratch,
) -> Vec<ColumnParam<'a>> {
    let columns = batch.columns();
    if scratch.0.len() < columns.len() {
        scratch.0.resize_with(columns.len(), Default::default);
    }
    columns
        .iter()
        .zip(&mut scratch.0)
        .map(|(column, scratch)| lower_column(column, scratch))
        .collect()
}

fn lower_column<'a>(column: &'a dyn Array, scratch: &'a mut ColumnScratch) -> ColumnParam<'a> {
    let ColumnScratch {
        bools,
        offsets,
        validity,
    } = scratch;
    let values = match column.data_type() {
        DataType::Boolean => {
            expand(column.as_boolean().values(), bools);
            ValuesParam::Bools(bools)
        }
        DataType::Date32 => ValuesParam::I32s(column.as_primitive::<Date32Type>().values()),
        DataType::Int64 => ValuesParam::I64s(column.as_primitive::<Int64Type>().values()),
        DataType::Decimal64(..) => {
            ValuesParam::I64s(column.as_primitive::<Decimal64Type>().values())
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            ValuesParam::I64s(column.as_primitive::<TimestampMicrosecondType>().values())
        }
        DataType::Float64 => ValuesParam::F64s(column.as_primitive::<Float64Type>().values()),
        DataType::Utf8 => ValuesParam::Bytes(lower_bytes(column.as_string::<i32>(), offsets)),
        DataType::Binary => ValuesParam::Bytes(lower_bytes(column.as_binary::<i32>(), offsets)),
        other => panic!("no column of the host is laid out as {other}"),
    };
    let validity = match column.nulls() {
        Some(nulls) if nulls.null_count() > 0 => {
            expand(nulls.inner(), validity);
            Some(&validity[..])
        }
        _ => None,
    };
    ColumnParam { values, validity }
}

fn lower_bytes<'a, T: ByteArrayType<Offset = i32>>(
    array: &'a GenericByteArray<T>,
    scratch: &'a mut Vec<u32>,
) -> VarBytesParam<'a> {
    let bounds = array.value_offsets();
    let (first, last) = (bounds[0], bounds[bounds.len() - 1]);
    let bytes = &array.value_data()[first as usize..last as usize];
    let offsets = if first == 0 {
        // Offsets are never negative, so the same bits are the same numbers.
        array.offsets().inner().inner().typed_data::<u32>()
    } else {
        scratch.clear();
        scratch.extend(bounds.iter().map(|&offset| (offset - first) as u32));
        scratch
    };
    VarBytesParam { offsets, bytes }
}

/// One byte for each bit.
fn expand(bits: &BooleanBuffer, bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.reserve(bits.len());
    let words = bits.bit_chunks();
    let expand_word = |word: u64, len: usize| (0..len).map(move |bit| (word >> bit) as u8 & 1);
    for word in &words {
        bytes.extend(expand_word(word, 64));
    }
    bytes.extend(expand_word(words.remainder_bits(), words.remainder_len()));
}

/// Bytes that the column takes in the guest's memory. Reads no row.
pub(in super::super) fn lowered_bytes(column: &dyn Array) -> usize {
    let rows = column.len();
    let values = match column.data_type() {
        DataType::Boolean => rows,
        DataType::Date32 => rows * 4,
        DataType::Utf8 => var_bytes(column.as_string::<i32>()),
        DataType::Binary => var_bytes(column.as_binary::<i32>()),
        _ => rows * 8,
    };
    let validity = if column.null_count() > 0 { rows } else { 0 };
    values + validity
}

fn var_bytes<T: ByteArrayType<Offset = i32>>(array: &GenericByteArray<T>) -> usize {
    let bounds = array.value_offsets();
    let bytes = bounds[bounds.len() - 1] - bounds[0];
    bytes as usize + bounds.len() * 4
}
