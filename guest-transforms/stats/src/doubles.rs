//! States over doubles: count, least and greatest.
//!
//! There is no sum, because sums of doubles depend on the order of the rows, and an aggregate must
//! not. The order of values is that of PostgreSQL: -0.0 is 0.0, and NaN is above everything.

/// What is known of the values of each group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct States {
    /// how many values there were
    pub counts: Vec<i64>,
    /// the least value; without meaning where the count is 0
    pub least: Vec<f64>,
    /// the greatest value; without meaning where the count is 0
    pub greatest: Vec<f64>,
}

/// One form for equal values.
fn canonical(value: f64) -> f64 {
    if value.is_nan() {
        f64::NAN
    } else {
        // -0.0 + 0.0 is 0.0.
        value + 0.0
    }
}

fn least(a: f64, b: f64) -> f64 {
    if a.total_cmp(&b).is_le() { a } else { b }
}

fn greatest(a: f64, b: f64) -> f64 {
    if a.total_cmp(&b).is_ge() { a } else { b }
}

impl States {
    fn nothing(groups: u32) -> Self {
        Self {
            counts: vec![0; groups as usize],
            least: vec![0.0; groups as usize],
            greatest: vec![0.0; groups as usize],
        }
    }

    /// Takes in values of which these are the least and the greatest. `None` when there are too many.
    fn add(&mut self, group: u32, count: i64, low: f64, high: f64) -> Option<()> {
        let group = group as usize;
        let (low, high) = (canonical(low), canonical(high));
        if self.counts[group] == 0 {
            (self.least[group], self.greatest[group]) = (low, high);
        } else {
            self.least[group] = least(self.least[group], low);
            self.greatest[group] = greatest(self.greatest[group], high);
        }
        self.counts[group] = self.counts[group].checked_add(count)?;
        Some(())
    }
}

/// Folds the values of each group; missing ones (`validity` 0) leave no trace.
///
/// # Panics
///
/// When a group is not below `group_count`; the host guarantees it.
#[must_use]
pub fn fold(groups: &[u32], group_count: u32, values: &[f64], validity: Option<&[u8]>) -> States {
    let mut states = States::nothing(group_count);
    for (row, (&group, &value)) in groups.iter().zip(values).enumerate() {
        if validity.is_none_or(|validity| validity[row] != 0) {
            states
                .add(group, 1, value, value)
                .expect("a call has fewer than 2^32 rows");
        }
    }
    states
}

/// Merges the states of each group. `None` when a count does not fit into 64 bits.
///
/// # Panics
///
/// When a group is not below `group_count`; the host guarantees it.
#[must_use]
pub fn merge(groups: &[u32], group_count: u32, parts: &States) -> Option<States> {
    let mut states = States::nothing(group_count);
    for (part, &group) in groups.iter().enumerate() {
        let count = parts.counts[part];
        if count > 0 {
            states.add(group, count, parts.least[part], parts.greatest[part])?;
        }
    }
    Some(states)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_above_everything_and_zero_has_no_sign() {
        let states = fold(
            &[0, 0, 0, 1, 1],
            2,
            &[f64::NAN, -1.0, f64::INFINITY, 0.0, -0.0],
            None,
        );
        assert_eq!(states.least, [-1.0, 0.0]);
        assert!(states.greatest[0].is_nan());
        assert!(states.least[1].is_sign_positive() && states.greatest[1].is_sign_positive());
    }

    #[test]
    fn a_nan_of_either_sign_is_the_same() {
        let states = fold(&[0, 0], 1, &[-f64::NAN, 1.0], None);
        assert_eq!(states.least, [1.0]);
        assert_eq!(states.greatest[0].to_bits(), f64::NAN.to_bits());
    }

    #[test]
    fn groups_without_values_have_a_count_of_0() {
        let states = fold(&[0, 1], 2, &[3.0, 4.0], Some(&[0, 1]));
        assert_eq!(states.counts, [0, 1]);
        let merged = merge(&[0, 0], 1, &states).unwrap();
        assert_eq!((merged.counts, merged.least), (vec![1], vec![4.0]));
    }
}
