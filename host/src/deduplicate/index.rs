//! Finds a fingerprint among the remembered ones, in 7 bytes a key and, nearly always, in one line of
//! the processor's cache.
//!
//! A table of buckets of 16 slots, each bucket a cache line. A slot has the place of a fingerprint in the
//! ring, and in the bits that are left over a tag, so that a fingerprint which is not there is not looked
//! for in the ring either. What finds its bucket full goes into the next one that is not; its slot says
//! so, because such entries have to come back when there is room before them.
//!
//! # Invariants
//!
//! 1. A bucket's used slots stand first.
//! 2. All buckets from an entry's home up to the one before its own are full. So a search ends at the
//!    first bucket with room.
//! 3. Not all buckets are full.
//!
//! Where entries stand differs from run to run: homes are drawn with a random seed, so that nobody can
//! produce keys that all have one home.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

/// Slots of a bucket.
const SLOTS: usize = 16;
/// How many keys a bucket has on average once the index is as full as it gets: one bucket in fifty is
/// full then.
const KEYS_PER_BUCKET: usize = 9;
/// Marks an entry that does not stand in its home.
const DISPLACED: u32 = 1 << 31;

#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket([u32; SLOTS]);

/// Which fingerprint of a ring stands where. The ring itself belongs to the caller.
pub(super) struct Index {
    seed: RandomState,
    buckets: Vec<Bucket>,
    /// the bits of a slot that have a place in the ring and one more; 0 is an empty slot
    places: u32,
}

/// Where a fingerprint belongs.
#[derive(Clone, Copy)]
struct Address {
    home: usize,
    tag: u32,
}

impl Index {
    /// An index without room.
    pub(super) fn new() -> Self {
        Self {
            seed: RandomState::default(),
            buckets: Vec::new(),
            places: 0,
        }
    }

    /// The bytes of an index with room for so many.
    pub(super) fn bytes_for(keys: usize) -> usize {
        bucket_count(keys) * size_of::<Bucket>()
    }

    /// Makes room for so many, at least one, and takes in those that the ring has.
    pub(super) fn rebuild(&mut self, keys: usize, ring: &[u128]) {
        self.clear(keys, bucket_count(keys));
        for (place, &fingerprint) in ring.iter().enumerate() {
            self.insert(fingerprint, place);
        }
    }

    fn clear(&mut self, keys: usize, buckets: usize) {
        let most = u32::try_from(keys).expect("as many keys as the configuration allows");
        // The old ones go first: the ring has all that is needed.
        self.buckets = Vec::new();
        self.buckets = vec![Bucket::default(); buckets];
        self.places = u32::MAX >> most.leading_zeros();
    }

    /// Whether the ring has the fingerprint.
    pub(super) fn contains(&self, fingerprint: u128, ring: &[u128]) -> bool {
        if ring.is_empty() {
            return false;
        }
        let Address { home, tag } = self.address(fingerprint);
        let tags = self.tags();
        let mut at = home;
        loop {
            let slots = &self.buckets[at].0;
            let mut hits = matches(slots, tags, tag);
            while hits != 0 {
                let place = self.place(slots[hits.trailing_zeros() as usize]);
                if place.is_some_and(|place| ring[place] == fingerprint) {
                    return true;
                }
                hits &= hits - 1;
            }
            if !is_full(slots) {
                return false;
            }
            at = self.after(at);
        }
    }

    /// Reads where the fingerprint belongs: see [`Memory::load`](super::memory::Memory::load).
    pub(super) fn load(&self, fingerprint: u128) -> u32 {
        let home = self.address(fingerprint).home;
        self.buckets.get(home).map_or(0, |bucket| bucket.0[0])
    }

    /// Adds the fingerprint at this place of the ring.
    pub(super) fn insert(&mut self, fingerprint: u128, place: usize) {
        let Address { home, tag } = self.address(fingerprint);
        let mut at = home;
        while is_full(&self.buckets[at].0) {
            at = self.after(at);
        }
        let displaced = if at == home { 0 } else { DISPLACED };
        self.push(at, displaced | tag | (place as u32 + 1));
    }

    /// Takes out the entry of this place of the ring, which still has its fingerprint.
    pub(super) fn remove(&mut self, place: usize, ring: &[u128]) {
        let mut at = self.address(ring[place]).home;
        let slot = loop {
            let slots = &self.buckets[at].0;
            let hits = matches(slots, self.places, place as u32 + 1);
            if hits != 0 {
                break hits.trailing_zeros() as usize;
            }
            assert!(is_full(slots), "the index has every place of the ring");
            at = self.after(at);
        };
        let mut gap = at;
        let mut was_full = self.take(at, slot);
        while was_full && let Some((from, slot)) = self.displaced_over(gap, ring) {
            let entry = self.buckets[from].0[slot];
            let place = self.place(entry).expect("an empty slot is not displaced");
            let home = self.address(ring[place]).home;
            was_full = self.take(from, slot);
            let displaced = if gap == home { 0 } else { DISPLACED };
            self.push(gap, displaced | (entry & !DISPLACED));
            gap = from;
        }
    }

