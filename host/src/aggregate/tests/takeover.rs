//! Tables that come into the place of others.

use super::*;

/// The totals of all groups, by product.
fn totals(table: &mut StateTable) -> BTreeMap<String, i64> {
    let mut totals = BTreeMap::new();
    for batch in table.all_rows().expect("no guest fails") {
        let products = batch
            .column_by_name("product")
            .expect("the key")
            .as_string::<i32>();
        let sums = batch.column_by_name("total").expect("the output");
        let sums = sums.as_primitive::<Int64Type>().values();
        for (product, sum) in products.iter().zip(sums) {
            totals.insert(product.unwrap_or_default().to_owned(), *sum);
        }
    }
    totals
}

fn sums(pairs: &[(&str, i64)]) -> BTreeMap<String, i64> {
    pairs
        .iter()
        .map(|(product, sum)| ((*product).to_owned(), *sum))
        .collect()
}

#[test]
fn states_of_the_same_kind_change_hands_as_they_are() {
    let mut before = table();
    before
        .merge(&fold(&[(0, Some("a"), 1), (0, Some("b"), 2)]))
        .expect("it merges");
    let stored: Vec<u64> = before
        .snapshot()
        .segments
        .iter()
        .map(Segment::number)
        .collect();
    let mut after = table();
    after.take_over(before).expect("they are of one kind");
    assert_eq!(totals(&mut after), sums(&[("a", 1), ("b", 2)]));
    let kept: Vec<u64> = after
        .snapshot()
        .segments
        .iter()
        .map(Segment::number)
        .collect();
    assert_eq!(kept, stored, "nothing of it has to be stored again");
}

#[test]
fn states_of_another_version_are_migrated_whenever_they_were_brought_in() {
    for early in [false, true] {
        let mut before = table();
        let some: Vec<Row> = vec![(0, Some("a"), 1), (0, Some("b"), 2)];
        before.merge(&fold(&some)).expect("it merges");
        let mut after = table_of_version(3);
        if early {
            assert_eq!(after.bring_in(&before.snapshot()).expect("it can"), 2);
        }
        // What comes later overrules what was brought in.
        before
            .merge(&fold(&[(0, Some("b"), 5), (0, Some("c"), 7)]))
            .expect("it merges");
        if early {
            assert_eq!(after.bring_in(&before.snapshot()).expect("it can"), 2);
            assert_eq!(after.bring_in(&before.snapshot()).expect("it can"), 0);
        }
        after.take_over(before).expect("it migrates");
        assert_eq!(
            totals(&mut after),
            sums(&[("a", 100), ("b", 700), ("c", 700)])
        );
    }
}

#[test]
fn logic_that_cannot_migrate_says_so_before_anything_has_changed() {
    let mut after = table_of_version(2);
    assert!(after.ask_to_migrate(&Sum::of_version(1).kind()).is_ok());
    let error = after.ask_to_migrate(&Sum::of_version(0).kind());
    let error = error.expect_err("it is too old").to_string();
    assert_eq!(
        error,
        "aggregate `sums`: its component failed to migrate states"
    );
}

#[test]
fn states_of_other_groups_are_not_taken_over() {
    let sum = Sum::new();
    let none = config::Window::None;
    let layout = Layout::new(&input(), &[], &none, sum.kind(), &sum.output).expect("no key");
    let mut other = StateTable::new("sums".into(), layout, Box::new(sum), 256);
    assert!(matches!(
        other.take_over(table()),
        Err(AggregateError::Columns { .. })
    ));
}

#[test]
fn what_was_brought_in_of_states_that_are_gone_does_not_count() {
    let mut gone = table();
    gone.merge(&fold(&[(0, Some("a"), 1)])).expect("it merges");
    let mut after = table_of_version(2);
    after.bring_in(&gone.snapshot()).expect("it can");
    // The aggregate was removed, and came back with nothing.
    let mut before = table();
    before
        .merge(&fold(&[(0, Some("b"), 2)]))
        .expect("it merges");
    after.take_over(before).expect("it migrates");
    assert_eq!(totals(&mut after), sums(&[("b", 20)]));
    let mut after = table_of_version(2);
    after.bring_in(&gone.snapshot()).expect("it can");
    after.begin_anew();
    assert_eq!(totals(&mut after), sums(&[]));
}

#[test]
fn two_halves_make_the_whole_however_much_was_joined_beforehand() {
    let row = |product, amount| (0, Some(product), amount);
    let before = [row("a", 1), row("b", 2), row("b", 3)];
    let rounds = [
        vec![row("b", 10), row("c", 20)],
        vec![row("b", 30), row("d", 40), row("b", 5)],
        vec![row("c", 50), row("a", 60)],
    ];
    for joined_beforehand in 0..=rounds.len() {
        let mut whole = table();
        whole.merge(&fold(&before)).expect("it merges");
        whole.expect_other_half();
        let mut other = table();
        for (round, rows) in rounds.iter().enumerate() {
            if round < joined_beforehand {
                whole.bring_in(&other.snapshot()).expect("it merges");
            }
            other.merge(&fold(rows)).expect("it merges");
        }
        whole.take_over(other).expect("they are of one kind");
        assert_eq!(
            totals(&mut whole),
            sums(&[("a", 61), ("b", 50), ("c", 70), ("d", 40)])
        );
        assert!(!whole.is_a_half());
        whole.merge(&fold(&[row("a", 1)])).expect("it merges");
        assert_eq!(totals(&mut whole)["a"], 62, "it goes on as one");
    }
}

#[test]
fn a_half_does_not_take_states_of_another_version_for_its_own() {
    let mut half = table();
    half.expect_other_half();
    assert!(matches!(
        half.take_over(table_of_version(3)),
        Err(AggregateError::Columns { .. })
    ));
}

#[test]
fn a_half_without_another_one_is_the_whole() {
    let mut half = table();
    half.merge(&fold(&[(0, Some("a"), 1)])).expect("it merges");
    half.expect_other_half();
    half.begin_anew();
    assert!(!half.is_a_half());
    assert_eq!(totals(&mut half), sums(&[("a", 1)]));
}

proptest! {
    #[test]
    fn joined_halves_are_as_if_they_had_never_been_apart(
        before in prop::collection::vec(any_row(), 0..60),
        rounds in prop::collection::vec((any::<bool>(), prop::collection::vec(any_row(), 0..40)), 0..6),
    ) {
        let mut at_once = table();
        at_once.merge(&fold(&before)).expect("it merges");
        let (mut whole, mut other) = (table(), table());
        whole.merge(&fold(&before)).expect("it merges");
        whole.expect_other_half();
        for (joins, rows) in &rounds {
            if *joins {
                whole.bring_in(&other.snapshot()).expect("it merges");
            }
            other.merge(&fold(rows)).expect("it merges");
            at_once.merge(&fold(rows)).expect("it merges");
        }
        whole.take_over(other).expect("they are of one kind");
        prop_assert_eq!(all(&mut whole), all(&mut at_once));
    }
}

/// All rows, in order.
fn all(table: &mut StateTable) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in table.all_rows().expect("no guest fails") {
        for row in 0..batch.num_rows() {
            rows.push(format!("{:?}", batch.slice(row, 1).columns()));
        }
    }
    rows.sort();
    rows
}
