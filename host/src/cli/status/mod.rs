//! `wasmill status`: asks a running pipeline how it is. The health check of a container, too. With
//! `--row` it asks the databases instead, which version made a row.

mod row;
mod show;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::ask;
use super::target::Target;
use crate::status::{Phase, Status};

/// Between two questions of `--wait`.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// What `wasmill status` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  wasmill status pipeline.toml --wait 60\n  \
                  wasmill status --admin 127.0.0.1:8080 --json\n  \
                  wasmill status pipeline.toml --row sales_per_day 2024-05-01\n\n\
                  Exit codes: 0 ready (or the row is there), 1 not ready or not reachable (or no such row), \
                  2 wrong command line")]
pub(super) struct Args {
    /// The pipeline that runs; its `[admin]` says where to ask
    #[arg(default_value = "pipeline.toml")]
    pipeline: PathBuf,

    /// Where to ask, without reading the pipeline
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,

    /// Print the status as JSON
    #[arg(long)]
    json: bool,

    /// Ask again for so long, until it is ready
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u32,

    /// Ask the databases which version made a row: a table and the values of its key in order, or an index
    /// and an `_id`. Put it last; the pipeline need not run
    #[arg(
        long,
        num_args = 2..,
        value_names = ["TABLE", "KEY"],
        allow_negative_numbers = true,
        conflicts_with_all = ["admin", "wait"]
    )]
    row: Vec<String>,

    /// Of this sink, where several have a table or an index of the name
    #[arg(long, requires = "row")]
    sink: Option<String>,
}

/// Prints the status to stdout.
///
/// # Errors
///
/// When it is not ready, or nobody answers; the message names the address and what to do. Where a row is
/// asked for: when there is none.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    if let [name, key @ ..] = &args.row[..] {
        let wanted = row::Wanted {
            sink: args.sink.as_deref(),
            name,
            key,
        };
        return row::run(&args.pipeline, &wanted, args.json);
    }
    let target = Target::find(&args.pipeline, args.admin)?;
    let deadline = Instant::now() + Duration::from_secs(args.wait.into());
    loop {
        let asked = ask::status(target.address);
        let ready = asked
            .as_ref()
            .is_ok_and(|status| status.is_ready() && target.is_meant(status));
        if ready || Instant::now() >= deadline {
            let status = asked?;
            print(&status, args.json)?;
            return judge(&target, &status);
        }
        thread::sleep(ASK_AGAIN);
    }
}

fn print(status: &Status, json: bool) -> anyhow::Result<()> {
    let text = if json {
        serde_json::to_string_pretty(status)? + "\n"
    } else {
        show::text(status)
    };
    super::terminal::print(&text)
}

fn judge(target: &Target, status: &Status) -> anyhow::Result<()> {
    target.is_right(status)?;
    if let Some(waiting) = status.waiting_for.first() {
        bail!(
            "not ready: waiting for {} for {}",
            show::plain(&waiting.part),
            show::time(waiting.since)
        );
    }
    match status.phase {
        Phase::Running => Ok(()),
        Phase::Starting => bail!("not ready: it is starting"),
        Phase::Stopping => bail!("not ready: it is stopping"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Waiting;

    fn judged(status: &Status) -> Result<(), String> {
        let target = Target {
            address: ([127, 0, 0, 1], 8080).into(),
            pipeline: Some("shop".into()),
            token: None,
        };
        judge(&target, status).map_err(|error| error.to_string())
    }

    #[test]
    fn only_the_right_pipeline_that_runs_and_waits_for_nobody_is_ready() {
        let mut status = Status {
            pipeline: "shop".into(),
            phase: Phase::Running,
            ..Status::default()
        };
        assert_eq!(judged(&status), Ok(()));
        status.phase = Phase::Stopping;
        assert_eq!(judged(&status).unwrap_err(), "not ready: it is stopping");
        status.waiting_for.push(Waiting {
            part: "db".into(),
            reason: "refused".into(),
            since: Duration::from_secs(75),
            holds_up: true,
        });
        assert_eq!(
            judged(&status).unwrap_err(),
            "not ready: waiting for db for 1 min 15 s"
        );
        status.pipeline = "other".into();
        let error = judged(&status).unwrap_err();
        assert!(error.contains("`other`, not for `shop`"), "{error}");
    }
}
