//! The BackupRepository kind.

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
    },
};

resource! {
    /// A repository for the volume data of one namespace in one storage location.
    BackupRepository("backuprepositories", "v1") {
        spec: BackupRepositorySpec,
        status: BackupRepositoryStatus,
        short_names: [],
        columns: [
            PrinterColumn::age(),
            PrinterColumn::new("Repository Type", "string", ".spec.repositoryType", "Program whose format the repository has"),
        ],
    }
}

impl BackupRepository {
    /// Gives the phase; one that is not set yet counts as `New`.
    pub fn phase(&self) -> &BackupRepositoryPhase {
        self.status
            .phase
            .as_ref()
            .unwrap_or(&BackupRepositoryPhase::New)
    }
}

/// Whose data a repository holds, and how it is looked after.
///
/// Namespace, location and type together are unique.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupRepositorySpec {
    /// Namespace whose volumes the repository holds.
    #[serde(deserialize_with = "nullable")]
    pub volume_namespace: String,
    /// Name of the BackupStorageLocation that holds the repository.
    #[serde(deserialize_with = "nullable")]
    pub backup_storage_location: String,
    /// Program whose format the repository has; empty in old objects, where it means restic.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "never")]
    #[schemars(extend("enum" = ["kopia", "restic", ""]))]
    pub repository_type: String,
    /// Address of the repository for restic; empty for kopia.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub restic_identifier: String,
    /// How often maintenance runs.
    #[serde(deserialize_with = "nullable")]
    pub maintenance_frequency: GoDuration,
    /// Settings of the repository.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub repository_config: BTreeMap<String, String>,
}

/// How a repository is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupRepositoryStatus {
    /// Whether the repository can be used; New if absent.
    #[serde(
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub phase: Option<BackupRepositoryPhase>,
    /// Why the repository cannot be used, or what went wrong last.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub message: String,
    /// When maintenance last succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_maintenance_time: Option<Time>,
    /// The last runs of maintenance, three at most, oldest first.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub recent_maintenance: Vec<BackupRepositoryMaintenanceStatus>,
}

/// One run of maintenance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupRepositoryMaintenanceStatus {
    /// How the run ended.
    #[serde(
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub result: Option<BackupRepositoryMaintenanceResult>,
    /// When the run began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub start_timestamp: Option<Time>,
    /// When the run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub complete_timestamp: Option<Time>,
    /// What went wrong.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub message: String,
}

open_enum! {
    /// Whether a repository can be used.
    BackupRepositoryPhase {
        /// Seen by nobody yet.
        New,
        /// It can be used.
        Ready,
        /// It cannot; the message says why.
        NotReady,
    }
}

open_enum! {
    /// How a run of maintenance ended.
    BackupRepositoryMaintenanceResult {
        /// Well.
        Succeeded,
        /// With an error.
        Failed,
    }
}
