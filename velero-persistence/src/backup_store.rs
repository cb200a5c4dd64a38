//! Backups and restores in a store.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::PutMode;
use crate::bounded::Bounded;
use crate::codec::{self, Unpack};
use crate::error::{Error, Result};
use crate::layout::{Artifact, BACKUPS, BackupFile, TOP_LEVEL, check_name};
use crate::location::Location;
use crate::reader::ObjectReader;
use crate::store::ObjectStore;
use crate::writer::ObjectWriter;

/// Most bytes read of one file, packed or unpacked, other than the archive. Default 256 MiB.
const DEFAULT_LIMIT: u64 = 256 << 20;

/// Backups and restores in a store, in the peer's layout. Upstream: `pkg/persistence/object_store.go`.
///
/// Files are named by [`BackupFile`] and [`crate::RestoreFile`]. A backup is written in any order with
/// `velero-backup.json` **last**: a folder without it is no backup, so an upload that breaks off leaves nothing that
/// could be mistaken for one. The peer writes it before the archive, and deletes it again on failure if it still can.
///
/// ```
/// use velero_core::Timestamp;
/// use velero_persistence::{BackupFile, BackupStore, Claimant, Location, PutMode};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let location = Location::from_url("memory://doc-backups/cluster-a")?;
/// let backups = BackupStore::open(&location).await?;
///
/// let claim = backups.reserve("b1", &Claimant::new("uid-1"), Timestamp::now()).await?;
/// let mut archive = backups.writer(&BackupFile::Contents.of("b1")).await?;
/// archive.write("tar and gzip").await?;
/// archive.close().await?;
/// backups.put_list::<String>(&BackupFile::VolumeInfos.of("b1"), &[]).await?;
/// backups.put_metadata("b1", "{}".into(), PutMode::Create).await?;
/// claim.release(Timestamp::now()).await?;
///
/// assert_eq!(backups.list_backups().await?, ["b1"]);
/// let late = backups.reserve("b1", &Claimant::new("uid-2"), Timestamp::now()).await;
/// assert!(late.is_err());
/// # Ok::<(), velero_persistence::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct BackupStore {
    store: ObjectStore,
    limit: u64,
}

impl BackupStore {
    /// Makes a handle on a store.
    pub fn new(store: ObjectStore) -> Self {
        Self {
            store,
            limit: DEFAULT_LIMIT,
        }
    }

    /// Opens a location, as [`Location::open`].
    pub async fn open(location: &Location) -> Result<Self> {
        Ok(Self::new(location.open().await?))
    }

