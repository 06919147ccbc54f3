//! Elasticsearch alone: bodies of `_bulk` that were rendered before, two connections. No client that stores these
//! documents one epoch after the other can be faster.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::Connection;
use crate::measured::{Measured, Ready};

/// Documents in a request: half an epoch of the shipped size, as the host has two connections too.
const DOCUMENTS: usize = 5_000;
/// Documents that are read in one request.
const PAGE: usize = 10_000;
const CONNECTIONS: usize = 2;

/// A page of documents, as Elasticsearch has them.
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(rename = "_scroll_id")]
    scroll: String,
    #[serde(borrow)]
    hits: Hits<'a>,
}

#[derive(Deserialize)]
struct Hits<'a> {
    #[serde(borrow)]
    hits: Vec<Hit<'a>>,
}

#[derive(Deserialize)]
struct Hit<'a> {
    #[serde(borrow, rename = "_id")]
    id: &'a RawValue,
    #[serde(borrow, rename = "_source")]
    source: &'a RawValue,
}

/// Writes every document of the index into a file, as two lines of a bulk each. Returns how many.
pub(crate) fn save(url: &str, index: &str, file: &Path) -> anyhow::Result<usize> {
    let mut connection = Connection::open(url)?;
    connection.send("POST", &format!("/{index}/_refresh"), b"")?;
    let mut output = BufWriter::new(File::create(file)?);
    let mut saved = 0;
    let first = format!(r#"{{"size":{PAGE},"sort":["_doc"]}}"#);
    let path = format!("/{index}/_search?scroll=2m");
    let mut answer = connection.send("POST", &path, first.as_bytes())?;
    loop {
        let page: Page<'_> = serde_json::from_slice(&answer).context("this is no page")?;
        if page.hits.hits.is_empty() {
            break;
        }
        for hit in &page.hits.hits {
            // Versions are those of a first epoch: what is stored anew has none before.
            write!(
                output,
                "{{\"index\":{{\"version_type\":\"external\",\"version\":1,\"_id\":{}}}}}\n{}\n",
                hit.id, hit.source
            )?;
        }
        saved += page.hits.hits.len();
        let next = serde_json::json!({"scroll": "2m", "scroll_id": page.scroll}).to_string();
        answer = connection.send("POST", "/_search/scroll", next.as_bytes())?;
    }
    output.flush()?;
    Ok(saved)
}

/// Stores the documents of such a file in an index.
pub(crate) fn store(
    url: &str,
    index: &str,
    file: &Path,
    began: Instant,
) -> anyhow::Result<Measured> {
    let (bodies, documents) = bodies(file)?;
    let ready = Ready::now(began);
    let started = Instant::now();
    let path = format!("/{index}/_bulk?filter_path=errors");
    std::thread::scope(|scope| {
        let lanes = (0..CONNECTIONS).map(|lane| {
            let (path, bodies) = (&path, &bodies);
            scope.spawn(move || {
                let mut connection = Connection::open(url)?;
                for body in bodies.iter().skip(lane).step_by(CONNECTIONS) {
                    let answer = connection.send("POST", path, body)?;
                    ensure!(
                        answer == br#"{"errors":false}"#,
                        "a document was refused: {}",
                        String::from_utf8_lossy(&answer)
                    );
                }
                Ok(())
            })
        });
        let lanes: Vec<_> = lanes.collect();
        lanes.into_iter().try_for_each(|lane| match lane.join() {
            Ok(sent) => sent,
            Err(_) => bail!("a connection panicked"),
        })
    })?;
    Ok(ready.measured(
        documents,
        started.elapsed(),
        std::collections::BTreeMap::new(),
    ))
}

/// The bodies of requests, and how many documents they have together.
fn bodies(file: &Path) -> anyhow::Result<(Vec<Vec<u8>>, u64)> {
    let input = File::open(file).with_context(|| format!("failed to open {}", file.display()))?;
    let (mut bodies, mut documents) = (Vec::new(), 0);
    let mut lines = BufReader::new(input);
    loop {
        let mut body = Vec::new();
        for _ in 0..DOCUMENTS {
            if lines.read_until(b'\n', &mut body)? == 0 {
                break;
            }
            lines.read_until(b'\n', &mut body)?;
            documents += 1;
        }
        if body.is_empty() {
            return Ok((bodies, documents));
        }
        bodies.push(body);
    }
}
