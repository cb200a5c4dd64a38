//! What came of a restore.

use std::collections::BTreeMap;
use std::fmt;

use velero_core::api::RestorePhase;
use velero_core::plan::ExclusionReason;
use velero_core::result::{Record, ResourceList, Severity, count};
use velero_core::{GroupResource, ResourceIdentifier};

/// What happened to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ItemAction {
    /// The object was created.
    Created,
    /// An object that was there was changed.
    Updated,
    /// Nothing had to be done.
    Skipped,
    /// The object is not there, or not as the archive has it.
    Failed,
}

impl fmt::Display for ItemAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        })
    }
}

/// How many items came to which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Items taken up, additional ones and created namespaces among them.
    pub total: u64,
    /// Objects created.
    pub created: u64,
    /// Objects changed.
    pub updated: u64,
    /// Items for which nothing had to be done.
    pub skipped: u64,
    /// Items that are not in the cluster as the archive has them.
    pub failed: u64,
    /// Of `failed`: those that only warnings are about, because an object of the cluster differs and was left as it was.
    pub left: u64,
}

impl Counts {
    /// Items that were taken up and brought to an end, well or not: `status.progress.itemsRestored`.
    pub fn restored(&self) -> u64 {
        self.created + self.updated + self.skipped + self.failed
    }

    pub(crate) fn add(&mut self, action: ItemAction) {
        self.total += 1;
        match action {
            ItemAction::Created => self.created += 1,
            ItemAction::Updated => self.updated += 1,
            ItemAction::Skipped => self.skipped += 1,
            ItemAction::Failed => self.failed += 1,
        }
    }
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

    /// The phase that a restore ends in which waits for nothing more: `Failed` when cancelled, `PartiallyFailed` with
    /// errors, else `Completed`.
    pub fn phase(&self) -> RestorePhase {
        if self.cancelled {
            RestorePhase::Failed
        } else if self.errors() > 0 {
            RestorePhase::PartiallyFailed
        } else {
            RestorePhase::Completed
        }
    }
}
