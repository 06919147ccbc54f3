//! What damage and deletion must never do, by exhaustion and by chance. What every store has to keep
//! is tested on all of them in `host/tests/it/checkpoint_contract.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use arrow_array::{Decimal128Array, Int64Array, RecordBatch, StringArray};
use chrono::DateTime;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;

use super::{CheckpointError, CheckpointStore, FileName, FileRef, Manifest};
use crate::epoch::EpochId;
use crate::record::{Partition, Positions};

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

fn batch(first: i64, rows: usize) -> RecordBatch {
    let numbers = (first..).take(rows);
    let names = numbers
        .clone()
        .map(|n| (n % 3 > 0).then(|| format!("é{n}")));
    let amounts = Decimal128Array::from_iter_values(numbers.clone().map(i128::from));
    RecordBatch::try_from_iter_with_nullable([
        (
            "n",
            Arc::new(Int64Array::from_iter_values(numbers)) as _,
            false,
        ),
        ("name", Arc::new(names.collect::<StringArray>()) as _, true),
        ("amount", Arc::new(amounts) as _, true),
    ])
    .unwrap()
}

fn over(store: &Arc<InMemory>) -> CheckpointStore {
    CheckpointStore::over(Arc::clone(store) as _, "some/prefix", "shop", "1f-2e")
}

fn manifest(epoch: u64, generation: u64, tables: &BTreeMap<String, Vec<FileRef>>) -> Manifest {
    Manifest {
        epoch: EpochId(epoch),
        generation,
        written_at: DateTime::UNIX_EPOCH,
        positions: Positions::from_iter([(Partition(0), 7)]),
        version: crate::deployment::Version::FIRST,
        tables: tables.clone(),
        seen: BTreeMap::new(),
    }
}

fn stored_at(file: &FileRef) -> Path {
    Path::from(format!("some/prefix/shop/1f-2e/{}", file.name))
}

fn is_damaged<T: std::fmt::Debug>(result: &Result<T, CheckpointError>) -> bool {
    matches!(result, Err(CheckpointError::Damaged { .. }))
}

/// A store with one file, its name and its bytes.
async fn with_file(batch: &RecordBatch) -> (Arc<InMemory>, CheckpointStore, FileRef, Vec<u8>) {
    let memory = Arc::new(InMemory::new());
    let store = over(&memory);
    let name = FileName::table("daily", EpochId(1), 1);
    let file = store.write(&name, batch).await.unwrap();
    let found = memory.get(&stored_at(&file)).await.unwrap();
    let bytes = found.bytes().await.unwrap().to_vec();
    assert_eq!(store.read(&file).await.unwrap(), *batch);
    (memory, store, file, bytes)
}

#[test]
fn any_bit_of_a_file_that_is_flipped_is_noticed() {
    run(async {
        let (memory, store, file, bytes) = with_file(&batch(1, 5)).await;
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            memory.put(&stored_at(&file), damaged.into()).await.unwrap();
            let read = store.read(&file).await;
            assert!(is_damaged(&read), "bit {bit}: {read:?}");
        }
    });
}

#[test]
fn any_end_of_a_file_that_is_missing_is_noticed() {
    run(async {
        let (memory, store, file, bytes) = with_file(&batch(1, 5)).await;
        for length in 0..bytes.len() {
            let part = bytes[..length].to_vec();
            memory.put(&stored_at(&file), part.into()).await.unwrap();
            let read = store.read(&file).await;
            assert!(is_damaged(&read), "{length}: {read:?}");
        }
    });
}

/// A file of another checkpoint under this name, whole and with a right checksum of its own.
#[test]
fn a_file_in_anothers_place_is_noticed() {
    run(async {
        let (memory, store, file, _) = with_file(&batch(1, 5)).await;
        let other = FileName::table("daily", EpochId(2), 1);
        let other = store.write(&other, &batch(2, 5)).await.unwrap();
        assert_eq!(other.bytes, file.bytes);
        memory
            .copy(&stored_at(&other), &stored_at(&file))
            .await
            .unwrap();
        assert!(is_damaged(&store.read(&file).await));
        assert!(is_damaged(&store.read(&FileRef { rows: 6, ..other }).await));
    });
}

/// What a manifest names is not believed to be below the folder.
#[test]
fn a_name_that_leads_elsewhere_is_not_followed() {
    run(async {
        let (memory, store, file, bytes) = with_file(&batch(1, 5)).await;
        let outside = Path::from("some/prefix/shop/other.arrow");
        memory.put(&outside, bytes.into()).await.unwrap();
        for name in [
            "../other.arrow",
            "/../other.arrow",
            "",
            "a//b",
            "%2e%2e/other.arrow",
        ] {
            let name = name.to_owned();
            let read = store
                .read(&FileRef {
                    name,
                    ..file.clone()
                })
                .await;
            assert!(is_damaged(&read), "{read:?}");
        }
    });
}

