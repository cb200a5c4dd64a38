//! `cargo xtask e2e`: builds `velero` and runs the named scenarios.

use std::path::PathBuf;

use anyhow::Result;

use crate::cargo::{self, Profile};

/// Arguments of `cargo xtask e2e`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Scenarios to run; all of them when none is named.
    names: Vec<String>,
    /// List the scenarios and stop.
    #[arg(long)]
    list: bool,
    /// Run the scenarios of the gate only, in their short form.
    #[arg(long)]
    smoke: bool,
    /// Build with the release profile.
    #[arg(long)]
    release: bool,
    /// Use this `velero` binary and build none.
    #[arg(long, value_name = "PATH")]
    velero: Option<PathBuf>,
    /// Seed of random choices (kill points, order); printed with the results.
    #[arg(long)]
    seed: Option<u64>,
    /// Keep the folders of the control planes for a look afterwards.
    #[arg(long)]
    keep: bool,
}

/// Runs the scenarios; a failed one ends this process with exit code 1.
pub(crate) fn run(args: &Args) -> Result<()> {
    let (runner, velero) = binaries(args)?;
    let mut command = cargo::runner(runner);
    if args.list {
        command.arg("--list");
        return cargo::run_or_exit(&mut command);
    }
    command.arg("--velero").arg(velero);
    if let Some(seed) = args.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if args.smoke {
        command.arg("--smoke");
    }
    if args.keep {
        command.arg("--keep");
    }
    command.args(&args.names);
    cargo::run_or_exit(&mut command)
}

/// The program that runs scenarios, and the one that they are about.
fn binaries(args: &Args) -> Result<(PathBuf, PathBuf)> {
    const RUNNER: cargo::Binary = ("velero-e2e", "velero-e2e");
    const VELERO: cargo::Binary = ("velero-bin", "velero");
    if let Some(velero) = &args.velero {
        let [runner] = cargo::build([RUNNER], Profile::Dev)?;
        return Ok((runner, velero.clone()));
    }
    if args.release {
        let [velero] = cargo::build([VELERO], Profile::Release)?;
        let [runner] = cargo::build([RUNNER], Profile::Dev)?;
        return Ok((runner, velero));
    }
    let [runner, velero] = cargo::build([RUNNER, VELERO], Profile::Dev)?;
    Ok((runner, velero))
}
