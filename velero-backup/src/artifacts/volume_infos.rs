//! What is told about the volumes of a backup, and how it ends.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use velero_core::api::{DataMovePhase, DataUpload};
use velero_core::artifact::{BackupItemOperation, OperationPhase, VolumeInfo};
use velero_core::names::{labels, valid_label_name};

use super::{Artifact, artifact};

/// The document about the volumes of a backup, compressed.
pub fn volume_infos(infos: &[VolumeInfo]) -> Artifact {
    artifact("-volumeinfo.json.gz", &infos)
}

/// The volumes of which only the objects are in a backup: claims as `namespace/name`, and volumes without a claim.
/// Sorted, each once.
pub fn without_data(infos: &[VolumeInfo]) -> Vec<String> {
    let names: BTreeSet<String> = infos
        .iter()
        .filter(|info| info.skipped)
        .map(|info| match info.pvc_name.as_str() {
            "" => info.pv_name.clone(),
            claim => format!("{}/{claim}", info.pvc_namespace),
        })
        .collect();
    names.into_iter().collect()
}

/// Takes into volume information what the operations of a backup came to; whether anything has changed.
///
/// A CSI snapshot ends when its operation does. The entry of moved data gets what its DataUpload says; one whose
/// DataUpload is not among `uploads` stays as it is. Mirrors `updateVolumeInfos` in upstream's `pkg/backup/backup.go`.
pub fn end_volume_infos(
    infos: &mut [VolumeInfo],
    operations: &[BackupItemOperation],
    uploads: &[DataUpload],
) -> bool {
    let before = infos.to_vec();
    for info in infos.iter_mut() {
        if info.snapshot_data_moved {
            end_moved_data(info, uploads);
        } else if info.backup_method == "CSISnapshot" {
            end_snapshot(info, operations);
        }
    }
    infos != before
}

/// The operation that a part of an entry names.
fn operation_id<'a>(info: &'a VolumeInfo, part: &str) -> Option<&'a str> {
    let id = info.other.get(part)?.get("operationID")?.as_str()?;
    (!id.is_empty()).then_some(id)
}

fn end_snapshot(info: &mut VolumeInfo, operations: &[BackupItemOperation]) {
    let found = operation_id(info, "csiSnapshotInfo")
        .and_then(|id| operations.iter().find(|o| o.spec.operation_id == id));
    let Some(operation) = found else {
        return;
    };
    let status = &operation.status;
    let good = status.error.is_empty() && status.phase != OperationPhase::Failed;
    if status.updated.is_some() {
        info.completion_timestamp.clone_from(&status.updated);
    }
    set_result(&mut info.other, good);
}

fn end_moved_data(info: &mut VolumeInfo, uploads: &[DataUpload]) {
    const PART: &str = "snapshotDataMovementInfo";
    let found = operation_id(info, PART).and_then(|id| {
        let label = valid_label_name(id);
        uploads.iter().find(|upload| {
            let own = upload.metadata.labels.as_ref();
            own.and_then(|own| own.get(labels::ASYNC_OPERATION_ID)) == Some(&label)
        })
    });
    let Some(upload) = found else {
        return;
    };
    let (spec, status) = (&upload.spec, &upload.status);
    if status.completion_timestamp.is_some() {
        info.completion_timestamp
            .clone_from(&status.completion_timestamp);
    }
    if let Some(Value::Object(part)) = info.other.get_mut(PART) {
        let snapshot = spec.csi_snapshot.as_ref();
        let snapshot = snapshot.map_or("", |snapshot| snapshot.volume_snapshot.as_str());
        for (key, value, optional) in [
            ("retainedSnapshot", json!(snapshot), true),
            ("snapshotHandle", json!(status.snapshot_id), false),
            ("size", json!(status.progress.total_bytes), false),
            ("incrementalSize", json!(status.incremental_bytes), true),
            ("Phase", json!(upload.phase().as_str()), false),
        ] {
            if optional && (value == json!("") || value == json!(0)) {
                part.remove(key);
            } else {
                part.insert(key.to_owned(), value);
            }
        }
    }
    set_result(&mut info.other, *upload.phase() == DataMovePhase::Completed);
}

