//! Files that another version of wasmill has made.

use wasmill::sink::Sink;

use super::{Place, claimed, ledger, permanent};

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_an_older_version_are_refused_with_what_to_do() {
    let place = Place::new();
    drop(claimed(&place.path()).await);
    place.sql("ALTER TABLE wasmill_epochs DROP COLUMN dead_letter_bytes");
    let mut ledger = ledger(&place.path());
    let message = permanent(ledger.prepare().await);
    let missing = "wasmill_epochs has no column `dead_letter_bytes`";
    assert!(message.contains(missing), "{message}");
    assert_eq!(permanent(ledger.check().await), message);
    place.sql(message.lines().last().unwrap());
    ledger.prepare().await.unwrap();
}
