//! `cargo xtask screen`: the picture of the view in the documentation, out of a real run.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::group;
use crate::workspace;

/// Where the picture is.
const PICTURE: &str = "docs/images/demo.svg";

/// `cargo xtask screen …`
#[derive(Args)]
pub(crate) struct Options {
    /// How long the demo runs before its picture is taken
    #[arg(long, value_name = "N", default_value_t = 120)]
    seconds: u64,
}

/// Runs the demo in a folder of its own and takes its picture.
pub(crate) fn run(options: &Options) -> Result<()> {
    let wasmill = super::build()?;
    let picture = workspace::root().join(PICTURE);
    if let Some(folder) = picture.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
    }
    let mut demo = Command::new(wasmill);
    demo.current_dir(workspace::root())
        .args(["demo", "--plain", "--fresh", "--data", "target/screen"])
        .args(["--seconds", &options.seconds.to_string()])
        .args(["--picture", PICTURE]);
    group::run(&mut demo)?;
    eprintln!("{PICTURE}: written");
    Ok(())
}
