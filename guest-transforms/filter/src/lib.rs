//! Guest `filter`: keeps the rows for which an expression holds.
//!
//! The expression is read (`syntax`) and checked against the columns (`check`) once, at
//! `configure`; batches then go through a small typed tree (`condition`).

mod check;
mod condition;
mod like;
mod literal;
mod number;
mod operand;
mod place;
mod syntax;
mod truth;

use schemars::JsonSchema;
use serde::Deserialize;
use wasmill_guest::{Batch, Changes, ColumnTransform, Field, Rejection, TransformContract};

use check::Checked;
use condition::Condition;
use truth::Truth;

/// What to keep, and what becomes of the rest.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// the condition, as in SQL: `total_amount >= 100 and currency in ("USD", "EUR")`
    #[serde(rename = "where")]
    condition: String,
    /// what becomes of a row for which it does not hold
    #[serde(default)]
    otherwise: Otherwise,
}

/// What becomes of a row for which the condition does not hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Otherwise {
    /// it ends here
    #[default]
    Drop,
    /// its record goes to the dead letters, and nowhere else
    Reject,
}

/// The guest.
#[derive(Debug)]
pub struct Filter {
    condition: Condition,
    otherwise: Otherwise,
    /// as it was written
    text: String,
}

wasmill_guest::column_transform!(Filter);

impl ColumnTransform for Filter {
    type Config = Config;

    fn configure(input: &[Field], config: Config) -> Result<(Self, TransformContract), String> {
        let text = config.condition.trim().to_owned();
        let Checked { condition, needs } = check::check(&text, &syntax::parse(&text)?, input)?;
        let contract = TransformContract {
            needs,
            selects: true,
            ..TransformContract::default()
        };
        let filter = Self {
            condition,
            otherwise: config.otherwise,
            text,
        };
        Ok((filter, contract))
    }

    fn apply(&self, input: Batch) -> Result<Changes, String> {
        let truths = self.condition.evaluate(&input);
        let mut kept = Vec::with_capacity(truths.len());
        let mut rejections = Vec::new();
        for (row, truth) in (0..).zip(truths) {
            if truth == Truth::True {
                kept.push(row);
            } else if truth >= Truth::TooLarge || self.otherwise == Otherwise::Reject {
                let reason = self.reason(truth);
                rejections.push(Rejection { row, reason });
            }
        }
        let all = kept.len() == input.rows as usize;
        Ok(Changes {
            selection: (!all).then_some(kept),
            columns: Vec::new(),
            rejections,
        })
    }
}

impl Filter {
    fn reason(&self, truth: Truth) -> String {
        let text = &self.text;
        match truth {
            Truth::TooLarge => format!("a number in `{text}` becomes too large"),
            Truth::DividesByZero => format!("`{text}` divides by zero"),
            Truth::Unknown => format!("a value is missing for `{text}`"),
            _ => format!("`{text}` does not hold"),
        }
    }
}

#[cfg(test)]
mod tests;