fn set_result(fields: &mut Map<String, Value>, good: bool) {
    let word = if good { "succeeded" } else { "failed" };
    fields.insert("result".to_owned(), word.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infos(value: Value) -> Vec<VolumeInfo> {
        serde_json::from_value(value).unwrap()
    }

    fn operation(id: &str, status: Value) -> BackupItemOperation {
        let spec = json!({"backupName": "b", "backupUID": "u", "backupItemAction": "a", "operationID": id, "postOperationItems": null,
            "resourceIdentifier": {"Group": "", "Resource": "persistentvolumeclaims", "Namespace": "n", "Name": "c"}});
        serde_json::from_value(json!({"spec": spec, "status": status})).unwrap()
    }

    fn snapshot(id: &str) -> Value {
        json!({"pvName": id, "backupMethod": "CSISnapshot", "snapshotDataMoved": false, "preserveLocalSnapshot": true,
            "skipped": false, "csiSnapshotInfo": {"snapshotHandle": "h", "operationID": id}})
    }

    #[test]
    fn snapshots_end_with_their_operations() {
        for (status, result, completed) in [
            (
                json!({"phase": "Completed", "updated": "2026-01-01T00:00:09Z"}),
                Some("succeeded"),
                true,
            ),
            (
                json!({"phase": "Failed", "error": "no space", "updated": "2026-01-01T00:00:09Z"}),
                Some("failed"),
                true,
            ),
            (
                json!({"phase": "Completed", "error": "odd"}),
                Some("failed"),
                false,
            ),
        ] {
            let mut list = infos(json!([snapshot("one"), snapshot("other")]));
            let changed = end_volume_infos(&mut list, &[operation("one", status.clone())], &[]);
            assert!(changed, "{status}");
            let done = serde_json::to_value(&list).unwrap();
            assert_eq!(done[0]["result"].as_str(), result, "{status}");
            let time = completed.then_some("2026-01-01T00:00:09Z");
            assert_eq!(done[0]["completionTimestamp"].as_str(), time, "{status}");
            assert_eq!(done[0]["csiSnapshotInfo"]["snapshotHandle"], "h");
            assert_eq!(done[1], snapshot("other"), "nobody has asked for that one");
        }
        let plain = json!([{"pvName": "v", "skipped": true, "skippedReason": "any: r;", "snapshotDataMoved": false, "preserveLocalSnapshot": false}]);
        let mut list = infos(plain.clone());
        assert!(!end_volume_infos(
            &mut list,
            &[operation("", json!({}))],
            &[]
        ));
        assert_eq!(serde_json::to_value(&list).unwrap(), plain);
    }

    #[test]
    fn moved_data_is_told_as_its_upload_has_it() {
        let moved = json!({"pvcName": "c", "pvcNamespace": "n", "backupMethod": "CSISnapshot", "snapshotDataMoved": true,
            "preserveLocalSnapshot": false, "skipped": false,
            "snapshotDataMovementInfo": {"dataMover": "velero", "uploaderType": "kopia", "operationID": "du-1", "Phase": ""}});
        let upload = |phase: &str| -> DataUpload {
            serde_json::from_value(json!({
                "metadata": {"name": "x", "labels": {"velero.io/async-operation-id": "du-1"}},
                "spec": {"csiSnapshot": {"volumeSnapshot": "vs"}},
                "status": {"phase": phase, "snapshotID": "k1", "progress": {"totalBytes": 9}, "incrementalBytes": 4,
                    "completionTimestamp": "2026-01-01T00:00:09Z"},
            }))
            .unwrap()
        };
        for (phase, result) in [("Completed", "succeeded"), ("Failed", "failed")] {
            let mut list = infos(json!([moved]));
            assert!(end_volume_infos(&mut list, &[], &[upload(phase)]));
            let done = serde_json::to_value(&list).unwrap();
            assert_eq!(done[0]["result"], result);
            assert_eq!(done[0]["completionTimestamp"], "2026-01-01T00:00:09Z");
            assert_eq!(
                done[0]["snapshotDataMovementInfo"],
                json!({"dataMover": "velero", "uploaderType": "kopia", "operationID": "du-1", "retainedSnapshot": "vs",
                    "snapshotHandle": "k1", "size": 9, "incrementalSize": 4, "Phase": phase})
            );
        }
        let mut list = infos(json!([moved]));
        let other = operation("du-1", json!({"phase": "Completed"}));
        assert!(!end_volume_infos(&mut list, &[other], &[]));
    }

    #[test]
    fn volumes_without_data_are_named_by_their_claims() {
        let list = infos(json!([
            {"pvName": "v2", "skipped": true},
            {"pvName": "v1", "pvcName": "data", "pvcNamespace": "shop", "skipped": true},
            {"pvName": "v1", "pvcName": "data", "pvcNamespace": "shop", "skipped": true},
            {"pvName": "v3", "pvcName": "saved", "pvcNamespace": "shop", "backupMethod": "PodVolumeBackup"},
        ]));
        assert_eq!(without_data(&list), ["shop/data", "v2"]);
    }
}
