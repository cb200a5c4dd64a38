//! `cargo xtask`: the chores of this workspace.
//!
//! Light on purpose: it starts `cargo` and the binaries of the workspace and
//! depends on nothing else of it, so that it is built in seconds.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod cargo;
mod crds;
mod e2e;
mod merge_keys;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Chores of the velero-rs workspace")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run end-to-end scenarios against a real control plane.
    E2e(e2e::Args),
    /// Measure the engines and the bare loops beside them.
    Bench(bench::Args),
    /// Write the CustomResourceDefinitions in velero-core/crds.
    Crds(crds::Args),
    /// Write the table that strategic merge patches work from, velero-core/src/modifier/types.txt.
    MergeKeys(merge_keys::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::E2e(args) => e2e::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Crds(args) => crds::run(&args),
        Command::MergeKeys(args) => merge_keys::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}
