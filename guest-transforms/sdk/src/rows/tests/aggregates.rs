//! Aggregates of the row level, driven as the host drives them.

use serde_json::{Value, json};

use crate::testing::{self, fields};
use crate::{
    Aggregate, AnyDecimal, Bind, DataType, Field, Input, NoConfig, Output, Reject, State, Sum,
    read_states, reject,
};

#[derive(Input)]
struct Sale<'a> {
    amount: Option<AnyDecimal>,
    product: &'a str,
}

/// Sum, and the product with the greatest name.
#[derive(State, Default, Debug, PartialEq)]
struct Totals {
    sum: Sum<AnyDecimal>,
    count: i64,
    last: Option<String>,
    seen: Vec<u8>,
}

#[derive(Output)]
struct Shown {
    total: AnyDecimal,
    mean: Option<AnyDecimal>,
    last: Option<String>,
}

struct Sums;

impl Aggregate for Sums {
    type Config = NoConfig;
    type Input<'a> = Sale<'a>;
    type State = Totals;
    type Output = Shown;

    const STATE_VERSION: u32 = 2;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Self)
    }

    fn bind(&mut self, columns: &mut Bind<'_>) -> Result<(), String> {
        let scale = columns.scale("amount")?;
        columns
            .state_scale("sum", scale)
            .state_label("sum", "the sum of `amount` in a group")
            .output_scale("total", scale)
            .output_scale("mean", scale);
        Ok(())
    }

    fn add(&self, state: &mut Totals, sale: Sale<'_>) -> Result<(), Reject> {
        if sale.product.is_empty() {
            return Err(reject("`product` is empty"));
        }
        if let Some(amount) = sale.amount {
            state.sum.add(amount);
            state.count += 1;
        }
        if state.last.as_deref().is_none_or(|last| last < sale.product) {
            state.last = Some(sale.product.to_owned());
        }
        if state.seen.is_empty() {
            state.seen.push(1);
        }
        Ok(())
    }

    fn merge(&self, state: &mut Totals, other: &Totals) -> Result<(), String> {
        state.sum.merge(&other.sum);
        state.count += other.count;
        state.last = state.last.take().max(other.last.clone());
        Ok(())
    }

    fn finish(&self, state: &Totals) -> Result<Shown, String> {
        let total = state.sum.get().ok_or("no sum")?;
        let count = AnyDecimal::new(state.count, 0).ok_or("too many")?;
        Ok(Shown {
            total,
            mean: total.checked_div(count, total.scale()),
            last: state.last.clone(),
        })
    }

    fn migrate(
        &self,
        version: u32,
        fields: &[Field],
        states: &crate::Batch,
    ) -> Result<Vec<Totals>, String> {
        if version != 1 {
            return Err(format!("version {version} is not known"));
        }
        let old = read_states::<CountV1>(fields, states)?;
        let new = old.into_iter().map(|CountV1 { count }| Totals {
            count,
            ..Totals::default()
        });
        Ok(new.collect())
    }
}

#[derive(State, Default)]
struct CountV1 {
    count: i64,
}

fn sales() -> testing::AggregateGuest<crate::AggregateRows<Sums>> {
    let input = fields(&[("product", "utf8"), ("amount", "decimal(2)?")]);
    testing::aggregate::<Sums>(&input, json!({})).unwrap()
}

fn sale(product: &str, amount: Option<&str>) -> Value {
    json!({"product": product, "amount": amount})
}

#[test]
fn groups_are_folded_merged_and_finished() {
    let guest = sales();
    let contract = guest.contract();
    assert_eq!(contract.needs, ["amount", "product"]);
    assert_eq!((contract.state_version, contract.state.len()), (2, 4));
    let rows = [
        sale("a", Some("1.00")),
        sale("b", None),
        sale("c", Some("2.01")),
    ];
    assert_eq!(
        guest.run(&[0, 1, 0], &rows).unwrap(),
        [
            json!({"total": "3.01", "mean": "1.50", "last": "c"}),
            json!({"total": "0.00", "mean": null, "last": "b"})
        ]
    );
    guest.check_laws(&rows).unwrap();
}

#[test]
fn a_row_that_cannot_be_added_is_rejected() {
    let rows = [sale("a", None), sale("", None), sale("", None)];
    let crate::Folded::Rejected(rejections) = sales().fold(&[0, 0, 1], &rows).unwrap() else {
        panic!("two rows cannot be added");
    };
    let rows: Vec<_> = rejections.iter().map(|rejection| rejection.row).collect();
    assert_eq!(rows, [1, 2]);
    assert_eq!(rejections[0].reason, "`product` is empty");
}

#[test]
fn a_state_that_does_not_fit_is_an_error_with_its_label() {
    let most = "9999999999999999.99";
    let rows = [sale("a", Some(most)), sale("a", Some(most))];
    let expected = Err("the sum of `amount` in a group has more than 18 digits".to_owned());
    assert_eq!(sales().run(&[0, 0], &rows), expected);
    let parts = sales().states(&[0, 1], &rows).unwrap();
    assert_eq!(sales().merge(&[0, 0], parts).map(drop), expected.map(drop));
    let rows = [&rows[..1], &[sale("a", Some(&format!("-{most}")))]].concat();
    assert!(sales().run(&[0, 0], &rows).is_ok());
}

#[test]
fn states_of_an_older_version_are_migrated() {
    let guest = sales();
    let old = fields(&[("note", "utf8?"), ("count", "int64")]);
    let migrated = guest.migrate(1, &old, &[json!({"note": "x", "count": 7})]);
    assert_eq!(
        migrated.unwrap(),
        [json!({"sum": "0.00", "count": 7, "last": null, "seen": ""})]
    );
    let own = guest.contract().state.clone();
    let state = json!({"sum": "1.00", "count": 7, "last": null, "seen": "s"});
    assert_eq!(
        guest.migrate(2, &own, std::slice::from_ref(&state)),
        Ok(vec![state])
    );
    assert_eq!(
        guest.migrate(3, &own, &[]),
        Err("version 3 is not known".to_owned())
    );
    assert_eq!(
        guest.migrate(1, &[Field::new("count", DataType::Utf8)], &[]),
        Err("column `count` has to be int64, but is utf8".to_owned())
    );
}

#[derive(Input)]
struct Nothing {}

/// Has no `migrate` of its own.
struct Count;

impl Aggregate for Count {
    type Config = NoConfig;
    type Input<'a> = Nothing;
    type State = CountV1;
    type Output = CountV1;

    const STATE_VERSION: u32 = 1;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Self)
    }

    fn add(&self, state: &mut CountV1, _: Nothing) -> Result<(), Reject> {
        state.count += 1;
        Ok(())
    }

    fn merge(&self, state: &mut CountV1, other: &CountV1) -> Result<(), String> {
        state.count += other.count;
        Ok(())
    }

    fn finish(&self, state: &CountV1) -> Result<CountV1, String> {
        Ok(CountV1 { count: state.count })
    }
}

#[test]
fn what_nobody_can_migrate_is_refused_with_both_versions() {
    let guest = testing::aggregate::<Count>(&fields(&[("a", "int64")]), json!({})).unwrap();
    let own = guest.contract().state.clone();
    assert_eq!(
        guest.migrate(2, &own, &[]),
        Err("states of version 2 cannot be read: this is version 1".to_owned())
    );
    assert_eq!(
        guest.migrate(1, &fields(&[("count", "int64?")]), &[]),
        Err(
            "the stored states are count int64?, and those of this version 1 are count int64"
                .to_owned()
        )
    );
}
