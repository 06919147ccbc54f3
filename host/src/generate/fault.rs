//! Faulty records: one kind for each way in which a record can be unusable.

use super::transaction::{FIELDS, Field, Transaction};

/// What is wrong with a faulty record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BadKind {
    /// it ends in the middle
    Truncated,
    /// something follows the object
    TrailingText,
    /// the object stands in an array
    NotAnObject,
    /// a required field is not there
    MissingField,
    /// a required field is null
    NullField,
    /// a text in the place of a number
    WrongType,
    /// a fraction in the place of an integer
    FractionalQuantity,
    /// a decimal with more than 18 digits
    OutOfRange,
    /// the 30th of February
    NoSuchDay,
    /// `NaN`, which Python writes and JSON does not have
    NotANumber,
    /// bytes that are no UTF-8
    InvalidUtf8,
    /// half of a surrogate pair
    HalfSurrogate,
    /// a field that nobody wants, nested a thousand times
    TooDeep,
    /// a value of no bytes. A file has an empty line then, which its reader skips.
    Empty,
    /// no value at all. A file has an empty line then, which its reader skips.
    Tombstone,
    /// a currency without a rate: only a guest can know
    UnknownCurrency,
}

impl BadKind {
    /// Every kind.
    pub const ALL: [Self; 16] = [
        Self::Truncated,
        Self::TrailingText,
        Self::NotAnObject,
        Self::MissingField,
        Self::NullField,
        Self::WrongType,
        Self::FractionalQuantity,
        Self::OutOfRange,
        Self::NoSuchDay,
        Self::NotANumber,
        Self::InvalidUtf8,
        Self::HalfSurrogate,
        Self::TooDeep,
        Self::Empty,
        Self::Tombstone,
        Self::UnknownCurrency,
    ];

    /// Whether decoding rejects it. The others are for a guest to reject.
    #[must_use]
    pub fn is_undecodable(self) -> bool {
        self != Self::UnknownCurrency
    }

    /// Whether a file can hold it as a record: not if all that is left is an empty line.
    #[must_use]
    pub fn has_a_line(self) -> bool {
        !matches!(self, Self::Empty | Self::Tombstone)
    }

    /// The field that is changed, and what stands there instead; nothing: not even the name.
    fn instead(self) -> Option<(Field, &'static [u8])> {
        Some(match self {
            Self::MissingField => (Field::CustomerId, b""),
            Self::NullField => (Field::Currency, b"null"),
            Self::WrongType => (Field::ProductQuantity, b"\"three\""),
            Self::FractionalQuantity => (Field::ProductQuantity, b"2.5"),
            Self::OutOfRange => (Field::TotalAmount, b"1e30"),
            Self::NoSuchDay => (Field::TransactionDate, b"\"2025-02-30T10:00:00\""),
            Self::NotANumber => (Field::TotalAmount, b"NaN"),
            Self::InvalidUtf8 => (Field::CustomerId, b"\"caf\xe9\""),
            Self::HalfSurrogate => (Field::CustomerId, b"\"\\ud83d\""),
            Self::UnknownCurrency => (Field::Currency, b"\"XTS\""),
            Self::Truncated
            | Self::TrailingText
            | Self::NotAnObject
            | Self::TooDeep
            | Self::Empty
            | Self::Tombstone => return None,
        })
    }
}

/// Appends the JSON of a transaction, or what a fault makes of it. False: no value at all.
pub(super) fn render(
    transaction: &Transaction<'_>,
    fault: Option<BadKind>,
    into: &mut Vec<u8>,
) -> bool {
    match fault {
        Some(BadKind::Tombstone) => return false,
        Some(BadKind::Empty) => return true,
        Some(BadKind::NotAnObject) => into.push(b'['),
        _ => {}
    }
    let begin = into.len();
    into.push(b'{');
    for field in FIELDS {
        let instead = fault.and_then(BadKind::instead);
        let instead = instead.filter(|(changed, _)| *changed == field);
        if instead.is_some_and(|(_, value)| value.is_empty()) {
            continue;
        }
        if into.len() > begin + 1 {
            into.extend_from_slice(b", ");
        }
        into.push(b'"');
        into.extend_from_slice(field.name().as_bytes());
        into.extend_from_slice(b"\": ");
        match instead {
            Some((_, value)) => into.extend_from_slice(value),
            None => transaction.write_value(field, into),
        }
    }
    match fault {
        Some(BadKind::Truncated) => return true,
        Some(BadKind::TooDeep) => {
            into.extend_from_slice(b", \"extra\": ");
            into.resize(into.len() + 1_000, b'[');
            into.resize(into.len() + 1_000, b']');
        }
        _ => {}
    }
    into.push(b'}');
    match fault {
        Some(BadKind::NotAnObject) => into.push(b']'),
        Some(BadKind::TrailingText) => into.extend_from_slice(b" and more"),
        _ => {}
    }
    true
}
