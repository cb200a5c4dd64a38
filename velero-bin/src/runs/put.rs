//! The files of a backup on their way into the store.

use bytes::Bytes;
use velero_backup::{
    ArchiveChunks, BackupEngine, BackupRequest, BackupResult, archive_channel, artifacts,
};
use velero_core::CancellationToken;
use velero_core::api::Backup;
use velero_persistence::{
    Artifact, BackupFile, BackupStore, ErrorKind, ObjectWriter, PutMode, layout,
};

use super::RunError;
use super::claim::Claim;
use super::failure::FailureLog;
use super::tidy::{Written, unless_late};

/// Chunks of the archive between the engine and the upload, 256 KiB each.
const CHUNKS: usize = 16;

/// Puts the files of a backup in their places.
pub(super) struct Put<'a> {
    pub(super) store: &'a BackupStore,
    pub(super) name: &'a str,
    pub(super) cancel: &'a CancellationToken,
    pub(super) written: &'a Written,
}

impl Put<'_> {
    /// Runs the engine and uploads what it writes, at the same time.
    pub(super) async fn archive(
        &self,
        engine: &BackupEngine,
        request: &BackupRequest,
        run: velero_backup::BackupRun,
    ) -> Result<BackupResult, RunError> {
        let failed = || RunError::store("store the archive");
        let archive = BackupFile::Contents.of(self.name);
        self.written.note(archive.key());
        let opened = async { self.store.writer(&archive).await.map_err(failed()) };
        let writer = unless_late(self.cancel, opened).await?;
        let (sink, chunks) = archive_channel(CHUNKS);
        // The engine ends by itself when it is cancelled; a store that is silent does not. An upload that is dropped
        // here is given up in its own task.
        let upload = async { upload(chunks, writer).await.map_err(failed()) };
        let upload = unless_late(self.cancel, upload);
        let (result, uploaded) = tokio::join!(engine.run(request, sink, run), upload);
        // A store that failed is why the engine failed.
        match (uploaded, result) {
            (Err(error), _) => Err(error),
            (Ok(_), Err(error)) => Err(error.into()),
            (Ok(Uploaded::Whole), Ok(result)) => Ok(result),
            (Ok(Uploaded::GivenUp), Ok(_)) => Err(RunError::Cancelled),
        }
    }

    /// Stores what comes after the archive; the metadata comes last.
    pub(super) async fn rest(
        &self,
        result: &BackupResult,
        log: &mut FailureLog,
        backup: &Backup,
        claim: &Claim,
    ) -> Result<(), RunError> {
        for document in artifacts::artifacts(result) {
            let Some(artifact) = named(self.name, document.suffix) else {
                continue;
            };
            let failed = RunError::store("store the results of the backup");
            let put = self.packed(&artifact, document.bytes.into()).await?;
            put.map_err(failed)?;
        }
        if backup.phase().is_terminal() {
            tracing::info!(phase = %backup.phase(), "backup completed");
        } else {
            tracing::info!(phase = %backup.phase(), "the items are stored; operations of actions go on");
        }
        go_on(self.cancel)?;
        let log = log.finish().map_err(RunError::Log)?;
        let failed = RunError::store("store the log of the backup");
        let put = self.packed(&BackupFile::Logs.of(self.name), log).await?;
        put.map_err(failed)?;
        go_on(self.cancel)?;
        claim.confirm().await?;
        self.metadata(backup).await
    }

    /// Stores a file, unless the run is cancelled.
    async fn packed(
        &self,
        artifact: &Artifact,
        bytes: Bytes,
    ) -> Result<Result<(), velero_persistence::Error>, RunError> {
        go_on(self.cancel)?;
        self.written.note(artifact.key());
        Ok(self.store.put_packed(artifact, bytes).await)
    }

    async fn metadata(&self, backup: &Backup) -> Result<(), RunError> {
        let metadata = artifacts::metadata_json(backup);
        let put = self
            .store
            .put_metadata(self.name, metadata.into(), PutMode::Create);
        match put.await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(RunError::backup_exists(self.name, self.store))
            }
            Err(error) => Err(RunError::store("store the metadata of the backup")(error)),
        }
    }
}

/// How an upload has ended.
enum Uploaded {
    /// The object is there.
    Whole,
    /// There was no end to wait for; nothing is left of it.
    GivenUp,
}

/// Uploads what an engine writes.
async fn upload(
    chunks: ArchiveChunks,
    writer: ObjectWriter,
) -> Result<Uploaded, velero_persistence::Error> {
    let Some(writer) = fill(chunks, writer).await? else {
        return Ok(Uploaded::GivenUp);
    };
    writer.close().await?;
    Ok(Uploaded::Whole)
}

/// Writes what an engine writes, up to its end: what is left then is to close the object. `None` when the engine has
/// given up; nothing is left of the object then.
pub(super) async fn fill(
    mut chunks: ArchiveChunks,
    mut writer: ObjectWriter,
) -> Result<Option<ObjectWriter>, velero_persistence::Error> {
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(bytes) => writer.write(bytes).await?,
            Err(_) => {
                writer.abort().await?;
                return Ok(None);
            }
        }
    }
    Ok(Some(writer))
}

fn go_on(cancel: &CancellationToken) -> Result<(), RunError> {
    if cancel.is_cancelled() {
        return Err(RunError::Cancelled);
    }
    Ok(())
}

/// The file of a backup whose name ends with `suffix`.
fn named(backup: &str, suffix: &str) -> Option<Artifact> {
    let key = format!("{}{backup}{suffix}", layout::backup_dir(backup));
    BackupFile::ALL
        .iter()
        .map(|file| file.of(backup))
        .find(|artifact| artifact.key() == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_has_its_place() {
        for suffix in [
            "-podvolumebackups.json.gz",
            "-volumesnapshots.json.gz",
            "-itemoperations.json.gz",
            "-resource-list.json.gz",
            "-results.gz",
            "-volumeinfo.json.gz",
        ] {
            assert!(named("b", suffix).is_some(), "{suffix}");
        }
    }
}
