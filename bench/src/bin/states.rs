//! What a checkpoint costs the stream, with many keys of state: `cargo run --release -p wasmill-bench
//! --bin states -- [KEYS]`. The logic is native: what is measured is the table of states.
//!
//! Every epoch touches 10,000 keys at random, and every hundredth one takes a snapshot of all of them,
//! of which nothing is written anywhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use wasmill::aggregate::{
    AggregateLogic, AggregateStage, FoldedRows, Layout, StateKind, StateTable,
};
use wasmill::config::Window;
use wasmill::guest::{CallError, Folded};
use wasmill::pipeline::ProcessUsage;
use wasmill::record::Rows;
use wasmill::schema::{DataType, Field, Schema};

/// Keys that an epoch touches.
const TOUCHED: i64 = 10_000;
/// Epochs between two snapshots.
const INTERVAL: i64 = 100;

/// Adds up its only column, into a sum and a count.
struct Sum(Schema);

impl Sum {
    fn add(&self, groups: &[u32], count: u32, batch: &RecordBatch) -> RecordBatch {
        let mut sums = vec![0; count as usize];
        for (group, value) in groups
            .iter()
            .zip(batch.column(0).as_primitive::<Int64Type>().values())
        {
            sums[*group as usize] += value;
        }
        let column: ArrayRef = Arc::new(Int64Array::from(sums));
        RecordBatch::try_new(Arc::clone(self.0.arrow()), vec![column]).expect("one column")
    }
}

impl AggregateLogic for Sum {
    fn fold(
        &mut self,
        groups: &[u32],
        count: u32,
        input: &RecordBatch,
    ) -> Result<Folded, CallError> {
        Ok(Folded::States(self.add(groups, count, input)))
    }

    fn merge(
        &mut self,
        groups: &[u32],
        count: u32,
        parts: &RecordBatch,
    ) -> Result<RecordBatch, CallError> {
        Ok(self.add(groups, count, parts))
    }

    fn finish(&mut self, states: &RecordBatch) -> Result<RecordBatch, CallError> {
        Ok(states.clone())
    }

    fn migrate(&mut self, _of: &StateKind, states: &RecordBatch) -> Result<RecordBatch, CallError> {
        Ok(states.clone())
    }
}

fn main() -> anyhow::Result<()> {
    let keys: i64 = match std::env::args().nth(1) {
        Some(keys) => keys.parse().context("KEYS is a number")?,
        None => 1_000_000,
    };
    let column = |name: &str| Field::new(name, DataType::Int64, false);
    let input = Schema::new(vec![column("key"), column("amount")])?;
    let sum = Schema::new(vec![column("sum")])?;
    let kind = StateKind {
        columns: sum.clone(),
        version: 1,
    };
    let layout = Layout::new(&input, &["key".to_owned()], &Window::None, kind, &sum)?;
    let logic = || Box::new(Sum(sum.clone()));
    let mut stage = AggregateStage::new("sums".into(), logic(), vec![1], &layout, 8 << 20);
    let mut table = StateTable::new("sums".into(), layout, logic(), 8 << 20);

    let before = ProcessUsage::so_far().memory_peak;
    let (mut merges, mut snapshots) = (Vec::new(), Vec::new());
    let epochs = (keys / TOUCHED).max(1) + 10 * INTERVAL;
    for epoch in 0..epochs {
        // First every key once, then keys all over.
        let key = |row: i64| {
            let row = epoch * TOUCHED + row;
            if row < keys {
                row
            } else {
                row.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed())
                    .rem_euclid(keys)
            }
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new((0..TOUCHED).map(key).collect::<Int64Array>()),
            Arc::new((0..TOUCHED).collect::<Int64Array>()),
        ];
        let rows = Rows {
            columns: RecordBatch::try_new(Arc::clone(input.arrow()), columns)?,
            records: (0..TOUCHED as u32).collect(),
        };
        let FoldedRows::Partials(partials) = stage.fold(&rows)? else {
            anyhow::bail!("nothing is rejected");
        };
        let began = Instant::now();
        table.merge(&partials)?;
        merges.push(began.elapsed());
        if epoch % INTERVAL == INTERVAL - 1 {
            let began = Instant::now();
            let snapshot = table.snapshot();
            snapshots.push((began.elapsed(), snapshot.segments.len()));
        }
    }
    let bytes = ProcessUsage::so_far().memory_peak.saturating_sub(before);
    println!("keys                      {}", table.len());
    println!("bytes of keys and states  {}", table.bytes());
    println!(
        "memory a key, peak        {} bytes",
        bytes / table.len().max(1) as u64
    );
    show(merges, &snapshots);
    Ok(())
}

fn show(mut merges: Vec<Duration>, snapshots: &[(Duration, usize)]) {
    merges.sort_unstable();
    let longest = snapshots.iter().map(|(time, _)| *time).max();
    let segments = snapshots.iter().map(|(_, segments)| *segments).max();
    println!(
        "snapshots                 {}, longest {:?}, segments {} at most",
        snapshots.len(),
        longest.unwrap_or_default(),
        segments.unwrap_or_default()
    );
    println!(
        "merge of {TOUCHED} keys      median {:?}, longest {:?}",
        merges[merges.len() / 2],
        merges[merges.len() - 1]
    );
}
