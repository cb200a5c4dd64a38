//! The Restore kind.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::TypedLocalObjectReference,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, Time},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HookStatus, RestoreHooks};
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
    /// A restore of objects from a backup, and how far it has come.
    Restore("restores", "v1") {
        spec: RestoreSpec,
        status: RestoreStatus,
        short_names: [],
        columns: [],
    }
}

impl Restore {
    /// Gives the phase; one that is not set yet counts as `New`.
    pub fn phase(&self) -> &RestorePhase {
        self.status.phase.as_ref().unwrap_or(&RestorePhase::New)
    }
}

/// What is restored from which backup, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreSpec {
    /// Name of the backup. Excludes scheduleName.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub backup_name: String,
    /// Name of the schedule whose newest completed backup is restored. Excludes backupName.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub schedule_name: String,
    /// Namespaces, as in the backup, to restore, with wildcards; all if empty.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub included_namespaces: Vec<String>,
    /// Namespaces to leave out.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub excluded_namespaces: Vec<String>,
    /// Resources to restore; all if empty.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub included_resources: Vec<String>,
    /// Resources to leave out.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub excluded_resources: Vec<String>,
    /// Namespaces that get another name: name in the backup to name in the cluster.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub namespace_mapping: BTreeMap<String, String>,
    /// Labels that an object must have; any if absent. Excludes orLabelSelectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector", extend("nullable" = true))]
    pub label_selector: Option<LabelSelector>,
    /// Selectors of which one must match an object. Excludes labelSelector.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::label_selectors", extend("nullable" = true))]
    pub or_label_selectors: Vec<LabelSelector>,
    /// Whether the data of persistent volumes is restored from snapshots; true if absent.
    #[serde(rename = "restorePVs", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub restore_pvs: Option<bool>,
    /// Resources whose status is restored too; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub restore_status: Option<RestoreStatusSpec>,
    /// Whether services keep their node ports; false if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub preserve_node_ports: Option<bool>,
    /// Whether cluster-scoped resources are restored; if absent, those related to what is restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub include_cluster_resources: Option<bool>,
    /// What to do in pods when they are restored.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "never")]
    pub hooks: RestoreHooks,
    /// What to do with objects that are in the cluster already: none or update; none if empty.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub existing_resource_policy: String,
    /// How long asynchronous operations of item actions may take; zero stands for the server's default.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "never")]
    pub item_operation_timeout: GoDuration,
    /// ConfigMap in the restore's namespace that holds resource modifiers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::typed_local_reference", extend("nullable" = true))]
    pub resource_modifier: Option<TypedLocalObjectReference>,
    /// Settings of the downloader of volume files.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub uploader_config: Option<UploaderConfigForRestore>,
}

/// Resources whose status is restored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreStatusSpec {
    /// Resources to restore the status of; all if empty.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub included_resources: Vec<String>,
    /// Resources not to restore the status of.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub excluded_resources: Vec<String>,
}

/// Settings of the downloader for a restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UploaderConfigForRestore {
    /// Whether runs of zeros become holes in files.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub write_sparse_files: Option<bool>,
    /// How many files are downloaded at the same time; zero leaves it to the downloader.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub parallel_files_download: i64,
}

/// How far a restore has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreStatus {
    /// Where in its life the restore is; New if absent.
    #[serde(
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub phase: Option<RestorePhase>,
    /// What is wrong with the spec, when the phase is FailedValidation.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub validation_errors: Vec<String>,
    /// Count of warnings; the texts are in the restore's results file.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub warnings: i64,
    /// Count of errors; the texts are in the restore's results file.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub errors: i64,
    /// Why the whole restore failed.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub failure_reason: String,
    /// When work began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub start_timestamp: Option<Time>,
    /// When work ended, well or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub completion_timestamp: Option<Time>,
    /// Items done so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub progress: Option<RestoreProgress>,
    /// Asynchronous operations begun by item actions.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub restore_item_operations_attempted: i64,
    /// Asynchronous operations that ended well.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub restore_item_operations_completed: i64,
    /// Asynchronous operations that ended with an error.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub restore_item_operations_failed: i64,
    /// Hooks run so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub hook_status: Option<HookStatus>,
}

/// Items of a restore done so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreProgress {
    /// Items to restore; it may grow while work goes on.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub total_items: i64,
    /// Items restored so far.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(schema_with = "schema::integer")]
    pub items_restored: i64,
}

open_enum! {
    /// Where in its life a restore is.
    RestorePhase {
        /// Seen by nobody yet.
        New,
        /// The spec is wrong.
        FailedValidation,
        /// Items are being written.
        InProgress,
        /// Items are done; asynchronous operations are not.
        WaitingForPluginOperations,
        /// As `WaitingForPluginOperations`, and something has failed already.
        WaitingForPluginOperationsPartiallyFailed,
        /// Ended without errors.
        Completed,
        /// Ended with errors of single items.
        PartiallyFailed,
        /// Ended before the items were through.
        Failed,
        /// Operations are done; volumes and hooks are being finished.
        Finalizing,
        /// As `Finalizing`, and something has failed already.
        FinalizingPartiallyFailed,
    }
}

impl RestorePhase {
    /// Says whether work on the restore has ended, well or not.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::FailedValidation | Self::Completed | Self::PartiallyFailed | Self::Failed
        )
    }

    /// Says whether somebody works on a restore in this phase, or will: on its items, or on what they have left.
    pub fn is_under_way(&self) -> bool {
        !self.is_terminal() && *self != Self::New
    }
}
