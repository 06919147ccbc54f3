//! What is done to the job's servers and files, by other clients than its own.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use elasticsearch::http::Method;
use serde_json::json;

use super::super::support::elastic::Elastic;
use super::super::support::elasticsearch;
use super::super::support::job::Job;
use super::course::{Dice, Fault};

/// Set where the servers are nobody else's, and whoever reads our output starts them again: `cargo xtask soak`.
/// It is the folder for the answers.
pub(crate) const OWN_SERVERS: &str = "WASMILL_SOAK_SERVERS";
/// How long a server may take until it is back.
const RESTART_MAX: Duration = Duration::from_mins(3);

/// Ends the connections of the job; how many there were.
pub(crate) async fn terminate_backends(job: &Job) -> usize {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE application_name LIKE 'wasmill%' AND datname = current_database()";
    job.database().await.query(sql, &[]).await.unwrap().len()
}

/// Lets the job's index refuse writes, or take them again.
pub(crate) async fn block_writes(job: &Job, block: bool) {
    let setting = json!({ "index.blocks.write": block });
    let path = format!("{}/_settings", job.index);
    let elastic = Elastic::new(&elasticsearch());
    let (status, text) = elastic.request(Method::Put, &path, Some(setting)).await;
    // Before the first document there is no index.
    assert!(status == 200 || status == 404, "{status}: {text}");
}

/// Has a server killed and started again.
pub(crate) async fn restart(fault: Fault) {
    let folder = std::env::var_os(OWN_SERVERS).expect("only with servers of its own");
    let done = Path::new(&folder).join(format!("{}.done", fault.name()));
    let _ = std::fs::remove_file(&done);
    println!("xtask: restart {}", fault.name());
    std::io::stdout().flush().expect("somebody reads it");
    let asked = Instant::now();
    while !done.exists() {
        assert!(
            asked.elapsed() < RESTART_MAX,
            "{} is not back",
            fault.name()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The files below the folder of checkpoints, half-written ones included.
pub(crate) fn checkpoint_files(job: &Job) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    let mut folders = vec![job.path("data/checkpoints")];
    while let Some(folder) = folders.pop() {
        // Folders come, and files go, while this looks.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => drop(files.insert(entry.path())),
            }
        }
    }
    files
}

/// Turns over one bit of the newest checkpoint: in its manifest, or in a file of its own. `None` while there
/// is no checkpoint.
pub(crate) fn damage_checkpoint(job: &Job, dice: &mut Dice) -> Option<PathBuf> {
    let files = checkpoint_files(job);
    let has_extension =
        |path: &&PathBuf, extension| path.extension().is_some_and(|e| e == extension);
    let manifest = files.iter().rfind(|path| has_extension(path, "json"))?;
    let text = std::fs::read_to_string(manifest).ok()?;
    // Files are named in the manifest by their path below its life.
    let named: Vec<&PathBuf> = files
        .iter()
        .filter(|path| has_extension(path, "arrow"))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            let folder = path
                .parent()
                .and_then(Path::file_name)
                .and_then(|name| name.to_str());
            name.zip(folder)
                .is_some_and(|(name, folder)| text.contains(&format!("{folder}/{name}")))
        })
        .collect();
    let target = match named.as_slice() {
        [_, ..] if dice.below(2) == 0 => dice.one_of(&named),
        _ => manifest,
    };
    let mut bytes = std::fs::read(target).expect("a file of ours");
    let place = dice.below(bytes.len() as u64) as usize;
    bytes[place] ^= 1 << dice.below(8);
    std::fs::write(target, bytes).expect("a file of ours");
    Some(target.clone())
}
