//! What every checkpoint store has to keep, run on a folder, on memory and on a server of S3; and what
//! each of them alone can get wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::types::Decimal64Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int64Array,
    PrimitiveArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use chrono::DateTime;
use futures_util::future::join_all;
use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore};
use serde_json::json;
use tempfile::TempDir;
use wasmill::checkpoint::{CheckpointError, CheckpointStore, FileName, FileRef, Manifest};
use wasmill::config::{CheckpointLocation, S3Credentials, S3Location, Secret};
use wasmill::epoch::EpochId;
use wasmill::record::{Partition, Positions};
use wasmill::sink::Remedy;

use crate::support::{self, unique};

/// A place for checkpoints that nobody else uses.
struct Place {
    /// opens it as a host does
    open: Box<dyn Fn(&str) -> CheckpointStore>,
    /// the same, past the store
    raw: Arc<dyn ObjectStore>,
    prefix: String,
    _folder: Option<TempDir>,
}

impl Place {
    fn folder() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let raw = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        let path = folder.path().to_owned();
        let location = CheckpointLocation::File { path };
        Self {
            open: Box::new(move |life| CheckpointStore::open(&location, "shop", life).unwrap()),
            raw: Arc::new(raw),
            prefix: String::new(),
            _folder: Some(folder),
        }
    }

    fn memory() -> Self {
        let raw: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let store = Arc::clone(&raw);
        Self {
            open: Box::new(move |life| {
                CheckpointStore::over(Arc::clone(&store), "a/b", "shop", life)
            }),
            raw,
            prefix: "a/b/".to_owned(),
            _folder: None,
        }
    }

    fn s3() -> Self {
        let location = s3_location();
        let credentials = location.credentials.clone().unwrap();
        let prefix = format!("{}/", location.prefix);
        let endpoint = location.endpoint.clone().unwrap();
        let bucket = location.bucket.clone();
        let location = CheckpointLocation::S3(location);
        // Opening one installs what TLS needs.
        drop(CheckpointStore::open(&location, "shop", "x").unwrap());
        let raw = AmazonS3Builder::new()
            .with_endpoint(endpoint)
            .with_bucket_name(bucket)
            .with_region("us-east-1")
            .with_access_key_id(credentials.access_key_id.reveal())
            .with_secret_access_key(credentials.secret_access_key.reveal())
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .build()
            .unwrap();
        Self {
            open: Box::new(move |life| CheckpointStore::open(&location, "shop", life).unwrap()),
            raw: Arc::new(raw),
            prefix,
            _folder: None,
        }
    }

    fn store(&self) -> CheckpointStore {
        (self.open)("1f")
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}shop/1f/{name}", self.prefix))
    }
}

/// The server of the tests, below a prefix that nobody else uses.
fn s3_location() -> S3Location {
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

fn batch(first: i64, rows: usize) -> RecordBatch {
    let numbers = || (first..).take(rows);
    let hash = |n: i64| i128::from(n).to_le_bytes();
    let hashes = numbers().map(hash).collect::<Vec<_>>();
    let hashes = FixedSizeBinaryArray::try_from_iter(hashes.iter()).map(|a| Arc::new(a) as ArrayRef);
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from_iter_values(numbers()))),
        ("name", Arc::new(numbers().map(|n| (n % 3 > 0).then(|| format!("é{n}"))).collect::<StringArray>())),
        ("raw", Arc::new(BinaryArray::from_iter_values(numbers().map(i64::to_be_bytes)))),
        ("ok", Arc::new(numbers().map(|n| Some(n % 2 == 0)).collect::<BooleanArray>())),
        ("rate", Arc::new(numbers().map(|n| Some(n as f64 / 7.0)).collect::<Float64Array>())),
        ("total", Arc::new(
            PrimitiveArray::<Decimal64Type>::from_iter_values(numbers())
                .with_precision_and_scale(18, 2)
                .unwrap(),
        )),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values(numbers()).with_timezone("UTC"))),
    ];
    if let Ok(hashes) = hashes {
        columns.push(("hash", hashes));
    }
    RecordBatch::try_from_iter(columns).unwrap()
}

