//! What stays of a restore that has failed: its log and its results, in the store, and a status that says why.
//!
//! The peer keeps neither; what it knows is gone with the server's own log.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use velero_core::api::{RestorePhase, RestoreStatus, Time};
use velero_core::result::{Record, ResultsFile, Severity, chain, count};
use velero_persistence::{BackupStore, RestoreFile};

use super::{RestoreRun, RunError, RunErrorKind, Spare};
use crate::logfile::LogFile;

/// Longest time for what is stored of a failure. The store may be why there is one.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why a restore did not come to its end, and how its resource ends.
#[derive(Debug)]
pub struct RestoreFailure {
    /// The cause.
    pub error: RunError,
    /// The status with the phase `Failed`, the reason, and the counts that the results in the store have.
    pub status: Box<RestoreStatus>,
}

impl fmt::Display for RestoreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for RestoreFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Tells the log that a run has failed, and stores what stays of it. What cannot be stored is told in the server's own
/// log; the reason is in the status all the same.
pub(super) async fn keep(run: &RestoreRun, error: RunError, now: Timestamp) -> RestoreFailure {
    let RestoreRun {
        store,
        restore,
        log,
        spare,
        ..
    } = run;
    let reason = error.chain();
    tracing::error!("the restore has failed: {reason}");
    let records = [Record::run(Severity::Error, &reason)];
    let status = failed_status(&restore.status, reason, &records, now);
    // Of what is not there, or cannot be asked for, nothing has begun.
    let has_begun = !matches!(
        error.kind(),
        RunErrorKind::NotFound | RunErrorKind::Validation | RunErrorKind::AlreadyExists
    );
    if has_begun {
        let name = restore.metadata.name.as_deref().unwrap_or_default();
        let log = log
            .cut()
            .and_then(LogFile::into_bytes)
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "the log of the failed restore cannot be read");
                Vec::new()
            });
        let log = Bytes::from(log);
        if let Err(problem) = within(put(store, name, &records, log.clone())).await {
            tracing::warn!(
                restore = name,
                problem,
                "the failed restore leaves no log in the store"
            );
            if let Some(spare) = spare {
                put_apart(spare, name, &records, log).await;
            }
        }
    }
    RestoreFailure {
        error,
        status: Box::new(status),
    }
}

/// Stores log and results where the store has not taken them.
async fn put_apart(spare: &Spare, name: &str, records: &[Record], log: Bytes) {
    let Some(store) = spare.open().await else {
        return;
    };
    let has_log = !log.is_empty();
    match within(put(&store, name, records, log)).await {
        Ok(()) => {
            spare.note(&RestoreFile::Results.of(name));
            if has_log {
                spare.note(&RestoreFile::Logs.of(name));
            }
        }
        Err(problem) => tracing::warn!(restore = name, problem, "nothing else takes it"),
    }
}

/// Stores log and results of a restore that has failed before its items were done.
async fn put(
    store: &BackupStore,
    name: &str,
    records: &[Record],
    log: Bytes,
) -> Result<(), velero_persistence::Error> {
    if !log.is_empty() {
        store.put_packed(&RestoreFile::Logs.of(name), log).await?;
    }
    put_results(store, name, &ResultsFile::from_records(records)).await
}

/// Adds to log and results of a restore that has failed, whatever there is of them; gives how many errors and warnings
/// there are then.
///
/// # Errors
/// In one line, what the store does not take.
pub(crate) async fn add_restore_failure(
    store: &BackupStore,
    name: &str,
    records: &[Record],
    log: Bytes,
) -> Result<(i64, i64), String> {
    let add = async {
        let logs = RestoreFile::Logs.of(name);
        store.append_packed(&logs, log).await?;
        let results: Option<ResultsFile> = store.get_json(&RestoreFile::Results.of(name)).await?;
        let mut results = results.unwrap_or_default();
        results.add_new(ResultsFile::from_records(records));
        put_results(store, name, &results).await?;
        Ok((as_int(results.errors.len()), as_int(results.warnings.len())))
    };
    within(add).await
}

async fn put_results(
    store: &BackupStore,
    name: &str,
    results: &ResultsFile,
) -> Result<(), velero_persistence::Error> {
    let file = RestoreFile::Results.of(name);
    store.put_json(&file, results).await
}

async fn within<T>(
    work: impl Future<Output = Result<T, velero_persistence::Error>>,
) -> Result<T, String> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(outcome) => outcome.map_err(|error| chain(&error)),
        Err(_) => Err(format!("no end within {} s", DEADLINE.as_secs())),
    }
}

fn as_int(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The status of a restore that has failed before its items were done.
fn failed_status(
    status: &RestoreStatus,
    reason: String,
    records: &[Record],
    now: Timestamp,
) -> RestoreStatus {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let mut status = status.clone();
    status.phase = Some(RestorePhase::Failed);
    status.failure_reason = reason;
    status.errors = as_int(count(records, Severity::Error));
    status.warnings = as_int(count(records, Severity::Warning));
    status.completion_timestamp = Some(Time(now));
    status
}
