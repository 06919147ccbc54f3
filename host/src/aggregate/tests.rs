//! Both phases together, over native logic in place of a guest.

mod takeover;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use proptest::prelude::*;

use super::*;
use crate::config::Every;
use crate::guest::RowRejection;
use crate::record::Rows;

const DAY: i64 = 86_400_000_000;
/// What the native logic refuses.
const POISON: i64 = 666;
/// What makes a whole call fail, as a trap would.
const TRAP: i64 = 667;

/// Sums a column of integers. Each version of it counts in tenths of the unit of the one before.
struct Sum {
    version: u32,
    state: Schema,
    output: Schema,
}

fn schema(fields: &[(&str, DataType, bool)]) -> Schema {
    Schema::new(fields.iter().map(|f| Field::new(f.0, f.1, f.2)).collect()).expect("distinct names")
}

impl Sum {
    fn new() -> Self {
        Self::of_version(1)
    }

    fn of_version(version: u32) -> Self {
        Self {
            version,
            state: schema(&[("sum", DataType::Int64, false)]),
            output: schema(&[("total", DataType::Int64, false)]),
        }
    }

    fn kind(&self) -> StateKind {
        StateKind {
            columns: self.state.clone(),
            version: self.version,
        }
    }

    fn add(groups: &[u32], count: u32, values: &[i64], schema: &Schema) -> RecordBatch {
        let mut sums = vec![0i64; count as usize];
        for (group, value) in groups.iter().zip(values) {
            sums[*group as usize] += value;
        }
        let sums: ArrayRef = Arc::new(Int64Array::from(sums));
        RecordBatch::try_new(schema.arrow().clone(), vec![sums]).expect("one int64 column")
    }
}

impl AggregateLogic for Sum {
    fn fold(
        &mut self,
        groups: &[u32],
        group_count: u32,
        input: &RecordBatch,
    ) -> Result<Folded, CallError> {
        let values = input.column(0).as_primitive::<Int64Type>().values();
        if values.contains(&TRAP) {
            return Err(CallError::Refused("trapped".into()));
        }
        let poisoned = (0u32..).zip(values).filter(|(_, v)| **v == POISON);
        let poisoned: Vec<RowRejection> = poisoned
            .map(|(row, _)| RowRejection {
                row,
                reason: "poison".into(),
            })
            .collect();
        if !poisoned.is_empty() {
            return Ok(Folded::Rejected(poisoned));
        }
        Ok(Folded::States(Self::add(
            groups,
            group_count,
            values,
            &self.state,
        )))
    }

    fn merge(
        &mut self,
        groups: &[u32],
        group_count: u32,
        parts: &RecordBatch,
    ) -> Result<RecordBatch, CallError> {
        let values = parts.column(0).as_primitive::<Int64Type>().values();
        Ok(Self::add(groups, group_count, values, &self.state))
    }

    fn finish(&mut self, states: &RecordBatch) -> Result<RecordBatch, CallError> {
        let columns = states.columns().to_vec();
        Ok(RecordBatch::try_new(self.output.arrow().clone(), columns).expect("one int64 column"))
    }

    /// Each version counts in another unit.
    fn migrate(&mut self, of: &StateKind, states: &RecordBatch) -> Result<RecordBatch, CallError> {
        if of.version == 0 {
            return Err(CallError::Refused("too old".to_owned()));
        }
        let factor = i64::from(10_u32.pow(self.version - of.version));
        let values = states.column(0).as_primitive::<Int64Type>();
        let values: Int64Array = values.unary(|value| value * factor);
        let columns: Vec<ArrayRef> = vec![Arc::new(values)];
        Ok(RecordBatch::try_new(self.state.arrow().clone(), columns).expect("one int64 column"))
    }
}

fn input() -> Schema {
    schema(&[
        ("at", DataType::Timestamp, false),
        ("product", DataType::Utf8, true),
        ("amount", DataType::Int64, false),
    ])
}

fn layout() -> Layout {
    layout_of(&Sum::new())
}

fn layout_of(sum: &Sum) -> Layout {
    let window = config::Window::Tumbling {
        every: Every::Days(1),
        time: "at".into(),
    };
    Layout::new(
        &input(),
        &["product".into()],
        &window,
        sum.kind(),
        &sum.output,
    )
    .expect("the columns are there")
}

fn stage() -> AggregateStage {
    AggregateStage::new(
        "sums".into(),
        Box::new(Sum::new()),
        vec![2],
        &layout(),
        1 << 20,
    )
}

fn table_of_version(version: u32) -> StateTable {
    let sum = Sum::of_version(version);
    StateTable::new("sums".into(), layout_of(&sum), Box::new(sum), 256)
}

fn table() -> StateTable {
    StateTable::new("sums".into(), layout(), Box::new(Sum::new()), 256)
}