async fn table(store: &CheckpointStore, epoch: u64, generation: u64) -> FileRef {
    let name = FileName::table("daily", EpochId(epoch), generation);
    store.write(&name, &batch(epoch.cast_signed(), 3)).await.unwrap()
}

fn manifest(epoch: u64, generation: u64, files: &[&FileRef]) -> Manifest {
    let files = files.iter().map(|file| (*file).clone()).collect();
    Manifest {
        epoch: EpochId(epoch),
        generation,
        written_at: DateTime::UNIX_EPOCH,
        positions: Positions::from_iter([(Partition(0), 7), (Partition(11), -1)]),
        definition: json!({ "aggregates": { "daily": ["a", 1] } }),
        tables: BTreeMap::from([("daily".to_owned(), files)]),
        seen: BTreeMap::new(),
    }
}

fn is_damaged<T: std::fmt::Debug>(result: Result<T, CheckpointError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}");
    assert_eq!(error.remedy(), Remedy::Stop);
}

// ---- every store ----

async fn what_is_written_is_read_back(place: &Place) {
    let store = place.store();
    for (part, rows) in [0, 1, 5_000, 60_000].into_iter().enumerate() {
        let name = FileName::seen(Partition(3), EpochId(1), 1).with_part(part as u32);
        let batch = batch(7, rows);
        let file = store.write(&name, &batch).await.unwrap();
        assert_eq!(file.rows, rows as u64);
        assert_eq!(store.read(&file).await.unwrap(), batch);
        let there = place.raw.head(&place.path(&file.name)).await.unwrap();
        assert_eq!(there.size, file.bytes);
    }
}

async fn nothing_is_there_before_the_first_checkpoint(place: &Place) {
    let store = place.store();
    assert_eq!(store.list().await.unwrap(), []);
    assert_eq!(store.prune(2).await.unwrap(), None);
    assert_eq!(store.sweep(9).await.unwrap(), 0);
    store.set_aside(EpochId(1)).await.unwrap();
    is_damaged(store.manifest(EpochId(1)).await);
}

async fn a_file_is_written_once(place: &Place) {
    let store = place.store();
    let name = FileName::table("daily", EpochId(1), 1);
    let file = store.write(&name, &batch(1, 3)).await.unwrap();
    // The answer did not arrive.
    assert_eq!(store.write(&name, &batch(1, 3)).await.unwrap(), file);
    let error = store.write(&name, &batch(2, 3)).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Stop);
    assert!(error.to_string().contains(&file.name), "{error}");
    assert_eq!(store.read(&file).await.unwrap(), batch(1, 3));
}

