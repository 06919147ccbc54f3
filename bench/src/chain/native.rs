//! The guests' own code, called without a border.

use arrow_array::RecordBatch;
use currency::Currency;
use serde_json::Value;
use totals::Totals;
use wasmill::aggregate::{AggregateLogic, StateKind};
use wasmill::guest::{
    AggregateContract, AggregateGuest, CallError, Changes, Folded, RowRejection, TransformContract,
    TransformGuest,
};
use wasmill::schema::Schema;
use wasmill::transform::TransformLogic;
use wasmill_guest as sdk;
use wasmill_guest::{AggregateRows, ColumnAggregate, ColumnTransform, TransformRows};

use super::columns::{fields, lift, lift_batch, lower};

/// `currency`.
pub(crate) struct NativeTransform {
    rows: TransformRows<Currency>,
    contract: TransformContract,
    input_bytes_max: usize,
    output_bytes_max: u64,
}

/// `totals`.
pub(super) struct NativeAggregate {
    rows: AggregateRows<Totals>,
    contract: AggregateContract,
}

impl NativeTransform {
    /// In the place of `guest`.
    pub(crate) fn new(
        guest: &TransformGuest,
        input: &Schema,
        config: &Value,
    ) -> anyhow::Result<Self> {
        let config = serde_json::from_value(config.clone())?;
        let configured = TransformRows::configure(&fields(input), config);
        Ok(Self {
            rows: configured.map_err(anyhow::Error::msg)?.0,
            contract: guest.contract().clone(),
            input_bytes_max: guest.input_bytes_max(),
            output_bytes_max: guest.output_bytes_max(),
        })
    }
}

impl TransformLogic for NativeTransform {
    fn contract(&self) -> &TransformContract {
        &self.contract
    }

    fn input_bytes_max(&self) -> usize {
        self.input_bytes_max
    }

    fn output_bytes_max(&self) -> u64 {
        self.output_bytes_max
    }

    fn apply(&mut self, input: &RecordBatch) -> Result<Changes, CallError> {
        let changes = self.rows.apply(lower(input).map_err(invalid)?);
        let changes = changes.map_err(CallError::Refused)?;
        Ok(Changes {
            selection: changes.selection,
            columns: lift(&self.contract.returns, changes.columns).map_err(invalid)?,
            rejections: rejections(changes.rejections),
        })
    }
}

impl NativeAggregate {
    /// In the place of `guest`.
    pub(super) fn new(
        guest: &AggregateGuest,
        input: &Schema,
        config: &Value,
    ) -> anyhow::Result<Self> {
        let config = serde_json::from_value(config.clone())?;
        let configured = AggregateRows::configure(&fields(input), config);
        Ok(Self {
            rows: configured.map_err(anyhow::Error::msg)?.0,
            contract: guest.contract().clone(),
        })
    }
}

impl AggregateLogic for NativeAggregate {
    fn fold(
        &mut self,
        groups: &[u32],
        group_count: u32,
        input: &RecordBatch,
    ) -> Result<Folded, CallError> {
        let input = lower(input).map_err(invalid)?;
        let folded = self.rows.fold(groups, group_count, input);
        Ok(match folded.map_err(CallError::Refused)? {
            sdk::Folded::States(states) => {
                Folded::States(lift_batch(&self.contract.state, states).map_err(invalid)?)
            }
            sdk::Folded::Rejected(rejected) => Folded::Rejected(rejections(rejected)),
        })
    }

    fn merge(
        &mut self,
        groups: &[u32],
        group_count: u32,
        parts: &RecordBatch,
    ) -> Result<RecordBatch, CallError> {
        let parts = lower(parts).map_err(invalid)?;
        let merged = self.rows.merge(groups, group_count, parts);
        let merged = merged.map_err(CallError::Refused)?;
        lift_batch(&self.contract.state, merged).map_err(invalid)
    }

    fn finish(&mut self, states: &RecordBatch) -> Result<RecordBatch, CallError> {
        let finished = self.rows.finish(lower(states).map_err(invalid)?);
        let finished = finished.map_err(CallError::Refused)?;
        lift_batch(&self.contract.output, finished).map_err(invalid)
    }

    fn migrate(&mut self, of: &StateKind, states: &RecordBatch) -> Result<RecordBatch, CallError> {
        let states = lower(states).map_err(invalid)?;
        let migrated = self.rows.migrate(of.version, &fields(&of.columns), states);
        let migrated = migrated.map_err(CallError::Refused)?;
        lift_batch(&self.contract.state, migrated).map_err(invalid)
    }
}

fn rejections(rejected: Vec<sdk::Rejection>) -> Vec<RowRejection> {
    let rejected = rejected.into_iter();
    rejected
        .map(|rejection| RowRejection {
            row: rejection.row,
            reason: rejection.reason,
        })
        .collect()
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn invalid(error: anyhow::Error) -> CallError {
    CallError::Invalid(error.to_string())
}
