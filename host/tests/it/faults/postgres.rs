//! PostgreSQL refuses, for a while, in the ways that it has.

use super::Sales;
use crate::support::proxy::Cut;

/// What a server says before it lets somebody in: a message of the protocol.
pub(super) fn refusal(state: &str, message: &str) -> Vec<u8> {
    let mut fields = Vec::new();
    for (name, value) in [('S', "FATAL"), ('V', "FATAL"), ('C', state), ('M', message)] {
        fields.extend(format!("{name}{value}\0").as_bytes());
    }
    fields.push(0);
    let mut bytes = vec![b'E'];
    bytes.extend(u32::try_from(fields.len() + 4).unwrap().to_be_bytes());
    bytes.extend(fields);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_pass_are_waited_for() {
    let mut sales = Sales::new(|text| text).await;
    let (role, url) = sales.role().await;
    sales.more(600);
    let run = sales.start_as(&url);
    sales.catches_up();

    // What a DBA sets, and takes back.
    for (setting, words) in [
        ("statement_timeout = '1ms'", "SQLSTATE 57014"),
        ("default_transaction_read_only = on", "SQLSTATE 25006"),
    ] {
        sales.sql(&format!("ALTER ROLE {role} SET {setting}")).await;
        sales.terminate().await;
        let (name, _) = setting.split_once(' ').unwrap();
        let reset = format!("ALTER ROLE {role} RESET {name}");
        let mend = async |sales: &Sales| sales.sql(&reset).await;
        sales.survives("postgres", words, mend).await;
    }

    sales
        .sql(&format!("ALTER ROLE {role} CONNECTION LIMIT 0"))
        .await;
    sales.terminate().await;
    let unlimited = format!("ALTER ROLE {role} CONNECTION LIMIT -1");
    let mend = async |sales: &Sales| sales.sql(&unlimited).await;
    sales.survives("postgres", "SQLSTATE 53300", mend).await;

    // Somebody's long transaction.
    let other = sales.job.database().await;
    let lock = "BEGIN; LOCK TABLE customer_totals IN ACCESS EXCLUSIVE MODE";
    other.batch_execute(lock).await.unwrap();
    let mend = async |_: &Sales| other.batch_execute("COMMIT").await.unwrap();
    sales.survives("postgres", "SQLSTATE 55P03", mend).await;

    let starting = refusal("57P03", "the database system is starting up");
    sales.postgres.answer(&starting);
    sales.postgres.cut(Cut::Fin);
    let mend = async |sales: &Sales| sales.postgres.accept();
    sales.survives("postgres", "SQLSTATE 57P03", mend).await;

    sales.terminate().await;
    sales.more(600);
    sales.ends_well(run).await;
    sales.drop_role(&role).await;
}

/// What no test can have a server do by itself, it is told to say in the middle of an epoch.
#[tokio::test(flavor = "multi_thread")]
async fn errors_in_the_middle_of_an_epoch_that_pass_are_waited_for() {
    let mut sales = Sales::new(|text| text).await;
    sales.more(600);
    let run = sales.start();
    sales.catches_up();
    sales
        .sql(
            "CREATE TABLE fault (state text);
             CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE it text;
             BEGIN
                 SELECT state INTO it FROM fault;
                 IF FOUND THEN RAISE EXCEPTION 'as told' USING ERRCODE = it; END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER fail BEFORE INSERT ON customer_totals
                 FOR EACH STATEMENT EXECUTE FUNCTION fail()",
        )
        .await;
    // Serialization failure, deadlock, disk full, out of memory, an error of the disk.
    for state in ["40001", "40P01", "53100", "53200", "58030"] {
        sales
            .sql(&format!("INSERT INTO fault VALUES ('{state}')"))
            .await;
        let mend = async |sales: &Sales| sales.sql("DELETE FROM fault").await;
        let words = format!("SQLSTATE {state}");
        sales.survives("postgres", &words, mend).await;
    }
    sales.ends_well(run).await;
}
