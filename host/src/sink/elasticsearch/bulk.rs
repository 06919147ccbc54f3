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
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::record::Partition;

    const GENEROUS: RequestLimit = RequestLimit {
        documents_max: 1_000,
        bytes_max: 1_000_000,
    };

    fn rows(ids: &[&str]) -> RecordBatch {
        let numbers: Int64Array = (0..ids.len() as i64).collect();
        RecordBatch::try_from_iter([
            ("id", Arc::new(StringArray::from(ids.to_vec())) as ArrayRef),
            ("n", Arc::new(numbers)),
        ])
        .unwrap()
    }

    fn origins(count: usize) -> Vec<Origin> {
        (0..count as i64)
            .map(|offset| Origin {
                partition: Partition(3),
                offset,
            })
            .collect()
    }

    fn requests<'a>(batches: &'a [Survivors<'a>], limit: RequestLimit) -> Requests<'a> {
        Requests::new(batches, 0, EpochId(7), limit)
    }

    fn all<'a>(columns: &RecordBatch, origins: &'a [Origin]) -> Survivors<'a> {
        Survivors {
            columns: columns.clone(),
            origins,
            rows: None,
        }
    }

    fn collect(requests: &mut Requests<'_>) -> Vec<Request> {
        std::iter::from_fn(|| requests.next(Vec::new())).collect()
    }

    fn lines(request: &Request) -> Vec<Value> {
        let text = std::str::from_utf8(&request.body).unwrap().to_owned();
        assert!(text.ends_with('\n'));
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn a_document_follows_its_action() {
        let rows = rows(&["a\"b"]);
        let requests = collect(&mut requests(&[all(&rows, &[])], GENEROUS));
        assert_eq!(
            lines(&requests[0]),
            [
                json!({ "index": { "version_type": "external", "version": 7, "_id": "a\"b" } }),
                json!({ "id": "a\"b", "n": 0 }),
            ]
        );
        assert_eq!(requests[0].document(0), br#"{"id":"a\"b","n":0}"#);
        assert_eq!(requests[0].id(0), "a\"b");
    }

    #[test]
    fn a_whole_number_is_its_own_text_as_id() {
        let rows = rows(&["x", "y"]);
        let batches = [all(&rows, &[])];
        let mut requests = Requests::new(&batches, 1, EpochId(1), GENEROUS);
        let request = requests.next(Vec::new()).unwrap();
        assert_eq!(lines(&request)[2]["index"]["_id"], "1");
    }

    #[test]
    fn only_the_rows_that_stay_are_sent_each_with_its_origin() {
        let (a, b) = (rows(&["a", "b", "c"]), rows(&["d", "e"]));
        let (of_a, of_b) = (origins(3), origins(2));
        let some = Survivors {
            columns: a,
            origins: &of_a,
            rows: Some(vec![0, 2]),
        };
        let none = Survivors {
            columns: b.clone(),
            origins: &of_b,
            rows: Some(vec![]),
        };
        let batches = [some, none, all(&b, &of_b)];
        let requests = collect(&mut requests(&batches, GENEROUS));
        assert_eq!(requests.len(), 1);
        let sent: Vec<_> = (0..requests[0].len())
            .map(|index| {
                let document: Value = serde_json::from_slice(requests[0].document(index)).unwrap();
                let offset = requests[0].origin(index).unwrap().offset;
                (document["id"].as_str().unwrap().to_owned(), offset)
            })
            .collect();
        let expected = [("a", 0), ("c", 2), ("d", 0), ("e", 1)];
        assert_eq!(sent, expected.map(|(id, offset)| (id.to_owned(), offset)));
    }

    #[test]
    fn nothing_makes_no_request() {
        let rows = rows(&[]);
        assert!(requests(&[], GENEROUS).next(Vec::new()).is_none());
        let batches = [all(&rows, &[])];
        let mut requests = requests(&batches, GENEROUS);
        assert!(requests.next(Vec::new()).is_none());
    }

    #[test]
    fn a_row_without_a_usable_id_is_set_aside_and_its_neighbours_are_sent() {
        let long = "é".repeat(ID_BYTES_MAX / 2);
        let too_long = format!("{long}x");
        let rows = rows(&["", "a", &too_long, &long]);
        let of_rows = origins(4);
        let batches = [all(&rows, &of_rows)];
        let mut requests = requests(&batches, GENEROUS);
        let sent = collect(&mut requests);
        assert_eq!(sent[0].len(), 2);
        assert_eq!(sent[0].document(0), br#"{"id":"a","n":1}"#);
        let unusable = requests.into_unusable();
        assert_eq!(
            unusable[0],
            Unusable {
                reason: "the `_id` is empty".into(),
                origin: Some(of_rows[0]),
                id: String::new(),
                document: br#"{"id":"","n":0}"#.to_vec(),
            }
        );
        assert_eq!(
            unusable[1].reason,
            "the `_id` has 513 bytes, and Elasticsearch takes 512"
        );
        assert_eq!(unusable.len(), 2);
    }

    #[test]
    fn a_document_larger_than_the_bound_is_sent_alone() {
        let large = "x".repeat(400);
        let rows = rows(&["a", &large, "b"]);
        let limit = RequestLimit {
            documents_max: 10,
            bytes_max: 200,
        };
        let requests = collect(&mut requests(&[all(&rows, &[])], limit));
        assert_eq!(
            requests.iter().map(Request::len).collect::<Vec<_>>(),
            [1, 1, 1]
        );
    }

    #[test]
    fn a_part_of_a_request_has_the_same_documents() {
        let rows = rows(&["a", "b", "c", "d"]);
        let of_rows = origins(4);
        let request = &collect(&mut requests(&[all(&rows, &of_rows)], GENEROUS))[0];
        let part = request.only([1, 3]);
        assert_eq!(lines(&part)[..2], lines(request)[2..4]);
        assert_eq!(lines(&part)[2..], lines(request)[6..]);
        assert_eq!(part.document(1), request.document(3));
        assert_eq!(part.origin(1), Some(of_rows[3]));
    }

    #[test]
    fn an_answered_request_gives_its_buffer_back() {
        let rows = rows(&["a"]);
        let batches = [all(&rows, &[])];
        let mut requests = requests(&batches, GENEROUS);
        let buffer = Vec::with_capacity(12_345);
        let request = requests.next(buffer).unwrap();
        drop(request.body());
        let buffer = request.into_buffer();
        assert!(buffer.is_empty());
        assert!(buffer.capacity() >= 12_345);
    }

    proptest! {
        #[test]
        fn every_row_is_in_exactly_one_request_within_its_bounds(
            lengths in proptest::collection::vec(1_usize..60, 0..80),
            documents_max in 1_usize..10,
            bytes_max in 1_usize..900,
            cut in 0_usize..80,
        ) {
            let ids: Vec<String> = lengths
                .iter()
                .enumerate()
                .map(|(index, length)| format!("{index}-{}", "x".repeat(*length)))
                .collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let (front, back) = ids.split_at(cut.min(ids.len()));
            let (front, back) = (rows(front), rows(back));
            let limit = RequestLimit { documents_max, bytes_max };
            let requests = collect(&mut requests(&[all(&front, &[]), all(&back, &[])], limit));
            let mut sent = Vec::new();
            for request in &requests {
                prop_assert!(request.len() <= documents_max);
                prop_assert!(request.body.len() <= bytes_max || request.len() == 1);
                for index in 0..request.len() {
                    let document: Value = serde_json::from_slice(request.document(index)).unwrap();
                    sent.push(document["id"].as_str().unwrap().to_owned());
                }
            }
            prop_assert_eq!(sent, ids);
        }
    }
}
