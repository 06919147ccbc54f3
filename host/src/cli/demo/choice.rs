//! Which tables and columns of a pipeline the demo shows: found in the pipeline, so that it shows
//! any pipeline and not only the shipped one.
//!
//! - **Charts**: tables of aggregates, a decimal by a key. The first one with a day or time as its
//!   key, newest first; then those with a text, largest first.
//! - **Checks**: aggregates that read the same stream with the same component and configuration
//!   have added up the same numbers, split by different keys: their sums are equal at every moment.
//!   So is the sum of the rows themselves, where a table has them.
//!
//! Only columns that the guest calls `total` or `sum` are added up: the sum of the means of some
//! groups means nothing.

use crate::config::{Aggregate, Pipeline, Projection, Table};
use crate::schema::{DataType, Field};
use crate::sink::table::TableTarget;

/// Charts at most.
const CHARTS_MAX: usize = 4;

/// What is read at each look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) charts: Vec<ChartChoice>,
    /// columns whose sums are equal
    pub(super) checks: Vec<Vec<ColumnChoice>>,
}

/// A decimal column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ColumnChoice {
    pub(super) table: String,
    /// the table in the file that has the decimals as integers
    pub(super) base: String,
    pub(super) column: String,
    /// digits after the point
    pub(super) scale: u8,
}

/// A column by a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChartChoice {
    pub(super) amount: ColumnChoice,
    /// the key
    pub(super) by: String,
    pub(super) order: Order,
}

/// Which rows of a chart come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// those with the greatest key
    NewestFirst,
    /// those with the greatest amount
    LargestFirst,
}

impl Choice {
    /// What to show of these tables of the pipeline.
    pub(super) fn new(pipeline: &Pipeline, targets: &[TableTarget]) -> Self {
        let tables = tables(pipeline, targets);
        Self {
            charts: charts(pipeline, &tables),
            checks: checks(pipeline, &tables),
        }
    }
}

/// A table with what the file says about it.
struct Shown<'a> {
    config: &'a Table,
    target: &'a TableTarget,
}

fn tables<'a>(pipeline: &'a Pipeline, targets: &'a [TableTarget]) -> Vec<Shown<'a>> {
    let configs = pipeline.sinks.iter().flat_map(|sink| sink.kind.tables());
    let shown = configs.filter_map(|config| {
        let target = targets
            .iter()
            .find(|target| target.name() == config.table)?;
        Some(Shown { config, target })
    });
    shown.collect()
}

impl Shown<'_> {
    fn key(&self) -> impl Iterator<Item = &Field> {
        let fields = self.target.schema().fields();
        self.target.key().iter().map(|&index| &fields[index])
    }

    /// Its decimals that are no key, with the names that they have in the stream.
    fn decimals(&self) -> impl Iterator<Item = (ColumnChoice, &str)> {
        let fields = self.target.schema().fields().iter().enumerate();
        fields.filter_map(|(index, field)| {
            let DataType::Decimal(scale) = field.ty else {
                return None;
            };
            let column = ColumnChoice {
                table: self.target.name().to_owned(),
                base: base(self.target),
                column: field.name.clone(),
                scale,
            };
            let is_key = self.target.key().contains(&index);
            (!is_key).then(|| (column, self.name_in_stream(field)))
        })
    }

    fn name_in_stream<'b>(&'b self, field: &'b Field) -> &'b str {
        let columns = self.config.columns.iter().flatten();
        let mut same = columns.filter(|column| column.name == field.name);
        match same.next().map(|column| &column.value) {
            Some(Projection::Column(name)) => name,
            _ => &field.name,
        }
    }

    /// The one that has the sums of a guest.
    fn sum(&self) -> Option<ColumnChoice> {
        let mut decimals = self.decimals();
        decimals
            .find(|(_, name)| is_sum(name))
            .map(|(column, _)| column)
    }

    /// The one that is shown.
    fn amount(&self) -> Option<ColumnChoice> {
        let first = || self.decimals().next().map(|(column, _)| column);
        self.sum().or_else(first)
    }
}

