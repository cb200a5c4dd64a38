//! A backup from the end of its items to its end: operations, then the items that they have changed.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use jiff::Timestamp;
use velero_core::GoDuration;
use velero_core::api::{Backup, BackupStorageLocation, VeleroKind as _};
use velero_persistence::{BackupStore, ErrorKind};

use super::run::{backup_options, count};
use crate::runs::{Follow, FollowRun, RunError};
use crate::server::context::{Context, after, stamp};
use crate::server::controller::panic_text;
use crate::server::objects::Lock;
use crate::server::stores::{self, StoreError};
use crate::server::tracker::{RunKind, Running};

/// Longest pause between two tries of what has failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Follows a backup in a task of its own, unless that is done already.
pub(super) fn follow(context: &Context, backup: &Backup) {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    let cancel = context.stopping.child_token();
    let Some(running) = context
        .tracker
        .begin(RunKind::Operations, name, cancel.clone())
    else {
        return;
    };
    let (context, backup) = (context.clone(), backup.clone());
    let (stopping, slot) = (context.stopping.clone(), context.backup_slot.clone());
    let period = context.settings.tick;
    tokio::spawn(async move {
        let task = Task {
            due: last_moment(&context, &backup),
            context,
            cancel,
        };
        if let Err(panic) = AssertUnwindSafe(task.run(backup, running))
            .catch_unwind()
            .await
        {
            tracing::error!(
                "following a backup panicked: {}",
                panic_text(panic.as_ref())
            );
        }
        // If the backup has not ended, whatever the reason, it is taken up again.
        tokio::select! {
            () = stopping.cancelled() => {}
            () = tokio::time::sleep(period) => slot.notify_one(),
        }
    });
}

/// When even the last operation has been given up, and what follows has had its time.
fn last_moment(context: &Context, backup: &Backup) -> Timestamp {
    let started = backup.status.start_timestamp.as_ref();
    let started = started.map_or_else(|| context.now(), |time| time.0);
    let timeout = backup
        .spec
        .item_operation_timeout
        .or(context.settings.default_item_operation_timeout);
    let grace = GoDuration::try_from(context.settings.resource_timeout).unwrap_or(GoDuration::MAX);
    after(after(started, timeout.as_nanos()), grace.as_nanos())
}

/// Why following does not go on.
enum Stop {
    /// Not now; it can be tried again until the last moment.
    Later(String),
    /// Never.
    Never(String),
    /// Somebody else does it.
    Elsewhere(String),
}

impl From<RunError> for Stop {
    fn from(error: RunError) -> Self {
        let passes = match &error {
            RunError::ClaimLost(_)
            | RunError::Store {
                source: velero_persistence::Error::BackupReserved { .. },
                ..
            } => return Self::Elsewhere(error.chain()),
            // A bucket, a credential or a mount can come back; a file that is missing or damaged does not mend itself.
            RunError::Store { source, .. } => {
                !matches!(source.kind(), ErrorKind::NotFound | ErrorKind::Corrupt)
            }
            RunError::Cancelled => true,
            other => other.is_retryable(),
        };
        if passes {
            Self::Later(error.chain())
        } else {
            Self::Never(error.chain())
        }
    }
}

struct Task {
    context: Context,
    cancel: velero_core::CancellationToken,
    due: Timestamp,
}

/// What a task has of a backup.
#[derive(Default)]
struct Hold {
    follow: Option<Follow>,
    /// The last step has failed: the store may have other credentials by now.
    stale: bool,
}

impl Hold {
    /// Gives the claim on the backup back, if there is one.
    async fn release(&mut self) {
        if let Some(follow) = self.follow.take() {
            follow.close().await;
        }
    }
}

impl Task {
    /// Goes on until the backup has ended, is gone, or the server stops. `running` keeps its place until then.
    async fn run(self, backup: Backup, running: Running) {
        let mut hold = Hold::default();
        self.go(&mut hold, backup).await;
        hold.release().await;
        drop(running);
    }

