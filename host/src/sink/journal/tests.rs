use proptest::prelude::*;

use super::*;

fn progress(rows: &[(&str, u64)]) -> BTreeMap<String, Progress> {
    rows.iter()
        .map(|&(sink, epoch)| {
            let row = Progress {
                epoch: EpochId(epoch),
                generation: 1,
            };
            (sink.to_owned(), row)
        })
        .collect()
}

#[test]
fn a_pipeline_name_is_quoted_in_the_sql_that_forgets_it() {
    assert!(forget_sql("it's").contains("DELETE FROM wasmill_epochs WHERE pipeline = 'it''s';"));
}

#[test]
fn a_smaller_generation_is_of_a_database_that_was_set_back() {
    assert!(matches!(not_ours("p", 1, 2), SinkError::Fenced { .. }));
    let message = not_ours("p", 2, 1).to_string();
    assert!(message.contains("Start the pipeline again"), "{message}");
}

#[test]
fn tables_of_another_version_are_refused_with_the_ways_out() {
    assert!(refuse_other_tables(&[]).is_ok());
    let error = refuse_other_tables(&[("wasmill_pipelines", "life")]);
    let message = error.unwrap_err().to_string();
    assert!(
        message.contains("wasmill_pipelines has no column `life`"),
        "{message}"
    );
    assert!(
        message.ends_with("DROP TABLE wasmill_deployments; COMMIT;"),
        "{message}"
    );
}

#[test]
fn a_changed_definition_is_refused_with_its_differences_and_the_ways_out() {
    assert!(check_definition("sales", r#"{"a": 1}"#, r#"{"a":1}"#, "").is_ok());
    let error = check_definition("sales", r#"{"a": 1}"#, r#"{"a": 2}"#, "so and so");
    let message = error.unwrap_err().to_string();
    assert!(message.contains("\n  - a was 1, is now 2\n"), "{message}");
    assert!(message.ends_with("\n  so and so"), "{message}");
}

#[test]
fn a_sink_may_join_until_the_first_epoch_is_committed() {
    let sinks = ["rows".to_owned(), "search".to_owned()];
    let refuse = |rows: &[(&str, u64)]| refuse_late_sinks("p", &sinks, &progress(rows), "");
    assert!(refuse(&[]).is_ok());
    assert!(refuse(&[("rows", 0)]).is_ok());
    assert!(refuse(&[("rows", 2), ("search", 1)]).is_ok());
    let message = refuse(&[("rows", 2)]).unwrap_err().to_string();
    assert!(
        message.contains("sink `search` is new to pipeline `p`"),
        "{message}"
    );
}

#[test]
fn a_sink_may_come_back_as_long_as_the_journal_reaches_back_to_it() {
    let refuse = |epoch, oldest| {
        let confirmed = BTreeMap::from([("search".to_owned(), EpochId(epoch))]);
        refuse_pruned_journal("p", &confirmed, EpochId(oldest), "")
    };
    assert!(refuse(0, 0).is_ok());
    assert!(refuse(0, 1).is_ok());
    assert!(refuse(0, 2).is_err());
    assert!(refuse(5, 5).is_ok());
    assert!(refuse(5, 6).is_err());
}

#[test]
fn damaged_journal_entries_are_no_positions() {
    assert_eq!(parse_offsets("[]"), None);
    assert_eq!(parse_offsets(r#"{"-1": 0}"#), None);
    for damaged in [
        r#"{"0": 1}"#,
        r#"{"0": [[1]]}"#,
        r#"{"0": [[1, 2, 3]]}"#,
        r#"{"0": [[2, 1]]}"#,
        r#"{"0": ["1"]}"#,
        r#"{"0": [[-9223372036854775808, 9223372036854775807]]}"#,
        r#"{"0": [[0, 9223372036854775806]]}"#,
        r#"{"0": [[0, 9999999]], "1": [[0, 9999999]]}"#,
    ] {
        assert_eq!(parse_records(damaged), None, "{damaged}");
    }
}

fn origins(of: &[(u32, i64)]) -> BTreeSet<Origin> {
    of.iter()
        .map(|&(partition, offset)| Origin {
            partition: Partition(partition),
            offset,
        })
        .collect()
}

#[test]
fn excluded_records_that_follow_one_another_are_a_range() {
    let excluded = origins(&[
        (0, 3),
        (0, 7),
        (0, 8),
        (0, 9),
        (2, i64::MAX - 1),
        (2, i64::MAX),
        (10, 8),
    ]);
    let json = records_json(&excluded);
    assert_eq!(
        json,
        r#"{"0":[3,[7,9]],"2":[[9223372036854775806,9223372036854775807]],"10":[8]}"#
    );
    assert_eq!(parse_records(&json), Some(excluded));
    assert_eq!(records_json(&BTreeSet::new()), "{}");
}

#[test]
fn rejected_records_stand_there_by_stage() {
    let rejected: ByStage = [
        ("decode".into(), origins(&[(0, 3)])),
        ("sales".into(), origins(&[(0, 7), (0, 8), (1, 0)])),
    ]
    .into();
    let json = rejected_json(&rejected);
    assert_eq!(
        json,
        r#"{"decode":{"0":[3]},"sales":{"0":[[7,8]],"1":[0]}}"#
    );
    assert_eq!(parse_rejected(&json), Some(rejected));
    assert_eq!(rejected_json(&ByStage::new()), "{}");
    for damaged in [
        r#"{"0": [3]}"#,
        r#"{"sales": [3]}"#,
        r#"{"sales": {"0": [[2, 1]]}}"#,
    ] {
        assert_eq!(parse_rejected(damaged), None, "{damaged}");
    }
}

#[test]
fn a_journal_without_ranges_reads_as_before() {
    let old = r#"{"0": [3, 7, 8], "4": [0]}"#;
    let excluded = origins(&[(0, 3), (0, 7), (0, 8), (4, 0)]);
    assert_eq!(parse_records(old), Some(excluded));
}

proptest! {
    #[test]
    fn positions_and_exclusions_read_back(
        origins in prop::collection::btree_set(
            prop_oneof![(any::<u32>(), any::<i64>()), (0u32..2, -5i64..30)],
            0..40,
        )
    ) {
        let excluded: BTreeSet<Origin> = origins
            .iter()
            .map(|&(partition, offset)| Origin { partition: Partition(partition), offset })
            .collect();
        prop_assert_eq!(parse_records(&records_json(&excluded)), Some(excluded));
        let positions: Positions = origins
            .into_iter()
            .map(|(partition, next)| (Partition(partition), next))
            .collect();
        prop_assert_eq!(parse_offsets(&offsets_json(&positions)), Some(positions));
    }
}
