//! Documents of one epoch and index, cut into bulk requests of bounded size.
//!
//! A request is written straight from the columns into one buffer, which comes back here when the
//! server has answered. It remembers where each document stands in that buffer, so that a part of
//! it can be sent again, or shown in a dead letter, without looking at the columns again.
//!
//! # Not here
//!
//! What the server made of a document: [`super::outcome`].

use std::slice;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::DataType as Arrow;
use bytes::Bytes;
use serde::Deserialize;

use super::render::{Documents, write_int, write_text};
use crate::epoch::EpochId;
use crate::record::Origin;
use crate::sink::latest::Survivors;

/// Elasticsearch takes no longer `_id`, in bytes.
pub(super) const ID_BYTES_MAX: usize = 512;

/// How much one bulk request holds at most. A larger document is sent alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestLimit {
    pub(super) documents_max: usize,
    pub(super) bytes_max: usize,
}

/// Where a document stands in its request, and what it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// the action line begins here, after the document before
    start: usize,
    /// the document itself begins here
    source: usize,
    /// and ends here, with its line feed
    end: usize,
    /// the record that it came from; an aggregate's rows have none
    pub(super) origin: Option<Origin>,
}

/// One bulk request: action and document by turns, a line each.
#[derive(Debug)]
pub(super) struct Request {
    body: Bytes,
    places: Vec<Place>,
}

impl Request {
    /// What goes over the wire.
    pub(super) fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// How many documents it holds.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The record that the document at `index` came from.
    pub(super) fn origin(&self, index: usize) -> Option<Origin> {
        self.places[index].origin
    }

    /// The `_id` of the document at `index`.
    pub(super) fn id(&self, index: usize) -> String {
        let place = &self.places[index];
        let action: Action = serde_json::from_slice(&self.body[place.start..place.source])
            .expect("we wrote the action ourselves");
        action.index.id
    }

    /// The document at `index`, without a line feed.
    pub(super) fn document(&self, index: usize) -> &[u8] {
        let place = &self.places[index];
        &self.body[place.source..place.end - 1]
    }

    /// The same with these documents only.
    pub(super) fn only(&self, indices: impl IntoIterator<Item = usize>) -> Self {
        let mut body = Vec::new();
        let mut places = Vec::new();
        for index in indices {
            let place = &self.places[index];
            let start = body.len();
            body.extend_from_slice(&self.body[place.start..place.end]);
            places.push(Place {
                start,
                source: start + (place.source - place.start),
                end: body.len(),
                origin: place.origin,
            });
        }
        Self {
            body: body.into(),
            places,
        }
    }

    /// Its buffer, for the next one; a new one where somebody still holds it.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        if !self.body.is_unique() {
            return Vec::new();
        }
        let mut buffer = Vec::from(self.body);
        buffer.clear();
        buffer
    }
}

/// As much of an action line as is read again.
#[derive(Deserialize)]
struct Action {
    index: ActionTarget,
}

#[derive(Deserialize)]
struct ActionTarget {
    #[serde(rename = "_id")]
    id: String,
}

/// A row that no server has to be asked about: it has no usable `_id`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    pub(super) reason: String,
    pub(super) origin: Option<Origin>,
    pub(super) id: String,
    pub(super) document: Vec<u8>,
}

/// Makes requests of batches, one after the other.
pub(super) struct Requests<'a> {
    batches: slice::Iter<'a, Survivors<'a>>,
    /// the batch in hand
    current: Option<Current<'a>>,
    id: usize,
    action: Vec<u8>,
    limit: RequestLimit,
    unusable: Vec<Unusable>,
}

struct Current<'a> {
    documents: Documents<'a>,
    ids: Ids<'a>,
    survivors: &'a Survivors<'a>,
    /// position in `survivors.rows`, or the row itself where all stay
    next: usize,
}

impl Current<'_> {
    fn row(&self) -> Option<usize> {
        match &self.survivors.rows {
            Some(rows) => rows.get(self.next).map(|&row| row as usize),
            None => (self.next < self.survivors.columns.num_rows()).then_some(self.next),
        }
    }
}

