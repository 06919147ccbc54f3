//! What the border costs: a column into a guest and back, by its type and the rows of a call.
//!
//! Guest `passthrough` hands back what it gets, so next to nothing is computed. `currency` is the case that has a
//! mark: one utf8 and one decimal in, one decimal out, its own arithmetic included. The same compiled natively says
//! how much of it that is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal64Array, Float64Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use serde::Serialize;
use serde_json::{Value, json};
use wasmill::config::Limits;
use wasmill::guest::GuestEngine;
use wasmill::schema::{DataType, Field, Schema};
use wasmill::transform::TransformLogic;

use crate::chain::{Logic, NativeTransform, thread_cpu};

/// Rows of a call.
const SIZES: [usize; 6] = [64, 256, 1_024, 4_096, 16_384, 65_536];
/// Rows of a round: so many calls that a clock is fine enough.
const ROUND_ROWS: usize = 1 << 19;

const LIMITS: Limits = Limits {
    memory: 256 << 20,
    time: Duration::from_secs(10),
    output: 64 << 20,
};

/// One case at one size.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    case: &'static str,
    rows: usize,
    /// ns a row, of each round
    runs: Vec<f64>,
}

/// A guest and the columns of its input.
struct Case {
    name: &'static str,
    component: &'static str,
    logic: Logic,
    config: Value,
    fields: Vec<Field>,
}

/// Measures every case at every size, in turns. `folder` has the components.
pub(crate) fn measure(folder: &Path, rounds: usize) -> anyhow::Result<Vec<Cost>> {
    let engine = GuestEngine::new(std::env::var_os("WASMILL_CACHE").map(Into::into))?;
    let mut costs = Vec::new();
    for case in cases() {
        let path = folder.join(case.component).with_extension("wasm");
        let component = engine
            .load(case.component, &path)
            .with_context(|| format!("failed to load {}", path.display()))?;
        let schema = Schema::new(case.fields.clone())?;
        let guest = component.transform("border", &schema, &case.config, &LIMITS)?;
        let mut guest: Box<dyn TransformLogic> = match case.logic {
            Logic::Wasm => guest.into(),
            Logic::Native => Box::new(NativeTransform::new(&guest, &schema, &case.config)?),
        };
        let mut of_case = Vec::new();
        for rows in SIZES {
            let batch = batch(&schema, rows)?;
            let needs = batch.project(&guest.contract().needs)?;
            of_case.push((needs, Vec::with_capacity(rounds)));
        }
        // The first round is to get warm.
        for round in 0..=rounds {
            for (batch, runs) in &mut of_case {
                let took = calls(&mut *guest, batch)?;
                if round > 0 {
                    runs.push(took);
                }
            }
        }
        costs.extend(of_case.into_iter().map(|(batch, runs)| Cost {
            case: case.name,
            rows: batch.num_rows(),
            runs,
        }));
    }
    Ok(costs)
}

/// A round of calls, in ns a row.
fn calls(guest: &mut dyn TransformLogic, batch: &RecordBatch) -> anyhow::Result<f64> {
    let calls = ROUND_ROWS / batch.num_rows();
    let begin = thread_cpu();
    for _ in 0..calls {
        std::hint::black_box(guest.apply(batch)?);
    }
    let took = thread_cpu().saturating_sub(begin);
    Ok(took.as_secs_f64() * 1e9 / (calls * batch.num_rows()) as f64)
}

fn cases() -> Vec<Case> {
    let passthrough = |name, ty, nullable| Case {
        name,
        component: "passthrough",
        logic: Logic::Wasm,
        config: json!({"columns": ["value"]}),
        fields: vec![Field::new("value", ty, nullable)],
    };
    vec![
        Case {
            name: "no column",
            component: "passthrough",
            logic: Logic::Wasm,
            config: json!({}),
            fields: vec![Field::new("value", DataType::Int64, false)],
        },
        passthrough("boolean", DataType::Boolean, false),
        passthrough("date", DataType::Date, false),
        passthrough("int64", DataType::Int64, false),
        passthrough("int64, a tenth missing", DataType::Int64, true),
        passthrough("float64", DataType::Float64, false),
        passthrough("decimal", DataType::Decimal(2), false),
        passthrough("timestamp", DataType::Timestamp, false),
        passthrough("utf8 of 10 bytes", DataType::Utf8, false),
        passthrough("binary of 10 bytes", DataType::Binary, false),
        currency("currency: utf8 and decimal in, decimal out", Logic::Wasm),
        currency("currency, compiled natively", Logic::Native),
    ]
}

fn currency(name: &'static str, logic: Logic) -> Case {
    Case {
        name,
        component: "currency",
        logic,
        config: json!({"base": "USD", "rates": {"EUR": "1.08", "GBP": "1.27"}}),
        fields: vec![
            Field::new("total_amount", DataType::Decimal(2), false),
            Field::new("currency", DataType::Utf8, false),
        ],
    }
}

fn batch(schema: &Schema, rows: usize) -> anyhow::Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| column(field, rows));
    let columns = columns.collect::<anyhow::Result<_>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema.arrow()), columns)?)
}

/// A column of values in no order that a processor could learn.
fn column(field: &Field, rows: usize) -> anyhow::Result<ArrayRef> {
    let numbers = || (0..rows as i64).map(|row| (row * 7_919) % 1_000_003);
    let is_present = |number: &i64| !field.nullable || number % 10 != 0;
    Ok(match field.ty {
        DataType::Boolean => Arc::new(
            numbers()
                .map(|n| Some(n % 2 == 0))
                .collect::<BooleanArray>(),
        ),
        DataType::Date => Arc::new(Date32Array::from_iter_values(numbers().map(|n| n as i32))),
        DataType::Int64 => {
            let values = numbers().map(|number| is_present(&number).then_some(number));
            Arc::new(values.collect::<Int64Array>())
        }
        DataType::Float64 => Arc::new(Float64Array::from_iter_values(numbers().map(|n| n as f64))),
        DataType::Decimal(scale) => {
            let decimals = Decimal64Array::from_iter_values(numbers());
            Arc::new(decimals.with_precision_and_scale(18, scale.cast_signed())?)
        }
        DataType::Timestamp => {
            let times = TimestampMicrosecondArray::from_iter_values(numbers());
            Arc::new(times.with_timezone("UTC"))
        }
        DataType::Utf8 if field.name == "currency" => {
            let code = |number: i64| ["EUR", "USD", "GBP"][(number % 3) as usize];
            Arc::new(StringArray::from_iter_values(numbers().map(code)))
        }
        DataType::Utf8 => {
            let texts = numbers().map(|number| format!("{number:010}"));
            Arc::new(StringArray::from_iter_values(texts))
        }
        DataType::Binary => {
            let bytes = numbers().map(|number| format!("{number:010}"));
            Arc::new(BinaryArray::from_iter_values(bytes))
        }
    })
}
