//! Runs end-to-end scenarios by name; `cargo xtask e2e` builds what it needs and calls it.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use velero_e2e::{Assets, RunOptions, Scenario, all_scenarios, run_scenarios};

#[derive(Debug, Parser)]
#[command(
    name = "velero-e2e",
    about = "End-to-end scenarios on a real control plane"
)]
struct Cli {
    /// Scenarios to run; all of them when none is named.
    names: Vec<String>,
    /// List the scenarios and stop.
    #[arg(long)]
    list: bool,
    /// Run the scenarios of the gate only, in their short form.
    #[arg(long)]
    smoke: bool,
    /// Path of the `velero` binary under test.
    #[arg(long)]
    velero: Option<PathBuf>,
    /// Seed of random choices; the time when absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Run only this part of a scenario that has parts (a round of plan-matrix); may be given several times.
    #[arg(long = "part", value_name = "NAME")]
    parts: Vec<String>,
    /// Keep the folders of the control planes.
    #[arg(long)]
    keep: bool,
    /// Only find or build the binaries of the control plane, and print where they are.
    #[arg(long)]
    build_only: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    // Two providers in one tree would make rustls refuse to choose; the first one installed stays.
    let _already_chosen = rustls::crypto::ring::default_provider().install_default();
    // Interrupted runs drop their control planes, which ends the processes.
    let result = tokio::select! {
        result = run(Cli::parse()) => result,
        signal = stopped() => signal.and_then(|name| bail!("stopped by {name}")),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether all scenarios held.
async fn run(cli: Cli) -> Result<bool> {
    if cli.build_only {
        let assets = tokio::task::spawn_blocking(Assets::find_or_build).await??;
        println!("{}", assets.dir().display());
        return Ok(true);
    }
    if cli.list {
        for scenario in all_scenarios() {
            println!("{:<28} {}", scenario.name, scenario.about);
        }
        return Ok(true);
    }
    let chosen = choose(&cli.names, cli.smoke)?;
    let options = RunOptions {
        velero: cli.velero,
        seed: cli.seed.unwrap_or_else(now),
        keep: cli.keep,
        smoke: cli.smoke,
        parts: cli.parts,
    };
    let summary = run_scenarios(&chosen, &options).await?;
    Ok(summary.failed == 0)
}

async fn stopped() -> Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => Ok(result.map(|()| "SIGINT")?),
        _ = terminate.recv() => Ok("SIGTERM"),
    }
}

fn choose(names: &[String], smoke: bool) -> Result<Vec<Scenario>> {
    let mut all = all_scenarios();
    if names.is_empty() {
        all.retain(|scenario| scenario.smoke || !smoke);
        return Ok(all);
    }
    names
        .iter()
        .map(
            |name| match all.iter().find(|scenario| scenario.name == name) {
                Some(scenario) => Ok(*scenario),
                None => {
                    let known: Vec<_> = all.iter().map(|scenario| scenario.name).collect();
                    bail!(
                        "no scenario is called {name:?}; there are: {}",
                        known.join(", ")
                    )
                }
            },
        )
        .collect()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
