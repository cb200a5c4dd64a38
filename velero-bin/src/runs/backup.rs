//! A backup from its custom resource to the last artifact in the store.

use std::sync::Arc;

use tracing::Instrument as _;
use velero_backup::{
    BackupEngine, BackupOptions, BackupRequest, BackupResult, LiveNamespaces, Noted, artifacts,
};
use velero_cluster::Cluster;
use velero_core::action::BackupItemAction;
use velero_core::api::{Backup, Time};
use velero_core::policy::ResourcePolicies;
use velero_core::{CancellationToken, Progress};
use velero_persistence::{BackupStore, ErrorKind};

use super::claim::{Claim, holder};
use super::failure::{self, BackupFailure, Failure, FailureLog};
use super::put::Put;
use super::tidy::{Tidy, Written, unless_late};
use super::{Clock, RunError};
use crate::logfile::RunLog;

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
/// When the spec is at fault, a backup of that name exists (other than a failed one without an archive, which makes
/// room), the run is cancelled, or the store or the API server fails. A run that had begun leaves its log, its results
/// and a `velero-backup.json` that says why it failed; it never leaves an archive. [`RunError::ClaimLost`] when another run has
/// taken the name meanwhile; what lies in the store is that run's then.
pub async fn run_backup(run: BackupRun) -> Result<BackupDone, BackupFailure> {
    let span = run.log.span().clone();
    claimed(run).instrument(span).await
}

/// Claims the name, runs, and notes a failure.
async fn claimed(run: BackupRun) -> Result<BackupDone, BackupFailure> {
    let name = run.backup.metadata.name.clone().unwrap_or_default();
    let (store, clock) = (run.store.clone(), run.clock.clone());
    let (cancel, cancelled_by) = (run.cancel.clone(), Arc::clone(&run.cancelled_by));
    let began = clock();
    let is_record = look(&run, &name).await?;
    let engine = BackupEngine::new(run.cluster.clone())
        .actions(run.actions.clone())
        .options(run.options.clone());
    let request = resolve(&run, &engine).await;
    // A spec that is at fault is no run: nobody makes room for it.
    if let Err(error @ RunError::Validation(_)) = request {
        return Err(error.into());
    }
    let claim = claim(&run, &name, is_record).await?;
    let mut log = FailureLog::new(run.log);
    let work = Work {
        engine,
        request,
        store: store.clone(),
        backup: run.backup,
        progress: run.progress,
        cancel: run.cancel.child_token(),
        clock: run.clock,
        noted: Noted::default(),
        written: Written::of_claim(&name),
    };
    let (mut backup, noted) = (work.backup.clone(), work.noted.clone());
    backup.status.start_timestamp.get_or_insert(Time(began));
    let written = work.written.clone();
    match held(work, &name, &mut log, &claim).await {
        Ok(mut done) => {
            done.taken_over = claim.taken_over().map(str::to_owned);
            done.replaced_failed = is_record;
            claim.release().await;
            Ok(done)
        }
        // The folder is another writer's now.
        Err(error @ (RunError::AlreadyExists { .. } | RunError::ClaimLost(_))) => Err(error.into()),
        Err(error) => {
            let reason = match &error {
                RunError::Cancelled => cancelled_by().map(|who| format!("cancelled by {who}")),
                // The engine takes its time to find some faults of a spec; no run has begun then.
                RunError::Validation(_) => None,
                other => Some(other.chain()),
            };
            let failure = reason.map(|reason| Failure {
                reason,
                records: noted.take(),
                time: clock(),
            });
            let tidy = Tidy::new(&store, &backup, claim, written, &cancel);
            Err(tidy.after(error, failure, log).await)
        }
    }
}

/// Looks for the name; says whether it is that of a failed backup, which makes room.
///
/// # Errors
/// When the store has another backup of that name, or fails.
async fn look(run: &BackupRun, name: &str) -> Result<bool, RunError> {
    let store = &run.store;
    let look = async {
        let is_record = failure::is_record(store, name).await?;
        if !is_record && exists(store, name).await? {
            return Err(RunError::backup_exists(name, store));
        }
        Ok(is_record)
    };
    unless_late(&run.cancel, look).await
}

/// Resolves the spec against the cluster.
async fn resolve(run: &BackupRun, engine: &BackupEngine) -> Result<BackupRequest, RunError> {
    let policies = run.policies.clone();
    if let Some(namespaces) = &run.namespaces {
        return Ok(engine.request_in(&run.backup, policies, namespaces)?);
    }
    tokio::select! {
        biased;
        () = run.cancel.cancelled() => Err(RunError::Cancelled),
        request = engine.request_with(&run.backup, policies) => Ok(request?),
    }
}

