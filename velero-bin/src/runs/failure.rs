//! What stays of a backup that has failed: its log, its results, and a `velero-backup.json` that says why.
//!
//! With them the backup is known to every cluster that uses the store, `velero backup logs` shows what happened, and it
//! goes when it expires, as any other.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use velero_backup::artifacts;
use velero_core::api::{Backup, BackupPhase, Document};
use velero_core::result::{Record, ResultsFile, Severity, chain};
use velero_persistence::{BackupFile, BackupStore, PutMode, layout};

use super::RunError;
use crate::logfile::{LogFile, RunLog};

/// Longest time for tidying up behind a failure. The store may be why there is one.
const DEADLINE: Duration = Duration::from_secs(20);

/// Why a backup did not come about, and what is known of it in the store.
#[derive(Debug)]
pub struct BackupFailure {
    /// The cause.
    pub error: RunError,
    /// The resource with its final status as it lies in the store; `None` when nothing is there.
    pub backup: Option<Box<Backup>>,
}

impl fmt::Display for BackupFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for BackupFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl From<RunError> for BackupFailure {
    fn from(error: RunError) -> Self {
        Self {
            error,
            backup: None,
        }
    }
}

/// The log of a run, which can be had again for a failure after it was finished.
pub(super) struct FailureLog {
    open: Option<RunLog>,
    bytes: Bytes,
}

impl FailureLog {
    pub(super) fn new(log: RunLog) -> Self {
        Self {
            open: Some(log),
            bytes: Bytes::new(),
        }
    }

    /// Ends the log, if it has not ended, and gives the compressed file.
    pub(super) fn finish(&mut self) -> std::io::Result<Bytes> {
        if let Some(log) = self.open.take() {
            self.bytes = log.finish().and_then(LogFile::into_bytes)?.into();
        }
        Ok(self.bytes.clone())
    }
}

/// What has happened.
pub(crate) struct Failure {
    /// Why the run failed.
    pub(crate) reason: String,
    /// What it had noted by then.
    pub(crate) records: Vec<Record>,
    /// When that was clear.
    pub(crate) time: Timestamp,
}

/// Stores what stays of a failed run in place of what it has stored so far. The name must be held.
///
/// Gives the backup as it lies in the store then. What cannot be stored is told in the server's own log.
pub(super) async fn keep(
    store: &BackupStore,
    backup: &Backup,
    failure: Failure,
    mut log: FailureLog,
) -> Option<Backup> {
    let name = backup.metadata.name.clone().unwrap_or_default();
    tracing::error!("the backup has failed: {}", failure.reason);
    let log = log.finish().unwrap_or_else(|error| {
        tracing::warn!(%error, "the log of the failed backup cannot be read");
        Bytes::new()
    });
    match within(store_failure(store, backup, &name, failure, log)).await {
        Ok(failed) => Some(failed),
        Err(problem) => {
            tracing::warn!(
                backup = name,
                problem,
                "the failed backup leaves no log in the store"
            );
            remove(store, &name).await
        }
    }
}

/// Stores log, results and metadata of a failed backup.
pub(crate) async fn store_failure(
    store: &BackupStore,
    backup: &Backup,
    name: &str,
    failure: Failure,
    log: Bytes,
) -> Result<Backup, velero_persistence::Error> {
    let started = backup.status.start_timestamp.as_ref();
    let started = started.map_or(failure.time, |time| time.0);
    let mut records = failure.records;
    records.push(Record::run(Severity::Error, &failure.reason));
    let mut failed = backup.clone();
    failed.status =
        artifacts::failed_status_for(backup, failure.reason, &records, started, failure.time);
    store.discard(name).await?;
    if !log.is_empty() {
        store.put_packed(&BackupFile::Logs.of(name), log).await?;
    }
    let results = artifacts::results(&ResultsFile::from_records(&records));
    store
        .put_packed(&BackupFile::Results.of(name), results.bytes.into())
        .await?;
    let metadata = artifacts::metadata_json(&failed).into();
    store.put_metadata(name, metadata, PutMode::Create).await?;
    Ok(failed)
}

/// Removes a backup that has failed without an archive: nothing but its log is lost with it. Says whether there was one.
pub(super) async fn make_room(store: &BackupStore, name: &str) -> Result<bool, RunError> {
    if !is_record(store, name).await? {
        return Ok(false);
    }
    let removed = store.delete_backup(name).await;
    removed.map_err(RunError::store("remove the failed backup of that name"))?;
    tracing::info!("a failed backup of that name, with its log and results, has made room");
    Ok(true)
}

/// Whether all that the store has of a backup is the record of its failure.
pub(super) async fn is_record(store: &BackupStore, name: &str) -> Result<bool, RunError> {
    let failed = || RunError::store("look for the backup");
    let metadata = match store.get_metadata(name).await {
        Ok(metadata) => metadata,
        Err(error) if error.is_not_found() => return Ok(false),
        Err(error) => return Err(failed()(error)),
    };
    let is_failed = Document::<Backup>::parse(&metadata)
        .is_ok_and(|backup| *backup.get().phase() == BackupPhase::Failed);
    if !is_failed {
        return Ok(false);
    }
    let archive = BackupFile::Contents.of(name);
    let size = store.store().size(archive.key()).await.map_err(failed())?;
    Ok(size.is_none())
}

/// Removes all files of a run. Gives `None`, as nothing is in the store then.
pub(super) async fn remove(store: &BackupStore, name: &str) -> Option<Backup> {
    let dir = layout::backup_dir(name);
    if let Err(problem) = within(store.store().delete_prefix(&dir)).await {
        tracing::warn!(
            backup = name,
            problem,
            "files of the failed backup stay in the store"
        );
    }
    None
}

async fn within<T>(
    work: impl Future<Output = Result<T, velero_persistence::Error>>,
) -> Result<T, String> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(outcome) => outcome.map_err(|error| chain(&error)),
        Err(_) => Err(format!("no end within {} s", DEADLINE.as_secs())),
    }
}
