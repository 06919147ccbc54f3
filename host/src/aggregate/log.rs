//! Where the states of one aggregate lie in memory: a log of segments and an index into it.
//!
//! A state is appended to the open segment, or replaced there if it is in it already and as long as
//! before. A checkpoint **seals** the open segment, which costs nothing, and stores those segments
//! that are new: so its cost is in proportion to what changed, and the stream does not wait for it.
//! What was replaced stays behind in older segments. Once that is more than what is alive, the segment
//! with the most of it is **cleaned**: what is alive in it is appended again, a little at each epoch,
//! and then it is dropped, in memory and from the next checkpoint on. That is how log-structured file
//! systems do it (Rosenblum and Ousterhout, "The design and implementation of a log-structured file
//! system", 1992); with an index in memory it is Bitcask (Sheehy and Smith, 2010).
//!
//! # Invariants
//!
//! 1. Segments by number, entries in order, the later one overruling the earlier ones, are the
//!    contents: whoever reads sealed segments back needs nothing else.
//! 2. A sealed segment never changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;

use super::group::hash_of;

/// A segment is sealed early at this size, so that it can be stored and cleaned in pieces.
const SEGMENT_BYTES_MAX: usize = 8 << 20;
/// Below this much that was replaced nothing is cleaned.
const DEAD_BYTES_MIN: usize = 1 << 20;
/// Lengths of key and state.
const HEADER: usize = 8;

/// Numbers of segments are those of one process: states change hands, and a number is never another
/// segment's.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

pub(super) fn next_number() -> u64 {
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// Where an entry begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// the upper half of the key's hash, so that the index grows without looking at the keys
    hash: u32,
    slot: u32,
    offset: u32,
}

/// Entries that were appended between two seals. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Segment {
    number: u64,
    bytes: Arc<Vec<u8>>,
}

impl Segment {
    /// Its number; later segments overrule those with lower numbers.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many bytes they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Its keys and states, in the order in which they were appended.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        Entries {
            bytes: &self.bytes,
            offset: 0,
        }
        .map(|(_, key, state)| (key, state))
    }
}

/// Reads entries from some offset on.
struct Entries<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (usize, &'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.bytes.len() {
            return None;
        }
        let at = self.offset;
        let (key, state) = entry(self.bytes, at);
        self.offset = at + HEADER + key.len() + state.len();
        Some((at, key, state))
    }
}

struct Slot {
    segment: Segment,
    /// bytes of entries that were replaced
    dead: usize,
}

/// A cleaning that is under way.
#[derive(Clone, Copy)]
struct Cleaning {
    slot: usize,
    offset: usize,
}

/// The newest state of each key.
pub(super) struct StateLog {
    index: HashTable<Place>,
    /// slots are used again, so that places stay valid
    slots: Vec<Option<Slot>>,
    /// the slot that is appended to
    open: usize,
    /// bytes of all segments, what was replaced included
    stored: usize,
    /// bytes of keys and states that are alive
    alive: usize,
    /// bytes of the longest state that there was
    longest: usize,
    cleaning: Option<Cleaning>,
    /// bytes appended since cleaning last went on
    appended: usize,
}

impl Default for StateLog {
    fn default() -> Self {
        Self {
            index: HashTable::new(),
            slots: vec![Some(Slot::empty())],
            open: 0,
            stored: 0,
            alive: 0,
            longest: 0,
            cleaning: None,
            appended: 0,
        }
    }
}

impl StateLog {
    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Bytes of all keys and their states.
    pub(super) fn bytes(&self) -> usize {
        self.alive
    }

