//! What makes volumes of native snapshots.

use async_trait::async_trait;

use super::NativeSnapshot;
use crate::ItemTree;
use crate::action::ActionError;

/// Makes volumes of native snapshots, through the API of a storage system.
///
/// One stands for one VolumeSnapshotLocation. Mirrors the restore half of upstream's `VolumeSnapshotter` plugin.
#[async_trait]
pub trait SnapshotRestorer: Send + Sync {
    /// The name of the VolumeSnapshotLocation whose snapshots it reads.
    fn location(&self) -> &str;

    /// Makes a volume of a snapshot and gives its id in the storage system. Type, zone and operations a second of the
    /// volume that was backed up are in `spec` of the snapshot.
    ///
    /// # Errors
    /// An error becomes a record at the PersistentVolume, which is then not restored.
    async fn create_volume(&self, snapshot: &NativeSnapshot) -> Result<String, ActionError>;

    /// Makes a PersistentVolume stand for a volume of the storage system. It may get another name, which its claim
    /// follows.
    ///
    /// # Errors
    /// As for [`create_volume`](Self::create_volume); the volume of the storage system stays, and the record names it.
    async fn set_volume_id(
        &self,
        volume: ItemTree,
        volume_id: &str,
    ) -> Result<ItemTree, ActionError>;
}
