//! The Elasticsearch sink on a real server, and on one that fails as it is told.
//!
//! What it shares with every other sink is in [`super::sink_contract`].

use std::time::Duration;

use elasticsearch::http::Method;
use serde_json::{Value, json};
use wasmill::config::Secret;
use wasmill::epoch::{EpochOutput, OutputBatch};
use wasmill::record::DeadLetter;
use wasmill::sink::elasticsearch::{ElasticsearchSink, IndexTarget};
use wasmill::sink::{Sink, SinkError};

use crate::support;
use crate::support::elastic::Elastic;
use crate::support::rows::{self, Row, batch_from, epoch, origin, row};
use crate::support::scripted_http::{Answer, Request, ScriptedHttp};

fn sink(url: &str, index: &str) -> ElasticsearchSink {
    let target = IndexTarget::new(&rows::index(index), &rows::schema()).unwrap();
    ElasticsearchSink::new("search", &Secret::new(url.to_owned()), vec![target]).unwrap()
}

async fn write(sink: &mut ElasticsearchSink, output: &EpochOutput) -> Vec<DeadLetter> {
    sink.write(output).await.unwrap().refused
}

/// An index of its own on the real server.
struct Index {
    server: Elastic,
    name: String,
}

impl Index {
    fn new() -> Self {
        Self {
            server: Elastic::new(&support::elasticsearch()),
            name: support::unique("search"),
        }
    }

    async fn sink(&self) -> ElasticsearchSink {
        let mut sink = sink(&support::elasticsearch(), &self.name);
        sink.prepare().await.unwrap();
        sink
    }

    async fn documents(&self) -> Vec<(String, u64, Value)> {
        let documents = self.server.documents(&self.name).await.into_iter();
        documents
            .map(|(id, (version, source))| (id, version, serde_json::from_str(&source).unwrap()))
            .collect()
    }

    async fn remove(self) {
        self.server.remove(&self.name).await;
    }
}

fn document(id: &str, version: u64, count: i64) -> (String, u64, Value) {
    let source = json!({ "id": id, "count": count });
    (id.to_owned(), version, source)
}

#[tokio::test]
async fn a_document_has_its_row_as_source_and_the_epoch_as_version() {
    let index = Index::new();
    let rows = [row("a", 1), row("b\"/ü", 2)];
    write(
        &mut index.sink().await,
        &epoch(5, vec![batch_from(0, &rows)]),
    )
    .await;
    let expected = [document("a", 5, 1), document("b\"/ü", 5, 2)];
    assert_eq!(index.documents().await, expected);
    index.remove().await;
}

#[tokio::test]
async fn neither_the_same_nor_an_earlier_epoch_changes_a_document() {
    let index = Index::new();
    let mut sink = index.sink().await;
    write(&mut sink, &epoch(5, vec![batch_from(0, &[row("a", 1)])])).await;
    for number in [5_u64, 4] {
        let other = vec![batch_from(
            0,
            &[row("a", 99), row("b", number.cast_signed())],
        )];
        assert_eq!(write(&mut sink, &epoch(number, other)).await, []);
    }
    let expected = [document("a", 5, 1), document("b", 5, 5)];
    assert_eq!(index.documents().await, expected);
    write(&mut sink, &epoch(6, vec![batch_from(0, &[row("a", 2)])])).await;
    assert_eq!(index.documents().await[0], document("a", 6, 2));
    index.remove().await;
}