async fn a_manifest_is_published_once(place: &Place) {
    let store = place.store();
    let file = table(&store, 1, 1).await;
    let ours = manifest(1, 1, &[&file]);
    store.publish(&ours).await.unwrap();
    let again = Manifest {
        written_at: DateTime::from_timestamp_millis(1).unwrap(),
        ..ours.clone()
    };
    store.publish(&again).await.unwrap();
    for other in [manifest(1, 2, &[&file]), manifest(1, 1, &[])] {
        let error = store.publish(&other).await.unwrap_err();
        let CheckpointError::Conflict { epoch, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(epoch, EpochId(1));
    }
    assert_eq!(store.manifest(EpochId(1)).await.unwrap(), ours);
}

async fn of_hosts_that_publish_at_once_one_wins(place: &Place) {
    for epoch in 1..=5 {
        let hosts = (1..=6).map(|generation| {
            let store = place.store();
            async move {
                let ours = manifest(epoch, generation, &[]);
                // At the very moment a server may say that it does not know yet.
                for _ in 0..10 {
                    match store.publish(&ours).await {
                        Err(error) if error.remedy() == Remedy::Retry => {}
                        done => return (generation, done),
                    }
                }
                panic!("the server never knows");
            }
        });
        let results = join_all(hosts).await;
        let mut winners = results.iter().filter(|(_, done)| done.is_ok());
        let winner = winners.next().expect("one wins").0;
        assert_eq!(winners.count(), 0, "{results:?}");
        let published = place.store().manifest(EpochId(epoch)).await.unwrap();
        assert_eq!(published.generation, winner);
    }
}

async fn checkpoints_are_listed_newest_first(place: &Place) {
    let store = place.store();
    for epoch in [9, 1_000_000_000_000, 10, 11] {
        store.publish(&manifest(epoch, 1, &[])).await.unwrap();
    }
    // What is no manifest is not listed.
    for name in ["12.json", "x", "000000000013.json.tmp"] {
        let path = place.path(&format!("manifests/{name}"));
        place.raw.put(&path, "x".into()).await.unwrap();
    }
    let expected = [1_000_000_000_000, 11, 10, 9].map(EpochId);
    assert_eq!(store.list().await.unwrap(), expected);
}

async fn another_life_has_a_folder_of_its_own(place: &Place) {
    let (one, other) = (place.store(), (place.open)("2a"));
    let file = table(&one, 1, 1).await;
    one.publish(&manifest(1, 1, &[&file])).await.unwrap();
    assert_eq!(other.list().await.unwrap(), []);
    assert_eq!(other.sweep(9).await.unwrap(), 0);
    is_damaged(other.read(&file).await);
    is_damaged(other.manifest(EpochId(1)).await);
    // Not even if somebody moves it there.
    let moved = format!("{}shop/2a/manifests/000000000001.json", place.prefix);
    let manifest = place.path("manifests/000000000001.json");
    place.raw.copy(&manifest, &Path::from(moved)).await.unwrap();
    is_damaged(other.manifest(EpochId(1)).await);
    one.read(&file).await.unwrap();
}

async fn what_is_damaged_is_reported(place: &Place) {
    let store = place.store();
    let file = table(&store, 1, 1).await;
    let ours = manifest(1, 1, &[&file]);
    store.publish(&ours).await.unwrap();
    for name in [file.name.as_str(), "manifests/000000000001.json"] {
        let path = place.path(name);
        let read = || async {
            store.manifest(EpochId(1)).await?;
            store.read(&file).await
        };
        read().await.unwrap();
        let whole = place.raw.get(&path).await.unwrap().bytes().await.unwrap();
        let middle = whole.len() / 2;
        let mut flipped = whole.to_vec();
        flipped[middle] ^= 1;
        let longer = [&whole[..], b"\n"].concat();
        for damaged in [whole[..middle].to_vec(), flipped, longer, Vec::new()] {
            place.raw.put(&path, damaged.into()).await.unwrap();
            is_damaged(read().await);
        }
        place.raw.delete(&path).await.unwrap();
        is_damaged(read().await);
        place.raw.put(&path, whole.into()).await.unwrap();
    }
}

async fn pruning_keeps_the_newest_and_what_they_name(place: &Place) {
    let store = place.store();
    let a = table(&store, 1, 1).await;
    let b = table(&store, 2, 1).await;
    let c = table(&store, 3, 1).await;
    store.publish(&manifest(1, 1, &[&a])).await.unwrap();
    store.publish(&manifest(2, 1, &[&a, &b])).await.unwrap();
    store.publish(&manifest(3, 1, &[&b, &c])).await.unwrap();
    assert_eq!(store.prune(4).await.unwrap(), Some(EpochId(1)));
    assert_eq!(store.prune(2).await.unwrap(), Some(EpochId(2)));
    assert_eq!(store.list().await.unwrap(), [EpochId(3), EpochId(2)]);
    store.read(&a).await.unwrap();
    assert_eq!(store.prune(1).await.unwrap(), Some(EpochId(3)));
    is_damaged(store.read(&a).await);
    for kept in [&b, &c] {
        store.read(kept).await.unwrap();
    }
}

async fn a_damaged_checkpoint_does_not_count_as_kept(place: &Place) {
    let store = place.store();
    for epoch in 1..=4 {
        let file = table(&store, epoch, 1).await;
        store.publish(&manifest(epoch, 1, &[&file])).await.unwrap();
    }
    let damaged = place.path("manifests/000000000003.json");
    place.raw.put(&damaged, "{}".into()).await.unwrap();
    assert_eq!(store.prune(2).await.unwrap(), Some(EpochId(2)));
    assert_eq!(store.list().await.unwrap(), [4, 3, 2].map(EpochId));
    // What a damaged one names is not known.
    let left = table(&store, 9, 1).await;
    assert_eq!(store.sweep(2).await.unwrap(), 0);
    store.read(&left).await.unwrap();
}

async fn sweeping_deletes_what_older_hosts_left(place: &Place) {
    let store = place.store();
    let named = table(&store, 1, 1).await;
    store.publish(&manifest(1, 1, &[&named])).await.unwrap();
    let left = table(&store, 2, 1).await;
    let seen = FileName::seen(Partition(0), EpochId(2), 1);
    let left_seen = store.write(&seen, &batch(0, 2)).await.unwrap();
    let ours = table(&store, 2, 2).await;
    assert_eq!(store.sweep(2).await.unwrap(), 2);
    assert_eq!(store.sweep(2).await.unwrap(), 0);
    is_damaged(store.read(&left).await);
    is_damaged(store.read(&left_seen).await);
    for kept in [&named, &ours] {
        store.read(kept).await.unwrap();
    }
}

async fn a_checkpoint_that_is_set_aside_gives_way(place: &Place) {
    let store = place.store();
    let file = table(&store, 2, 1).await;
    store.publish(&manifest(1, 1, &[])).await.unwrap();
    store.publish(&manifest(2, 1, &[&file])).await.unwrap();
    store.set_aside(EpochId(2)).await.unwrap();
    store.set_aside(EpochId(2)).await.unwrap();
    assert_eq!(store.list().await.unwrap(), [EpochId(1)]);
    // It can be looked at still, and so can what it names.
    assert_eq!(store.sweep(9).await.unwrap(), 0);
    store.read(&file).await.unwrap();
    store.publish(&manifest(2, 2, &[])).await.unwrap();
    store.publish(&manifest(3, 2, &[])).await.unwrap();
    assert_eq!(store.prune(2).await.unwrap(), Some(EpochId(2)));
    store.read(&file).await.unwrap();
    assert_eq!(store.prune(1).await.unwrap(), Some(EpochId(3)));
    is_damaged(store.read(&file).await);
}

async fn any_name_of_an_aggregate_will_do(place: &Place) {
    let store = place.store();
    let long = "x".repeat(1_000);
    let names = ["Sales", "sales", "größe", "../..", "a/b", "c#1", " ", "", "%2e", long.as_str()];
    let mut files = Vec::new();
    for (i, name) in names.into_iter().enumerate() {
        let name = FileName::table(name, EpochId(1), 1);
        files.push(store.write(&name, &batch(i as i64, 2)).await.unwrap());
    }
    for (i, file) in files.iter().enumerate() {
        assert_eq!(store.read(file).await.unwrap(), batch(i as i64, 2), "{file:?}");
    }
    assert_eq!(store.sweep(2).await.unwrap(), names.len());
}

macro_rules! checkpoint_contract {
    ($module:ident, [$($fact:ident,)*]) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $fact() {
                    super::$fact(&super::Place::$module()).await;
                }
            )*
        }
    };
    ($($module:ident),*) => {
        $(checkpoint_contract!($module, [
            what_is_written_is_read_back,
            nothing_is_there_before_the_first_checkpoint,
            a_file_is_written_once,
            a_manifest_is_published_once,
            of_hosts_that_publish_at_once_one_wins,
            checkpoints_are_listed_newest_first,
            another_life_has_a_folder_of_its_own,
            what_is_damaged_is_reported,
            pruning_keeps_the_newest_and_what_they_name,
            a_damaged_checkpoint_does_not_count_as_kept,
            sweeping_deletes_what_older_hosts_left,
            a_checkpoint_that_is_set_aside_gives_way,
            any_name_of_an_aggregate_will_do,
        ]);)*
    };
}

