//! The end of a backup whose operations have ended: what they have changed is stored once more.
//!
//! A store can fail at any step, and a server can be killed between two. So how long the archive and the log were, and
//! what the results said, is noted in the backup's folder before anything is added to them; every try starts from there
//! and replaces what an earlier one has added. `velero-backup.json` says last that the backup has ended.
//!
//! What was added to the archive is not replaced: the actions that have made it may have removed what they made it of, as
//! that of the peer for VolumeSnapshots does. What came of it is noted before the archive is changed, with its new size;
//! a try that finds an archive of that size goes on behind this step.

use std::io::Read;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracing::Instrument as _;
use velero_backup::{ArchiveBase, FinalizeResult, archive_channel, artifacts};
use velero_core::GroupResource;
use velero_core::api::{Backup, DataUpload, VeleroKind as _};
use velero_core::archive::END_MEMBER;
use velero_core::artifact::VolumeInfo;
use velero_core::result::{About, Record, ResourceList, ResultsFile, Severity};
use velero_persistence::{BackupFile, layout};

use super::RunError;
use super::follow::Follow;
use super::put::fill;
use crate::logfile::LogFile;

/// Chunks of the archive between the engine and the upload, 256 KiB each.
const CHUNKS: usize = 16;

/// Lies in the backup's own folder while it is finalized, where the peer passes over what it does not know.
const FILE: &str = "x-velero-finalizing.json";

/// Most bytes of that file; the results are in it.
const LIMIT: u64 = 256 << 20;

/// What was in the store before the first try.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Before {
    /// Bytes of the archive that stay when items are added; `None` when it has not the end that this program writes.
    archive_keeps: Option<u64>,
    /// Size of the log.
    log_bytes: Option<u64>,
    results: ResultsFile,
    /// What the archive gets; it has it if it has that size.
    added: Option<Added>,
}

/// What came of storing items once more.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Added {
    /// Size of the archive with it.
    archive_bytes: u64,
    stored: u64,
    records: Vec<Noted>,
    resources: ResourceList,
}

/// A record on its way through a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Noted {
    error: bool,
    /// Resource, namespace and name of the item; none for the run as a whole.
    item: Option<[String; 3]>,
    message: String,
}

impl From<&Record> for Noted {
    fn from(record: &Record) -> Self {
        Self {
            error: record.severity == Severity::Error,
            item: match record.about.clone() {
                About::Run => None,
                About::Item {
                    resource,
                    namespace,
                    name,
                } => Some([resource, namespace, name]),
            },
            message: record.message.clone(),
        }
    }
}

impl From<&Noted> for Record {
    fn from(noted: &Noted) -> Self {
        let severity = match noted.error {
            true => Severity::Error,
            false => Severity::Warning,
        };
        match &noted.item {
            None => Self::run(severity, &noted.message),
            Some([resource, namespace, name]) => {
                let (namespace, name) = (namespace.as_str(), name.as_str());
                Self::item(severity, resource, namespace, name, &noted.message)
            }
        }
    }
}

impl Added {
    /// What the engine says, and the bytes of the archive that it has left in front.
    fn new(result: &FinalizeResult, kept: u64) -> Self {
        Self {
            archive_bytes: kept + result.archive_bytes,
            stored: result.stored,
            records: result.records.iter().map(Noted::from).collect(),
            resources: result.resource_list.clone(),
        }
    }

    fn records(&self) -> Vec<Record> {
        self.records.iter().map(Record::from).collect()
    }
}

impl Follow {
    /// Stores the items once more that operations name, and ends the backup.
    ///
    /// # Errors
    /// When the store or the cluster fails, or the work is cancelled: then it can be done again, and what was added is
    /// replaced. See [`Follow::give_up`] for what never works.
    pub async fn finalize(&mut self) -> Result<&Backup, RunError> {
        let log = self.logs.begin("backup", &self.log_name());
        let span = log.span().clone();
        self.confirm().await?;
        let mut before = self.before().await?;
        let added = self
            .store_again(&mut before)
            .instrument(span.clone())
            .await?
            .unwrap_or_default();
        let records = added.records();
        let mut backup = self.backup.clone();
        backup.status =
            artifacts::finalized_status(&backup, &self.operations, &records, (self.clock)());
        span.in_scope(|| {
            tracing::info!(
                items = added.stored,
                phase = %backup.phase(),
                "backup completed"
            );
        });
        let lines = log
            .finish()
            .and_then(LogFile::into_bytes)
            .map_err(RunError::Log)?;
        self.end_volume_infos().instrument(span).await?;
        self.add_resources(&added.resources).await?;
        self.put_results(before.results, &records).await?;
        self.end_log(before.log_bytes, lines.into()).await?;
        self.confirm().await?;
        self.put_metadata(&backup).await?;
        self.forget_before().await;
        self.backup = backup;
        Ok(&self.backup)
    }

