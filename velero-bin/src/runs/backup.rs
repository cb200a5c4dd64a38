//! A backup from its custom resource to the last artifact in the store.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;
use velero_backup::{
    ArchiveChunks, BackupEngine, BackupOptions, BackupRequest, BackupResult, LiveNamespaces, Noted,
    archive_channel, artifacts,
};
use velero_cluster::Cluster;
use velero_core::action::BackupItemAction;
use velero_core::api::{Backup, Time};
use velero_core::policy::ResourcePolicies;
use velero_core::{CancellationToken, Progress};
use velero_persistence::{
    Artifact, BackupFile, BackupStore, ErrorKind, ObjectWriter, PutMode, layout,
};

use super::claim::{Claim, holder};
use super::failure::{self, BackupFailure, Failure, FailureLog};
use super::{Clock, RunError};
use crate::logfile::RunLog;

/// Chunks of the archive between the engine and the upload, 256 KiB each.
const CHUNKS: usize = 16;

/// How long a cancelled run waits for the call of the store that is under way.
const LAST_CALL: Duration = Duration::from_secs(5);

/// One backup to run.
pub struct BackupRun {
    /// The cluster to read.
    pub cluster: Cluster,
    /// Where the backup goes.
    pub store: BackupStore,
    /// Name, namespace, uid and the spec with its defaults filled in. A start time and an expiration in the status are
    /// kept; without them they are the time of the clock, and that plus `spec.ttl`.
    pub backup: Backup,
    /// The resource policies that the spec names; see [`read_policies`](super::read_policies).
    pub policies: Option<ResourcePolicies>,
    /// The namespaces as they were read to fill in the spec; without them they are listed.
    pub namespaces: Option<LiveNamespaces>,
    /// Actions beyond the built-in ones.
    pub actions: Vec<Arc<dyn BackupItemAction>>,
    /// How the engine runs.
    pub options: BackupOptions,
    /// The run's log; its file becomes an artifact.
    pub log: RunLog,
    /// Receives the counts, often.
    pub progress: Arc<dyn Progress>,
    /// Ends the run, which counts as failed then.
    pub cancel: CancellationToken,
    /// Who it was, if it is cancelled.
    pub cancelled_by: CancelledBy,
    /// Who runs it: a text that no other process and no other server has. It is part of the claim on the name.
    pub writer: String,
    /// Whether a failed backup of that name, of which the store has no archive, makes room.
    pub replace_failed: bool,
    /// Tells the time.
    pub clock: Clock,
}

/// Says who has cancelled a run: what stands behind `cancelled by` in `failureReason`.
///
/// `None` when nobody wants to know what came of the run, as its resource is gone: nothing of it is kept then.
pub type CancelledBy = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The one who alone can cancel a run.
pub fn cancelled_by(who: &'static str) -> CancelledBy {
    Arc::new(move || Some(who.to_owned()))
}

