//! Measures the engines on a real control plane, and beside them the bare loops
//! that do the same work without filters, actions, plans and reports.
//!
//! Every measured thing runs in a process of its own, so that CPU time and peak
//! memory are its own: the bare loops are subcommands of this same binary.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod again;
mod list;
mod load;
mod machine;
mod measure;
mod operator;
mod others;
mod post;
mod report;
mod run;
mod verdict;
mod writes;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "velero-benches",
    about = "Measures backup and restore on a real control plane"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure and print a table.
    Run(run::Args),
    /// The bare POST loop; a child of `run`.
    #[command(hide = true)]
    Post(post::Args),
    /// The bare POST loop over what a restore has created; a child of `run`.
    #[command(hide = true)]
    PostAgain(again::Args),
    /// The bare LIST, tar and gzip loop; a child of `run`.
    #[command(hide = true)]
    List(list::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    // Two providers in one tree would make rustls refuse to choose; the first one installed stays.
    let _already_chosen = rustls::crypto::ring::default_provider().install_default();
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(args).await,
        Command::Post(args) => post::run(&args).await.map(|()| true),
        Command::PostAgain(args) => again::run(&args).await.map(|()| true),
        Command::List(args) => list::run(&args).await.map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        // Which threshold is broken has been printed.
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}
