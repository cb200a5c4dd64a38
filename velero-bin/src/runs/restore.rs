//! A restore from its custom resource to the last artifact in the store.

use std::sync::Arc;

use tracing::Instrument as _;
use velero_cluster::Cluster;
use velero_core::action::RestoreItemAction;
use velero_core::api::{Backup, Restore, RestorePhase, RestoreProgress, RestoreStatus, Time};
use velero_core::result::{Record, Severity};
use velero_core::{CancellationToken, Progress, Timestamp};
use velero_persistence::{Artifact, BackupFile, BackupStore, RestoreFile, layout};
use velero_restore::{
    ExpectedPlan, Journal, Priorities, RestoreEngine, RestoreOptions, RestoreRequest,
    RestoreResult, RunningHooks, artifacts, phase_after_items,
};

use super::restore_failure::{RestoreFailure, keep};
use super::restore_finalize::{RestoreLeft, count_operations};
use super::restore_inputs::{RestoreInputs, read_versions};
use super::spare::{Kept, Spare};
use super::{Clock, RestoreJournal, RunError, WithoutData, backed_up, logs, volumes};
use crate::logfile::RunLog;

/// What the results say of a restore that was cancelled.
const CANCELLED: &str = "the restore was cancelled; what it has created stays";

/// One restore to run.
pub struct RestoreRun {
    /// The cluster to write.
    pub cluster: Cluster,
    /// Where the backup lies and the restore's artifacts go.
    pub store: BackupStore,
    /// Name, namespace, uid and the spec with its defaults filled in; `spec.backupName` names the backup. A start time
    /// in the status is kept; without one it is the time of the clock.
    pub restore: Restore,
    /// Actions beyond the built-in ones.
    pub actions: Vec<Arc<dyn RestoreItemAction>>,
    /// What it goes by beside the spec.
    pub inputs: RestoreInputs,
    /// How the engine runs.
    pub options: RestoreOptions,
    /// The order of kinds.
    pub priorities: Priorities,
    /// The run's log; its file becomes an artifact.
    pub log: RunLog,
    /// Receives the counts, often.
    pub progress: Arc<dyn Progress>,
    /// What a plan has found, which must still be so; `None` where there was no plan.
    pub expected: Option<Arc<ExpectedPlan>>,
    /// Where it is kept what another process needs to go on, and found what an earlier one has left. Whoever gives it
    /// removes it when the restore has ended. Without it the run has one of its own, and removes it.
    pub journal: Option<Arc<RestoreJournal>>,
    /// Takes log, results and lists where the store does not. Without it they are told in the log of the process alone.
    pub spare: Option<Arc<Spare>>,
    /// Ends the run. What has been created stays.
    pub cancel: CancellationToken,
    /// Tells the time.
    pub clock: Clock,
}

/// A restore whose items are done.
#[derive(Debug)]
pub struct RestoreDone {
    /// The resource with its status: final, or waiting for operations or hooks.
    pub restore: Restore,
    /// The backup as its metadata in the store has it.
    pub backup: Backup,
    /// What the engine says: records, counts, lists.
    pub result: RestoreResult,
    /// Claims that were created and whose data is not in the backup: `namespace/name`, as the backup has them.
    pub without_data: WithoutData,
    /// What goes on, for [`follow_restore`](super::follow_restore), when the restore waits for operations or hooks.
    pub left: Option<RestoreLeft>,
}

/// Runs a restore.
///
/// What the peer takes from custom resources (pod volume backups) comes from the artifacts of the backup.
///
/// # Errors
/// When the spec is at fault, the backup is not in the store or cannot be read, the run is cancelled, or the API server
/// fails. Objects that have been created by then stay, and log and results are stored all the same. A store that does not
/// take them, such as a read-only medium, is a warning of the run where nothing else takes them: what was restored is to be
/// told.
pub async fn run_restore(run: RestoreRun) -> Result<RestoreDone, RestoreFailure> {
    let span = run.log.span().clone();
    let given = run.journal.clone();
    let journal = given.clone().unwrap_or_else(|| {
        let journal = RestoreJournal::of(&run.cluster, &run.store, &run.restore);
        Arc::new(journal)
    });
    async {
        let outcome = match items(&run, &journal).await {
            Ok(items) => end(run, items, &journal).await,
            Err(_) if journal.is_lost() => Err(taken_over(&run.restore.status)),
            Err(error) => {
                let now = (run.clock)();
                Err(keep(&run, error, now).await)
            }
        };
        if given.is_none() {
            journal.forget_after(&outcome).await;
        }
        outcome
    }
    .instrument(span)
    .await
}

/// What has become of the items.
struct Items {
    backup: Backup,
    result: RestoreResult,
    hooks: RunningHooks,
    without_data: WithoutData,
    started: Time,
}

