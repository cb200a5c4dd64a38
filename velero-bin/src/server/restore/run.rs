//! A restore from `InProgress` to its end.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use futures::FutureExt as _;
use tokio::time::Instant;
use velero_core::api::{
    Backup, BackupStorageLocation, Restore, RestorePhase, RestoreProgress, RestoreStatus,
};
use velero_core::result::chain;
use velero_core::{CancellationToken, Progress, ProgressUpdate};
use velero_persistence::BackupStore;
use velero_restore::RestoreOptions;

use super::claim::{SignsOfLife, take_off, unmark, write_ours};
use super::finalize::follow;
use crate::runs::{
    RestoreDone, RestoreInputs, RestoreJournal, RestoreLeft, RestoreRun, RunErrorKind, Spare,
    TakenOver, run_restore,
};
use crate::server::attempts::attempt;
use crate::server::cancel;
use crate::server::context::{Context, RETRY_PAUSES, stamp};
use crate::server::controller::panic_text;
use crate::server::metrics::Count;
use crate::server::objects::ApiError;
use crate::server::progress::ProgressWriter;
use crate::server::spare;
use crate::server::stores;
use crate::server::tracker::{CancelReason, Running};

/// Runs a restore in a task of its own. `running` keeps its place among the runs until the outcome is written.
pub(super) fn start(
    context: &Context,
    running: Running,
    restore: Restore,
    inputs: RestoreInputs,
    cancel: CancellationToken,
) {
    let (context, by) = (context.clone(), running.cancelled_by());
    tokio::spawn(async move {
        let taken = TakenOver::new(cancel.clone());
        let life = SignsOfLife::start(&context, &restore, taken.clone());
        let writer = ProgressWriter::start(&context, &restore, cancel.clone(), write_progress);
        let journal = OnceLock::new();
        let spare = Arc::new(context.spares.of_restore(&context));
        let parts = (inputs, &journal, &taken, &by);
        let run = execute(
            &context,
            &restore,
            parts,
            Arc::clone(&spare),
            writer.progress(),
            cancel,
        );
        let outcome = match AssertUnwindSafe(run).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(panic) => Err(format!("the run panicked: {}", panic_text(panic.as_ref())).into()),
        };
        writer.stop().await;
        if taken.is_fired() {
            life.stop().await;
            // Status, claim, journal and files are the other's.
            let name = restore.metadata.name.as_deref().unwrap_or_default();
            tracing::warn!(restore = name, "the restore goes on in another server");
            drop(running);
            context.restore_slot.notify_one();
            return;
        }
        if let Err(Failed {
            is_cancelled: true, ..
        }) = &outcome
            && context.stopping.is_cancelled()
            && by.get().is_none()
        {
            tracing::warn!(
                restore = restore.metadata.name.as_deref().unwrap_or_default(),
                "the server stops; the next one goes on with the restore"
            );
            life.hand_over().await;
            drop(running);
            return;
        }
        life.stop().await;
        // The mark goes after the journal: if it stays, the journal is looked for.
        let keeps_mark = journal.get().is_some();
        let (mut ended, left) = ended(&context, &restore, outcome, keeps_mark);
        spare::name(&mut ended, &spare.names());
        count(&context, &ended);
        let name = ended.metadata.name.as_deref().unwrap_or_default();
        let (phase, reason) = (ended.phase(), ended.status.failure_reason.as_str());
        if !phase.is_terminal() {
            tracing::info!(restore = name, %phase, "the items of the restore are done");
        } else if reason.is_empty() {
            tracing::info!(restore = name, %phase, "the restore has ended");
        } else {
            tracing::warn!(restore = name, %phase, reason, "the restore has ended");
        }
        match write_ours(&context, &restore, &ended).await {
            Ok(None) => {
                tracing::warn!(
                    restore = name,
                    "another server has the restore by now, and tells its end"
                );
            }
            Ok(Some(written)) if left.is_some() => follow(&context, &written, left),
            // Until its end is written another server may have to go on with it.
            Ok(Some(written)) => {
                if let Some(journal) = journal.get() {
                    journal.forget().await;
                    if let Err(error) = unmark(&context, &written).await {
                        tracing::warn!(restore = name, %error, "the claim on the restore stays for now");
                    }
                }
            }
            Err(error) => {
                tracing::error!(restore = name, %phase, %error, "the end of the restore could not be written");
            }
        }
        drop(running);
        context.restore_slot.notify_one();
    });
}

/// Counts the end of a restore; one that waits for operations or hooks has not ended.
pub(super) fn count(context: &Context, ended: &Restore) {
    let count = match ended.phase() {
        RestorePhase::Completed => Count::RestoreSuccess,
        RestorePhase::PartiallyFailed => Count::RestorePartialFailure,
        phase if phase.is_terminal() => Count::RestoreFailed,
        _ => return,
    };
    context.metrics.count(count, &ended.spec.schedule_name);
}

/// How the engine runs, by the server's flags.
pub(in crate::server) fn restore_options(context: &Context) -> RestoreOptions {
    let mut options = RestoreOptions::default()
        .resource_timeout(context.settings.resource_timeout)
        .terminating_timeout(context.settings.terminating_resource_timeout)
        .api_group_versions(context.settings.features.all_api_versions());
    options.spool_dir.clone_from(&context.settings.spool_dir);
    options
}

fn write_progress(restore: &mut Restore, update: ProgressUpdate) {
    let as_int = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    restore.status.progress = Some(RestoreProgress {
        total_items: as_int(update.total),
        items_restored: as_int(update.done),
    });
}

