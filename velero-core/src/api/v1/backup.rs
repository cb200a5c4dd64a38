//! The Backup kind.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::TypedLocalObjectReference,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, Time},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BackupHooks;
use crate::{
    GoDuration,
    api::{
        kind::resource,
        lenient::{is_unset, never, non_empty, nullable},
        open_enum::open_enum,
        schema,
    },
};

resource! {
    /// A backup of objects of the cluster, and how far it has come.
    Backup("backups", "v1") {
        spec: BackupSpec,
        status: BackupStatus,
        short_names: [],
        columns: [],
    }
}

impl Backup {
    /// Gives the phase; one that is not set yet counts as `New`.
    pub fn phase(&self) -> &BackupPhase {
        self.status.phase.as_ref().unwrap_or(&BackupPhase::New)
    }
}

/// What goes into a backup, and how it is taken.
///
/// There are two sets of resource filters, which exclude each other: the older one takes any resource, the newer one tells
/// cluster-scoped from namespaced resources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupSpec {
    /// Labels for the Backup that a Schedule makes from this template.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "never")]
    pub metadata: BackupMetadata,
    /// Namespaces to back up, with wildcards; all if empty.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub included_namespaces: Vec<String>,
    /// Namespaces to leave out.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub excluded_namespaces: Vec<String>,
    /// Resources to back up; all if empty. Older filter.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub included_resources: Vec<String>,
    /// Resources to leave out. Older filter.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub excluded_resources: Vec<String>,
    /// Cluster-scoped resources to back up, * for all; if empty, those related to what is backed up. Newer filter.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub included_cluster_scoped_resources: Vec<String>,
    /// Cluster-scoped resources to leave out, * for all. Newer filter.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub excluded_cluster_scoped_resources: Vec<String>,
    /// Namespaced resources to back up; all if empty. Newer filter.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub included_namespace_scoped_resources: Vec<String>,
    /// Namespaced resources to leave out, * for all. Newer filter.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub excluded_namespace_scoped_resources: Vec<String>,
    /// Labels that an object must have; any if absent. Excludes orLabelSelectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector", extend("nullable" = true))]
    pub label_selector: Option<LabelSelector>,
    /// Selectors of which one must match an object. Excludes labelSelector.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::label_selectors", extend("nullable" = true))]
    pub or_label_selectors: Vec<LabelSelector>,
    /// Whether to take snapshots of persistent volumes; if absent, wherever it is possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub snapshot_volumes: Option<bool>,
    /// How long the backup is kept, such as 720h0m0s; zero stands for the server's default.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "never")]
    pub ttl: GoDuration,
    /// Label key by which volumes are put into one group snapshot; the server's default if empty.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub volume_group_snapshot_label_key: String,
    /// Whether cluster-scoped resources are backed up; if absent, those related to what is backed up. Older filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub include_cluster_resources: Option<bool>,
    /// Commands to run in containers around the backup of their pods.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "never")]
    pub hooks: BackupHooks,
    /// Name of the BackupStorageLocation to write to; the default one if empty.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub storage_location: String,
    /// Names of VolumeSnapshotLocations, at most one for each provider.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub volume_snapshot_locations: Vec<String>,
    /// Older name of defaultVolumesToFsBackup; true here wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub default_volumes_to_restic: Option<bool>,
    /// Whether the files of all pod volumes are backed up unless a pod opts out; the server's default if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub default_volumes_to_fs_backup: Option<bool>,
    /// Order inside a kind: plural resource name to a list of names (namespace/name for namespaced ones), separated by commas.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub ordered_resources: BTreeMap<String, String>,
    /// How long a CSI snapshot may take to get its handle; zero stands for 10 minutes.
    #[serde(
        rename = "csiSnapshotTimeout",
        deserialize_with = "nullable",
        skip_serializing_if = "never"
    )]
    pub csi_snapshot_timeout: GoDuration,
    /// How long asynchronous operations of item actions may take; zero stands for the server's default.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "never")]
    pub item_operation_timeout: GoDuration,
    /// ConfigMap in the backup's namespace that holds resource policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::typed_local_reference")]
    pub resource_policy: Option<TypedLocalObjectReference>,
    /// Whether the data of snapshots is moved to the storage location; the server's default if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub snapshot_move_data: Option<bool>,
    /// Data mover to use; empty or velero for the built-in one.
    #[serde(
        rename = "datamover",
        deserialize_with = "nullable",
        skip_serializing_if = "is_unset"
    )]
    pub data_mover: String,
    /// Settings of the uploader of volume files.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub uploader_config: Option<UploaderConfigForBackup>,
}

