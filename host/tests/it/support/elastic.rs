//! The Elasticsearch of the tests, seen by another client than the one under test: plain requests.

use std::collections::BTreeMap;

use elasticsearch::http::headers::HeaderMap;
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use elasticsearch::http::{Method, Url};
use sonic_rs::{JsonValueTrait, LazyValue};

/// More documents than any test writes.
const DOCUMENTS_MAX: usize = 10_000;

pub(crate) struct Elastic {
    transport: Transport,
}

impl Elastic {
    pub(crate) fn new(url: &str) -> Self {
        let pool = SingleNodeConnectionPool::new(Url::parse(url).unwrap());
        let transport = TransportBuilder::new(pool).disable_proxy().build().unwrap();
        Self { transport }
    }

    /// Status and body of the answer.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> (u16, String) {
        let body = body.map(|body| body.to_string());
        let answer = self
            .transport
            .send(method, path, HeaderMap::new(), None::<&()>, body, None)
            .await
            .unwrap();
        let status = answer.status_code().as_u16();
        (status, answer.text().await.unwrap())
    }

    /// The body of an answer that has to be a success.
    pub(crate) async fn ok(
        &self,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> String {
        let (status, text) = self.request(method, path, body).await;
        assert!((200..300).contains(&status), "{status}: {text}");
        text
    }

    /// By `_id`, the version and the source text of every document of an index.
    pub(crate) async fn documents(&self, index: &str) -> BTreeMap<String, (u64, String)> {
        self.ok(Method::Post, &format!("{index}/_refresh"), None)
            .await;
        let path = format!("{index}/_search?version=true&size={DOCUMENTS_MAX}");
        let answer = self.ok(Method::Get, &path, None).await;
        let hits = sonic_rs::get(&answer, ["hits", "hits"]).unwrap();
        hits.into_array_iter()
            .unwrap()
            .map(|hit| document(&hit.unwrap()))
            .collect()
    }

    /// How many documents an index has.
    pub(crate) async fn count(&self, index: &str) -> u64 {
        self.ok(Method::Post, &format!("{index}/_refresh"), None)
            .await;
        let answer = self.ok(Method::Get, &format!("{index}/_count"), None).await;
        sonic_rs::get(&answer, ["count"]).unwrap().as_u64().unwrap()
    }

    /// Removes an index and its template.
    pub(crate) async fn remove(&self, index: &str) {
        let template = format!("_index_template/wasmill-{index}");
        for path in [index, template.as_str()] {
            let (status, text) = self.request(Method::Delete, path, None).await;
            assert!(status == 200 || status == 404, "{status}: {text}");
        }
    }
}

fn document(hit: &LazyValue<'_>) -> (String, (u64, String)) {
    let id = hit.get("_id").unwrap().as_str().unwrap().to_owned();
    let version = hit.get("_version").unwrap().as_u64().unwrap();
    let source = hit.get("_source").unwrap().as_raw_str().to_owned();
    (id, (version, source))
}