/// Why a restore has failed.
struct Failed {
    reason: String,
    /// The status that the run has made of it, if there was one.
    status: Option<Box<RestoreStatus>>,
    /// Something other than a fault has ended it.
    is_cancelled: bool,
}

impl From<String> for Failed {
    fn from(reason: String) -> Self {
        Self {
            reason,
            status: None,
            is_cancelled: false,
        }
    }
}

/// Why a run cannot begin.
enum Problem {
    /// It can pass.
    Passing(String),
    /// It does not pass.
    Lasting(String),
}

/// Finds what a run needs: its store, and whether that is read only. What an earlier attempt has left open is not given up
/// for a fault that passes.
async fn prepare(
    context: &Context,
    restore: &Restore,
    cancel: &CancellationToken,
) -> Result<(BackupStore, bool), String> {
    let deadline = Instant::now() + context.settings.resource_timeout;
    let is_first = attempt(&restore.metadata) <= 1;
    let mut pause = RETRY_PAUSES.0;
    loop {
        let reason = match find_store(context, restore).await {
            Ok(found) => return Ok(found),
            Err(Problem::Lasting(reason)) => return Err(reason),
            Err(Problem::Passing(reason)) => reason,
        };
        if is_first || Instant::now() + pause > deadline {
            return Err(reason);
        }
        tracing::warn!(
            restore = restore.metadata.name.as_deref().unwrap_or_default(),
            reason,
            "the restore cannot go on yet; will try again"
        );
        tokio::select! {
            () = cancel.cancelled() => return Err(reason),
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(RETRY_PAUSES.1);
    }
}

async fn find_store(context: &Context, restore: &Restore) -> Result<(BackupStore, bool), Problem> {
    let passing = |error: ApiError| Problem::Passing(error.to_string());
    let objects = &context.objects;
    let name = &restore.spec.backup_name;
    let backup = objects.get::<Backup>(name).await.map_err(passing)?;
    let backup = backup.ok_or_else(|| Problem::Lasting(format!("backup {name:?} is gone")))?;
    let name = &backup.spec.storage_location;
    let location = objects.get::<BackupStorageLocation>(name).await;
    let location = location
        .map_err(passing)?
        .ok_or_else(|| Problem::Lasting(format!("backup storage location {name:?} is gone")))?;
    let store = stores::open(objects, &location).await;
    let store = store.map_err(|error| Problem::Passing(chain(&error)))?;
    let refreshed = context.cluster.refresh().await;
    refreshed.map_err(|error| Problem::Passing(chain(&error)))?;
    Ok((store, location.is_read_only()))
}

/// What a run goes by, and by what it is followed from outside.
type Parts<'a> = (
    RestoreInputs,
    &'a OnceLock<Arc<RestoreJournal>>,
    &'a TakenOver,
    &'a CancelReason,
);

async fn execute(
    context: &Context,
    restore: &Restore,
    (inputs, journal, taken, by): Parts<'_>,
    spare: Arc<Spare>,
    progress: Arc<dyn Progress>,
    cancel: CancellationToken,
) -> Result<RestoreDone, Failed> {
    let name = restore.metadata.name.clone().unwrap_or_default();
    let prepared = prepare(context, restore, &cancel).await;
    let (store, is_read_only) = prepared.map_err(|reason| Failed {
        is_cancelled: cancel.is_cancelled(),
        ..reason.into()
    })?;
    let own = RestoreJournal::of(&context.cluster, &store, restore).telling(taken.clone());
    let own = Arc::new(own.read_only(is_read_only));
    let journal = Arc::clone(journal.get_or_init(|| own));
    let log = context.logs.begin(
        "restore",
        &format!("{}/{name}", context.objects.namespace()),
    );
    let run = RestoreRun {
        cluster: context.cluster.clone(),
        store,
        restore: restore.clone(),
        actions: context.settings.restore_actions.clone(),
        inputs,
        options: restore_options(context),
        priorities: context.settings.restore_priorities.clone(),
        log,
        expected: None,
        journal: Some(journal),
        spare: Some(spare),
        progress,
        cancel,
        clock: context.settings.clock.clone(),
    };
    run_restore(run).await.map_err(|failure| Failed {
        reason: match (failure.error.kind(), by.get()) {
            (RunErrorKind::Cancelled, Some(who)) => cancel::reason(who),
            (RunErrorKind::Cancelled, None) => {
                "cancelled by the deletion of the restore".to_owned()
            }
            _ => failure.error.chain(),
        },
        is_cancelled: failure.error.kind() == RunErrorKind::Cancelled,
        status: Some(failure.status),
    })
}

/// The restore with the status it has then, and what goes on of it.
fn ended(
    context: &Context,
    restore: &Restore,
    outcome: Result<RestoreDone, Failed>,
    keeps_mark: bool,
) -> (Restore, Option<RestoreLeft>) {
    let mut ended = restore.clone();
    let left = match outcome {
        Ok(done) => {
            ended.status = done.restore.status;
            done.left
        }
        Err(Failed { reason, status, .. }) => {
            if let Some(status) = status {
                ended.status = *status;
            }
            ended.status.phase = Some(RestorePhase::Failed);
            ended.status.failure_reason = reason;
            ended.status.completion_timestamp = stamp(context.now());
            None
        }
    };
    if ended.phase().is_terminal() && !keeps_mark {
        take_off(&mut ended);
    }
    (ended, left)
}
