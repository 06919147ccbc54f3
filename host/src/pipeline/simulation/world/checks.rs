//! What holds of a world: at every step, and at its end.

use super::*;
use crate::sink::memory::Value;

/// What became of a record that is sound.
struct Fate<'a> {
    record: &'a Sound,
    /// the deployment that decided about it last, by its place
    by: usize,
    /// whether that took it up again
    again: bool,
    is_taken: bool,
}

impl World {
    /// What holds at every moment.
    pub(super) fn check_step(&mut self) -> Result<(), String> {
        if self.ledger.uses() == self.checked {
            return Ok(());
        }
        let (of_rows, of_sums) = (self.ledger.sum(ROWS, 2), self.ledger.sum(SUMS, 1));
        if of_rows != of_sums {
            return Err(format!("rows come to {of_rows}, and totals to {of_sums}"));
        }
        let (epoch, positions) = self.ledger.progress("simulated");
        if epoch < self.seen.0 || !positions.reached(&self.seen.1) {
            return Err(format!(
                "progress went back from epoch {} to {epoch}",
                self.seen.0
            ));
        }
        self.seen = (epoch, positions);
        self.checked = self.ledger.uses();
        let indexed = self.documents.newest();
        if indexed > epoch {
            return Err(format!(
                "the sink has epoch {indexed}, and the ledger {epoch}"
            ));
        }
        Ok(())
    }

    /// What the records have come to.
    pub(super) async fn check_end(&mut self) -> Result<(), String> {
        let deployments = self.ledger.deployments("simulated");
        let numbers = deployments.iter().map(|d| d.version.0);
        if !numbers.eq(1..=deployments.len() as u32) {
            return Err("the deployments are not numbered in order".to_owned());
        }
        let fates = self.fates(&deployments)?;
        self.check_rows(&fates)?;
        self.check_sums(&fates, &deployments)?;
        self.check_extra(&fates, &deployments)?;
        self.check_letters(&fates)?;
        self.check_checkpoint().await
    }

