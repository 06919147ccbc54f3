//! What the export macros expand to calls of. Not for guests to call.

use schemars::JsonSchema;

use crate::columns::{Description, Field};
use crate::config;
use crate::contract::{AggregateContract, ColumnAggregate, ColumnTransform, TransformContract};

pub use wit_bindgen;

/// What `describe` answers.
#[must_use]
pub fn describe<C: JsonSchema>(name: &str, version: &str, about: &str) -> Description {
    Description {
        name: name.to_owned(),
        version: version.to_owned(),
        about: about.to_owned(),
        config_schema: Some(config::schema::<C>()),
    }
}

/// Reads the config and configures with it.
///
/// # Errors
///
/// When the config is wrong, or the guest refuses.
pub fn configure_transform<T: ColumnTransform>(
    input: &[Field],
    config: &str,
) -> Result<(T, TransformContract), String> {
    T::configure(input, config::read(config)?)
}

/// Reads the config and configures with it.
///
/// # Errors
///
/// When the config is wrong, or the guest refuses.
pub fn configure_aggregate<A: ColumnAggregate>(
    input: &[Field],
    config: &str,
) -> Result<(A, AggregateContract), String> {
    A::configure(input, config::read(config)?)
}

/// The error of a call on an instance that was never configured.
#[must_use]
pub fn not_configured() -> String {
    "this instance was not configured".to_owned()
}
