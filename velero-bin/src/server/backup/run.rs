//! A backup from `InProgress` to its end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use velero_backup::{BackupOptions, LiveNamespaces};
use velero_core::api::{Backup, BackupPhase, BackupProgress, BackupStorageLocation};
use velero_core::names::labels;
use velero_core::policy::ResourcePolicies;
use velero_core::{CancellationToken, ProgressUpdate};
use velero_persistence::BackupStore;

use crate::runs::{
    BackupFailure, BackupRun, CancelledBy, RunErrorKind, Unkept, run_backup, with_left,
};
use crate::server::cancel;
use crate::server::context::{Context, stamp};
use crate::server::controller::panic_text;
use crate::server::metrics::{BackupEnd, Count};
use crate::server::progress::ProgressWriter;
use crate::server::stores;
use crate::server::tracker::{CancelReason, Running};

/// Longest time between the start of a backup and its claim on the name in the store, by which others see that somebody
/// works on it.
pub(super) const BEGINNING: Duration = Duration::from_secs(60);

/// Runs a backup in a task of its own. `running` keeps its place among the runs until the outcome is written.
pub(super) fn start(
    context: &Context,
    running: Running,
    backup: Backup,
    policies: Option<ResourcePolicies>,
    namespaces: Option<LiveNamespaces>,
    cancel: CancellationToken,
) {
    let (context, by) = (context.clone(), running.cancelled_by());
    tokio::spawn(async move {
        context
            .metrics
            .count(Count::BackupAttempt, schedule_of(&backup));
        let writer = ProgressWriter::start(&context, &backup, cancel.clone(), write_progress);
        let progress = writer.progress();
        let ends = (cancel, by);
        let run = execute(&context, &backup, policies, namespaces, progress, ends);
        let outcome = match AssertUnwindSafe(run).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(panic) => Err(End::Failed(Failed::from(format!(
                "the run panicked: {}",
                panic_text(panic.as_ref())
            )))),
        };
        writer.stop().await;
        let (ended, failed) = match outcome {
            Ok(done) => (with_status_of(&backup, done), None),
            Err(End::Failed(failed)) => (failed.status(&context, &backup), Some(failed)),
            Err(End::HandedOver { is_tidy }) => {
                hand_over(&context, &backup, is_tidy).await;
                drop(running);
                return;
            }
        };
        count(&context, &ended);
        let name = ended.metadata.name.as_deref().unwrap_or_default();
        let (phase, reason) = (ended.phase(), ended.status.failure_reason.as_str());
        if !phase.is_terminal() {
            tracing::info!(backup = name, %phase, "the items of the backup are stored");
        } else if reason.is_empty() {
            tracing::info!(backup = name, %phase, "the backup has ended");
        } else {
            tracing::warn!(backup = name, %phase, reason, "the backup has ended");
        }
        if let Err(error) = context.patch_surely(&backup, &ended).await {
            tracing::error!(backup = name, %phase, %error, "the end of the backup could not be written");
        }
        if let Some(failed) = failed {
            context.leftovers.add(&ended, failed.unkept);
        }
        drop(running);
        context.backup_slot.notify_one();
    });
}

fn write_progress(backup: &mut Backup, update: ProgressUpdate) {
    backup.status.progress = Some(BackupProgress {
        total_items: as_int(update.total),
        items_backed_up: as_int(update.done),
    });
}

fn as_int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A run whose end is not in its store.
struct Failed {
    reason: String,
    /// What the store has not taken of it.
    unkept: Option<Box<Unkept>>,
}

impl From<String> for Failed {
    fn from(reason: String) -> Self {
        Self {
            reason,
            unkept: None,
        }
    }
}

impl Failed {
    /// The backup with the status it ends with.
    fn status(&self, context: &Context, backup: &Backup) -> Backup {
        let mut ended = backup.clone();
        ended.status.phase = Some(BackupPhase::Failed);
        ended.status.failure_reason.clone_from(&self.reason);
        ended.status.completion_timestamp = stamp(context.now());
        ended
    }
}

/// Why a run does not tell how its backup has ended.
enum End {
    /// It has failed.
    Failed(Failed),
    /// The server stops, and the next one begins anew. `is_tidy` where nothing of it is left in the store.
    HandedOver { is_tidy: bool },
}

impl From<String> for End {
    fn from(reason: String) -> Self {
        Self::Failed(reason.into())
    }
}

fn with_status_of(backup: &Backup, done: Backup) -> Backup {
    Backup {
        status: done.status,
        ..backup.clone()
    }
}

/// Puts the backup of a stopping server first in the queue of the next one. Where something of it is left in the store, the
/// next one looks after that first, as after a backup whose server was killed.
async fn hand_over(context: &Context, backup: &Backup, is_tidy: bool) {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    if is_tidy {
        let again = queued_again(backup);
        if let Err(error) = context.patch_surely(backup, &again).await {
            tracing::warn!(backup = name, %error, "the backup was not put back into the queue; the next server finds it");
        }
    }
    tracing::warn!(
        backup = name,
        "the server stops; the next one begins the backup anew"
    );
}

/// A backup that is to begin anew, before all that wait.
pub(super) fn queued_again(backup: &Backup) -> Backup {
    let mut again = backup.clone();
    again.status.phase = Some(BackupPhase::Queued);
    again.status.queue_position = 0;
    again.status.start_timestamp = None;
    again.status.progress = None;
    again
}

