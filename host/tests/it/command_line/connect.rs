//! `wasmill check --connect` on servers that fit, do not fit, or do not answer.

use std::fs;
use std::net::TcpListener;
use std::process::Output;
use std::time::{Duration, Instant};

use elasticsearch::http::Method;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::json;
use tempfile::TempDir;
use wasmill::sink::CHECK_TIME_MAX;

use super::{stderr, stdout, wasmill};
use crate::support;
use crate::support::elastic::Elastic;
use crate::support::postgres::Database;

/// For starting and ending, beside what the servers take.
const START_AND_END: Duration = Duration::from_secs(5);

const PASSWORD: &str = "hunter2";

/// A pipeline without components, on a topic, a schema and an index of its own.
struct Shop {
    folder: TempDir,
    database: Database,
    search: Elastic,
    /// of the topic and of the index
    name: String,
}

impl Shop {
    /// Nothing is there yet.
    async fn new() -> Self {
        let name = support::unique("connect");
        let pipeline = format!(
            r#"
[pipeline]
name = "{name}"
[source]
type = "kafka"
brokers = "${{KAFKA_BROKERS}}"
topic = "{name}"
columns = [{{ name = "id", type = "utf8" }}, {{ name = "amount", type = "decimal(2)" }}]
[[sink]]
name = "rows"
type = "postgres"
url = "${{DATABASE_URL}}"
tables = [{{ from = "source", table = "sales", key = ["id"] }}]
[[sink]]
name = "search"
type = "elasticsearch"
url = "${{ELASTICSEARCH_URL}}"
indices = [{{ from = "source", index = "{name}", id = "id" }}]
[dead_letters]
type = "file"
path = "dead.ndjson"
"#
        );
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("pipeline.toml"), pipeline).unwrap();
        Self {
            folder,
            database: Database::fresh().await,
            search: Elastic::new(&support::elasticsearch()),
            name,
        }
    }

    async fn create_topic(&self) {
        let topic = NewTopic::new(&self.name, 3, TopicReplication::Fixed(1));
        let options = AdminOptions::new();
        let created = admin().create_topics([&topic], &options).await.unwrap();
        created[0].as_ref().unwrap();
    }

    async fn wasmill(&self, arguments: &[&str]) -> Output {
        let [kafka, elastic] = [support::kafka(), support::elasticsearch()];
        let url = self.database.secret();
        self.wasmill_with(arguments, [&kafka, url.reveal(), &elastic])
            .await
    }

    /// The same with these addresses of Kafka, PostgreSQL and Elasticsearch.
    async fn wasmill_with(&self, arguments: &[&str], addresses: [&str; 3]) -> Output {
        let mut command = wasmill(arguments);
        command
            .current_dir(self.folder.path())
            .env("KAFKA_BROKERS", addresses[0])
            .env("DATABASE_URL", addresses[1])
            .env("ELASTICSEARCH_URL", addresses[2])
            .env("AWS_ACCESS_KEY_ID", "shop")
            .env("AWS_SECRET_ACCESS_KEY", PASSWORD);
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }

    async fn tables(&self) -> Vec<Vec<String>> {
        let schema = self.database.schema();
        let sql = format!("SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'");
        self.database.rows(&sql).await
    }

    async fn remove(self) {
        self.search.remove(&self.name).await;
        let options = AdminOptions::new();
        admin()
            .delete_topics(&[&self.name], &options)
            .await
            .unwrap();
    }
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", support::kafka())
        .create()
        .unwrap()
}

/// The reports, each in one line, as they were before they were wrapped.
fn reports(output: &Output) -> String {
    let words: Vec<String> = stderr(output)
        .split_whitespace()
        .filter(|word| *word != "|")
        .map(str::to_owned)
        .collect();
    words.join(" ")
}