#[tokio::test]
async fn a_document_that_is_refused_becomes_a_dead_letter_and_its_neighbours_are_in() {
    let index = Index::new();
    let long_id = "x".repeat(513);
    let not_a_number = Row {
        ratio: Some(f64::NAN),
        ..row("nan", 2)
    };
    let too_late = Row {
        at: Some(i64::MAX),
        ..row("late", 4)
    };
    let rows = [
        row("a", 1),
        not_a_number,
        row(&long_id, 3),
        too_late,
        row("b", 5),
    ];
    let output = epoch(1, vec![batch_from(10, &rows)]);
    let mut refused = write(&mut index.sink().await, &output).await;
    refused.sort_by_key(|letter| letter.origin);

    let origins: Vec<_> = refused.iter().map(|letter| letter.origin).collect();
    assert_eq!(origins, [origin(11), origin(12), origin(13)]);
    let expected = [document("a", 1, 1), document("b", 1, 5)];
    assert_eq!(index.documents().await, expected);

    let letter = &refused[0];
    assert_eq!(letter.stage, "search");
    assert!(
        letter.reason.starts_with("document_parsing_exception: ")
            && letter.reason.ends_with("but got [NaN]"),
        "{}",
        letter.reason
    );
    let value: Value = serde_json::from_slice(letter.value.as_ref().unwrap()).unwrap();
    assert_eq!(value, json!({ "id": "nan", "count": 2, "ratio": "NaN" }));
    let documents: Vec<_> = refused
        .iter()
        .map(|letter| letter.document.as_deref().unwrap())
        .collect();
    assert_eq!(documents[0], format!("{}/nan", index.name));
    assert!(
        documents[1].starts_with(&format!("{}/sha256:", index.name)),
        "{}",
        documents[1]
    );
    assert!(refused[1].reason.contains("513 bytes"));
    assert!(refused[2].reason.contains("failed to parse date field"));
    index.remove().await;
}

#[tokio::test]
async fn a_text_too_long_to_be_searched_for_is_stored_all_the_same() {
    let index = Index::new();
    let long = Row {
        note: Some("😀".repeat(20_000)),
        ..row("a", 1)
    };
    let output = epoch(1, vec![batch_from(0, &[long])]);
    assert_eq!(write(&mut index.sink().await, &output).await, []);
    assert_eq!(index.server.count(&index.name).await, 1);
    index.remove().await;
}

#[tokio::test]
async fn an_index_of_another_mapping_is_refused_with_every_difference_and_left_alone() {
    let index = Index::new();
    let mut mappings =
        json!({ "properties": { "id": { "type": "text" }, "flag": { "type": "boolean" } } });
    for name in ["count", "ratio", "amount", "precise", "note", "raw", "at"] {
        mappings["properties"][name] = json!({ "type": "keyword" });
    }
    let body = json!({ "mappings": mappings });
    index.server.ok(Method::Put, &index.name, Some(body)).await;
    let mut sink = sink(&support::elasticsearch(), &index.name);
    let error = sink.prepare().await.unwrap_err();
    assert!(matches!(error, SinkError::Permanent(_)), "{error}");
    let message = error.to_string();
    assert_eq!(sink.check().await.unwrap_err().to_string(), message);
    for difference in [
        "has field `id` as text, and keyword is needed",
        "has field `count` as keyword, and long is needed",
        "has field `amount` as keyword, and double is needed",
        "has field `at` as keyword, and date is needed",
    ] {
        assert!(message.contains(difference), "{difference}: {message}");
    }
    assert!(!message.contains("flag"), "{message}");
    let template = format!("_index_template/wasmill-{}", index.name);
    let (status, _) = index.server.request(Method::Get, &template, None).await;
    assert_eq!(status, 404, "a refused start leaves no template behind");
    index.remove().await;
}

#[tokio::test]
async fn an_index_gets_the_fields_that_it_lacks() {
    let index = Index::new();
    let mapping = json!({ "mappings": { "dynamic": "strict", "properties": {
        "id": { "type": "keyword" }, "note": { "type": "keyword" } } } });
    index
        .server
        .ok(Method::Put, &index.name, Some(mapping))
        .await;
    let mut sink = sink(&support::elasticsearch(), &index.name);
    let said = sink.check().await.unwrap();
    let day = format!("index `{}` gets field `day`", index.name);
    assert!(said.contains(&day), "{said:?}");
    assert_eq!(sink.check().await.unwrap(), said, "a check adds nothing");
    sink.prepare().await.unwrap();
    assert!(sink.check().await.unwrap().is_empty());
    let output = epoch(1, vec![batch_from(0, &[row("a", 1)])]);
    assert_eq!(write(&mut sink, &output).await, []);
    assert_eq!(index.server.count(&index.name).await, 1);
    index.remove().await;
}

