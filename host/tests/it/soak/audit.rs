//! Everything that a round left behind against what its records come to, in bounded memory: 24 bytes a
//! record. Rows and documents come one after the other, and each is compared with its record, which is made
//! again for that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::TryStreamExt;
use wasmill::generate::{Generated, Generator, Settings, Transaction};
use wasmill::record::{Origin, Partition};

use super::super::support::job::Job;
use super::super::support::{outcome, truth};

/// Differences that are told in words.
const EXAMPLES_MAX: usize = 20;

/// What a job made otherwise than it should have.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    /// rows, documents, dead letters that are missing, and sales that a total lacks
    pub(crate) lost: u64,
    /// those that are too many
    pub(crate) doubled: u64,
    /// those that say something else
    pub(crate) wrong: u64,
    examples: Vec<String>,
}

impl Differences {
    fn lost(&mut self, count: u64, what: impl Into<String>) {
        self.lost += count;
        self.tell(format!("lost: {}", what.into()));
    }

    fn doubled(&mut self, count: u64, what: impl Into<String>) {
        self.doubled += count;
        self.tell(format!("too many: {}", what.into()));
    }

    fn wrong(&mut self, what: impl Into<String>) {
        self.wrong += 1;
        self.tell(format!("wrong: {}", what.into()));
    }

    fn tell(&mut self, what: String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(what);
        }
    }

    fn join(mut self, other: Self) -> Self {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.wrong += other.wrong;
        self.examples.extend(other.examples);
        self
    }

    /// # Panics
    ///
    /// When there are any.
    pub(crate) fn assert_none(&self) {
        let Self {
            lost,
            doubled,
            wrong,
            examples,
        } = self;
        assert!(
            lost + doubled + wrong == 0,
            "{lost} lost, {doubled} doubled, {wrong} wrong:\n{}",
            examples.join("\n")
        );
    }
}

/// What the records of a round come to.
pub(crate) struct Truth {
    generator: Generator,
    /// where each sale stands, in the order of their ids
    sales: Vec<(u128, Place)>,
    totals: truth::Totals,
    dead: BTreeSet<truth::Place>,
}

/// Partition and offset, small.
type Place = (u32, u32);

impl Truth {
    /// Of so many records, dealt out over `partitions` in turn.
    pub(crate) fn new(settings: &Settings, partitions: u32, count: u64) -> Self {
        let generator = Generator::new(settings.clone());
        let (mut sales, mut totals) = (Vec::new(), truth::Totals::new());
        let mut dead = BTreeSet::new();
        for origin in truth::places(partitions, count) {
            let place = (origin.partition.0, origin.offset);
            match generator.generate(origin) {
                Generated::Bad(..) => assert!(dead.insert(place)),
                Generated::Good(_) if generator.original(origin) != origin => {}
                Generated::Good(sale) => {
                    let id = number(&sale.transaction_id).expect("the generator's ids are UUIDs");
                    sales.push((id, (place.0, place.1 as u32)));
                    truth::count(&mut totals, &sale);
                }
            }
        }
        sales.sort_unstable();
        Self {
            generator,
            sales,
            totals,
            dead,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.sales.len()
    }

    pub(crate) fn dead_letters(&self) -> usize {
        self.dead.len()
    }

    /// The sale with this id, and which one it is.
    fn sale(&self, id: &str) -> Option<(usize, Transaction<'_>)> {
        let wanted = number(id)?;
        let index = self
            .sales
            .binary_search_by_key(&wanted, |(id, _)| *id)
            .ok()?;
        let sale = self.at(index);
        (sale.transaction_id == id).then_some((index, sale))
    }

    fn at(&self, index: usize) -> Transaction<'_> {
        let (partition, offset) = self.sales[index].1;
        let origin = Origin {
            partition: Partition(partition),
            offset: offset.into(),
        };
        match self.generator.generate(origin) {
            Generated::Good(sale) => sale,
            Generated::Bad(..) => unreachable!("a record is what it was"),
        }
    }
}

/// A UUID as a number.
fn number(id: &str) -> Option<u128> {
    u128::from_str_radix(&id.replace('-', ""), 16).ok()
}

/// Which of the sales were found.
struct Found<'t> {
    truth: &'t Truth,
    what: &'static str,
    seen: Vec<bool>,
    differences: Differences,
}

