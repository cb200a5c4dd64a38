//! What a restore tells of its volumes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One entry of `<restore>-volumeinfo.json.gz`: how the data of a volume came back. Volumes without data have none.
///
/// Fields that this version does not know are kept in `other`. Mirrors upstream's
/// `internal/volume/volumes_information.go`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreVolumeInfo {
    /// Claim; empty when the restore has not created it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pvc_name: String,
    /// Namespace of the claim in the cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pvc_namespace: String,
    /// Volume, by its name in the cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pv_name: String,
    /// `NativeSnapshot`, `PodVolumeRestore`, `CSISnapshot`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub restore_method: String,
    /// Whether the data came out of a repository that snapshot data had been moved into.
    pub snapshot_data_moved: bool,
    /// The snapshot that the volume was made of, for the method `NativeSnapshot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native_snapshot_info: Option<NativeSnapshotInfo>,
    /// Fields of methods that this version does not handle, and unknown ones.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A native snapshot, as volume information has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NativeSnapshotInfo {
    /// Id in the storage system.
    pub snapshot_handle: String,
    /// Type of the volume, as the storage system calls it.
    pub volume_type: String,
    /// Zone of the volume; empty when it is not known.
    #[serde(rename = "volumeAZ")]
    pub volume_az: String,
    /// Operations a second that were paid for, as a number in text; `0` without such a notion.
    pub iops: String,
    /// Phase of the snapshot. Empty in restores; the key begins with a capital letter on the wire.
    #[serde(rename = "Phase")]
    pub phase: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_have_the_peers_fields() {
        for written in [
            json!({"snapshotDataMoved": false}),
            json!({"pvcName": "data", "pvcNamespace": "shop", "pvName": "pv1", "restoreMethod": "NativeSnapshot",
                "snapshotDataMoved": false,
                "nativeSnapshotInfo": {"snapshotHandle": "s", "volumeType": "gp3", "volumeAZ": "z1", "iops": "100", "Phase": ""}}),
            json!({"pvcName": "data", "restoreMethod": "PodVolumeRestore", "snapshotDataMoved": false,
                "pvrInfo": {"uploaderType": "kopia", "Phase": "Completed"}, "later": 1}),
        ] {
            let read: RestoreVolumeInfo = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), written);
        }
    }
}
