//! How the rows of a column are shared out among its panels.

/// What a panel asks for, in rows with its title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    /// fewer make no sense
    pub(super) least: u16,
    /// more are of no use
    pub(super) most: u16,
    /// the panel with the highest one is left out first
    pub(super) rank: u8,
}

/// The rows of each panel, in the order of the wishes; 0: it is left out. At most `height` together.
pub(super) fn share(height: u16, wishes: &[Wish]) -> Vec<u16> {
    let mut by_rank: Vec<usize> = (0..wishes.len()).collect();
    by_rank.sort_by_key(|&index| wishes[index].rank);
    let mut rows = vec![0; wishes.len()];
    let mut left = height;
    for (place, &index) in by_rank.iter().enumerate() {
        let mut least = wishes[index].least.min(wishes[index].most);
        if place == 0 {
            // Better a part of the most important one than nothing.
            least = least.min(left);
        }
        if least > left {
            break;
        }
        rows[index] = least;
        left -= least;
    }
    // The rest goes to the smallest one that still wants something, where the important ones count
    // as smaller than they are: so all grow together, and these more.
    while left > 0 {
        let wanting = by_rank.iter().copied().filter(|&index| {
            let wish = wishes[index];
            rows[index] > 0 && rows[index] < wish.most
        });
        let size = |index: usize| u32::from(rows[index]) * (2 + u32::from(wishes[index].rank));
        let Some(index) = wanting.min_by_key(|&index| size(index)) else {
            break;
        };
        rows[index] += 1;
        left -= 1;
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wish(least: u16, most: u16, rank: u8) -> Wish {
        Wish { least, most, rank }
    }

    #[test]
    fn everyone_gets_what_it_wants_where_there_is_room() {
        let wishes = [wish(2, 9, 0), wish(2, 4, 1)];
        assert_eq!(share(20, &wishes), [9, 4]);
    }

    #[test]
    fn the_least_important_is_left_out_first() {
        let wishes = [wish(3, 9, 2), wish(3, 9, 0), wish(3, 9, 1)];
        assert_eq!(share(7, &wishes), [0, 4, 3]);
        assert_eq!(share(2, &wishes), [0, 2, 0]);
    }

    #[test]
    fn what_is_left_is_dealt_by_rank() {
        let wishes = [wish(2, 9, 0), wish(2, 3, 1), wish(2, 9, 2)];
        assert_eq!(share(11, &wishes), [5, 3, 3]);
    }

    proptest! {
        #[test]
        fn nobody_gets_less_than_makes_sense_or_more_than_it_wants(
            height in 0_u16..80,
            wishes in prop::collection::vec((0_u16..9, 0_u16..20, any::<u8>()), 0..9),
        ) {
            let wishes: Vec<Wish> = wishes
                .iter()
                .map(|&(least, more, rank)| wish(least, least + more, rank))
                .collect();
            let rows = share(height, &wishes);
            prop_assert!(rows.iter().sum::<u16>() <= height);
            let short = rows.iter().zip(&wishes).filter(|(rows, wish)| **rows > 0 && **rows < wish.least);
            prop_assert!(short.count() <= 1, "only the most important one, where there is no room");
            prop_assert!(rows.iter().zip(&wishes).all(|(rows, wish)| *rows <= wish.most));
        }
    }
}