type Row = (i64, Option<&'static str>, i64);

fn rows(rows: &[Row]) -> Rows {
    let at: TimestampMicrosecondArray = rows.iter().map(|r| Some(r.0)).collect();
    let product: StringArray = rows.iter().map(|r| r.1).collect();
    let amount: Int64Array = rows.iter().map(|r| Some(r.2)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(at.with_timezone("UTC")),
        Arc::new(product),
        Arc::new(amount),
    ];
    Rows {
        columns: RecordBatch::try_new(input().arrow().clone(), columns).expect("three columns"),
        records: (0..rows.len() as u32).collect(),
    }
}

/// Folds rows of which none is rejected.
fn fold(some: &[Row]) -> Vec<Partial> {
    match stage().fold(&rows(some)) {
        Ok(FoldedRows::Partials(partials)) => partials,
        other => panic!("nothing is rejected: {other:?}"),
    }
}

/// Folds rows of which some are rejected.
fn rejections(some: &[Row]) -> Vec<crate::record::Rejection> {
    match stage().fold(&rows(some)) {
        Ok(FoldedRows::Rejected(rejections)) => rejections,
        other => panic!("some are rejected: {other:?}"),
    }
}

type Totals = BTreeMap<(i64, Option<String>), i64>;

/// What the table shows for the groups of these partials.
fn shown(table: &mut StateTable, partials: &[Partial]) -> Totals {
    let mut totals = Totals::new();
    for batch in table.rows(&Touched::by(partials)).expect("sums finish") {
        let product = batch.column(0).as_string::<i32>();
        let start = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        let end = batch.column(2).as_primitive::<TimestampMicrosecondType>();
        let total = batch.column(3).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            assert_eq!(end.value(row), start.value(row) + DAY);
            let product = product.iter().nth(row).flatten().map(str::to_owned);
            let before = totals.insert((start.value(row), product), total.value(row));
            assert_eq!(before, None, "a group is shown once");
        }
    }
    totals
}

fn expected(rows: &[Row]) -> Totals {
    let mut totals = Totals::new();
    for (at, product, amount) in rows {
        let day = at.div_euclid(DAY) * DAY;
        *totals.entry((day, product.map(str::to_owned))).or_default() += amount;
    }
    totals
}

fn any_row() -> impl Strategy<Value = Row> {
    (
        -3 * DAY..3 * DAY,
        prop::sample::select(vec![None, Some(""), Some("a"), Some("é漢")]),
        -1000i64..600,
    )
}

proptest! {
    #[test]
    fn states_do_not_depend_on_how_rows_are_split(
        epochs in prop::collection::vec(prop::collection::vec(any_row(), 0..30), 1..5),
        cuts in prop::collection::vec(0usize..30, 4),
    ) {
        let (mut whole, mut split) = (table(), table());
        let mut all = Vec::new();
        for epoch in &epochs {
            all.extend_from_slice(epoch);
            let one = fold(epoch);
            whole.merge(&one).expect("sums merge");
            let mut parts = Vec::new();
            let mut rest = epoch.as_slice();
            for cut in &cuts {
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                parts.extend(fold(head));
                rest = tail;
            }
            parts.extend(fold(rest));
            parts.reverse();
            split.merge(&parts).expect("sums merge");
        }
        let everything = fold(&all);
        prop_assert_eq!(shown(&mut whole, &everything), expected(&all));
        prop_assert_eq!(shown(&mut split, &everything), expected(&all));
    }
}

#[test]
fn a_restored_table_goes_on_where_the_stored_one_stopped() {
    let first = fold(&[(0, Some("a"), 1), (DAY, None, 2)]);
    let mut before = table();
    before.merge(&first).expect("sums merge");
    let mut after = table();
    restore(&mut after, &before.snapshot());
    let second = fold(&[(1, Some("a"), 10)]);
    after.merge(&second).expect("sums merge");
    assert_eq!(
        shown(&mut after, &second),
        Totals::from([((0, Some("a".into())), 11)])
    );
    assert_eq!(after.len(), 2);
}

