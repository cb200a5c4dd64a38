//! The command line.

pub(crate) mod ages;
mod backup;
mod cancel;
mod certificates;
mod command;
mod config;
pub(crate) mod connect;
pub(crate) mod console;
mod data_flags;
mod delete;
mod describe;
mod download;
mod exit;
pub(crate) mod filters;
#[cfg(test)]
mod flag_table;
#[cfg(test)]
mod flag_types;
mod global;
mod grammar;
mod http;
mod listed;
mod location;
pub(crate) mod names;
mod objects;
pub(crate) mod output;
#[cfg(test)]
pub(crate) mod peer_flags;
mod plugin;
mod repo;
mod restore;
mod schedule;
mod select;
mod status;
pub(crate) mod table;
pub(crate) mod values;
mod version;
mod wait;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::FromArgMatches as _;
use clap::error::ErrorKind;

pub(crate) use connect::cluster;
pub use connect::{client, kube_config};
pub use exit::Exit;
pub use global::GlobalArgs;
pub(crate) use objects::explain;

use command::{Cli, Command};
use config::ConfigFile;

use crate::features::Features;

/// What every command is given.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    pub(crate) global: GlobalArgs,
    pub(crate) config: ConfigFile,
}

impl Environment {
    /// The namespace that Velero runs in.
    pub(crate) fn namespace(&self) -> String {
        self.global.velero_namespace(&self.config)
    }

    /// The features that the config file and the command line switch on.
    pub(crate) fn features(&self) -> Features {
        let named = self.global.features.iter().flat_map(|names| &names.0);
        Features::new(self.config.features.iter().chain(named))
    }

    /// Says which features change nothing.
    pub(crate) fn warn_about_features(&self) {
        for warning in self.features().warnings() {
            console::note(format_args!("warning: {warning}"));
        }
    }

    /// A client of the cluster for commands that ask and end.
    ///
    /// # Errors
    /// As [`client`].
    pub(crate) async fn client(&self) -> Result<kube::Client> {
        connect::impatient_client(&self.global).await
    }
}

/// Runs the command line that the process was given.
///
/// Exit codes: 0 when all went well, 1 on errors and on backups and restores that failed, 2 when one ended
/// `PartiallyFailed`.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match parse(args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let (config, warning) = ConfigFile::load();
    if let Some(warning) = warning {
        console::note(format_args!("warning: {warning}; it is taken as empty"));
    }
    warn_about_klog(&cli.global);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let environment = Environment {
        global: cli.global,
        config,
    };
    let outcome = runtime.block_on(dispatch(cli.command, environment));
    // Uploads that were given up clean up behind themselves on the runtime.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => failed(&error),
    }
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut command = grammar::command();
    let mut matches = command.try_get_matches_from_mut(&args)?;
    for (flag, count) in grammar::repeated_lists(&command, &args) {
        console::note(format_args!(
            "warning: --{flag} is given {count} times and the last one alone counts; one list with commas is needed"
        ));
    }
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

async fn dispatch(command: Command, environment: Environment) -> Result<Exit> {
    command.run(environment).await
}

fn usage(error: &clap::Error) -> ExitCode {
    let (shown, code) = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => (true, ExitCode::SUCCESS),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => (true, ExitCode::FAILURE),
        _ => (false, ExitCode::FAILURE),
    };
    if shown {
        // Nobody is left to be told when the terminal is gone.
        let _ = error.print();
    } else {
        let text = sentence(&error.to_string());
        console::note(format_args!("An error occurred: {text}"));
    }
    code
}

/// What is wrong with the flags, and a tip if there is one, in one line.
fn sentence(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        let line = line.trim_start_matches("error: ");
        if !out.is_empty() {
            out.push_str(if line.starts_with("tip: ") { "; " } else { " " });
        }
        out.push_str(line);
    }
    console::one_line(&out)
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let text = velero_core::result::chain(error.as_ref());
    console::note(format_args!(
        "An error occurred: {}",
        console::one_line(&text)
    ));
    ExitCode::FAILURE
}

fn warn_about_klog(global: &GlobalArgs) {
    let given = global.klog.given();
    if !given.is_empty() {
        console::note(format_args!(
            "warning: {} have no effect here; use RUST_LOG=debug for details",
            given.join(", ")
        ));
    }
}
