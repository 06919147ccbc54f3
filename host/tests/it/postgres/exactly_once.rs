//! Whatever happens to connections, an epoch is committed once.

use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use wasmill::config::{OnConflict, Secret};
use wasmill::epoch::{EpochId, EpochOutput};
use wasmill::sink::postgres::PostgresLedger;
use wasmill::sink::{Ledger, Remedy, Sink};

use super::{batch, claimed, epoch, permanent, positions, sales_table, stored_sales, write};
use crate::support::postgres::{Database, terminate};
use crate::support::proxy::{Loss, Proxy};
use crate::support::unique;

#[tokio::test]
async fn an_epoch_that_is_written_again_changes_nothing() {
    let database = Database::fresh().await;
    let pipeline = unique("sales");
    let mut ledger = claimed(&database, &pipeline).await;
    let first = epoch(1, vec![batch(&[("a", 1_050, 0), ("b", -1, 1)])]);
    write(&mut ledger, &first).await;
    write(&mut ledger, &first).await;
    // Only somebody who ignores what is committed would write these.
    let other = epoch(1, vec![batch(&[("a", 9, 0), ("c", 9, 1)])]);
    write(&mut ledger, &other).await;
    assert_eq!(
        stored_sales(&database).await,
        [["a", "10.50"], ["b", "-0.01"]]
    );
    assert_eq!(
        ledger.journal(EpochId(0), usize::MAX).await.unwrap().len(),
        1
    );
    write(&mut ledger, &epoch(2, vec![])).await;
    let claim = ledger.claim(&json!({}), &[]).await.unwrap();
    assert_eq!(claim.epoch, EpochId(2));
    assert_eq!(claim.positions, positions(&[(0, 20)]));
}

#[tokio::test]
async fn an_epoch_out_of_order_is_refused() {
    let database = Database::fresh().await;
    let mut ledger = claimed(&database, &unique("sales")).await;
    let message = permanent(ledger.write(&epoch(2, vec![])).await);
    assert!(message.contains("epoch 0 was the last one"), "{message}");
    write(&mut ledger, &epoch(1, vec![])).await;
}

#[tokio::test]
async fn a_terminated_connection_is_replaced() {
    let database = Database::fresh().await;
    let pipeline = unique("sales");
    let mut ledger = claimed(&database, &pipeline).await;
    let client = database.connect().await;
    let first = epoch(1, vec![batch(&[("a", 100, 0)])]);
    write(&mut ledger, &first).await;
    assert_eq!(terminate(&client, &pipeline).await, 1);
    write_until_durable(&mut ledger, &first).await;
    assert_eq!(terminate(&client, &pipeline).await, 1);
    write_until_durable(&mut ledger, &epoch(2, vec![batch(&[("b", 200, 1)])])).await;
    assert_eq!(
        stored_sales(&database).await,
        [["a", "1.00"], ["b", "2.00"]]
    );
    assert_eq!(
        ledger.journal(EpochId(1), usize::MAX).await.unwrap().len(),
        1
    );
}

/// Repeats as the remedy says, without waiting, and says how often it failed.
async fn write_until_durable(ledger: &mut PostgresLedger, epoch: &EpochOutput) -> usize {
    for failures in 0..100 {
        match ledger.write(epoch).await {
            Ok(_) => return failures,
            Err(error) => assert_eq!(error.remedy(), Remedy::Retry, "{error}"),
        }
    }
    panic!("epoch {} does not become durable", epoch.epoch);
}