    /// Bytes of the longest state that there was.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The state of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        Some(self.state_at(self.find(key, hash_of(key))?))
    }

    /// Where the entry of a key is that has this hash, until something is cleaned.
    pub(super) fn find(&self, key: &[u8], hash: u64) -> Option<Place> {
        let hash = upper(hash);
        let is = |place: &Place| {
            place.hash == hash
                && entry(self.slot(place.slot as usize), place.offset as usize).0 == key
        };
        self.index.find(spread(hash), is).copied()
    }

    /// The state in the entry there.
    pub(super) fn state_at(&self, place: Place) -> &[u8] {
        entry(self.slot(place.slot as usize), place.offset as usize).1
    }

    /// Replaces the state of a key.
    pub(super) fn put(&mut self, key: &[u8], state: &[u8]) {
        let hash = hash_of(key);
        self.put_at(self.find(key, hash), (key, hash), state);
    }

    /// Replaces the state of a key with its hash, whose entry was found at `place`, or nowhere.
    pub(super) fn put_at(&mut self, place: Option<Place>, (key, hash): (&[u8], u64), state: &[u8]) {
        let Some(place) = place else {
            self.alive += key.len() + state.len();
            let place = self.append(key, state, upper(hash));
            let spread = |place: &Place| spread(place.hash);
            self.index
                .insert_unique(self::spread(place.hash), place, spread);
            return;
        };
        let slot = place.slot as usize;
        let length = self.state_at(place).len();
        self.alive = self.alive + state.len() - length;
        let offset = place.offset as usize;
        if slot == self.open && length == state.len() {
            let from = offset + HEADER + key.len();
            self.open_bytes()[from..from + length].copy_from_slice(state);
            return;
        }
        self.replace(place, key, state);
    }

    /// Appends a newer entry for a key and points its place there.
    fn replace(&mut self, old: Place, key: &[u8], state: &[u8]) {
        let length = self.state_at(old).len();
        let slot = self.slots[old.slot as usize].as_mut();
        slot.expect("places point into slots in use").dead += HEADER + key.len() + length;
        let new = self.append(key, state, old.hash);
        let place = self.index.find_mut(spread(old.hash), |place| *place == old);
        *place.expect("the old place was found") = new;
    }

    fn append(&mut self, key: &[u8], state: &[u8], hash: u32) -> Place {
        let size = HEADER + key.len() + state.len();
        let full = self.slot(self.open).len();
        if full > 0 && full + size > SEGMENT_BYTES_MAX {
            self.seal();
        }
        let slot = self.open as u32;
        let bytes = self.open_bytes();
        let offset = u32::try_from(bytes.len()).expect("a segment is sealed long before 4 GiB");
        let length = |bytes: &[u8]| {
            let length = u32::try_from(bytes.len());
            length
                .expect("a guest's memory bounds a value")
                .to_le_bytes()
        };
        bytes.extend_from_slice(&length(key));
        bytes.extend_from_slice(&length(state));
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(state);
        self.stored += size;
        self.appended += size;
        self.longest = self.longest.max(state.len());
        Place { hash, slot, offset }
    }

    /// Has `fill` put states that become one segment; its number, unless they took several.
    pub(super) fn append_segment(&mut self, fill: impl FnOnce(&mut Self)) -> Option<u64> {
        self.seal();
        let number = self.open_number();
        fill(self);
        let whole = self.open_number() == number && !self.slot(self.open).is_empty();
        self.seal();
        whole.then_some(number)
    }

    /// Closes the open segment, unless it is empty.
    pub(super) fn seal(&mut self) {
        if self.slot(self.open).is_empty() {
            return;
        }
        // Nothing is added any more: what it grew too large by is given back.
        let sealed = self.slots[self.open].as_mut().expect("the open slot");
        Arc::make_mut(&mut sealed.segment.bytes).shrink_to_fit();
        self.open = self.place(Slot::empty());
    }

    /// The sealed segments, oldest first.
    pub(super) fn segments(&self) -> Vec<Segment> {
        let sealed = self.slots.iter().enumerate();
        let sealed = sealed.filter(|(slot, _)| *slot != self.open);
        let mut segments: Vec<Segment> = sealed
            .filter_map(|(_, slot)| Some(slot.as_ref()?.segment.clone()))
            .collect();
        segments.sort_unstable_by_key(Segment::number);
        segments
    }

    /// All segments, oldest first.
    pub(super) fn all_segments(&mut self) -> Vec<Segment> {
        self.seal();
        self.segments()
    }

    /// Goes on with cleaning, about as far as was appended since the last call.
    pub(super) fn clean(&mut self) {
        let mut budget = 2 * std::mem::take(&mut self.appended);
        while budget > 0 {
            let Some(cleaning) = self.cleaning.or_else(|| self.dirtiest()) else {
                return;
            };
            budget = self.clean_some(cleaning, budget);
        }
        // What cleaning itself appends does not call for more of it.
        self.appended = 0;
    }

    /// Cleans as far as the budget goes; what is left of it.
    fn clean_some(&mut self, from: Cleaning, budget: usize) -> usize {
        let segment = self.slots[from.slot].as_ref().expect("it is being cleaned");
        let segment = segment.segment.clone();
        let mut budget = budget;
        let mut entries = Entries {
            bytes: &segment.bytes,
            offset: from.offset,
        };
        for (offset, key, state) in &mut entries {
            let place = Place {
                hash: upper(hash_of(key)),
                slot: from.slot as u32,
                offset: offset as u32,
            };
            let alive = self.index.find(spread(place.hash), |other| *other == place);
            if alive.is_some() {
                self.replace(place, key, state);
            }
            budget = budget.saturating_sub(HEADER + key.len() + state.len());
            if budget == 0 {
                break;
            }
        }
        self.cleaning = if entries.offset < segment.bytes.len() {
            Some(Cleaning {
                slot: from.slot,
                offset: entries.offset,
            })
        } else {
            self.slots[from.slot] = None;
            self.stored -= segment.bytes.len();
            None
        };
        budget
    }

    /// The sealed segment with the largest share of what was replaced, if there is too much of it.
    fn dirtiest(&self) -> Option<Cleaning> {
        let alive = self.alive + HEADER * self.len();
        let dead = self.stored - alive;
        if dead < DEAD_BYTES_MIN.max(alive) {
            return None;
        }
        let sealed = self.slots.iter().enumerate();
        let sealed = sealed.filter(|(slot, _)| *slot != self.open);
        let share = |slot: &Slot| slot.dead as f64 / slot.segment.bytes.len() as f64;
        sealed
            .filter_map(|(index, slot)| Some((index, share(slot.as_ref()?))))
            .filter(|(_, share)| *share > 0.0)
            .max_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(slot, _)| Cleaning { slot, offset: 0 })
    }

    fn place(&mut self, slot: Slot) -> usize {
        if let Some(free) = self.slots.iter().position(Option::is_none) {
            self.slots[free] = Some(slot);
            return free;
        }
        self.slots.push(Some(slot));
        self.slots.len() - 1
    }

    fn slot(&self, slot: usize) -> &[u8] {
        let slot = self.slots[slot].as_ref();
        &slot.expect("places point into slots in use").segment.bytes
    }

    fn open_number(&self) -> u64 {
        let open = self.slots[self.open].as_ref().expect("the open slot");
        open.segment.number
    }

    fn open_bytes(&mut self) -> &mut Vec<u8> {
        let open = self.slots[self.open].as_mut().expect("the open slot");
        Arc::get_mut(&mut open.segment.bytes).expect("an open segment is nobody else's")
    }
}

