//! Places for checkpoints, each opened as a host does and past that, and what is written there.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::types::Decimal64Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int64Array,
    PrimitiveArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use chrono::DateTime;
use futures_util::StreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt};
use tempfile::TempDir;
use wasmill::checkpoint::{CheckpointStore, FileName, FileRef, Manifest};
use wasmill::config::{CheckpointLocation, S3Credentials, S3Location, Secret};
use wasmill::deployment::Version;
use wasmill::epoch::EpochId;
use wasmill::record::{Partition, Positions};

use crate::support::{self, unique};

/// A place for checkpoints that nobody else uses.
pub(super) struct Place {
    /// opens it as a host does
    pub(super) open: Box<dyn Fn(&str) -> CheckpointStore>,
    /// the same, past the store
    pub(super) raw: Arc<dyn ObjectStore>,
    pub(super) prefix: String,
    pub(super) folder: Option<TempDir>,
}

impl Place {
    pub(super) fn folder() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let raw = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        let path = folder.path().to_owned();
        let location = CheckpointLocation::File { path };
        Self {
            open: Box::new(move |life| CheckpointStore::open(&location, "shop", life).unwrap()),
            raw: Arc::new(raw),
            prefix: String::new(),
            folder: Some(folder),
        }
    }

    pub(super) fn memory() -> Self {
        let raw: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let store = Arc::clone(&raw);
        Self {
            open: Box::new(move |life| {
                CheckpointStore::over(Arc::clone(&store), "a/b", "shop", life)
            }),
            raw,
            prefix: "a/b/".to_owned(),
            folder: None,
        }
    }

    pub(super) fn s3() -> Self {
        let location = s3_location();
        let prefix = format!("{}/", location.prefix);
        let raw = bucket(&location);
        let location = CheckpointLocation::S3(location);
        Self {
            open: Box::new(move |life| CheckpointStore::open(&location, "shop", life).unwrap()),
            raw: Arc::new(raw),
            prefix,
            folder: None,
        }
    }

    pub(super) fn store(&self) -> CheckpointStore {
        (self.open)("1f")
    }

    pub(super) fn path(&self, name: &str) -> Path {
        Path::from(format!("{}shop/1f/{name}", self.prefix))
    }
}

/// The bucket itself, past the store.
fn bucket(location: &S3Location) -> impl ObjectStore {
    // Opening one installs what TLS needs.
    let opened = CheckpointLocation::S3(location.clone());
    drop(CheckpointStore::open(&opened, "shop", "x").unwrap());
    let credentials = location.credentials.clone().unwrap();
    AmazonS3Builder::new()
        .with_endpoint(location.endpoint.clone().unwrap())
        .with_bucket_name(&location.bucket)
        .with_region("us-east-1")
        .with_access_key_id(credentials.access_key_id.reveal())
        .with_secret_access_key(credentials.secret_access_key.reveal())
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .build()
        .unwrap()
}

/// Leaves nothing below the prefix.
pub(crate) async fn delete_all(location: &S3Location) {
    let bucket = bucket(location);
    let prefix = Path::from(location.prefix.as_str());
    let found = bucket.list(Some(&prefix)).collect::<Vec<_>>().await;
    for object in found {
        bucket.delete(&object.unwrap().location).await.unwrap();
    }
}

/// The server of the tests, below a prefix that nobody else uses.
pub(crate) fn s3_location() -> S3Location {
    let url = support::s3();
    let url = reqwest::Url::parse(&url).unwrap();
    let host = url.host_str().unwrap();
    let port = url.port().unwrap();
    S3Location {
        bucket: url.path().trim_matches('/').to_owned(),
        prefix: unique("it"),
        endpoint: Some(format!("http://{host}:{port}")),
        region: "us-east-1".to_owned(),
        credentials: Some(S3Credentials {
            access_key_id: Secret::new(url.username().to_owned()),
            secret_access_key: Secret::new(url.password().unwrap().to_owned()),
            session_token: None,
        }),
    }
}

pub(super) fn batch(first: i64, rows: usize) -> RecordBatch {
    let numbers = || (first..).take(rows);
    let hash = |n: i64| i128::from(n).to_le_bytes();
    let hashes = numbers().map(hash).collect::<Vec<_>>();
    let hashes =
        FixedSizeBinaryArray::try_from_iter(hashes.iter()).map(|a| Arc::new(a) as ArrayRef);
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from_iter_values(numbers()))),
        (
            "name",
            Arc::new(
                numbers()
                    .map(|n| (n % 3 > 0).then(|| format!("é{n}")))
                    .collect::<StringArray>(),
            ),
        ),
        (
            "raw",
            Arc::new(BinaryArray::from_iter_values(
                numbers().map(i64::to_be_bytes),
            )),
        ),
        (
            "ok",
            Arc::new(
                numbers()
                    .map(|n| Some(n % 2 == 0))
                    .collect::<BooleanArray>(),
            ),
        ),
        (
            "rate",
            Arc::new(
                numbers()
                    .map(|n| Some(n as f64 / 7.0))
                    .collect::<Float64Array>(),
            ),
        ),
        (
            "total",
            Arc::new(
                PrimitiveArray::<Decimal64Type>::from_iter_values(numbers())
                    .with_precision_and_scale(18, 2)
                    .unwrap(),
            ),
        ),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from_iter_values(numbers()).with_timezone("UTC")),
        ),
    ];
    if let Ok(hashes) = hashes {
        columns.push(("hash", hashes));
    }
    RecordBatch::try_from_iter(columns).unwrap()
}

pub(super) async fn table(store: &CheckpointStore, epoch: u64, generation: u64) -> FileRef {
    let name = FileName::table("daily", EpochId(epoch), generation);
    store
        .write(&name, &batch(epoch.cast_signed(), 3))
        .await
        .unwrap()
}

pub(super) fn manifest(epoch: u64, generation: u64, files: &[&FileRef]) -> Manifest {
    let files = files.iter().map(|file| (*file).clone()).collect();
    Manifest {
        epoch: EpochId(epoch),
        generation,
        written_at: DateTime::UNIX_EPOCH,
        positions: Positions::from_iter([(Partition(0), 7), (Partition(11), -1)]),
        version: Version(3),
        tables: BTreeMap::from([("daily".to_owned(), files)]),
        seen: BTreeMap::new(),
    }
}
