//! What is special about files: where lines end, and what becomes of files that change.

use std::fs::OpenOptions;
use std::io::Write;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::record::RawBatch;

const ALL: PollLimit = PollLimit {
    records_max: 1_000_000,
    bytes_max: 1 << 30,
    wait_max: Duration::ZERO,
};

struct Fixture {
    _folder: TempDir,
    path: PathBuf,
    source: FileSource,
}

impl Fixture {
    /// A file with this content, and a source that stands at its beginning.
    fn new(content: &[u8]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let path = folder.path().join("input.ndjson");
        fs::write(&path, content).expect("written");
        let mut source = FileSource::new(vec![path.clone()]);
        source.seek(&at(0)).expect("in range");
        Self {
            _folder: folder,
            path,
            source,
        }
    }

    fn append(&self, bytes: &[u8]) {
        let mut file = OpenOptions::new()
            .append(true)
            .open(&self.path)
            .expect("opened");
        file.write_all(bytes).expect("appended");
    }

    fn poll(&mut self, until: &Positions) -> Result<Vec<(i64, Vec<u8>)>, SourceError> {
        let mut batch = RawBatch::default();
        self.source.poll(until, ALL, &mut batch)?;
        Ok(batch
            .iter()
            .map(|record| {
                let value = record.value.expect("a line").to_vec();
                (record.origin.offset, value)
            })
            .collect())
    }

    fn lines(&mut self, until: &Positions) -> Vec<String> {
        let records = self.poll(until).expect("read");
        records
            .into_iter()
            .map(|(_, line)| String::from_utf8(line).expect("UTF-8"))
            .collect()
    }

    fn position(&self) -> i64 {
        self.source.positions().get(Partition(0)).expect("sought")
    }
}

fn at(offset: i64) -> Positions {
    [(Partition(0), offset)].into_iter().collect()
}

fn unbounded() -> Positions {
    Positions::default()
}

#[test]
fn an_offset_is_where_the_line_begins() {
    let mut file = Fixture::new(b"one\ntwo\r\n\nthree\n");
    let records = file.poll(&unbounded()).expect("read");
    let expected = [(0, "one"), (4, "two"), (10, "three")];
    assert_eq!(
        records,
        expected.map(|(offset, line)| (offset, line.as_bytes().to_vec()))
    );
    assert_eq!(file.position(), 16);
}

#[test]
fn empty_lines_are_skipped() {
    let mut file = Fixture::new(b"\n\r\n\none\n\r\n");
    assert_eq!(file.lines(&unbounded()), ["one"]);
    assert_eq!(file.position(), 10);
}

#[test]
fn a_line_without_an_end_waits_for_it() {
    let mut file = Fixture::new(b"one\ntw");
    assert_eq!(file.lines(&unbounded()), ["one"]);
    assert!(file.lines(&unbounded()).is_empty());
    file.append(b"o");
    assert!(file.lines(&unbounded()).is_empty());
    file.append(b"\nth");
    assert_eq!(file.lines(&unbounded()), ["two"]);
    assert_eq!(file.position(), 8);
}

#[test]
fn a_bound_ends_the_last_line() {
    let mut file = Fixture::new(b"one\ntwo");
    let end = file.source.partitions().expect("there")[0].end;
    assert_eq!(end, 7);
    assert_eq!(file.lines(&at(end)), ["one", "two"]);
    assert_eq!(file.position(), 7);
}

#[test]
fn a_bound_ends_a_line_that_was_waited_for() {
    let mut file = Fixture::new(b"one\ntwo");
    assert_eq!(file.lines(&unbounded()), ["one"]);
    assert_eq!(file.lines(&at(7)), ["two"]);
}

#[test]
fn a_bound_cuts_at_the_same_byte_when_the_file_has_grown() {
    let mut file = Fixture::new(b"one\ntwo");
    file.append(b"fold\nthree\n");
    assert_eq!(file.lines(&at(7)), ["one", "two"]);
    assert_eq!(file.lines(&unbounded()), ["fold", "three"]);
    file.source.seek(&at(0)).expect("in range");
    assert_eq!(file.lines(&at(7)), ["one", "two"]);
}

