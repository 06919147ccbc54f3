//! What the job has computed so far, and whether it adds up.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result};

/// One statement, and so one snapshot: every table as of the same moment.
/// Rows are a kind, a name and two values.
pub(super) const QUERY: &str = "
WITH raw AS MATERIALIZED (
  SELECT count(*) AS count, coalesce(sum(total_amount_base), 0) AS sum FROM transactions
), sums AS (
  SELECT 1 AS place, 'sales_per_day' AS name, coalesce(sum(total_sales), 0) AS sum FROM sales_per_day
  UNION ALL
  SELECT 2, 'sales_per_month', coalesce(sum(total_sales), 0) FROM sales_per_month
  UNION ALL
  SELECT 3, 'sales_per_category', coalesce(sum(total_sales), 0) FROM sales_per_category
  UNION ALL
  SELECT 4, 'sales_per_brand', coalesce(sum(total_sales), 0) FROM sales_per_brand
  UNION ALL
  SELECT 5, 'sales_per_payment_method', coalesce(sum(total_sales), 0) FROM sales_per_payment_method
  UNION ALL
  SELECT 6, 'sales_per_currency', coalesce(sum(total_sales), 0) FROM sales_per_currency
  UNION ALL
  SELECT 7, 'customer_totals', coalesce(sum(total_sales), 0) FROM customer_totals
)
SELECT 'raw', count::text, sum::text, '' FROM raw
UNION ALL
(SELECT 'sum', name, sums.sum::text, (sums.sum = raw.sum)::text FROM sums, raw ORDER BY place)
UNION ALL
(SELECT 'day', transaction_date::text, total_sales::text, '' FROM sales_per_day
 ORDER BY transaction_date DESC LIMIT 5)
UNION ALL
(SELECT 'month', year || '-' || lpad(month::text, 2, '0'), total_sales::text, '' FROM sales_per_month
 ORDER BY year DESC, month DESC LIMIT 5)
UNION ALL
(SELECT 'category', category, sum(total_sales)::text, '' FROM sales_per_category
 GROUP BY category ORDER BY sum(total_sales) DESC LIMIT 5)
";

/// Width of one of the columns that stand side by side.
const COLUMN_WIDTH: usize = 34;

/// The tables of the job, at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    transactions: u64,
    /// Amounts stay as PostgreSQL wrote them: nothing is computed with them here.
    amount: String,
    sums: Vec<Sum>,
    days: Vec<Line>,
    months: Vec<Line>,
    categories: Vec<Line>,
}

/// The sum of an aggregate's table.
#[derive(Debug, PartialEq, Eq)]
struct Sum {
    table: String,
    amount: String,
    /// To the sum of the transactions.
    is_equal: bool,
}

/// A name and an amount.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    name: String,
    amount: String,
}

/// Reads what [`QUERY`] returned.
pub(super) fn parse(text: &str) -> Result<Totals> {
    let mut totals = Totals::default();
    for row in text.lines() {
        let fields: Vec<_> = row.split('\t').collect();
        let [kind, name, amount, is_equal] = fields[..] else {
            anyhow::bail!("psql returned an unexpected row: {row}");
        };
        let line = Line {
            name: name.to_owned(),
            amount: grouped(amount),
        };
        match kind {
            "raw" => {
                let count = name
                    .parse()
                    .with_context(|| format!("{name} is no count"))?;
                totals.transactions = count;
                totals.amount = line.amount;
            }
            "sum" => totals.sums.push(Sum {
                table: line.name,
                amount: line.amount,
                is_equal: is_equal == "true",
            }),
            "day" => totals.days.push(line),
            "month" => totals.months.push(line),
            "category" => totals.categories.push(line),
            _ => anyhow::bail!("psql returned an unexpected row: {row}"),
        }
    }
    Ok(totals)
}

impl Totals {
    /// Whether every aggregate adds up to the transactions.
    pub(super) fn are_equal(&self) -> bool {
        self.sums.iter().all(|sum| sum.is_equal)
    }

