//! What a restore selects.

use velero_core::GroupResource;
use velero_core::filter::IncludesExcludes;

/// Kinds that a restore never touches, and that may not be asked for. The operator writes them into
/// `spec.excludedResources`. Mirrors upstream's `pkg/controller/restore_controller.go`.
pub const NEVER_RESTORED: [&str; 9] = [
    "nodes",
    "events",
    "events.events.k8s.io",
    "backups.velero.io",
    "restores.velero.io",
    "resticrepositories.velero.io",
    "csinodes.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
    "backuprepositories.velero.io",
];

/// Work orders and their traces: restored, they would be carried out a second time.
const WORK_ORDERS: [&str; 6] = [
    "deletebackuprequests.velero.io",
    "downloadrequests.velero.io",
    "serverstatusrequests.velero.io",
    "podvolumebackups.velero.io",
    "podvolumerestores.velero.io",
    "datadownloads.velero.io",
];

/// Whether objects of a resource are never restored.
pub(crate) fn is_never_restored(resource: &GroupResource) -> bool {
    let name = resource.to_string();
    NEVER_RESTORED.contains(&name.as_str()) || WORK_ORDERS.contains(&name.as_str())
}

/// Whether objects of a resource are only handed to actions: DataUploads, whose snapshots actions bring back. Filters do
/// not stop them, and they are never created.
pub(crate) fn is_data_upload(resource: &GroupResource) -> bool {
    resource.is("velero.io", "datauploads")
}

/// The filters of a restore, bound to what a cluster serves.
#[derive(Debug, Clone)]
pub(crate) struct Filters {
    pub(crate) resources: IncludesExcludes,
    pub(crate) namespaces: IncludesExcludes,
    pub(crate) cluster: Option<bool>,
    /// Kinds whose status is restored; none when absent.
    pub(crate) status: Option<IncludesExcludes>,
}

impl Filters {
    /// Whether cluster-scoped items are restored on their own account.
    pub(crate) fn collects_cluster_scope(&self) -> bool {
        self.cluster
            .unwrap_or_else(|| self.namespaces.includes_everything())
    }

    /// Whether the spec asks for the status of objects of a kind.
    pub(crate) fn restores_status(&self, resource: &GroupResource) -> bool {
        let status = self.status.as_ref();
        status.is_some_and(|status| status.should_include(&resource.to_string()))
    }

    /// Whether an item may come along that a selected one cannot do without: an include list that lacks its kind does
    /// not stop it, and neither do labels.
    pub(crate) fn brings(&self, resource: &GroupResource, namespace: &str) -> bool {
        self.in_scope(namespace)
            && !self.resources.excludes_name(&resource.to_string())
            && !is_never_restored(resource)
    }

    fn in_scope(&self, namespace: &str) -> bool {
        if namespace.is_empty() {
            self.cluster != Some(false)
        } else {
            self.namespaces.should_include(namespace)
        }
    }

    /// Whether an item is kept that an action or another item asks for.
    pub(crate) fn keeps_related(&self, resource: &GroupResource, namespace: &str) -> bool {
        is_data_upload(resource)
            || self.in_scope(namespace)
                && self.resources.should_include(&resource.to_string())
                && !is_never_restored(resource)
    }
}
