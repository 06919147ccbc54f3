//! What Elasticsearch made of a bulk request, and what follows from it for each document.
//!
//! Every item's result is read. `errors: false` is the server's word that each was stored; only
//! otherwise are the items parsed at all.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// What a bulk answer is asked to contain: nothing that is not read here.
pub(super) const FILTER: &str = "errors,items.*.status,items.*.error.type,items.*.error.reason,\
                                 items.*.error.caused_by.reason";

/// Elasticsearch quotes the value that it refuses, however long that is; messages stop here.
const REASON_CHARACTERS_MAX: usize = 500;

/// What an answer means for the request as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Every document is stored.
    Stored,
    /// What became of each document, in order.
    Items(Vec<Outcome>),
    /// The server could not deal with the request now.
    Busy(String),
    /// The request has more bytes than the server takes.
    TooLarge,
    /// Sending it again would fail the same way.
    Stop(String),
}

/// What became of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is stored, now or already before.
    Stored,
    /// It can be tried again, for this reason.
    Again(String),
    /// It will never be stored, for this reason.
    Refused(String),
    /// No document would be stored, for this reason.
    Stop(String),
}

#[derive(Deserialize)]
struct Summary {
    errors: bool,
    #[serde(default, rename = "items")]
    _items: IgnoredAny,
}

#[derive(Deserialize)]
struct Bulk<'a> {
    #[serde(borrow)]
    items: Vec<Action<'a>>,
}

#[derive(Deserialize)]
struct Action<'a> {
    #[serde(borrow)]
    index: Item<'a>,
}

#[derive(Deserialize)]
struct Item<'a> {
    status: u16,
    #[serde(borrow)]
    error: Option<Failure<'a>>,
}

/// Elasticsearch's description of a failure.
#[derive(Deserialize, Default)]
struct Failure<'a> {
    #[serde(borrow, default, rename = "type")]
    ty: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    caused_by: Option<Cause<'a>>,
}

#[derive(Deserialize)]
struct Cause<'a> {
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
}

impl Failure<'_> {
    fn describe(&self) -> String {
        let mut text = if self.ty.is_empty() {
            "no reason was given".to_owned()
        } else {
            self.ty.clone().into_owned()
        };
        let cause = self.caused_by.as_ref().and_then(|c| c.reason.as_deref());
        for reason in [self.reason.as_deref(), cause].into_iter().flatten() {
            text.push_str(": ");
            text.push_str(reason);
        }
        if let Some((end, _)) = text.char_indices().nth(REASON_CHARACTERS_MAX) {
            text.truncate(end);
            text.push('…');
        }
        text
    }
}

/// An answer that is an error as a whole: its type and its description.
fn whole_failure(status: u16, body: &[u8]) -> (String, String) {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        error: Failure<'a>,
    }
    match serde_json::from_slice::<Envelope<'_>>(body) {
        Ok(Envelope { error }) => {
            let description = format!("status {status}: {}", error.describe());
            (error.ty.into_owned(), description)
        }
        Err(_) => (String::new(), format!("status {status}")),
    }
}

/// What went wrong, for a person, from an answer that is an error.
pub(super) fn describe(status: u16, body: &[u8]) -> String {
    whole_failure(status, body).1
}

/// What to do about it, where Elasticsearch's own words do not say it.
pub(super) fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            "; see user and password in `url`, and that this user may create and fill the index"
        }
        404 => "; see that `url` leads to Elasticsearch, and that it may create indices",
        _ => "",
    }
}

/// Whether a request that got this answer is worth sending again.
pub(super) fn is_busy(status: u16, body: &[u8]) -> bool {
    matches!(
        classify(status, &whole_failure(status, body).0),
        Class::Again
    )
}

/// Judges the answer to a bulk request of so many documents.
pub(super) fn judge(status: u16, body: &[u8], documents: usize) -> Verdict {
    match status {
        200..=299 => judge_items(body, documents),
        413 => Verdict::TooLarge,
        _ if is_busy(status, body) => Verdict::Busy(describe(status, body)),
        _ => Verdict::Stop(describe(status, body) + advice(status)),
    }
}

fn judge_items(body: &[u8], documents: usize) -> Verdict {
    let unreadable =
        |error: String| Verdict::Busy(format!("the answer is not Elasticsearch's: {error}"));
    match serde_json::from_slice::<Summary>(body) {
        Ok(Summary { errors: false, .. }) => return Verdict::Stored,
        Ok(Summary { errors: true, .. }) => {}
        Err(error) => return unreadable(error.to_string()),
    }
    let items = match serde_json::from_slice::<Bulk<'_>>(body) {
        Ok(Bulk { items }) => items,
        Err(error) => return unreadable(error.to_string()),
    };
    if items.len() != documents {
        return unreadable(format!("{} results for {documents} documents", items.len()));
    }
    Verdict::Items(items.iter().map(|action| outcome(&action.index)).collect())
}

fn outcome(item: &Item<'_>) -> Outcome {
    let none = Failure::default();
    let failure = item.error.as_ref().unwrap_or(&none);
    match classify(item.status, &failure.ty) {
        Class::Stored => Outcome::Stored,
        Class::Again => Outcome::Again(failure.describe()),
        Class::Refused => Outcome::Refused(failure.describe()),
        Class::Stop => Outcome::Stop(failure.describe() + advice(item.status)),
    }
}

