//! A backup from its custom resource to the last artifact in the store.

use std::sync::Arc;

use tracing::Instrument as _;
use velero_backup::{
    ArchiveChunks, BackupEngine, BackupOptions, BackupRequest, BackupResult, archive_channel,
    artifacts,
};
use velero_cluster::Cluster;
use velero_core::action::BackupItemAction;
use velero_core::api::Backup;
use velero_core::{CancellationToken, Progress};
use velero_persistence::{
    Artifact, BackupFile, BackupStore, ErrorKind, ObjectWriter, PutMode, layout,
};

use super::{Clock, RunError};
use crate::logfile::RunLog;

/// Chunks of the archive between the engine and the upload, 256 KiB each.
const CHUNKS: usize = 16;

/// One backup to run.
pub struct BackupRun {
    /// The cluster to read.
    pub cluster: Cluster,
    /// Where the backup goes.
    pub store: BackupStore,
    /// Name, namespace, uid and the spec with its defaults filled in. A start time and an expiration in the status are
    /// kept; without them they are the time of the clock, and that plus `spec.ttl`.
    pub backup: Backup,
    /// Actions beyond the built-in ones.
    pub actions: Vec<Arc<dyn BackupItemAction>>,
    /// How the engine runs.
    pub options: BackupOptions,
    /// The run's log; its file becomes an artifact.
    pub log: RunLog,
    /// Receives the counts, often.
    pub progress: Arc<dyn Progress>,
    /// Ends the run; the store is left as it was.
    pub cancel: CancellationToken,
    /// Tells the time.
    pub clock: Clock,
}

/// A backup that has been run to its end.
#[derive(Debug)]
pub struct BackupDone {
    /// The resource with its final status, as it lies in the store.
    pub backup: Backup,
    /// What the engine says: records, counts, lists.
    pub result: BackupResult,
}

/// Runs a backup.
///
/// The archive streams into the store; log, results and lists follow; `velero-backup.json` comes last, so that the
/// backup is in the store whole or not at all. End it by its token, not by dropping the future, which leaves the
/// claim on the name behind.
///
/// # Errors
/// When the spec is at fault, a backup of that name exists, the run is cancelled, or the store or the API server
/// fails. Nothing is left in the store then.
pub async fn run_backup(run: BackupRun) -> Result<BackupDone, RunError> {
    let span = run.log.span().clone();
    claimed(run).instrument(span).await
}

/// Claims the name, runs, and cleans up behind a run that failed.
async fn claimed(run: BackupRun) -> Result<BackupDone, RunError> {
    let name = run.backup.metadata.name.clone().unwrap_or_default();
    let holder = run
        .backup
        .metadata
        .uid
        .clone()
        .unwrap_or_else(|| name.clone());
    let engine = BackupEngine::new(run.cluster.clone())
        .actions(run.actions.clone())
        .options(run.options.clone());
    let store = run.store.clone();
    if store
        .backup_exists(&name)
        .await
        .map_err(RunError::store("look for the backup"))?
    {
        return Err(exists(&name, &store));
    }
    let request = tokio::select! {
        biased;
        () = run.cancel.cancelled() => return Err(RunError::Cancelled),
        request = engine.request(&run.backup) => request?,
    };
    store
        .reserve(&name, &holder)
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => match error {
                velero_persistence::Error::BackupReserved { .. } => {
                    RunError::store("claim the name of the backup")(error)
                }
                _ => exists(&name, &store),
            },
            _ => RunError::store("claim the name of the backup")(error),
        })?;
    match write(run, &engine, &request, &name).await {
        Ok(done) => {
            if let Err(error) = store.release(&name, &holder).await {
                tracing::warn!(
                    error = velero_core::result::chain(&error),
                    "the claim on the backup's name stays in the store"
                );
            }
            Ok(done)
        }
        // The folder is another writer's now.
        Err(error @ RunError::AlreadyExists { .. }) => Err(error),
        Err(error) => {
            if let Err(left) = store
                .store()
                .delete_prefix(&layout::backup_dir(&name))
                .await
            {
                tracing::warn!(
                    error = velero_core::result::chain(&left),
                    "files of the failed backup stay in the store"
                );
            }
            Err(error)
        }
    }
}

fn exists(name: &str, store: &BackupStore) -> RunError {
    RunError::AlreadyExists {
        what: "backup",
        name: name.to_owned(),
        store: store.store().describe(),
    }
}