    fn before_key(&self) -> String {
        layout::backup_dir(self.name()) + FILE
    }

    /// What was there before the first try: as it was noted then, or as it is now, which is noted.
    async fn before(&self) -> Result<Before, RunError> {
        let (objects, key) = (self.store.store(), self.before_key());
        match objects.get(&key, LIMIT).await {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(before) => return Ok(before),
                Err(error) => {
                    tracing::warn!(key, %error, "a note of an earlier try is damaged and not used");
                }
            },
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(RunError::store("look for an earlier try")(error)),
        }
        let log = BackupFile::Logs.of(self.name());
        let log_bytes = objects.size(log.key()).await;
        let before = Before {
            archive_keeps: self.kept_bytes().await?,
            log_bytes: log_bytes.map_err(RunError::store("look at the log of the backup"))?,
            results: self.results().await?,
            added: None,
        };
        self.note(&before).await?;
        Ok(before)
    }

    async fn note(&self, before: &Before) -> Result<(), RunError> {
        let (failed, key) = (
            || RunError::store("note where the archive ends"),
            self.before_key(),
        );
        let bytes = serde_json::to_vec(before).map_err(|source| {
            let what = key.clone();
            failed()(velero_persistence::Error::Encode { what, source })
        })?;
        let put = self.store.store().put(&key, bytes.into()).await;
        put.map_err(failed())
    }

    /// Removes the note about the first try; there is no need for it any more.
    pub(super) async fn forget_before(&self) {
        if let Err(error) = self.store.store().delete(&self.before_key()).await {
            tracing::warn!(
                backup = self.name(),
                error = velero_core::result::chain(&error),
                "a note about the end of the archive stays in the store; it does no harm"
            );
        }
    }

    /// Stores items once more, if operations name any and no earlier try has done so.
    async fn store_again(&self, before: &mut Before) -> Result<Option<Added>, RunError> {
        let any = self.operations.iter().any(|operation| {
            let items = operation.spec.post_operation_items.as_ref();
            items.is_some_and(|items| !items.is_empty())
        });
        if !any {
            return Ok(None);
        }
        let failed = || RunError::store("add to the archive");
        let archive = BackupFile::Contents.of(self.name());
        if let Some(added) = before.added.take() {
            let size = self.store.store().size(archive.key()).await;
            if size.map_err(failed())? == Some(added.archive_bytes) {
                tracing::info!("the items are in the archive from an earlier try");
                added.records().iter().for_each(Record::log);
                return Ok(Some(added));
            }
        }
        let (base, writer) = match before.archive_keeps {
            Some(keep) => {
                let writer = self.store.extend(&archive, keep).await.map_err(failed())?;
                (ArchiveBase::Tail, writer)
            }
            None => {
                let old = self.store.reader(&archive).await.map_err(failed())?;
                let old: Box<dyn Read + Send> = Box::new(old.into_blocking());
                let writer = self.store.writer(&archive).await.map_err(failed())?;
                (ArchiveBase::CopyOf(old), writer)
            }
        };
        let (sink, chunks) = archive_channel(CHUNKS);
        let work = self.engine.finalize(
            &self.backup,
            &self.operations,
            base,
            sink,
            self.engine_run(),
        );
        let (result, filled) = tokio::join!(work, fill(chunks, writer));
        let filled = filled.map_err(failed())?;
        let result = result?;
        let added = Added::new(&result, before.archive_keeps.unwrap_or_default());
        match filled {
            Some(writer) => {
                before.added = Some(added.clone());
                self.note(before).await?;
                writer.close().await.map_err(failed())?;
            }
            None if result.stored > 0 => return Err(RunError::Cancelled),
            None => {}
        }
        Ok(Some(added))
    }

    /// How many bytes of the archive stay when items are added; `None` when it has not the end that this program writes.
    async fn kept_bytes(&self) -> Result<Option<u64>, RunError> {
        let failed = || RunError::store("look at the archive");
        let archive = BackupFile::Contents.of(self.name());
        let objects = self.store.store();
        let size = objects.size(archive.key()).await.map_err(failed())?;
        let end = END_MEMBER.len() as u64;
        let Some(keep) = size.and_then(|size| size.checked_sub(end)) else {
            return Ok(None);
        };
        let tail = objects
            .range_reader(archive.key(), keep..keep + end)
            .await
            .map_err(failed())?;
        let tail = tail.read_to_end(end).await.map_err(failed())?;
        Ok((tail[..] == END_MEMBER[..]).then_some(keep))
    }

    /// Brings volume information up to what the operations came to.
    async fn end_volume_infos(&self) -> Result<(), RunError> {
        let file = BackupFile::VolumeInfos.of(self.name());
        let read = self.store.get_list(&file).await;
        let mut infos: Vec<VolumeInfo> =
            read.map_err(RunError::store("read the volume information of the backup"))?;
        if infos.is_empty() {
            return Ok(());
        }
        let uploads = self.data_uploads().await?;
        if !artifacts::end_volume_infos(&mut infos, &self.operations, &uploads) {
            return Ok(());
        }
        let document = artifacts::volume_infos(&infos);
        self.store
            .put_packed(&file, document.bytes.into())
            .await
            .map_err(RunError::store(
                "store the volume information of the backup",
            ))
    }

    /// The DataUploads that operations name, as they are in the cluster.
    async fn data_uploads(&self) -> Result<Vec<DataUpload>, RunError> {
        let kind = GroupResource::new(velero_core::names::GROUP, DataUpload::PLURAL);
        let items = self
            .operations
            .iter()
            .flat_map(|operation| operation.spec.post_operation_items.iter().flatten())
            .filter(|item| item.group_resource == kind);
        let cluster = self.engine.cluster();
        let catalog = cluster.catalog();
        let Some(resource) = catalog.get(&kind) else {
            return Ok(Vec::new());
        };
        let mut uploads = Vec::new();
        for item in items {
            let found = match cluster.get(resource, &item.namespace, &item.name).await {
                Ok(found) => found,
                Err(error) if error.is_retryable() => return Err(RunError::Cluster(error)),
                Err(error) => {
                    tracing::warn!(namespace = item.namespace, name = item.name, %error, "a DataUpload cannot be read");
                    None
                }
            };
            let parsed = found.map(|found| serde_json::from_slice(found.json()));
            match parsed.transpose() {
                Ok(upload) => uploads.extend(upload),
                Err(error) => {
                    tracing::warn!(namespace = item.namespace, name = item.name, %error, "a DataUpload cannot be understood");
                }
            }
        }
        Ok(uploads)
    }

    /// Adds to the list of items in the store; those that are in it already are not added again.
    async fn add_resources(&self, new: &ResourceList) -> Result<(), RunError> {
        if new.is_empty() {
            return Ok(());
        }
        let failed = || RunError::store("store the list of items of the backup");
        let file = BackupFile::ResourceList.of(self.name());
        let mut all: ResourceList = self
            .store
            .get_json(&file)
            .await
            .map_err(failed())?
            .unwrap_or_default();
        let before = all.len();
        all.merge(new);
        if all.len() == before {
            return Ok(());
        }
        let document = artifacts::resource_list(&all);
        self.store
            .put_packed(&file, document.bytes.into())
            .await
            .map_err(failed())
    }

    /// Puts the last lines behind the first `keep` bytes of the log.
    async fn end_log(&self, keep: Option<u64>, lines: Bytes) -> Result<(), RunError> {
        let failed = || RunError::store("add to the log of the backup");
        let log = BackupFile::Logs.of(self.name());
        let Some(keep) = keep else {
            let put = self.store.put_packed(&log, lines).await;
            return put.map_err(failed());
        };
        let mut writer = self.store.extend(&log, keep).await.map_err(failed())?;
        writer.write(lines).await.map_err(failed())?;
        writer.close().await.map_err(failed())
    }
}