enum Class {
    Stored,
    Again,
    Refused,
    Stop,
}

/// The meaning of a status and, where one status stands for several, of the error's type.
fn classify(status: u16, error_type: &str) -> Class {
    match (status, error_type) {
        // 409: this version or a later one of the document is there already.
        (200..=299 | 409, _) => Class::Stored,
        // The last two: a person or the disk's flood stage has blocked the index, or closed it.
        (408 | 429 | 500..=599, _)
        | (403, "cluster_block_exception")
        | (400, "index_closed_exception") => Class::Again,
        // Every document would be refused like this one: no matter for the dead letters.
        (401 | 403, _) | (404, "index_not_found_exception") => Class::Stop,
        _ => Class::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(list: &str) -> Verdict {
        let count = list.matches("\"index\"").count();
        let body = format!("{{\"errors\":true,\"items\":[{list}]}}");
        judge(200, body.as_bytes(), count)
    }

    fn item(status: u16, ty: &str) -> Outcome {
        let item = format!(
            "{{\"index\":{{\"status\":{status},\"error\":{{\"type\":\"{ty}\",\"reason\":\"r\"}}}}}}"
        );
        match items(&item) {
            Verdict::Items(outcomes) => outcomes[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_errors_everything_is_stored() {
        let body = br#"{"errors":false,"items":[{"index":{"status":201}}]}"#;
        assert_eq!(judge(200, body, 1), Verdict::Stored);
    }

    #[test]
    fn each_document_has_its_own_outcome() {
        let verdict = items(
            r#"{"index":{"status":201}},
               {"index":{"status":409,"error":{"type":"version_conflict_engine_exception"}}},
               {"index":{"status":400,"error":{"type":"document_parsing_exception","reason":"[1:9] failed to parse field [x]","caused_by":{"reason":"got [NaN]\n"}}}},
               {"index":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"full"}}}"#,
        );
        assert_eq!(
            verdict,
            Verdict::Items(vec![
                Outcome::Stored,
                Outcome::Stored,
                Outcome::Refused(
                    "document_parsing_exception: [1:9] failed to parse field [x]: got [NaN]\n"
                        .into()
                ),
                Outcome::Again("es_rejected_execution_exception: full".into()),
            ])
        );
    }

    #[test]
    fn what_passes_by_itself_is_tried_again() {
        let again = |ty: &str| Outcome::Again(format!("{ty}: r"));
        for (status, ty) in [
            (429, "es_rejected_execution_exception"),
            (503, "unavailable_shards_exception"),
            (500, "x"),
            (403, "cluster_block_exception"),
            (400, "index_closed_exception"),
        ] {
            assert_eq!(item(status, ty), again(ty), "{status}");
        }
    }

    #[test]
    fn what_would_befall_every_document_stops_the_sink() {
        let stop = |status, ty: &str| Outcome::Stop(format!("{ty}: r{}", advice(status)));
        for (status, ty) in [
            (403, "security_exception"),
            (401, "x"),
            (404, "index_not_found_exception"),
        ] {
            assert_eq!(item(status, ty), stop(status, ty), "{status}");
        }
    }

    #[test]
    fn a_failure_without_a_description_is_still_read() {
        assert_eq!(
            items(r#"{"index":{"status":400}}"#),
            Verdict::Items(vec![Outcome::Refused("no reason was given".into())])
        );
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let reason = "é".repeat(40_000);
        let body = format!("{{\"error\":{{\"type\":\"x\",\"reason\":\"{reason}\"}}}}");
        let text = describe(400, body.as_bytes());
        assert!(text.ends_with("é…"), "{text}");
        assert!(text.chars().count() < REASON_CHARACTERS_MAX + 30);
    }

    #[test]
    fn an_answer_for_another_number_of_documents_is_not_believed() {
        let body = br#"{"errors":true,"items":[{"index":{"status":201}}]}"#;
        assert!(matches!(judge(200, body, 2), Verdict::Busy(_)));
    }

    #[test]
    fn an_answer_that_is_not_json_is_tried_again() {
        assert!(matches!(judge(200, b"<html>", 1), Verdict::Busy(_)));
        assert_eq!(judge(502, b"<html>", 1), Verdict::Busy("status 502".into()));
    }

    #[test]
    fn whole_requests_are_busy_too_large_or_refused() {
        let body =
            br#"{"error":{"type":"es_rejected_execution_exception","reason":"r"},"status":429}"#;
        assert_eq!(
            judge(429, body, 1),
            Verdict::Busy("status 429: es_rejected_execution_exception: r".into())
        );
        assert_eq!(judge(413, b"", 1), Verdict::TooLarge);
        let body = br#"{"error":{"type":"security_exception","reason":"r"},"status":401}"#;
        let Verdict::Stop(reason) = judge(401, body, 1) else {
            panic!("nobody lets us in")
        };
        let said = "status 401: security_exception: r; see user and password";
        assert!(reason.starts_with(said), "{reason}");
        let body = br#"{"error":{"type":"cluster_block_exception","reason":"r"},"status":403}"#;
        assert!(matches!(judge(403, body, 1), Verdict::Busy(_)));
        assert!(matches!(judge(400, b"{}", 1), Verdict::Stop(_)));
    }
}
