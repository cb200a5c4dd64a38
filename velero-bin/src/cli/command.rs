//! The tree of commands, in both word orders.

use anyhow::Result;
use velero_core::api::{Backup, Restore};

use super::backup::{BackupLogs, CreateBackup, DeleteBackup, DescribeBackup, GetBackup};
use super::cancel::CancelRun;
use super::restore::{
    CreateRestore, DeleteRestore, DescribeRestore, GetRestore, PlanRestore, RestoreLogs,
};
use super::version::Version;
use super::{Environment, Exit, GlobalArgs};
use crate::direct::Direct;
use crate::install::Install;
#[cfg(feature = "sandbox")]
use crate::sandbox::Sandbox;

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
    /// Create a backup or restore
    #[command(subcommand)]
    Create(CreateCommand),
    /// List backups or restores
    #[command(subcommand)]
    Get(GetCommand),
    /// Tell all about backups or restores
    #[command(subcommand)]
    Describe(DescribeCommand),
    /// Delete backups or restores
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

/// `velero backup ...`
#[derive(Debug, clap::Subcommand)]
pub(super) enum BackupCommand {
    /// Create a backup
    Create(Box<CreateBackup>),
    /// List backups
    Get(GetBackup),
    /// Tell all about backups
    Describe(DescribeBackup),
    /// Print the log of a backup
    Logs(BackupLogs),
    /// Delete backups with their data
    Delete(DeleteBackup),
    /// End backups that are under way, or wait in the queue
    Cancel(CancelRun<Backup>),
}

/// `velero restore ...`
#[derive(Debug, clap::Subcommand)]
pub(super) enum RestoreCommand {
    /// Create a restore
    Create(Box<CreateRestore>),
    /// Say what a restore would do with each object, and change nothing
    Plan(Box<PlanRestore>),
    /// List restores
    Get(GetRestore),
    /// Tell all about restores
    Describe(DescribeRestore),
    /// Print the log of a restore
    Logs(RestoreLogs),
    /// Delete restores; what they restored stays
    Delete(DeleteRestore),
    /// End restores that are under way; what they restored stays
    Cancel(CancelRun<Restore>),
}

/// `velero create ...`
#[derive(Debug, clap::Subcommand)]
pub(super) enum CreateCommand {
    /// Create a backup
    Backup(Box<CreateBackup>),
    /// Create a restore
    Restore(Box<CreateRestore>),
}

/// `velero get ...`
#[derive(Debug, clap::Subcommand)]
pub(super) enum GetCommand {
    /// List backups
    #[command(alias = "backup")]
    Backups(GetBackup),
    /// List restores
    #[command(alias = "restore")]
    Restores(GetRestore),
}

/// `velero describe ...`
#[derive(Debug, clap::Subcommand)]
pub(super) enum DescribeCommand {
    /// Tell all about backups
    #[command(alias = "backup")]
    Backups(DescribeBackup),
    /// Tell all about restores
    #[command(alias = "restore")]
    Restores(DescribeRestore),
}

/// `velero delete ...`
#[derive(Debug, clap::Subcommand)]
pub(super) enum DeleteCommand {
    /// Delete backups with their data
    #[command(alias = "backups")]
    Backup(DeleteBackup),
    /// Delete restores; what they restored stays
    #[command(alias = "restores")]
    Restore(DeleteRestore),
}

impl Command {
    /// Runs the command.
    pub(super) async fn run(self, environment: Environment) -> Result<Exit> {
        use BackupCommand as B;
        use RestoreCommand as R;
        let environment = &environment;
        match self {
            Self::Backup(B::Create(args)) | Self::Create(CreateCommand::Backup(args)) => {
                args.run(environment).await
            }
            Self::Backup(B::Get(args)) | Self::Get(GetCommand::Backups(args)) => {
                args.run(environment).await
            }
            Self::Backup(B::Describe(args)) | Self::Describe(DescribeCommand::Backups(args)) => {
                args.run(environment).await
            }
            Self::Backup(B::Logs(args)) => args.run(environment).await,
            Self::Backup(B::Cancel(args)) => args.run(environment).await,
            Self::Restore(R::Cancel(args)) => args.run(environment).await,
            Self::Backup(B::Delete(args)) | Self::Delete(DeleteCommand::Backup(args)) => {
                args.run(environment).await
            }
            Self::Restore(R::Create(args)) | Self::Create(CreateCommand::Restore(args)) => {
                args.run(environment).await
            }
            Self::Restore(R::Plan(args)) => args.run(environment).await,
            Self::Restore(R::Get(args)) | Self::Get(GetCommand::Restores(args)) => {
                args.run(environment).await
            }
            Self::Restore(R::Describe(args)) | Self::Describe(DescribeCommand::Restores(args)) => {
                args.run(environment).await
            }
            Self::Restore(R::Logs(args)) => args.run(environment).await,
            Self::Restore(R::Delete(args)) | Self::Delete(DeleteCommand::Restore(args)) => {
                args.run(environment).await
            }
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
