//! A connection to PostgreSQL: its settings, its temporary tables and its prepared statements.
//!
//! # Invariants
//!
//! 1. Whoever meets an error on a session closes it: a new one starts from what is committed.
//! 2. No message shows the URL, which may have a password.

use std::fmt::Write as _;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::Host;
use tokio_postgres::types::FromSql;
use tokio_postgres::{Client, Config, Error, NoTls, Row, Statement};

use super::failure::Failure;
use super::progress;
use crate::config::{Secret, SinkKind};
use crate::sink::SinkError;
use crate::sink::table::{TableTarget, commas};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a closed connection may take to say why it was closed.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);

/// A dead peer is noticed after about this time, even when no packet says so.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A transaction that stands still for so long gives its locks up: so whoever takes over gets them.
const IDLE_TIME_MAX: Duration = Duration::from_secs(10);

/// What a session does with time, and how it reads time. A transaction that stands still gives its
/// locks up before whoever waits for them does; a statement that hangs becomes an error. A shorter
/// limit that somebody has set for the role or the database holds.
fn settings(call_time_max: Duration) -> String {
    let limits = [
        ("idle_in_transaction_session_timeout", IDLE_TIME_MAX),
        ("lock_timeout", call_time_max / 6),
        ("statement_timeout", call_time_max / 2),
    ];
    let limits = limits.map(|(name, limit)| format!("('{name}', {})", limit.as_millis()));
    format!(
        "SET TimeZone = 'UTC'; SET client_min_messages = 'warning'; SET jit = off;
         SELECT set_config(name, ours::text, false)
         FROM (VALUES {}) limits (name, ours) JOIN pg_settings USING (name)
         WHERE setting::bigint = 0 OR setting::bigint > ours",
        commas(limits.into_iter())
    )
}

/// Where a server is.
#[derive(Debug, Clone)]
pub(super) struct Server {
    config: Config,
    what: String,
    /// how long a call may take, all of its statements together
    pub(super) call_time_max: Duration,
}

impl Server {
    /// The server that a `postgres://` URL points to.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] without a word of the URL.
    pub(super) fn new(sink: &str, pipeline: &str, url: &Secret) -> Result<Self, SinkError> {
        let malformed = || {
            SinkError::Permanent(format!(
                "the url of sink `{sink}` is no URL like postgres://user:password@host:5432/database \
                 (in a user or password, special characters are written as %40 for @, %3F for ?, %2F for /)"
            ))
        };
        let mut config: Config = url.reveal().parse().map_err(|_| malformed())?;
        let mut what = "PostgreSQL at ".to_owned();
        if config.get_hosts().is_empty() {
            config.host("localhost");
        }
        for (index, host) in config.get_hosts().iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let host = match host {
                // An @ here was meant for a password.
                Host::Tcp(host) if host.contains('@') => return Err(malformed()),
                Host::Tcp(host) => host.clone(),
                Host::Unix(path) => path.display().to_string(),
            };
            let ports = config.get_ports();
            let port = ports.get(index).or(ports.first()).unwrap_or(&5432);
            write!(what, "{comma}{host}:{port}").expect("a string takes any text");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIME_MAX);
        }
        config
            .application_name(format!("wasmill {pipeline}"))
            .keepalives_idle(SILENCE_MAX / 3)
            .keepalives_interval(SILENCE_MAX / 6)
            .keepalives_retries(4)
            .tcp_user_timeout(SILENCE_MAX);
        Ok(Self {
            config,
            what,
            call_time_max: SinkKind::POSTGRES_TIMEOUT,
        })
    }

    /// The same for somebody whom the server shall know by this name.
    pub(super) fn called(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.config.application_name(name);
        other
    }

    /// For a person: "PostgreSQL at localhost:5432".
    pub(super) fn what(&self) -> &str {
        &self.what
    }

    /// The server does not answer.
    pub(super) fn silent(&self, doing: &str, waited: Duration) -> SinkError {
        SinkError::Unavailable {
            what: self.what.clone(),
            reason: format!("failed to {doing}: no answer within {} s", waited.as_secs()),
        }
    }
}

/// The statements that copy into a temporary table and from there into the real one, or straight into
/// that.
pub(super) struct Staged {
    pub(super) copy: Statement,
    pub(super) upsert: Statement,
    pub(super) direct: Statement,
}

/// The temporary table of a table, by its index.
pub(super) fn stage_name(table: usize) -> String {
    format!("wasmill_stage_{table}")
}

/// What is prepared once per connection.
pub(super) struct Statements {
    pub(super) progress: progress::Statements,
    /// one for each table, in order
    pub(super) tables: Vec<Staged>,
}

/// An open connection. Dropping it closes the connection; [`close`](Self::close) also waits.
pub(super) struct Session {
    client: Client,
    driver: Driver,
    statements: Option<Statements>,
}

