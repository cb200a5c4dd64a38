//! A backup of which the operator gives the files, as a store of this machine.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use kube::Client;
use velero_core::api::{Backup, DownloadTargetKind as Kind, PodVolumeBackup};
use velero_core::names::{labels, valid_label_name};
use velero_persistence::{BackupFile, BackupStore, Location, PutMode};

use super::super::download::Downloader;
use super::super::objects::Objects;

/// The files that tell what a restore would do.
const FILES: [(Kind, BackupFile); 6] = [
    (Kind::BackupContents, BackupFile::Contents),
    (Kind::BackupLog, BackupFile::Logs),
    (Kind::BackupVolumeInfos, BackupFile::VolumeInfos),
    (Kind::BackupVolumeSnapshots, BackupFile::VolumeSnapshots),
    (Kind::BackupItemOperations, BackupFile::ItemOperations),
    (
        Kind::CsiBackupVolumeSnapshots,
        BackupFile::CsiVolumeSnapshots,
    ),
];

/// Fetches what a restore needs of a backup into a folder, and opens it as a store.
///
/// # Errors
/// When the operator does not answer in time, the store has no archive, or the folder cannot be written.
pub(super) async fn fetch_backup(
    downloads: &Downloader,
    client: Client,
    backup: &Backup,
    folder: &Path,
    timeout: Duration,
) -> Result<BackupStore> {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    for (kind, file) in FILES {
        let to = folder.join(file.of(name).key());
        let parent = to.parent().unwrap_or(folder);
        tokio::fs::create_dir_all(parent)
            .await
            .with_context(|| format!("cannot make the folder {}", parent.display()))?;
        let is_there = downloads.save(kind, name, timeout, &to).await?;
        if !is_there && file == BackupFile::Contents {
            bail!("the store has no archive of backup {name:?}");
        }
    }
    let url = url::Url::from_directory_path(folder)
        .map_err(|()| anyhow!("{} is not an absolute path", folder.display()))?;
    let store = BackupStore::open(&Location::from_url(url.as_str())?).await?;
    let namespace = backup.metadata.namespace.as_deref().unwrap_or_default();
    let copies: Objects<PodVolumeBackup> = Objects::new(client, namespace);
    let of_backup = format!("{}={}", labels::BACKUP_NAME, valid_label_name(name));
    let copies = copies.list(&of_backup).await?;
    store
        .put_list(&BackupFile::PodVolumeBackups.of(name), &copies)
        .await?;
    let metadata = Bytes::from(serde_json::to_vec(backup)?);
    store.put_metadata(name, metadata, PutMode::Replace).await?;
    Ok(store)
}
