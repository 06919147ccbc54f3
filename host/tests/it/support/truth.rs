//! What a job must have made of generated records, computed without any of the host's code but the
//! generator's: plain integers over plain values.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike};
use wasmill::generate::{Generated, Generator, Settings, Transaction};
use wasmill::record::{Origin, Partition};

/// A source record by partition and offset.
pub(crate) type Place = (u32, i64);

/// A total in cents, and of how many sales.
pub(crate) type Total = (i128, i64);

/// The tables of totals by name, and in each the totals by key, its columns as text.
pub(crate) type Totals = BTreeMap<&'static str, BTreeMap<Vec<String>, Total>>;

/// Everything that a job leaves behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// `transactions`: by id the other columns as text
    pub(crate) transactions: BTreeMap<String, Vec<String>>,
    pub(crate) totals: Totals,
    /// records in the dead letters
    pub(crate) dead: BTreeSet<Place>,
}

/// The records of so many in all, dealt out over `partitions` in turn.
pub(crate) fn places(partitions: u32, count: u64) -> impl Iterator<Item = Origin> {
    (0..count).map(move |index| Origin {
        partition: Partition((index % u64::from(partitions)) as u32),
        offset: (index / u64::from(partitions)) as i64,
    })
}

/// What `count` records of these settings come to, dealt out over `partitions` in turn. A good record
/// that repeats another one comes to nothing.
pub(crate) fn expected(settings: &Settings, partitions: u32, count: u64) -> Outcome {
    let generator = Generator::new(settings.clone());
    let mut outcome = Outcome::default();
    for origin in places(partitions, count) {
        let place = (origin.partition.0, origin.offset);
        match generator.generate(origin) {
            Generated::Bad(..) => assert!(outcome.dead.insert(place)),
            Generated::Good(_) if generator.original(origin) != origin => {}
            Generated::Good(sale) => outcome.add(&sale),
        }
    }
    outcome
}

impl Outcome {
    fn add(&mut self, sale: &Transaction<'_>) {
        let id = sale.transaction_id.clone();
        let before = self.transactions.insert(id, row(sale));
        assert_eq!(before, None, "ids are unique");
        count(&mut self.totals, sale);
    }
}

/// The row of a sale in `transactions`: the columns behind its id, as text.
pub(crate) fn row(sale: &Transaction<'_>) -> Vec<String> {
    vec![
        sale.product_id.to_owned(),
        sale.product_name.to_owned(),
        sale.product_category.to_owned(),
        money(sale.product_price_cents.into()),
        sale.product_quantity.to_string(),
        sale.product_brand.to_owned(),
        sale.currency.to_owned(),
        sale.customer_id.to_owned(),
        sale.transaction_date_micros.to_string(),
        sale.payment_method.to_owned(),
        money(sale.total_amount_cents.into()),
        money(in_base(sale.total_amount_cents, sale.currency)),
    ]
}

/// Adds a sale to all totals.
pub(crate) fn count(totals: &mut Totals, sale: &Transaction<'_>) {
    let base = in_base(sale.total_amount_cents, sale.currency);
    for (table, key) in keys(sale) {
        let total = totals.entry(table).or_default().entry(key).or_default();
        total.0 += base;
        total.1 += 1;
    }
}

/// In which row of each table of totals a sale is counted.
fn keys(sale: &Transaction<'_>) -> [(&'static str, Vec<String>); 7] {
    let moment =
        DateTime::from_timestamp_micros(sale.transaction_date_micros).expect("a date of our time");
    let of_the_day = |what: &str| vec![moment.format("%Y-%m-%d").to_string(), what.to_owned()];
    let month = vec![moment.year().to_string(), moment.month().to_string()];
    [
        ("sales_per_day", vec![moment.format("%Y-%m-%d").to_string()]),
        ("sales_per_month", month),
        ("sales_per_category", of_the_day(sale.product_category)),
        ("sales_per_brand", of_the_day(sale.product_brand)),
        ("sales_per_payment_method", of_the_day(sale.payment_method)),
        ("sales_per_currency", of_the_day(sale.currency)),
        ("customer_totals", vec![sale.customer_id.to_owned()]),
    ]
}

/// Cents of the base currency, at the rates of the shipped pipeline, halves to even.
fn in_base(cents: i64, currency: &str) -> i128 {
    let hundredths_of_rate = match currency {
        "USD" => 100,
        "EUR" => 108,
        "GBP" => 127,
        other => panic!("the generator makes no {other}"),
    };
    let product = i128::from(cents) * hundredths_of_rate;
    let (whole, rest) = (product.div_euclid(100), product.rem_euclid(100));
    whole + i128::from(rest > 50 || (rest == 50 && whole % 2 != 0))
}

/// Cents with their point.
pub(crate) fn money(cents: i128) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    format!("{sign}{}.{:02}", cents / 100, cents % 100)
}
