//! Any sequence of changes: whoever reads the file at each report has its last contents in the end.

use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

/// What may happen to a file.
#[derive(Debug, Clone)]
enum Change {
    Write(u8),
    Replace(u8),
    Delete,
    /// into a link, to another file
    Link(u8),
    /// the folder, by another one that has such a file
    Folder(u8),
    Wait(u64),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0..4_u8).prop_map(Change::Write),
        (0..4_u8).prop_map(Change::Replace),
        Just(Change::Delete),
        (0..4_u8).prop_map(Change::Link),
        (0..4_u8).prop_map(Change::Folder),
        (0..300_u64).prop_map(Change::Wait),
    ]
}

/// Does it to `root/folder/file`.
fn make(root: &Path, change: &Change) {
    let folder = root.join("folder");
    let file = folder.join("file");
    let text = |n: &u8| n.to_string();
    match change {
        Change::Write(n) => fs::write(file, text(n)).unwrap(),
        Change::Replace(n) => {
            fs::write(folder.join("part"), text(n)).unwrap();
            fs::rename(folder.join("part"), file).unwrap();
        }
        Change::Delete => {
            let _ = fs::remove_file(file);
        }
        Change::Link(n) => {
            let target = root.join(format!("target{n}"));
            fs::write(&target, text(n)).unwrap();
            symlink(target, folder.join("part")).unwrap();
            fs::rename(folder.join("part"), file).unwrap();
        }
        Change::Folder(n) => {
            let _ = fs::remove_dir_all(root.join("former"));
            fs::create_dir(root.join("next")).unwrap();
            fs::write(root.join("next/file"), text(n)).unwrap();
            fs::rename(&folder, root.join("former")).unwrap();
            fs::rename(root.join("next"), folder).unwrap();
        }
        Change::Wait(millis) => std::thread::sleep(Duration::from_millis(*millis)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn whoever_reads_at_each_report_has_the_last_contents(
        changes in prop::collection::vec(change(), 1..12),
        is_told in prop::bool::weighted(0.7),
    ) {
        run(async {
            let root = tempfile::tempdir().unwrap();
            make_first(root.path());
            let file = root.path().join("folder/file");
            let subject = Subject::Files([(file.clone(), None)].into());
            let mut watch = Watch::of(subject, if is_told { with_watches } else { without_watches });
            let mut has = fs::read(&file).ok();
            let folder = root.path().to_owned();
            let mut changing =
                spawn_blocking(move || changes.iter().for_each(|change| make(&folder, change)));
            loop {
                tokio::select! {
                    _ = watch.changed() => has = fs::read(&file).ok(),
                    done = &mut changing => break done.unwrap(),
                }
            }
            let last = fs::read(&file).ok();
            while has != last {
                let changed = timeout(PATIENCE, watch.changed()).await;
                changed.expect("a report comes as long as somebody has something old");
                has = fs::read(&file).ok();
            }
        });
    }
}

fn make_first(root: &Path) {
    fs::create_dir(root.join("folder")).unwrap();
    fs::write(root.join("folder/file"), "first").unwrap();
}
