//! A restore from `InProgress` to its end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use velero_core::api::{
    Backup, BackupStorageLocation, Restore, RestorePhase, RestoreProgress, RestoreStatus,
};
use velero_core::result::chain;
use velero_core::{CancellationToken, Progress, ProgressUpdate};
use velero_restore::RestoreOptions;

use super::claim::{SignsOfLife, take_off};
use super::finalize::follow;
use crate::runs::{RestoreDone, RestoreInputs, RestoreLeft, RestoreRun, RunErrorKind, run_restore};
use crate::server::context::{Context, stamp};
use crate::server::controller::panic_text;
use crate::server::metrics::Count;
use crate::server::progress::ProgressWriter;
use crate::server::stores;
use crate::server::tracker::Running;

/// Runs a restore in a task of its own. `running` keeps its place among the runs until the outcome is written.
pub(super) fn start(
    context: &Context,
    running: Running,
    restore: Restore,
    inputs: RestoreInputs,
    cancel: CancellationToken,
) {
    let context = context.clone();
    tokio::spawn(async move {
        let life = SignsOfLife::start(&context, &restore);
        let writer = ProgressWriter::start(&context, &restore, cancel.clone(), write_progress);
        let run = execute(&context, &restore, inputs, writer.progress(), cancel);
        let outcome = match AssertUnwindSafe(run).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(panic) => Err(format!("the run panicked: {}", panic_text(panic.as_ref())).into()),
        };
        writer.stop().await;
        life.stop().await;
        let (ended, left) = ended(&context, &restore, outcome);
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
        match context.patch_surely(&restore, &ended).await {
            Ok(written) if left.is_some() => follow(&context, &written, left),
            Ok(_) => {}
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
pub(super) fn restore_options(context: &Context) -> RestoreOptions {
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
}

impl From<String> for Failed {
    fn from(reason: String) -> Self {
        Self {
            reason,
            status: None,
        }
    }
}

async fn execute(
    context: &Context,
    restore: &Restore,
    inputs: RestoreInputs,
    progress: Arc<dyn Progress>,
    cancel: CancellationToken,
) -> Result<RestoreDone, Failed> {
    let name = restore.metadata.name.clone().unwrap_or_default();
    let backup: Option<Backup> = context
        .objects
        .get(&restore.spec.backup_name)
        .await
        .map_err(|error| error.to_string())?;
    let backup = backup.ok_or_else(|| format!("backup {:?} is gone", restore.spec.backup_name))?;
    let location: Option<BackupStorageLocation> = context
        .objects
        .get(&backup.spec.storage_location)
        .await
        .map_err(|error| error.to_string())?;
    let location = location.ok_or_else(|| {
        format!(
            "backup storage location {:?} is gone",
            backup.spec.storage_location
        )
    })?;
    let store = stores::open(&context.objects, &location)
        .await
        .map_err(|error| chain(&error))?;
    context
        .cluster
        .refresh()
        .await
        .map_err(|error| chain(&error))?;
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
        progress,
        cancel,
        clock: context.settings.clock.clone(),
    };
    run_restore(run).await.map_err(|failure| Failed {
        reason: match failure.error.kind() {
            RunErrorKind::Cancelled if context.stopping.is_cancelled() => {
                "cancelled by the server's shutdown".to_owned()
            }
            RunErrorKind::Cancelled => "cancelled by the deletion of the restore".to_owned(),
            _ => failure.error.chain(),
        },
        status: Some(failure.status),
    })
}

/// The restore with the status it has then, and what goes on of it.
fn ended(
    context: &Context,
    restore: &Restore,
    outcome: Result<RestoreDone, Failed>,
) -> (Restore, Option<RestoreLeft>) {
    let mut ended = restore.clone();
    let left = match outcome {
        Ok(done) => {
            ended.status = done.restore.status;
            done.left
        }
        Err(Failed { reason, status }) => {
            if let Some(status) = status {
                ended.status = *status;
            }
            ended.status.phase = Some(RestorePhase::Failed);
            ended.status.failure_reason = reason;
            ended.status.completion_timestamp = stamp(context.now());
            None
        }
    };
    if ended.phase().is_terminal() {
        take_off(&mut ended);
    }
    (ended, left)
}
