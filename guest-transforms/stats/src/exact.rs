//! States over exact numbers: decimals, and integers as decimals without a fraction.
//!
//! # Invariants
//!
//! 1. `fold(a ++ b) = merge(fold(a), fold(b))`; `merge` is associative and commutative, without an
//!    exception: sums are kept in 128 bits, which fewer than 2^63 values of 64 bits cannot exceed.
//! 2. Whether a sum fits into what is shown is asked only when it is shown.

/// What is known of the values of each group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct States {
    /// how many values there were
    pub counts: Vec<i64>,
    /// unscaled
    pub sums: Vec<i128>,
    /// the least value, unscaled; without meaning where the count is 0
    pub least: Vec<i64>,
    /// the greatest value, unscaled; without meaning where the count is 0
    pub greatest: Vec<i64>,
}

#[derive(Clone, Copy)]
struct Group {
    count: i128,
    sum: i128,
    least: i64,
    greatest: i64,
}

const NOTHING: Group = Group {
    count: 0,
    sum: 0,
    least: i64::MAX,
    greatest: i64::MIN,
};

impl Group {
    /// Takes in a value.
    fn add(&mut self, value: i64) {
        self.merge(Self {
            count: 1,
            sum: value.into(),
            least: value,
            greatest: value,
        });
    }

    /// Saturates at numbers that only damaged states could have.
    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
    }
}

/// Folds the values of each group; missing ones (`validity` 0) leave no trace.
///
/// # Panics
///
/// When a group is not below `group_count`; the host guarantees it.
#[must_use]
pub fn fold(
    groups: &[u32],
    group_count: u32,
    values: &[i64],
    validity: Option<&[u8]>,
) -> Option<States> {
    let mut all = vec![NOTHING; group_count as usize];
    if let Some(validity) = validity {
        for ((&group, &value), &present) in groups.iter().zip(values).zip(validity) {
            if present != 0 {
                all[group as usize].add(value);
            }
        }
    } else {
        for (&group, &value) in groups.iter().zip(values) {
            all[group as usize].add(value);
        }
    }
    States::new(&all)
}

/// Merges the states of each group.
///
/// `None` when a count does not fit into 64 bits: that many values nobody has.
///
/// # Panics
///
/// When a group is not below `group_count`; the host guarantees it.
#[must_use]
pub fn merge(groups: &[u32], group_count: u32, parts: &States) -> Option<States> {
    let mut all = vec![NOTHING; group_count as usize];
    for (part, &group) in groups.iter().enumerate() {
        let count = parts.counts[part];
        if count > 0 {
            all[group as usize].merge(Group {
                count: count.into(),
                sum: parts.sums[part],
                least: parts.least[part],
                greatest: parts.greatest[part],
            });
        }
    }
    States::new(&all)
}

impl States {
    fn new(groups: &[Group]) -> Option<Self> {
        let mut states = Self::default();
        for group in groups {
            states.counts.push(i64::try_from(group.count).ok()?);
            states.sums.push(group.sum);
            // One form for a group without values.
            let empty = group.count == 0;
            states.least.push(if empty { 0 } else { group.least });
            states.greatest.push(if empty { 0 } else { group.greatest });
        }
        Some(states)
    }
}

/// `sum / count` times `factor`, rounded half to even. `count` is greater than 0; the result fits
/// because no value's product with `factor` is larger (see [`crate::Stats`]).
#[must_use]
pub fn mean(sum: i64, count: i64, factor: i64) -> i64 {
    let (dividend, count) = (i128::from(sum) * i128::from(factor), i128::from(count));
    let (quotient, rest) = (dividend.div_euclid(count), dividend.rem_euclid(count));
    let up = match (rest * 2).cmp(&count) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
        std::cmp::Ordering::Greater => true,
    };
    (quotient + i128::from(up)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const MOST: i64 = 999_999_999_999_999_999;

    #[test]
    fn values_are_summarised_by_group() {
        let states = fold(&[0, 1, 0, 0], 3, &[5, -2, 9, 1], Some(&[1, 1, 1, 0])).unwrap();
        assert_eq!(states.counts, [2, 1, 0]);
        assert_eq!(states.sums, [14, -2, 0]);
        assert_eq!(states.least, [5, -2, 0]);
        assert_eq!(states.greatest, [9, -2, 0]);
    }

    #[test]
    fn a_sum_may_be_larger_than_any_value() {
        let parts = fold(&[0, 0, 1], 2, &[i64::MAX, i64::MAX, i64::MIN], None).unwrap();
        assert_eq!(parts.sums, [2 * i128::from(i64::MAX), i64::MIN.into()]);
        let whole = merge(&[0, 0], 1, &parts).unwrap();
        assert_eq!(whole.sums, [i128::from(i64::MAX) - 1]);
    }

    #[test]
    fn a_count_beyond_64_bits_is_none() {
        let mut parts = fold(&[0, 1], 2, &[1, 1], None).unwrap();
        parts.counts = vec![i64::MAX, 1];
        assert_eq!(merge(&[0, 0], 1, &parts), None);
    }

    #[test]
    fn a_mean_is_rounded_half_to_even() {
        assert_eq!(mean(5, 2, 1), 2);
        assert_eq!(mean(7, 2, 1), 4);
        assert_eq!(mean(-5, 2, 1), -2);
        assert_eq!(mean(-7, 2, 1), -4);
        assert_eq!(mean(10, 3, 1_000), 3_333);
        assert_eq!(mean(-20, 3, 1_000), -6_667);
        assert_eq!(mean(MOST, 1, 1), MOST);
    }

    proptest! {
        #[test]
        fn a_mean_is_nearest_and_between_the_ends(values in prop::collection::vec(-1_000_i64..1_000, 1..20)) {
            let (sum, count) = (values.iter().sum::<i64>(), values.len() as i64);
            let mean = mean(sum, count, 100);
            prop_assert!((2 * (mean * count - sum * 100)).abs() <= count);
            prop_assert!(values.iter().min().unwrap() * 100 <= mean && mean <= values.iter().max().unwrap() * 100);
        }
    }
}
