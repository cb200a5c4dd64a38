//! The shell around the decisions about backups.

use std::sync::Arc;

use kube::runtime::controller::Action;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;
use velero_backup::{BackupRequest, LiveNamespaces, RequestInputs, live_namespaces};
use velero_core::api::{Backup, BackupPhase};
use velero_core::names::annotations;
use velero_core::policy::ResourcePolicies;

use super::follow::follow;
use super::prepare::{Surroundings, check};
use super::queue::{Slots, Step, asks_for_namespaces, next, renumbered, waits_for};
use super::recover::{Patience, recover};
use super::run::{schedule_of, start};
use super::snapshot_locations;
use crate::runs::{RunError, read_policies};
use crate::server::cancel;
use crate::server::context::{Context, stamp};
use crate::server::controller::{Reconciler, Retry};
use crate::server::controllers::Controller;
use crate::server::metrics::Count;
use crate::server::objects::{ApiError, Lock};
use crate::server::tracker::RunKind;
use crate::server::waits;

/// Takes backups through the queue and runs them.
#[derive(Clone, Default)]
pub(in crate::server) struct BackupReconciler {
    /// Held while the queue is looked at and changed, so that no two backups get one place.
    queue: Arc<Mutex<Known>>,
    patience: Patience,
}

impl Reconciler for BackupReconciler {
    type Kind = Backup;

    fn all_on(&self, context: &Context) -> Option<Arc<Notify>> {
        Some(Arc::clone(&context.backup_slot))
    }

    fn is_settled(&self, seen: &Backup) -> bool {
        seen.phase().is_terminal() || *seen.phase() == BackupPhase::Deleting
    }

    async fn reconcile(&self, context: &Context, name: &str) -> Result<Action, Retry> {
        let mut turn = self.queue.lock().await;
        let tracked = context.tracker.contains(RunKind::Backup, name)
            || context.tracker.contains(RunKind::Operations, name);
        // A run writes its progress every second: there is no need to look at all others each time.
        let all: Vec<Backup> = if tracked {
            context.objects.get(name).await?.into_iter().collect()
        } else {
            let all: Vec<Backup> = context.objects.list().await?;
            context.metrics.set_backups(all.len());
            all
        };
        let Some(backup) = all
            .iter()
            .find(|backup| backup.metadata.name.as_deref() == Some(name))
        else {
            context.tracker.cancel(RunKind::Backup, name);
            context.tracker.cancel(RunKind::Operations, name);
            return Ok(Action::await_change());
        };
        let running = context.tracker.names(RunKind::Backup);
        let mut slots = Slots {
            running: &running,
            limit: context.settings.concurrent_backups,
            namespaces: None,
        };
        let names;
        if asks_for_namespaces(backup, &all, slots) {
            names = turn.namespaces(context).await;
            slots.namespaces = names.as_deref();
        }
        let step = next(backup, &all, tracked, slots);
        if controller_of(&step).is_some_and(|controller| !context.runs(controller)) {
            return Ok(Action::await_change());
        }
        let outcome = match step {
            Step::Rest => return Ok(Action::await_change()),
            Step::Cancel(who) => {
                context.tracker.cancel_for(RunKind::Backup, name, &who);
                context.tracker.cancel_for(RunKind::Operations, name, &who);
                return Ok(Action::await_change());
            }
            Step::End(who) => end_cancelled(context, backup, &who).await,
            Step::Wait => {
                waits::tell(context, backup, &waits_for(backup, &all, slots)).await;
                return Ok(Action::requeue(context.settings.tick));
            }
            Step::Enqueue(position) => enqueue(context, backup, position).await,
            Step::Dequeue => dequeue(context, backup, &all).await,
            Step::Prepare => begin(context, backup).await,
            Step::Follow => {
                follow(context, backup);
                return Ok(Action::await_change());
            }
            Step::Recover => {
                // It changes nothing of the queue, and a store may take long to answer.
                drop(turn);
                recover(context, backup, &self.patience).await
            }
        };
        match outcome {
            // What changed has brought it back here already.
            Ok(()) => Ok(Action::requeue(context.settings.tick)),
            Err(error) if is_conflict(&error) => {
                Ok(Action::requeue(std::time::Duration::from_millis(50)))
            }
            Err(error) => Err(error),
        }
    }
}

/// Whose work a step is; one about a run that is under way is always taken.
fn controller_of(step: &Step) -> Option<Controller> {
    match step {
        Step::Enqueue(_) | Step::Dequeue => Some(Controller::BackupQueue),
        Step::Prepare | Step::Recover | Step::End(_) => Some(Controller::Backup),
        Step::Follow => Some(Controller::BackupOperations),
        Step::Wait | Step::Cancel(_) | Step::Rest => None,
    }
}

/// The namespaces of the cluster, as they were a short while ago.
#[derive(Debug, Default)]
struct Known {
    names: Vec<String>,
    read: Option<Instant>,
}

impl Known {
    /// Their names; none where they cannot be read, which the run of a backup tells of.
    async fn namespaces(&mut self, context: &Context) -> Option<Vec<String>> {
        if self
            .read
            .is_none_or(|read| read.elapsed() >= context.settings.tick)
        {
            let options = context.settings.list_options();
            let live = live_namespaces(&context.cluster, &options, &[])
                .await
                .ok()?;
            self.names = live.heads().iter().map(|head| head.name.clone()).collect();
            self.names.sort();
            self.read = Some(Instant::now());
        }
        Some(self.names.clone())
    }
}

