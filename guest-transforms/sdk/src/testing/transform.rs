//! A transform, driven natively.

use serde_json::{Map, Value};

use super::{check, config_text, json};
use crate::columns::{Batch, Field, Rejection};
use crate::contract::{ColumnTransform, TransformContract};
use crate::{columns, export};

/// A transform that has been configured.
#[derive(Debug)]
pub struct TransformGuest<T> {
    guest: T,
    contract: TransformContract,
    input: Vec<Field>,
    needs: Vec<Field>,
}

/// What a transform made of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Transformed {
    /// the rows of the output stream, all its columns
    pub rows: Vec<Value>,
    /// the rows that were rejected, in order
    pub rejections: Vec<Rejection>,
}

impl<T: ColumnTransform> TransformGuest<T> {
    pub(super) fn configure(input: &[Field], config: &Value) -> Result<Self, String> {
        let (guest, contract) = export::configure_transform::<T>(input, &config_text(config))?;
        check::transform_contract(&contract, input)?;
        let needs = contract.needs.iter();
        Ok(Self {
            needs: needs
                .map(|name| columns::find(input, name).cloned())
                .collect::<Result<_, _>>()?,
            guest,
            contract,
            input: input.to_vec(),
        })
    }

    /// What it agreed to.
    #[must_use]
    pub fn contract(&self) -> &TransformContract {
        &self.contract
    }

    /// The guest itself.
    #[must_use]
    pub fn guest(&self) -> &T {
        &self.guest
    }

    /// The columns of the output stream.
    #[must_use]
    pub fn output(&self) -> Vec<Field> {
        let TransformContract { returns, drops, .. } = &self.contract;
        let returned = |name: &str| returns.iter().find(|field| field.name == name);
        let kept = self.input.iter().filter(|f| !drops.contains(&f.name));
        let mut output: Vec<Field> = kept
            .map(|field| returned(&field.name).unwrap_or(field).clone())
            .collect();
        for field in returns {
            if !output.iter().any(|there| there.name == field.name) {
                output.push(field.clone());
            }
        }
        output
    }

    /// Transforms rows of the input, in one batch.
    ///
    /// # Errors
    ///
    /// That of the guest for the whole batch.
    ///
    /// # Panics
    ///
    /// When a row is not one of the input, or the guest breaks its contract.
    #[track_caller]
    pub fn apply(&self, rows: &[Value]) -> Result<Transformed, String> {
        let Batch { rows: count, .. } = json::batch(&self.input, rows);
        let changes = self.guest.apply(json::batch(&self.needs, rows))?;
        let selection = check::changes(&self.contract, &changes, count)
            .unwrap_or_else(|breach| panic!("the guest breaks its contract: {breach}"));

        let returned = Batch {
            rows: selection.len() as u32,
            columns: changes.columns,
        };
        let returned = json::rows(&self.contract.returns, &returned);
        let all = json::rows(&self.input, &json::batch(&self.input, rows));
        let mut rejections = changes.rejections;
        rejections.sort_by_key(|rejection| rejection.row);
        let row = |(&from, returned): (&u32, &Value)| {
            let value = |field: &Field| {
                let name = field.name.as_str();
                let value = returned.get(name).unwrap_or(&all[from as usize][name]);
                (name.to_owned(), value.clone())
            };
            Value::Object(self.output().iter().map(value).collect::<Map<_, _>>())
        };
        Ok(Transformed {
            rows: selection.iter().zip(&returned).map(row).collect(),
            rejections,
        })
    }
}