impl<'t> Found<'t> {
    fn new(truth: &'t Truth, what: &'static str) -> Self {
        Self {
            truth,
            what,
            seen: vec![false; truth.rows()],
            differences: Differences::default(),
        }
    }

    /// One was found; whether it says what it should.
    fn see(&mut self, id: &str, is_right: impl FnOnce(&Transaction<'_>) -> bool) {
        let what = self.what;
        match self.truth.sale(id) {
            None => self
                .differences
                .doubled(1, format!("{what} {id}, which no record makes")),
            Some((index, _)) if std::mem::replace(&mut self.seen[index], true) => {
                self.differences
                    .doubled(1, format!("{what} {id}, which is there already"));
            }
            Some((_, sale)) if is_right(&sale) => {}
            Some(_) => self.differences.wrong(format!("{what} {id}")),
        }
    }

    fn end(mut self) -> Differences {
        let missing = self.seen.iter().enumerate().filter(|(_, seen)| !**seen);
        for (index, _) in missing {
            let (id, (partition, offset)) = (
                self.truth.at(index).transaction_id,
                self.truth.sales[index].1,
            );
            let what = format!(
                "{} {id}, record {offset} of partition {partition}",
                self.what
            );
            self.differences.lost(1, what);
        }
        self.differences
    }
}

/// Compares tables, dead letters and index.
pub(crate) async fn audit(job: &Job, truth: &Arc<Truth>) -> Differences {
    let (index, of_documents) = (job.index.clone(), Arc::clone(truth));
    let documents = tokio::spawn(async move {
        let mut found = Found::new(&of_documents, "document");
        outcome::each_document(&index, |id, source| {
            found.see(&id, |sale| {
                source == outcome::document(&id, &truth::row(sale))
            });
        })
        .await;
        found.end()
    });
    let database = job.database().await;
    let rows = rows(&database, truth).await;
    let totals = totals(&database, truth).await;
    let letters = dead_letters(&database, truth).await;
    let documents = documents.await.expect("Elasticsearch answers");
    [totals, letters, documents]
        .into_iter()
        .fold(rows, Differences::join)
}

async fn rows(database: &tokio_postgres::Client, truth: &Truth) -> Differences {
    let mut found = Found::new(truth, "row");
    let nothing: [&str; 0] = [];
    let rows = database.query_raw(outcome::ROWS, nothing).await.unwrap();
    let mut rows = std::pin::pin!(rows);
    while let Some(row) = rows.try_next().await.unwrap() {
        let id: &str = row.get(0);
        found.see(id, |sale| {
            let expected = truth::row(sale);
            let same = |index: usize| row.get::<_, &str>(index + 1) == expected[index];
            (0..expected.len()).all(same)
        });
    }
    found.end()
}

async fn totals(database: &tokio_postgres::Client, truth: &Truth) -> Differences {
    let mut differences = Differences::default();
    let none = BTreeMap::new();
    for (table, key) in outcome::TOTALS {
        let expected = truth.totals.get(table).unwrap_or(&none);
        let mut found = outcome::totals(database, table, key).await;
        for (key, &(total, count)) in expected {
            let (found_total, found_count) = found.remove(key).unwrap_or_default();
            let what = format!(
                "{table} {key:?} is {found_total} of {found_count} sales, not {total} of {count}"
            );
            match found_count - count {
                0 if found_total == total => {}
                0 => differences.wrong(what),
                missing @ ..0 => differences.lost(missing.unsigned_abs(), what),
                more => differences.doubled(more.unsigned_abs(), what),
            }
        }
        for (key, (_, count)) in found {
            let what = format!("{table} {key:?}, which no record makes");
            differences.doubled(count.unsigned_abs().max(1), what);
        }
    }
    differences
}

async fn dead_letters(database: &tokio_postgres::Client, truth: &Truth) -> Differences {
    let mut differences = Differences::default();
    let mut missing = truth.dead.clone();
    let sql = "SELECT partition::bigint, record_offset, reason FROM wasmill_dead_letters";
    for row in database.query(sql, &[]).await.unwrap() {
        let (partition, offset): (i64, i64) = (row.get(0), row.get(1));
        if !missing.remove(&(partition as u32, offset)) {
            let reason: &str = row.get(2);
            let what = format!("dead letter of record {offset} of partition {partition}: {reason}");
            differences.doubled(1, what);
        }
    }
    for (partition, offset) in missing {
        differences.lost(
            1,
            format!("dead letter of record {offset} of partition {partition}"),
        );
    }
    differences
}
