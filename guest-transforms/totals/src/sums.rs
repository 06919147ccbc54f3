//! Sums and counts by group: exact, checked, in one pass.
//!
//! # Invariants
//!
//! 1. `fold(a ++ b) = merge(fold(a), fold(b))`; `merge` is associative and commutative. Where a
//!    sum leaves the 18 digits there is no result, on any path that has a state of it.
//! 2. No order of the rows makes a difference, not even on the way: sums are gathered in 128 bits and
//!    only the final one has to fit.

/// The first magnitude that has more than 18 digits.
const TOO_LARGE: u128 = 10_u128.pow(18);

/// States, one a group: unscaled sums of at most 18 digits, and how many values they are of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// unscaled
    pub sums: Vec<i64>,
    /// as long as `sums`
    pub counts: Vec<i64>,
}

/// The same, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct SumsRef<'a> {
    /// unscaled
    pub sums: &'a [i64],
    /// as long as `sums`
    pub counts: &'a [i64],
}

#[derive(Clone, Copy, Default)]
struct Wide {
    sum: i128,
    count: i128,
}

/// Sums the values of each group; a missing value (`validity` 0) adds nothing and is not counted.
///
/// `None` when a sum has more than 18 digits.
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
) -> Option<Sums> {
    let mut wide = vec![Wide::default(); group_count as usize];
    if let Some(validity) = validity {
        for ((&group, &value), &present) in groups.iter().zip(values).zip(validity) {
            if present != 0 {
                wide[group as usize].add(value, 1);
            }
        }
    } else {
        for (&group, &value) in groups.iter().zip(values) {
            wide[group as usize].add(value, 1);
        }
    }
    narrow(&wide)
}

/// Adds up the states of each group.
///
/// `None` when a sum has more than 18 digits, or a count does not fit into 64 bits.
///
/// # Panics
///
/// When a group is not below `group_count`; the host guarantees it.
#[must_use]
pub fn merge(groups: &[u32], group_count: u32, parts: SumsRef<'_>) -> Option<Sums> {
    let mut wide = vec![Wide::default(); group_count as usize];
    for ((&group, &sum), &count) in groups.iter().zip(parts.sums).zip(parts.counts) {
        wide[group as usize].add(sum, count);
    }
    narrow(&wide)
}

impl Wide {
    /// Cannot overflow: a call has fewer than 2^32 rows of less than 2^63 each.
    fn add(&mut self, sum: i64, count: i64) {
        self.sum += i128::from(sum);
        self.count += i128::from(count);
    }
}

