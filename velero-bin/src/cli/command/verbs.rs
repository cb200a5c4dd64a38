//! Commands that begin with what they do: `velero get backups`.

use anyhow::Result;

use crate::cli::backup::{CreateBackup, DeleteBackup, DescribeBackup, GetBackup};
use crate::cli::location::{
    CreateBackupLocation, CreateSnapshotLocation, DeleteBackupLocation, DeleteSnapshotLocation,
    GetBackupLocation, GetSnapshotLocation,
};
use crate::cli::plugin::GetPlugin;
use crate::cli::restore::{CreateRestore, DeleteRestore, DescribeRestore, GetRestore};
use crate::cli::schedule::{CreateSchedule, DeleteSchedule, DescribeSchedule, GetSchedule};
use crate::cli::{Environment, Exit};

/// `velero create ...`
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum CreateCommand {
    /// Create a backup
    Backup(Box<CreateBackup>),
    /// Create a restore
    Restore(Box<CreateRestore>),
    /// Create a schedule
    Schedule(Box<CreateSchedule>),
    /// Create a backup storage location
    BackupLocation(Box<CreateBackupLocation>),
    /// Create a volume snapshot location
    SnapshotLocation(Box<CreateSnapshotLocation>),
}

impl CreateCommand {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        match self {
            Self::Backup(args) => args.run(environment).await,
            Self::Restore(args) => args.run(environment).await,
            Self::Schedule(args) => args.run(environment).await,
            Self::BackupLocation(args) => args.run(environment).await,
            Self::SnapshotLocation(args) => args.run(environment).await,
        }
    }
}

/// `velero get ...`
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum GetCommand {
    /// List backups
    #[command(alias = "backup")]
    Backups(GetBackup),
    /// List restores
    #[command(alias = "restore")]
    Restores(GetRestore),
    /// List schedules
    #[command(alias = "schedule")]
    Schedules(GetSchedule),
    /// List backup storage locations
    #[command(alias = "backup-location")]
    BackupLocations(GetBackupLocation),
    /// List volume snapshot locations
    #[command(alias = "snapshot-location")]
    SnapshotLocations(GetSnapshotLocation),
    /// List the plugins and built-in actions of the server
    #[command(alias = "plugin")]
    Plugins(GetPlugin),
}

impl GetCommand {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        match self {
            Self::Backups(args) => args.run(environment).await,
            Self::Restores(args) => args.run(environment).await,
            Self::Schedules(args) => args.run(environment).await,
            Self::BackupLocations(args) => args.run(environment).await,
            Self::SnapshotLocations(args) => args.run(environment).await,
            Self::Plugins(args) => args.run(environment).await,
        }
    }
}

/// `velero describe ...`
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum DescribeCommand {
    /// Tell all about backups
    #[command(alias = "backup")]
    Backups(DescribeBackup),
    /// Tell all about restores
    #[command(alias = "restore")]
    Restores(DescribeRestore),
    /// Tell all about schedules
    #[command(alias = "schedule")]
    Schedules(DescribeSchedule),
}

impl DescribeCommand {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        match self {
            Self::Backups(args) => args.run(environment).await,
            Self::Restores(args) => args.run(environment).await,
            Self::Schedules(args) => args.run(environment).await,
        }
    }
}

/// `velero delete ...`
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum DeleteCommand {
    /// Delete backups with their data
    #[command(alias = "backups")]
    Backup(DeleteBackup),
    /// Delete restores; what they restored stays
    #[command(alias = "restores")]
    Restore(DeleteRestore),
    /// Delete schedules; backups stay unless a schedule owns them
    #[command(alias = "schedules")]
    Schedule(DeleteSchedule),
    /// Delete backup storage locations; what lies in them stays
    #[command(alias = "backup-locations")]
    BackupLocation(DeleteBackupLocation),
    /// Delete volume snapshot locations; snapshots stay
    #[command(alias = "snapshot-locations")]
    SnapshotLocation(DeleteSnapshotLocation),
}

impl DeleteCommand {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        match self {
            Self::Backup(args) => args.run(environment).await,
            Self::Restore(args) => args.run(environment).await,
            Self::Schedule(args) => args.run(environment).await,
            Self::BackupLocation(args) => args.run(environment).await,
            Self::SnapshotLocation(args) => args.run(environment).await,
        }
    }
}
