//! Dead letters in a file, one JSON object a line, exactly once.
//!
//! # Invariants
//!
//! 1. Letters are on the disk before [`DeadLetterSink::write`] returns the length of the file, which
//!    then goes into the journal with the epoch's commit.
//! 2. What stands beyond the length in the journal belongs to no committed epoch, and is cut off
//!    before anything is appended.
//! 3. Whoever writes to the file holds its lock, from before it looks at it until it is dropped: two
//!    hosts that share a file do so one after the other.

mod line;
pub(super) mod read;

use std::fs::TryLockError;
use std::io::{ErrorKind, SeekFrom};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tracing::{info, warn};

use self::line::{write_line, write_settled};
use super::{DeadLetterSink, in_order};
use crate::deployment::Version;
use crate::epoch::ByStage;
use crate::record::DeadLetter;
use crate::sink::SinkError;

/// A file of dead letters.
pub(super) struct DeadLetterFile {
    path: PathBuf,
    topic: String,
    open: Option<Open>,
}

struct Open {
    file: File,
    /// bytes that are on the disk
    durable: u64,
    /// whether there may be more in the file: a write failed or was dropped
    torn: bool,
}

impl DeadLetterFile {
    /// The file at `path`, for records of `topic`. It is created when it is first used.
    pub(super) fn new(path: &Path, topic: &str) -> Self {
        Self {
            path: path.to_owned(),
            topic: topic.to_owned(),
            open: None,
        }
    }

    fn failed(path: &Path, action: &str, error: &std::io::Error) -> SinkError {
        SinkError::Permanent(format!(
            "failed to {action} the dead-letter file {}: {error}",
            path.display()
        ))
    }

    fn not_opened(&self, error: &std::io::Error) -> SinkError {
        if error.kind() != ErrorKind::WouldBlock {
            return Self::failed(&self.path, "open", error);
        }
        // A host that was fenced off notices it at its next commit, and ends.
        SinkError::Unavailable {
            what: format!("the dead-letter file {}", self.path.display()),
            reason:
                "another process writes to it: a host of this pipeline that is about to stop, or \
                     another pipeline, which needs a file of its own"
                    .to_owned(),
        }
    }

    /// Opens the file, creating it and its folder where they are missing.
    async fn open(&self) -> std::io::Result<Open> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder).await?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path)
            .await?;
        let file = file.into_std().await;
        self.lock(&file)?;
        let file = File::from_std(file);
        // The name of a new file is durable once its folder is.
        File::open(folder).await?.sync_all().await?;
        let durable = file.metadata().await?.len();
        Ok(Open {
            file,
            durable,
            torn: false,
        })
    }

    /// Takes the lock, which is given back when the file is closed, whatever ends the process.
    fn lock(&self, file: &std::fs::File) -> std::io::Result<()> {
        match file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                warn!(path = %self.path.display(), "this file system has no locks: see that no other host writes to the dead-letter file");
                Ok(())
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    async fn opened(&mut self) -> Result<&mut Open, SinkError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.open().await.map_err(|error| self.not_opened(&error))?,
        };
        Ok(self.open.insert(open))
    }

    /// Appends lines; the bytes that there are then.
    async fn append(&mut self, lines: &[u8]) -> Result<Option<u64>, SinkError> {
        let path = self.path.clone();
        let open = self.opened().await?;
        if !lines.is_empty() {
            // A disk that is full may have room again.
            let appended = open.append(lines).await;
            appended.map_err(|error| SinkError::Unavailable {
                what: format!("the dead-letter file {}", path.display()),
                reason: error.to_string(),
            })?;
        }
        Ok(Some(open.durable))
    }
}

impl Open {
    async fn cut(&mut self, length: u64) -> std::io::Result<()> {
        self.file.set_len(length).await?;
        self.file.sync_all().await?;
        self.durable = length;
        self.torn = false;
        Ok(())
    }

    /// Whether what stands behind the first `length` bytes may be letters of records of `topic` that
    /// were not committed: it is about to be cut off, and must not be somebody else's.
    async fn goes_on_at(&mut self, length: u64, topic: &str) -> std::io::Result<bool> {
        self.file
            .seek(SeekFrom::Start(length.saturating_sub(1)))
            .await?;
        let mut lines = tokio::io::BufReader::new(&mut self.file);
        let mut end_of_line = Vec::new();
        if length > 0 {
            (&mut lines).take(1).read_to_end(&mut end_of_line).await?;
        }
        let mut line = Vec::new();
        lines.read_until(b'\n', &mut line).await?;
        if length > 0 && end_of_line != b"\n" {
            return Ok(false);
        }
        // A line without its end was cut off in the middle of a write.
        Ok(!line.ends_with(b"\n")
            || serde_json::from_slice::<serde_json::Value>(&line)
                .is_ok_and(|letter| letter["topic"] == topic))
    }

