//! Elasticsearch refuses, for a while, in the ways that it has.

use elasticsearch::http::Method;
use serde_json::json;

use super::{Sales, elastic};
use crate::support::proxy::Cut;

/// An answer of Elasticsearch's, whole, as it goes over the connection.
pub(super) fn answer(status: u16, error: &str) -> Vec<u8> {
    let body = json!({ "status": status, "error": { "type": error, "reason": "as told" } });
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_pass_are_waited_for() {
    let mut sales = Sales::new(|text| text).await;
    sales.more(600);
    let run = sales.start();
    sales.catches_up();
    let index = sales.job.index.clone();
    let search = elastic();

    // By a person, or by the server itself once the disk is nearly full.
    let block = |on: bool| {
        let settings = json!({ "index.blocks.write": on });
        let path = format!("{index}/_settings");
        let search = elastic();
        async move { search.ok(Method::Put, &path, Some(settings)).await }
    };
    block(true).await;
    let mend = async |_: &Sales| drop(block(false).await);
    sales
        .survives("search", "cluster_block_exception", mend)
        .await;

    search
        .ok(Method::Post, &format!("{index}/_close"), None)
        .await;
    let open = format!("{index}/_open");
    let mend = async |_: &Sales| drop(search.ok(Method::Post, &open, None).await);
    sales
        .survives("search", "index_closed_exception", mend)
        .await;

    for (status, error) in [
        (429, "es_rejected_execution_exception"),
        (503, "cluster_manager_not_discovered_exception"),
    ] {
        sales.search.answer(&answer(status, error));
        sales.search.cut(Cut::Fin);
        let words = format!("status {status}: {error}");
        let mend = async |sales: &Sales| sales.search.accept();
        sales.survives("search", &words, mend).await;
    }
    sales.ends_well(run).await;
}