    /// Transactions a second since `before`.
    pub(super) fn rate_since(&self, before: &Self, elapsed: Duration) -> f64 {
        let new = self.transactions.saturating_sub(before.transactions);
        new as f64 / elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// A table for the terminal. `rate` in transactions a second; `indexed` documents in Elasticsearch.
    pub(super) fn render(&self, rate: Option<f64>, indexed: Option<u64>) -> String {
        let mut text = String::new();
        let rate = rate.map_or(String::new(), |rate| format!("  +{rate:.0}/s"));
        let indexed = indexed.map_or("none yet".to_owned(), |count| grouped(&count.to_string()));
        let count = grouped(&self.transactions.to_string());
        // Writing to a string does not fail.
        let _ = writeln!(text, "transactions        {count:>20}{rate}");
        let _ = writeln!(text, "in Elasticsearch    {indexed:>20}");
        let _ = writeln!(text, "sum of transactions {:>20} USD", self.amount);
        for sum in &self.sums {
            let verdict = if sum.is_equal { "equal" } else { "NOT EQUAL" };
            let _ = writeln!(text, "  {:<18}{:>20} {verdict}", sum.table, sum.amount);
        }
        text.push('\n');
        let columns = [
            ("last days", &self.days),
            ("last months", &self.months),
            ("top categories", &self.categories),
        ];
        let heads = columns.map(|(head, _)| format!("{head:<COLUMN_WIDTH$}"));
        let _ = writeln!(text, "{}", heads.concat().trim_end());
        let height = columns.iter().map(|(_, lines)| lines.len()).max();
        for row in 0..height.unwrap_or(0) {
            let cells = columns.map(|(_, lines)| cell(lines.get(row)));
            let _ = writeln!(text, "{}", cells.concat().trim_end());
        }
        text
    }
}

fn cell(line: Option<&Line>) -> String {
    let text = line.map_or(String::new(), |line| {
        format!("{:<13}{:>17}", line.name, line.amount)
    });
    format!("{text:<COLUMN_WIDTH$}")
}

/// `1234567.80` as `1,234,567.80`.
fn grouped(number: &str) -> String {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", number),
    };
    let whole = digits.find('.').unwrap_or(digits.len());
    let mut text = sign.to_owned();
    for (place, digit) in digits.char_indices() {
        if place > 0 && place < whole && (whole - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str = "raw\t20500\t1234567.80\t\n\
                        sum\tsales_per_day\t1234567.80\ttrue\n\
                        sum\tsales_per_month\t1234567.8\ttrue\n\
                        day\t2026-11-22\t900.00\t\n\
                        month\t2026-11\t12900.00\t\n\
                        month\t2026-10\t999.00\t\n\
                        category\tHome & Garden\t-50.00\t\n";

    #[test]
    fn what_psql_returns_is_read() {
        let totals = parse(ROWS).unwrap();
        assert_eq!(totals.transactions, 20_500);
        assert!(totals.are_equal());
        let text = totals.render(Some(499.6), Some(20_000));
        for part in ["20,500  +500/s", "1,234,567.80 USD", "20,000", "12,900.00"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn a_difference_is_shown() {
        let totals = parse(&ROWS.replace("7.8\ttrue", "7.7\tfalse")).unwrap();
        assert!(!totals.are_equal());
        assert!(totals.render(None, None).contains("1,234,567.7 NOT EQUAL"));
    }

    #[test]
    fn other_rows_are_errors() {
        assert!(parse("raw\t1\n").is_err());
        assert!(parse("raw\tmany\t1\t\n").is_err());
        assert!(parse("week\ta\tb\tc\n").is_err());
    }

    #[test]
    fn digits_are_grouped_by_three_before_the_point() {
        for (number, text) in [
            ("0", "0"),
            ("999.99", "999.99"),
            ("1000", "1,000"),
            ("-1234567.8901", "-1,234,567.8901"),
            ("-123", "-123"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn the_rate_is_per_second() {
        let (before, after) = (
            parse("raw\t100\t0\t\n").unwrap(),
            parse("raw\t1600\t0\t\n").unwrap(),
        );
        let rate = after.rate_since(&before, Duration::from_secs(3));
        assert!((rate - 500.0).abs() < 1e-9);
    }
}
