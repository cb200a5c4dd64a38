//! Where backups and snapshots are kept: BackupStorageLocation and VolumeSnapshotLocation.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString, api::core::v1::SecretKeySelector, apimachinery::pkg::apis::meta::v1::Time,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    GoDuration,
    api::{
        kind::{PrinterColumn, resource},
        lenient::{is_unset, non_empty, nullable},
        open_enum::open_enum,
        schema,
    },
};

resource! {
    /// A place in an object store where backups are kept.
    BackupStorageLocation("backupstoragelocations", "v1") {
        spec: BackupStorageLocationSpec,
        status: BackupStorageLocationStatus,
        short_names: ["bsl"],
        columns: [
            PrinterColumn::new("Phase", "string", ".status.phase", "Whether the location can be used"),
            PrinterColumn::new("Last Validated", "date", ".status.lastValidationTime", "Time since the location was last checked"),
            PrinterColumn::age(),
            PrinterColumn::new("Default", "boolean", ".spec.default", "Whether backups go here unless they say otherwise"),
        ],
    }
}

impl BackupStorageLocation {
    /// Says whether the last check found the location usable.
    pub fn is_available(&self) -> bool {
        self.status.phase == Some(BackupStorageLocationPhase::Available)
    }

    /// Says whether nothing may be written to or deleted from the location.
    pub fn is_read_only(&self) -> bool {
        self.spec.access_mode == Some(BackupStorageLocationAccessMode::ReadOnly)
    }
}

/// Which bucket a location is, and how to get in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStorageLocationSpec {
    /// Name of the object store provider, such as aws; without a slash, velero.io/ is put in front.
    #[serde(deserialize_with = "nullable")]
    pub provider: String,
    /// Settings of the provider, such as region.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub config: BTreeMap<String, String>,
    /// Secret with the credentials; the server's own credentials if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::secret_key")]
    pub credential: Option<SecretKeySelector>,
    /// Bucket and folder.
    #[serde(deserialize_with = "nullable")]
    pub object_storage: ObjectStorageLocation,
    /// Whether backups go here unless they say otherwise.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub default: bool,
    /// Whether the location may be written to; ReadWrite if absent.
    #[serde(
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub access_mode: Option<BackupStorageLocationAccessMode>,
    /// How often backups found in the bucket are brought into the cluster; zero for never, absent for the server's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub backup_sync_period: Option<GoDuration>,
    /// How often the location is checked; zero for never, absent for the server's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub validation_frequency: Option<GoDuration>,
}

/// Bucket and folder of a location.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectStorageLocation {
    /// Name of the bucket.
    #[serde(deserialize_with = "nullable")]
    pub bucket: String,
    /// Folder inside the bucket; the top if empty.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub prefix: String,
    /// Certificates, in PEM, that the store's certificate may be signed by. Superseded by caCertRef; only one may be set.
    #[serde(rename = "caCert", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bytes")]
    pub ca_cert: Option<ByteString>,
    /// Secret with certificates, in PEM, that the store's certificate may be signed by.
    #[serde(rename = "caCertRef", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::secret_key")]
    pub ca_cert_ref: Option<SecretKeySelector>,
}

/// What the last check of a location found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStorageLocationStatus {
    /// Whether the location can be used.
    #[serde(
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub phase: Option<BackupStorageLocationPhase>,
    /// When backups were last brought into the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_synced_time: Option<Time>,
    /// When the location was last checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_validation_time: Option<Time>,
    /// Why the location cannot be used.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub message: String,
    /// No longer used.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub last_synced_revision: String,
    /// No longer used.
    #[serde(
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub access_mode: Option<BackupStorageLocationAccessMode>,
}

open_enum! {
    /// Whether a storage location can be used.
    BackupStorageLocationPhase {
        /// It can be used.
        Available,
        /// It cannot; the message says why.
        Unavailable,
    }
}

open_enum! {
    /// Whether a storage location may be written to.
    BackupStorageLocationAccessMode {
        /// Only reading is allowed: nothing is written, nothing is deleted.
        ReadOnly,
        /// Everything is allowed.
        ReadWrite,
    }
}

resource! {
    /// A place where a provider keeps snapshots of volumes.
    VolumeSnapshotLocation("volumesnapshotlocations", "v1") {
        spec: VolumeSnapshotLocationSpec,
        status: VolumeSnapshotLocationStatus,
        short_names: ["vsl"],
        columns: [],
    }
}

/// Which provider keeps the snapshots, and how to get in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotLocationSpec {
    /// Name of the snapshot provider, such as aws; without a slash, velero.io/ is put in front.
    #[serde(deserialize_with = "nullable")]
    pub provider: String,
    /// Settings of the provider, such as region.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub config: BTreeMap<String, String>,
    /// Secret with the credentials; the server's own credentials if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::secret_key")]
    pub credential: Option<SecretKeySelector>,
}

/// State of a snapshot location, which no controller sets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotLocationStatus {
    /// Whether the location can be used.
    #[serde(
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub phase: Option<VolumeSnapshotLocationPhase>,
}

open_enum! {
    /// Whether a snapshot location can be used.
    VolumeSnapshotLocationPhase {
        /// It can be used.
        Available,
        /// It cannot.
        Unavailable,
    }
}
