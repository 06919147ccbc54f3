//! Weights of values in bounded room: Misra–Gries summaries.
//!
//! Source: P. K. Agarwal, G. Cormode, Z. Huang, J. Phillips, Z. Wei, K. Yi, "Mergeable Summaries" (PODS
//! 2012), section 2, with weights instead of counts. A summary that has more than `capacity` values
//! subtracts the weight of the next heaviest one, C, from all of them, forgets those of which nothing
//! is left, and adds C to its error. So each step takes at least (capacity + 1) · C of weight away.
//!
//! # Invariants
//!
//! 1. A value's true weight is at least what the summary says (0 if it is not in it), and at most that
//!    and the error together.
//! 2. The error is at most the weight of everything / (capacity + 1), however the rows were cut and
//!    merged.
//! 3. As long as there were at most `capacity` different values, the error is 0, every weight is
//!    exact, and a summary is a function of the rows alone. Afterwards the laws of an aggregate hold
//!    within the error, and no closer: which of two summaries comes first shows in the weights.

/// A value and its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) value: &'a [u8],
    /// unscaled, greater than 0
    pub(crate) weight: i128,
}

/// Cuts `entries`, which are of different values, down to `capacity`; returns what that adds to the
/// error. They are ordered by value afterwards.
pub(crate) fn cut(entries: &mut Vec<Entry<'_>>, capacity: usize) -> i128 {
    let mut error = 0;
    if entries.len() > capacity {
        // Which of two equal ones comes first makes no difference to the weight that stands there.
        let (_, next, _) = entries.select_nth_unstable_by(capacity, |a, b| b.weight.cmp(&a.weight));
        error = next.weight;
        entries.retain_mut(|entry| {
            entry.weight -= error;
            entry.weight > 0
        });
    }
    entries.sort_unstable_by(|a, b| a.value.cmp(b.value));
    error
}

/// Joins entries of equal values, which follow each other.
pub(crate) fn join(entries: &mut Vec<Entry<'_>>) {
    entries.dedup_by(|next, entry| {
        let is_same = next.value == entry.value;
        if is_same {
            entry.weight += next.weight;
        }
        is_same
    });
}

/// The `k` heaviest, the heaviest first; of equal weights the lesser value.
pub(crate) fn heaviest(entries: &mut Vec<Entry<'_>>, k: usize) {
    let order = |a: &Entry<'_>, b: &Entry<'_>| b.weight.cmp(&a.weight).then(a.value.cmp(b.value));
    if entries.len() > k {
        entries.select_nth_unstable_by(k, order);
        entries.truncate(k);
    }
    entries.sort_unstable_by(order);
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    fn entries<'a>(pairs: &[(&'a str, i128)]) -> Vec<Entry<'a>> {
        let entry = |&(value, weight): &(&'a str, i128)| Entry {
            value: value.as_bytes(),
            weight,
        };
        pairs.iter().map(entry).collect()
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let mut few = entries(&[("b", 2), ("a", 1)]);
        assert_eq!(cut(&mut few, 2), 0);
        assert_eq!(few, entries(&[("a", 1), ("b", 2)]));
    }

    #[test]
    fn what_does_not_fit_is_taken_from_all() {
        let mut many = entries(&[("a", 9), ("b", 2), ("c", 3), ("d", 3), ("e", 7)]);
        assert_eq!(cut(&mut many, 2), 3);
        assert_eq!(many, entries(&[("a", 6), ("e", 4)]));
        let mut equal = entries(&[("a", 2), ("b", 2), ("c", 2)]);
        assert_eq!(cut(&mut equal, 2), 2);
        assert!(equal.is_empty());
    }

    #[test]
    fn the_heaviest_come_first_and_of_equals_the_lesser() {
        let mut all = entries(&[("d", 1), ("c", 5), ("b", 5), ("a", 3)]);
        heaviest(&mut all, 3);
        assert_eq!(all, entries(&[("b", 5), ("c", 5), ("a", 3)]));
    }

    proptest! {
        #[test]
        fn weights_are_within_the_error_and_the_error_within_its_bound(
            parts in prop::collection::vec(prop::collection::vec((0_u8..20, 1_i128..100), 0..20), 1..6),
            capacity in 1_usize..6,
        ) {
            let mut truth: BTreeMap<u8, i128> = BTreeMap::new();
            let values: Vec<u8> = (0..20).collect();
            let (mut summary, mut error) = (Vec::new(), 0);
            for (value, weight) in parts.into_iter().flatten() {
                *truth.entry(value).or_default() += weight;
                let value = &values[usize::from(value)..=usize::from(value)];
                summary.push(Entry { value, weight });
                summary.sort_by(|a, b| a.value.cmp(b.value));
                join(&mut summary);
                error += cut(&mut summary, capacity);
            }
            prop_assert!(summary.len() <= capacity);
            prop_assert!(error * (capacity as i128 + 1) <= truth.values().sum());
            for (value, weight) in truth {
                let said = summary.iter().find(|entry| entry.value == [value]).map_or(0, |entry| entry.weight);
                prop_assert!(said <= weight && weight <= said + error);
            }
        }
    }
}
