//! `cargo xtask bench`: builds with the release profile and measures.

use anyhow::Result;

use crate::cargo::{self, Profile};

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How much to measure with, separated by commas: `5k`, `10k`, `15k`, `100k`, `300k` ConfigMaps, some of them `big`,
    /// many `crds`, or `mixed` kinds.
    #[arg(long, default_value = "15k")]
    size: String,
    /// Parts to run, separated by commas: `post`, `list`, `backup`, `restore`, and `others`, which only runs when
    /// it is named.
    #[arg(long)]
    only: Option<String>,
    /// Build with the dev profile; the figures are then no figures.
    #[arg(long)]
    dev: bool,
    /// Do not append to `benches/results.jsonl`.
    #[arg(long)]
    no_record: bool,
    /// Further arguments for the measuring program, after `--`.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Builds what is needed and runs the measuring program; a broken threshold ends this process with exit code 1.
pub(crate) fn run(args: &Args) -> Result<()> {
    let profile = Profile::release(!args.dev);
    let [runner, velero] = cargo::build(
        [
            ("velero-benches", "velero-benches"),
            ("velero-bin", "velero"),
        ],
        profile,
    )?;
    let mut command = cargo::runner(runner);
    command.args(["run", "--size", &args.size]);
    if let Some(only) = &args.only {
        command.args(["--only", only]);
    }
    command.arg("--velero").arg(velero);
    if args.no_record || args.dev {
        command.arg("--no-record");
    }
    command.args(&args.rest);
    cargo::run_or_exit(&mut command)
}