async fn execute(
    context: &Context,
    backup: &Backup,
    policies: Option<ResourcePolicies>,
    namespaces: Option<LiveNamespaces>,
    progress: Arc<dyn velero_core::Progress>,
    (cancel, by): (CancellationToken, CancelReason),
) -> Result<Backup, End> {
    let name = backup.metadata.name.clone().unwrap_or_default();
    // What comes until the claim needs some of the time as well.
    let limit = BEGINNING / 4 * 3;
    let opened = tokio::time::timeout(limit, open(context, backup)).await;
    let store = opened.map_err(|_| {
        let seconds = limit.as_secs();
        format!("the store and the API server were not ready for the backup within {seconds} s")
    })??;
    let log = context
        .logs
        .begin("backup", &format!("{}/{name}", context.objects.namespace()));
    let run = BackupRun {
        cluster: context.cluster.clone(),
        store,
        backup: backup.clone(),
        policies,
        namespaces,
        actions: context.settings.backup_actions.clone(),
        options: backup_options(context),
        log,
        progress,
        cancel,
        cancelled_by: canceller(&by),
        writer: context.writer.to_string(),
        clock: context.settings.clock.clone(),
    };
    match run_backup(run).await {
        Ok(done) => {
            let schedule = schedule_of(&done.backup);
            let bytes = done.result.archive_bytes;
            context.metrics.set_archive_size(schedule, bytes);
            Ok(done.backup)
        }
        // As it lies in the store.
        Err(BackupFailure {
            backup: Some(failed),
            ..
        }) => Ok(*failed),
        Err(failure) if is_handed_over(context, &failure, &by) => Err(End::HandedOver {
            is_tidy: failure.left.is_empty(),
        }),
        Err(failure) => Err(End::Failed(Failed {
            reason: with_left(&reason(&failure, &by), &failure.left),
            unkept: failure.unkept,
        })),
    }
}

/// Whether nothing but the end of the server has ended a run.
fn is_handed_over(context: &Context, failure: &BackupFailure, by: &CancelReason) -> bool {
    failure.error.kind() == RunErrorKind::Cancelled
        && context.stopping.is_cancelled()
        && by.get().is_none()
}

fn reason(failure: &BackupFailure, by: &CancelReason) -> String {
    match (failure.error.kind(), by.get()) {
        (RunErrorKind::Cancelled, Some(who)) => cancel::reason(who),
        (RunErrorKind::Cancelled, None) => "cancelled by the deletion of the backup".to_owned(),
        _ => failure.error.chain(),
    }
}

/// Opens the store of a backup, and looks at what the cluster serves by now.
async fn open(context: &Context, backup: &Backup) -> Result<BackupStore, String> {
    let name = &backup.spec.storage_location;
    let location: Option<BackupStorageLocation> = context
        .objects
        .get(name)
        .await
        .map_err(|error| error.to_string())?;
    let location = location.ok_or_else(|| format!("backup storage location {name:?} is gone"))?;
    let store = stores::open(&context.objects, &location)
        .await
        .map_err(|error| velero_core::result::chain(&error))?;
    let refreshed = context.cluster.refresh().await;
    refreshed.map_err(|error| velero_core::result::chain(&error))?;
    Ok(store)
}

/// How the engine runs, by the server's flags.
pub(super) fn backup_options(context: &Context) -> BackupOptions {
    let settings = &context.settings;
    BackupOptions::default()
        .list(settings.list_options())
        .all_api_versions(settings.features.all_api_versions())
        .item_block_workers(settings.item_block_workers)
}

/// Who cancels runs of the server. Nobody wants to know what came of a run whose resource is gone, or which the next server
/// begins anew.
fn canceller(by: &CancelReason) -> CancelledBy {
    let by = Arc::clone(by);
    Arc::new(move || by.get().cloned())
}

/// Counts the end of a backup; one that waits for operations has not ended.
pub(super) fn count(context: &Context, ended: &Backup) {
    if !ended.phase().is_terminal() {
        return;
    }
    let schedule = schedule_of(ended);
    let outcome = match ended.phase() {
        BackupPhase::Completed => Count::BackupSuccess,
        BackupPhase::PartiallyFailed => Count::BackupPartialFailure,
        _ => Count::BackupFailure,
    };
    context.metrics.count(outcome, schedule);
    context.metrics.set_backup_end(schedule, &end_of(ended));
    if ended.status.warnings > 0 {
        context.metrics.count(Count::BackupWarning, schedule);
    }
    if outcome == Count::BackupSuccess
        && let Some(time) = &ended.status.completion_timestamp
    {
        context
            .metrics
            .set_last_success(schedule, time.0.as_second());
    }
}

/// What is measured of a backup that has ended.
fn end_of(ended: &Backup) -> BackupEnd {
    let status = &ended.status;
    let times = status
        .start_timestamp
        .as_ref()
        .zip(status.completion_timestamp.as_ref());
    BackupEnd {
        seconds: times.map_or(0.0, |(start, end)| {
            end.0.duration_since(start.0).as_secs_f64()
        }),
        items: status.progress.as_ref().map_or(0, |p| p.total_items),
        errors: status.errors,
        good: *ended.phase() == BackupPhase::Completed,
        snapshots: (
            status.volume_snapshots_attempted,
            status.volume_snapshots_completed,
        ),
    }
}

/// The schedule that made a backup, for metrics; empty if a user did.
pub(in crate::server) fn schedule_of(backup: &Backup) -> &str {
    let own = backup.metadata.labels.as_ref();
    own.and_then(|own| own.get(labels::SCHEDULE_NAME))
        .map_or("", String::as_str)
}
