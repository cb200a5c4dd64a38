//! The tree of commands, in both word orders.

mod nouns;
mod verbs;

use anyhow::Result;

use super::version::Version;
use super::{Environment, Exit, GlobalArgs};
use crate::direct::Direct;
use crate::install::Install;
#[cfg(feature = "sandbox")]
use crate::sandbox::Sandbox;

pub(super) use nouns::{
    BackupCommand, BackupLocationCommand, PluginCommand, RepoCommand, RestoreCommand,
    ScheduleCommand, SnapshotLocationCommand,
};
use verbs::{CreateCommand, DeleteCommand, DescribeCommand, GetCommand};

/// Back up and restore Kubernetes clusters.
#[derive(Debug, clap::Parser)]
#[command(
    name = "velero",
    version,
    args_override_self = true,
    max_term_width = 120
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: GlobalArgs,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Commands at the top.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Work with backups
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Work with restores
    #[command(subcommand)]
    Restore(RestoreCommand),
    /// Work with schedules, by which backups are made again and again
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Work with backup storage locations
    #[command(subcommand)]
    BackupLocation(BackupLocationCommand),
    /// Work with volume snapshot locations
    #[command(subcommand)]
    SnapshotLocation(SnapshotLocationCommand),
    /// Work with the repositories of volume data
    #[command(subcommand)]
    Repo(RepoCommand),
    /// Work with plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Create an object
    #[command(subcommand)]
    Create(CreateCommand),
    /// List objects
    #[command(subcommand)]
    Get(GetCommand),
    /// Tell all about objects
    #[command(subcommand)]
    Describe(DescribeCommand),
    /// Delete objects
    #[command(subcommand)]
    Delete(DeleteCommand),
    /// Back up and restore without anything installed in the cluster
    #[command(subcommand)]
    Direct(Direct),
    /// Try it out: an API server in this process, with a sample application
    #[cfg(feature = "sandbox")]
    Sandbox(Sandbox),
    /// Install the CustomResourceDefinitions
    Install(Install),
    /// Tell the versions of client and server
    Version(Version),
    /// Run the operator
    #[command(hide = true)]
    Server(Box<crate::server::ServerArgs>),
}

impl Command {
    /// Runs the command.
    pub(super) async fn run(self, environment: Environment) -> Result<Exit> {
        let environment = &environment;
        match self {
            Self::Backup(command) => command.run(environment).await,
            Self::Restore(command) => command.run(environment).await,
            Self::Schedule(command) => command.run(environment).await,
            Self::BackupLocation(command) => command.run(environment).await,
            Self::SnapshotLocation(command) => command.run(environment).await,
            Self::Repo(command) => command.run(environment).await,
            Self::Plugin(command) => command.run(environment).await,
            Self::Create(command) => command.run(environment).await,
            Self::Get(command) => command.run(environment).await,
            Self::Describe(command) => command.run(environment).await,
            Self::Delete(command) => command.run(environment).await,
            Self::Direct(command) => command.run(environment).await,
            #[cfg(feature = "sandbox")]
            Self::Sandbox(command) => command.run(environment).await,
            Self::Install(args) => args.run(environment).await,
            Self::Version(args) => args.run(environment).await,
            Self::Server(args) => {
                let client = super::client(&environment.global, "").await?;
                let features = environment.features();
                crate::server::run(*args, client, &environment.namespace(), features).await?;
                Ok(Exit::Success)
            }
        }
    }
}
