//! What a condition is for a row: SQL's three values, and two ways in which it cannot be computed.

/// What a condition is for a row.
///
/// The order is that in which `all` and `any` decide: see [`Truth::and`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Truth {
    False,
    /// a value is missing
    Unknown,
    True,
    /// A number has more digits than fit. Like a missing value it spreads, unless the other side of
    /// an `and` or `or` decides alone: `quantity <> 0 and total / quantity > 5` is false without
    /// quantity, whichever side comes first.
    TooLarge,
    DividesByZero,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl Truth {
    pub(crate) fn and(self, other: Self) -> Self {
        if self == Self::False || other == Self::False {
            Self::False
        } else if self.max(other) >= Self::TooLarge {
            self.max(other)
        } else {
            self.min(other)
        }
    }

    pub(crate) fn or(self, other: Self) -> Self {
        if self == Self::True || other == Self::True {
            Self::True
        } else {
            self.max(other)
        }
    }

    pub(crate) fn not(self) -> Self {
        match self {
            Self::False => Self::True,
            Self::True => Self::False,
            other => other,
        }
    }

    /// `is` this, which is true or false unless it cannot be computed.
    pub(crate) fn is(self, expected: Self) -> Self {
        if self >= Self::TooLarge {
            self
        } else {
            (self == expected).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Truth::{self, DividesByZero, False, TooLarge, True, Unknown};

    const ALL: [Truth; 5] = [False, Unknown, True, TooLarge, DividesByZero];

    #[test]
    fn a_missing_value_matters_unless_the_other_side_decides() {
        assert_eq!(Unknown.and(False), False);
        assert_eq!(Unknown.and(True), Unknown);
        assert_eq!(Unknown.or(True), True);
        assert_eq!(Unknown.or(False), Unknown);
        assert_eq!(Unknown.not(), Unknown);
    }

    #[test]
    fn what_cannot_be_computed_matters_unless_the_other_side_decides() {
        assert_eq!(DividesByZero.and(False), False);
        assert_eq!(DividesByZero.and(Unknown), DividesByZero);
        assert_eq!(TooLarge.or(True), True);
        assert_eq!(TooLarge.or(Unknown), TooLarge);
        assert_eq!(TooLarge.not(), TooLarge);
        assert_eq!(TooLarge.is(Unknown), TooLarge);
    }

    #[test]
    fn the_laws_of_logic_hold() {
        for a in ALL {
            assert_eq!(a.not().not(), a);
            for b in ALL {
                assert_eq!(a.and(b), b.and(a));
                assert_eq!(a.or(b), b.or(a));
                assert_eq!(a.and(b).not(), a.not().or(b.not()));
                for c in ALL {
                    assert_eq!(a.and(b).and(c), a.and(b.and(c)));
                    assert_eq!(a.or(b).or(c), a.or(b.or(c)));
                }
            }
        }
    }
}
