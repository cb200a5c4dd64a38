//! Commands about backups.

mod create;
mod delete;
mod get;
mod show;

pub(super) use create::CreateBackup;
pub(super) use delete::DeleteBackup;
pub(super) use get::GetBackup;
pub(super) use get::{HEADINGS, backup_row};
pub(super) use show::{BackupLogs, DescribeBackup};