/// Restores the items.
async fn items(run: &RestoreRun, journal: &Arc<RestoreJournal>) -> Result<Items, RunError> {
    let (store, spec) = (&run.store, &run.restore.spec);
    let backup = find_backup(store, &spec.backup_name).await?;
    let started = run.restore.status.start_timestamp.clone();
    let started = started.unwrap_or_else(|| whole_seconds((run.clock)()));
    let infos = volumes::read(store, &spec.backup_name).await?;
    let are_told = volumes::are_told(store, &spec.backup_name).await?;
    let mut inputs = run.inputs.clone();
    if run.options.api_group_versions && inputs.versions.is_none() {
        inputs.versions = Some(read_versions(&run.cluster, &run.restore).await?);
    }
    let request = RestoreRequest::resolve(run.restore.clone())?
        .volume_infos(infos.clone())
        .priorities(run.priorities.clone());
    let request = backed_up::tell(inputs.apply(request), store, &backup, &run.restore).await?;
    tracing::info!(backup = spec.backup_name, "starting the restore");

    let contents = BackupFile::Contents.of(&spec.backup_name);
    let archive = store
        .reader(&contents)
        .await
        .map_err(RunError::store("open the archive of the backup"))?;
    let engine = RestoreEngine::new(run.cluster.clone())
        .actions(run.actions.iter().cloned())
        .options(run.options.clone());
    let now = run.clock.clone();
    let mut engine_run = velero_restore::RestoreRun::default()
        .progress(Arc::clone(&run.progress))
        .cancel(run.cancel.clone())
        .journal(Arc::clone(journal) as Arc<dyn Journal>)
        .clock(move || now());
    engine_run.expected = run.expected.clone();
    let (mut result, hooks) = engine
        .start(&request, archive.into_blocking(), engine_run)
        .await?;
    if result.cancelled {
        hooks.give_up("the restore was cancelled");
        result.records.push(Record::run(Severity::Error, CANCELLED));
    }
    let without_data = volumes::restored_without_data(
        &infos,
        are_told,
        &result.created_claims,
        &spec.namespace_mapping,
    );
    Ok(Items {
        backup,
        result,
        hooks,
        without_data,
        started,
    })
}

/// Stores what there is to say about the items.
async fn end(
    run: RestoreRun,
    items: Items,
    journal: &Arc<RestoreJournal>,
) -> Result<RestoreDone, RestoreFailure> {
    let RestoreRun {
        store,
        mut restore,
        log,
        clock,
        spare,
        ..
    } = run;
    let Items {
        backup,
        mut result,
        hooks,
        without_data,
        started,
    } = items;
    let left = hooks.left() + result.new_volumes.len();
    result.take_hooks(&hooks);
    let mut status = final_status(&restore.status, &result, left, started);
    if status.phase.as_ref().is_some_and(RestorePhase::is_terminal) {
        status.completion_timestamp = Some(whole_seconds(clock()));
    }
    restore.status = status;
    if journal.is_lost() {
        return Err(taken_over(&restore.status));
    }
    tell(&restore, &result, &without_data);
    let kept = keep_artifacts(&store, spare, &mut restore, &mut result, &log).await;
    if result.cancelled {
        return Err(RestoreFailure {
            error: RunError::Cancelled,
            status: Box::new(restore.status),
        });
    }
    let left = (!restore.phase().is_terminal()).then(|| RestoreLeft {
        operations: result.operations.clone(),
        hooks,
        journal: Arc::clone(journal),
        volumes: result.new_volumes.clone(),
        log,
        kept,
    });
    Ok(RestoreDone {
        restore,
        backup,
        result,
        without_data,
        left,
    })
}

/// How a run ends whose restore is another's by now: log and results are the other's, and stay.
fn taken_over(status: &RestoreStatus) -> RestoreFailure {
    RestoreFailure {
        error: RunError::TakenOver,
        status: Box::new(status.clone()),
    }
}

/// Stores log, results and lists. That nothing takes them is a warning of the restore.
async fn keep_artifacts(
    store: &BackupStore,
    spare: Option<Arc<Spare>>,
    restore: &mut Restore,
    result: &mut RestoreResult,
    log: &RunLog,
) -> Kept {
    let name = restore.metadata.name.as_deref().unwrap_or_default();
    let error = match put_artifacts(store, spare, name, result, log).await {
        Ok(kept) => return kept,
        Err(error) => error,
    };
    let message = format!("{}; they are told here alone", error.chain());
    tracing::warn!("{message}");
    result.records.push(Record::run(Severity::Warning, message));
    restore.status.warnings += 1;
    // Of a Restore in a cluster the status is all that is left.
    restore.status.failure_reason = error.chain();
    Kept::Nowhere
}