    /// An entry that would stand in the bucket `gap` or before it, had there been room.
    fn displaced_over(&self, gap: usize, ring: &[u128]) -> Option<(usize, usize)> {
        let mut from = self.after(gap);
        while from != gap {
            let slots = &self.buckets[from].0;
            for (slot, &entry) in slots.iter().enumerate() {
                if entry & DISPLACED == 0 {
                    continue;
                }
                let place = self.place(entry).expect("an empty slot is not displaced");
                let home = self.address(ring[place]).home;
                if self.distance(home, from) >= self.distance(gap, from) {
                    return Some((from, slot));
                }
            }
            if !is_full(slots) {
                return None;
            }
            from = self.after(from);
        }
        None
    }

    fn address(&self, fingerprint: u128) -> Address {
        let hash = self.seed.hash_one(fingerprint);
        // The upper bits choose the home, the lower ones are the tag.
        let home = (u128::from(hash) * self.buckets.len() as u128) >> 64;
        Address {
            home: home as usize,
            tag: ((hash as u32) << self.places.count_ones()) & self.tags(),
        }
    }

    /// The bits of a slot that are a tag.
    fn tags(&self) -> u32 {
        !(self.places | DISPLACED)
    }

    /// The place in the ring; `None` in an empty slot.
    fn place(&self, slot: u32) -> Option<usize> {
        (slot & self.places)
            .checked_sub(1)
            .map(|place| place as usize)
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() {
            0
        } else {
            at + 1
        }
    }

    /// Buckets from one to the other, forward.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from {
            to - from
        } else {
            to + self.buckets.len() - from
        }
    }

    /// Adds an entry to a bucket that has room.
    fn push(&mut self, at: usize, entry: u32) {
        let slots = &mut self.buckets[at].0;
        let used = slots.iter().filter(|slot| **slot != 0).count();
        slots[used] = entry;
    }

    /// Takes an entry out; whether the bucket was full before.
    fn take(&mut self, at: usize, slot: usize) -> bool {
        let slots = &mut self.buckets[at].0;
        let used = slots.iter().filter(|slot| **slot != 0).count();
        slots[slot] = slots[used - 1];
        slots[used - 1] = 0;
        used == SLOTS
    }
}

fn bucket_count(keys: usize) -> usize {
    keys / KEYS_PER_BUCKET + 1
}

/// Which slots are `wanted` in the bits of `mask`, as bits: compared as vectors, without a branch.
fn matches(slots: &[u32; SLOTS], mask: u32, wanted: u32) -> u32 {
    let slots = slots.iter().enumerate();
    slots.fold(0, |hits, (i, slot)| {
        hits | (u32::from(slot & mask == wanted) << i)
    })
}

fn is_full(slots: &[u32; SLOTS]) -> bool {
    slots[SLOTS - 1] != 0
}

#[cfg(test)]
impl Index {
    /// Bytes that are really taken.
    pub(super) fn allocated(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A ring of `size` that is filled and gone round in, over an index of so few buckets that many
    /// are full.
    fn go_round(size: usize, buckets: usize, fingerprints: impl Iterator<Item = u128>) {
        let mut index = Index::new();
        index.clear(size, buckets);
        let mut ring: Vec<u128> = Vec::new();
        for (step, fingerprint) in fingerprints.enumerate() {
            let place = step % size;
            let forgotten = ring.get(place).copied();
            if forgotten.is_some() {
                index.remove(place, &ring);
                ring[place] = fingerprint;
            } else {
                ring.push(fingerprint);
            }
            index.insert(fingerprint, place);
            if let Some(old) = forgotten {
                assert_eq!(index.contains(old, &ring), ring.contains(&old), "{step}");
            }
            for &held in &ring {
                assert!(index.contains(held, &ring), "lost at step {step}");
            }
        }
        assert_whole(&index, &ring);
    }

    /// The invariants hold, and nothing is left over.
    fn assert_whole(index: &Index, ring: &[u128]) {
        let mut entries = 0;
        for (at, bucket) in index.buckets.iter().enumerate() {
            let used = bucket.0.iter().filter(|slot| **slot != 0).count();
            assert!(bucket.0[..used].iter().all(|slot| *slot != 0));
            entries += used;
            for &slot in &bucket.0[..used] {
                let place = index.place(slot).expect("used");
                let home = index.address(ring[place]).home;
                assert_eq!(slot & DISPLACED != 0, home != at);
                let mut before = home;
                while before != at {
                    assert!(is_full(&index.buckets[before].0));
                    before = index.after(before);
                }
            }
        }
        assert_eq!(entries, ring.len());
    }

    proptest! {
        #[test]
        fn whatever_stands_in_the_ring_is_found_and_nothing_else(
            buckets in 1usize..8,
            load in 0.1f64..0.97,
            fingerprints in prop::collection::vec(any::<u128>(), 0..300),
        ) {
            let size = ((buckets * SLOTS) as f64 * load) as usize;
            go_round(size.max(1), buckets, fingerprints.into_iter());
        }

        #[test]
        fn keys_that_come_again_are_found_as_often_as_they_are_there(
            buckets in 1usize..5,
            fingerprints in prop::collection::vec(0u128..20, 0..200),
        ) {
            go_round(buckets * SLOTS - 1, buckets, fingerprints.into_iter());
        }
    }
}
