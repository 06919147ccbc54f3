//! What came of it, for a person (pure).

use std::fmt::Write as _;

use crate::cli::terminal::printable;
use crate::reload::Report;

/// A report.
pub(super) fn text(report: &Report, dry_run: bool) -> String {
    let mut text = String::new();
    list(&mut text, "changes", &report.changes);
    list(&mut text, "states", &report.states);
    list(&mut text, "warnings", &report.warnings);
    let end = match report.version {
        Some(version) => format!("version {version} is in force"),
        None if report.changes.is_empty() => {
            "nothing to change: what is asked for is in force".to_owned()
        }
        None if dry_run => "this was a dry run: nothing was changed".to_owned(),
        None => "done; it needed no new version".to_owned(),
    };
    text + &end + "\n"
}

fn list(text: &mut String, heading: &str, entries: &[String]) {
    let lines = entries.iter().flat_map(|entry| {
        let mut lines = entry.lines();
        let first = lines.next().unwrap_or_default();
        let rest = lines.map(|line| ("  ", line));
        std::iter::once(("", first)).chain(rest)
    });
    let mut heading = heading;
    for (indent, line) in lines {
        let _ = writeln!(text, "{heading:<10}{indent}{}", printable(line));
        heading = "";
    }
}

/// Why the running version stays.
pub(super) fn refusal(kind: &str, error: &str, had_token: bool) -> String {
    let lines: Vec<_> = error.lines().map(printable).collect();
    let error = lines.join("\n");
    match kind {
        "unauthorized" if !had_token => {
            format!(
                "not allowed: {error}; say it with WASMILL_TOKEN in the environment, or --token"
            )
        }
        "unauthorized" => format!(
            "not allowed: {error}; where `token` was just changed in the file, ask with the former one in WASMILL_TOKEN, or send SIGHUP to the run"
        ),
        "forbidden" => format!("not allowed: {error}"),
        "nothing_there" => format!("{error}: the pipeline runs with an older version of wasmill"),
        _ => format!("the running version stays: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::deployment::Version;

    fn report() -> Report {
        Report {
            version: Some(Version(4)),
            changes: vec![
                "component `currency`: 0.1.0 becomes 0.2.0".to_owned(),
                "transform `sales`: another config\n  rates.EUR".to_owned(),
            ],
            states: vec!["`sales_per_day`: taken over as they are".to_owned()],
            warnings: vec!["no way back\u{1b}[31m".to_owned()],
        }
    }

    #[test]
    fn what_came_into_force() {
        assert_snapshot!(text(&report(), false), @r"
        changes   component `currency`: 0.1.0 becomes 0.2.0
                  transform `sales`: another config
                      rates.EUR
        states    `sales_per_day`: taken over as they are
        warnings  no way back\u{1b}[31m
        version 4 is in force
        ");
    }

    #[test]
    fn the_last_line_says_what_happened() {
        let ends = |report: Report, dry_run| {
            let text = text(&report, dry_run);
            text.lines().last().unwrap_or_default().to_owned()
        };
        let none = Report::default();
        let planned = Report {
            version: None,
            ..report()
        };
        assert!(ends(none.clone(), true).starts_with("nothing to change"));
        assert!(ends(none, false).starts_with("nothing to change"));
        assert!(ends(planned.clone(), true).starts_with("this was a dry run"));
        assert!(ends(planned, false).starts_with("done"));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let without = refusal("unauthorized", "needs its token", false);
        assert!(without.contains("WASMILL_TOKEN"), "{without}");
        let with = refusal("unauthorized", "another token", true);
        assert!(with.starts_with("not allowed: another token; "), "{with}");
        assert!(with.contains("SIGHUP"), "{with}");
        let forbidden = refusal("forbidden", "from elsewhere", true);
        assert_eq!(forbidden, "not allowed: from elsewhere");
        let states = refusal("states", "a\u{7}\nb", false);
        assert_eq!(states, "the running version stays: a\\u{7}\nb");
    }
}
