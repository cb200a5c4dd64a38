//! Backups that are in a store and not in the cluster, and the reverse.
//!
//! Mirrors `pkg/controller/backup_sync_controller.go`, narrow: Backups and their PodVolumeBackups. A location is also
//! looked into as soon as it becomes available, not only when its period is over.

mod decide;
mod import;
mod task;

pub(super) use task::run;
