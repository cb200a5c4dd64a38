//! Commands about the places where backups and snapshots are kept.

mod backup_create;
mod backup_delete;
mod backup_get;
mod backup_set;
mod snapshot;
mod values;

pub(super) use backup_create::CreateBackupLocation;
pub(super) use backup_delete::DeleteBackupLocation;
pub(super) use backup_get::GetBackupLocation;
pub(super) use backup_set::SetBackupLocation;
pub(super) use snapshot::{
    CreateSnapshotLocation, DeleteSnapshotLocation, GetSnapshotLocation, SetSnapshotLocation,
};
