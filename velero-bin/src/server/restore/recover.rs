//! Restores that a server left behind.

use velero_core::api::{Restore, RestorePhase};
use velero_core::result::{Record, Severity};
use velero_restore::Journal as _;

use super::claim::{self, write_ours};
use super::reconcile::{inputs, location_of};
use super::run::start;
use crate::logfile::LogFile;
use crate::runs::{RestoreJournal, add_restore_failure};
use crate::server::attempts::{attempt, count_attempt};
use crate::server::context::{Context, stamp};
use crate::server::controller::Retry;
use crate::server::objects::Lock;
use crate::server::stores;
use crate::server::tracker::RunKind;

/// Goes on with a restore that nobody works on any more, from where its objects and its journal are.
pub(super) async fn resume(context: &Context, restore: &Restore) -> Result<(), Retry> {
    let name = restore.metadata.name.as_deref().unwrap_or_default();
    let (inputs, faults) = inputs(context, restore).await?;
    if !faults.is_empty() {
        let reason = format!(
            "the server stopped while the restore was {}, and it cannot go on: {}",
            restore.phase(),
            faults.join("; ")
        );
        return end(context, restore, reason).await;
    }
    let cancel = context.stopping.child_token();
    let kind = RunKind::Restore;
    let Some(running) = context.tracker.begin(kind, name, cancel.clone()) else {
        return Ok(());
    };
    let mut claimed = restore.clone();
    claim::put(context, &mut claimed);
    count_attempt(&mut claimed.metadata);
    let attempt = attempt(&claimed.metadata);
    let objects = &context.objects;
    let begun = objects.patch(restore, &claimed, Lock::Unchanged).await?;
    tracing::warn!(
        restore = name,
        attempt,
        "the restore was left behind by a server that has stopped, and goes on"
    );
    start(context, running, begun, inputs, cancel);
    Ok(())
}

/// Ends a restore that was gone on with often enough. What it has created stays.
pub(super) async fn recover(context: &Context, restore: &Restore) -> Result<(), Retry> {
    let reason = format!(
        "the server stopped while the restore was {}, {} times",
        restore.phase(),
        attempt(&restore.metadata)
    );
    end(context, restore, reason).await
}

/// Ends a restore that nobody works on, for a reason; what there is of it in the store is kept, and the reason with it.
pub(super) async fn end(context: &Context, restore: &Restore, reason: String) -> Result<(), Retry> {
    let name = restore.metadata.name.as_deref().unwrap_or_default();
    // Nobody else ends it meanwhile.
    let claimed = claim::claim(context, restore).await?;
    let counts = match leave_record(context, restore, name, &reason).await {
        Ok(counts) => counts,
        Err(problem) => {
            tracing::warn!(
                restore = name,
                problem,
                "the failed restore leaves no log in the store"
            );
            None
        }
    };
    let mut failed = claimed.clone();
    claim::take_off(&mut failed);
    (failed.status.errors, failed.status.warnings) = counts.unwrap_or((1, 0));
    failed.status.failure_reason = reason;
    failed.status.phase = Some(RestorePhase::Failed);
    failed.status.completion_timestamp = stamp(context.now());
    if write_ours(context, &claimed, &failed).await?.is_none() {
        return Ok(());
    }
    let reason = &failed.status.failure_reason;
    tracing::warn!(restore = name, reason, "the restore has ended");
    context.restore_slot.notify_one();
    Ok(())
}

/// Adds to log and results of the restore in the store, which its server may have got as far as; gives how many errors and
/// warnings there are then. Nothing without a store.
async fn leave_record(
    context: &Context,
    restore: &Restore,
    name: &str,
    reason: &str,
) -> Result<Option<(i64, i64)>, String> {
    let location = location_of(context, restore).await;
    let Some(location) = location.map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let store = stores::open(&context.objects, &location).await;
    let store = store.map_err(|error| velero_core::result::chain(&error))?;
    let key = format!("{}/{name}", context.objects.namespace());
    let journal = RestoreJournal::of(&context.cluster, &store, restore);
    if journal.load().await.is_ok() {
        journal.forget().await;
    }
    let log = context.logs.begin("restore", &key);
    log.span()
        .in_scope(|| tracing::error!("the restore has failed: {reason}"));
    let log = log.finish().and_then(LogFile::into_bytes);
    let log = log.map_err(|error| error.to_string())?;
    let records = [Record::run(Severity::Error, reason)];
    let counts = add_restore_failure(&store, name, &records, log.into()).await?;
    Ok(Some(counts))
}
