//! A [`Transform`] as a [`ColumnTransform`].

use crate::columns::{Batch, Field, Rejection};
use crate::contract::{Changes, ColumnTransform, TransformContract};

use super::bind::{Bind, BoundInput, BoundOutput};
use super::traits::{Input, OpenColumns, Output, Outputs, Transform};

/// A transform with the columns that its fields are.
#[derive(Debug)]
pub struct TransformRows<T> {
    transform: T,
    input: BoundInput,
    output: BoundOutput,
}

impl<T> TransformRows<T> {
    /// The transform itself.
    #[must_use]
    pub fn transform(&self) -> &T {
        &self.transform
    }
}

type Row<T> = <<T as Transform>::Output as Outputs>::Row;

impl<T: Transform> ColumnTransform for TransformRows<T> {
    type Config = T::Config;

    fn configure(input: &[Field], config: T::Config) -> Result<(Self, TransformContract), String> {
        let mut transform = T::new(config)?;
        let mut bind = Bind::new(input, T::Input::FIELDS, Row::<T>::FIELDS, &[]);
        transform.bind(&mut bind)?;
        let (input, output, _, drops) = bind.settle::<T::Input<'_>>()?;
        let contract = TransformContract {
            needs: input.needs.clone(),
            returns: output.fields.clone(),
            drops,
            selects: T::Output::SELECTS,
        };
        let rows = Self {
            transform,
            input,
            output,
        };
        Ok((rows, contract))
    }

    fn apply(&self, input: Batch) -> Result<Changes, String> {
        let rows = input.rows as usize;
        let columns = <T::Input<'_> as Input<'_>>::open(&OpenColumns {
            columns: &input.columns,
            sources: &self.input.sources,
            rows,
        })?;
        let mut builders = Row::<T>::builders(&self.output.types, rows);
        let mut selection = Vec::with_capacity(if T::Output::SELECTS { rows } else { 0 });
        let mut rejections = Vec::new();
        let mut reject = |row: usize, reason| {
            let row = row as u32;
            rejections.push(Rejection { row, reason });
        };
        // How many rows were written: counted only where it is not that of the rows read.
        let mut written = 0;
        for row in 0..rows {
            let before = written;
            let outputs = match self.transform.apply(T::Input::read(&columns, row)) {
                Ok(outputs) => outputs,
                Err(rejected) => {
                    reject(row, rejected.into_reason());
                    continue;
                }
            };
            let pushed = outputs.each(|output: Row<T>| {
                output.push(&mut builders)?;
                written += 1;
                if T::Output::SELECTS {
                    selection.push(row as u32);
                }
                Ok(())
            });
            if let Err(fault) = pushed {
                // Of a row that is rejected nothing is left, not even what did fit.
                written = before;
                Row::<T>::truncate(&mut builders, written);
                selection.truncate(written);
                reject(row, self.output.explain(fault));
            }
        }
        Ok(Changes {
            selection: T::Output::SELECTS.then_some(selection),
            columns: Row::<T>::finish(builders),
            rejections,
        })
    }
}
