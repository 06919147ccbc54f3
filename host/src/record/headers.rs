//! Headers of records: what Kafka lets a producer add to key and value.
//!
//! Most records have none, so a record carries a slice, and only a dead letter has them one by one.

/// A header on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// its name; several may have the same
    pub name: String,
    /// its value; `None` is Kafka's null
    pub value: Option<Vec<u8>>,
}

/// The headers of one record in their order, back to back: for each the lengths of name and value
/// (one more than it is; 0 for null), then both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RawHeaders<'a>(pub(super) &'a [u8]);

impl<'a> RawHeaders<'a> {
    /// Bytes that they take.
    #[must_use]
    pub fn byte_len(self) -> usize {
        self.0.len()
    }

    /// Name and value of each.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (&name_len, more) = rest.split_first_chunk::<4>()?;
            let (&value_len, more) = more.split_first_chunk::<4>()?;
            let (name, more) = more.split_at_checked(u32::from_le_bytes(name_len) as usize)?;
            let value_len = u32::from_le_bytes(value_len) as usize;
            let (value, more) = more.split_at_checked(value_len.saturating_sub(1))?;
            rest = more;
            Some((name, (value_len > 0).then_some(value)))
        })
    }

    /// Each on its own. A name that is no UTF-8, which Kafka does not have, is read as well as it can
    /// be.
    #[must_use]
    pub fn to_owned(self) -> Vec<RecordHeader> {
        let headers = self.iter().map(|(name, value)| RecordHeader {
            name: String::from_utf8_lossy(name).into_owned(),
            value: value.map(<[u8]>::to_vec),
        });
        headers.collect()
    }
}

/// Room for the headers of one record after the other.
#[derive(Debug, Default)]
pub struct HeaderBuffer(Vec<u8>);

impl HeaderBuffer {
    /// Forgets them, keeps the allocation.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Appends one.
    ///
    /// # Panics
    ///
    /// When name or value has 4 GiB or more, which no message has.
    pub fn push(&mut self, name: &[u8], value: Option<&[u8]>) {
        let length = |bytes: usize| u32::try_from(bytes).expect("a message has less than 4 GiB");
        let value_len = value.map_or(0, |value| length(value.len() + 1));
        self.0.extend(length(name.len()).to_le_bytes());
        self.0.extend(value_len.to_le_bytes());
        self.0.extend_from_slice(name);
        self.0.extend_from_slice(value.unwrap_or_default());
    }

    /// What was pushed.
    #[must_use]
    pub fn headers(&self) -> RawHeaders<'_> {
        RawHeaders(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn headers_come_back_in_order(
            headers in prop::collection::vec(
                (".{0,9}", prop::option::of(prop::collection::vec(any::<u8>(), 0..9))), 0..9)
        ) {
            let mut buffer = HeaderBuffer::default();
            buffer.push(b"an earlier record's", None);
            buffer.clear();
            for (name, value) in &headers {
                buffer.push(name.as_bytes(), value.as_deref());
            }
            let expected: Vec<RecordHeader> = headers
                .into_iter()
                .map(|(name, value)| RecordHeader { name, value })
                .collect();
            prop_assert_eq!(buffer.headers().to_owned(), expected);
        }
    }
}
