//! The hot path allocates a number of times a batch, and not once a record: decode, a transform and folds
//! of a batch with eight times the records allocate about as often.

use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use wasmill::aggregate::{AggregateStage, FoldedRows, Groupings, Layout, StateKind};
use wasmill::config::{ColumnFrom, Every, Limits, SourceColumn, Window};
use wasmill::decode::Decoder;
use wasmill::guest::{Component, GuestEngine};
use wasmill::record::{Origin, Partition, RawBatch, RawHeaders, RawRecord};
use wasmill::schema::{DataType, Schema};
use wasmill::transform::TransformStage;

use crate::support;

/// Counts the calls of a thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed to the system's allocator as it is; to count touches no memory of it.
#[expect(unsafe_code, reason = "there is no other way to see an allocation")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Memory) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller guarantees.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Memory) {
        // SAFETY: as the caller guarantees.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Memory) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller guarantees.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Memory, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller guarantees.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LIMITS: Limits = Limits {
    memory: 64 << 20,
    time: Duration::from_secs(10),
    output: 8 << 20,
};

/// Records of a full batch, and of a small one.
const MANY: usize = 4_096;
const FEW: usize = MANY / 8;

/// What more records may cost at most: vectors that grow do so a few times more often.
const GROWTH: usize = 100;

/// The stages of a worker.
struct Chain {
    decoder: Decoder,
    transform: TransformStage,
    folds: Vec<AggregateStage>,
}

fn column(name: &str, ty: DataType) -> SourceColumn {
    SourceColumn {
        name: name.to_owned(),
        from: ColumnFrom::Json(vec![name.to_owned()]),
        ty,
        nullable: false,
    }
}

fn fold(component: &Component, input: &Schema, key: &[&str], window: &Window) -> AggregateStage {
    let config = json!({"column": "total_amount_base"});
    let guest = component.aggregate("totals", input, &config, &LIMITS);
    let guest = guest.unwrap();
    let contract = guest.contract();
    let kind = StateKind {
        columns: contract.state.clone(),
        version: contract.state_version,
    };
    let key: Vec<String> = key.iter().map(ToString::to_string).collect();
    let layout = Layout::new(input, &key, window, kind, &contract.output).unwrap();
    let (needs, bytes_max) = (contract.needs.clone(), guest.input_bytes_max());
    AggregateStage::new("totals".into(), Box::new(guest), needs, &layout, bytes_max)
}

impl Chain {
    fn new() -> Self {
        let engine = GuestEngine::new(None).unwrap();
        let load = |name: &str| engine.load(name, &support::guest(name)).unwrap();
        let decoder = Decoder::new(&[
            column("product_category", DataType::Utf8),
            column("customer_id", DataType::Utf8),
            column("currency", DataType::Utf8),
            column("total_amount", DataType::Decimal(2)),
            column("transaction_date", DataType::Timestamp),
        ]);
        let rates = json!({"base": "USD", "rates": {"EUR": "1.08"}});
        let currency = load("currency").transform("sales", decoder.schema(), &rates, &LIMITS);
        let transform = TransformStage::new("sales", currency.unwrap());
        let totals = load("totals");
        let of = |every| Window::Tumbling {
            every,
            time: "transaction_date".to_owned(),
        };
        let fold = |key: &[&str], window| fold(&totals, transform.output(), key, &window);
        let folds = vec![
            fold(&[], of(Every::Days(1))),
            fold(&[], of(Every::Months(1))),
            fold(&["product_category"], of(Every::Days(1))),
            fold(&["customer_id"], Window::None),
        ];
        Self {
            decoder,
            transform,
            folds,
        }
    }

    /// How often a batch of so many records allocates.
    fn allocations(&mut self, records: usize) -> usize {
        let batch = batch(records);
        let before = ALLOCATIONS.get();
        let mut rejected = Vec::new();
        let rows = self.decoder.decode(&batch, &BTreeSet::new(), &mut rejected);
        let rows = self.transform.apply(&rows, &mut rejected).unwrap();
        let mut shared = Groupings::default();
        for fold in &mut self.folds {
            let folded = fold.fold_beside(&rows, &mut shared).unwrap();
            assert!(matches!(folded, FoldedRows::Partials(_)));
        }
        assert_eq!(rows.records.len(), records);
        ALLOCATIONS.get() - before
    }
}

/// Sales of all days of a year, in six categories and to as many customers as there are records.
fn batch(records: usize) -> RawBatch {
    let mut batch = RawBatch::default();
    let categories = ["home", "sports", "beauty", "fashion", "grocery", "books"];
    for number in 0..records {
        let (month, day) = (number % 12 + 1, number % 28 + 1);
        let sale = json!({
            "product_category": categories[number % categories.len()],
            "customer_id": format!("customer {number}"),
            "currency": if number % 2 == 0 { "USD" } else { "EUR" },
            "total_amount": number as f64 + 0.25,
            "transaction_date": format!("2024-{month:02}-{day:02}T10:30:00.123456"),
        });
        batch.push(RawRecord {
            origin: Origin {
                partition: Partition(0),
                offset: number as i64,
            },
            timestamp_ms: None,
            key: None,
            value: Some(sale.to_string().as_bytes()),
            headers: RawHeaders::default(),
        });
    }
    batch
}

#[test]
fn a_batch_allocates_about_as_often_whatever_the_number_of_its_records() {
    let mut chain = Chain::new();
    // Guests and scratch space have grown after this.
    chain.allocations(MANY);
    let (few, many) = (chain.allocations(FEW), chain.allocations(MANY));
    assert!(
        many <= few + GROWTH,
        "{FEW} records allocate {few} times, {MANY} records {many} times"
    );
}
