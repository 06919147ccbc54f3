//! `[reload]` and `[log]`, right and faulty.

use std::time::Duration;

use insta::assert_snapshot;

use super::{RIGHT, accepted, refused_text};
use crate::config::Reload;

fn with_reload(keys: &str) -> String {
    format!("{RIGHT}\n[reload]\n{keys}\n")
}

fn with_log(keys: &str) -> String {
    format!("{RIGHT}\n[log]\n{keys}\n")
}

#[test]
fn what_is_not_said_has_a_default() {
    let pipeline = accepted(RIGHT);
    assert_eq!(pipeline.reload, Reload::DEFAULT);
    assert_eq!(pipeline.log_level, None);
    let keep = accepted(&with_reload("keep = 3")).reload;
    assert_eq!(
        keep,
        Reload {
            keep: 3,
            ..Reload::DEFAULT
        }
    );
    assert_eq!(accepted(&with_log("")).log_level, None);
}

#[test]
fn everything_can_be_set() {
    let reload = accepted(&with_reload(
        "watch = false\nprobation = \"2m\"\nrejected_share = 0.5\nkeep = \"${TEN}\"",
    ));
    let expected = Reload {
        watch: false,
        probation: Duration::from_mins(2),
        rejected_share: 0.5,
        keep: 10,
    };
    assert_eq!(reload.reload, expected);
    let log = accepted(&with_log("level = \"info,wasmill::sink=debug\""));
    assert_eq!(log.log_level.as_deref(), Some("info,wasmill::sink=debug"));
}

#[test]
fn there_may_be_no_probation_and_no_tolerance() {
    let reload = accepted(&with_reload("probation = \"0s\"\nrejected_share = 0"));
    assert_eq!(reload.reload.probation, Duration::ZERO);
    assert!(reload.reload.rejected_share.abs() < f64::EPSILON);
}

#[test]
fn bounds_and_types_are_named() {
    assert_snapshot!(refused_text(&with_reload(
        "watch = \"yes\"\nprobation = 30\nrejected_share = 2\nkeep = 0\nprobations = 1"
    )));
}

#[test]
fn what_is_no_filter_of_the_log_is_refused() {
    assert_snapshot!(refused_text(&with_log("level = \"wasmill=loud\"")));
}

#[test]
fn a_misspelt_level_is_no_module() {
    assert_snapshot!(refused_text(&with_log("level = \"inof\"")));
}

#[test]
fn a_misspelt_key_is_told() {
    assert_snapshot!(refused_text(&with_log("levl = \"debug\"")));
}