checkpoint_contract!(folder, memory, s3);

// ---- a folder alone ----

#[tokio::test]
async fn a_write_that_was_cut_off_is_swept() {
    let place = Place::folder();
    let root = place._folder.as_ref().unwrap().path().join("shop/1f/tables/daily");
    let store = place.store();
    let file = table(&store, 1, 1).await;
    store.publish(&manifest(1, 1, &[&file])).await.unwrap();
    let unfinished = root.join("000000000002-g0000000001-00.arrow#1");
    let ours = root.join("000000000002-g0000000002-00.arrow#1");
    for path in [&unfinished, &ours] {
        std::fs::write(path, "half").unwrap();
    }
    assert_eq!(store.sweep(2).await.unwrap(), 1);
    assert!(!unfinished.exists() && ours.exists());
    store.read(&file).await.unwrap();
}

#[tokio::test]
async fn a_check_of_a_folder_creates_nothing() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b");
    let location = CheckpointLocation::File { path };
    CheckpointStore::check(&location).await.unwrap();
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_folder_that_is_taken_by_a_file_is_refused_later_too() {
    let place = Place::folder();
    let store = place.store();
    let root = place._folder.as_ref().unwrap().path();
    std::fs::create_dir_all(root.join("shop/1f")).unwrap();
    std::fs::write(root.join("shop/1f/manifests"), "").unwrap();
    let error = store.publish(&manifest(1, 1, &[])).await.unwrap_err();
    assert!(matches!(error, CheckpointError::Permanent(_)), "{error}");
    assert!(error.to_string().contains("000000000001.json"), "{error}");
}

