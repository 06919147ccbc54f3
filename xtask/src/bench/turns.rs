//! What is compared takes turns, A B A B: a machine that is busy for a while is so for both.

use anyhow::Result;

use crate::interrupt;

/// Runs each of the variants once a turn, and returns the runs of each.
pub(super) fn take<T, const N: usize>(
    turns: usize,
    variants: [&dyn Fn() -> Result<T>; N],
) -> Result<[Vec<T>; N]> {
    let mut runs = [const { Vec::new() }; N];
    for _ in 0..turns {
        for (variant, runs) in variants.iter().zip(&mut runs) {
            interrupt::check()?;
            runs.push(variant()?);
        }
    }
    Ok(runs)
}

/// The ratio of each turn.
pub(super) fn ratios<T>(above: &[T], below: &[T], value: impl Fn(&T) -> f64) -> Vec<f64> {
    let turns = above.iter().zip(below);
    turns
        .map(|(above, below)| value(above) / value(below))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn variants_take_turns() {
        let order = RefCell::new(Vec::new());
        let variant = |name: char| {
            order.borrow_mut().push(name);
            Ok(order.borrow().len() as f64)
        };
        let runs = take(2, [&|| variant('a'), &|| variant('b')]).unwrap();
        assert_eq!(*order.borrow(), ['a', 'b', 'a', 'b']);
        assert_eq!(runs, [vec![1.0, 3.0], vec![2.0, 4.0]]);
        assert_eq!(ratios(&runs[1], &runs[0], |run| *run), [2.0, 4.0 / 3.0]);
    }
}
