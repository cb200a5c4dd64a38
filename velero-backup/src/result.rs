//! What came of a backup.

use velero_core::Timestamp;
use velero_core::api::HookStatus;
use velero_core::api::PodVolumeBackup;
use velero_core::artifact::{BackupItemOperation, VolumeInfo};
use velero_core::result::{Record, ResourceList, Severity, count};
use velero_core::volume::NativeSnapshot;

use crate::Coverage;

/// What came of a backup that ran to its end. It may still have errors: look at [`BackupResult::errors`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BackupResult {
    /// Items that belong in the backup.
    pub total: u64,
    /// Items that are in the archive.
    pub backed_up: u64,
    /// What went wrong, in the order it happened.
    pub records: Vec<Record>,
    /// The items in the archive, by kind.
    pub resource_list: ResourceList,
    /// The volumes whose objects are in the archive, and what became of their data.
    pub volume_infos: Vec<VolumeInfo>,
    /// Native snapshots that were tried.
    pub native_snapshots: Vec<NativeSnapshot>,
    /// Copies of the files of pod volumes that were begun.
    pub pod_volume_backups: Vec<PodVolumeBackup>,
    /// Operations that actions have left running: see [`BackupEngine::poll_operations`](crate::BackupEngine::poll_operations).
    pub item_operations: Vec<BackupItemOperation>,
    /// Hooks that were to run, and those that failed.
    pub hook_status: HookStatus,
    /// What became of the objects of each kind.
    pub coverage: Coverage,
    /// Size of the archive in bytes.
    pub archive_bytes: u64,
    /// When the backup started.
    pub started: Timestamp,
    /// When the archive was complete.
    pub completed: Timestamp,
}

impl BackupResult {
    /// How many errors there are. A backup with errors is `PartiallyFailed`.
    pub fn errors(&self) -> usize {
        count(&self.records, Severity::Error)
    }

    /// How many warnings there are.
    pub fn warnings(&self) -> usize {
        count(&self.records, Severity::Warning)
    }
}