/// Encoding and checking happen on another thread from some size on.
#[test]
fn a_large_batch_is_read_back() {
    run(async {
        let large = batch(0, 100_000);
        let (_, store, file, bytes) = with_file(&large).await;
        assert_eq!((file.rows, file.bytes), (100_000, bytes.len() as u64));
        assert!(is_damaged(&store.read(&FileRef { rows: 1, ..file }).await));
    });
}

#[test]
fn a_slice_is_written_without_the_rest() {
    run(async {
        let large = batch(0, 100_000);
        let (_, _, slice, _) = with_file(&large.slice(50_000, 5)).await;
        let (_, _, small, _) = with_file(&batch(50_000, 5)).await;
        assert_eq!(slice.bytes, small.bytes);
    });
}

/// A simulation drives the store without a runtime.
#[test]
fn no_runtime_is_needed() {
    use futures_util::FutureExt;
    let memory = Arc::new(InMemory::new());
    let store = over(&memory);
    let now = |future: futures_util::future::BoxFuture<'_, ()>| future.now_or_never().unwrap();
    now(Box::pin(async {
        let name = FileName::seen(Partition(3), EpochId(1), 1);
        let file = store.write(&name, &batch(0, 100_000)).await.unwrap();
        let tables = BTreeMap::from([("daily".to_owned(), vec![file.clone()])]);
        store.publish(&manifest(1, 1, &tables)).await.unwrap();
        assert_eq!(store.read(&file).await.unwrap().num_rows(), 100_000);
        assert_eq!(
            store.prune(1, EpochId(u64::MAX)).await.unwrap(),
            Some(EpochId(1))
        );
        assert_eq!(store.sweep(2).await.unwrap(), 0);
    }));
}

/// A step in the life of a store.
#[derive(Debug, Clone)]
enum Step {
    /// a checkpoint with a new file for each of these tables, that drops so many of the oldest ones
    Checkpoint {
        tables: BTreeSet<u8>,
        dropped: usize,
    },
    /// the same, but the host dies before the manifest: another generation goes on
    Crash {
        tables: BTreeSet<u8>,
    },
    Prune {
        needed: u64,
        keep: usize,
    },
    Sweep,
    /// the newest checkpoint turns out to be unusable, so that the next host goes on with the one before
    SetAside,
    /// the manifest of one that is there is damaged
    Damage {
        newest: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let tables = || prop::collection::btree_set(0..3u8, 0..3);
    prop::collection::vec(
        prop_oneof![
            6 => (tables(), 0..3usize).prop_map(|(tables, dropped)| Step::Checkpoint { tables, dropped }),
            2 => tables().prop_map(|tables| Step::Crash { tables }),
            3 => (0..4usize, 0..40u64).prop_map(|(keep, needed)| Step::Prune { keep, needed }),
            2 => Just(Step::Sweep),
            1 => Just(Step::SetAside),
            1 => (0..3usize).prop_map(|newest| Step::Damage { newest }),
        ],
        1..40,
    )
}

/// The store, and what a host would know.
struct Life {
    memory: Arc<InMemory>,
    store: CheckpointStore,
    epoch: u64,
    generation: u64,
    /// the live files of the last checkpoint
    tables: BTreeMap<String, Vec<FileRef>>,
    damaged: BTreeSet<EpochId>,
}

impl Life {
    async fn write(&mut self, tables: &BTreeSet<u8>) -> BTreeMap<String, Vec<FileRef>> {
        self.epoch += 1;
        let mut live = self.tables.clone();
        for table in tables {
            let table = format!("T{table}");
            let name = FileName::table(&table, EpochId(self.epoch), self.generation);
            let file = self.store.write(&name, &batch(0, 1)).await.unwrap();
            live.entry(table).or_default().push(file);
        }
        live
    }

