//! The DataDownload kind.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NodeOs;
use crate::{
    GoDuration,
    api::{
        kind::{PrinterColumn, resource},
        lenient::{is_unset, never, non_empty, nullable},
        schema,
        v1::{DataMoveOperationProgress, DataMovePhase},
    },
};

resource! {
    /// A move of data from a backup repository to one new volume.
    DataDownload("datadownloads", "v2alpha1") {
        spec: DataDownloadSpec,
        status: DataDownloadStatus,
        short_names: [],
        columns: [
            PrinterColumn::new("Status", "string", ".status.phase", "Where in its life the move is"),
            PrinterColumn::new("Started", "date", ".status.startTimestamp", "Time since work began"),
            PrinterColumn::bytes("Bytes Done", ".status.progress.bytesDone", "Bytes moved so far"),
            PrinterColumn::bytes("Total Bytes", ".status.progress.totalBytes", "Bytes to move"),
            PrinterColumn::new("Storage Location", "string", ".spec.backupStorageLocation", "Location that holds the repository"),
            PrinterColumn::age(),
            PrinterColumn::new("Node", "string", ".status.node", "Node that does the work"),
        ],
    }
}

impl DataDownload {
    /// Gives the phase; one that is not set yet counts as `New`.
    pub fn phase(&self) -> &DataMovePhase {
        self.status.phase.as_ref().unwrap_or(&DataMovePhase::New)
    }
}

/// Which volume is filled, and where from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DataDownloadSpec {
    /// The volume to fill.
    #[serde(deserialize_with = "nullable")]
    pub target_volume: TargetVolumeSpec,
    /// Name of the BackupStorageLocation that holds the repository.
    #[serde(deserialize_with = "nullable")]
    pub backup_storage_location: String,
    /// Data mover to use; empty or velero for the built-in one.
    #[serde(
        rename = "datamover",
        deserialize_with = "nullable",
        skip_serializing_if = "is_unset"
    )]
    pub data_mover: String,
    /// Identifier of the snapshot in the repository.
    #[serde(rename = "snapshotID", deserialize_with = "nullable")]
    pub snapshot_id: String,
    /// Namespace of the claim when it was backed up.
    #[serde(deserialize_with = "nullable")]
    pub source_namespace: String,
    /// Settings of the data mover.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub data_mover_config: BTreeMap<String, String>,
    /// Set to true to ask for the move to be cancelled.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub cancel: bool,
    /// How long internal steps, such as the creation of a volume, may take.
    #[serde(deserialize_with = "nullable")]
    pub operation_timeout: GoDuration,
    /// Operating system of the node that must do the work.
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

/// A volume to fill, by its claim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetVolumeSpec {
    /// Name of the claim.
    #[serde(deserialize_with = "nullable")]
    pub pvc: String,
    /// Name of the persistent volume that the claim will have; empty if not known yet.
    #[serde(deserialize_with = "nullable")]
    pub pv: String,
    /// Namespace of the claim.
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
}

/// How far a move has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DataDownloadStatus {
    /// Where in its life the move is; New if absent.
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
    /// Node that does the work.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub node: String,
    /// Node that took the work on.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub accepted_by_node: String,
    /// When a node took the work on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub accepted_timestamp: Option<Time>,
}