// ---- a server of S3 alone ----

async fn refusal(change: impl FnOnce(&mut S3Location)) -> CheckpointError {
    let mut location = s3_location();
    change(&mut location);
    let location = CheckpointLocation::S3(location);
    let checked = CheckpointStore::check(&location).await;
    let error = match CheckpointStore::open(&location, "shop", "1f") {
        Ok(store) => {
            let name = FileName::table("daily", EpochId(1), 1);
            store.write(&name, &batch(0, 1)).await.unwrap_err()
        }
        Err(error) => error,
    };
    let checked = checked.unwrap_err();
    assert_eq!(checked.remedy(), error.remedy(), "{checked} | {error}");
    for error in [&checked, &error] {
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    error
}

#[tokio::test]
async fn a_bucket_that_is_there_passes_a_check() {
    let location = CheckpointLocation::S3(s3_location());
    CheckpointStore::check(&location).await.unwrap();
}

#[tokio::test]
async fn a_bucket_that_is_missing_is_named() {
    let error = refusal(|s3| s3.bucket = "no-such-bucket".to_owned()).await;
    assert_eq!(error.remedy(), Remedy::Stop);
    let shown = error.to_string();
    assert!(shown.contains("s3://no-such-bucket"), "{shown}");
    assert!(shown.contains("create the bucket"), "{shown}");
}

#[tokio::test]
async fn a_wrong_key_is_no_reason_to_try_again() {
    let error = refusal(|s3| {
        let secret = Secret::new("hunter2".to_owned());
        s3.credentials.as_mut().unwrap().secret_access_key = secret;
    })
    .await;
    assert_eq!(error.remedy(), Remedy::Stop);
    assert!(error.to_string().contains("AWS_SECRET_ACCESS_KEY"), "{error}");
}

#[tokio::test]
async fn without_keys_it_says_which_variables_to_set() {
    let error = refusal(|s3| s3.credentials = None).await;
    assert_eq!(error.remedy(), Remedy::Stop);
    assert!(error.to_string().contains("set AWS_ACCESS_KEY_ID"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let error = refusal(|s3| s3.endpoint = Some(format!("http://{address}"))).await;
    assert_eq!(error.remedy(), Remedy::Retry);
    assert!(error.to_string().contains("refused"), "{error}");
}
