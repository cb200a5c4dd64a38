//! What a restore tells of the volumes whose data came back.

use velero_core::artifact::{NativeSnapshotInfo, RestoreVolumeInfo};
use velero_core::volume::NativeSnapshot;
use velero_core::{ItemTree, ResourceIdentifier};

/// The entry of a volume that was made of a snapshot; `item` is the volume that is about to be created.
///
/// The phase stays empty, as with the peer.
pub(crate) fn of_snapshot(item: &ItemTree, record: &NativeSnapshot) -> RestoreVolumeInfo {
    let (spec, status) = (&record.spec, &record.status);
    RestoreVolumeInfo {
        pvc_name: item.str_at("/spec/claimRef/name").to_owned(),
        pvc_namespace: item.str_at("/spec/claimRef/namespace").to_owned(),
        pv_name: item.name().to_owned(),
        restore_method: "NativeSnapshot".to_owned(),
        native_snapshot_info: Some(NativeSnapshotInfo {
            snapshot_handle: status.provider_snapshot_id.clone(),
            volume_type: spec.volume_type.clone(),
            volume_az: spec.volume_az.clone(),
            iops: spec.volume_iops.unwrap_or_default().to_string(),
            phase: String::new(),
        }),
        ..RestoreVolumeInfo::default()
    }
}

/// Entries sorted by volume, without the claims that the restore has not created.
pub(crate) fn with_created_claims(
    mut infos: Vec<RestoreVolumeInfo>,
    created: &[ResourceIdentifier],
) -> Vec<RestoreVolumeInfo> {
    for info in &mut infos {
        let is_created = created
            .iter()
            .any(|claim| claim.namespace == info.pvc_namespace && claim.name == info.pvc_name);
        if !is_created {
            info.pvc_name.clear();
            info.pvc_namespace.clear();
        }
    }
    infos.sort_by(|a, b| a.pv_name.cmp(&b.pv_name));
    infos
}
