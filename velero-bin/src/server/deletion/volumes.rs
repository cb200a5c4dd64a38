//! Volume data that a backup stands for outside its own folder.

use serde_json::Value;
use velero_core::api::{Backup, PodVolumeBackup};
use velero_core::artifact::VolumeInfo;
use velero_core::names::{labels, valid_label_name};
use velero_persistence::{BackupFile, BackupStore};

use super::delete::Stop;
use crate::server::objects::Objects;

/// What the store and the cluster know of a backup's volume data.
#[derive(Debug, Clone, Default)]
pub(super) struct VolumeData {
    pub(super) infos: Vec<VolumeInfo>,
    pub(super) native_snapshots: Vec<Value>,
    pub(super) csi_snapshots: Vec<Value>,
    pub(super) pod_volumes: Vec<Value>,
    pub(super) live_pod_volumes: Vec<PodVolumeBackup>,
}

impl VolumeData {
    pub(super) async fn read(
        objects: &Objects,
        store: &BackupStore,
        backup: &str,
    ) -> Result<Self, Stop> {
        let selector = format!("{}={}", labels::BACKUP_NAME, valid_label_name(backup));
        Ok(Self {
            infos: store.get_list(&BackupFile::VolumeInfos.of(backup)).await?,
            native_snapshots: store
                .get_list(&BackupFile::VolumeSnapshots.of(backup))
                .await?,
            csi_snapshots: store
                .get_list(&BackupFile::CsiVolumeSnapshots.of(backup))
                .await?,
            pod_volumes: store
                .get_list(&BackupFile::PodVolumeBackups.of(backup))
                .await?,
            live_pod_volumes: objects.list_labelled(&selector).await?,
        })
    }
}

/// One line for each kind of data that this version cannot delete yet; empty when the backup has none.
pub(super) fn undeletable(backup: &Backup, data: &VolumeData) -> Vec<String> {
    let by_method = |method: &str| {
        data.infos
            .iter()
            .filter(|info| info.backup_method == method)
            .count()
    };
    let native_taken = data
        .native_snapshots
        .iter()
        .filter(|s| is_text(s.pointer("/status/providerSnapshotID")))
        .count();
    let stored = data
        .pod_volumes
        .iter()
        .filter(|p| is_text(p.pointer("/status/snapshotID")))
        .count();
    let live = data
        .live_pod_volumes
        .iter()
        .filter(|p| !p.status.snapshot_id.is_empty())
        .count();
    let moved = data
        .infos
        .iter()
        .filter(|info| info.snapshot_data_moved)
        .count();
    let asks_to_move = backup.spec.snapshot_move_data == Some(true) && data.infos.is_empty();
    let csi = (by_method("CSISnapshot") - moved.min(by_method("CSISnapshot")))
        .max(data.csi_snapshots.len());
    [
        ("native volume snapshots", native_taken.max(by_method("NativeSnapshot"))),
        ("pod volume backups", stored.max(live).max(by_method("PodVolumeBackup"))),
        ("CSI snapshots", csi),
        ("volumes whose snapshot was moved to a repository", moved.max(usize::from(asks_to_move))),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .map(|(what, count)| {
        format!("the backup has {count} {what}, which this version cannot delete; nothing of the backup was deleted")
    })
    .collect()
}

fn is_text(value: Option<&Value>) -> bool {
    value
        .and_then(Value::as_str)
        .is_some_and(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn data_outside_the_folder_is_found() {
        let info = |method: &str, moved: bool| VolumeInfo {
            backup_method: method.into(),
            snapshot_data_moved: moved,
            skipped: method.is_empty(),
            ..VolumeInfo::default()
        };
        let check = |data: VolumeData, expected: &[&str]| {
            let found = undeletable(&Backup::default(), &data);
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (line, part) in found.iter().zip(expected) {
                assert!(line.contains(part), "{line} {part}");
            }
        };
        check(VolumeData::default(), &[]);
        check(
            VolumeData {
                infos: vec![info("", false)],
                ..Default::default()
            },
            &[],
        );
        check(
            VolumeData {
                infos: vec![info("CSISnapshot", false)],
                ..Default::default()
            },
            &["1 CSI"],
        );
        check(
            VolumeData {
                infos: vec![info("CSISnapshot", true)],
                ..Default::default()
            },
            &["1 volumes whose"],
        );
        check(
            VolumeData {
                native_snapshots: vec![
                    json!({"status": {"providerSnapshotID": "s"}}),
                    json!({"status": {"phase": "Failed"}}),
                ],
                pod_volumes: vec![
                    json!({"status": {"snapshotID": "p"}}),
                    json!({"status": {}}),
                ],
                ..Default::default()
            },
            &["1 native", "1 pod volume"],
        );
        let mut moving = Backup::default();
        moving.spec.snapshot_move_data = Some(true);
        assert_eq!(undeletable(&moving, &VolumeData::default()).len(), 1);
    }
}
