//! Commands that begin with what they are about: `velero backup get`.

use anyhow::Result;
use velero_core::api::{Backup, Restore};

use crate::cli::backup::{
    BackupLogs, CreateBackup, DeleteBackup, DescribeBackup, DownloadBackup, GetBackup,
};
use crate::cli::cancel::CancelRun;
use crate::cli::location::{
    CreateBackupLocation, CreateSnapshotLocation, DeleteBackupLocation, DeleteSnapshotLocation,
    GetBackupLocation, GetSnapshotLocation, SetBackupLocation, SetSnapshotLocation,
};
use crate::cli::plugin::GetPlugin;
use crate::cli::repo::GetRepository;
use crate::cli::restore::{
    CreateRestore, DeleteRestore, DescribeRestore, GetRestore, PlanRestore, RestoreLogs,
};
use crate::cli::schedule::{
    CreateSchedule, DeleteSchedule, DescribeSchedule, GetSchedule, PauseSchedule, UnpauseSchedule,
};
use crate::cli::{Environment, Exit};

/// `velero backup ...`
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum BackupCommand {
    /// Create a backup
    Create(Box<CreateBackup>),
    /// List backups
    Get(GetBackup),
    /// Tell all about backups
    Describe(DescribeBackup),
    /// Print the log of a backup
    Logs(BackupLogs),
    /// Fetch the archive of a backup into a file
    Download(DownloadBackup),
    /// Delete backups with their data
    Delete(DeleteBackup),
    /// End backups that are under way, or wait in the queue
    Cancel(CancelRun<Backup>),
}

impl BackupCommand {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        match self {
            Self::Create(args) => args.run(environment).await,
            Self::Get(args) => args.run(environment).await,
            Self::Describe(args) => args.run(environment).await,
            Self::Logs(args) => args.run(environment).await,
            Self::Download(args) => args.run(environment).await,
            Self::Delete(args) => args.run(environment).await,
            Self::Cancel(args) => args.run(environment).await,
        }
    }
}

/// `velero restore ...`
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum RestoreCommand {
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

impl RestoreCommand {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        match self {
            Self::Create(args) => args.run(environment).await,
            Self::Plan(args) => args.run(environment).await,
            Self::Get(args) => args.run(environment).await,
            Self::Describe(args) => args.run(environment).await,
            Self::Logs(args) => args.run(environment).await,
            Self::Delete(args) => args.run(environment).await,
            Self::Cancel(args) => args.run(environment).await,
        }
    }
}

/// `velero schedule ...`
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum ScheduleCommand {
    /// Create a schedule
    Create(Box<CreateSchedule>),
    /// List schedules
    Get(GetSchedule),
    /// Tell all about schedules
    Describe(DescribeSchedule),
    /// Make no backups of schedules until they are unpaused
    Pause(PauseSchedule),
    /// Make backups of paused schedules again
    Unpause(UnpauseSchedule),
    /// Delete schedules; backups stay unless a schedule owns them
    Delete(DeleteSchedule),
}

impl ScheduleCommand {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        match self {
            Self::Create(args) => args.run(environment).await,
            Self::Get(args) => args.run(environment).await,
            Self::Describe(args) => args.run(environment).await,
            Self::Pause(args) => args.run(environment).await,
            Self::Unpause(args) => args.run(environment).await,
            Self::Delete(args) => args.run(environment).await,
        }
    }
}

/// `velero backup-location ...`
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum BackupLocationCommand {
    /// Create a backup storage location
    Create(Box<CreateBackupLocation>),
    /// List backup storage locations
    Get(GetBackupLocation),
    /// Change a backup storage location
    Set(SetBackupLocation),
    /// Delete backup storage locations; what lies in them stays
    Delete(DeleteBackupLocation),
}

impl BackupLocationCommand {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        match self {
            Self::Create(args) => args.run(environment).await,
            Self::Get(args) => args.run(environment).await,
            Self::Set(args) => args.run(environment).await,
            Self::Delete(args) => args.run(environment).await,
        }
    }
}

/// `velero snapshot-location ...`
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum SnapshotLocationCommand {
    /// Create a volume snapshot location
    Create(Box<CreateSnapshotLocation>),
    /// List volume snapshot locations
    Get(GetSnapshotLocation),
    /// Change a volume snapshot location
    Set(SetSnapshotLocation),
    /// Delete volume snapshot locations; snapshots stay
    Delete(DeleteSnapshotLocation),
}

impl SnapshotLocationCommand {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        match self {
            Self::Create(args) => args.run(environment).await,
            Self::Get(args) => args.run(environment).await,
            Self::Set(args) => args.run(environment).await,
            Self::Delete(args) => args.run(environment).await,
        }
    }
}

/// `velero repo ...`
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum RepoCommand {
    /// List the repositories of volume data
    Get(GetRepository),
}

impl RepoCommand {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        match self {
            Self::Get(args) => args.run(environment).await,
        }
    }
}

/// `velero plugin ...`
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum PluginCommand {
    /// List the plugins and built-in actions of the server
    Get(GetPlugin),
}

impl PluginCommand {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        match self {
            Self::Get(args) => args.run(environment).await,
        }
    }
}
