//! Restores that a server left behind.

use velero_core::api::{Restore, RestorePhase};
use velero_core::result::{Record, Severity};

use super::claim;
use super::reconcile::location_of;
use crate::logfile::LogFile;
use crate::runs::add_restore_failure;
use crate::server::context::{Context, stamp};
use crate::server::controller::Retry;
use crate::server::objects::Lock;
use crate::server::stores;

/// Ends a restore that nobody works on any more. What it has created stays; restoring again goes on from there.
pub(super) async fn recover(context: &Context, restore: &Restore) -> Result<(), Retry> {
    let name = restore.metadata.name.as_deref().unwrap_or_default();
    let reason = format!(
        "the server stopped while the restore was {}",
        restore.phase()
    );
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
    context
        .objects
        .patch(&claimed, &failed, Lock::SameObject)
        .await?;
    tracing::warn!(
        restore = name,
        "the restore was left behind by a server that has stopped"
    );
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
    let log = context.logs.begin("restore", &key);
    log.span()
        .in_scope(|| tracing::error!("the restore has failed: {reason}"));
    let log = log.finish().and_then(LogFile::into_bytes);
    let log = log.map_err(|error| error.to_string())?;
    let records = [Record::run(Severity::Error, reason)];
    let counts = add_restore_failure(&store, name, &records, log.into()).await?;
    Ok(Some(counts))
}
