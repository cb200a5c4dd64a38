//! The JSON documents that lie beside an archive: volume information, item operations, native snapshots.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ResourceIdentifier;

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

/// One entry of an item operations file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemOperation {
    /// What runs for which item.
    pub spec: ItemOperationSpec,
    /// How it stands, and fields that this version does not know.
    #[serde(default)]
    pub status: Map<String, Value>,
}

/// What an item operation is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemOperationSpec {
    /// The item.
    pub resource_identifier: ResourceIdentifier,
    /// Id that the action gave.
    #[serde(rename = "operationID", default)]
    pub operation_id: String,
    /// Run, action and other fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
