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

use super::claim::Claim;
use super::{Clock, RunError, logs};
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
    /// From whom the name was taken over, and why, when an earlier run had left it behind.
    pub taken_over: Option<String>,
}

/// Runs a backup.
///
/// The archive streams into the store; log, results and lists follow; `velero-backup.json` comes last, so that the
/// backup is in the store whole or not at all. End it by its token, not by dropping the future, which leaves the
/// claim on the name behind, as a kill does: the next run takes it over, on the same machine at once, and on another one
/// when there was no sign of life for ten minutes.
///
/// # Errors
/// When the spec is at fault, a backup of that name exists, the run is cancelled, or the store or the API server
/// fails. Nothing is left in the store then. [`RunError::ClaimLost`] when another run has taken the name meanwhile.
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
        return Err(RunError::backup_exists(&name, &store));
    }
    let request = tokio::select! {
        biased;
        () = run.cancel.cancelled() => return Err(RunError::Cancelled),
        request = engine.request(&run.backup) => request?,
    };
    let claim = Claim::take(&store, &name, &holder, run.clock.clone()).await?;
    let outcome = held(run, &engine, &request, &name, &claim).await;
    match outcome {
        Ok(mut done) => {
            done.taken_over = claim.taken_over().map(str::to_owned);
            claim.release().await;
            Ok(done)
        }
        // The folder is another writer's now.
        Err(error @ (RunError::AlreadyExists { .. } | RunError::ClaimLost(_))) => Err(error),
        Err(error) => {
            clean_up(&store, &name, &claim).await;
            Err(error)
        }
    }
}

/// Writes everything while the claim is kept; a lost claim ends it.
async fn held(
    mut run: BackupRun,
    engine: &BackupEngine,
    request: &BackupRequest,
    name: &str,
    claim: &Claim,
) -> Result<BackupDone, RunError> {
    let cancel = run.cancel.child_token();
    run.cancel = cancel.clone();
    let mut work = std::pin::pin!(write(run, engine, request, name, claim));
    tokio::select! {
        biased;
        outcome = &mut work => outcome,
        lost = claim.keep() => {
            cancel.cancel();
            work.await.map_err(|_| RunError::ClaimLost(lost))
        }
    }
}

/// Removes what a failed run has written, if the name is still its own.
async fn clean_up(store: &BackupStore, name: &str, claim: &Claim) {
    let removed = match claim.confirm().await {
        Ok(()) => store
            .store()
            .delete_prefix(&layout::backup_dir(name))
            .await
            .map(drop)
            .map_err(RunError::store("remove the files of the backup")),
        Err(error) => Err(error),
    };
    if let Err(left) = removed {
        tracing::warn!(
            error = left.chain(),
            "files of the failed backup stay in the store"
        );
    }
}

/// Writes everything; the metadata comes last.
async fn write(
    run: BackupRun,
    engine: &BackupEngine,
    request: &BackupRequest,
    name: &str,
    claim: &Claim,
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
    let rest = put_rest(&store, name, &result, log, &backup, claim);
    tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(RunError::Cancelled),
        outcome = rest => outcome?,
    }
    Ok(BackupDone {
        backup,
        result,
        taken_over: None,
    })
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
    claim: &Claim,
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
    let log = log.finish().map_err(RunError::Log)?;
    logs::put(store, &BackupFile::Logs.of(name), log).await?;
    claim.confirm().await?;
    let metadata = artifacts::metadata_json(backup);
    match store
        .put_metadata(name, metadata.into(), PutMode::Create)
        .await
    {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(RunError::backup_exists(name, store))
        }
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