#[test]
fn a_line_feed_that_follows_a_cut_adds_no_record() {
    let mut file = Fixture::new(b"one\r");
    assert_eq!(file.lines(&at(4)), ["one"]);
    file.append(b"\ntwo\n");
    assert_eq!(file.lines(&unbounded()), ["two"]);
}

#[test]
fn a_line_longer_than_a_chunk_is_one_record() {
    let long = "x".repeat(3 * CHUNK + 17);
    let mut file = Fixture::new(format!("one\n{long}\ntwo\n").as_bytes());
    assert_eq!(file.lines(&unbounded()), ["one", long.as_str(), "two"]);
    assert!(file.source.chunk.len() <= CHUNK);
}

#[test]
fn a_line_that_is_far_too_long_is_refused_with_its_place() {
    let mut file = Fixture::new(b"one\n");
    let sparse = OpenOptions::new()
        .write(true)
        .open(&file.path)
        .expect("opened");
    sparse
        .set_len(4 + LINE_BYTES_MAX as u64 + 1)
        .expect("grown");
    let mut batch = RawBatch::default();
    let error = file
        .source
        .poll(&unbounded(), ALL, &mut batch)
        .expect_err("too long");
    assert!(matches!(error, SourceError::Permanent(_)));
    assert!(error.to_string().contains("the line at byte 4"), "{error}");
    assert_eq!(batch.len(), 1, "what stands before it is delivered");
    assert_eq!(file.position(), 4);
}

#[test]
fn a_file_that_shrank_is_an_error() {
    let mut file = Fixture::new(b"one\ntwo\n");
    assert_eq!(file.lines(&unbounded()), ["one", "two"]);
    OpenOptions::new()
        .write(true)
        .open(&file.path)
        .expect("opened")
        .set_len(4)
        .expect("cut");
    let error = file.poll(&unbounded()).expect_err("shorter");
    assert!(
        error.to_string().contains("was 8 bytes long and is now 4"),
        "{error}"
    );
}

#[test]
fn a_file_that_was_removed_or_replaced_is_an_error() {
    let mut file = Fixture::new(b"one\n");
    assert_eq!(file.lines(&unbounded()), ["one"]);
    let kept = file.path.with_extension("kept");
    fs::rename(&file.path, &kept).expect("renamed");
    let error = file.poll(&unbounded()).expect_err("gone");
    assert!(error.to_string().contains("input.ndjson"), "{error}");

    fs::write(&file.path, b"another\n").expect("written");
    let error = file.poll(&unbounded()).expect_err("another");
    assert!(error.to_string().contains("replaced"), "{error}");

    fs::rename(&kept, &file.path).expect("put back");
    file.append(b"two\n");
    assert_eq!(file.lines(&unbounded()), ["two"]);
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = TempDir::new().expect("a temporary folder");
    let mut source = FileSource::new(vec![folder.path().to_owned()]);
    let error = source.partitions().expect_err("a folder");
    assert!(error.to_string().contains("not a regular file"), "{error}");

    let mut source = FileSource::new(vec![folder.path().join("missing.ndjson")]);
    let error = source.partitions().expect_err("missing");
    assert!(matches!(error, SourceError::Permanent(_)));
    assert!(error.to_string().contains("missing.ndjson"), "{error}");
}

proptest! {
    /// However the bytes arrive, lines come out whole; a bound at the end delivers the rest.
    #[test]
    fn torn_writes_never_tear_a_line(
        lines in prop::collection::vec("[a-zß\u{1F600}]{0,8}\r?", 0..20),
        is_ended in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut content = lines.join("\n").into_bytes();
        if is_ended {
            content.push(b'\n');
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(content.len() + 1)).collect();
        cuts.extend([0, content.len()]);
        cuts.sort_unstable();

        let mut file = Fixture::new(b"");
        let mut delivered = Vec::new();
        for stretch in cuts.windows(2) {
            file.append(&content[stretch[0]..stretch[1]]);
            delivered.extend(file.lines(&unbounded()));
        }
        delivered.extend(file.lines(&at(content.len() as i64)));

        let text = String::from_utf8(content).expect("UTF-8");
        let expected: Vec<_> = text
            .split('\n')
            .map(|line| line.strip_suffix('\r').unwrap_or(line))
            .filter(|line| !line.is_empty())
            .collect();
        prop_assert_eq!(delivered, expected);
    }
}
