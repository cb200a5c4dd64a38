//! The shell around the decisions about restores.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action;
use tokio::sync::{Mutex, Notify};
use velero_core::api::{Backup, BackupStorageLocation, Restore, RestorePhase};
use velero_core::names::finalizers;
use velero_restore::Journal as _;

use super::check::{Surroundings, check};
use super::claim::{self, is_held_by_another};
use super::decide::{Slots, Step, is_settled, next, waits_for};
use super::finalize::follow;
use super::recover::{end, recover, resume};
use super::run::start;
use crate::runs::{RestoreInputs, RestoreJournal, RunError};
use crate::server::cancel;
use crate::server::context::Context;
use crate::server::controller::{Reconciler, Retry};
use crate::server::controllers::Controller;
use crate::server::deletion::tell_foreign;
use crate::server::metrics::Count;
use crate::server::objects::{ApiError, Lock};
use crate::server::stores;
use crate::server::tracker::RunKind;
use crate::server::waits;

/// Checks restores, runs them, and removes their files when they are deleted.
#[derive(Clone, Default)]
pub(in crate::server) struct RestoreReconciler {
    /// Held while it is decided who goes next.
    turn: Arc<Mutex<()>>,
}

impl Reconciler for RestoreReconciler {
    type Kind = Restore;

    fn all_on(&self, context: &Context) -> Option<Arc<Notify>> {
        Some(Arc::clone(&context.restore_slot))
    }

    fn is_settled(&self, seen: &Restore) -> bool {
        is_settled(seen)
    }

    async fn reconcile(&self, context: &Context, name: &str) -> Result<Action, Retry> {
        let turn = self.turn.lock().await;
        let tracked = context.tracker.contains(RunKind::Restore, name)
            || context.tracker.contains(RunKind::RestoreOperations, name);
        // A run writes its progress every second: there is no need to look at all others each time.
        let all: Vec<Restore> = if tracked {
            context.objects.get(name).await?.into_iter().collect()
        } else {
            let all: Vec<Restore> = context.objects.list().await?;
            context.metrics.set_restores(all.len());
            all
        };
        let Some(restore) = all
            .iter()
            .find(|restore| restore.metadata.name.as_deref() == Some(name))
        else {
            cancel(context, name);
            return Ok(Action::await_change());
        };
        let step = next(
            restore,
            &all,
            tracked,
            !context.is_alone() && is_held_by_another(restore, &context.writer, context.now()),
            Slots {
                running: context.tracker.names(RunKind::Restore).len(),
                limit: context.settings.concurrent_restores,
            },
        );
        if controller_of(&step).is_some_and(|controller| !context.runs(controller)) {
            return Ok(Action::await_change());
        }
        let outcome = match step {
            Step::Rest => return Ok(Action::await_change()),
            Step::Wait => {
                if *restore.phase() == RestorePhase::New {
                    waits::tell(context, restore, &waits_for(restore, &all)).await;
                }
                return Ok(Action::requeue(context.settings.tick));
            }
            Step::Cancel => {
                cancel(context, name);
                return Ok(Action::requeue(Duration::from_millis(200)));
            }
            Step::Stop(who) => {
                context.tracker.cancel_for(RunKind::Restore, name, &who);
                let after = RunKind::RestoreOperations;
                context.tracker.cancel_for(after, name, &who);
                return Ok(Action::await_change());
            }
            Step::End(who) => {
                drop(turn);
                end(context, restore, cancel::reason(&who)).await
            }
            Step::CleanUp => {
                drop(turn);
                clean_up(context, restore).await
            }
            Step::Tidy => {
                drop(turn);
                tidy(context, restore).await
            }
            Step::Protect => protect(context, restore).await,
            Step::Start => begin(context, restore).await,
            Step::Resume => resume(context, restore).await,
            Step::Recover => {
                // A store may take long to answer.
                drop(turn);
                recover(context, restore).await
            }
            Step::Follow => match claim::claim(context, restore).await {
                Ok(claimed) => {
                    follow(context, &claimed, None);
                    return Ok(Action::await_change());
                }
                Err(error) => Err(error.into()),
            },
        };
        match outcome {
            Ok(()) => Ok(Action::requeue(context.settings.tick)),
            Err(Retry(error))
                if error
                    .downcast_ref::<ApiError>()
                    .is_some_and(ApiError::is_conflict) =>
            {
                Ok(Action::requeue(Duration::from_millis(50)))
            }
            Err(error) => Err(error),
        }
    }
}

/// Whose work a step is; one about a run that is under way is always taken.
fn controller_of(step: &Step) -> Option<Controller> {
    match step {
        Step::Follow => Some(Controller::RestoreOperations),
        Step::Protect | Step::Start | Step::Resume | Step::Recover => Some(Controller::Restore),
        Step::CleanUp | Step::End(_) | Step::Tidy => Some(Controller::Restore),
        Step::Wait | Step::Cancel | Step::Stop(_) | Step::Rest => None,
    }
}

/// Ends what is under way of a restore.
fn cancel(context: &Context, name: &str) {
    context.tracker.cancel(RunKind::Restore, name);
    context.tracker.cancel(RunKind::RestoreOperations, name);
}

