//! Commands about backups.

mod content;
mod create;
mod delete;
mod download;
mod get;
mod show;

pub(super) use content::{ContentArgs, check_locations};
pub(super) use create::CreateBackup;
pub(super) use delete::DeleteBackup;
pub(super) use download::DownloadBackup;
pub(super) use get::GetBackup;
pub(super) use show::{BackupLogs, DescribeBackup};