fn narrow(wide: &[Wide]) -> Option<Sums> {
    let mut narrow = Sums {
        sums: Vec::with_capacity(wide.len()),
        counts: Vec::with_capacity(wide.len()),
    };
    for group in wide {
        if group.sum.unsigned_abs() >= TOO_LARGE {
            return None;
        }
        narrow.sums.push(group.sum as i64);
        narrow.counts.push(i64::try_from(group.count).ok()?);
    }
    Some(narrow)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const MOST: i64 = 999_999_999_999_999_999;

    impl Sums {
        fn as_ref(&self) -> SumsRef<'_> {
            SumsRef {
                sums: &self.sums,
                counts: &self.counts,
            }
        }
    }

    #[test]
    fn values_are_summed_and_counted_by_group() {
        let sums = fold(&[0, 1, 0, 2], 3, &[100, 20, -5, 7], None).unwrap();
        assert_eq!(sums.sums, [95, 20, 7]);
        assert_eq!(sums.counts, [2, 1, 1]);
    }

    #[test]
    fn a_missing_value_is_neither_added_nor_counted() {
        let sums = fold(&[0, 0, 1], 2, &[100, 20, 3], Some(&[1, 0, 0])).unwrap();
        assert_eq!(sums.sums, [100, 0]);
        assert_eq!(sums.counts, [1, 0]);
    }

    #[test]
    fn a_sum_of_nineteen_digits_is_none() {
        assert_eq!(fold(&[0, 0], 1, &[MOST, 0], None).unwrap().sums, [MOST]);
        assert_eq!(fold(&[0, 0], 1, &[MOST, 1], None), None);
        assert_eq!(fold(&[0, 0], 1, &[-MOST, -1], None), None);
        let parts = fold(&[0, 1], 2, &[MOST, 1], None).unwrap();
        assert_eq!(merge(&[0, 0], 1, parts.as_ref()), None);
    }

    #[test]
    fn a_sum_may_be_large_on_the_way() {
        let values = [[MOST; 20], [-MOST; 20]].concat();
        let sums = fold(&[0; 40], 1, &values, None).unwrap();
        assert_eq!((sums.sums[0], sums.counts[0]), (0, 40));
    }

    #[test]
    fn a_count_beyond_64_bits_is_none() {
        let parts = SumsRef {
            sums: &[0, 0],
            counts: &[i64::MAX, 1],
        };
        assert_eq!(merge(&[0, 0], 1, parts), None);
    }

    #[test]
    fn nothing_gives_nothing() {
        assert_eq!(fold(&[], 0, &[], None), Some(Sums::default()));
        assert_eq!(
            merge(&[], 0, Sums::default().as_ref()),
            Some(Sums::default())
        );
    }

    const GROUPS: u32 = 4;

    type Row = (u32, i64, bool);

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        prop::collection::vec(
            (
                0..GROUPS,
                -MOST / 100..=MOST / 100,
                prop::bool::weighted(0.9),
            ),
            0..50,
        )
    }

    fn fold_rows(rows: &[Row]) -> Sums {
        let groups: Vec<_> = rows.iter().map(|row| row.0).collect();
        let values: Vec<_> = rows.iter().map(|row| row.1).collect();
        let validity: Vec<_> = rows.iter().map(|row| u8::from(row.2)).collect();
        fold(&groups, GROUPS, &values, Some(&validity)).unwrap()
    }

    /// Merges states of all groups, one after the other.
    fn merge_all(parts: &[&Sums]) -> Sums {
        let groups: Vec<_> = parts.iter().flat_map(|_| 0..GROUPS).collect();
        let parts = Sums {
            sums: parts.iter().flat_map(|part| part.sums.clone()).collect(),
            counts: parts.iter().flat_map(|part| part.counts.clone()).collect(),
        };
        merge(&groups, GROUPS, parts.as_ref()).unwrap()
    }

    proptest! {
        #[test]
        fn merging_partials_is_folding_everything(a in rows(), b in rows()) {
            let all = [a.clone(), b.clone()].concat();
            prop_assert_eq!(merge_all(&[&fold_rows(&a), &fold_rows(&b)]), fold_rows(&all));
        }

        #[test]
        fn merge_is_associative_and_commutative(a in rows(), b in rows(), c in rows()) {
            let (a, b, c) = (fold_rows(&a), fold_rows(&b), fold_rows(&c));
            let expected = merge_all(&[&a, &b, &c]);
            prop_assert_eq!(&merge_all(&[&merge_all(&[&a, &b]), &c]), &expected);
            prop_assert_eq!(&merge_all(&[&a, &merge_all(&[&b, &c])]), &expected);
            prop_assert_eq!(&merge_all(&[&c, &a, &b]), &expected);
        }

        #[test]
        fn a_fold_is_a_filter_and_a_sum(rows in rows()) {
            let sums = fold_rows(&rows);
            for group in 0..GROUPS {
                let present: Vec<_> = rows.iter().filter(|row| row.0 == group && row.2).collect();
                let sum: i64 = present.iter().map(|row| row.1).sum();
                prop_assert_eq!(sums.sums[group as usize], sum);
                prop_assert_eq!(sums.counts[group as usize], present.len() as i64);
            }
        }
    }
}
