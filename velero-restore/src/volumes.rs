//! What becomes of a PersistentVolume, and of the claim that names it.

use velero_core::ItemTree;
use velero_core::artifact::VolumeInfo;

use crate::index::{ArchiveIndex, Facts};
use crate::request::RestoreRequest;
use crate::reset::reset_binding;
use velero_core::GroupResource;

/// What a restore does with a volume. Mirrors `executePVAction` and its callers in upstream's `pkg/restore/restore.go`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VolumeFate {
    /// The PersistentVolume is created as it was, ready to be bound by its claim.
    Restore,
    /// The PersistentVolume is not created: its claim gets a new, empty one.
    Provision,
    /// As [`VolumeFate::Provision`], and data that the backup holds does not come back: the method that has it.
    DataLost(String),
}

impl VolumeFate {
    /// Whether the claim gets a new volume.
    pub(crate) fn is_provisioned(&self) -> bool {
        *self != Self::Restore
    }
}

/// Decides by how the volume was backed up and by its reclaim policy.
pub(crate) fn fate(volume: &str, index: &ArchiveIndex, request: &RestoreRequest) -> VolumeFate {
    let deleted_with_claim = index
        .find(&GroupResource::core("persistentvolumes"), "", volume)
        .and_then(|id| index.item(id))
        .is_some_and(|item| item.facts.has(Facts::RECLAIM_DELETE));
    decide(
        request.volume_info(volume),
        deleted_with_claim,
        request.restores_volumes(),
    )
}

fn decide(info: Option<&VolumeInfo>, deleted_with_claim: bool, wants_data: bool) -> VolumeFate {
    let method = info.map_or("", |i| i.backup_method.as_str());
    match (method, wants_data) {
        ("NativeSnapshot", false) => VolumeFate::Restore,
        ("PodVolumeBackup" | "CSISnapshot", false) => VolumeFate::Provision,
        ("NativeSnapshot" | "PodVolumeBackup", true) => VolumeFate::DataLost(method.to_owned()),
        ("CSISnapshot", true) if info.is_some_and(|i| i.snapshot_data_moved) => {
            VolumeFate::DataLost("CSISnapshot with moved data".to_owned())
        }
        ("CSISnapshot", true) => VolumeFate::DataLost(method.to_owned()),
        _ if deleted_with_claim => VolumeFate::Provision,
        _ => VolumeFate::Restore,
    }
}

/// Prepares a PersistentVolume that is restored: its claim lies in the target namespace and binds it anew. `true` when
/// that is another namespace.
pub(crate) fn prepare_volume(item: &mut ItemTree, request: &RestoreRequest) -> bool {
    let source = item.str_at("/spec/claimRef/namespace").to_owned();
    let target = request.target_namespace(&source);
    if let Some(namespace) = item.at_mut("/spec/claimRef/namespace") {
        *namespace = target.into();
    }
    reset_binding(item);
    source != target
}

/// Prepares a claim whose volume is `fate`.
pub(crate) fn prepare_claim(item: &mut ItemTree, fate: &VolumeFate) {
    reset_binding(item);
    if fate.is_provisioned() {
        item.remove("/spec", "volumeName");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates() {
        let lost = |m: &str| VolumeFate::DataLost(m.to_owned());
        for (method, moved, delete, wants, expected) in [
            ("", false, true, true, VolumeFate::Provision),
            ("", false, false, true, VolumeFate::Restore),
            ("", false, true, false, VolumeFate::Provision),
            ("NativeSnapshot", false, true, true, lost("NativeSnapshot")),
            ("NativeSnapshot", false, true, false, VolumeFate::Restore),
            (
                "PodVolumeBackup",
                false,
                false,
                true,
                lost("PodVolumeBackup"),
            ),
            (
                "PodVolumeBackup",
                false,
                false,
                false,
                VolumeFate::Provision,
            ),
            ("CSISnapshot", false, false, true, lost("CSISnapshot")),
            (
                "CSISnapshot",
                true,
                false,
                true,
                lost("CSISnapshot with moved data"),
            ),
            ("CSISnapshot", true, false, false, VolumeFate::Provision),
            ("SomethingNew", false, false, true, VolumeFate::Restore),
        ] {
            let info = VolumeInfo {
                backup_method: method.into(),
                snapshot_data_moved: moved,
                ..VolumeInfo::default()
            };
            assert_eq!(
                decide(Some(&info), delete, wants),
                expected,
                "{method} {moved} {delete} {wants}"
            );
        }
        assert_eq!(decide(None, true, true), VolumeFate::Provision);
    }
}