    async fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.torn {
            self.cut(self.durable).await?;
        }
        self.torn = true;
        self.file.seek(SeekFrom::Start(self.durable)).await?;
        self.file.write_all(bytes).await?;
        self.file.flush().await?;
        self.file.sync_data().await?;
        self.durable += bytes.len() as u64;
        self.torn = false;
        Ok(())
    }
}

#[async_trait]
impl DeadLetterSink for DeadLetterFile {
    async fn recover(&mut self, committed: Option<u64>) -> Result<Option<u64>, SinkError> {
        let (path, topic) = (self.path.clone(), self.topic.clone());
        let open = self.opened().await?;
        let bytes = committed.unwrap_or(open.durable);
        if open.durable < bytes {
            return Err(SinkError::Permanent(format!(
                "the dead-letter file {} has {} bytes, and {bytes} were committed: it was cut or \
                 replaced; bring it back, or to go on with this one set dead_letter_bytes in \
                 wasmill_epochs to NULL",
                path.display(),
                open.durable
            )));
        }
        if open.durable > bytes {
            let ours = open.goes_on_at(bytes, &topic).await;
            if !ours.map_err(|error| Self::failed(&path, "read", &error))? {
                return Err(SinkError::Permanent(format!(
                    "the dead-letter file {} is not the one that {bytes} bytes were committed of: \
                     bring that one back, or to go on with this one set dead_letter_bytes in \
                     wasmill_epochs to NULL",
                    path.display()
                )));
            }
            let uncommitted = open.durable - bytes;
            info!(path = %path.display(), uncommitted, "cutting off letters that were not committed");
            open.cut(bytes)
                .await
                .map_err(|error| Self::failed(&path, "cut", &error))?;
        }
        Ok(Some(open.durable))
    }

    async fn write(&mut self, letters: &[DeadLetter]) -> Result<Option<u64>, SinkError> {
        let written_at = line::now();
        let mut lines = Vec::new();
        for letter in in_order(letters) {
            write_line(letter, &self.topic, &written_at, &mut lines);
        }
        self.append(&lines).await
    }

