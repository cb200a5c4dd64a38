//! What stays of a backup that has failed: its log, its results, and a `velero-backup.json` that says why.
//!
//! With them the backup is known to every cluster that uses the store, `velero backup logs` shows what happened, and it
//! goes when it expires, as any other.

use std::error::Error;
use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use velero_backup::artifacts;
use velero_core::api::{Backup, BackupPhase, Document};
use velero_core::result::{Record, ResultsFile, Severity};
use velero_persistence::{BackupFile, BackupStore, PutMode};

use super::RunError;
use crate::logfile::{LogFile, RunLog};

/// What comes between the cause of a failure and the names of files.
const LEFT: &str = "; what it has written may stay in the store: ";

/// Why a backup did not come about, and what is known of it in the store.
#[derive(Debug)]
pub struct BackupFailure {
    /// The cause.
    pub error: RunError,
    /// The resource with its final status as it lies in the store; `None` when it is not there.
    pub backup: Option<Box<Backup>>,
    /// Keys of the files that may lie in the store although the run has failed, as the store did not take them away. The
    /// claim on the name is among them then.
    pub left: Vec<String>,
    /// What the store did not take of the record of the failure.
    pub(crate) unkept: Option<Box<Unkept>>,
}

impl BackupFailure {
    /// The cause in one line, with the names of the files that may stay in the store.
    pub fn chain(&self) -> String {
        with_left(&self.error.chain(), &self.left)
    }
}

/// A reason, and behind it what stays in the store.
pub(crate) fn with_left(reason: &str, left: &[String]) -> String {
    match left {
        [] => reason.to_owned(),
        left => format!("{reason}{LEFT}{}", left.join(", ")),
    }
}

/// A reason without what [`with_left`] has put behind it.
pub(crate) fn without_left(reason: &str) -> &str {
    reason.split(LEFT).next().unwrap_or(reason)
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
            left: Vec::new(),
            unkept: None,
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
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// Why the run failed.
    pub(crate) reason: String,
    /// What it had noted by then.
    pub(crate) records: Vec<Record>,
    /// When that was clear.
    pub(crate) time: Timestamp,
}

/// A failed backup whose record is not in the store, with all that belongs there.
#[derive(Debug, Clone)]
pub(crate) struct Unkept {
    /// The resource as it was when the run began.
    pub(crate) backup: Backup,
    pub(crate) failure: Failure,
    /// The compressed log.
    pub(crate) log: Bytes,
}

/// Stores log, results and metadata of a failed backup, in place of what its run has stored. The name must be held.
///
/// Gives the backup as it lies in the store then.
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

/// Removes the record of a failed backup whose claim is held.
///
/// # Errors
/// When it is no such record any more, as another run took the name before the claim, or the store fails.
pub(super) async fn make_room(store: &BackupStore, name: &str) -> Result<(), RunError> {
    if !is_record(store, name).await? {
        return Err(RunError::backup_exists(name, store));
    }
    let removed = store.discard(name).await;
    removed.map_err(RunError::store("remove the failed backup of that name"))?;
    tracing::warn!("a failed backup of that name, with its log and results, has made room");
    Ok(())
}

/// Whether all that the store has of a backup is the record of its failure.
pub(crate) async fn is_record(store: &BackupStore, name: &str) -> Result<bool, RunError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_is_told_behind_the_reason() {
        assert_eq!(with_left("gone", &[]), "gone");
        let left = ["backups/b/b.tar.gz".to_owned(), "backups/b/x".to_owned()];
        let told = with_left("the store: full", &left);
        assert_eq!(
            told,
            "the store: full; what it has written may stay in the store: backups/b/b.tar.gz, backups/b/x"
        );
        for reason in ["the store: full", told.as_str()] {
            assert_eq!(without_left(reason), "the store: full");
        }
    }
}