    /// What became of each record, by the deployments and by what was taken up again.
    fn fates(&self, deployments: &[Deployment]) -> Result<Vec<Fate<'_>>, String> {
        let taken_up = self.notes.taken_up();
        let is_gone = |by: usize| matches!(deployments[by].outcome, Outcome::RolledBack { .. });
        let mut fates = Vec::new();
        for record in &self.producer.expected.sound {
            let rejects =
                |by: usize| Program::of(&deployments[by].blueprint).rejects(record.amount);
            let (mut by, mut again) = (made_by(deployments, record.origin), false);
            let decided = |by| rejects(by) && is_gone(by);
            let taking = taken_up
                .iter()
                .filter(|(_, all)| all.contains(&record.origin));
            for (epoch, _) in taking {
                if !decided(by) {
                    return Err(format!(
                        "{:?} was taken up again, and nobody had rejected it who is gone",
                        record.origin
                    ));
                }
                let version = Deployment::at(deployments, *epoch).map_or(0, |d| d.version.0);
                (by, again) = (version.saturating_sub(1) as usize, true);
            }
            if decided(by) {
                return Err(format!(
                    "{:?} was rejected by a version that is gone, and not taken up again",
                    record.origin
                ));
            }
            let is_taken = !rejects(by);
            fates.push(Fate {
                record,
                by,
                again,
                is_taken,
            });
        }
        Ok(fates)
    }

    fn check_rows(&self, fates: &[Fate<'_>]) -> Result<(), String> {
        let taken = fates.iter().filter(|fate| fate.is_taken);
        let expected: BTreeMap<String, (String, i64)> = taken
            .map(|Fate { record, .. }| (record.id.clone(), (record.group.clone(), record.amount)))
            .collect();
        let table = self.ledger.table(ROWS).map(|table| table.rows);
        let rows = table.into_iter().flatten().map(|(key, values)| {
            let group = values[1].to_string();
            (key[0].clone(), (group, integer(&values[2])))
        });
        same("rows", &rows.collect(), &expected)?;
        let documents = self.documents.of(ROWS).into_iter();
        let documents = documents.map(|(id, c)| (id, (c[1].clone(), number(&c[2]))));
        same("documents", &documents.collect(), &expected)
    }

    /// Totals as they are, and weighted by the version that took each record.
    fn check_sums(&self, fates: &[Fate<'_>], deployments: &[Deployment]) -> Result<(), String> {
        let (mut sums, mut weighted) = (BTreeMap::new(), BTreeMap::new());
        for Fate { record, by, .. } in fates.iter().filter(|fate| fate.is_taken) {
            let weight = Program::of(&deployments[*by].blueprint).weight;
            *sums.entry(record.group.clone()).or_default() += record.amount;
            *weighted.entry(record.group.clone()).or_default() += record.amount * weight;
        }
        same("totals", &self.column(SUMS, 1), &sums)?;
        same("weighted totals", &self.column(SUMS, 2), &weighted)?;
        let documents = |column: usize| {
            let documents = self.documents.of(SUMS).into_iter();
            let value = move |(group, c): (String, Vec<String>)| (group, number(&c[column]));
            documents.map(value).collect()
        };
        same("documents of totals", &documents(1), &sums)?;
        same("documents of weighted totals", &documents(2), &weighted)
    }

    /// The aggregate that comes and goes, and may be given what came before it.
    fn check_extra(&self, fates: &[Fate<'_>], deployments: &[Deployment]) -> Result<(), String> {
        // By group, what it has come to, and what the table shows.
        let mut extra: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        let mut before: Option<&Deployment> = None;
        let mut begin = None;
        for (number, deployment) in deployments.iter().enumerate() {
            if !Program::of(&deployment.blueprint).has_extra {
                before = Some(deployment);
                continue;
            }
            let goes_on = before.filter(|d| Program::of(&d.blueprint).has_extra);
            if goes_on.is_none() {
                // What its table shows stays until there is more.
                for sum in extra.values_mut() {
                    sum.0 = 0;
                }
                begin = deployment.backfills.begins.get(EXTRA);
            }
            if deployment.backfills.joined.contains_key(EXTRA) {
                let begin = begin.ok_or("what joins was not lacking")?;
                let came_before = fates.iter().filter(|f| is_before(f.record.origin, begin));
                count(&mut extra, came_before);
                for sum in extra.values_mut() {
                    sum.1 = sum.0;
                }
            }
            let has_it = |f: &&Fate<'_>| begin.is_some_and(|b| is_before(f.record.origin, b));
            let own = fates.iter().filter(|f| f.by == number && f.is_taken);
            let groups = count(&mut extra, own.filter(|f| !(f.again && has_it(f))));
            if !deployment.backfills.hides(EXTRA) {
                for group in groups {
                    let sum = extra.entry(group).or_default();
                    sum.1 = sum.0;
                }
            }
            before = Some(deployment);
        }
        // Groups that were never shown have no row.
        let shown = extra.into_iter().map(|(group, (_, shown))| (group, shown));
        let shown = shown.filter(|(_, shown)| *shown != 0);
        same(
            "totals of the second aggregate",
            &self.column(EXTRA, 1),
            &shown.collect(),
        )
    }

    /// A letter for each record that is left out, and none for another one.
    fn check_letters(&self, fates: &[Fate<'_>]) -> Result<(), String> {
        let mut left_out = self.producer.expected.left_out.clone();
        let rejected = fates.iter().filter(|fate| !fate.is_taken);
        left_out.extend(rejected.map(|fate| fate.record.origin));
        let open = self.letters.open();
        // Who rejects a record once more writes its letter once more, with the same key.
        let taken_up: BTreeSet<Origin> = self.notes.taken_up().into_values().flatten().collect();
        let mut twice = open.iter().filter(|(_, letters)| **letters > 1);
        if let Some((origin, _)) = twice.find(|(origin, _)| !taken_up.contains(origin)) {
            return Err(format!("{origin:?} has more than one dead letter"));
        }
        let differing = left_out
            .iter()
            .find(|origin| !open.contains_key(origin))
            .or_else(|| open.keys().find(|origin| !left_out.contains(origin)));
        match differing {
            None => Ok(()),
            Some(origin) => Err(format!(
                "{} dead letters of {} records that were left out: {origin:?} differs",
                open.len(),
                left_out.len()
            )),
        }
    }

    /// The newest checkpoint is that of the last epoch: a restart reads nothing again.
    async fn check_checkpoint(&mut self) -> Result<(), String> {
        self.dice.let_fail(0.0);
        let targets = Targets::default();
        let mut ledger =
            SimulatedLedger::new(&self.ledger, &targets, &self.dice, None, &self.notes);
        let others = [SEARCH.to_owned()];
        let definition = serde_json::json!({ "simulated": true });
        let claimed = until_ready(ledger.claim(&definition, &others)).await;
        let claim = claimed.map_err(|error| error.to_string())?;
        let objects = Arc::clone(&self.objects);
        let store = CheckpointStore::over(objects, "", "simulated", &claim.life);
        let epochs = store.list().await.map_err(|error| error.to_string())?;
        match epochs.first() {
            Some(newest) if *newest == claim.epoch => Ok(()),
            newest => Err(format!(
                "the newest checkpoint is {newest:?}, and the last epoch {}",
                claim.epoch
            )),
        }
    }

    fn column(&self, table: &str, column: usize) -> BTreeMap<String, i64> {
        let table = self.ledger.table(table).map(|table| table.rows);
        let rows = table.into_iter().flatten();
        rows.map(|(key, values)| (key[0].clone(), integer(&values[column])))
            .collect()
    }
}

/// The deployment that decided about a record first, by what is written down.
fn made_by(deployments: &[Deployment], origin: Origin) -> usize {
    let begins = |d: &Deployment| d.positions.get(origin.partition).unwrap_or(0);
    let found = deployments.iter().rposition(|d| begins(d) <= origin.offset);
    found.unwrap_or(0)
}

/// Adds up the amounts of records; the groups that they are of.
fn count<'a>(
    sums: &mut BTreeMap<String, (i64, i64)>,
    fates: impl Iterator<Item = &'a Fate<'a>>,
) -> BTreeSet<String> {
    let mut groups = BTreeSet::new();
    for Fate { record, .. } in fates {
        sums.entry(record.group.clone()).or_default().0 += record.amount;
        groups.insert(record.group.clone());
    }
    groups
}

fn is_before(origin: Origin, positions: &Positions) -> bool {
    let begin = positions.get(origin.partition);
    begin.is_some_and(|begin| origin.offset < begin)
}

async fn until_ready<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        if let Poll::Ready(done) = poll!(&mut work) {
            return done;
        }
    }
}

fn integer(value: &Value) -> i64 {
    match value {
        Value::Int64(value) => *value,
        _ => i64::MIN,
    }
}

fn number(text: &str) -> i64 {
    text.parse().unwrap_or(i64::MIN)
}

fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &BTreeMap<String, T>,
    expected: &BTreeMap<String, T>,
) -> Result<(), String> {
    let keys: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let differing = keys
        .into_iter()
        .find(|key| found.get(*key) != expected.get(*key));
    match differing {
        None => Ok(()),
        Some(key) => Err(format!(
            "{what} differ at {key}: {:?} instead of {:?}",
            found.get(key),
            expected.get(key)
        )),
    }
}
