//! Requests to the server: delete a backup, download a file, tell the status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    kind::{PrinterColumn, resource},
    lenient::{is_unset, non_empty, nullable},
    open_enum::open_enum,
    schema,
};

resource! {
    /// A request to delete a backup with all its data.
    DeleteBackupRequest("deletebackuprequests", "v1") {
        spec: DeleteBackupRequestSpec,
        status: DeleteBackupRequestStatus,
        short_names: [],
        columns: [
            PrinterColumn::new("BackupName", "string", ".spec.backupName", "Name of the backup to delete"),
            PrinterColumn::new("Status", "string", ".status.phase", "Where in its life the request is"),
        ],
    }
}

impl DeleteBackupRequest {
    /// Gives the phase; one that is not set yet counts as `New`.
    pub fn phase(&self) -> &DeleteBackupRequestPhase {
        self.status
            .phase
            .as_ref()
            .unwrap_or(&DeleteBackupRequestPhase::New)
    }
}

/// Which backup to delete.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteBackupRequestSpec {
    /// Name of the backup.
    #[serde(deserialize_with = "nullable")]
    pub backup_name: String,
}

/// How the deletion went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteBackupRequestStatus {
    /// Where in its life the request is; New if absent.
    #[serde(
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub phase: Option<DeleteBackupRequestPhase>,
    /// What went wrong; the backup is still there then.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub errors: Vec<String>,
}

open_enum! {
    /// Where in its life a request to delete a backup is.
    DeleteBackupRequestPhase {
        /// Seen by nobody yet.
        New,
        /// Data is being deleted.
        InProgress,
        /// Done, well or with errors.
        Processed,
    }
}

resource! {
    /// A request for an address from which a file of a backup or restore can be downloaded.
    DownloadRequest("downloadrequests", "v1") {
        spec: DownloadRequestSpec,
        status: DownloadRequestStatus,
        short_names: [],
        columns: [],
    }
}

/// Which file to download.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DownloadRequestSpec {
    /// The file to download.
    #[serde(deserialize_with = "nullable")]
    pub target: DownloadTarget,
}

/// A file of a backup or restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DownloadTarget {
    /// Which of its files.
    #[serde(deserialize_with = "nullable")]
    pub kind: DownloadTargetKind,
    /// Name of the backup or restore.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
}

/// Where the file can be downloaded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DownloadRequestStatus {
    /// Where in its life the request is; New if absent.
    #[serde(
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub phase: Option<DownloadRequestPhase>,
    /// Signed address of the file.
    #[serde(
        rename = "downloadURL",
        deserialize_with = "nullable",
        skip_serializing_if = "is_unset"
    )]
    pub download_url: String,
    /// When the address stops working.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub expiration: Option<Time>,
}

open_enum! {
    /// Where in its life a request for a download is.
    DownloadRequestPhase {
        /// Seen by nobody yet.
        New,
        /// The address is there.
        Processed,
    }
}

open_enum! {
    /// A kind of file that can be downloaded.
    DownloadTargetKind {
        /// Log of a backup.
        BackupLog,
        /// Archive of a backup.
        BackupContents,
        /// Native snapshots of a backup.
        BackupVolumeSnapshots,
        /// Asynchronous operations of a backup.
        BackupItemOperations,
        /// List of the objects in a backup.
        BackupResourceList,
        /// Warnings and errors of a backup.
        BackupResults,
        /// Log of a restore.
        RestoreLog,
        /// Warnings and errors of a restore.
        RestoreResults,
        /// List of the objects that a restore created, changed or skipped.
        RestoreResourceList,
        /// Asynchronous operations of a restore.
        RestoreItemOperations,
        /// CSI VolumeSnapshots of a backup.
        CsiBackupVolumeSnapshots = "CSIBackupVolumeSnapshots",
        /// CSI VolumeSnapshotContents of a backup.
        CsiBackupVolumeSnapshotContents = "CSIBackupVolumeSnapshotContents",
        /// How each volume of a backup was saved.
        BackupVolumeInfos,
        /// How each volume of a restore was filled.
        RestoreVolumeInfo,
    }
}

resource! {
    /// A request to the server to tell its version and plugins.
    ServerStatusRequest("serverstatusrequests", "v1") {
        spec: ServerStatusRequestSpec,
        status: ServerStatusRequestStatus,
        short_names: ["ssr"],
        columns: [],
    }
}

/// Nothing to ask for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerStatusRequestSpec {}

/// The server's answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerStatusRequestStatus {
    /// Where in its life the request is; New if absent.
    #[serde(
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub phase: Option<ServerStatusRequestPhase>,
    /// When the server answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub processed_timestamp: Option<Time>,
    /// Version of the server.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub server_version: String,
    /// Plugins and built-in actions that the server has.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub plugins: Vec<PluginInfo>,
}

/// A plugin of the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginInfo {
    /// Name, such as velero.io/pod.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// What it is, such as BackupItemAction.
    #[serde(deserialize_with = "nullable")]
    pub kind: String,
}

open_enum! {
    /// Where in its life a request for the status is.
    ServerStatusRequestPhase {
        /// Seen by nobody yet.
        New,
        /// The answer is there.
        Processed,
    }
}
