//! What the host checks of a guest's answers, checked alike. Every breach is told as text.

use std::collections::BTreeSet;

use crate::columns::{Batch, Column, DataType, Field, Rejection, Values, VarBytes};
use crate::contract::{AggregateContract, Changes, TransformContract};
use crate::decimal::{SCALE_MAX, in_range};

pub(super) fn transform_contract(
    contract: &TransformContract,
    input: &[Field],
) -> Result<(), String> {
    names("needs", &contract.needs)?;
    names("drops", &contract.drops)?;
    are_columns(&contract.needs, input)?;
    are_columns(&contract.drops, input)?;
    fields("returns", &contract.returns)
}

pub(super) fn aggregate_contract(
    contract: &AggregateContract,
    input: &[Field],
) -> Result<(), String> {
    names("needs", &contract.needs)?;
    are_columns(&contract.needs, input)?;
    fields("state", &contract.state)?;
    fields("output", &contract.output)
}

fn names(list: &str, names: &[String]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for name in names {
        if name.is_empty() {
            return Err(format!("the contract's `{list}` has an empty name"));
        }
        if !seen.insert(name) {
            return Err(format!("the contract's `{list}` has `{name}` twice"));
        }
    }
    Ok(())
}

fn are_columns(names: &[String], input: &[Field]) -> Result<(), String> {
    names
        .iter()
        .try_for_each(|name| crate::columns::find(input, name).map(drop))
}

fn fields(list: &str, fields: &[Field]) -> Result<(), String> {
    let all: Vec<_> = fields.iter().map(|field| field.name.clone()).collect();
    names(list, &all)?;
    for Field { name, ty, .. } in fields {
        if matches!(ty, DataType::Decimal(scale) if *scale > SCALE_MAX) {
            return Err(format!("the contract's `{list}` has `{name}` as {ty}"));
        }
    }
    Ok(())
}

/// The input row of each output row.
pub(super) fn changes(
    contract: &TransformContract,
    changes: &Changes,
    rows: u32,
) -> Result<Vec<u32>, String> {
    let rejected = rejections(&changes.rejections, rows)?;
    let selection: Vec<u32> = match &changes.selection {
        Some(_) if !contract.selects => {
            return Err("a selection came back, and the contract says that there is none".into());
        }
        Some(selection) => selection.clone(),
        None => (0..rows).filter(|row| !rejected.contains(row)).collect(),
    };
    if !selection.is_sorted() {
        return Err("the selection falls".to_owned());
    }
    if let Some(row) = selection.iter().find(|&&row| row >= rows) {
        return Err(format!("row {row} of {rows} is selected"));
    }
    if let Some(row) = selection.iter().find(|row| rejected.contains(row)) {
        return Err(format!("row {row} is both selected and rejected"));
    }
    columns(&contract.returns, &changes.columns, selection.len())?;
    Ok(selection)
}

/// The rejected rows.
pub(super) fn rejections(rejections: &[Rejection], rows: u32) -> Result<BTreeSet<u32>, String> {
    let mut rejected = BTreeSet::new();
    for &Rejection { row, .. } in rejections {
        if row >= rows {
            return Err(format!("row {row} of {rows} is rejected"));
        }
        if !rejected.insert(row) {
            return Err(format!("row {row} is rejected twice"));
        }
    }
    Ok(rejected)
}

pub(super) fn batch(fields: &[Field], batch: &Batch, rows: usize) -> Result<(), String> {
    if batch.rows as usize != rows {
        return Err(format!("{} rows came back, not {rows}", batch.rows));
    }
    columns(fields, &batch.columns, rows)
}

fn columns(fields: &[Field], columns: &[Column], rows: usize) -> Result<(), String> {
    if fields.len() != columns.len() {
        let (got, expected) = (columns.len(), fields.len());
        return Err(format!("{got} columns came back, not {expected}"));
    }
    for (field, column) in fields.iter().zip(columns) {
        check_column(field, column, rows)
            .map_err(|error| format!("column `{}`: {error}", field.name))?;
    }
    Ok(())
}

fn check_column(field: &Field, column: &Column, rows: usize) -> Result<(), String> {
    let Field { ty, nullable, .. } = field;
    let Column { values, validity } = column;
    if !values.fit(*ty) {
        return Err(format!("its values are not those of {ty}"));
    }
    if values.len() != rows {
        return Err(format!("it has {} values, not {rows}", values.len()));
    }
    if let Some(validity) = validity {
        if validity.len() != rows || validity.iter().any(|&present| present > 1) {
            return Err(format!("its validity is not {rows} times 0 or 1"));
        }
        if !nullable && validity.contains(&0) {
            return Err("a value is missing, and it is not nullable".to_owned());
        }
    }
    let mut present = (0..rows).filter(|&row| column.is_present(row));
    let wrong = match values {
        Values::Bools(values) => present.find(|&row| values[row] > 1),
        Values::I64s(values) if matches!(ty, DataType::Decimal(_)) => {
            present.find(|&row| !in_range(values[row]))
        }
        Values::Bytes(values) => {
            check_offsets(values)?;
            let is_text = *ty == DataType::Utf8;
            present.find(|&row| is_text && str::from_utf8(values.get(row)).is_err())
        }
        Values::I32s(_) | Values::I64s(_) | Values::F64s(_) => None,
    };
    wrong.map_or(Ok(()), |row| Err(format!("row {row} is no value of {ty}")))
}

fn check_offsets(VarBytes { offsets, bytes }: &VarBytes) -> Result<(), String> {
    let good = offsets.first() == Some(&0)
        && offsets.is_sorted()
        && offsets.last().map(|&end| end as usize) == Some(bytes.len());
    if good {
        Ok(())
    } else {
        Err("its offsets do not rise from 0 to the number of bytes".to_owned())
    }
}
