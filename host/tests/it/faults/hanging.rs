//! Servers that take connections and answer nothing, for longer than any client waits.

use std::time::Duration;

use super::{SOME, Sales};
use crate::support::proxy::Loss;

const MOMENT: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_hang_are_given_up_and_asked_again() {
    let mut sales = Sales::new(|text| text).await;
    sales.more(SOME);
    let run = sales.start();
    sales.catches_up();

    // What they have got already they answer later, when nobody listens any more.
    sales.postgres.stall();
    sales
        .survives("postgres", "no answer within 6 s", async |sales| {
            sales.postgres.go_on();
        })
        .await;
    sales.search.stall();
    sales
        .survives("search", "no answer within 2 s", async |sales| {
            sales.search.go_on();
        })
        .await;
    // Both, and for so short that nobody gives up.
    sales.postgres.stall();
    sales.search.stall();
    sales.more(SOME);
    std::thread::sleep(MOMENT);
    sales.postgres.go_on();
    sales.search.go_on();
    sales.ends_well(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_an_answer_is_looked_up_and_not_repeated() {
    let mut sales = Sales::new(|text| text).await;
    sales.more(SOME);
    let run = sales.start();
    sales.catches_up();
    // The server notes what no upsert would show: rows that are written twice.
    sales
        .sql(
            "CREATE TABLE writes (id text, at timestamptz DEFAULT clock_timestamp());
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO writes VALUES (NEW.transaction_id); RETURN NULL; END $$;
             CREATE TRIGGER note AFTER INSERT OR UPDATE ON transactions
                 FOR EACH ROW EXECUTE FUNCTION note()",
        )
        .await;
    for (index, loss) in [Loss::Answer, Loss::Request, Loss::Silence]
        .into_iter()
        .cycle()
        .take(5)
        .enumerate()
    {
        sales.postgres.lose(b"COMMIT\0", loss);
        sales.more(SOME);
        sales.catches_up();
        assert_eq!(sales.postgres.sprung(), index as u64 + 1);
    }
    let written =
        "SELECT count(*), count(DISTINCT id), (SELECT count(*) FROM transactions) FROM writes";
    let row = sales
        .job
        .database()
        .await
        .query_one(written, &[])
        .await
        .unwrap();
    let [writes, ids, rows]: [i64; 3] = std::array::from_fn(|index| row.get(index));
    assert_eq!(writes, ids, "some row was written twice");
    assert!(ids > 0 && ids < rows);
    sales.ends_well(run).await;
}
