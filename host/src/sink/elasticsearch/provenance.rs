//! Which epoch wrote a document: its version is that epoch.

use serde::Deserialize;

use super::client::Reply;
use super::{ElasticsearchSink, encoded};
use crate::epoch::EpochId;
use crate::sink::SinkError;

/// The answer to a question for one document.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Document {
    found: bool,
    #[serde(rename = "_version")]
    version: Option<u64>,
}

impl ElasticsearchSink {
    /// The epoch that wrote the document of this `_id` last; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`SinkError`], also when there is no such index.
    pub async fn written_by(&self, index: &str, id: &str) -> Result<Option<EpochId>, SinkError> {
        let path = format!("{}/_doc/{}?_source=false", encoded(index), encoded(id));
        let reply = self.client.get(&path).await;
        // Without an index the answer is an error, which says nothing of a document.
        if let Ok(Reply { status: 404, body }) = &reply
            && serde_json::from_slice::<Document>(body).is_ok()
        {
            return Ok(None);
        }
        let body = self.accepted(reply, &format!("look up a document of `{index}`"))?;
        let unreadable = |error: serde_json::Error| {
            let reason = format!("the answer is not Elasticsearch's: {error}");
            self.client.unavailable(reason)
        };
        let document: Document = serde_json::from_slice(&body).map_err(unreadable)?;
        Ok(document.version.filter(|_| document.found).map(EpochId))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_is_not_there_is_told_from_an_index_that_is_not() {
        let parse = |text: &str| serde_json::from_str::<Document>(text).ok();
        let missing = parse(r#"{"_index":"a","_id":"x","found":false}"#);
        assert_eq!(missing.map(|document| document.found), Some(false));
        let there = parse(r#"{"_index":"a","_id":"x","_version":7,"found":true}"#);
        assert_eq!(there.and_then(|document| document.version), Some(7));
        let no_index = r#"{"error":{"type":"index_not_found_exception"},"status":404}"#;
        assert_eq!(parse(no_index), None);
    }
}
