//! Random appends, polls, seeks and adjustments on the sources that need no server, against a model.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use super::*;
use crate::record::RawBatch;

const PARTITIONS: u32 = 3;

/// What writes to a source.
trait Writer {
    fn source(&self) -> Box<dyn Source>;
    /// Appends a record and returns the offset after it.
    fn append(&mut self, partition: u32, value: &[u8]) -> i64;
    /// Leaves a gap and returns the offset after it.
    fn gap(&mut self, partition: u32) -> i64;
}

impl Writer for MemoryPartitions {
    fn source(&self) -> Box<dyn Source> {
        Box::new(MemoryPartitions::source(self))
    }

    fn append(&mut self, partition: u32, value: &[u8]) -> i64 {
        let record = MemoryRecord::of(value.to_vec());
        MemoryPartitions::append(self, Partition(partition), record) + 1
    }

    fn gap(&mut self, partition: u32) -> i64 {
        self.skip(Partition(partition), 3);
        self.source().partitions().expect("there")[partition as usize].end
    }
}

struct Files {
    _folder: TempDir,
    paths: Vec<PathBuf>,
}

impl Files {
    fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let paths: Vec<_> = (0..PARTITIONS)
            .map(|partition| folder.path().join(format!("{partition}.ndjson")))
            .collect();
        for path in &paths {
            fs::write(path, b"").expect("written");
        }
        Self {
            _folder: folder,
            paths,
        }
    }

    fn write(&self, partition: u32, bytes: &[u8]) -> i64 {
        let mut file = OpenOptions::new()
            .append(true)
            .open(&self.paths[partition as usize])
            .expect("opened");
        file.write_all(bytes).expect("written");
        file.metadata().expect("there").len() as i64
    }
}

impl Writer for Files {
    fn source(&self) -> Box<dyn Source> {
        Box::new(FileSource::new(self.paths.clone()))
    }

    fn append(&mut self, partition: u32, value: &[u8]) -> i64 {
        self.write(partition, &[value, b"\n"].concat())
    }

