//! What came of a restore.

use std::collections::BTreeMap;
use std::fmt;

use velero_core::api::{HookStatus, RestorePhase};
use velero_core::artifact::{RestoreItemOperation, RestoreVolumeInfo};
use velero_core::plan::ExclusionReason;
use velero_core::result::{Record, ResourceList, Severity, count};
use velero_core::{GroupResource, ResourceIdentifier};

use crate::operations::phase_after_items;
use crate::{NewVolume, RunningHooks};

/// What happened to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ItemAction {
    /// The object was created.
    Created,
    /// An object that was there was changed.
    Updated,
    /// Nothing had to be done.
    Skipped,
    /// An object that the backup does not have was deleted.
    Deleted,
    /// The object is not there, or not as the archive has it.
    Failed,
}

impl fmt::Display for ItemAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Skipped => "skipped",
            Self::Deleted => "deleted",
            Self::Failed => "failed",
        })
    }
}

/// How many items came to which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Items taken up, additional ones and created namespaces among them, and those that nobody can take up: of kinds that are
    /// not served, and entries that are no objects. With those left out it is all that the archive holds, but for namespaces
    /// that were there already.
    pub total: u64,
    /// Objects created.
    pub created: u64,
    /// Objects changed.
    pub updated: u64,
    /// Items for which nothing had to be done.
    pub skipped: u64,
    /// Objects deleted that the backup does not have.
    pub deleted: u64,
    /// Items that are not in the cluster as the archive has them, and objects that could not be deleted.
    pub failed: u64,
    /// Of `failed`: those that only warnings are about, because an object of the cluster differs and was left as it was.
    pub left: u64,
}

impl Counts {
    /// Items that were taken up and brought to an end, well or not: `status.progress.itemsRestored`.
    pub fn restored(&self) -> u64 {
        self.created + self.updated + self.skipped + self.deleted + self.failed
    }

    pub(crate) fn add(&mut self, action: ItemAction) {
        self.total += 1;
        match action {
            ItemAction::Created => self.created += 1,
            ItemAction::Updated => self.updated += 1,
            ItemAction::Skipped => self.skipped += 1,
            ItemAction::Deleted => self.deleted += 1,
            ItemAction::Failed => self.failed += 1,
        }
    }
}

/// What became of owner references, where objects get their owners again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OwnerCounts {
    /// References that objects were created with.
    pub linked: u64,
    /// Objects that a patch has linked after their creation, because an owner came later.
    pub linked_later: u64,
    /// References that controllers of Kubernetes set by themselves.
    pub left: u64,
    /// References that were left out because their owner is not there.
    pub dropped: u64,
}

/// What came of a restore.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RestoreResult {
    /// Counts of items.
    pub counts: Counts,
    /// Warnings and errors, in the order they came.
    pub records: Vec<Record>,
    /// Items by kind, as `namespace/name(action)`.
    pub resource_list: ResourceList,
    /// How many items the plan left out, by kind and reason.
    pub excluded: BTreeMap<(GroupResource, ExclusionReason), u64>,
    /// Claims that this restore created, in the target namespaces.
    pub created_claims: Vec<ResourceIdentifier>,
    /// Volumes whose data came back, sorted by name: the content of `<restore>-volumeinfo.json.gz`.
    pub volumes: Vec<RestoreVolumeInfo>,
    /// What volumes are to have that were made anew for those claims; [`NewVolumes`](crate::NewVolumes) gives it to them.
    pub new_volumes: Vec<NewVolume>,
    /// What actions have started and left running, in the order it was started.
    pub operations: Vec<RestoreItemOperation>,
    /// How many commands of hooks there are in restored pods, and how many of them have failed.
    pub hooks: HookStatus,
    /// What became of owner references; nothing unless they were asked for.
    pub owners: OwnerCounts,
    /// Whether the run was cancelled before its end.
    pub cancelled: bool,
}

impl RestoreResult {
    /// How many warnings there are.
    pub fn warnings(&self) -> usize {
        count(&self.records, Severity::Warning)
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        count(&self.records, Severity::Error)
    }

    /// Takes in what is known of hooks by now.
    pub fn take_hooks(&mut self, hooks: &RunningHooks) {
        self.hooks = hooks.counts();
        self.records.extend(hooks.take_records());
    }

    /// The phase of a restore whose hooks have ended: `Failed` when cancelled, a waiting one with operations that have not
    /// ended, `PartiallyFailed` with errors, else `Completed`.
    pub fn phase(&self) -> RestorePhase {
        if self.cancelled {
            RestorePhase::Failed
        } else {
            phase_after_items(&self.operations, 0, self.errors() > 0)
        }
    }
}
