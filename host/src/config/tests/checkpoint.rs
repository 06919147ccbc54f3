//! `[checkpoint]`, right and faulty.

use std::path::Path;
use std::time::Duration;

use insta::assert_snapshot;

use super::{RIGHT, accepted, refused_text};
use crate::config::{Checkpoint, CheckpointLocation, Look, S3Location, load_embedded, parse};

fn with(section: &str) -> String {
    format!("{RIGHT}\n[checkpoint]\n{section}\n")
}

fn folder(checkpoint: &Checkpoint) -> &Path {
    match &checkpoint.location {
        CheckpointLocation::File { path } => path,
        CheckpointLocation::S3(s3) => panic!("{s3:?}"),
    }
}

/// The bucket of such a section, with these variables.
fn bucket(section: &str, variables: &[(&str, &str)]) -> Result<S3Location, String> {
    let environment = |name: &str| {
        let found = variables.iter().find(|(set, _)| *set == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    match parse(
        &with(section),
        "pipeline.toml",
        Path::new("folder"),
        &environment,
    ) {
        Ok((pipeline, _)) => match pipeline.checkpoint.location {
            CheckpointLocation::S3(s3) => Ok(s3),
            CheckpointLocation::File { path } => panic!("{}", path.display()),
        },
        Err(diagnostics) => Err(diagnostics.render(Look::Plain)),
    }
}

#[test]
fn without_it_there_are_three_in_a_folder_beside_the_file() {
    for text in [RIGHT.to_owned(), with("")] {
        let checkpoint = accepted(&text).checkpoint;
        assert_eq!(checkpoint.interval, Duration::from_secs(30));
        assert_eq!(checkpoint.keep, 3);
        assert_eq!(folder(&checkpoint), Path::new("folder/data/checkpoints"));
    }
}

#[test]
fn everything_can_be_set() {
    let text = with("interval = \"1m\"\nkeep = \"${TEN}\"\nstore = \"file:state/${TEN}\"");
    let checkpoint = accepted(&text).checkpoint;
    assert_eq!(checkpoint.interval, Duration::from_mins(1));
    assert_eq!(checkpoint.keep, 10);
    assert_eq!(folder(&checkpoint), Path::new("folder/state/10"));
}

#[test]
fn an_absolute_folder_has_one_slash_or_three() {
    for store in ["file:/var/lib/x", "file:///var/lib/x"] {
        let checkpoint = accepted(&with(&format!("store = \"{store}\""))).checkpoint;
        assert_eq!(folder(&checkpoint), Path::new("/var/lib/x"));
    }
}

#[test]
fn a_bucket_needs_its_region_alone() {
    let s3 = bucket("store = \"s3://sales/a/b=c/\"\nregion = \"eu-west-1\"", &[]).unwrap();
    assert_eq!((s3.bucket.as_str(), s3.prefix.as_str()), ("sales", "a/b=c"));
    assert_eq!(
        (s3.region.as_str(), s3.endpoint.as_deref()),
        ("eu-west-1", None)
    );
    assert!(s3.credentials.is_none());
    assert_eq!(s3.to_string(), "s3://sales/a/b=c");
}

#[test]
fn the_environment_says_what_the_file_does_not() {
    let variables = [
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ENDPOINT_URL", "http://localhost:9000/"),
        ("AWS_ACCESS_KEY_ID", "me"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_SESSION_TOKEN", ""),
    ];
    let s3 = bucket("store = \"s3://sales\"", &variables).unwrap();
    assert_eq!(s3.to_string(), "s3://sales at http://localhost:9000");
    assert_eq!(s3.region, "eu-west-1");
    let credentials = s3.credentials.as_ref().unwrap();
    assert_eq!(credentials.secret_access_key.reveal(), "hunter2");
    assert!(credentials.session_token.is_none());
    assert!(!format!("{s3:?}").contains("hunter2"));

    let own = "store = \"s3://sales\"\nregion = \"r\"\nendpoint = \"https://e\"";
    let s3 = bucket(own, &variables).unwrap();
    assert_eq!(
        (s3.region.as_str(), s3.endpoint.as_deref()),
        ("r", Some("https://e"))
    );
    // Half of the credentials are none.
    let half = bucket(own, &variables[2..3]).unwrap();
    assert!(half.credentials.is_none());
}

#[test]
fn a_server_of_ones_own_needs_no_region() {
    let s3 = bucket(
        "store = \"s3://sales\"\nendpoint = \"http://[::1]:9000\"",
        &[],
    )
    .unwrap();
    assert_eq!(s3.region, "us-east-1");
}

#[test]
fn a_bucket_of_amazons_needs_its_region() {
    assert_snapshot!(refused_text(&with("store = \"s3://sales\"")));
}

#[test]
fn a_variable_that_is_wrong_is_named_and_not_shown() {
    let variables = [("AWS_ENDPOINT_URL", "http://me:hunter2@host")];
    let report = bucket("store = \"s3://sales\"", &variables).unwrap_err();
    assert!(!report.contains("hunter2"), "{report}");
    assert_snapshot!(report);
}

#[test]
fn every_mistake_is_reported_at_once() {
    assert_snapshot!(refused_text(&with(
        "interval = \"2h\"\nkeep = 1\nstore = \"gs://sales\"\nendpoint = \"localhost:9000\"\nregion = \"\"\nevery = \"30s\""
    )));
}

#[test]
fn a_folder_has_no_region() {
    assert_snapshot!(refused_text(&with(
        "region = \"eu-west-1\"\nendpoint = \"http://localhost:9000\""
    )));
}

#[test]
fn a_store_is_a_folder_or_a_bucket() {
    let stores = [
        "data/checkpoints",
        "file:",
        "file://host/folder",
        "s3:sales",
        "s3://Sales",
        "s3://ab",
        "s3://sales//a",
        "s3://sales/../a",
        "s3://me:hunter2@sales",
    ];
    let reports = stores.map(|store| refused_text(&with(&format!("store = \"{store}\""))));
    assert_snapshot!(reports.join("\n"));
}

#[test]
fn a_user_does_not_belong_into_the_endpoint() {
    assert_snapshot!(refused_text(&with(
        "store = \"s3://sales\"\nendpoint = \"https://me:hunter2@s3.example.com\""
    )));
}

#[test]
fn an_embedded_run_needs_no_variable_of_its_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.toml");
    let store = "store = \"s3://${BUCKET}\"\nregion = \"${REGION}\"\nendpoint = \"${ENDPOINT}\"";
    std::fs::write(&path, with(store)).unwrap();
    assert!(load_embedded(&path, &|_| None).is_ok());
}
