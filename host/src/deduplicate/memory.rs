//! The last so many keys of one partition.

use super::index::Index;

/// Room that a memory begins with.
const KEYS_MIN: usize = 1_024;

/// Fingerprints in the order in which they were remembered, the oldest forgotten once there are more
/// than `last`. Grows with what it holds.
pub(super) struct Memory {
    last: usize,
    /// once it is full, the newest takes the place of the oldest
    ring: Vec<u128>,
    /// where the oldest stands; 0 until the ring is full
    oldest: usize,
    index: Index,
    /// how many there is room for
    room: usize,
    /// of the oldest, those that are in the processor's cache
    loaded: usize,
}

impl Memory {
    /// A memory of the last so many, at least one.
    pub(super) fn of_last(last: usize) -> Self {
        Self {
            last,
            ring: Vec::new(),
            oldest: 0,
            index: Index::new(),
            room: 0,
            loaded: 0,
        }
    }

    /// Whether it is among the remembered ones.
    pub(super) fn contains(&self, fingerprint: u128) -> bool {
        self.index.contains(fingerprint, &self.ring)
    }

    /// Remembers it, and forgets the oldest if there are too many.
    pub(super) fn remember(&mut self, fingerprint: u128) {
        if self.ring.len() == self.last {
            self.index.remove(self.oldest, &self.ring);
            self.ring[self.oldest] = fingerprint;
            self.index.insert(fingerprint, self.oldest);
            self.oldest = (self.oldest + 1) % self.last;
            self.loaded = self.loaded.saturating_sub(1);
            return;
        }
        if self.ring.len() == self.room {
            self.room = (2 * self.room).max(KEYS_MIN).min(self.last);
            self.ring.reserve_exact(self.room - self.ring.len());
            self.index.rebuild(self.room, &self.ring);
        }
        self.index.insert(fingerprint, self.ring.len());
        self.ring.push(fingerprint);
    }

    /// Loads into the processor's cache what it takes to remember this one next, after those that it was
    /// loaded for already. Called for some in a row, so that all of it is waited for at the same time;
    /// what it returns has no meaning but that it was read.
    pub(super) fn load(&mut self, fingerprint: u128) -> u32 {
        let forgotten = if self.ring.len() == self.last {
            let place = (self.oldest + self.loaded) % self.last;
            self.loaded += 1;
            self.index.load(self.ring[place])
        } else {
            0
        };
        self.index.load(fingerprint) ^ forgotten
    }

    /// How many it holds.
    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }

    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        Self::bytes_for(self.room)
    }

    /// The bytes of a memory with room for so many.
    fn bytes_for(keys: usize) -> usize {
        match keys {
            0 => 0,
            _ => keys * size_of::<u128>() + Index::bytes_for(keys),
        }
    }

    /// What it holds, the oldest first.
    #[cfg(test)]
    pub(super) fn fingerprints(&self) -> impl Iterator<Item = u128> + '_ {
        let (newer, older) = self.ring.split_at(self.oldest);
        older.iter().chain(newer).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashSet, VecDeque};

    use proptest::prelude::*;

    use super::*;

    /// The obvious way.
    struct Naive {
        last: usize,
        order: VecDeque<u128>,
    }

    impl Naive {
        fn remember(&mut self, fingerprint: u128) {
            self.order.push_back(fingerprint);
            if self.order.len() > self.last {
                self.order.pop_front();
            }
        }

        fn set(&self) -> HashSet<u128> {
            self.order.iter().copied().collect()
        }
    }

    fn agree(last: usize, fingerprints: &[u128], universe: u128) {
        let mut memory = Memory::of_last(last);
        let mut naive = Naive {
            last,
            order: VecDeque::new(),
        };
        for (step, &fingerprint) in fingerprints.iter().enumerate() {
            memory.remember(fingerprint);
            naive.remember(fingerprint);
            assert!(memory.contains(fingerprint));
            if step % 64 == 0 || step + 1 == fingerprints.len() {
                let set = naive.set();
                for candidate in 0..universe {
                    assert_eq!(memory.contains(candidate), set.contains(&candidate));
                }
            }
        }
        let held: VecDeque<u128> = memory.fingerprints().collect();
        assert_eq!(held, naive.order);
        assert_eq!(memory.len(), naive.order.len());
    }

    proptest! {
        #[test]
        fn it_holds_what_the_obvious_way_holds(
            last in 1usize..200,
            fingerprints in prop::collection::vec(0u128..300, 0..600),
        ) {
            agree(last, &fingerprints, 300);
        }
    }

    #[test]
    fn it_holds_the_same_after_growing_and_after_going_round_many_times() {
        // A fixed walk over more keys than fit, in which keys come again after a while.
        let fingerprints: Vec<u128> = (0..40_000u128).map(|step| step * step % 7_919).collect();
        agree(3_000, &fingerprints, 7_919);
    }

    #[test]
    fn at_full_size_a_key_takes_at_most_24_bytes() {
        for last in [100, 9_999, 1_000_000, 100_000_000] {
            assert!(Memory::bytes_for(last) <= 24 * last, "{last}");
        }
        let mut memory = Memory::of_last(50_000);
        for fingerprint in 0..60_000 {
            memory.remember(fingerprint);
        }
        assert_eq!(memory.bytes(), Memory::bytes_for(50_000));
        let allocated = memory.ring.capacity() * size_of::<u128>() + memory.index.allocated();
        assert_eq!(allocated, memory.bytes());
    }

    #[test]
    fn a_few_keys_take_little_whatever_there_is_room_for() {
        let mut memory = Memory::of_last(100_000_000);
        assert_eq!(memory.bytes(), 0);
        memory.remember(1);
        assert!(memory.bytes() < 32 << 10, "{}", memory.bytes());
    }
}
