//! Connections that are slow, and cut at any byte.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Sales, Watch};
use crate::support::proxy::Cut;

const SEED: u64 = 11;
/// Cuts of each server's connections.
const CUTS: u64 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_at_any_byte_lose_and_double_nothing() {
    println!("seed {SEED}");
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut sales = Sales::new(|text| text).await;
    sales.more(400);
    let run = sales.start();
    sales.catches_up();
    let watch = Watch::start(&sales.job).await;
    for _ in 0..CUTS {
        let short = Duration::from_millis(rng.random_range(0..10));
        sales.postgres.delay(short, short);
        let how = if rng.random() { Cut::Fin } else { Cut::Rst };
        // An epoch of 200 records is about 50 kB for either.
        sales.postgres.cut_after(rng.random_range(1..120_000), how);
        sales.search.cut_after(rng.random_range(1..180_000), how);
        sales.more(600);
        sales.catches_up();
    }
    let cuts = sales.postgres.sprung() + sales.search.sprung();
    assert!(cuts >= CUTS, "only {cuts} connections were cut");
    watch.end().await;
    sales.ends_well(run).await;
}
