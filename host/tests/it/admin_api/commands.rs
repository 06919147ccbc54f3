//! `wasmill reload`, `rollback` and `status`, against a server whose engine answers as the test wants.

use std::fs;
use std::net::SocketAddr;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;
use wasmill::deployment::{Outcome, Trigger, Version};
use wasmill::reload::{Happening, Refusal, Report, Wanted};

use super::harness::{Script, TOKEN, deployment, report, serve};
use crate::support::binary::{stderr, stdout, wasmill};
use crate::support::http::get;
use crate::support::job::free_address;

/// A folder with a `pipeline.toml` that says no more than where to ask.
fn folder(name: &str, address: SocketAddr, more: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("[pipeline]\nname = \"{name}\"\n[admin]\nlisten = \"{address}\"\n{more}\n");
    fs::write(folder.path().join("pipeline.toml"), text).unwrap();
    folder
}

fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    let mut command = wasmill(arguments);
    command.current_dir(folder.path()).output().unwrap()
}

fn succeeds(folder: &TempDir, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

fn fails(folder: &TempDir, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    stderr(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_shows_what_came_of_it() {
    let served = serve(None).await;
    let folder = folder(&served.name, served.address(), "");
    let shown = succeeds(&folder, &["reload"]);
    let expected = "changes   component `currency`: 0.1.0 becomes 0.2.0\n\
                    states    `sales_per_day`: taken over as they are\n\
                    warnings  there is no way back\n\
                    version 4 is in force\n";
    assert_eq!(shown, expected);

    let planned = Report {
        version: None,
        ..report()
    };
    served.engine.next(Script::Answer(Ok(planned)));
    let shown = succeeds(&folder, &["reload", "pipeline.toml", "--dry-run"]);
    assert!(
        shown.ends_with("this was a dry run: nothing was changed\n"),
        "{shown}"
    );
    served.engine.next(Script::Answer(Ok(Report::default())));
    let address = served.address().to_string();
    let shown = succeeds(&folder, &["reload", "--admin", &address]);
    assert_eq!(shown, "nothing to change: what is asked for is in force\n");
    let shown: Value = serde_json::from_str(&succeeds(&folder, &["reload", "--json"])).unwrap();
    assert_eq!(shown, serde_json::to_value(report()).unwrap());
    let dry: Vec<bool> = served.engine.asked().iter().map(|asked| asked.2).collect();
    assert_eq!(dry, [false, true, false, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_goes_to_the_version_that_is_named_or_the_one_before() {
    let served = serve(None).await;
    let folder = folder(&served.name, served.address(), "");
    succeeds(&folder, &["rollback"]);
    succeeds(
        &folder,
        &["rollback", "3", "--dry-run", "--pipeline", "pipeline.toml"],
    );
    let asked = [
        (Wanted::Previous, Trigger::Rollback, false),
        (Wanted::Version(Version(3)), Trigger::Rollback, true),
    ];
    assert_eq!(served.engine.asked(), asked);
    let none = Refusal::NoSuchVersion("there is no version 9: 2 to 4 are kept".to_owned());
    served.engine.next(Script::Answer(Err(none)));
    let error = fails(&folder, &["rollback", "9"]);
    let expected = "error: the running version stays: there is no version 9: 2 to 4 are kept\n";
    assert_eq!(error, expected);
    for wrong in ["0", "-1", "shop.toml", "4294967296"] {
        let output = run(&folder, &["rollback", "--", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(
            stderr(&output).contains("--pipeline"),
            "{}",
            stderr(&output)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_ends_with_one_and_its_reason() {
    let served = serve(None).await;
    let folder = folder(&served.name, served.address(), "");
    let refusal = || {
        Refusal::States(
            "`totals`: count: int64 becomes utf8\nand has no migrate\u{1b}[2J".to_owned(),
        )
    };
    served.engine.next(Script::Answer(Err(refusal())));
    let error = fails(&folder, &["reload"]);
    let expected = "error: the running version stays: `totals`: count: int64 becomes utf8\nand has no migrate\\u{1b}[2J\n";
    assert_eq!(error, expected);

    served.engine.next(Script::Answer(Err(refusal())));
    let output = run(&folder, &["reload", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let shown: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        shown,
        json!({ "error": refusal().to_string(), "kind": "states" })
    );

    served.engine.next(Script::Drop);
    let error = fails(&folder, &["reload"]);
    assert!(error.contains("the run is ending"), "{error}");
    served.engine.next(Script::Hold);
    let error = fails(&folder, &["reload", "--timeout", "6"]);
    assert!(error.contains("has not answered within 6 s"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_comes_from_the_command_line_the_environment_or_the_file() {
    let served = serve(Some(TOKEN)).await;
    let (name, address) = (served.name.clone(), served.address());
    let without = folder(&name, address, "");
    let error = fails(&without, &["reload"]);
    assert!(error.starts_with("error: not allowed: "), "{error}");
    assert!(error.contains("WASMILL_TOKEN"), "{error}");
    succeeds(&without, &["reload", "--token", TOKEN]);
    let from_environment = |folder: &TempDir, token: &str| {
        let mut command = wasmill(&["reload"]);
        let command = command
            .current_dir(folder.path())
            .env("WASMILL_TOKEN", token);
        command.output().unwrap()
    };
    assert!(from_environment(&without, TOKEN).status.success());
    let with = folder(&name, address, &format!("token = \"{TOKEN}\""));
    succeeds(&with, &["reload"]);
    assert!(from_environment(&with, "").status.success());
    let variable = folder(&name, address, "token = \"${WASMILL_TOKEN}\"");
    assert!(from_environment(&variable, TOKEN).status.success());
    let error = fails(&variable, &["reload"]);
    assert!(error.contains("WASMILL_TOKEN"), "{error}");

    let other = "0123456789abcdef-other";
    let error = fails(&with, &["reload", "--token", other]);
    assert!(error.contains("not the token"), "{error}");
    let error = fails(&with, &["reload", "--token", "a\r\nX: y"]);
    assert!(error.contains("is no token"), "{error}");
    for secret in [TOKEN, other] {
        assert!(!error.contains(secret), "{error}");
    }
    let help = stdout(&from_help());
    assert!(
        help.contains("WASMILL_TOKEN") && !help.contains(TOKEN),
        "{help}"
    );
    // Asking needs no token.
    assert!(stdout(&run(&variable, &["status"])).contains(&name));
    assert_eq!(served.engine.asked().len(), 5);
}

fn from_help() -> Output {
    let mut command = wasmill(&["rollback", "--help"]);
    command.env("WASMILL_TOKEN", TOKEN).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_found_though_its_file_is_broken_and_never_another_one() {
    let served = serve(None).await;
    let broken = folder(
        &served.name,
        served.address(),
        "[source]\nurl = \"${UNSET}\"\n[[transform]\n",
    );
    succeeds(&broken, &["rollback"]);
    let other = folder("other", served.address(), "");
    let error = fails(&other, &["rollback"]);
    let expected = format!("answers for pipeline `{}`, not for `other`", served.name);
    assert!(error.contains(&expected), "{error}");
    assert_eq!(served.engine.asked().len(), 1);

    let nobody = folder(&served.name, free_address(), "");
    let error = fails(&nobody, &["reload"]);
    assert!(error.contains("is the pipeline running"), "{error}");
    let silent = tempfile::tempdir().unwrap();
    fs::write(
        silent.path().join("pipeline.toml"),
        "[pipeline]\nname = \"x\"\n",
    )
    .unwrap();
    let error = fails(&silent, &["reload"]);
    assert!(error.contains("has no `[admin]`"), "{error}");
    let error = fails(&silent, &["reload", "missing.toml"]);
    assert!(error.contains("missing.toml"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_lists_the_newest_versions_and_the_last_refusal() {
    let served = serve(None).await;
    let folder = folder(&served.name, served.address(), "");
    let all = (1..=9).map(|version| deployment(version, Trigger::File, Outcome::Accepted));
    served.engine.deployed(all.collect());
    let reason = "pipeline.toml has 4 errors".to_owned();
    let trigger = Trigger::Signal;
    served.engine.tell(Happening::Refused { trigger, reason });
    while get(served.address(), "/api/deployments").json()["refused"].is_null() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let shown = stdout(&run(&folder, &["status"]));
    for line in [
        "deployment    9, by file at 2026-11-23T07:00:00.000Z, from epoch 63, accepted\n",
        "              5, by file at",
        "refused       by signal at ",
        "Z: pipeline.toml has 4 errors\n",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    assert!(!shown.contains(" 4, by file"), "{shown}");
    let json: Value = serde_json::from_str(&stdout(&run(&folder, &["status", "--json"]))).unwrap();
    assert_eq!(json["deployments"].as_array().map(Vec::len), Some(5));
    assert_eq!(json["refused"]["trigger"], "signal");
}