    /// A new host, which goes on with the newest checkpoint that can be used.
    async fn restart(&mut self) {
        self.generation += 1;
        self.tables = BTreeMap::new();
        for epoch in self.store.list().await.unwrap() {
            if let Ok(found) = self.store.manifest(epoch).await {
                self.tables = found.tables;
                return;
            }
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Checkpoint { tables, dropped } => {
                let mut live = self.write(&tables).await;
                for files in live.values_mut() {
                    files.drain(..dropped.min(files.len().saturating_sub(1)));
                }
                let published = manifest(self.epoch, self.generation, &live);
                self.store.publish(&published).await.unwrap();
                self.tables = live;
            }
            Step::Crash { tables } => {
                self.write(&tables).await;
                self.restart().await;
            }
            Step::Prune { keep, needed } => self.prune(keep, EpochId(needed)).await,
            Step::Sweep => self.sweep().await,
            Step::SetAside => {
                if let Some(&newest) = self.store.list().await.unwrap().first() {
                    self.store.set_aside(newest).await.unwrap();
                    self.store.set_aside(newest).await.unwrap();
                    assert!(!self.store.list().await.unwrap().contains(&newest));
                    self.restart().await;
                }
            }
            Step::Damage { newest } => {
                if let Some(&epoch) = self.store.list().await.unwrap().get(newest) {
                    let path = format!("some/prefix/shop/1f-2e/manifests/{:012}.json", epoch.0);
                    self.memory
                        .put(&Path::from(path), "{".into())
                        .await
                        .unwrap();
                    self.damaged.insert(epoch);
                    self.restart().await;
                }
            }
        }
    }

    async fn usable(&self) -> Vec<EpochId> {
        let listed = self.store.list().await.unwrap();
        listed
            .into_iter()
            .filter(|epoch| !self.damaged.contains(epoch))
            .collect()
    }

    async fn prune(&self, keep: usize, needed: EpochId) {
        let before = self.usable().await;
        let kept = self.store.prune(keep, needed).await.unwrap();
        let keep = keep.max(1);
        let is_kept = |(index, epoch): &(usize, EpochId)| {
            let newer = before[..*index].iter().filter(|newer| **newer <= needed);
            *index < keep || (*epoch <= needed && newer.count() < keep)
        };
        let expected = before.iter().copied().enumerate().filter(is_kept);
        let expected: Vec<_> = expected.map(|(_, epoch)| epoch).collect();
        let expected = if before.len() < keep {
            before
        } else {
            expected
        };
        assert_eq!(kept, expected.last().copied());
        assert_eq!(self.usable().await, expected);
    }

    async fn sweep(&self) {
        let before = self.files().await;
        let deleted = self.store.sweep(self.generation).await.unwrap();
        let after = self.files().await;
        assert_eq!(before.len(), after.len() + deleted);
        let is_ours = |path: &String| path.contains(&format!("-g{:010}-", self.generation));
        assert!(before.difference(&after).all(|path| !is_ours(path)));
    }

    /// Every file that is there and is no manifest.
    async fn files(&self) -> BTreeSet<String> {
        use futures_util::TryStreamExt;
        let listed: Vec<_> = self.memory.list(None).try_collect().await.unwrap();
        let paths = listed.into_iter().map(|object| object.location.to_string());
        paths.filter(|path| !path.contains("/manifests/")).collect()
    }

    /// A crash leaves nothing for ever.
    async fn only_what_is_named_is_left(&mut self) {
        // A checkpoint beyond all that were damaged, so that none of these is in the way.
        let step = Step::Checkpoint {
            tables: BTreeSet::new(),
            dropped: 0,
        };
        self.step(step).await;
        self.prune(1, EpochId(u64::MAX)).await;
        self.restart().await;
        self.sweep().await;
        let listed = self.store.list().await.unwrap();
        let last = self.store.manifest(listed[0]).await.unwrap();
        let named = last.files().map(|file| stored_at(file).to_string());
        assert_eq!((listed.len(), self.files().await), (1, named.collect()));
    }

    /// Every checkpoint that can be used is whole.
    async fn check(&self) {
        for epoch in self.usable().await {
            let found = self.store.manifest(epoch).await.unwrap();
            for file in found.files() {
                self.store.read(file).await.unwrap();
            }
        }
    }
}

proptest! {
    #[test]
    fn nothing_that_a_kept_manifest_names_is_deleted(steps in steps()) {
        run(async {
            let memory = Arc::new(InMemory::new());
            let mut life = Life {
                store: over(&memory),
                memory,
                epoch: 0,
                generation: 1,
                tables: BTreeMap::new(),
                damaged: BTreeSet::new(),
            };
            for step in steps {
                life.step(step).await;
                life.check().await;
            }
            life.only_what_is_named_is_left().await;
        });
    }

    #[test]
    fn any_bytes_in_a_files_place_are_damage(bytes: Vec<u8>) {
        run(async {
            let (memory, store, file, _) = with_file(&batch(1, 5)).await;
            memory.put(&stored_at(&file), bytes.into()).await.unwrap();
            prop_assert!(is_damaged(&store.read(&file).await));
            Ok(())
        })?;
    }
}
