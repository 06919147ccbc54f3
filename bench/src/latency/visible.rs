//! When offsets became visible in PostgreSQL: one connection that asks, again and again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio_postgres::{Client, NoTls};

use super::load::Load;

/// Between an answer and the next question: an answer takes less than a millisecond itself.
const PAUSE: Duration = Duration::from_millis(1);
/// Between two tries while there is no table yet.
const RETRY: Duration = Duration::from_millis(20);
/// The newest entry of the journal.
const NEWEST: &str = "SELECT offsets::text FROM wasmill_epochs ORDER BY epoch DESC LIMIT 1";

/// What the journal said, and when.
#[derive(Clone)]
pub(super) struct Journal(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// each answer that differs from the one before
    answers: Vec<(Instant, BTreeMap<u32, i64>)>,
    /// between two answers in a row, ms
    gaps: Vec<f64>,
    /// why there are no more answers
    failure: Option<String>,
}

impl Journal {
    /// Asks from now on, as long as the process lives.
    pub(super) fn watch(url: &str) -> anyhow::Result<Self> {
        let journal = Self(Arc::default());
        let (seen, url) = (journal.clone(), url.to_owned());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                if let Err(error) = runtime.block_on(seen.ask(&url)) {
                    seen.lock().failure = Some(format!("{error:#}"));
                }
            })?;
        Ok(journal)
    }

    async fn ask(&self, url: &str) -> anyhow::Result<()> {
        let (client, connection) = tokio_postgres::connect(url, NoTls)
            .await
            .context("failed to connect to PostgreSQL")?;
        tokio::spawn(connection);
        let mut last = None;
        loop {
            let answer = newest(&client).await?;
            let now = Instant::now();
            {
                let mut seen = self.lock();
                if let Some(last) = last.replace(now) {
                    seen.gaps.push((now - last).as_secs_f64() * 1e3);
                }
                let known = seen.answers.last().map(|(_, offsets)| offsets);
                if known != Some(&answer) {
                    seen.answers.push((now, answer));
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// How many records are visible.
    pub(super) fn records(&self) -> i64 {
        let seen = self.lock();
        let last = seen.answers.last();
        last.map_or(0, |(_, offsets)| offsets.values().sum())
    }

    /// Whether all before these offsets is visible.
    pub(super) fn has(&self, ends: &[i64]) -> anyhow::Result<bool> {
        let seen = self.lock();
        if let Some(failure) = &seen.failure {
            bail!("the journal cannot be watched: {failure}");
        }
        let Some((_, offsets)) = seen.answers.last() else {
            return Ok(false);
        };
        let mut ends = (0..).zip(ends);
        Ok(ends.all(|(partition, end)| offsets.get(&partition).is_some_and(|next| next >= end)))
    }

    /// From making to seeing, of all records from these offsets on, ms.
    pub(super) fn latencies(&self, load: &Load, first: &[i64]) -> Vec<f64> {
        let mut next: BTreeMap<u32, i64> = (0..).zip(first.iter().copied()).collect();
        let mut latencies = Vec::new();
        for (seen, offsets) in &self.lock().answers {
            for (partition, end) in offsets {
                let Some(begin) = next.get_mut(partition) else {
                    continue;
                };
                let made = (*begin..*end).filter_map(|at| load.moment(*partition as usize, at));
                let latency = |made| seen.saturating_duration_since(made).as_secs_f64() * 1e3;
                latencies.extend(made.map(latency));
                *begin = (*begin).max(*end);
            }
        }
        latencies
    }

    /// Between two answers, median and the 99th of 100, ms.
    pub(super) fn resolution(&self) -> [f64; 2] {
        let mut gaps = self.lock().gaps.clone();
        gaps.sort_by(f64::total_cmp);
        [super::quantile(&gaps, 0.5), super::quantile(&gaps, 0.99)]
    }

    /// A panic while it is locked leaves answers that were complete.
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the journal is; waits until it is somewhere.
async fn newest(client: &Client) -> anyhow::Result<BTreeMap<u32, i64>> {
    loop {
        match client.query_opt(NEWEST, &[]).await {
            Ok(Some(row)) => return Ok(serde_json::from_str(row.get(0))?),
            Ok(None) => {}
            // The pipeline has not made its tables yet.
            Err(error) if error.as_db_error().is_some() => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(RETRY).await;
    }
}
