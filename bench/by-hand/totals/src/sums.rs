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
