//! `docs/guides/queries.md`: every query runs as it stands there, and answers what the page shows.

use tokio_postgres::SimpleQueryMessage;
use wasmill::generate::Settings;

use super::support::job::Job;

const PAGE: &str = include_str!("../../../docs/guides/queries.md");
/// The sales that the page shows answers for.
const COMMAND: &str =
    "wasmill generate --topic financial_transactions --partitions 4 --count 20000";

/// A header and rows, each a list of cells.
type Answer = Vec<Vec<String>>;

#[tokio::test(flavor = "multi_thread")]
async fn the_queries_of_the_guide_answer_what_it_shows() {
    assert!(PAGE.contains(COMMAND), "the page says what its sales are");
    let job = Job::new("queries", |text| text).await;
    job.generate(&Settings::default(), 4, 20_000);
    job.run_once();
    let database = job.database().await;
    let queries = queries(PAGE);
    assert!(queries.len() > 10, "the page has queries");
    for (sql, shown) in queries {
        assert_eq!(answer(&database, sql).await, shown, "{sql}");
    }
    // What the page creates, indexes, is nothing that a start refuses.
    let again = job.run_once();
    assert!(again.contains("0 records"), "{again}");
}

/// The blocks of SQL in a page, each with the table in the block that follows it, if one does
/// before the next SQL.
fn queries(page: &str) -> Vec<(&str, Option<Answer>)> {
    page.split("```sql\n")
        .skip(1)
        .map(|part| {
            let (sql, rest) = part.split_once("```").expect("a block has an end");
            let shown = rest.split_once("```text\n").map(|(_, text)| {
                let (table, _) = text.split_once("```").expect("a block has an end");
                let lines = table.lines().filter(|line| !line.starts_with("--"));
                lines
                    .map(|line| line.split('|').map(|cell| cell.trim().to_owned()).collect())
                    .collect()
            });
            (sql, shown)
        })
        .collect()
}

/// What a statement answers; none if it has no rows to return.
async fn answer(database: &tokio_postgres::Client, sql: &str) -> Option<Answer> {
    let messages = database.simple_query(sql).await;
    let messages = messages.unwrap_or_else(|error| panic!("{error:?} in {sql}"));
    let mut answer: Option<Answer> = None;
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                let header = columns.iter().map(|column| column.name().to_owned());
                answer = Some(vec![header.collect()]);
            }
            SimpleQueryMessage::Row(row) => {
                let cells = (0..row.len()).map(|i| row.get(i).unwrap_or("").to_owned());
                let answer = answer.as_mut().expect("columns come before rows");
                answer.push(cells.collect());
            }
            _ => {}
        }
    }
    answer
}
