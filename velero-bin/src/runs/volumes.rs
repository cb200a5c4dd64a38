//! How the volumes of a backup were backed up, from the files beside its archive.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};
use velero_backup::artifacts;
use velero_core::ResourceIdentifier;
use velero_core::api::PodVolumeBackup;
use velero_core::artifact::VolumeInfo;
use velero_core::names::annotations;
use velero_core::result::ResourceList;
use velero_persistence::{BackupFile, BackupStore};

use super::RunError;

/// Reads the volume information of a backup, completed by whatever else names data: its pod volume backups, snapshots and
/// operations.
///
/// Backups of releases before 1.13 have no volume information; those lists are all there is.
pub(super) async fn read(store: &BackupStore, backup: &str) -> Result<Vec<VolumeInfo>, RunError> {
    let failed = || RunError::store("read the volume lists of the backup");
    let mut infos: Vec<VolumeInfo> = store
        .get_list(&BackupFile::VolumeInfos.of(backup))
        .await
        .map_err(failed())?;
    let pods: Vec<PodVolumeBackup> = store
        .get_list(&BackupFile::PodVolumeBackups.of(backup))
        .await
        .map_err(failed())?;
    let snapshots: Vec<Value> = store
        .get_list(&BackupFile::VolumeSnapshots.of(backup))
        .await
        .map_err(failed())?;
    let csi: Vec<Value> = store
        .get_list(&BackupFile::CsiVolumeSnapshots.of(backup))
        .await
        .map_err(failed())?;
    let operations: Vec<Value> = store
        .get_list(&BackupFile::ItemOperations.of(backup))
        .await
        .map_err(failed())?;
    for info in pods
        .iter()
        .map(of_pod_volume)
        .chain(snapshots.iter().filter_map(of_snapshot))
        .chain(operations.iter().filter_map(of_operation))
        .chain(csi.iter().filter_map(of_csi_snapshot))
    {
        if !infos.iter().any(|known| covers(known, &info)) {
            infos.push(info);
        }
    }
    Ok(infos)
}

/// What a backup has of volumes without their data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WithoutData {
    /// Volumes of which only the objects are in the backup: claims as `namespace/name`, and volumes without a claim.
    pub volumes: Vec<String>,
    /// Claims of which not even the volume is in the backup, as it was filtered out or there was none.
    pub claims: Vec<String>,
}

impl WithoutData {
    /// What volume information and the list of a backup's items tell.
    pub(crate) fn of(infos: &[VolumeInfo], items: &ResourceList) -> Self {
        let known: HashSet<String> = infos.iter().map(claim_of).collect();
        let mut claims: Vec<String> = items
            .entries(CLAIMS)
            .into_iter()
            .map(str::to_owned)
            .collect();
        claims.retain(|claim| !known.contains(claim));
        claims.sort();
        Self {
            volumes: artifacts::without_data(infos),
            claims,
        }
    }
}

/// Claims in a list of items.
pub(super) const CLAIMS: &str = "v1/PersistentVolumeClaim";

fn claim_of(info: &VolumeInfo) -> String {
    format!("{}/{}", info.pvc_namespace, info.pvc_name)
}

/// What is without its data in a backup; nothing where it has no volume information.
pub(crate) async fn without_data(
    store: &BackupStore,
    backup: &str,
    items: &ResourceList,
) -> Result<WithoutData, RunError> {
    let infos = read(store, backup).await?;
    // Releases before 1.13 have not told which volumes they have handled.
    Ok(match are_told(store, backup).await? {
        true => WithoutData::of(&infos, items),
        false => WithoutData::of(&infos, &ResourceList::default()),
    })
}

/// Whether a backup has volume information.
pub(super) async fn are_told(store: &BackupStore, backup: &str) -> Result<bool, RunError> {
    let exists = store.exists(&BackupFile::VolumeInfos.of(backup)).await;
    exists.map_err(RunError::store(
        "look for the volume information of the backup",
    ))
}

/// The claims that a restore has created and whose data is not in the backup, under the names they have there.
///
/// Claims without a volume are among them if `are_told`.
pub(super) fn restored_without_data(
    infos: &[VolumeInfo],
    are_told: bool,
    created: &[ResourceIdentifier],
    mapping: &BTreeMap<String, String>,
) -> WithoutData {
    let target = |namespace: &str| {
        mapping
            .get(namespace)
            .map_or(namespace, String::as_str)
            .to_owned()
    };
    let created: HashSet<(&str, &str)> = created
        .iter()
        .map(|claim| (claim.namespace.as_str(), claim.name.as_str()))
        .collect();
    let mut restored = infos.to_vec();
    restored.retain(|info| {
        created.contains(&(target(&info.pvc_namespace).as_str(), info.pvc_name.as_str()))
    });
    let known: HashSet<(String, &str)> = infos
        .iter()
        .map(|info| (target(&info.pvc_namespace), info.pvc_name.as_str()))
        .collect();
    let source = |namespace: &str| {
        let found = mapping.iter().find(|(_, to)| *to == namespace);
        found.map_or(namespace, |(from, _)| from).to_owned()
    };
    let mut claims: Vec<String> = created
        .iter()
        .filter(|(namespace, name)| are_told && !known.contains(&((*namespace).to_owned(), *name)))
        .map(|(namespace, name)| format!("{}/{name}", source(namespace)))
        .collect();
    claims.sort();
    WithoutData {
        volumes: artifacts::without_data(&restored),
        claims,
    }
}