#[tokio::test]
async fn a_write_block_is_waited_for() {
    let index = Index::new();
    let mut sink = index.sink().await;
    let output = epoch(1, vec![batch_from(0, &[row("a", 1), row("b", 2)])]);
    let block = format!("{}/_block/write", index.name);
    index.server.ok(Method::Put, &block, None).await;

    // Dropping a write that waits is harmless.
    let first = tokio::time::timeout(Duration::from_millis(300), sink.write(&output)).await;
    assert!(first.is_err(), "the block held nothing up");

    let second = tokio::spawn(async move { write(&mut sink, &output).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!second.is_finished(), "the block held nothing up");
    let settings = json!({ "index.blocks.write": null });
    let path = format!("{}/_settings", index.name);
    index.server.ok(Method::Put, &path, Some(settings)).await;
    assert_eq!(second.await.unwrap(), []);
    let expected = [document("a", 1, 1), document("b", 1, 2)];
    assert_eq!(index.documents().await, expected);
    index.remove().await;
}

#[tokio::test]
async fn an_index_that_was_deleted_comes_back_from_its_template() {
    let index = Index::new();
    let mut sink = index.sink().await;
    index.server.ok(Method::Delete, &index.name, None).await;
    write(&mut sink, &epoch(1, vec![batch_from(0, &[row("a", 1)])])).await;
    sink.prepare().await.unwrap();
    assert_eq!(index.documents().await, [document("a", 1, 1)]);
    index.remove().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let error = sink("http://127.0.0.1:9", "sales")
        .prepare()
        .await
        .unwrap_err();
    assert!(matches!(error, SinkError::Unavailable { .. }), "{error}");
}

// ---- scripted faults ----

fn three_rows() -> Vec<OutputBatch> {
    vec![batch_from(0, &[row("a", 1), row("b", 2), row("c", 3)])]
}

fn stored() -> Answer {
    Answer::Json(200, json!({ "errors": false }).to_string())
}

/// One item for each of these results: a status, and the type of the error where it is one.
fn items(results: &[(u16, &str)]) -> Answer {
    let items: Vec<Value> = results
        .iter()
        .map(|(status, ty)| match *ty {
            "" => json!({ "index": { "status": status } }),
            ty => json!({ "index": { "status": status, "error": { "type": ty, "reason": "r" } } }),
        })
        .collect();
    Answer::Json(200, json!({ "errors": true, "items": items }).to_string())
}

/// The `_id`s in a bulk request.
fn ids(request: &Request) -> Vec<String> {
    let actions = request.body.lines().step_by(2);
    actions
        .map(|line| {
            let action: Value = serde_json::from_str(line).unwrap();
            action["index"]["_id"].as_str().unwrap().to_owned()
        })
        .collect()
}

/// Writes three rows to a server that gives these answers, the last one for ever.
async fn against(answers: Vec<Answer>) -> (Result<Vec<DeadLetter>, SinkError>, Vec<Request>) {
    let mut answers = answers.into_iter().peekable();
    let server = ScriptedHttp::start(move |request| {
        if asks_for_mapping(request) {
            return no_index();
        }
        let answer = answers.next().expect("the last one is kept");
        if answers.peek().is_none() {
            answers = vec![answer.clone()].into_iter().peekable();
        }
        answer
    })
    .await;
    let mut sink = sink(&server.url(), "sales");
    let written = sink.write(&epoch(1, three_rows())).await;
    let mut requests = server.requests();
    requests.retain(|request| !asks_for_mapping(request));
    (written.map(|durable| durable.refused), requests)
}

/// Asked after documents were refused, in case that the index is another one by now.
fn asks_for_mapping(request: &Request) -> bool {
    request.target.ends_with("/_mapping")
}

fn no_index() -> Answer {
    let error = json!({ "error": { "type": "index_not_found_exception" } });
    Answer::Json(404, error.to_string())
}

#[tokio::test]
async fn only_the_documents_that_were_turned_away_are_sent_again() {
    let busy = "es_rejected_execution_exception";
    let (refused, requests) = against(vec![
        items(&[
            (201, ""),
            (429, busy),
            (503, "unavailable_shards_exception"),
        ]),
        items(&[(429, busy), (400, "document_parsing_exception")]),
        stored(),
    ])
    .await;
    let sent: Vec<_> = requests.iter().map(ids).collect();
    assert_eq!(sent, [vec!["a", "b", "c"], vec!["b", "c"], vec!["b"]]);
    let refused = refused.unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].origin, origin(2));
    assert_eq!(refused[0].reason, "document_parsing_exception: r");
    assert_eq!(
        refused[0].value.as_deref(),
        Some(&br#"{"id":"c","count":3}"#[..])
    );
}

