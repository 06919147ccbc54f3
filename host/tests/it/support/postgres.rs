//! A schema of its own for each test, in the database that all tests share.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use wasmill::config::Secret;

use super::unique;

/// A fresh schema that goes away with this value. Names without a schema mean tables in it.
pub(crate) struct Database {
    schema: String,
    url: String,
}

impl Database {
    pub(crate) async fn fresh() -> Self {
        let schema = unique("it");
        let base = super::postgres();
        let separator = if base.contains('?') { '&' } else { '?' };
        let url = format!("{base}{separator}options=-c%20search_path%3D{schema}");
        connect(&base)
            .await
            .batch_execute(&format!("CREATE SCHEMA {schema}"))
            .await
            .unwrap();
        Self { schema, url }
    }

    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    pub(crate) fn secret(&self) -> Secret {
        Secret::new(self.url.clone())
    }

    /// The answer to the last statement that has one, values as text, null as `∅`.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let client = connect(&self.url).await;
        let answer = client
            .simple_query(&format!("SET TimeZone = 'UTC'; {sql}"))
            .await
            .unwrap();
        answer
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(
                    (0..row.len())
                        .map(|index| row.get(index).unwrap_or("∅").to_owned())
                        .collect(),
                ),
                _ => None,
            })
            .collect()
    }

    /// The only value of the answer.
    pub(crate) async fn value(&self, sql: &str) -> String {
        let rows = self.rows(sql).await;
        assert_eq!((rows.len(), rows[0].len()), (1, 1), "{sql}: {rows:?}");
        rows[0][0].clone()
    }

    /// A connection of the test's own.
    pub(crate) async fn connect(&self) -> Client {
        connect(&self.url).await
    }

    /// `host:port` of the server.
    pub(crate) fn server(&self) -> String {
        let server = self.authority().1;
        let port = if server.contains(':') { "" } else { ":5432" };
        format!("{server}{port}")
    }

    /// The URL that reaches it through `proxy`.
    pub(crate) fn secret_through(&self, proxy: SocketAddr) -> Secret {
        let (user, server) = self.authority();
        let (direct, proxied) = (format!("{user}@{server}/"), format!("{user}@{proxy}/"));
        Secret::new(self.url.replacen(&direct, &proxied, 1))
    }

    /// User and server of a URL like `postgres://user@host:port/database`.
    fn authority(&self) -> (&str, &str) {
        let (_, rest) = self.url.split_once("://").unwrap();
        let (authority, _) = rest.split_once('/').unwrap();
        authority.rsplit_once('@').unwrap()
    }
}

/// Ends the connections of a pipeline as the end of their backends would, and says how many.
pub(crate) async fn terminate(client: &Client, pipeline: &str) -> usize {
    let ended = client
        .query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE application_name = 'wasmill ' || $1",
            &[&pipeline],
        )
        .await
        .unwrap();
    ended.len()
}

impl Drop for Database {
    fn drop(&mut self) {
        let (url, schema) = (self.url.clone(), self.schema.clone());
        // A drop cannot wait for a future of the test's own runtime.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let sql = format!("SET lock_timeout = '10s'; DROP SCHEMA {schema} CASCADE");
                connect(&url).await.batch_execute(&sql).await
            })
        });
        let dropped = dropping.join();
        if !std::thread::panicking() {
            dropped.unwrap().unwrap();
        }
    }
}

/// A connection whose task ends with it.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The number that a query asks for; 0 as long as its tables are not there, before the first start.
pub(crate) async fn count(database: &Client, sql: &str) -> i64 {
    database
        .query_one(sql, &[])
        .await
        .map_or(0, |row| row.get(0))
}
