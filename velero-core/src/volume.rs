//! What takes the data of volumes into a backup, native snapshots and copies of the files of pods, and what makes volumes
//! of snapshots again.

mod restorer;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ItemTree;
use crate::action::ActionError;
use crate::api::{Backup, PodVolumeBackup};

pub use restorer::SnapshotRestorer;

/// What a storage system says of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeProperties {
    /// Type of the volume, as the storage system calls it.
    pub volume_type: String,
    /// Operations a second that were paid for; `None` when it has no such notion.
    pub iops: Option<i64>,
}

/// Takes snapshots of volumes through the API of a storage system.
///
/// One stands for one VolumeSnapshotLocation. Mirrors the backup half of upstream's `VolumeSnapshotter` plugin.
#[async_trait]
pub trait VolumeSnapshotter: Send + Sync {
    /// The name of the VolumeSnapshotLocation.
    fn location(&self) -> &str;

    /// The id of a PersistentVolume in the storage system; `None` when its volumes are not of this one.
    ///
    /// # Errors
    /// An error becomes a record of the run; the next location is asked.
    async fn volume_id(&self, volume: &ItemTree) -> Result<Option<String>, ActionError>;

    /// Looks at a volume. `zone` is empty when the PersistentVolume does not tell it.
    ///
    /// # Errors
    /// An error becomes a record at the PersistentVolume, whose snapshot is then not taken.
    async fn properties(
        &self,
        volume_id: &str,
        zone: &str,
    ) -> Result<VolumeProperties, ActionError>;

    /// Takes a snapshot and gives its id.
    ///
    /// # Errors
    /// An error becomes a record at the PersistentVolume, and the snapshot one that failed.
    async fn create_snapshot(
        &self,
        volume_id: &str,
        zone: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<String, ActionError>;
}

/// One volume of a pod whose files are to be copied.
#[derive(Debug, Clone, Copy)]
pub struct PodVolume<'a> {
    /// The pod, as it was read.
    pub pod: &'a ItemTree,
    /// Name of the volume in the pod.
    pub volume: &'a str,
    /// Name and uid of the claim behind it, where there is one. The uid is empty when the claim cannot be read.
    pub claim: Option<(&'a str, &'a str)>,
}

/// Copies the files of pod volumes.
#[async_trait]
pub trait PodVolumeBackups: Send + Sync {
    /// Starts to copy one volume and gives the custom resource that stands for the copy. Does not wait for it.
    ///
    /// # Errors
    /// An error becomes a record at the pod; the volume counts as not copied.
    async fn create(
        &self,
        backup: &Backup,
        volume: PodVolume<'_>,
    ) -> Result<PodVolumeBackup, ActionError>;

    /// Waits until all of some copies have ended, well or not, and gives them back as they then are.
    ///
    /// Gives back what it has after `timeout` at the latest.
    ///
    /// # Errors
    /// When the copies cannot be looked at any more; they then count as they were when they were made.
    async fn wait(
        &self,
        created: &[PodVolumeBackup],
        timeout: Duration,
    ) -> Result<Vec<PodVolumeBackup>, ActionError>;
}

/// How a native snapshot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SnapshotPhase {
    /// Not tried yet.
    #[default]
    New,
    /// Taken.
    Completed,
    /// Not taken.
    Failed,
}

impl fmt::Display for SnapshotPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "New",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
        })
    }
}

/// One entry of `<backup>-volumesnapshots.json.gz`: a native snapshot.
///
/// Fields that this version does not know are kept. Mirrors upstream's `internal/volume/native_snapshot.go`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NativeSnapshot {
    /// What was to be snapshotted.
    #[serde(default)]
    pub spec: NativeSnapshotSpec,
    /// What came of it.
    #[serde(default)]
    pub status: NativeSnapshotStatus,
}

/// What a [`NativeSnapshot`] is of.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NativeSnapshotSpec {
    /// Backup.
    pub backup_name: String,
    /// UID of the backup.
    #[serde(rename = "backupUID")]
    pub backup_uid: String,
    /// VolumeSnapshotLocation.
    pub location: String,
    /// PersistentVolume.
    pub persistent_volume_name: String,
    /// Id of the volume in the storage system.
    #[serde(rename = "providerVolumeID")]
    pub provider_volume_id: String,
    /// Type of the volume.
    pub volume_type: String,
    /// Zone of the volume.
    #[serde(rename = "volumeAZ", skip_serializing_if = "String::is_empty")]
    pub volume_az: String,
    /// Operations a second.
    #[serde(rename = "volumeIOPS", skip_serializing_if = "Option::is_none")]
    pub volume_iops: Option<i64>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What came of a [`NativeSnapshot`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NativeSnapshotStatus {
    /// Id of the snapshot in the storage system.
    #[serde(
        rename = "providerSnapshotID",
        skip_serializing_if = "String::is_empty"
    )]
    pub provider_snapshot_id: String,
    /// How it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<SnapshotPhase>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
