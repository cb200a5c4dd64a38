//! The shell around the decisions about locations.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::runtime::controller::Action;
use velero_core::api::{
    BackupStorageLocation, BackupStorageLocationPhase, BackupStorageLocationSpec,
};

use super::decide::{Step, next, settle_defaults};
use crate::server::context::{Context, stamp};
use crate::server::controller::{Reconciler, Retry};
use crate::server::objects::{ApiError, Lock};
use crate::server::stores::{self, StoreError};

/// How long the start waits for locations.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// Checks locations and keeps one of them the default.
#[derive(Clone, Default)]
pub(in crate::server) struct LocationReconciler {
    /// Specs as this process last checked them, by uid.
    checked: Arc<Mutex<HashMap<String, BackupStorageLocationSpec>>>,
}

impl Reconciler for LocationReconciler {
    type Kind = BackupStorageLocation;

    fn gone(&self, context: &Context, name: &str) {
        context.locations.remove(name);
    }

    async fn reconcile(&self, context: &Context, name: &str) -> Result<Action, Retry> {
        let locations: Vec<BackupStorageLocation> = context.objects.list().await?;
        note(context, &locations);
        if settle(context, &locations).await? {
            // The change brings every location back here.
            return Ok(Action::requeue(Duration::from_millis(10)));
        }
        let Some(location) = locations
            .into_iter()
            .find(|l| l.metadata.name.as_deref() == Some(name))
        else {
            return Ok(Action::await_change());
        };
        let uid = location.metadata.uid.clone().unwrap_or_default();
        let before = self.lock().get(&uid).cloned();
        match next(
            &location,
            before.as_ref(),
            context.settings.store_validation_frequency,
            context.now(),
        ) {
            Step::Rest => Ok(Action::await_change()),
            Step::Wait(pause) => Ok(Action::requeue(pause)),
            Step::Check => {
                let written = check(context, &location).await?;
                self.lock().insert(uid, written.spec.clone());
                match next(
                    &written,
                    Some(&written.spec),
                    context.settings.store_validation_frequency,
                    context.now(),
                ) {
                    Step::Wait(pause) => Ok(Action::requeue(pause)),
                    Step::Check => Ok(Action::requeue(context.settings.tick)),
                    Step::Rest => Ok(Action::await_change()),
                }
            }
        }
    }
}

impl LocationReconciler {
    /// Checks the locations that are not available, before anything is refused on their account. What takes longer than
    /// [`FIRST_LOOK`], or fails, is left to the reconciler.
    pub(in crate::server) async fn first_look(&self, context: &Context) {
        let look = async {
            let locations: Vec<BackupStorageLocation> = context.objects.list().await?;
            note(context, &locations);
            let checks = locations
                .iter()
                .filter(|location| !location.is_available())
                .map(|location| async {
                    let written = check(context, location).await?;
                    let uid = written.metadata.uid.clone().unwrap_or_default();
                    self.lock().insert(uid, written.spec.clone());
                    Ok::<_, Retry>(())
                });
            for outcome in futures::future::join_all(checks).await {
                outcome?;
            }
            Ok::<_, Retry>(())
        };
        match tokio::time::timeout(FIRST_LOOK, look).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "not all locations could be checked yet"),
            Err(_) => tracing::warn!("not all locations have answered yet"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, BackupStorageLocationSpec>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the marks of the default; says whether any has changed.
async fn settle(context: &Context, locations: &[BackupStorageLocation]) -> Result<bool, ApiError> {
    let defaults = settle_defaults(locations, &context.settings.default_location);
    let changes = defaults
        .mark
        .iter()
        .map(|name| (name, true))
        .chain(defaults.unmark.iter().map(|name| (name, false)));
    let mut changed = false;
    for (name, default) in changes {
        let Some(location) = locations
            .iter()
            .find(|l| l.metadata.name.as_ref() == Some(name))
        else {
            continue;
        };
        let mut marked = location.clone();
        marked.spec.default = default;
        match context
            .objects
            .patch(location, &marked, Lock::Unchanged)
            .await
        {
            Ok(_) => changed = true,
            // Somebody else was faster; the next look decides on what is there then.
            Err(error) if error.is_conflict() || error.is_not_found() => changed = true,
            Err(error) => return Err(error),
        }
        tracing::info!(
            location = name,
            default,
            "the default of the locations has changed"
        );
    }
    Ok(changed)
}

/// Checks the store and writes what came of it.
async fn check(
    context: &Context,
    location: &BackupStorageLocation,
) -> Result<BackupStorageLocation, Retry> {
    let name = location.metadata.name.as_deref().unwrap_or_default();
    let outcome = stores::check(&context.objects, location).await;
    if let Err(StoreError::Api { source, .. }) = &outcome
        && source.is_retryable()
    {
        // The API server's trouble says nothing about the store.
        return outcome.map(|()| location.clone()).map_err(Retry::from);
    }
    let mut checked = location.clone();
    checked.status.last_validation_time = stamp(context.now());
    match &outcome {
        Ok(()) => {
            checked.status.phase = Some(BackupStorageLocationPhase::Available);
            checked.status.message.clear();
        }
        Err(error) => {
            checked.status.phase = Some(BackupStorageLocationPhase::Unavailable);
            checked.status.message = velero_core::result::chain(error);
        }
    }
    if location.status.phase != checked.status.phase {
        match &outcome {
            Ok(()) => tracing::info!(location = name, "the location is available"),
            Err(error) => tracing::warn!(location = name, %error, "the location is not available"),
        }
    }
    let written = context
        .objects
        .patch(location, &checked, Lock::SameObject)
        .await?;
    if written.is_available() && !location.is_available() {
        context.sync_now.notify_one();
        context.leftovers.look_now();
    }
    let locations: Vec<BackupStorageLocation> = context.objects.list().await?;
    note(context, &locations);
    Ok(written)
}

/// Takes in how the locations are.
fn note(context: &Context, locations: &[BackupStorageLocation]) {
    context.locations.set(locations);
    let states = locations.iter().map(|location| {
        let name = location.metadata.name.as_deref().unwrap_or_default();
        (name, location.is_available())
    });
    context.metrics.set_locations(states);
}