fn of_pod_volume(backup: &PodVolumeBackup) -> VolumeInfo {
    let pod = &backup.spec.pod;
    let namespace = pod.namespace.clone().unwrap_or_default();
    let claim = backup
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(annotations::PVC_NAME))
        .cloned();
    let mut info = VolumeInfo {
        pvc_namespace: claim
            .as_ref()
            .map(|_| namespace.clone())
            .unwrap_or_default(),
        pvc_name: claim.unwrap_or_default(),
        backup_method: "PodVolumeBackup".to_owned(),
        ..VolumeInfo::default()
    };
    let details =
        json!({"podNamespace": namespace, "podName": pod.name, "volumeName": backup.spec.volume});
    info.other.insert("pvbInfo".to_owned(), details);
    info
}

fn of_snapshot(snapshot: &Value) -> Option<VolumeInfo> {
    let volume = snapshot.pointer("/spec/persistentVolumeName")?.as_str()?;
    Some(VolumeInfo {
        pv_name: volume.to_owned(),
        backup_method: "NativeSnapshot".to_owned(),
        ..VolumeInfo::default()
    })
}

/// A VolumeSnapshot of a backup made before release 1.17.
fn of_csi_snapshot(snapshot: &Value) -> Option<VolumeInfo> {
    let claim = snapshot.pointer("/spec/source/persistentVolumeClaimName")?;
    of_claim(snapshot.pointer("/metadata/namespace")?, claim, false)
}

/// An operation that moves the data of a claim into a repository.
fn of_operation(operation: &Value) -> Option<VolumeInfo> {
    let id = operation.pointer("/spec/resourceIdentifier")?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let after = operation.pointer("/spec/postOperationItems");
    let uploads = after.and_then(Value::as_array).is_some_and(|items| {
        items
            .iter()
            .any(|item| text(item.get("Resource")) == "datauploads")
    });
    let moves = uploads || text(operation.pointer("/spec/operationID")).starts_with("du-");
    if !moves || text(id.get("Resource")) != "persistentvolumeclaims" {
        return None;
    }
    of_claim(id.get("Namespace")?, id.get("Name")?, true)
}

/// What is known of a claim whose data is in the snapshot of a CSI driver, or was.
fn of_claim(namespace: &Value, name: &Value, moved: bool) -> Option<VolumeInfo> {
    Some(VolumeInfo {
        pvc_namespace: namespace.as_str()?.to_owned(),
        pvc_name: name.as_str()?.to_owned(),
        backup_method: "CSISnapshot".to_owned(),
        snapshot_data_moved: moved,
        ..VolumeInfo::default()
    })
}