/// The table that has the rows of this one: see [`crate::sink::sqlite`].
fn base(target: &TableTarget) -> String {
    let mut fields = target.schema().fields().iter();
    let has_decimals = fields.any(|field| matches!(field.ty, DataType::Decimal(1..)));
    let end = if has_decimals { "_minor" } else { "" };
    format!("{}{end}", target.name())
}

/// Whether a guest that calls a column so has added something up in it.
fn is_sum(name: &str) -> bool {
    ["total", "sum"].iter().any(|word| {
        name.strip_prefix(word)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
            || name
                .strip_suffix(word)
                .is_some_and(|rest| rest.ends_with('_'))
    })
}

fn charts(pipeline: &Pipeline, tables: &[Shown<'_>]) -> Vec<ChartChoice> {
    let is_aggregate = |table: &&Shown<'_>| {
        let mut aggregates = pipeline.aggregates.iter();
        aggregates.any(|aggregate| aggregate.name == table.target.from())
    };
    let chart = |table: &Shown<'_>, key: &Field, order| {
        Some(ChartChoice {
            amount: table.amount()?,
            by: key.name.clone(),
            order,
        })
    };
    let aggregates = || tables.iter().filter(is_aggregate);
    let by_time = aggregates().filter_map(|table| {
        let is_time = |key: &&Field| matches!(key.ty, DataType::Date | DataType::Timestamp);
        let key = table.key().find(is_time)?;
        // The days themselves rather than days by something else.
        Some((
            table.target.key().len(),
            chart(table, key, Order::NewestFirst)?,
        ))
    });
    let mut charts: Vec<ChartChoice> = by_time
        .min_by_key(|(keys, _)| *keys)
        .map(|(_, chart)| chart)
        .into_iter()
        .collect();
    charts.extend(aggregates().filter_map(|table| {
        let key = table.key().find(|key| key.ty == DataType::Utf8)?;
        chart(table, key, Order::LargestFirst)
    }));
    charts.truncate(CHARTS_MAX);
    charts
}

fn checks(pipeline: &Pipeline, tables: &[Shown<'_>]) -> Vec<Vec<ColumnChoice>> {
    let mut families: Vec<(&Aggregate, Vec<ColumnChoice>)> = Vec::new();
    for aggregate in &pipeline.aggregates {
        let mine = tables.iter().filter(|t| t.target.from() == aggregate.name);
        let sums = mine.filter_map(Shown::sum);
        let known = families.iter_mut().find(|(other, _)| {
            (&other.from, &other.component, &other.config)
                == (&aggregate.from, &aggregate.component, &aggregate.config)
        });
        match known {
            Some((_, family)) => family.extend(sums),
            None => families.push((aggregate, sums.collect())),
        }
    }
    let checks = families.into_iter().map(|(aggregate, mut family)| {
        if let Some(rows) = rows_of(aggregate, tables)
            && family.iter().all(|column| column.scale == rows.scale)
        {
            family.insert(0, rows);
        }
        family
    });
    checks.filter(|family| family.len() > 1).collect()
}

/// The column with the numbers that an aggregate adds up: the one decimal of a table of its input
/// that its configuration names.
fn rows_of(aggregate: &Aggregate, tables: &[Shown<'_>]) -> Option<ColumnChoice> {
    let mut mentioned = Vec::new();
    texts(&aggregate.config, &mut mentioned);
    let inputs = tables.iter().filter(|t| t.target.from() == aggregate.from);
    let mut found = inputs.filter_map(|table| {
        let mut named = table
            .decimals()
            .filter(|(_, name)| mentioned.contains(name));
        let (column, _) = named.next()?;
        named.next().is_none().then_some(column)
    });
    found.next()
}

/// Every text in a JSON value.
fn texts<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::String(text) => found.push(text),
        serde_json::Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        serde_json::Value::Object(values) => values.values().for_each(|value| texts(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
