//! What a pipeline has computed so far, as the view shows it: plain data.
//!
//! # Not here
//!
//! Which tables are shown, and reading them: `crate::cli::demo`.

use std::fmt;

use super::text::grouped;

/// An exact decimal number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    /// the number without its point
    pub(crate) units: i64,
    /// digits after the point
    pub(crate) scale: u8,
}

impl fmt::Display for Amount {
    /// With groups of three digits before the point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = usize::from(self.scale);
        let digits = format!("{:0>1$}", self.units.unsigned_abs(), scale + 1);
        let (whole, part) = digits.split_at(digits.len() - scale);
        let sign = if self.units < 0 { "-" } else { "" };
        let point = if scale == 0 { "" } else { "." };
        f.pad(&format!("{sign}{}{point}{part}", grouped(whole)))
    }
}

/// The tables at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// each with its most interesting rows
    pub(crate) charts: Vec<Chart>,
    /// sums that have to be equal
    pub(crate) checks: Vec<Check>,
}

impl Totals {
    /// Whether all sums that have to be equal are; `None` where there are none to compare.
    pub(crate) fn agree(&self) -> Option<bool> {
        let mut checks = self.checks.iter().filter(|check| check.sums.len() > 1);
        let first = checks.next()?;
        Some(first.agrees() && checks.all(Check::agrees))
    }
}

/// A column of a table by one of its keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chart {
    /// the table
    pub(crate) table: String,
    /// the column that is shown
    pub(crate) column: String,
    /// the key
    pub(crate) by: String,
    /// in the order in which they are shown; more than there is room for
    pub(crate) bars: Vec<Bar>,
}

/// A key with its amount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) amount: Amount,
}

/// Sums of the same rows, which different tables have split in different ways.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) sums: Vec<Sum>,
}

impl Check {
    /// Whether they are all equal, as they have to be at every moment.
    pub(crate) fn agrees(&self) -> bool {
        let mut amounts = self.sums.iter().map(|sum| sum.amount);
        let first = amounts.next();
        amounts.all(|amount| Some(amount) == first)
    }
}

/// The sum of a column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) table: String,
    pub(crate) column: String,
    pub(crate) amount: Amount,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_shown_with_its_point_and_groups() {
        for (units, scale, text) in [
            (0, 2, "0.00"),
            (-5, 2, "-0.05"),
            (123_456_780, 2, "1,234,567.80"),
            (1_000, 0, "1,000"),
            (i64::MIN, 18, "-9.223372036854775808"),
        ] {
            assert_eq!(Amount { units, scale }.to_string(), text);
        }
        let amount = Amount { units: 5, scale: 0 };
        assert_eq!(format!("{amount:>3}"), "  5");
    }

    #[test]
    fn sums_agree_when_all_are_equal() {
        let sum = |units| Sum {
            table: "t".into(),
            column: "c".into(),
            amount: Amount { units, scale: 2 },
        };
        let check = |units: &[i64]| Check {
            sums: units.iter().copied().map(sum).collect(),
        };
        let totals = |checks| Totals {
            checks,
            ..Totals::default()
        };
        assert_eq!(totals(vec![]).agree(), None);
        assert_eq!(totals(vec![check(&[1])]).agree(), None);
        assert_eq!(totals(vec![check(&[1, 1, 1])]).agree(), Some(true));
        let differing = vec![check(&[1, 1]), check(&[1, 1, 2])];
        assert_eq!(totals(differing).agree(), Some(false));
    }
}
