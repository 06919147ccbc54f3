//! Random numbers that belong to one record.
//!
//! Each record has its own generator, begun at a state that no other record of the same seed has.
//! It is `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
//! 2014): tiny, portable and fixed here for ever, which `rand`'s small generators are not.

use crate::record::Origin;

/// Bits of the state that tell offsets apart; the others tell partitions apart.
const OFFSET_BITS: u32 = 44;

/// The random numbers of one record.
pub(super) struct Draw(u64);

impl Draw {
    /// Those of the record at `origin`. The first number differs between all records of a seed, up
    /// to 2^20 partitions of 2^44 records.
    pub(super) fn new(seed: u64, origin: Origin) -> Self {
        let partition = u64::from(origin.partition.0);
        let place = partition << OFFSET_BITS ^ origin.offset.cast_unsigned();
        Self(mix(seed) ^ place)
    }

    /// The numbers that decide whether the record at `origin` repeats another one: others than those
    /// that say what it holds.
    pub(super) fn of_repeats(seed: u64, origin: Origin) -> Self {
        Self::new(!seed, origin)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// One of these; there must be one.
    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// True in this share of cases.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        unit < share
    }
}

/// A bijection of 64 bits that leaves no pattern.
fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Partition;

    fn draw(seed: u64, partition: u32, offset: i64) -> Draw {
        let partition = Partition(partition);
        Draw::new(seed, Origin { partition, offset })
    }

    #[test]
    fn the_numbers_are_those_of_the_paper() {
        // The reference implementation, begun at 0.
        let mut draw = Draw(0);
        assert_eq!(draw.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(draw.next(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn numbers_below_a_bound_are_spread_evenly() {
        let mut counts = [0; 10];
        for offset in 0..10_000 {
            counts[draw(7, 0, offset).below(10) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (900..1_100).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn a_chance_is_taken_as_often_as_it_says() {
        let taken = (0..100_000)
            .filter(|offset| draw(1, 3, *offset).chance(0.01))
            .count();
        assert!((900..1_100).contains(&taken), "{taken}");
        assert!(!(0..1_000).any(|offset| draw(1, 3, offset).chance(0.0)));
        assert!((0..1_000).all(|offset| draw(1, 3, offset).chance(1.0)));
    }
}
