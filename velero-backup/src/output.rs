//! What a run brings, while it goes on.

use std::collections::BTreeSet;

use velero_core::api::HookStatus;
use velero_core::artifact::BackupItemOperation;
use velero_core::result::{Record, ResourceList};
use velero_core::{GroupResource, ProgressUpdate, Timestamp};

use crate::coverage::Tracker;
use crate::volume::VolumeOutcome;
use crate::{BackupResult, FinalizeResult};

/// What a run has brought so far.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) records: Vec<Record>,
    pub(crate) resource_list: ResourceList,
    pub(crate) stored_resources: BTreeSet<GroupResource>,
    pub(crate) volumes: VolumeOutcome,
    pub(crate) counts: ProgressUpdate,
    pub(crate) coverage: Tracker,
    pub(crate) operations: Vec<BackupItemOperation>,
    pub(crate) hooks: HookStatus,
}

impl Output {
    /// Notes a record and logs it.
    pub(crate) fn record(&mut self, record: Record) {
        record.log();
        self.records.push(record);
    }

    pub(crate) fn into_finalized(self, archive_bytes: u64, completed: Timestamp) -> FinalizeResult {
        FinalizeResult {
            stored: self.counts.done,
            records: self.records,
            resource_list: self.resource_list,
            archive_bytes,
            completed,
        }
    }

    /// How many items are in the archive.
    pub(crate) fn stored(&self) -> u64 {
        self.counts.done
    }

    pub(crate) fn into_result(
        self,
        archive_bytes: u64,
        started: Timestamp,
        completed: Timestamp,
    ) -> BackupResult {
        let coverage = self.coverage.finish();
        coverage.log();
        BackupResult {
            coverage,
            total: self.counts.total,
            backed_up: self.counts.done,
            records: self.records,
            resource_list: self.resource_list,
            volume_infos: self.volumes.infos,
            native_snapshots: self.volumes.snapshots,
            pod_volume_backups: self.volumes.copies,
            item_operations: self.operations,
            hook_status: self.hooks,
            archive_bytes,
            started,
            completed,
        }
    }
}