/// Metadata for Backups that are made from a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupMetadata {
    /// Labels of the Backup; if there are none, the Schedule's own labels are used.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub labels: BTreeMap<String, String>,
}

/// Settings of the uploader for a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UploaderConfigForBackup {
    /// How many files are uploaded at the same time; zero leaves it to the uploader.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub parallel_files_upload: i64,
}

/// How far a backup has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStatus {
    /// Major version of the backup format: 1.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub version: i64,
    /// Version of the backup format, such as 1.1.0.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub format_version: String,
    /// When the backup may be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub expiration: Option<Time>,
    /// Where in its life the backup is; New if absent.
    #[serde(
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub phase: Option<BackupPhase>,
    /// Place in the queue, from 1; zero when not queued.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub queue_position: i64,
    /// What is wrong with the spec, when the phase is FailedValidation.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub validation_errors: Vec<String>,
    /// When work began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub start_timestamp: Option<Time>,
    /// When work ended, well or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub completion_timestamp: Option<Time>,
    /// Native volume snapshots tried.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub volume_snapshots_attempted: i64,
    /// Native volume snapshots that came about.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub volume_snapshots_completed: i64,
    /// Why the whole backup failed.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub failure_reason: String,
    /// Count of warnings; the texts are in the backup's results file.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub warnings: i64,
    /// Count of errors; the texts are in the backup's results file.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub errors: i64,
    /// Items done so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub progress: Option<BackupProgress>,
    /// CSI snapshots tried.
    #[serde(
        rename = "csiVolumeSnapshotsAttempted",
        deserialize_with = "nullable",
        skip_serializing_if = "is_unset"
    )]
    #[schemars(schema_with = "schema::integer")]
    pub csi_volume_snapshots_attempted: i64,
    /// CSI snapshots that became ready.
    #[serde(
        rename = "csiVolumeSnapshotsCompleted",
        deserialize_with = "nullable",
        skip_serializing_if = "is_unset"
    )]
    #[schemars(schema_with = "schema::integer")]
    pub csi_volume_snapshots_completed: i64,
    /// Asynchronous operations begun by item actions.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub backup_item_operations_attempted: i64,
    /// Asynchronous operations that ended well.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub backup_item_operations_completed: i64,
    /// Asynchronous operations that ended with an error.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub backup_item_operations_failed: i64,
    /// Hooks run so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub hook_status: Option<HookStatus>,
}

/// Items of a backup done so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupProgress {
    /// Items that the backup will hold; it may grow while work goes on.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub total_items: i64,
    /// Items written so far.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub items_backed_up: i64,
}

/// Hooks run so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HookStatus {
    /// Hooks tried.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub hooks_attempted: i64,
    /// Hooks that failed.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub hooks_failed: i64,
}

open_enum! {
    /// Where in its life a backup is.
    BackupPhase {
        /// Seen by nobody yet.
        New,
        /// Waits for its turn.
        Queued,
        /// Next to be worked on.
        ReadyToStart,
        /// The spec is wrong.
        FailedValidation,
        /// Items are being read.
        InProgress,
        /// Items are done; asynchronous operations are not.
        WaitingForPluginOperations,
        /// As `WaitingForPluginOperations`, and something has failed already.
        WaitingForPluginOperationsPartiallyFailed,
        /// Operations are done; items that depend on them are being written.
        Finalizing,
        /// As `Finalizing`, and something has failed already.
        FinalizingPartiallyFailed,
        /// Ended without errors.
        Completed,
        /// Ended with errors of single items.
        PartiallyFailed,
        /// Ended without a usable result.
        Failed,
        /// Being deleted, with all its data.
        Deleting,
    }
}

impl BackupPhase {
    /// Says whether work on the backup has ended, well or not; `Deleting` is work again.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::FailedValidation | Self::Completed | Self::PartiallyFailed | Self::Failed
        )
    }

    /// Says whether somebody works on a backup in this phase, or will: on its items, its operations, or its end.
    pub fn is_under_way(&self) -> bool {
        matches!(
            self,
            Self::InProgress
                | Self::WaitingForPluginOperations
                | Self::WaitingForPluginOperationsPartiallyFailed
                | Self::Finalizing
                | Self::FinalizingPartiallyFailed
        )
    }
}
