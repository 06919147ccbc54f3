//! Saying that a row cannot be used.

use std::borrow::Cow;

/// Why a row cannot be used, for a person: its record goes to the dead letters with this text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject(Cow<'static, str>);

/// Rejects a row: `return Err(reject("…"))` or `.ok_or_else(|| reject(format!("…")))`.
///
/// Name the column and the value. A text that is known beforehand costs no allocation.
#[cold]
pub fn reject(reason: impl Into<Cow<'static, str>>) -> Reject {
    Reject(reason.into())
}

impl Reject {
    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0
    }

    pub(crate) fn into_reason(self) -> String {
        self.0.into_owned()
    }
}

impl From<&'static str> for Reject {
    #[cold]
    fn from(reason: &'static str) -> Self {
        reject(reason)
    }
}

impl From<String> for Reject {
    #[cold]
    fn from(reason: String) -> Self {
        reject(reason)
    }
}