async fn protect(context: &Context, restore: &Restore) -> Result<(), Retry> {
    let mut protected = restore.clone();
    let names = protected.metadata.finalizers.get_or_insert_default();
    names.push(finalizers::RESTORE_EXTERNAL_RESOURCES.to_owned());
    context
        .objects
        .patch(restore, &protected, Lock::Unchanged)
        .await?;
    Ok(())
}

/// Checks a restore and begins its run.
async fn begin(context: &Context, restore: &Restore) -> Result<(), Retry> {
    let name = restore.metadata.name.as_deref().unwrap_or_default();
    let (inputs, faults) = inputs(context, restore).await?;
    let around = Surroundings {
        backups: context.objects.list().await?,
        locations: context.objects.list().await?,
        faults,
    };
    let mut checked = check(restore, &around, &context.settings, context.now());
    let schedule = checked.spec.schedule_name.clone();
    if *checked.phase() == RestorePhase::FailedValidation {
        context
            .objects
            .patch(restore, &checked, Lock::Unchanged)
            .await?;
        context.metrics.count(Count::RestoreAttempt, &schedule);
        context
            .metrics
            .count(Count::RestoreValidationFailed, &schedule);
        tracing::warn!(
            restore = name,
            errors = checked.status.validation_errors.join("; "),
            "the spec of the restore is at fault"
        );
        context.restore_slot.notify_one();
        return Ok(());
    }
    let cancel = context.stopping.child_token();
    let Some(running) = context
        .tracker
        .begin(RunKind::Restore, name, cancel.clone())
    else {
        return Ok(());
    };
    claim::put(context, &mut checked);
    let begun = context
        .objects
        .patch(restore, &checked, Lock::Unchanged)
        .await?;
    context.metrics.count(Count::RestoreAttempt, &schedule);
    start(context, running, begun, inputs, cancel);
    Ok(())
}

/// What a restore goes by beside its spec, or what is wrong with it.
pub(super) async fn inputs(
    context: &Context,
    restore: &Restore,
) -> Result<(RestoreInputs, Vec<String>), Retry> {
    match RestoreInputs::read(&context.cluster, restore).await {
        Ok(inputs) => Ok((inputs, Vec::new())),
        Err(RunError::Validation(faults)) => Ok((RestoreInputs::default(), faults)),
        Err(error) => Err(anyhow::Error::from(error).into()),
    }
}

/// Deletes the files of a restore that is being deleted, then lets it go.
async fn clean_up(context: &Context, restore: &Restore) -> Result<(), Retry> {
    let name = restore.metadata.name.as_deref().unwrap_or_default();
    if let Some(location) = location_of(context, restore).await? {
        if !location.is_available() {
            let location = location.metadata.name.as_deref().unwrap_or_default();
            return Err(anyhow::anyhow!("the files of restore {name:?} cannot be deleted: location {location:?} is not available").into());
        }
        let store = stores::open(&context.objects, &location).await?;
        let deleted = store.delete_restore(name).await?;
        tell_foreign("restore", name, &deleted.foreign);
    }
    if let Some(store) = context.spares.store() {
        store.delete_restore(name).await?;
    }
    let mut free = restore.clone();
    if let Some(names) = &mut free.metadata.finalizers {
        names.retain(|name| name != finalizers::RESTORE_EXTERNAL_RESOURCES);
        if names.is_empty() {
            free.metadata.finalizers = None;
        }
    }
    match context.objects.patch(restore, &free, Lock::Unchanged).await {
        Ok(_) => tracing::info!(restore = name, "the restore is deleted, with its files"),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    context.restore_slot.notify_one();
    Ok(())
}

/// Takes away the journal of a restore that has ended, then the mark of its server.
async fn tidy(context: &Context, restore: &Restore) -> Result<(), Retry> {
    let name = restore.metadata.name.as_deref().unwrap_or_default();
    if let Some(location) = location_of(context, restore).await? {
        let store = stores::open(&context.objects, &location).await?;
        let journal = RestoreJournal::of(&context.cluster, &store, restore);
        let found = journal.load().await;
        found.map_err(|error| {
            anyhow::anyhow!(
                "the journal of restore {name:?} cannot be looked for: {}",
                velero_core::result::chain(error.as_ref())
            )
        })?;
        journal.forget().await;
    }
    claim::unmark(context, restore).await?;
    tracing::info!(
        restore = name,
        "what the restore's server has left of it is tidied up"
    );
    Ok(())
}

/// Where a restore's files are; nowhere when the backup or its location is gone.
pub(super) async fn location_of(
    context: &Context,
    restore: &Restore,
) -> Result<Option<BackupStorageLocation>, ApiError> {
    if restore.spec.backup_name.is_empty() {
        return Ok(None);
    }
    let Some(backup) = context
        .objects
        .get::<Backup>(&restore.spec.backup_name)
        .await?
    else {
        return Ok(None);
    };
    if backup.spec.storage_location.is_empty() {
        return Ok(None);
    }
    context.objects.get(&backup.spec.storage_location).await
}