/// Whether the volume information has an entry for what another list tells.
fn covers(known: &VolumeInfo, info: &VolumeInfo) -> bool {
    if known.backup_method != info.backup_method {
        return false;
    }
    let pod = |info: &VolumeInfo| {
        let details = info.other.get("pvbInfo")?;
        Some(
            ["podNamespace", "podName", "volumeName"]
                .map(|field| details[field].as_str().unwrap_or_default().to_owned()),
        )
    };
    if !info.pv_name.is_empty() {
        return known.pv_name == info.pv_name;
    }
    match pod(info) {
        Some(details) => pod(known) == Some(details),
        None => known.pvc_namespace == info.pvc_namespace && known.pvc_name == info.pvc_name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use velero_persistence::Location;

    #[test]
    fn claims_that_were_restored_without_data() {
        let infos: Vec<VolumeInfo> = serde_json::from_value(json!([
            {"pvName": "v1", "pvcNamespace": "shop", "pvcName": "data", "skipped": true},
            {"pvName": "v2", "pvcNamespace": "shop", "pvcName": "there", "skipped": true},
            {"pvName": "v3", "pvcNamespace": "shop", "pvcName": "saved", "backupMethod": "PodVolumeBackup"},
            {"pvName": "v4", "pvcNamespace": "other", "pvcName": "data", "skipped": true},
            {"pvName": "v5", "skipped": true},
        ]))
        .unwrap();
        let claim = |namespace: &str, name: &str| {
            ResourceIdentifier::namespaced(
                velero_core::GroupResource::core("persistentvolumeclaims"),
                namespace,
                name,
            )
        };
        let mapping = [("shop".to_owned(), "copy".to_owned())].into();
        let created = [
            claim("copy", "data"),
            claim("copy", "saved"),
            claim("other", "data"),
            claim("copy", "filtered"),
        ];
        let found = restored_without_data(&infos, true, &created, &mapping);
        assert_eq!(found.volumes, ["other/data", "shop/data"]);
        assert_eq!(found.claims, ["shop/filtered"]);
        let old = restored_without_data(&infos, false, &created, &mapping);
        assert_eq!((old.volumes, old.claims), (found.volumes, vec![]));
        assert_eq!(
            restored_without_data(&infos, true, &[], &mapping),
            WithoutData::default()
        );
    }

    #[tokio::test]
    async fn claims_without_a_volume_are_known_where_volumes_are_told() {
        let store = BackupStore::open(&Location::from_url("memory://claims").unwrap())
            .await
            .unwrap();
        let mut items = ResourceList::default();
        items.add(CLAIMS, "shop/none");
        items.add(CLAIMS, "shop/data");
        assert_eq!(
            without_data(&store, "b", &items).await.unwrap(),
            WithoutData::default()
        );
        let infos =
            json!([{"pvName": "v1", "pvcNamespace": "shop", "pvcName": "data", "skipped": true}]);
        store
            .put_json(&BackupFile::VolumeInfos.of("b"), &infos)
            .await
            .unwrap();
        let found = without_data(&store, "b", &items).await.unwrap();
        assert_eq!(found.volumes, ["shop/data"]);
        assert_eq!(found.claims, ["shop/none"]);
    }

    #[tokio::test]
    async fn lists_complete_each_other() {
        let store = BackupStore::open(&Location::from_url("memory://volumes").unwrap())
            .await
            .unwrap();
        assert!(read(&store, "b").await.unwrap().is_empty());

        let pod = |name: &str| {
            json!({"metadata": {"annotations": {"velero.io/pvc-name": "data"}},
            "spec": {"pod": {"namespace": "shop", "name": name}, "volume": "v"}})
        };
        store
            .put_json(
                &BackupFile::PodVolumeBackups.of("b"),
                &[pod("web"), pod("api")],
            )
            .await
            .unwrap();
        store
            .put_json(
                &BackupFile::VolumeSnapshots.of("b"),
                &[json!({"spec": {"persistentVolumeName": "pv1"}})],
            )
            .await
            .unwrap();
        let snapshot = |claim: serde_json::Value| json!({"metadata": {"namespace": "shop"}, "spec": {"source": {"persistentVolumeClaimName": claim}}});
        store
            .put_json(
                &BackupFile::CsiVolumeSnapshots.of("b"),
                &[
                    snapshot(json!("db")),
                    snapshot(json!("old")),
                    snapshot(json!(null)),
                ],
            )
            .await
            .unwrap();
        let operation = |resource: &str, name: &str, id: &str| {
            json!({"spec": {"operationID": id, "postOperationItems": null,
                "resourceIdentifier": {"Group": "", "Resource": resource, "Namespace": "shop", "Name": name}}})
        };
        store
            .put_json(
                &BackupFile::ItemOperations.of("b"),
                &[
                    operation("persistentvolumeclaims", "moved", "du-1.2"),
                    operation("persistentvolumeclaims", "other", "x"),
                    operation("volumesnapshots", "s", "du-1.2"),
                ],
            )
            .await
            .unwrap();
        let known = json!([
            {"pvName": "pv0", "backupMethod": "PodVolumeBackup",
             "pvbInfo": {"podNamespace": "shop", "podName": "web", "volumeName": "v"}},
            {"pvName": "pv1", "pvcNamespace": "shop", "pvcName": "db", "backupMethod": "CSISnapshot"},
        ]);
        store
            .put_json(&BackupFile::VolumeInfos.of("b"), &known)
            .await
            .unwrap();
        let found: Vec<_> = read(&store, "b")
            .await
            .unwrap()
            .into_iter()
            .map(|info| (info.pv_name, info.pvc_name, info.backup_method))
            .collect();
        let expected = [
            ("pv0", "", "PodVolumeBackup"),
            ("pv1", "db", "CSISnapshot"),
            ("", "data", "PodVolumeBackup"),
            ("pv1", "", "NativeSnapshot"),
            ("", "moved", "CSISnapshot"),
            ("", "old", "CSISnapshot"),
        ];
        assert_eq!(
            found,
            expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()))
        );
    }
}