/// Tells the log what has been restored.
fn tell(restore: &Restore, result: &RestoreResult, without_data: &WithoutData) {
    let claims = [without_data.volumes.as_slice(), &without_data.claims].concat();
    if !claims.is_empty() {
        tracing::warn!(
            claims = claims.join(", "),
            "claims were restored whose data is not in the backup"
        );
    }
    tracing::info!(
        created = result.counts.created,
        skipped = result.counts.skipped,
        deleted = result.counts.deleted,
        failed = result.counts.failed,
        left = result.counts.left,
        warnings = result.warnings(),
        errors = result.errors(),
        phase = %restore.phase(),
        "{}",
        if restore.phase().is_terminal() {
            "restore completed"
        } else {
            "the items of the restore are done"
        }
    );
}

pub(super) async fn find_backup(store: &BackupStore, name: &str) -> Result<Backup, RunError> {
    let missing = || RunError::BackupNotFound {
        name: name.to_owned(),
        store: store.store().describe(),
    };
    if !store
        .backup_exists(name)
        .await
        .map_err(RunError::store("look for the backup"))?
    {
        return Err(missing());
    }
    let bytes = store
        .get_metadata(name)
        .await
        .map_err(RunError::store("read the metadata of the backup"))?;
    serde_json::from_slice(&bytes).map_err(|source| RunError::Metadata {
        name: name.to_owned(),
        source,
    })
}

/// The status of a restore whose items are done; `left` is how many hooks and new volumes it waits for.
fn final_status(
    status: &RestoreStatus,
    result: &RestoreResult,
    left: usize,
    started: Time,
) -> RestoreStatus {
    let as_int = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let mut status = status.clone();
    status.phase = Some(match result.cancelled {
        true => RestorePhase::Failed,
        false => phase_after_items(&result.operations, left, result.errors() > 0),
    });
    status.start_timestamp = Some(started);
    status.warnings = as_int(result.warnings() as u64);
    status.errors = as_int(result.errors() as u64);
    status.progress = Some(RestoreProgress {
        total_items: as_int(result.counts.total),
        items_restored: as_int(result.counts.restored()),
    });
    status.hook_status = Some(result.hooks.clone());
    count_operations(&mut status, &result.operations);
    status
}

/// Stores them in the store, or if that does not take the first of them, all of them in what is there for that.
async fn put_artifacts(
    store: &BackupStore,
    spare: Option<Arc<Spare>>,
    name: &str,
    result: &RestoreResult,
    log: &RunLog,
) -> Result<Kept, RunError> {
    let logs = RestoreFile::Logs.of(name);
    let put_log = async |to: &BackupStore| {
        let log = log.cut().map_err(RunError::Log)?;
        logs::put(to, &logs, log).await
    };
    let Err(error) = put_documents(store, name, result).await else {
        put_log(store).await?;
        return Ok(Kept::InStore);
    };
    let Some(spare) = spare else {
        return Err(error);
    };
    let Some(apart) = spare.open().await else {
        return Err(error);
    };
    tracing::warn!("{}; they are kept elsewhere", error.chain());
    let stored = put_documents(&apart, name, result).await?;
    put_log(&apart).await?;
    stored
        .iter()
        .chain([&logs])
        .for_each(|file| spare.note(file));
    Ok(Kept::Apart(apart))
}

/// Stores results and lists.
async fn put_documents(
    store: &BackupStore,
    name: &str,
    result: &RestoreResult,
) -> Result<Vec<Artifact>, RunError> {
    let mut stored = Vec::new();
    for document in artifacts::all(name, result).map_err(RunError::Log)? {
        let Some(artifact) = named(name, &document.name) else {
            continue;
        };
        let failed = RunError::store("store the log and the results of the restore");
        let put = store.put_packed(&artifact, document.bytes.into()).await;
        put.map_err(failed)?;
        stored.push(artifact);
    }
    Ok(stored)
}

/// The file of a restore with this name.
fn named(restore: &str, file: &str) -> Option<Artifact> {
    let key = format!("{}{file}", layout::restore_dir(restore));
    RestoreFile::ALL
        .iter()
        .map(|file| file.of(restore))
        .find(|artifact| artifact.key() == key)
}

fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

impl From<velero_restore::Error> for RunError {
    fn from(error: velero_restore::Error) -> Self {
        match error {
            velero_restore::Error::Invalid { messages } => Self::Validation(messages),
            other => Self::Restore(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_has_its_place() {
        for document in artifacts::all("r", &RestoreResult::default()).unwrap() {
            assert!(named("r", &document.name).is_some(), "{}", document.name);
        }
    }
}