impl Session {
    /// Connects and sets what every session needs.
    pub(super) async fn open(server: &Server) -> Result<Self, SinkError> {
        let connecting = async {
            let (client, connection) = server.config.connect(NoTls).await?;
            let driver = Driver(tokio::spawn(connection));
            let settings = settings(server.call_time_max);
            client.batch_execute(&settings).await?;
            Ok::<_, Error>(Self {
                client,
                driver,
                statements: None,
            })
        };
        match timeout(2 * CONNECT_TIME_MAX, connecting).await {
            Ok(connected) => connected
                .map_err(|error| Failure::to("connect")(error).into_sink_error(server.what())),
            Err(_) => Err(server.silent("connect", 2 * CONNECT_TIME_MAX)),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Begins a transaction that sees one state of the database and cannot change any. It ends with
    /// the session.
    pub(super) async fn read_only(&self) -> Result<(), Failure> {
        self.client
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
            .map_err(Failure::to("begin a transaction"))
    }

    /// Creates the temporary tables and prepares the statements. The real tables have to be there.
    pub(super) async fn stage(&mut self, targets: &[TableTarget]) -> Result<(), Failure> {
        let stages: Vec<String> = (0..targets.len()).map(stage_name).collect();
        let create = targets.iter().zip(&stages);
        let create: Vec<String> = create
            .map(|(target, stage)| target.create_stage_sql(stage))
            .collect();
        self.client
            .batch_execute(&create.join(";\n"))
            .await
            .map_err(Failure::to("create temporary tables"))?;
        let tables = targets.iter().zip(&stages).map(async |(target, stage)| {
            self.prepare(target, stage)
                .await
                .map_err(Failure::to(format!("write to table `{}`", target.name())))
        });
        let progress = async {
            progress::Statements::prepare(&self.client)
                .await
                .map_err(Failure::to("use wasmill's own tables"))
        };
        let (tables, progress) = tokio::try_join!(try_join_all(tables), progress)?;
        self.statements = Some(Statements { progress, tables });
        Ok(())
    }

    /// What [`stage`](Self::stage) prepared.
    pub(super) fn statements(&self) -> &Statements {
        self.statements
            .as_ref()
            .expect("a session is staged before it is used to write")
    }

    async fn prepare(&self, target: &TableTarget, stage: &str) -> Result<Staged, Error> {
        let (copy, upsert) = (target.copy_sql(stage), target.upsert_sql(stage));
        let direct = target.direct_sql();
        let (copy, upsert, direct) = tokio::try_join!(
            self.client.prepare(&copy),
            self.client.prepare(&upsert),
            self.client.prepare(&direct)
        )?;
        Ok(Staged {
            copy,
            upsert,
            direct,
        })
    }

    /// Whether the connection is known to be lost.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Waits until the connection is lost, and returns why. Not to be called again after that.
    pub(super) async fn lost(&mut self) -> String {
        match (&mut self.driver.0).await {
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(())) | Err(_) => "the connection was closed".to_owned(),
        }
    }

    /// Closes the connection and returns what ended it, if it was not us.
    pub(super) async fn close(self) -> Option<Error> {
        let Self {
            client, mut driver, ..
        } = self;
        drop(client);
        match timeout(CLOSE_TIME_MAX, &mut driver.0).await {
            Ok(Ok(Err(error))) => Some(error),
            Ok(Ok(Ok(())) | Err(_)) | Err(_) => None,
        }
    }
}

/// A value of a row that the server sent.
///
/// # Errors
///
/// Where it has another type than ours, or is null: somebody changed wasmill's own tables.
pub(super) fn column<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, Failure> {
    row.try_get(index)
        .map_err(Failure::to("read wasmill's own tables"))
}

/// The same for a number that is never negative unless somebody changed it.
pub(super) fn unsigned(row: &Row, index: usize) -> Result<u64, Failure> {
    let value: i64 = column(row, index)?;
    u64::try_from(value).map_err(|_| {
        let name = row.columns()[index].name();
        Failure::permanent(format!(
            "wasmill's own tables have {value} as {name}: somebody changed it"
        ))
    })
}

/// The task that moves bytes; it ends with its session.
struct Driver(JoinHandle<Result<(), Error>>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Result<Server, SinkError> {
        Server::new("rows", "sales", &Secret::new(url.to_owned()))
    }

    #[test]
    fn a_server_is_shown_without_user_and_password() {
        let server = server("postgres://me:hunter2@db.example:5433/x").unwrap();
        assert_eq!(server.what(), "PostgreSQL at db.example:5433");
        let reason = server.silent("connect", Duration::from_secs(3)).to_string();
        assert!(!reason.contains("hunter2"), "{reason}");
    }

    #[test]
    fn no_url_is_quoted_whatever_is_wrong_with_it() {
        for url in [
            "postgres://me:hun@ter2@host/x",
            "postgres://me:hunter2@host:port/x",
            "postgres://me:hunter2@host/x?no_option=hunter2",
            "hunter2",
        ] {
            let message = server(url).unwrap_err().to_string();
            assert!(!message.contains("ter2"), "{message}");
            assert!(message.contains("sink `rows`"), "{message}");
        }
    }
}