#[tokio::test]
async fn a_request_that_found_no_answer_is_sent_again_whole() {
    let (refused, requests) = against(vec![
        Answer::Json(429, "{}".into()),
        Answer::HangUp,
        Answer::Json(502, "<html>".into()),
        Answer::Json(200, "<html>".into()),
        Answer::Slow(Duration::from_millis(50), 503, String::new()),
        stored(),
    ])
    .await;
    assert_eq!(refused.unwrap(), []);
    assert!(requests.len() >= 6, "{}", requests.len());
    for request in &requests {
        assert_eq!(ids(request), ["a", "b", "c"]);
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_halved_down_to_the_one_document() {
    let server = ScriptedHttp::start(|request| {
        if asks_for_mapping(request) {
            no_index()
        } else if request.body.contains("\"b\"") {
            Answer::Json(413, String::new())
        } else {
            stored()
        }
    })
    .await;
    let mut sink = sink(&server.url(), "sales");
    let refused = write(&mut sink, &epoch(1, three_rows())).await;
    let mut requests = server.requests();
    requests.retain(|request| !asks_for_mapping(request));
    let sent: Vec<_> = requests.iter().map(ids).collect();
    assert_eq!(
        sent,
        [
            vec!["a", "b", "c"],
            vec!["a"],
            vec!["b", "c"],
            vec!["b"],
            vec!["c"]
        ]
    );
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].origin, origin(1));
}

#[tokio::test]
async fn what_would_befall_every_document_stops_the_pipeline() {
    let security = json!({ "error": { "type": "security_exception", "reason": "no" } });
    for answer in [
        Answer::Json(401, security.to_string()),
        Answer::Json(403, security.to_string()),
        items(&[(201, ""), (403, "security_exception"), (201, "")]),
        items(&[(404, "index_not_found_exception"); 3]),
    ] {
        let (written, requests) = against(vec![answer.clone()]).await;
        let error = written.unwrap_err();
        assert!(
            matches!(error, SinkError::Permanent(_)),
            "{answer:?}: {error}"
        );
        assert_eq!(requests.len(), 1, "{answer:?}");
    }
}

#[tokio::test]
async fn another_server_is_not_taken_for_one_that_lacks_the_index() {
    let server = ScriptedHttp::start(|_| Answer::Json(404, "not found".into())).await;
    let error = sink(&server.url(), "sales").check().await.unwrap_err();
    assert!(matches!(error, SinkError::Permanent(_)), "{error}");
    assert!(error.to_string().contains("status 404"), "{error}");
    let targets = server.requests().into_iter().map(|request| request.target);
    assert_eq!(targets.collect::<Vec<_>>(), ["GET /sales/_mapping"]);
}

#[tokio::test]
async fn user_and_password_go_into_the_header_and_nowhere_else() {
    let server = ScriptedHttp::start(|_| Answer::Json(401, "{}".into())).await;
    let url = server.url().replace("http://", "http://us%40er:ge%3Aheim@");
    let error = sink(&url, "sales").prepare().await.unwrap_err();
    assert!(!error.to_string().contains("heim"), "{error}");
    let request = &server.requests()[0];
    // us@er:ge:heim
    assert!(
        request
            .headers
            .contains("authorization: basic dxnazxi6z2u6agvpbq=="),
        "{}",
        request.headers
    );
    assert!(!request.target.contains("heim"));
}
