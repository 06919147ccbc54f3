//! A batch as the bytes of an Arrow IPC file, and back.

use arrow_array::RecordBatch;
use arrow_ipc::CompressionType;
use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;
use bytes::Bytes;
use std::io::Cursor;
use std::sync::Arc;

/// The batch as a file. Columns whose nested dictionaries or types Arrow IPC cannot hold are an error;
/// ours have none.
pub(super) fn encode(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let options =
        IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let schema = batch.schema_ref();
    let mut writer = FileWriter::try_new_with_options(Vec::new(), schema, options)?;
    writer.write(batch)?;
    writer.into_inner()
}

/// The batch in a file. Call it with verified bytes alone: sizes in them are believed.
pub(super) fn decode(bytes: Bytes) -> Result<RecordBatch, ArrowError> {
    let reader = FileReader::try_new(Cursor::new(bytes), None)?;
    let schema = reader.schema();
    let mut batches = reader.collect::<Result<Vec<_>, _>>()?;
    match (batches.pop(), batches.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            batches.push(last);
            concat_batches(&schema, &batches)
        }
        (None, _) => Ok(RecordBatch::new_empty(Arc::clone(&schema))),
    }
}
