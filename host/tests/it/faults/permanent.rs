//! What waiting does not mend ends the run, with what to do; and once it is mended, the next run goes on
//! as if nothing had been.

use elasticsearch::http::Method;
use serde_json::json;

use super::elastic::answer;
use super::postgres::refusal;
use super::{SOME, Sales, elastic};
use crate::support;
use crate::support::proxy::Cut;
use crate::support::running::ask_until;

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_the_servers_refuse_says_what_to_do() {
    let mut sales = Sales::new(|text| text).await;
    sales.more(SOME);
    let (role, url) = sales.role().await;

    sales.postgres.answer(&refusal(
        "28P01",
        "password authentication failed for user \"me\"",
    ));
    let run = sales.start_as(&url);
    sales.gives_up(
        run,
        &[
            "password authentication failed",
            "see user and password in `url`",
        ],
    );
    sales.postgres.accept();

    sales.sql(&format!("ALTER ROLE {role} NOLOGIN")).await;
    let run = sales.start_as(&url);
    sales.gives_up(run, &["is not permitted to log in", "pg_hba.conf"]);
    sales.sql(&format!("ALTER ROLE {role} LOGIN")).await;

    let run = sales.start_as(&format!("{url}_not"));
    sales.gives_up(
        run,
        &["does not exist", "create the database, or correct `url`"],
    );

    sales
        .sql(&format!("ALTER DATABASE {role} OWNER TO CURRENT_USER"))
        .await;
    let run = sales.start_as(&url);
    sales.gives_up(run, &["permission denied for schema public", "GRANT"]);
    sales
        .sql(&format!("GRANT CREATE ON SCHEMA public TO {role}"))
        .await;

    for (status, error) in [(401, "security_exception"), (403, "security_exception")] {
        sales.search.answer(&answer(status, error));
        let run = sales.start_as(&url);
        let status = format!("status {status}");
        sales.gives_up(run, &[&status, "see user and password in `url`"]);
    }
    sales.search.accept();
    let run = sales.start_as(&url);
    sales.ends_well(run).await;
    sales.drop_role(&role).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_changed_underneath_end_the_run_and_nothing_is_lost() {
    let mut sales = Sales::new(|text| text).await;
    sales.more(SOME);
    let (role, url) = sales.role().await;
    let changed = "`wasmill check --connect` compares";
    for (fault, words, mend) in [
        (
            "ALTER TABLE transactions RENAME TO elsewhere",
            ["SQLSTATE 42P01", changed],
            "ALTER TABLE elsewhere RENAME TO transactions",
        ),
        (
            "ALTER TABLE transactions RENAME COLUMN customer_id TO buyer_id",
            ["SQLSTATE 42703", changed],
            "ALTER TABLE transactions RENAME COLUMN buyer_id TO customer_id",
        ),
        (
            "ALTER TABLE sales_per_day DROP CONSTRAINT sales_per_day_pkey",
            ["SQLSTATE 42P10", changed],
            "ALTER TABLE sales_per_day ADD CONSTRAINT sales_per_day_pkey PRIMARY KEY (transaction_date)",
        ),
        (
            "REVOKE INSERT ON sales_per_day FROM CURRENT_USER",
            ["SQLSTATE 42501", "GRANT"],
            "GRANT INSERT ON sales_per_day TO CURRENT_USER",
        ),
    ] {
        let run = sales.start_as(&url);
        sales.catches_up();
        let as_role = |sql: &str| format!("SET ROLE {role}; {sql}");
        sales.sql(&as_role(fault)).await;
        sales.more(SOME);
        sales.gives_up(run, &words);
        sales.sql(&as_role(mend)).await;
    }
    let run = sales.start_as(&url);
    sales.catches_up();
    sales.search.answer(&answer(403, "security_exception"));
    sales.search.cut(Cut::Rst);
    sales.more(SOME);
    sales.gives_up(run, &["status 403", "see user and password in `url`"]);
    sales.search.accept();
    let run = sales.start_as(&url);
    sales.ends_well(run).await;
    sales.drop_role(&role).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_made_anew_with_another_mapping_ends_the_run() {
    let mut sales = Sales::new(|text| text).await;
    sales.more(0);
    let run = sales.start();
    ask_until(&sales.job, "/readyz", |answer| {
        (answer.status == 200).then_some(())
    });
    let (search, index) = (elastic(), sales.job.index.clone());
    search.ok(Method::Delete, &index, None).await;
    let mapping = json!({ "mappings": { "properties": { "product_name": { "type": "long" } } } });
    search.ok(Method::Put, &index, Some(mapping)).await;
    sales.more(SOME);
    let misfit = "has field `product_name` as long, and keyword is needed";
    sales.gives_up(run, &["does not fit sink `search`", misfit]);
    search.ok(Method::Delete, &index, None).await;
    let run = sales.start();
    sales.ends_well(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_while_nobody_ran_is_made_anew_and_named() {
    let mut sales = Sales::new(|text| text).await;
    sales.more(SOME);
    let mut run = sales.start();
    sales.catches_up();
    run.stop(&sales.job);
    sales.sql("DROP TABLE sales_per_day").await;
    elastic().ok(Method::Delete, &sales.job.index, None).await;
    let mut run = sales.start();
    sales.more(SOME);
    sales.catches_up();
    run.stop(&sales.job);
    let log = sales.job.log();
    for (name, value) in [("tables", "sales_per_day"), ("indices", &*sales.job.index)] {
        let said = format!("\"{name}\":\"{value}\"");
        let line = log.lines().find(|line| line.contains(&said));
        let line = line.unwrap_or_else(|| panic!("{said} is not in {log}"));
        assert!(line.contains("to have it there, start over"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_set_back_ends_the_run_and_the_next_one_goes_on_from_there() {
    let mut sales = Sales::new(|text| text).await;
    sales.more(SOME);
    let mut run = sales.start();
    sales.catches_up();
    run.stop(&sales.job);
    let name = sales.job.topic.clone();
    let server = support::postgres::connect(&support::postgres()).await;
    let end =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    server.batch_execute(&end).await.unwrap();
    let copy = format!("CREATE DATABASE {name}_copy TEMPLATE {name}");
    server.batch_execute(&copy).await.unwrap();

    let run = sales.start();
    sales.more(SOME);
    sales.catches_up();
    sales.postgres.refuse();
    for sql in [
        format!("DROP DATABASE {name} WITH (FORCE)"),
        format!("ALTER DATABASE {name}_copy RENAME TO {name}"),
    ] {
        server.batch_execute(&sql).await.unwrap();
    }
    sales.postgres.accept();
    sales.more(SOME);
    sales.gives_up(
        run,
        &["the database was set back", "Start the pipeline again"],
    );
    let run = sales.start();
    sales.ends_well(run).await;
}
