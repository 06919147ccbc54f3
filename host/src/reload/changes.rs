//! Asking for a reload when files change, and on SIGHUP.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;

use super::control::{Control, Refusal, Report, Wanted};
use super::watch::{Files, Watch};
use crate::deployment::Trigger;

/// Asks for a reload whenever one of the files has changed, or SIGHUP comes, until it is dropped.
///
/// `files` says what is watched at a time: the pipeline and its components, with what of them is in
/// force; none where the pipeline wants no watching. It is to be sent anew with every version that
/// comes into force by a reload of the files, and not by a way back: there the files stay as they were.
///
/// A reload takes a while. Whatever changes meanwhile is asked for at once: the last one wins.
pub async fn reload_on_change(control: Control, mut files: Receiver<Files>) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => Some(hangup),
        Err(error) => {
            tracing::warn!(%error, "cannot listen for SIGHUP: it ends the run");
            None
        }
    };
    let mut watch = Watch::begin(files.borrow_and_update().clone());
    let mut asked = JoinSet::new();
    let mut has_sender = true;
    loop {
        let trigger = tokio::select! {
            changed = watch.changed() => {
                let names: Vec<_> = changed.iter().map(|path| path.display().to_string()).collect();
                tracing::info!(files = names.join(", "), "files have changed");
                Trigger::File
            }
            () = next(&mut hangup) => {
                tracing::info!("SIGHUP asks for a reload");
                Trigger::Signal
            }
            followed = files.changed(), if has_sender => {
                has_sender = followed.is_ok();
                watch.follow(files.borrow_and_update().clone());
                continue;
            }
            Some(_) = asked.join_next() => continue,
        };
        let control = control.clone();
        asked.spawn(async move {
            tell(trigger, &control.ask(Wanted::Files, trigger, false).await);
        });
    }
}

/// Nobody else hears what has come of a change. Whoever reloads logs what is changed, and why something
/// is not.
fn tell(trigger: Trigger, answer: &Result<Report, Refusal>) {
    match answer {
        Ok(report) if report.changes.is_empty() => {
            tracing::info!(%trigger, "nothing to reload: the pipeline is the same");
        }
        Err(Refusal::Superseded) => tracing::debug!(%trigger, "a later change is reloaded instead"),
        Err(Refusal::NotRunning(reason)) => tracing::warn!(%trigger, reason, "not reloaded"),
        Ok(_) | Err(_) => {}
    }
}

/// The next signal; none ever comes where nobody listens.
async fn next(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use nix::sys::signal::{Signal, raise};
    use tokio::sync::watch;
    use tokio::time::timeout;

    use super::*;
    use crate::reload::control::{Request, control};

    const PATIENCE: Duration = Duration::from_mins(1);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn files_and_sighup_ask_for_the_files_and_none_waits_for_an_answer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipeline.toml");
        fs::write(&path, "one").unwrap();
        let (control, mut requests) = control();
        let (send, files) = watch::channel(Files::from([(path.clone(), None)]));
        let asking = tokio::spawn(reload_on_change(control, files));

        let mut next = async || -> Request {
            let request = timeout(PATIENCE, requests.requests.recv()).await;
            let request = request.expect("a request comes").expect("somebody asks");
            assert_eq!(request.wanted, Wanted::Files);
            assert!(!request.dry_run);
            request
        };
        // The watch is there once a change was noticed, and then SIGHUP is listened for as well.
        let mut changes = 0;
        let first = loop {
            fs::write(&path, format!("change {changes}")).unwrap();
            changes += 1;
            assert!(changes < 12, "no change is noticed");
            tokio::select! {
                request = next() => break request,
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
            }
        };
        assert_eq!(first.trigger, Trigger::File);
        raise(Signal::SIGHUP).unwrap();
        let second = next().await;
        assert_eq!(second.trigger, Trigger::Signal);
        first.answer.send(Err(Refusal::Superseded)).unwrap();
        second.answer.send(Ok(Report::default())).unwrap();

        // A version that reads another file.
        let other = folder.path().join("other.wasm");
        send.send_replace(Files::from([(other.clone(), Some("none yet".to_owned()))]));
        assert_eq!(next().await.trigger, Trigger::File);
        // The run ends: the last files stay watched until this does, too.
        drop(send);
        fs::write(&other, "new").unwrap();
        assert_eq!(next().await.trigger, Trigger::File);
        asking.abort();
    }
}