/// Somebody has changed the object since it was read: the next look decides on what is there then.
fn is_conflict(error: &Retry) -> bool {
    error
        .0
        .downcast_ref::<ApiError>()
        .is_some_and(ApiError::is_conflict)
}

async fn enqueue(context: &Context, backup: &Backup, position: i64) -> Result<(), Retry> {
    let mut queued = backup.clone();
    queued.status.phase = Some(BackupPhase::Queued);
    queued.status.queue_position = position;
    context
        .objects
        .patch(backup, &queued, Lock::Unchanged)
        .await?;
    Ok(())
}

async fn dequeue(context: &Context, backup: &Backup, all: &[Backup]) -> Result<(), Retry> {
    let mut ready = backup.clone();
    ready.status.phase = Some(BackupPhase::ReadyToStart);
    ready.status.queue_position = 0;
    waits::clear(&mut ready.metadata);
    context
        .objects
        .patch(backup, &ready, Lock::Unchanged)
        .await?;
    for (other, position) in renumbered(all, backup) {
        let mut moved = other.clone();
        moved.status.queue_position = position;
        if let Err(error) = context.objects.patch(other, &moved, Lock::Unchanged).await {
            // Only the number is off; the order stays right.
            tracing::warn!(backup = other.metadata.name.as_deref().unwrap_or_default(), %error, "the place of the backup in the queue was not renumbered");
        }
    }
    Ok(())
}

/// Ends a backup that has not begun.
async fn end_cancelled(context: &Context, backup: &Backup, who: &str) -> Result<(), Retry> {
    let mut ended = backup.clone();
    ended.status.phase = Some(BackupPhase::Failed);
    ended.status.queue_position = 0;
    waits::clear(&mut ended.metadata);
    ended.status.failure_reason = cancel::reason(who);
    ended.status.completion_timestamp = stamp(context.now());
    let objects = &context.objects;
    objects.patch(backup, &ended, Lock::Unchanged).await?;
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    tracing::info!(
        backup = name,
        by = who,
        "the backup was cancelled before it began"
    );
    context.backup_slot.notify_one();
    Ok(())
}

/// Checks a backup and begins its run.
async fn begin(context: &Context, backup: &Backup) -> Result<(), Retry> {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    let around = surroundings(context, backup).await?;
    let (policies, mut spec_faults) = policies(context, backup).await?;
    if let Ok(live) = &around.namespaces {
        // Where the policies are at fault, empty ones stand in for them, so that all other faults are found too.
        let stand_in = || (!spec_faults.is_empty()).then(ResourcePolicies::default);
        let inputs = RequestInputs::default().policies(policies.clone().or_else(stand_in));
        let catalog = context.cluster.catalog();
        let more = BackupRequest::resolve_with(backup, &catalog, live.heads(), &inputs).err();
        spec_faults.extend(more.unwrap_or_default());
    }
    let mut checked = check(
        backup,
        &around,
        spec_faults,
        &context.settings,
        context.now(),
    );
    if *checked.phase() == BackupPhase::FailedValidation {
        context
            .objects
            .patch(backup, &checked, Lock::Unchanged)
            .await?;
        context
            .metrics
            .count(Count::BackupValidationFailure, schedule_of(&checked));
        tracing::warn!(
            backup = name,
            errors = checked.status.validation_errors.join("; "),
            "the spec of the backup is at fault"
        );
        context.backup_slot.notify_one();
        return Ok(());
    }
    if !context.cluster_id.is_empty() {
        let own = checked.metadata.annotations.get_or_insert_default();
        own.insert(
            annotations::CLUSTER.to_owned(),
            context.cluster_id.to_string(),
        );
    }
    let cancel = context.stopping.child_token();
    let Some(running) = context.tracker.begin(RunKind::Backup, name, cancel.clone()) else {
        return Ok(());
    };
    let begun = context
        .objects
        .patch(backup, &checked, Lock::Unchanged)
        .await?;
    start(
        context,
        running,
        begun,
        policies,
        around.namespaces.ok(),
        cancel,
    );
    Ok(())
}

/// The resource policies of a backup, or what is wrong with them.
async fn policies(
    context: &Context,
    backup: &Backup,
) -> Result<(Option<ResourcePolicies>, Vec<String>), Retry> {
    match read_policies(&context.cluster, backup).await {
        Ok(policies) => Ok((policies, Vec::new())),
        Err(RunError::Validation(faults)) => Ok((None, faults)),
        Err(error) => Err(anyhow::Error::from(error).into()),
    }
}

async fn surroundings(context: &Context, backup: &Backup) -> Result<Surroundings, Retry> {
    Ok(Surroundings {
        locations: context.objects.list().await?,
        snapshot_locations: snapshot_locations::of(context, backup).await?,
        namespaces: namespaces(context, backup).await?,
        server_version: context
            .cluster
            .server_version()
            .await
            .map_err(anyhow::Error::from)?,
    })
}

/// The namespaces of the cluster, or why they may not be listed.
async fn namespaces(
    context: &Context,
    backup: &Backup,
) -> Result<Result<LiveNamespaces, String>, Retry> {
    let refreshed = context.cluster.refresh().await;
    refreshed.map_err(anyhow::Error::from)?;
    let options = context.settings.list_options();
    let included = &backup.spec.included_namespaces;
    match live_namespaces(&context.cluster, &options, included).await {
        Ok(live) => Ok(Ok(live)),
        Err(error) if error.is_retryable() => Err(anyhow::Error::from(error).into()),
        Err(error) => Ok(Err(error.to_string())),
    }
}