impl Slot {
    fn empty() -> Self {
        let bytes = Arc::new(Vec::new());
        Self {
            segment: Segment {
                number: next_number(),
                bytes,
            },
            dead: 0,
        }
    }
}

/// Key and state of the entry at `offset`.
fn entry(bytes: &[u8], offset: usize) -> (&[u8], &[u8]) {
    let length = |at: usize| {
        let length = bytes[at..].first_chunk().expect("a header is whole");
        u32::from_le_bytes(*length) as usize
    };
    let (key, state) = (length(offset), length(offset + 4));
    let start = offset + HEADER;
    let (key, rest) = bytes[start..].split_at(key);
    (key, &rest[..state])
}

fn upper(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// A hash of 64 bits of one of 32: the index looks at the lowest and the highest bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn contents(segments: &[Segment]) -> HashMap<Vec<u8>, Vec<u8>> {
        let entries = segments.iter().flat_map(Segment::entries);
        entries.map(|(k, s)| (k.to_vec(), s.to_vec())).collect()
    }

    fn sealed(log: &mut StateLog) -> HashMap<Vec<u8>, Vec<u8>> {
        log.seal();
        contents(&log.segments())
    }

    #[test]
    fn a_state_in_the_open_segment_is_replaced_where_it_is() {
        let mut log = StateLog::default();
        for round in 0u64..1_000 {
            log.put(b"key", &round.to_le_bytes());
        }
        assert_eq!(log.stored, HEADER + 3 + 8);
        assert_eq!(log.get(b"key"), Some(&999u64.to_le_bytes()[..]));
        assert_eq!(log.bytes(), 3 + 8);
    }

    #[test]
    fn a_checkpoint_adds_what_changed_since_the_last_one() {
        let mut log = StateLog::default();
        for key in 0u32..1_000 {
            log.put(&key.to_le_bytes(), b"old");
        }
        log.seal();
        log.put(&7u32.to_le_bytes(), b"new");
        log.seal();
        log.seal();
        let segments = log.segments();
        assert_eq!(segments.len(), 2);
        assert_eq!(segments[1].entries().count(), 1);
        assert_eq!(contents(&segments)[&7u32.to_le_bytes()[..]], b"new");
    }

    #[test]
    fn what_was_replaced_never_takes_much_more_room_than_what_is_alive() {
        let mut log = StateLog::default();
        for round in 0u32..60 {
            for key in 0u32..20_000 {
                log.put(&key.to_le_bytes(), &[round as u8; 50]);
                if key % 1_000 == 0 {
                    log.clean();
                }
            }
            log.seal();
            assert!(
                log.stored < 4 * (log.bytes() + HEADER * log.len()),
                "{round}"
            );
        }
        let kept: usize = log.segments().iter().map(|s| s.bytes.len()).sum();
        assert_eq!(kept, log.stored);
        assert_eq!(contents(&log.segments()).len(), 20_000);
        assert!(contents(&log.segments()).values().all(|s| s == &[59; 50]));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8, Vec<u8>),
        Seal,
        Clean(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let state = prop::collection::vec(any::<u8>(), 0..4);
        let step = prop_oneof![
            8 => (0u8..20, state).prop_map(|(key, state)| Step::Put(key, state)),
            1 => Just(Step::Seal),
            2 => (1usize..60).prop_map(Step::Clean),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds_however_it_is_sealed_and_cleaned(steps in steps()) {
            let mut log = StateLog::default();
            let mut map = HashMap::new();
            for step in steps {
                match step {
                    Step::Put(key, state) => {
                        log.put(&[key], &state);
                        map.insert(vec![key], state);
                    }
                    Step::Seal => log.seal(),
                    // The budget apart, as `clean` does it, but with little to clean.
                    Step::Clean(budget) => {
                        let oldest = log.segments().first().map(Segment::number);
                        let slot = log.slots.iter().position(|slot| {
                            slot.as_ref().map(|slot| slot.segment.number) == oldest
                        });
                        let from = slot.filter(|_| oldest.is_some());
                        let from = from.map(|slot| Cleaning { slot, offset: 0 });
                        if let Some(from) = log.cleaning.or(from) {
                            log.clean_some(from, budget);
                        }
                    }
                }
                prop_assert_eq!(log.len(), map.len());
                let bytes: usize = map.iter().map(|(k, s)| k.len() + s.len()).sum();
                prop_assert_eq!(log.bytes(), bytes);
            }
            for (key, state) in &map {
                prop_assert_eq!(log.get(key), Some(&state[..]));
            }
            prop_assert_eq!(sealed(&mut log), map);
        }
    }
}