    /// Changes the most bytes read of one file other than the archive. Default 256 MiB.
    #[must_use]
    pub fn with_limit(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// The objects underneath.
    pub fn store(&self) -> &ObjectStore {
        &self.store
    }

    /// Checks that the store answers and that no foreign folder lies at its root. An empty one is fine.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidLayout`] names the foreign folders: all, or above three the first three.
    pub async fn validate(&self) -> Result<()> {
        let mut foreign = self.store.list_dirs("").await?;
        foreign.retain(|dir| !TOP_LEVEL.contains(&dir.as_str()));
        let names = match foreign.len() {
            0 => return Ok(()),
            1..=3 => foreign.join(", "),
            n => format!("{n} of them: {}, ...", foreign[..3].join(", ")),
        };
        Err(Error::InvalidLayout {
            store: self.store.describe(),
            detail: format!(
                "there are top-level folders that do not belong to a backup location ({names}); only {} may be there, use a prefix",
                TOP_LEVEL.join(", ")
            ),
        })
    }

    /// Lists the names of folders below `backups/`, sorted.
    ///
    /// Not each is a backup: ask [`BackupStore::backup_exists`].
    pub async fn list_backups(&self) -> Result<Vec<String>> {
        self.store.list_dirs(BACKUPS).await
    }

    /// Says whether a backup is complete: its `velero-backup.json` is there.
    pub async fn backup_exists(&self, backup: &str) -> Result<bool> {
        self.exists(&BackupFile::Metadata.of(backup)).await
    }

    /// Writes `velero-backup.json`, which makes the backup one: call it last.
    ///
    /// The caller gives the bytes, so that JSON read earlier is kept as it was; the peer's form is an indent of two
    /// spaces and no newline at the end. [`PutMode::Create`] for a new backup, [`PutMode::Replace`] for the final phase.
    ///
    /// # Errors
    ///
    /// [`Error::BackupExists`] with `Create`.
    pub async fn put_metadata(&self, backup: &str, json: Bytes, mode: PutMode) -> Result<()> {
        check_name("backup", backup)?;
        match mode {
            PutMode::Create => self.create_metadata(backup, json).await,
            PutMode::Replace => {
                self.store
                    .put(BackupFile::Metadata.of(backup).key(), json)
                    .await
            }
        }
    }

    /// Reads `velero-backup.json` as it is.
    pub async fn get_metadata(&self, backup: &str) -> Result<Bytes> {
        let artifact = BackupFile::Metadata.of(backup);
        artifact.check()?;
        self.store.get(artifact.key(), self.limit).await
    }

    /// Says whether a file is there.
    pub async fn exists(&self, artifact: &Artifact) -> Result<bool> {
        artifact.check()?;
        self.store.exists(artifact.key()).await
    }

    /// Starts writing a file as a stream of its final bytes: the archive.
    pub async fn writer(&self, artifact: &Artifact) -> Result<ObjectWriter> {
        artifact.check()?;
        self.store.writer(artifact.key()).await
    }

    /// Starts to replace a file by its first `keep` bytes and what is written then, as [`ObjectStore::extend`].
    pub async fn extend(&self, artifact: &Artifact, keep: u64) -> Result<ObjectWriter> {
        artifact.check()?;
        self.store.extend(artifact.key(), keep).await
    }

    /// Adds packed bytes behind a packed file, a log for instance: gzip files that follow each other are one. A file that
    /// is not there is made.
    pub async fn append_packed(&self, artifact: &Artifact, gzip: Bytes) -> Result<()> {
        artifact.check()?;
        let Some(size) = self.store.size(artifact.key()).await? else {
            return self.put_packed(artifact, gzip).await;
        };
        let mut writer = self.store.extend(artifact.key(), size).await?;
        writer.write(gzip).await?;
        writer.close().await
    }

    /// Opens a file as it is, packed.
    pub async fn reader(&self, artifact: &Artifact) -> Result<ObjectReader> {
        artifact.check()?;
        self.store.reader(artifact.key()).await
    }

    /// Writes a file whose bytes are packed already.
    pub async fn put_packed(&self, artifact: &Artifact, gzip: Bytes) -> Result<()> {
        artifact.check()?;
        self.store.put(artifact.key(), gzip).await
    }

    /// Packs bytes, a log for instance, and writes them.
    pub async fn put_text(&self, artifact: &Artifact, text: &[u8]) -> Result<()> {
        let packed = codec::gzip(text).map_err(|err| Error::Store {
            store: self.store.describe(),
            operation: format!("pack {:?}", artifact.key()),
            detail: err.to_string(),
            retryable: false,
        })?;
        self.put_packed(artifact, packed).await
    }

    /// Writes a value as packed JSON with a newline at the end.
    pub async fn put_json<T: Serialize + Sync + ?Sized>(
        &self,
        artifact: &Artifact,
        value: &T,
    ) -> Result<()> {
        let line = codec::json_line(value).map_err(|source| Error::Encode {
            what: artifact.key().to_owned(),
            source,
        })?;
        self.put_text(artifact, &line).await
    }

    /// Writes a list as packed JSON; an empty one as the peer does, `null` or `[]`.
    pub async fn put_list<T: Serialize + Sync>(
        &self,
        artifact: &Artifact,
        list: &[T],
    ) -> Result<()> {
        if list.is_empty() {
            let line = format!("{}\n", artifact.empty_list());
            return self.put_text(artifact, line.as_bytes()).await;
        }
        self.put_json(artifact, list).await
    }

    /// Reads a packed file and unpacks it, or returns `None` when it is absent.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when it is not gzip, [`Error::TooLarge`] above the limit.
    pub async fn get_bytes(&self, artifact: &Artifact) -> Result<Option<Bytes>> {
        artifact.check()?;
        let packed = match self.store.get(artifact.key(), self.limit).await {
            Ok(packed) => packed,
            Err(err) if err.is_not_found() => return Ok(None),
            Err(err) => return Err(err),
        };
        match codec::gunzip(&packed, self.limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Unpack::TooLarge) => Err(Error::TooLarge {
                store: self.store.describe(),
                key: artifact.key().to_owned(),
                limit: self.limit,
            }),
            Err(Unpack::Damaged(err)) => {
                Err(self.corrupt(artifact, format!("not gzip, or cut short: {err}")))
            }
        }
    }

    /// Reads a packed JSON file, or returns `None` when it is absent.
    pub async fn get_json<T: DeserializeOwned>(&self, artifact: &Artifact) -> Result<Option<T>> {
        let Some(bytes) = self.get_bytes(artifact).await? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|err| self.corrupt(artifact, format!("not the JSON it should be: {err}")))
    }

    /// Reads a packed JSON list; absent and `null` are empty.
    ///
    /// # Errors
    ///
    /// As [`BackupStore::get_bytes`]; [`Error::Corrupt`] for one of more than 500,000 elements, which no backup has: an
    /// element takes up to a hundred times more memory than its bytes.
    pub async fn get_list<T: DeserializeOwned>(&self, artifact: &Artifact) -> Result<Vec<T>> {
        let list: Option<Option<Bounded<T>>> = self.get_json(artifact).await?;
        Ok(list.flatten().map_or_else(Vec::new, |list| list.0))
    }

    /// Signs a URL for a file, as [`ObjectStore::presign_get`].
    pub async fn presign(&self, artifact: &Artifact, ttl: Duration) -> Result<String> {
        artifact.check()?;
        self.store.presign_get(artifact.key(), ttl).await
    }

    fn corrupt(&self, artifact: &Artifact, detail: String) -> Error {
        Error::Corrupt {
            store: self.store.describe(),
            key: artifact.key().to_owned(),
            detail,
        }
    }
}
