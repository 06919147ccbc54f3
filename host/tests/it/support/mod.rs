//! Handles on the servers and the built artefacts that the tests use.

pub(crate) mod binary;
pub(crate) mod broker;
pub(crate) mod elastic;
pub(crate) mod exposition;
pub(crate) mod http;
pub(crate) mod job;
pub(crate) mod kafka;
pub(crate) mod outcome;
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod rows;
pub(crate) mod running;
pub(crate) mod scripted_http;
pub(crate) mod truth;

use std::path::PathBuf;

/// A setting that `cargo xtask test` hands to the tests.
///
/// # Panics
///
/// When it is not set: these tests have nothing to run against then.
pub(crate) fn required(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!(
            "{variable} is not set: run `cargo xtask test`, or `cargo xtask services up` and set it"
        )
    })
}

/// `host:port` of Kafka.
pub(crate) fn kafka() -> String {
    required("WASMILL_TEST_KAFKA")
}

/// A `postgres://` URL.
pub(crate) fn postgres() -> String {
    required("WASMILL_TEST_POSTGRES")
}

/// An `http://` URL.
pub(crate) fn elasticsearch() -> String {
    required("WASMILL_TEST_ELASTICSEARCH")
}

/// `http://KEY:SECRET@HOST:PORT/BUCKET` of a server that speaks S3.
pub(crate) fn s3() -> String {
    required("WASMILL_TEST_S3")
}

/// A component that `cargo xtask guests` built.
pub(crate) fn guest(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../target/guests")
        .join(format!("{name}.wasm"));
    assert!(
        path.exists(),
        "{} is missing: run `cargo xtask guests`",
        path.display()
    );
    path
}

/// A name that no other test uses, for topics, databases and indices.
pub(crate) fn unique(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}_{}_{count}", std::process::id())
}