    fn gap(&mut self, partition: u32) -> i64 {
        self.write(partition, b"\r\n\n")
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append {
        partition: u32,
        size: usize,
    },
    Gap {
        partition: u32,
    },
    Poll {
        records_max: usize,
        bytes_max: usize,
        bounds: Vec<Option<Index>>,
    },
    Seek {
        to: Vec<Option<Index>>,
    },
    Adjust {
        to: Vec<Option<Index>>,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let places = || prop::collection::vec(prop::option::of(any::<Index>()), PARTITIONS as usize);
    let step = prop_oneof![
        4 => (0..PARTITIONS, 1usize..40)
            .prop_map(|(partition, size)| Step::Append { partition, size }),
        1 => (0..PARTITIONS).prop_map(|partition| Step::Gap { partition }),
        4 => (0usize..6, 0usize..100, places())
            .prop_map(|(records_max, bytes_max, bounds)| Step::Poll { records_max, bytes_max, bounds }),
        1 => places().prop_map(|to| Step::Seek { to }),
        1 => places().prop_map(|to| Step::Adjust { to }),
    ];
    prop::collection::vec(step, 1..60)
}

/// What a partition holds, kept beside it.
#[derive(Debug, Default)]
struct Model {
    /// offset and value of each record
    records: Vec<(i64, Vec<u8>)>,
    /// offsets that the source may have named: where anything begins or ends
    places: Vec<i64>,
}

impl Model {
    fn end(&self) -> i64 {
        self.places.last().copied().unwrap_or(0)
    }

    fn place(&self, index: Index) -> i64 {
        if self.places.is_empty() {
            return 0;
        }
        *index.get(&self.places)
    }

    fn wanted(&self, from: i64, bound: i64) -> Vec<&(i64, Vec<u8>)> {
        self.records
            .iter()
            .filter(|(offset, _)| (from..bound).contains(offset))
            .collect()
    }
}

/// Checks one poll against the model.
fn poll(
    source: &mut dyn Source,
    models: &[Model],
    limit: PollLimit,
    until: &Positions,
) -> Result<(), TestCaseError> {
    let before = source.positions().clone();
    let mut batch = RawBatch::default();
    source.poll(until, limit, &mut batch).expect("read");
    prop_assert!(batch.len() <= limit.records_max);
    prop_assert!(batch.byte_len() <= limit.bytes_max || batch.len() == 1);

    let mut is_any_wanted = false;
    for (partition, from) in before.iter() {
        let model = &models[partition.0 as usize];
        let bound = until.get(partition).unwrap_or(i64::MAX);
        let delivered: Vec<_> = batch
            .iter()
            .filter(|record| record.origin.partition == partition)
            .map(|record| {
                (
                    record.origin.offset,
                    record.value.expect("a value").to_vec(),
                )
            })
            .collect();
        let wanted = model.wanted(from, bound);
        is_any_wanted |= !wanted.is_empty();
        prop_assert!(
            wanted.iter().copied().eq(delivered
                .iter()
                .chain(wanted.iter().copied().skip(delivered.len())))
        );

        let position = source.positions().get(partition).expect("sought");
        prop_assert!(position >= from && position <= from.max(bound));
        prop_assert!(
            delivered
                .last()
                .is_none_or(|(offset, _)| position > *offset)
        );
        let next = wanted.get(delivered.len()).map(|(offset, _)| *offset);
        prop_assert!(next.is_none_or(|next| position <= next));
        if batch.is_empty() && limit.records_max > 0 {
            prop_assert_eq!(position, from.max(bound.min(model.end())));
        }
    }
    prop_assert!(!batch.is_empty() || !is_any_wanted || limit.records_max == 0);
    let strays = batch
        .iter()
        .filter(|record| before.get(record.origin.partition).is_none());
    prop_assert_eq!(strays.count(), 0);
    Ok(())
}

fn run(writer: &mut dyn Writer, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut models: Vec<Model> = (0..PARTITIONS).map(|_| Model::default()).collect();
    let mut source = writer.source();
    let start: Positions = (0..PARTITIONS)
        .map(|partition| (Partition(partition), 0))
        .collect();
    source.seek(&start).expect("in range");
    let chosen = |models: &[Model], places: &[Option<Index>]| -> Positions {
        (0u32..)
            .zip(models.iter().zip(places))
            .filter_map(|(partition, (model, place))| {
                Some((Partition(partition), model.place((*place)?)))
            })
            .collect()
    };
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Append { partition, size } => {
                let value = format!("{number:0size$}").into_bytes();
                let model = &mut models[*partition as usize];
                model.places.push(model.end());
                model.records.push((model.end(), value.clone()));
                model.places.push(writer.append(*partition, &value));
            }
            Step::Gap { partition } => {
                models[*partition as usize]
                    .places
                    .push(writer.gap(*partition));
            }
            Step::Poll {
                records_max,
                bytes_max,
                bounds,
            } => {
                let limit = PollLimit {
                    records_max: *records_max,
                    bytes_max: *bytes_max,
                    wait_max: Duration::ZERO,
                };
                poll(source.as_mut(), &models, limit, &chosen(&models, bounds))?;
            }
            Step::Seek { to } => {
                let to = chosen(&models, to);
                source.seek(&to).expect("in range");
                prop_assert_eq!(source.positions(), &to);
            }
            Step::Adjust { to } => {
                let to = chosen(&models, to);
                let mut expected = source.positions().clone();
                for (partition, next) in to.iter() {
                    let stand = expected.get(partition).unwrap_or(next);
                    expected.set(partition, next.max(stand));
                }
                source.adjust(&to).expect("in range");
                prop_assert_eq!(source.positions(), &expected);
            }
        }
    }
    for (range, model) in source.partitions().expect("there").iter().zip(&models) {
        prop_assert_eq!((range.begin, range.end), (0, model.end()));
    }
    Ok(())
}

proptest! {
    #[test]
    fn memory_equals_the_model(steps in steps()) {
        run(&mut MemoryPartitions::new(PARTITIONS), &steps)?;
    }

    #[test]
    fn files_equal_the_model(steps in steps()) {
        run(&mut Files::new(), &steps)?;
    }
}
