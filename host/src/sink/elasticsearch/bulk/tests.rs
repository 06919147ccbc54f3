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