    /// As [`Task::run`]; the claim is given back before the resource says that the backup has ended.
    async fn go(&self, hold: &mut Hold, mut backup: Backup) {
        let name = backup.metadata.name.clone().unwrap_or_default();
        let mut failures = 0u32;
        while !self.cancel.is_cancelled() && !backup.phase().is_terminal() {
            if !self.is_there(&backup).await {
                return;
            }
            let pause = match self.step(hold, &backup).await {
                Ok(next) => {
                    (failures, hold.stale) = (0, false);
                    if next.phase().is_terminal() {
                        hold.release().await;
                    }
                    match self.write(&backup, next).await {
                        Some(written) => backup = written,
                        None => return,
                    }
                    match &hold.follow {
                        Some(follow) if follow.is_finalizing() => Duration::ZERO,
                        _ => self.period(),
                    }
                }
                Err(_) if self.cancel.is_cancelled() => return,
                Err(Stop::Elsewhere(reason)) => {
                    tracing::debug!(backup = name, reason, "another server follows the backup");
                    return;
                }
                Err(Stop::Later(reason)) if self.context.now() < self.due => {
                    tracing::warn!(
                        backup = name,
                        reason,
                        "the operations of the backup cannot be looked after; will try again"
                    );
                    failures += 1;
                    hold.stale = true;
                    self.pause_after(failures)
                }
                Err(Stop::Later(reason) | Stop::Never(reason)) => {
                    let ended = self.give_up(hold, &backup, &reason).await;
                    hold.release().await;
                    self.write(&backup, ended).await;
                    return;
                }
            };
            tokio::select! {
                () = self.cancel.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn pause_after(&self, failures: u32) -> Duration {
        self.period()
            .saturating_mul(1 << failures.min(6))
            .min(LONGEST_PAUSE.max(self.period()))
    }

    /// Whether the resource is still there; nobody waits for the end of one that is not.
    async fn is_there(&self, backup: &Backup) -> bool {
        let name = backup.metadata.name.as_deref().unwrap_or_default();
        match self.context.objects.get::<Backup>(name).await {
            Ok(found) => found.is_some_and(|found| found.metadata.uid == backup.metadata.uid),
            // The look that follows says what is wrong.
            Err(_) => true,
        }
    }

    fn period(&self) -> Duration {
        self.context.settings.item_operation_sync_frequency
    }

    /// One look, or the end; gives the backup as it should be then.
    async fn step(&self, hold: &mut Hold, backup: &Backup) -> Result<Backup, Stop> {
        self.check_location(backup).await?;
        let follow = match &mut hold.follow {
            Some(follow) => {
                if hold.stale {
                    follow.use_store(self.store(backup).await?).await?;
                    hold.stale = false;
                }
                follow
            }
            none => none.insert(self.open(backup).await?),
        };
        // A server before this one may have got as far as that.
        if follow.backup().phase().is_terminal() {
            return Ok(follow.backup().clone());
        }
        let next = if follow.is_finalizing() {
            // What the cluster serves may have changed since the items were read.
            let refreshed = self.context.cluster.refresh().await;
            refreshed.map_err(|error| Stop::Later(velero_core::result::chain(&error)))?;
            follow.finalize().await?
        } else {
            follow.look().await?
        };
        Ok(next.clone())
    }

    /// A location that is gone or takes nothing is no place to end a backup in.
    async fn check_location(&self, backup: &Backup) -> Result<BackupStorageLocation, Stop> {
        let name = &backup.spec.storage_location;
        let found = self.context.objects.get::<BackupStorageLocation>(name);
        let found = found
            .await
            .map_err(|error| Stop::Later(error.to_string()))?;
        match found {
            None => Err(Stop::Never(format!(
                "backup storage location {name:?} is gone"
            ))),
            Some(location) if location.is_read_only() => Err(Stop::Never(format!(
                "backup storage location {name:?} is in read-only mode"
            ))),
            Some(location) => Ok(location),
        }
    }

    async fn store(&self, backup: &Backup) -> Result<BackupStore, Stop> {
        let location = self.check_location(backup).await?;
        let store = stores::open(&self.context.objects, &location).await;
        store.map_err(|error: StoreError| Stop::Later(velero_core::result::chain(&error)))
    }

    async fn open(&self, backup: &Backup) -> Result<Follow, Stop> {
        let settings = &self.context.settings;
        Ok(Follow::open(FollowRun {
            cluster: self.context.cluster.clone(),
            store: self.store(backup).await?,
            backup: backup.clone(),
            actions: settings.backup_actions.clone(),
            options: backup_options(&self.context),
            logs: self.context.logs.clone(),
            writer: self.context.writer.to_string(),
            cancel: self.cancel.clone(),
            clock: settings.clock.clone(),
        })
        .await?)
    }

    /// Ends a backup that cannot be followed any more.
    async fn give_up(&self, hold: &mut Hold, backup: &Backup, reason: &str) -> Backup {
        let reason = format!("the backup could not be finalized: {reason}");
        if let Some(follow) = &mut hold.follow {
            return follow.give_up(&reason).await.clone();
        }
        let mut ended = backup.clone();
        ended.status.phase = Some(velero_core::api::BackupPhase::PartiallyFailed);
        ended.status.errors += 1;
        ended.status.failure_reason = reason;
        ended.status.completion_timestamp = stamp(self.context.now());
        ended
    }

    /// Writes what has changed; `None` when the resource is gone or cannot be written, and nobody is left to follow.
    async fn write(&self, old: &Backup, new: Backup) -> Option<Backup> {
        let name = old.metadata.name.as_deref().unwrap_or_default();
        // Of the rest of the object others may have written a newer state.
        let new = Backup {
            status: new.status,
            ..old.clone()
        };
        let outcome = if new.phase().is_terminal() {
            self.context.patch_surely(old, &new).await
        } else {
            self.context
                .objects
                .patch(old, &new, Lock::SameObject)
                .await
        };
        match outcome {
            Ok(written) => {
                if new.phase().is_terminal() {
                    count(&self.context, &new);
                    tracing::info!(backup = name, phase = %new.phase(), "the backup has ended");
                }
                Some(written)
            }
            Err(error) if error.is_not_found() || error.is_conflict() => {
                tracing::warn!(backup = name, %error, "the resource is gone: its operations are not followed any more");
                None
            }
            Err(error) => {
                tracing::warn!(backup = name, kind = Backup::KIND, %error, "the state of the backup could not be written");
                (!new.phase().is_terminal()).then(|| old.clone())
            }
        }
    }
}
