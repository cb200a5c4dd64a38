/// Calls a generic function for each of the thirteen kinds.
macro_rules! for_every_kind {
    ($check:ident) => {
        $check::<Backup>();
        $check::<BackupRepository>();
        $check::<BackupStorageLocation>();
        $check::<DataDownload>();
        $check::<DataUpload>();
        $check::<DeleteBackupRequest>();
        $check::<DownloadRequest>();
        $check::<PodVolumeBackup>();
        $check::<PodVolumeRestore>();
        $check::<Restore>();
        $check::<Schedule>();
        $check::<ServerStatusRequest>();
        $check::<VolumeSnapshotLocation>();
    };
}

mod crd;
mod document;
mod duration;
mod go_json;
mod kinds;
mod merge;
mod names;
mod shape;
