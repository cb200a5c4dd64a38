//! The JSON documents that lie beside an archive: volume information, item operations, native snapshots.

mod restored_volume;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ResourceIdentifier;
use crate::api::open_enum::open_enum;

pub use restored_volume::{NativeSnapshotInfo, RestoreVolumeInfo};

/// One entry of `<backup>-volumeinfo.json.gz`: how a volume was backed up, or why it was not.
///
/// Fields that this version does not know are kept in `other`. Mirrors upstream's
/// `internal/volume/volumes_information.go`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeInfo {
    /// Claim.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pvc_name: String,
    /// Namespace of the claim.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pvc_namespace: String,
    /// Volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pv_name: String,
    /// `NativeSnapshot`, `PodVolumeBackup`, `CSISnapshot`; empty when skipped.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub backup_method: String,
    /// Whether snapshot data was moved into a repository.
    pub snapshot_data_moved: bool,
    /// Whether the local snapshot stays.
    pub preserve_local_snapshot: bool,
    /// Whether the volume's data is not in the backup.
    pub skipped: bool,
    /// Why it was skipped, `approach: reason;` repeated.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub skipped_reason: String,
    /// Start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// End.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// Facts of the volume object.
    #[serde(rename = "pvInfo", skip_serializing_if = "Option::is_none")]
    pub pv_info: Option<PvInfo>,
    /// Fields of methods that this version does not handle, and unknown ones.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a [`VolumeInfo`] keeps of the volume object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PvInfo {
    /// Reclaim policy.
    pub reclaim_policy: String,
    /// Labels; `null` when there are none.
    pub labels: Option<BTreeMap<String, String>>,
}

/// One entry of `restore-<restore>-itemoperations.json.gz`: work that an action has begun and that goes on after the items
/// are restored. Mirrors upstream's `pkg/itemoperation/restore_operation.go`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestoreItemOperation {
    /// What runs for which item.
    pub spec: RestoreItemOperationSpec,
    /// How it stands.
    #[serde(default)]
    pub status: OperationStatus,
}

impl AsRef<OperationStatus> for RestoreItemOperation {
    fn as_ref(&self) -> &OperationStatus {
        &self.status
    }
}

/// What an operation of a restore is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreItemOperationSpec {
    /// Name of the restore.
    pub restore_name: String,
    /// Uid of the restore.
    #[serde(rename = "restoreUID")]
    pub restore_uid: String,
    /// Name of the action that is asked about the operation.
    pub restore_item_action: String,
    /// The item that the action handled, by its namespace in the cluster.
    pub resource_identifier: ResourceIdentifier,
    /// Id that the action gave.
    #[serde(rename = "operationID")]
    pub operation_id: String,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One entry of `<backup>-itemoperations.json.gz`: work that an action has begun and that goes on after the items are
/// stored. Mirrors upstream's `pkg/itemoperation/backup_operation.go`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupItemOperation {
    /// What runs for which item.
    pub spec: BackupItemOperationSpec,
    /// How it stands.
    #[serde(default)]
    pub status: OperationStatus,
}

impl AsRef<OperationStatus> for BackupItemOperation {
    fn as_ref(&self) -> &OperationStatus {
        &self.status
    }
}