/// Claims the name; a failed backup of that name makes room.
async fn claim(run: &BackupRun, name: &str, is_record: bool) -> Result<Claim, BackupFailure> {
    let store = &run.store;
    let uid = run.backup.metadata.uid.as_deref();
    let holder = holder(uid.unwrap_or(name), &run.writer);
    let clock = run.clock.clone();
    let claim = async {
        match is_record {
            true => replace_record(store, name, &holder, clock).await,
            false => Claim::take(store, name, &holder, clock).await,
        }
    };
    match unless_late(&run.cancel, claim).await {
        Ok(claim) => Ok(claim),
        Err(error) => {
            // A store that fails here may have taken the mark of the claim.
            let unsure = match &error {
                RunError::Cancelled => true,
                RunError::Store { source, .. } => matches!(
                    source.kind(),
                    ErrorKind::Unreachable | ErrorKind::BucketNotFound | ErrorKind::Other
                ),
                _ => false,
            };
            let left = match unsure {
                true => Written::of_claim(name).keys(),
                false => Vec::new(),
            };
            let mut failure = BackupFailure::from(error);
            failure.left = left;
            Err(failure)
        }
    }
}

/// Claims the name of a failed backup without an archive, and removes it: nothing but its log and results is lost.
///
/// # Errors
/// When another run has taken the name meanwhile, or the store fails.
async fn replace_record(
    store: &BackupStore,
    name: &str,
    holder: &str,
    clock: Clock,
) -> Result<Claim, RunError> {
    let claim = match Claim::on_complete(store, name, holder, clock.clone()).await {
        // Another run has made it make room.
        Err(RunError::Store { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Claim::take(store, name, holder, clock).await;
        }
        other => other?,
    };
    if let Err(error) = failure::make_room(store, name).await {
        claim.release().await;
        return Err(error);
    }
    Ok(claim)
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
    engine: BackupEngine,
    /// The resolved spec, or why it could not be resolved.
    request: Result<BackupRequest, RunError>,
    store: BackupStore,
    backup: Backup,
    progress: Arc<dyn Progress>,
    cancel: CancellationToken,
    clock: Clock,
    noted: Noted,
    written: Written,
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
        let start = backup
            .status
            .start_timestamp
            .as_ref()
            .map_or_else(|| (self.clock)(), |time| time.0);
        let (engine, request) = (self.engine, self.request?);
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
        let put = Put {
            store: &self.store,
            name,
            cancel: &self.cancel,
            written: &self.written,
        };
        let result = put.archive(&engine, &request, engine_run).await?;
        backup.status = artifacts::final_status(&backup, &result);
        tell(&result);
        // A call that is under way can come about although nobody waits for it: the run ends between two calls.
        unless_late(&self.cancel, put.rest(&result, log, &backup, claim)).await?;
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
    use velero_core::api::{BackupPhase, BackupSpec};
    use velero_persistence::{Location, PutMode};

    use super::*;
    use crate::runs::system_clock;

    /// The second one looked at the record before the first one has removed it.
    #[tokio::test]
    async fn one_run_alone_takes_the_place_of_a_failed_backup() {
        let location = Location::from_url("memory://make-room").unwrap();
        let store = BackupStore::open(&location).await.unwrap();
        let mut record = Backup::new("velero", "b", BackupSpec::default());
        record.status.phase = Some(BackupPhase::Failed);
        let metadata = artifacts::metadata_json(&record);
        let mode = PutMode::Create;
        store
            .put_metadata("b", metadata.into(), mode)
            .await
            .unwrap();

        let claim = replace_record(&store, "b", "one", system_clock())
            .await
            .unwrap();
        assert!(failure::make_room(&store, "b").await.is_err());
        let second = replace_record(&store, "b", "two", system_clock()).await;
        assert!(second.is_err());
        claim.confirm().await.unwrap();

        record.status.phase = Some(BackupPhase::Completed);
        let metadata = artifacts::metadata_json(&record);
        store
            .put_metadata("b", metadata.into(), mode)
            .await
            .unwrap();
        let error = failure::make_room(&store, "b").await.err().unwrap();
        assert!(
            error.to_string().starts_with("backup \"b\" exists"),
            "{error}"
        );
        assert!(store.backup_exists("b").await.unwrap());
    }
}
