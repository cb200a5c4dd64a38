//! Copies of the files of pod volumes: PodVolumeBackup and PodVolumeRestore.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    kind::{PrinterColumn, resource},
    lenient::{is_unset, never, non_empty, nullable},
    open_enum::open_enum,
    schema,
};

resource! {
    /// A copy of the files of one pod volume to a backup repository.
    PodVolumeBackup("podvolumebackups", "v1") {
        spec: PodVolumeBackupSpec,
        status: PodVolumeBackupStatus,
        short_names: [],
        columns: [
            PrinterColumn::new("Status", "string", ".status.phase", "Where in its life the copy is"),
            PrinterColumn::new("Started", "date", ".status.startTimestamp", "Time since work began"),
            PrinterColumn::bytes("Bytes Done", ".status.progress.bytesDone", "Bytes copied so far"),
            PrinterColumn::bytes("Total Bytes", ".status.progress.totalBytes", "Bytes to copy"),
            PrinterColumn::bytes("Incremental Bytes", ".status.incrementalBytes", "Bytes that were not in the repository yet").wide(),
            PrinterColumn::new("Storage Location", "string", ".spec.backupStorageLocation", "Location that holds the repository"),
            PrinterColumn::age(),
            // There is no such field: the node stands in the spec. The column is kept as it is, always empty.
            PrinterColumn::new("Node", "string", ".status.node", "Node that does the work"),
            PrinterColumn::new("Uploader", "string", ".spec.uploaderType", "Uploader that copies the files"),
        ],
    }
}

impl PodVolumeBackup {
    /// Gives the phase; one that is not set yet counts as `New`.
    pub fn phase(&self) -> &DataMovePhase {
        self.status.phase.as_ref().unwrap_or(&DataMovePhase::New)
    }
}

/// Which volume is copied, and where to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodVolumeBackupSpec {
    /// Node that the pod runs on and that does the work.
    #[serde(deserialize_with = "nullable")]
    pub node: String,
    /// Pod that the volume belongs to.
    #[serde(deserialize_with = "nullable")]
    #[schemars(schema_with = "schema::object_reference")]
    pub pod: ObjectReference,
    /// Name of the volume inside the pod.
    #[serde(deserialize_with = "nullable")]
    pub volume: String,
    /// Name of the BackupStorageLocation that holds the repository.
    #[serde(deserialize_with = "nullable")]
    pub backup_storage_location: String,
    /// Identifier of the repository.
    #[serde(deserialize_with = "nullable")]
    pub repo_identifier: String,
    /// Uploader that copies the files; empty in old objects, where it means restic.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "never")]
    #[schemars(extend("enum" = ["kopia", "restic", ""]))]
    pub uploader_type: String,
    /// Key-value pairs that the snapshot in the repository carries.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub tags: BTreeMap<String, String>,
    /// Settings of the uploader.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub uploader_settings: BTreeMap<String, String>,
    /// Set to true to ask for the copy to be cancelled.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub cancel: bool,
}

/// How far a copy has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodVolumeBackupStatus {
    /// Where in its life the copy is; New if absent.
    #[serde(
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub phase: Option<DataMovePhase>,
    /// Path of the volume on the node.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub path: String,
    /// Identifier of the snapshot in the repository.
    #[serde(
        rename = "snapshotID",
        deserialize_with = "nullable",
        skip_serializing_if = "is_unset"
    )]
    pub snapshot_id: String,
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
    /// Bytes that were not in the repository yet.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub incremental_bytes: i64,
    /// When a node took the work on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub accepted_timestamp: Option<Time>,
}

resource! {
    /// A copy of files from a backup repository to one pod volume.
    PodVolumeRestore("podvolumerestores", "v1") {
        spec: PodVolumeRestoreSpec,
        status: PodVolumeRestoreStatus,
        short_names: [],
        columns: [
            PrinterColumn::new("Status", "string", ".status.phase", "Where in its life the copy is"),
            PrinterColumn::new("Started", "date", ".status.startTimestamp", "Time since work began"),
            PrinterColumn::bytes("Bytes Done", ".status.progress.bytesDone", "Bytes copied so far"),
            PrinterColumn::bytes("Total Bytes", ".status.progress.totalBytes", "Bytes to copy"),
            PrinterColumn::new("Storage Location", "string", ".spec.backupStorageLocation", "Location that holds the repository"),
            PrinterColumn::age(),
            PrinterColumn::new("Node", "string", ".status.node", "Node that does the work"),
            PrinterColumn::new("Uploader Type", "string", ".spec.uploaderType", "Uploader that copied the files"),
        ],
    }
}

impl PodVolumeRestore {
    /// Gives the phase; one that is not set yet counts as `New`.
    pub fn phase(&self) -> &DataMovePhase {
        self.status.phase.as_ref().unwrap_or(&DataMovePhase::New)
    }
}

/// Which volume is filled, and where from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodVolumeRestoreSpec {
    /// Pod that the volume belongs to.
    #[serde(deserialize_with = "nullable")]
    #[schemars(schema_with = "schema::object_reference")]
    pub pod: ObjectReference,
    /// Name of the volume inside the pod.
    #[serde(deserialize_with = "nullable")]
    pub volume: String,
    /// Name of the BackupStorageLocation that holds the repository.
    #[serde(deserialize_with = "nullable")]
    pub backup_storage_location: String,
    /// Identifier of the repository.
    #[serde(deserialize_with = "nullable")]
    pub repo_identifier: String,
    /// Uploader that copied the files; empty in old objects, where it means restic.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "never")]
    #[schemars(extend("enum" = ["kopia", "restic", ""]))]
    pub uploader_type: String,
    /// Identifier of the snapshot in the repository.
    #[serde(rename = "snapshotID", deserialize_with = "nullable")]
    pub snapshot_id: String,
    /// Namespace of the pod when it was backed up.
    #[serde(deserialize_with = "nullable")]
    pub source_namespace: String,
    /// Settings of the uploader.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub uploader_settings: BTreeMap<String, String>,
    /// Set to true to ask for the copy to be cancelled.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub cancel: bool,
    /// Size of the snapshot in bytes; zero if not known.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub snapshot_size: i64,
}

/// How far a copy has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodVolumeRestoreStatus {
    /// Where in its life the copy is; New if absent.
    #[serde(
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub phase: Option<DataMovePhase>,
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
    /// When a node took the work on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub accepted_timestamp: Option<Time>,
    /// Node that does the work.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub node: String,
}

/// Bytes of a volume copied so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DataMoveOperationProgress {
    /// Bytes to copy.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub total_bytes: i64,
    /// Bytes copied so far.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub bytes_done: i64,
}

open_enum! {
    /// Where in its life the copy of a volume is; the same words serve pod volumes, data uploads and data downloads.
    DataMovePhase {
        /// Seen by nobody yet.
        New,
        /// A node has taken the work on.
        Accepted,
        /// The volume can be reached; the copy has not begun.
        Prepared,
        /// The copy is under way.
        InProgress,
        /// The copy is being stopped.
        Canceling,
        /// The copy was stopped.
        Canceled,
        /// Ended well.
        Completed,
        /// Ended with an error.
        Failed,
    }
}

impl DataMovePhase {
    /// Says whether work on the volume has ended, well or not.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Canceled | Self::Completed | Self::Failed)
    }
}