#[test]
fn without_a_window_a_key_has_one_state_whatever_the_time() {
    let sum = Sum::new();
    let (key, none) = (["product".to_owned()], config::Window::None);
    let layout =
        Layout::new(&input(), &key, &none, sum.kind(), &sum.output).expect("the columns are there");
    let sums = || Box::new(Sum::new());
    let mut stage = AggregateStage::new("sums".into(), sums(), vec![2], &layout, 1 << 20);
    let mut table = StateTable::new("sums".into(), layout, sums(), 256);
    // Not even a time that no window has is looked at.
    let epochs = [
        vec![(0, Some("a"), 1), (9 * DAY, Some("a"), 2)],
        vec![(i64::MAX, Some("a"), 4), (0, None, 8)],
    ];
    let mut touched = Vec::new();
    for epoch in epochs {
        let Ok(FoldedRows::Partials(partials)) = stage.fold(&rows(&epoch)) else {
            panic!("nothing is rejected");
        };
        table.merge(&partials).expect("sums merge");
        touched.extend(partials);
    }
    let mut totals = BTreeMap::new();
    for batch in table.rows(&Touched::by(&touched)).expect("sums finish") {
        assert_eq!(batch.num_columns(), 2, "no bounds of a window");
        let total = batch.column(1).as_primitive::<Int64Type>();
        for (row, product) in batch.column(0).as_string::<i32>().iter().enumerate() {
            totals.insert(product.map(str::to_owned), total.value(row));
        }
    }
    assert_eq!(totals, BTreeMap::from([(Some("a".into()), 7), (None, 8)]));
}

#[test]
fn a_checkpoint_holds_only_what_changed_and_a_restored_table_goes_on_with_it() {
    let mut before = table();
    before
        .merge(&fold(&[(0, Some("a"), 1), (0, Some("b"), 2)]))
        .expect("sums merge");
    let first = before.snapshot();
    before
        .merge(&fold(&[(0, Some("b"), 40)]))
        .expect("sums merge");
    let second = before.snapshot();
    assert_eq!(first.segments.len(), 1);
    assert_eq!(second.segments.len(), 2);
    assert_eq!(second.segments[1].entries().count(), 1);

    let mut after = table();
    let restored = restore(&mut after, &second);
    assert_eq!((after.len(), after.bytes()), (before.len(), before.bytes()));
    let numbers = |snapshot: &TableSnapshot| -> Vec<u64> {
        snapshot.segments.iter().map(Segment::number).collect()
    };
    // Nothing is new to the next checkpoint.
    assert_eq!(numbers(&after.snapshot()), restored);
    let everything = fold(&[(0, Some("a"), 0), (0, Some("b"), 0)]);
    let expected = Totals::from([((0, Some("a".into())), 1), ((0, Some("b".into())), 42)]);
    assert_eq!(shown(&mut after, &everything), expected);
}

/// Puts the segments of a snapshot back, each as a segment; their numbers.
fn restore(table: &mut StateTable, snapshot: &TableSnapshot) -> Vec<u64> {
    let restored = snapshot.segments.iter().map(|segment| {
        let batch = snapshot.columns.write(segment).expect("our own bytes");
        let number = table.restore(&batch).expect("our own columns");
        number.expect("it is one again")
    });
    restored.collect()
}

#[test]
fn states_of_another_aggregate_are_refused_with_both_lists_of_columns() {
    let sum = Sum::new();
    let layout = Layout::new(
        &input(),
        &[],
        &config::Window::None,
        sum.kind(),
        &sum.output,
    );
    let layout = layout.expect("there is no key");
    let mut other = StateTable::new("other".into(), layout, Box::new(Sum::new()), 256);
    let error = other.restore(&RecordBatch::new_empty(table_columns()));
    assert_eq!(
        error.expect_err("a key too many").to_string(),
        "the checkpoint of aggregate `other` has the columns window_start: Timestamp(µs, \"UTC\"), \
         key.product: Utf8, state.sum: Int64, and not state.sum: Int64"
    );
}

/// The columns of the table's states.
fn table_columns() -> arrow_schema::SchemaRef {
    let mut table = table();
    table.merge(&fold(&[(0, None, 1)])).expect("sums merge");
    let snapshot = table.snapshot();
    let batch = snapshot.columns.write(&snapshot.segments[0]);
    batch.expect("our own bytes").schema()
}

#[test]
fn rejected_rows_are_named_and_nothing_is_folded() {
    let rejected = rejections(&[
        (0, None, 1),
        (0, None, POISON),
        (0, None, 3),
        (i64::MAX, None, 1),
    ]);
    let records: Vec<u32> = rejected.iter().map(|r| r.record).collect();
    // Time is looked at first; the poison shows when the rest is folded again.
    assert_eq!(records, [3]);
    let rejected = rejections(&[(0, None, 1), (0, None, POISON)]);
    assert_eq!(rejected[0].record, 1);
}

#[test]
fn a_group_with_too_long_a_key_is_rejected() {
    let long: &'static str = "x".repeat(3_000).leak();
    let rejected = rejections(&[(0, Some("a"), 1), (0, Some(long), 2), (0, Some(long), 3)]);
    let records: Vec<u32> = rejected.iter().map(|r| r.record).collect();
    assert_eq!(records, [1, 2]);
}

#[test]
fn a_row_that_makes_calls_fail_is_found_among_its_neighbours() {
    let mut many: Vec<Row> = (0..500).map(|i| (i, Some("a"), i)).collect();
    many[123].2 = TRAP;
    let rejected = rejections(&many);
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].record, 123);
}