/// A backup whose items are stored.
#[derive(Debug)]
pub struct BackupDone {
    /// The resource with its status, as it lies in the store: final, or waiting for operations ([`super::Follow`]).
    pub backup: Backup,
    /// What the engine says: records, counts, lists.
    pub result: BackupResult,
    /// From whom the name was taken over, and why, when an earlier run had left it behind.
    pub taken_over: Option<String>,
    /// Whether a failed backup of that name, with its log and results, has made room.
    pub replaced_failed: bool,
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
/// fails. A run that had begun leaves its log, its results and a `velero-backup.json` that says why it failed; it never
/// leaves an archive. [`RunError::ClaimLost`] when another run has taken the name meanwhile; what lies in the store is
/// that run's then.
pub async fn run_backup(run: BackupRun) -> Result<BackupDone, BackupFailure> {
    let span = run.log.span().clone();
    claimed(run).instrument(span).await
}

/// Claims the name, runs, and notes a failure.
async fn claimed(run: BackupRun) -> Result<BackupDone, BackupFailure> {
    let name = run.backup.metadata.name.clone().unwrap_or_default();
    let uid = run.backup.metadata.uid.as_deref();
    let holder = holder(uid.unwrap_or(&name), &run.writer);
    let (store, cancelled_by, clock) = (
        run.store.clone(),
        Arc::clone(&run.cancelled_by),
        run.clock.clone(),
    );
    let began = clock();
    let replaced_failed = run.replace_failed && failure::make_room(&store, &name).await?;
    if exists(&store, &name).await? {
        let what = match failure::is_record(&store, &name).await {
            Ok(true) => "the record of a failed backup (which may be deleted)",
            _ => "backup",
        };
        let store = store.store().describe();
        return Err(RunError::AlreadyExists { what, name, store }.into());
    }
    let claim = Claim::take(&store, &name, &holder, clock.clone()).await?;
    let mut log = FailureLog::new(run.log);
    let work = Work {
        cluster: run.cluster,
        store: store.clone(),
        backup: run.backup,
        policies: run.policies,
        namespaces: run.namespaces,
        actions: run.actions,
        options: run.options,
        progress: run.progress,
        cancel: run.cancel.child_token(),
        clock: run.clock,
        noted: Noted::default(),
    };
    let (mut backup, noted) = (work.backup.clone(), work.noted.clone());
    backup.status.start_timestamp.get_or_insert(Time(began));
    match held(work, &name, &mut log, &claim).await {
        Ok(mut done) => {
            done.taken_over = claim.taken_over().map(str::to_owned);
            done.replaced_failed = replaced_failed;
            claim.release().await;
            Ok(done)
        }
        // The folder is another writer's now.
        Err(error @ (RunError::AlreadyExists { .. } | RunError::ClaimLost(_))) => Err(error.into()),
        Err(error) => {
            let reason = match &error {
                RunError::Cancelled => cancelled_by().map(|who| format!("cancelled by {who}")),
                // A spec that is at fault is no run.
                RunError::Validation(_) => None,
                other => Some(other.chain()),
            };
            let failure = reason.map(|reason| Failure {
                reason,
                records: noted.take(),
                time: clock(),
            });
            let kept = keep_failure(&store, &backup, failure, log, &claim).await;
            claim.release().await;
            Err(BackupFailure {
                error,
                backup: kept.map(Box::new),
            })
        }
    }
}

/// Puts what is known of a failure in the place of the files of its run; nothing when nobody wants to know.
async fn keep_failure(
    store: &BackupStore,
    backup: &Backup,
    failure: Option<Failure>,
    log: FailureLog,
    claim: &Claim,
) -> Option<Backup> {
    match (claim.confirm().await, failure) {
        (Ok(()), Some(failure)) => failure::keep(store, backup, failure, log).await,
        (Ok(()), None) => {
            let name = backup.metadata.name.as_deref().unwrap_or_default();
            failure::remove(store, name).await
        }
        (Err(lost), _) => {
            tracing::warn!(
                error = lost.chain(),
                "files of the failed backup stay in the store"
            );
            None
        }
    }
}

async fn exists(store: &BackupStore, name: &str) -> Result<bool, RunError> {
    store
        .backup_exists(name)
        .await
        .map_err(RunError::store("look for the backup"))
}

/// Does the work while the claim is kept; a lost claim ends it.
async fn held(
    work: Work,
    name: &str,
    log: &mut FailureLog,
    claim: &Claim,
) -> Result<BackupDone, RunError> {
    let cancel = work.cancel.clone();
    let mut work = std::pin::pin!(work.run(name, log, claim));
    tokio::select! {
        biased;
        outcome = &mut work => outcome,
        lost = claim.keep() => {
            cancel.cancel();
            work.await.map_err(|_| RunError::ClaimLost(lost))
        }
    }
}

/// A run that holds the name.
struct Work {
    cluster: Cluster,
    store: BackupStore,
    backup: Backup,
    policies: Option<ResourcePolicies>,
    namespaces: Option<LiveNamespaces>,
    actions: Vec<Arc<dyn BackupItemAction>>,
    options: BackupOptions,
    progress: Arc<dyn Progress>,
    cancel: CancellationToken,
    clock: Clock,
    noted: Noted,
}

impl Work {
    /// Writes everything; the metadata comes last.
    async fn run(
        self,
        name: &str,
        log: &mut FailureLog,
        claim: &Claim,
    ) -> Result<BackupDone, RunError> {
        let mut backup = self.backup;
        let engine = BackupEngine::new(self.cluster)
            .actions(self.actions)
            .options(self.options);
        let start = backup
            .status
            .start_timestamp
            .as_ref()
            .map_or_else(|| (self.clock)(), |time| time.0);
        let request = match &self.namespaces {
            Some(namespaces) => engine.request_in(&backup, self.policies, namespaces)?,
            None => tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(RunError::Cancelled),
                request = engine.request_with(&backup, self.policies) => request?,
            },
        };
        tracing::info!(
            includedNamespaces = backup.spec.included_namespaces.join(", "),
            excludedNamespaces = backup.spec.excluded_namespaces.join(", "),
            "starting the backup"
        );
        let engine_run = velero_backup::BackupRun {
            progress: self.progress,
            cancel: self.cancel.clone(),
            start,
            clock: self.clock,
            noted: self.noted,
        };
        let result = archive(&engine, &request, &self.store, engine_run, name).await?;
        backup.status = artifacts::final_status(&backup, &result);
        tell(&result);
        // A call that is under way can come about although nobody waits for it: the run ends between two calls.
        let late = async {
            self.cancel.cancelled().await;
            tokio::time::sleep(LAST_CALL).await;
        };
        tokio::select! {
            biased;
            outcome = put_rest(&self.store, name, &result, log, &backup, claim, &self.cancel) => outcome?,
            () = late => return Err(RunError::Cancelled),
        }
        Ok(BackupDone {
            backup,
            result,
            taken_over: None,
            replaced_failed: false,
        })
    }
}

/// Tells the log what has been stored.
fn tell(result: &BackupResult) {
    tracing::info!(
        items = result.backed_up,
        warnings = result.warnings(),
        errors = result.errors(),
        operations = result.item_operations.len(),
        archiveBytes = result.archive_bytes,
        "the archive is written"
    );
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

async fn put_rest(
    store: &BackupStore,
    name: &str,
    result: &BackupResult,
    log: &mut FailureLog,
    backup: &Backup,
    claim: &Claim,
    cancel: &CancellationToken,
) -> Result<(), RunError> {
    for document in artifacts::artifacts(result) {
        let Some(artifact) = named(name, document.suffix) else {
            continue;
        };
        go_on(cancel)?;
        let failed = RunError::store("store the results of the backup");
        store
            .put_packed(&artifact, document.bytes.into())
            .await
            .map_err(failed)?;
    }
    if backup.phase().is_terminal() {
        tracing::info!(phase = %backup.phase(), "backup completed");
    } else {
        tracing::info!(phase = %backup.phase(), "the items are stored; operations of actions go on");
    }
    go_on(cancel)?;
    let log = log.finish().map_err(RunError::Log)?;
    let failed = RunError::store("store the log of the backup");
    store
        .put_packed(&BackupFile::Logs.of(name), log)
        .await
        .map_err(failed)?;
    go_on(cancel)?;
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
pub(super) fn named(backup: &str, suffix: &str) -> Option<Artifact> {
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
