//! Counts the sales of a group, and finds the largest.

use wasmill_guest::{Aggregate, Decimal, Input, NoConfig, Output, Reject, State, reject};

/// What is read of a row: each field is the column of its name.
#[derive(Input)]
struct Sale {
    total_amount: Decimal<2>,
}

/// What wasmill keeps of a group, and stores. Its default is the state of no rows: amounts are never
/// negative, so 0 is below all of them.
#[derive(Default, State)]
struct Sales {
    orders: i64,
    largest: Decimal<2>,
}

/// What is shown of a group, beside the columns of its key and window.
#[derive(Debug, PartialEq, Output)]
struct Summary {
    orders: i64,
    largest: Decimal<2>,
}

struct Largest;

wasmill_guest::aggregate!(Largest);

impl Aggregate for Largest {
    type Config = NoConfig;
    type Input<'a> = Sale;
    type State = Sales;
    type Output = Summary;

    /// To be raised when stored states of an older build can no longer be read as they are.
    const STATE_VERSION: u32 = 1;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Self)
    }

    fn add(&self, sales: &mut Sales, sale: Sale) -> Result<(), Reject> {
        let amount = sale.total_amount;
        if amount < Decimal::default() {
            return Err(reject(format!("`total_amount` is negative: {amount}")));
        }
        sales.orders += 1;
        sales.largest = sales.largest.max(amount);
        Ok(())
    }

    fn merge(&self, sales: &mut Sales, other: &Sales) -> Result<(), String> {
        sales.orders += other.orders;
        sales.largest = sales.largest.max(other.largest);
        Ok(())
    }

    fn finish(&self, sales: &Sales) -> Result<Summary, String> {
        let &Sales { orders, largest } = sales;
        Ok(Summary { orders, largest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal<2> {
        text.parse().unwrap()
    }

    fn sale(amount: &str) -> Sale {
        Sale {
            total_amount: decimal(amount),
        }
    }

    #[test]
    fn a_group_has_its_count_and_its_largest() {
        let mut sales = Sales::default();
        for amount in ["12.50", "99.99", "3.00"] {
            Largest.add(&mut sales, sale(amount)).unwrap();
        }
        let expected = Summary {
            orders: 3,
            largest: decimal("99.99"),
        };
        assert_eq!(Largest.finish(&sales), Ok(expected));
    }

    #[test]
    fn parts_of_a_group_come_together() {
        let [mut one, mut other] = [Sales::default(), Sales::default()];
        Largest.add(&mut one, sale("5.00")).unwrap();
        Largest.add(&mut other, sale("9.00")).unwrap();
        Largest.merge(&mut one, &other).unwrap();
        assert_eq!((one.orders, one.largest), (2, decimal("9.00")));
    }

    #[test]
    fn a_negative_amount_is_rejected() {
        let rejected = Largest.add(&mut Sales::default(), sale("-5.05"));
        let reason = rejected.unwrap_err().reason().to_owned();
        assert_eq!(reason, "`total_amount` is negative: -5.05");
    }
}
