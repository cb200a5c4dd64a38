//! The DataUpload kind.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    GoDuration,
    api::{
        kind::{PrinterColumn, resource},
        lenient::{is_unset, never, non_empty, nullable},
        open_enum::open_enum,
        schema,
        v1::{DataMoveOperationProgress, DataMovePhase},
    },
};

resource! {
    /// A move of the data of one volume snapshot to a backup repository.
    DataUpload("datauploads", "v2alpha1") {
        spec: DataUploadSpec,
        status: DataUploadStatus,
        short_names: [],
        columns: [
            PrinterColumn::new("Status", "string", ".status.phase", "Where in its life the move is"),
            PrinterColumn::new("Started", "date", ".status.startTimestamp", "Time since work began"),
            PrinterColumn::bytes("Bytes Done", ".status.progress.bytesDone", "Bytes moved so far"),
            PrinterColumn::bytes("Total Bytes", ".status.progress.totalBytes", "Bytes to move"),
            PrinterColumn::bytes("Incremental Bytes", ".status.incrementalBytes", "Bytes that were not in the repository yet").wide(),
            PrinterColumn::new("Storage Location", "string", ".spec.backupStorageLocation", "Location that holds the repository"),
            PrinterColumn::age(),
            PrinterColumn::new("Node", "string", ".status.node", "Node that does the work"),
        ],
    }
}

impl DataUpload {
    /// Gives the phase; one that is not set yet counts as `New`.
    pub fn phase(&self) -> &DataMovePhase {
        self.status.phase.as_ref().unwrap_or(&DataMovePhase::New)
    }
}

/// Which snapshot is moved, and where to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DataUploadSpec {
    /// Type of the snapshot; only CSI is in use.
    #[serde(deserialize_with = "nullable")]
    pub snapshot_type: String,
    /// The snapshot, when the type is CSI.
    #[serde(rename = "csiSnapshot", skip_serializing_if = "never")]
    #[schemars(extend("nullable" = true))]
    pub csi_snapshot: Option<CsiSnapshotSpec>,
    /// Name of the claim that the snapshot was taken of.
    #[serde(rename = "sourcePVC", deserialize_with = "nullable")]
    pub source_pvc: String,
    /// Data mover to use; empty or velero for the built-in one.
    #[serde(
        rename = "datamover",
        deserialize_with = "nullable",
        skip_serializing_if = "is_unset"
    )]
    pub data_mover: String,
    /// Name of the BackupStorageLocation that holds the repository.
    #[serde(deserialize_with = "nullable")]
    pub backup_storage_location: String,
    /// Namespace of the claim.
    #[serde(deserialize_with = "nullable")]
    pub source_namespace: String,
    /// Settings of the data mover.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub data_mover_config: BTreeMap<String, String>,
    /// Set to true to ask for the move to be cancelled.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub cancel: bool,
    /// How long internal steps, such as the creation of a volume, may take.
    #[serde(deserialize_with = "nullable")]
    pub operation_timeout: GoDuration,
}

/// A CSI snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiSnapshotSpec {
    /// Name of the VolumeSnapshot.
    #[serde(deserialize_with = "nullable")]
    pub volume_snapshot: String,
    /// StorageClass of the volume that is made from the snapshot.
    #[serde(deserialize_with = "nullable")]
    pub storage_class: String,
    /// VolumeSnapshotClass of the snapshot.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "never")]
    pub snapshot_class: String,
    /// CSI driver of the snapshot.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub driver: String,
}

/// How far a move has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DataUploadStatus {
    /// Where in its life the move is; New if absent.
    #[serde(
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub phase: Option<DataMovePhase>,
    /// Path of the volume inside the pod that does the work.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub path: String,
    /// Identifier of the snapshot in the repository.
    #[serde(
        rename = "snapshotID",
        deserialize_with = "nullable",
        skip_serializing_if = "is_unset"
    )]
    pub snapshot_id: String,
    /// What the data mover needs to find the data again.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub data_mover_result: BTreeMap<String, String>,
    /// What went wrong, or something worth knowing.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub message: String,
    /// When work began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub start_timestamp: Option<Time>,
    /// When work ended, well or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub completion_timestamp: Option<Time>,
    /// Bytes done so far.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "never")]
    pub progress: DataMoveOperationProgress,
    /// Node that does the work.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub node: String,
    /// Operating system of the node.
    #[serde(
        rename = "nodeOS",
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub node_os: Option<NodeOs>,
    /// Node that took the work on.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub accepted_by_node: String,
    /// When a node took the work on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub accepted_timestamp: Option<Time>,
    /// Bytes that were not in the repository yet.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub incremental_bytes: i64,
}

open_enum! {
    /// Operating system of a node that reads or writes volume data.
    NodeOs {
        /// Any that fits.
        Auto = "auto",
        /// Linux.
        Linux = "linux",
        /// Windows.
        Windows = "windows",
    }
}

/// What a restore needs to know of a finished upload; kept as JSON in a ConfigMap while the restore runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataUploadResult {
    /// Name of the BackupStorageLocation that holds the repository.
    #[serde(deserialize_with = "nullable")]
    pub backup_storage_location: String,
    /// Data mover that made the copy; empty or `velero` for the built-in one.
    #[serde(
        rename = "datamover",
        deserialize_with = "nullable",
        skip_serializing_if = "is_unset"
    )]
    pub data_mover: String,
    /// Identifier of the snapshot in the repository.
    #[serde(
        rename = "snapshotID",
        deserialize_with = "nullable",
        skip_serializing_if = "is_unset"
    )]
    pub snapshot_id: String,
    /// Namespace of the claim when it was backed up.
    #[serde(deserialize_with = "nullable")]
    pub source_namespace: String,
    /// What the data mover needs to find the data again.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub data_mover_result: BTreeMap<String, String>,
    /// Operating system that the data came from.
    #[serde(
        rename = "nodeOS",
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub node_os: Option<NodeOs>,
    /// Size of the snapshot in bytes; zero if not known.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub snapshot_size: i64,
}
