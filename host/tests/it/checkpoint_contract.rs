//! What every checkpoint store has to keep, run on a folder, on memory and on a server of S3; and what
//! each of them alone can get wrong.

pub(crate) mod place;

use chrono::DateTime;
use futures_util::future::join_all;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use wasmill::checkpoint::{CheckpointError, CheckpointStore, FileName, Manifest};
use wasmill::config::{CheckpointLocation, S3Location, Secret};
use wasmill::epoch::EpochId;
use wasmill::record::Partition;
use wasmill::sink::Remedy;

use self::place::{Place, batch, manifest, s3_location, table};

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
    assert_eq!(store.prune(2, EpochId(u64::MAX)).await.unwrap(), None);
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
    assert_eq!(
        store.prune(4, EpochId(u64::MAX)).await.unwrap(),
        Some(EpochId(1))
    );
    assert_eq!(
        store.prune(2, EpochId(u64::MAX)).await.unwrap(),
        Some(EpochId(2))
    );
    assert_eq!(store.list().await.unwrap(), [EpochId(3), EpochId(2)]);
    store.read(&a).await.unwrap();
    assert_eq!(
        store.prune(1, EpochId(u64::MAX)).await.unwrap(),
        Some(EpochId(3))
    );
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
    assert_eq!(
        store.prune(2, EpochId(u64::MAX)).await.unwrap(),
        Some(EpochId(2))
    );
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
    assert_eq!(
        store.prune(2, EpochId(u64::MAX)).await.unwrap(),
        Some(EpochId(2))
    );
    store.read(&file).await.unwrap();
    assert_eq!(
        store.prune(1, EpochId(u64::MAX)).await.unwrap(),
        Some(EpochId(3))
    );
    is_damaged(store.read(&file).await);
}

async fn any_name_of_an_aggregate_will_do(place: &Place) {
    let store = place.store();
    let long = "x".repeat(1_000);
    let names = [
        "Sales",
        "sales",
        "größe",
        "../..",
        "a/b",
        "c#1",
        " ",
        "",
        "%2e",
        long.as_str(),
    ];
    let mut files = Vec::new();
    for (i, name) in names.into_iter().enumerate() {
        let name = FileName::table(name, EpochId(1), 1);
        files.push(store.write(&name, &batch(i as i64, 2)).await.unwrap());
    }
    for (i, file) in files.iter().enumerate() {
        assert_eq!(
            store.read(file).await.unwrap(),
            batch(i as i64, 2),
            "{file:?}"
        );
    }
    assert_eq!(store.sweep(2).await.unwrap(), names.len());
}

/// SHA-256 of `\0asm`.
const DIGEST: &str = "cd5d4935a48c0672cb06407bb443bc0087aff947c6b864bac886982c73b3027f";

async fn a_component_is_kept_under_its_digest(place: &Place) {
    let store = place.store();
    is_damaged(store.component(DIGEST).await);
    store.keep_component(DIGEST, b"\0asm").await.unwrap();
    // The same again is fine: several versions have it.
    store.keep_component(DIGEST, b"\0asm").await.unwrap();
    assert_eq!(&store.component(DIGEST).await.unwrap()[..], b"\0asm");
    // It belongs to the life of the pipeline, and to no checkpoint: nothing sweeps it away.
    store.publish(&manifest(1, 1, &[])).await.unwrap();
    store.publish(&manifest(2, 1, &[])).await.unwrap();
    store.prune(1, EpochId(u64::MAX)).await.unwrap();
    assert_eq!(store.sweep(9).await.unwrap(), 0);
    assert_eq!(&store.component(DIGEST).await.unwrap()[..], b"\0asm");
    is_damaged((place.open)("2a").component(DIGEST).await);
}

async fn a_component_that_is_damaged_is_reported(place: &Place) {
    let store = place.store();
    store.keep_component(DIGEST, b"\0asm").await.unwrap();
    let path = place.path(&format!("components/{DIGEST}.wasm"));
    for damaged in [&b"\0as"[..], b"\0asm ", b"\0asn", b""] {
        let damaged = damaged.to_vec();
        place.raw.put(&path, damaged.into()).await.unwrap();
        is_damaged(store.component(DIGEST).await);
    }
    place.raw.delete(&path).await.unwrap();
    is_damaged(store.component(DIGEST).await);
    store.keep_component(DIGEST, b"\0asm").await.unwrap();
    store.component(DIGEST).await.unwrap();
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
            a_component_is_kept_under_its_digest,
            a_component_that_is_damaged_is_reported,
        ]);)*
    };
}

checkpoint_contract!(folder, memory, s3);

// ---- a folder alone ----

#[tokio::test]
async fn a_write_that_was_cut_off_is_swept() {
    let place = Place::folder();
    let root = place
        .folder
        .as_ref()
        .unwrap()
        .path()
        .join("shop/1f/tables/daily");
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
    let root = place.folder.as_ref().unwrap().path();
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
    assert!(
        error.to_string().contains("AWS_SECRET_ACCESS_KEY"),
        "{error}"
    );
}

#[tokio::test]
async fn without_keys_it_says_which_variables_to_set() {
    let error = refusal(|s3| s3.credentials = None).await;
    assert_eq!(error.remedy(), Remedy::Stop);
    assert!(
        error.to_string().contains("set AWS_ACCESS_KEY_ID"),
        "{error}"
    );
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