/// Has the server note every row that is written to `sales`, in the same transaction: what a
/// repeated epoch would hide by overwriting its own rows shows there.
async fn note_writes(database: &Database) {
    database
        .rows(
            "CREATE TABLE writes (id text, amount numeric);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO writes VALUES (NEW.id, NEW.amount); RETURN NULL; END $$;
             CREATE TRIGGER note AFTER INSERT OR UPDATE ON sales
                 FOR EACH ROW EXECUTE FUNCTION note()",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_die_at_any_moment_lose_and_repeat_nothing() {
    let database = Database::fresh().await;
    let pipeline = unique("sales");
    let mut ledger = claimed(&database, &pipeline).await;
    note_writes(&database).await;
    let client = database.connect().await;
    let ids: Vec<String> = (0..100).map(|id| id.to_string()).collect();
    let numbered = |number: u64| {
        let value = number.cast_signed();
        let rows: Vec<_> = ids.iter().map(|id| (id.as_str(), value, value)).collect();
        epoch(number, vec![batch(&rows)])
    };
    let started = Instant::now();
    write_until_durable(&mut ledger, &numbered(1)).await;
    let undisturbed = started.elapsed();

    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (mut epochs, mut failures) = (1, 0);
    while epochs < 60 || failures < 20 {
        assert!(
            epochs < 1_000,
            "only {failures} connections died while they were used"
        );
        epochs += 1;
        let output = numbered(epochs);
        let delay = undisturbed.mul_f64(rng.random_range(0.0..1.2));
        let kill = async {
            tokio::time::sleep(delay).await;
            terminate(&client, &pipeline).await
        };
        let (failed, _) = tokio::join!(write_until_durable(&mut ledger, &output), kill);
        failures += failed;
    }
    let all = epochs.to_string();
    let totals =
        "SELECT count(*), count(DISTINCT (id, amount)), max(amount * 100)::bigint FROM writes";
    let writes = (epochs * 100).to_string();
    assert_eq!(database.rows(totals).await, [[&*writes, &*writes, &*all]]);
    let stored = "SELECT count(*), min(amount * 100)::bigint FROM sales";
    assert_eq!(database.rows(stored).await, [["100", &*all]]);
}

/// A statement as the protocol has it.
const COMMIT: &[u8] = b"COMMIT\0";

#[tokio::test]
async fn a_commit_without_an_answer_is_neither_lost_nor_repeated() {
    let database = Database::fresh().await;
    let proxy = Proxy::to(&database.server());
    let url = database.secret_through(proxy.address());
    let tables = vec![sales_table(OnConflict::Update)];
    let mut ledger = PostgresLedger::new("postgres", &unique("sales"), &url, tables).unwrap();
    ledger.prepare().await.unwrap();
    ledger.claim(&json!({}), &[]).await.unwrap();
    note_writes(&database).await;
    for (number, loss) in [(1, Loss::Request), (2, Loss::Answer), (3, Loss::Answer)] {
        let output = epoch(number, vec![batch(&[("a", number.cast_signed(), 0)])]);
        proxy.lose(COMMIT, loss);
        let error = ledger.write(&output).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::Retry, "{error}");
        let stored = database
            .value("SELECT max(epoch) FROM wasmill_progress")
            .await;
        let committed = if loss == Loss::Answer {
            number
        } else {
            number - 1
        };
        assert_eq!(stored, committed.to_string());
        write(&mut ledger, &output).await;
    }
    let writes = database.rows("SELECT * FROM writes ORDER BY amount").await;
    assert_eq!(writes, [["a", "0.01"], ["a", "0.02"], ["a", "0.03"]]);

    // A claim whose answer was lost is claimed again.
    proxy.lose(COMMIT, Loss::Answer);
    let error = ledger.claim(&json!({}), &[]).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Retry, "{error}");
    let claim = ledger.claim(&json!({}), &[]).await.unwrap();
    assert_eq!((claim.generation, claim.epoch), (3, EpochId(3)));
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for_and_a_missing_database_is_not() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    drop(server);
    let url = Secret::new(format!("postgres://me:hunter2@{address}/x"));
    let mut away = PostgresLedger::new("postgres", "sales", &url, vec![]).unwrap();
    let error = away.prepare().await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Retry, "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");

    let nowhere = crate::support::postgres().replace("/postgres", "/no_such_database");
    let mut missing =
        PostgresLedger::new("postgres", "sales", &Secret::new(nowhere), vec![]).unwrap();
    let message = permanent(missing.prepare().await);
    assert!(message.contains("no_such_database"), "{message}");
}
