//! Byte strings by number, with their hashes: a group's bytes are hashed once, wherever they go.

use std::hash::BuildHasher;
use std::sync::LazyLock;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// One for the whole process, so that a hash may be passed on; and another one in each process, so that
/// nobody can send keys that collide.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// What values of keys are hashed with.
pub(super) fn hasher() -> RandomState {
    HASHER.clone()
}

/// The hash of a group's bytes.
pub(in crate::aggregate) fn hash_of(key: &[u8]) -> u64 {
    HASHER.hash_one(key)
}

/// Byte strings back to back: the groups of a batch, by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct GroupKeys {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    hashes: Vec<u64>,
}

impl GroupKeys {
    /// Nothing yet, and room for so many.
    pub(super) fn with_capacity(keys: usize) -> Self {
        Self {
            bytes: Vec::new(),
            ends: Vec::with_capacity(keys),
            hashes: Vec::with_capacity(keys),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of group `index`.
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |i| self.ends[i]) as usize;
        &self.bytes[start..self.ends[index] as usize]
    }

    /// The hash of its bytes.
    pub(crate) fn hash(&self, index: usize) -> u64 {
        self.hashes[index]
    }

    /// All groups in order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Adds the string that `write` appends to what it is given.
    ///
    /// # Panics
    ///
    /// When all together have 4 GiB.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let hash = hash_of(&self.bytes[start..]);
        self.end(hash);
    }

    /// Adds one of other strings.
    pub(super) fn push_of(&mut self, keys: &Self, index: usize) {
        self.bytes.extend_from_slice(keys.get(index));
        self.end(keys.hash(index));
    }

    /// Makes the bytes behind the last string one of its own.
    fn end(&mut self, hash: u64) {
        let end = u32::try_from(self.bytes.len()).expect("a batch's keys are below 4 GiB");
        self.ends.push(end);
        self.hashes.push(hash);
    }
}

/// Numbers byte strings: equal ones get the same number, the first 0, without gaps.
#[derive(Default)]
pub(crate) struct Numbering {
    table: HashTable<u32>,
    keys: GroupKeys,
}

impl Numbering {
    /// For so many different strings.
    pub(crate) fn with_capacity(keys: usize) -> Self {
        Self {
            table: HashTable::with_capacity(keys),
            keys: GroupKeys::with_capacity(keys),
        }
    }

    /// The number of the string that `write` appends to what it is given.
    pub(crate) fn number(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u32 {
        let start = self.keys.bytes.len();
        write(&mut self.keys.bytes);
        let candidate = &self.keys.bytes[start..];
        let hash = hash_of(candidate);
        if let Some(number) = self.find(hash, candidate) {
            self.keys.bytes.truncate(start);
            return number;
        }
        self.keys.end(hash);
        self.enter(hash)
    }

    /// The number of one of other strings, with its hash.
    pub(crate) fn number_of(&mut self, keys: &GroupKeys, index: usize) -> u32 {
        let (hash, key) = (keys.hash(index), keys.get(index));
        if let Some(number) = self.find(hash, key) {
            return number;
        }
        self.keys.push_of(keys, index);
        self.enter(hash)
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let keys = &self.keys;
        let is_it =
            |&number: &u32| keys.hash(number as usize) == hash && keys.get(number as usize) == key;
        self.table.find(hash, is_it).copied()
    }

    /// Numbers the last string, which is new.
    fn enter(&mut self, hash: u64) -> u32 {
        let number = self.keys.len() as u32 - 1;
        let hashes = &self.keys.hashes;
        let rehash = |&number: &u32| hashes[number as usize];
        self.table.insert_unique(hash, number, rehash);
        number
    }

    /// The strings by their numbers.
    pub(crate) fn into_keys(self) -> GroupKeys {
        self.keys
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equal_strings_have_equal_numbers_and_numbers_have_no_gaps(strings in prop::collection::vec("[ab]{0,3}", 0..60)) {
            let mut numbering = Numbering::default();
            let numbers: Vec<u32> = strings
                .iter()
                .map(|s| numbering.number(|out| out.extend_from_slice(s.as_bytes())))
                .collect();
            let keys = numbering.into_keys();
            let mut distinct: Vec<&String> = Vec::new();
            for (string, &number) in strings.iter().zip(&numbers) {
                if !distinct.contains(&string) {
                    prop_assert_eq!(number as usize, distinct.len());
                    distinct.push(string);
                }
                prop_assert_eq!(keys.get(number as usize), string.as_bytes());
            }
            prop_assert_eq!(keys.len(), distinct.len());
            let mut again = Numbering::default();
            for &number in &numbers {
                prop_assert_eq!(again.number_of(&keys, number as usize), number);
            }
        }
    }
}