#[tokio::test]
async fn servers_that_fit_are_named_and_nothing_is_created_there() {
    let shop = Shop::new().await;
    shop.create_topic().await;
    let output = shop.wasmill(&["check", "--connect"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let printed = stdout(&output);
    let fine = "source: reached, 3 partitions\n\
                rows: reached, tables fit or will be created\n\
                search: reached, indices fit or will be created\n\
                checkpoints: reached\n\
                pipeline.toml is fine\n";
    assert!(printed.starts_with(fine), "{printed}");

    assert_eq!(shop.tables().await, Vec::<Vec<String>>::new());
    let template = format!("_index_template/wasmill-{}", shop.name);
    for path in [&shop.name, &template] {
        assert_eq!(shop.search.request(Method::Get, path, None).await.0, 404);
    }
    assert!(!shop.folder.path().join("dead.ndjson").exists());
    shop.remove().await;
}

#[tokio::test]
async fn a_pipeline_that_has_run_is_still_fine() {
    let shop = Shop::new().await;
    shop.create_topic().await;
    let run = shop.wasmill(&["run", "--once"]).await;
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let output = shop.wasmill(&["check", "--connect"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    shop.remove().await;
}

#[tokio::test]
async fn every_server_that_does_not_fit_is_reported() {
    let shop = Shop::new().await;
    shop.database
        .rows("CREATE TABLE sales (id text PRIMARY KEY, amount double precision)")
        .await;
    let mapping = json!({ "mappings": { "properties": {
        "id": { "type": "keyword" }, "amount": { "type": "text" },
    } } });
    shop.search.ok(Method::Put, &shop.name, Some(mapping)).await;
    // Twice: the first time created no topic either.
    for _ in 0..2 {
        let output = shop.wasmill(&["check", "--connect"]).await;
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(stdout(&output), "checkpoints: reached\n");
        let reports = reports(&output);
        for wanted in [
            &format!("topic {} does not exist yet", shop.name),
            "column `amount` is double precision, but has to be numeric (decimal(2)): \
             ALTER TABLE \"sales\" ALTER COLUMN \"amount\" TYPE numeric",
            "has field `amount` as text, and double is needed",
            "[pipeline.toml:6:11]",
            "[pipeline.toml:12:7]",
            "[pipeline.toml:17:7]",
            "error: pipeline.toml has 3 errors",
        ] {
            assert!(reports.contains(wanted), "`{wanted}` in: {reports}");
        }
    }
    assert_eq!(shop.tables().await, [["sales"]]);
    shop.search.remove(&shop.name).await;
}

#[tokio::test]
async fn what_the_stored_state_does_not_go_with_is_reported() {
    let shop = Shop::new().await;
    shop.create_topic().await;
    let run = shop.wasmill(&["run", "--once"]).await;
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let sql = "UPDATE wasmill_pipelines SET definition = '{\"source\": {\"topic\": \"purchases\"}, \"aggregates\": {}}'";
    shop.database.rows(sql).await;

    let output = shop.wasmill(&["check", "--connect"]).await;
    assert_eq!(output.status.code(), Some(1));
    let reports = reports(&output);
    let change = format!("source.topic was \"purchases\", is now \"{}\"", shop.name);
    assert!(reports.contains(&change), "{reports}");
    assert!(reports.contains("has 1 error"), "{reports}");
    assert!(stdout(&output).contains("search: reached"), "{output:?}");
    shop.remove().await;
}

#[tokio::test]
async fn addresses_without_an_answer_are_named_in_time_and_no_password_is() {
    let shop = Shop::new().await;
    // They take connections, and nobody ever reads from them.
    let silent: [TcpListener; 3] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let [kafka, postgres, elastic] = silent
        .each_ref()
        .map(|listener| listener.local_addr().unwrap().to_string());
    let started = Instant::now();
    let output = shop
        .wasmill_with(
            &["check", "--connect"],
            [
                &kafka,
                &format!("postgres://me:{PASSWORD}@{postgres}/shop"),
                &format!("http://me:{PASSWORD}@{elastic}"),
            ],
        )
        .await;
    assert!(started.elapsed() < CHECK_TIME_MAX + START_AND_END);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "checkpoints: reached\n");
    let reports = reports(&output);
    for wanted in [
        &format!("failed to reach Kafka at {kafka}"),
        &format!("failed to reach PostgreSQL at {postgres}"),
        &format!("failed to reach Elasticsearch at {elastic}"),
        "see that the server runs",
        "has 3 errors",
    ] {
        assert!(reports.contains(wanted), "`{wanted}` in: {reports}");
    }
    assert!(!reports.contains(PASSWORD), "{reports}");
}

#[tokio::test]
async fn a_store_of_checkpoints_that_cannot_be_used_is_reported() {
    let shop = Shop::new().await;
    shop.create_topic().await;
    let path = shop.folder.path().join("pipeline.toml");
    let pipeline = fs::read_to_string(&path).unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let stores = [
        ("store = \"file:taken\"", "name a folder in `store`"),
        (
            &*format!("store = \"s3://bucket/prefix\"\nendpoint = \"{endpoint}\""),
            "see that the server runs, and that `endpoint` is its address",
        ),
    ];
    fs::write(shop.folder.path().join("taken"), "").unwrap();
    for (store, wanted) in stores {
        fs::write(&path, format!("{pipeline}[checkpoint]\n{store}\n")).unwrap();
        let output = shop.wasmill(&["check", "--connect"]).await;
        assert_eq!(output.status.code(), Some(1));
        let reports = reports(&output);
        for wanted in [wanted, "checkpoints: failed to", "has 1 error"] {
            assert!(reports.contains(wanted), "`{wanted}` in: {reports}");
        }
        assert!(!reports.contains(PASSWORD), "{reports}");
        assert!(stdout(&output).contains("rows: reached"), "{output:?}");
    }
    shop.remove().await;
}