/// What an operation of a backup is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupItemOperationSpec {
    /// Name of the backup.
    pub backup_name: String,
    /// Uid of the backup.
    #[serde(rename = "backupUID")]
    pub backup_uid: String,
    /// Name of the action that is asked about the operation.
    pub backup_item_action: String,
    /// The item that the action handled.
    pub resource_identifier: ResourceIdentifier,
    /// Id that the action gave.
    #[serde(rename = "operationID")]
    pub operation_id: String,
    /// Items to read and store again when the operation has ended; `null` and none are the same.
    pub post_operation_items: Option<Vec<ResourceIdentifier>>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How an operation stands. Fields without a value are left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OperationStatus {
    /// Where in its life it is.
    #[serde(skip_serializing_if = "is_empty")]
    pub phase: OperationPhase,
    /// Why it failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// How much is done.
    #[serde(skip_serializing_if = "is_zero")]
    pub n_completed: i64,
    /// How much there is to do.
    #[serde(skip_serializing_if = "is_zero")]
    pub n_total: i64,
    /// What is counted, such as `Bytes`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operation_units: String,
    /// What it is doing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// When the action began it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Time>,
    /// When work on it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// When it last came further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated: Option<Time>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

open_enum! {
    /// Where in its life an operation is.
    OperationPhase {
        /// The action has begun it; nobody has seen it work.
        New,
        /// It works.
        InProgress,
        /// Ended well.
        Completed,
        /// Ended with an error, or was given up.
        Failed,
    }
}

impl OperationPhase {
    /// Whether it has ended, well or not. A phase that this version does not know has not.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

fn is_empty(phase: &OperationPhase) -> bool {
    phase.as_str().is_empty()
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GroupResource;
    use serde_json::json;

    #[test]
    fn operations_have_the_peers_fields() {
        let mut operation = BackupItemOperation {
            spec: BackupItemOperationSpec {
                backup_name: "b".into(),
                backup_uid: "u".into(),
                backup_item_action: "example.com/snap".into(),
                resource_identifier: ResourceIdentifier::namespaced(
                    GroupResource::core("pods"),
                    "shop",
                    "web",
                ),
                operation_id: "op-1".into(),
                post_operation_items: None,
                other: Map::new(),
            },
            status: OperationStatus::default(),
        };
        let id = json!({"Group": "", "Resource": "pods", "Namespace": "shop", "Name": "web"});
        let mut expected = json!({
            "spec": {"backupName": "b", "backupUID": "u", "backupItemAction": "example.com/snap", "resourceIdentifier": id,
                "operationID": "op-1", "postOperationItems": null},
            "status": {},
        });
        assert_eq!(serde_json::to_value(&operation).unwrap(), expected);
        operation.spec.post_operation_items =
            Some(vec![operation.spec.resource_identifier.clone()]);
        operation.status = OperationStatus {
            phase: OperationPhase::Failed,
            error: "gone".into(),
            n_completed: 1,
            n_total: 2,
            operation_units: "Bytes".into(),
            description: "copying".into(),
            created: Some(Time("2026-01-01T00:00:00Z".parse().unwrap())),
            started: None,
            updated: None,
            other: [("later".to_owned(), json!(1))].into_iter().collect(),
        };
        expected["spec"]["postOperationItems"] = json!([id]);
        expected["status"] = json!({"phase": "Failed", "error": "gone", "nCompleted": 1, "nTotal": 2, "operationUnits": "Bytes",
            "description": "copying", "created": "2026-01-01T00:00:00Z", "later": 1});
        let written = serde_json::to_value(&operation).unwrap();
        assert_eq!(written, expected);
        assert_eq!(
            serde_json::from_value::<BackupItemOperation>(written).unwrap(),
            operation
        );
    }

    #[test]
    fn operations_of_restores_have_the_peers_fields() {
        let written = json!({
            "spec": {"restoreName": "r", "restoreUID": "u", "restoreItemAction": "example.com/fill",
                "resourceIdentifier": {"Group": "", "Resource": "pods", "Namespace": "shop", "Name": "web"},
                "operationID": "op-1", "later": 1},
            "status": {"phase": "New", "created": "2026-01-01T00:00:00Z"},
        });
        let read: RestoreItemOperation = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(read.spec.restore_item_action, "example.com/fill");
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
    }

    #[test]
    fn entries_without_known_fields_are_read() {
        for entry in [
            json!({}),
            json!({"pvcName": ""}),
            json!({"novelty": {"a": 1}}),
        ] {
            let info: VolumeInfo = serde_json::from_value(entry.clone()).unwrap();
            assert_eq!(info.backup_method, "", "{entry}");
            assert_eq!(info.other.get("novelty"), entry.get("novelty"));
        }
    }
}