impl<'a> Requests<'a> {
    /// Requests that store these rows as version `epoch`, with the column at `id` as `_id`.
    pub(super) fn new(
        batches: &'a [Survivors<'a>],
        id: usize,
        epoch: EpochId,
        limit: RequestLimit,
    ) -> Self {
        let mut action = b"{\"index\":{\"version_type\":\"external\",\"version\":".to_vec();
        write_int(epoch.0.cast_signed(), &mut action);
        action.extend_from_slice(b",\"_id\":");
        Self {
            batches: batches.iter(),
            current: None,
            id,
            action,
            limit,
            unusable: Vec::new(),
        }
    }

    /// The next request, written into `buffer`; `None` when all rows are in one.
    pub(super) fn next(&mut self, mut buffer: Vec<u8>) -> Option<Request> {
        let mut places = Vec::new();
        while places.len() < self.limit.documents_max
            && buffer.len() < self.limit.bytes_max
            && self.step_to_a_row()
        {
            let current = self.current.as_mut().expect("the step found a row");
            let row = current.row().expect("the step found a row");
            let origin = current.survivors.origins.get(row).copied();
            let start = buffer.len();
            buffer.extend_from_slice(&self.action);
            if let Err(reason) = current.ids.write(row, &mut buffer) {
                buffer.truncate(start);
                current.documents.write(row, &mut buffer);
                let document = buffer.split_off(start);
                self.unusable.push(Unusable {
                    reason,
                    origin,
                    id: current.ids.text(row),
                    document,
                });
                current.next += 1;
                continue;
            }
            buffer.extend_from_slice(b"}}\n");
            let source = buffer.len();
            current.documents.write(row, &mut buffer);
            buffer.push(b'\n');
            if buffer.len() > self.limit.bytes_max && !places.is_empty() {
                // It goes into the next request, and is written there again.
                buffer.truncate(start);
                break;
            }
            current.next += 1;
            places.push(Place {
                start,
                source,
                end: buffer.len(),
                origin,
            });
        }
        (!places.is_empty()).then(|| Request {
            body: buffer.into(),
            places,
        })
    }

    /// The rows without a usable `_id` that were met so far; they are in no request.
    pub(super) fn into_unusable(self) -> Vec<Unusable> {
        self.unusable
    }

    fn step_to_a_row(&mut self) -> bool {
        loop {
            if self.current.as_ref().is_some_and(|c| c.row().is_some()) {
                return true;
            }
            let Some(survivors) = self.batches.next() else {
                return false;
            };
            self.current = Some(Current {
                documents: Documents::new(&survivors.columns),
                ids: Ids::new(survivors.columns.column(self.id)),
                survivors,
                next: 0,
            });
        }
    }
}

/// The column that gives each document its `_id`.
enum Ids<'a> {
    Text(&'a arrow_array::StringArray),
    Number(&'a arrow_array::Int64Array),
}

impl<'a> Ids<'a> {
    fn new(column: &'a dyn Array) -> Self {
        match column.data_type() {
            Arrow::Utf8 => Self::Text(column.as_string()),
            Arrow::Int64 => Self::Number(column.as_primitive::<Int64Type>()),
            other => panic!("an index was accepted whose id column has the layout {other}"),
        }
    }

    /// The `_id` as it is, usable or not.
    fn text(&self, row: usize) -> String {
        match self {
            Self::Text(ids) if ids.is_null(row) => String::new(),
            Self::Number(ids) if ids.is_null(row) => String::new(),
            Self::Text(ids) => ids.value(row).to_owned(),
            Self::Number(ids) => ids.value(row).to_string(),
        }
    }

    /// Appends the `_id` as a JSON string, or says why it cannot be one.
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::Text(ids) if ids.is_null(row) => Err("the `_id` is missing".into()),
            Self::Number(ids) if ids.is_null(row) => Err("the `_id` is missing".into()),
            Self::Text(ids) => {
                let id = ids.value(row);
                if id.is_empty() {
                    return Err("the `_id` is empty".into());
                }
                if id.len() > ID_BYTES_MAX {
                    return Err(format!(
                        "the `_id` has {} bytes, and Elasticsearch takes {ID_BYTES_MAX}",
                        id.len()
                    ));
                }
                write_text(id, out);
                Ok(())
            }
            Self::Number(ids) => {
                out.push(b'"');
                write_int(ids.value(row), out);
                out.push(b'"');
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