/// Writes everything; the metadata comes last.
async fn write(
    run: BackupRun,
    engine: &BackupEngine,
    request: &BackupRequest,
    name: &str,
) -> Result<BackupDone, RunError> {
    let BackupRun {
        store,
        mut backup,
        log,
        progress,
        cancel,
        clock,
        ..
    } = run;
    let start = backup
        .status
        .start_timestamp
        .as_ref()
        .map_or_else(|| clock(), |time| time.0);
    tracing::info!(
        includedNamespaces = backup.spec.included_namespaces.join(", "),
        excludedNamespaces = backup.spec.excluded_namespaces.join(", "),
        "starting the backup"
    );
    let engine_run = velero_backup::BackupRun {
        progress,
        cancel: cancel.clone(),
        start,
        clock,
    };
    let result = archive(engine, request, &store, engine_run, name).await?;
    backup.status = artifacts::final_status(&backup, &result);
    tracing::info!(
        items = result.backed_up,
        warnings = result.warnings(),
        errors = result.errors(),
        archiveBytes = result.archive_bytes,
        "the archive is written"
    );
    let rest = put_rest(&store, name, &result, log, &backup);
    tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(RunError::Cancelled),
        outcome = rest => outcome?,
    }
    Ok(BackupDone { backup, result })
}

/// Runs the engine and uploads what it writes, at the same time.
async fn archive(
    engine: &BackupEngine,
    request: &BackupRequest,
    store: &BackupStore,
    run: velero_backup::BackupRun,
    name: &str,
) -> Result<BackupResult, RunError> {
    let failed = RunError::store("store the archive");
    let writer = match store.writer(&BackupFile::Contents.of(name)).await {
        Ok(writer) => writer,
        Err(error) => return Err(failed(error)),
    };
    let (sink, chunks) = archive_channel(CHUNKS);
    let (result, uploaded) = tokio::join!(engine.run(request, sink, run), upload(chunks, writer));
    // A store that failed is why the engine failed.
    match (uploaded, result) {
        (Err(error), _) => Err(failed(error)),
        (Ok(_), Err(error)) => Err(error.into()),
        (Ok(Uploaded::Whole), Ok(result)) => Ok(result),
        (Ok(Uploaded::GivenUp), Ok(_)) => Err(RunError::Cancelled),
    }
}

enum Uploaded {
    Whole,
    GivenUp,
}

async fn upload(
    mut chunks: ArchiveChunks,
    mut writer: ObjectWriter,
) -> Result<Uploaded, velero_persistence::Error> {
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(bytes) => writer.write(bytes).await?,
            Err(_) => {
                writer.abort().await?;
                return Ok(Uploaded::GivenUp);
            }
        }
    }
    writer.close().await?;
    Ok(Uploaded::Whole)
}

async fn put_rest(
    store: &BackupStore,
    name: &str,
    result: &BackupResult,
    log: RunLog,
    backup: &Backup,
) -> Result<(), RunError> {
    for document in artifacts::artifacts(result) {
        let Some(artifact) = named(name, document.suffix) else {
            continue;
        };
        let failed = RunError::store("store the results of the backup");
        store
            .put_packed(&artifact, document.bytes.into())
            .await
            .map_err(failed)?;
    }
    tracing::info!(phase = %backup.phase(), "backup completed");
    let log = log
        .finish()
        .and_then(crate::logfile::LogFile::into_bytes)
        .map_err(RunError::Log)?;
    let failed = RunError::store("store the log of the backup");
    store
        .put_packed(&BackupFile::Logs.of(name), log.into())
        .await
        .map_err(failed)?;
    let metadata = artifacts::metadata_json(backup);
    match store
        .put_metadata(name, metadata.into(), PutMode::Create)
        .await
    {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists(name, store)),
        Err(error) => Err(RunError::store("store the metadata of the backup")(error)),
    }
}

/// The file of a backup whose name ends with `suffix`.
fn named(backup: &str, suffix: &str) -> Option<Artifact> {
    let key = format!("{}{backup}{suffix}", layout::backup_dir(backup));
    BackupFile::ALL
        .iter()
        .map(|file| file.of(backup))
        .find(|artifact| artifact.key() == key)
}

impl From<velero_backup::Error> for RunError {
    fn from(error: velero_backup::Error) -> Self {
        match error {
            velero_backup::Error::Invalid { faults } => Self::Validation(faults),
            velero_backup::Error::Cancelled => Self::Cancelled,
            other => Self::Backup(other),
        }
    }
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