    async fn settle(
        &mut self,
        settled: &ByStage,
        version: Version,
    ) -> Result<Option<u64>, SinkError> {
        let written_at = line::now();
        let mut lines = Vec::new();
        for (stage, records) in settled {
            for &record in records {
                let of = (&*self.topic, &*written_at);
                write_settled((record, stage), version, of, &mut lines);
            }
        }
        self.append(&lines).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;
    use crate::record::{Cause, Origin, Partition, RecordHeader};

    fn letter(offset: i64, value: Option<&[u8]>) -> DeadLetter {
        DeadLetter {
            origin: Origin {
                partition: Partition(2),
                offset,
            },
            document: None,
            stage: "decode".into(),
            component: None,
            cause: Cause::Value,
            column: Some("amount".into()),
            reason: "a \"reason\"\nof two lines".into(),
            timestamp_ms: None,
            key: None,
            headers: Vec::new(),
            value: value.map(<[u8]>::to_vec),
        }
    }

    /// The lines without the time of their writing.
    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            let written = line.as_object_mut().unwrap().remove("written_at").unwrap();
            chrono::DateTime::parse_from_rfc3339(written.as_str().unwrap()).unwrap();
            line
        });
        lines.collect()
    }

    fn file(folder: &TempDir) -> (PathBuf, DeadLetterFile) {
        let path = folder.path().join("new/dead.ndjson");
        let file = DeadLetterFile::new(&path, "sales");
        (path, file)
    }

    #[tokio::test]
    async fn a_letter_is_a_line_with_all_that_is_known() {
        let folder = TempDir::new().unwrap();
        let (path, mut file) = file(&folder);
        let full = DeadLetter {
            component: Some("currency".into()),
            timestamp_ms: Some(1_767_132_194_299),
            key: Some(vec![0xff]),
            headers: vec![RecordHeader {
                name: "trace".into(),
                value: Some(b"7".to_vec()),
            }],
            ..letter(5, Some("{\"é\n".as_bytes()))
        };
        let length = file.write(&[full, letter(6, None)]).await.unwrap();
        assert_eq!(length, Some(std::fs::metadata(&path).unwrap().len()));
        assert_eq!(
            lines(&path),
            [
                json!({
                    "reason": "a \"reason\"\nof two lines", "stage": "decode",
                    "component": "currency", "column": "amount", "topic": "sales",
                    "partition": 2, "offset": 5, "timestamp": 1_767_132_194_299_i64,
                    "key_base64": "/w==", "headers": [{ "name": "trace", "value": "7" }],
                    "value": "{\"é\n",
                }),
                json!({
                    "reason": "a \"reason\"\nof two lines", "stage": "decode",
                    "column": "amount", "topic": "sales", "partition": 2, "offset": 6,
                }),
            ]
        );
    }

    #[tokio::test]
    async fn letters_beyond_the_committed_length_are_forgotten() {
        let folder = TempDir::new().unwrap();
        let (path, mut first) = file(&folder);
        first.recover(Some(0)).await.unwrap();
        let committed = first.write(&[letter(1, Some(b"a"))]).await.unwrap();
        let more = first.write(&[letter(2, Some(b"b"))]).await.unwrap();
        assert!(more > committed);
        drop(first);

        let (_, mut second) = file(&folder);
        second.recover(committed).await.unwrap();
        assert_eq!(lines(&path).len(), 1);
        second.write(&[letter(3, Some(b"c"))]).await.unwrap();
        let offsets: Vec<Value> = lines(&path).iter().map(|l| l["offset"].clone()).collect();
        assert_eq!(offsets, [json!(1), json!(3)]);
    }

    #[tokio::test]
    async fn letters_of_an_earlier_pipeline_stay() {
        let folder = TempDir::new().unwrap();
        let (path, mut first) = file(&folder);
        let length = first.write(&[letter(1, Some(b"a"))]).await.unwrap();
        drop(first);

        let (_, mut second) = file(&folder);
        assert_eq!(second.recover(None).await.unwrap(), length);
        assert_eq!(lines(&path).len(), 1);
    }

    #[tokio::test]
    async fn a_second_host_waits_for_the_file_and_cuts_nothing_off_until_it_has_it() {
        let folder = TempDir::new().unwrap();
        let (path, mut first) = file(&folder);
        first.recover(Some(0)).await.unwrap();
        first.write(&[letter(1, Some(b"a"))]).await.unwrap();

        let (_, mut second) = file(&folder);
        let error = second.recover(Some(0)).await.unwrap_err();
        assert_eq!(error.remedy(), crate::sink::Remedy::Retry);
        assert!(
            error.to_string().contains("another process writes to it"),
            "{error}"
        );
        assert_eq!(lines(&path).len(), 1);
        first.write(&[letter(2, Some(b"b"))]).await.unwrap();
        drop(first);
        second.recover(Some(0)).await.unwrap();
        assert!(lines(&path).is_empty());
    }

    #[tokio::test]
    async fn a_longer_file_of_somebody_else_is_not_cut() {
        let folder = TempDir::new().unwrap();
        let (path, mut other) = file(&folder);
        other.write(&[letter(1, Some(b"a"))]).await.unwrap();
        other.write(&[letter(2, Some(b"b"))]).await.unwrap();
        drop(other);
        let before = std::fs::read(&path).unwrap();
        let first_line = before.iter().position(|byte| *byte == b'\n').unwrap() as u64 + 1;

        let mut in_a_line = DeadLetterFile::new(&path, "sales");
        let error = in_a_line.recover(Some(first_line - 2)).await.unwrap_err();
        assert!(error.to_string().contains("is not the one"), "{error}");
        drop(in_a_line);
        let mut of_another_topic = DeadLetterFile::new(&path, "returns");
        let error = of_another_topic.recover(Some(first_line)).await;
        assert!(error.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[tokio::test]
    async fn a_file_that_lacks_committed_letters_is_refused() {
        let folder = TempDir::new().unwrap();
        let (path, mut file) = file(&folder);
        let error = file.recover(Some(10)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the dead-letter file {} has 0 bytes, and 10 were committed: it was cut or \
                 replaced; bring it back, or to go on with this one set dead_letter_bytes in \
                 wasmill_epochs to NULL",
                path.display()
            )
        );
    }

    #[tokio::test]
    async fn no_letters_leave_the_file_as_long_as_it_was() {
        let folder = TempDir::new().unwrap();
        let (_, mut file) = file(&folder);
        let length = file.write(&[letter(1, None)]).await.unwrap();
        assert_eq!(file.write(&[]).await.unwrap(), length);
    }

    #[tokio::test]
    async fn what_a_failed_write_left_is_cut_off_by_the_next() {
        let folder = TempDir::new().unwrap();
        let (path, mut file) = file(&folder);
        let length = file.write(&[letter(1, None)]).await.unwrap();
        let open = file.open.as_mut().unwrap();
        open.file.write_all(&[b'x'; 10_000]).await.unwrap();
        open.file.flush().await.unwrap();
        open.torn = true;
        let longer = file.write(&[letter(2, None)]).await.unwrap();
        assert!(longer > length);
        assert_eq!(lines(&path).len(), 2);
        assert_eq!(Some(std::fs::metadata(&path).unwrap().len()), longer);
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_a_file_is_refused_by_name() {
        let folder = TempDir::new().unwrap();
        let mut file = DeadLetterFile::new(folder.path(), "sales");
        let error = file.recover(None).await.unwrap_err().to_string();
        assert!(
            error.starts_with("failed to open the dead-letter file /"),
            "{error}"
        );
    }
}
