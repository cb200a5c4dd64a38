//! A restore from the end of its items to its end: operations of actions, hooks of pods, and new volumes of claims.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use velero_core::CancellationToken;
use velero_core::api::{Backup, BackupStorageLocation, Restore, RestorePhase};
use velero_persistence::BackupStore;

use super::claim::{SignsOfLife, take_off, write_ours};
use super::run::{count, restore_options};
use crate::runs::{RestoreFollow, RestoreFollowRun, RestoreLeft, TakenOver};
use crate::server::context::{Context, stamp};
use crate::server::follow::{Followed, Stop, Task, last_moment};
use crate::server::objects::ApiError;
use crate::server::stores::{self, StoreError};
use crate::server::tracker::RunKind;
use crate::server::waits;

/// Follows a restore in a task of its own, unless that is done already. `left` is what its run has left, if this
/// process has made it.
pub(super) fn follow(context: &Context, restore: &Restore, left: Option<RestoreLeft>) {
    let name = restore.metadata.name.as_deref().unwrap_or_default();
    let cancel = context.stopping.child_token();
    let kind = RunKind::RestoreOperations;
    let Some(running) = context.tracker.begin(kind, name, cancel.clone()) else {
        return;
    };
    let started = restore.status.start_timestamp.as_ref();
    let task = Task {
        due: last_moment(context, started, restore.spec.item_operation_timeout),
        context: context.clone(),
        followed: Hold {
            context: context.clone(),
            cancel: cancel.clone(),
            left,
            follow: None,
            stale: false,
            life: Some(SignsOfLife::start(
                context,
                restore,
                TakenOver::new(cancel.clone()),
            )),
            is_ending: false,
        },
        cancel,
        slot: Arc::clone(&context.restore_slot),
    };
    task.start(restore.clone(), running);
}

/// What a task has of a restore.
struct Hold {
    context: Context,
    cancel: CancellationToken,
    /// What the run has left, until it is taken over.
    left: Option<RestoreLeft>,
    follow: Option<RestoreFollow>,
    /// The last step has failed: the store may have other credentials by now.
    stale: bool,
    /// Keeps other servers away.
    life: Option<SignsOfLife>,
    /// What is written next is the end, and takes the claim off.
    is_ending: bool,
}

impl Followed for Hold {
    type Kind = Restore;

    fn has_ended(restore: &Restore) -> bool {
        restore.phase().is_terminal()
    }

    fn with_status(restore: &Restore, status_of: Restore) -> Restore {
        let mut restore = Restore {
            status: status_of.status.clone(),
            ..restore.clone()
        };
        if Self::has_ended(&restore) {
            take_off(&mut restore);
        } else {
            waits::take_over(&mut restore.metadata, &status_of.metadata);
        }
        restore
    }

    async fn step(&mut self, restore: &Restore) -> Result<(Restore, Duration), Stop> {
        let mut follow = match self.follow.take() {
            Some(follow) => follow,
            None => self.open(restore).await?,
        };
        let outcome = self.step_of(&mut follow, restore).await;
        let is_finalizing = follow.is_finalizing();
        self.follow = Some(follow);
        let next = outcome?;
        self.is_ending = Self::has_ended(&next);
        self.stale = false;
        let pause = if is_finalizing {
            Duration::ZERO
        } else {
            self.context.settings.item_operation_sync_frequency
        };
        Ok((next, pause))
    }

    fn step_failed(&mut self) {
        self.stale = true;
    }

    async fn release(&mut self) {
        self.follow = None;
        match self.life.take() {
            Some(life) if self.is_ending => life.stop().await,
            Some(life) => life.give_back().await,
            None => {}
        }
    }

    async fn give_up(&mut self, restore: &Restore, reason: &str) -> Restore {
        self.is_ending = true;
        let reason = format!("the restore could not be finalized: {reason}");
        if let Some(follow) = &mut self.follow {
            return follow.give_up(&reason).await.clone();
        }
        self.ended_by(restore, RestorePhase::PartiallyFailed, reason)
    }

    async fn hold(&mut self, restore: &Restore, cancel: CancellationToken) -> Result<(), Stop> {
        self.cancel = cancel;
        if self.follow.is_none() {
            self.follow = Some(self.open(restore).await?);
        }
        Ok(())
    }

    async fn cancel(
        &mut self,
        restore: &Restore,
        reason: &str,
        deadline: Instant,
        cancel: CancellationToken,
    ) -> Restore {
        self.is_ending = true;
        if let Some(follow) = &mut self.follow {
            return follow.cancel(reason, deadline, cancel).await.clone();
        }
        self.ended_by(restore, RestorePhase::Failed, reason.to_owned())
    }

    async fn write(
        &self,
        context: &Context,
        old: &Restore,
        new: &Restore,
    ) -> Result<Option<Restore>, ApiError> {
        write_ours(context, old, new).await
    }

    async fn flush(&mut self) {
        if let Some(follow) = &mut self.follow {
            follow.flush().await;
        }
    }

    fn ended(&self, restore: &Restore) {
        count(&self.context, restore);
        let name = restore.metadata.name.as_deref().unwrap_or_default();
        tracing::info!(restore = name, phase = %restore.phase(), "the restore has ended");
    }
}

impl Hold {
    /// The restore as it has ended, where its store takes nothing of that.
    fn ended_by(&self, restore: &Restore, phase: RestorePhase, reason: String) -> Restore {
        let mut ended = restore.clone();
        ended.status.phase = Some(phase);
        ended.status.errors += 1;
        ended.status.failure_reason = reason;
        ended.status.completion_timestamp = stamp(self.context.now());
        ended
    }

    async fn step_of(
        &self,
        follow: &mut RestoreFollow,
        restore: &Restore,
    ) -> Result<Restore, Stop> {
        if self.stale {
            follow.use_store(self.store(restore).await?);
        }
        let patience = self.context.settings.item_operation_sync_frequency;
        let mut next = follow.look(patience).await?.clone();
        let waits_for = follow.waits_for();
        if !waits_for.is_empty() && waits::what(&restore.metadata) != Some(waits_for.as_str()) {
            let name = restore.metadata.name.as_deref().unwrap_or_default();
            tracing::info!(restore = name, "the restore waits for {waits_for}");
        }
        // The follower does not know when this began.
        waits::take_over(&mut next.metadata, &restore.metadata);
        let waits_for = Some(waits_for.as_str()).filter(|text| !text.is_empty());
        waits::set(&mut next.metadata, waits_for, self.context.now());
        Ok(next)
    }

    async fn store(&self, restore: &Restore) -> Result<BackupStore, Stop> {
        let later = |error: ApiError| Stop::Later(error.to_string());
        let name = &restore.spec.backup_name;
        let backup = self.context.objects.get::<Backup>(name).await;
        let Some(backup) = backup.map_err(later)? else {
            return Err(Stop::Never(format!("backup {name:?} is gone")));
        };
        let name = &backup.spec.storage_location;
        let location = self.context.objects.get::<BackupStorageLocation>(name);
        let Some(location) = location.await.map_err(later)? else {
            let reason = format!("backup storage location {name:?} is gone");
            return Err(Stop::Never(reason));
        };
        let store = stores::open(&self.context.objects, &location).await;
        store.map_err(|error: StoreError| Stop::Later(velero_core::result::chain(&error)))
    }

    async fn open(&mut self, restore: &Restore) -> Result<RestoreFollow, Stop> {
        let settings = Arc::clone(&self.context.settings);
        Ok(RestoreFollow::open(RestoreFollowRun {
            cluster: self.context.cluster.clone(),
            store: self.store(restore).await?,
            restore: restore.clone(),
            actions: settings.restore_actions.clone(),
            options: restore_options(&self.context),
            left: self.left.take(),
            logs: self.context.logs.clone(),
            cancel: self.cancel.clone(),
            clock: settings.clock.clone(),
        })
        .await?)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use velero_core::api::RestoreSpec;

    #[test]
    fn what_is_waited_for_is_told_until_the_end() {
        for (phase, before, now, expected) in [
            (RestorePhase::Finalizing, None, Some("hooks"), Some("hooks")),
            (
                RestorePhase::Finalizing,
                Some("hooks"),
                Some("volumes"),
                Some("volumes"),
            ),
            (RestorePhase::Finalizing, Some("hooks"), None, None),
            (RestorePhase::Completed, Some("hooks"), Some("hooks"), None),
        ] {
            let mut written = Restore::new("velero", "r", RestoreSpec::default());
            waits::set(&mut written.metadata, before, Timestamp::UNIX_EPOCH);
            let mut next = written.clone();
            next.status.phase = Some(phase.clone());
            waits::set(&mut next.metadata, now, Timestamp::UNIX_EPOCH);
            let found = Hold::with_status(&written, next);
            let found = waits::what(&found.metadata);
            assert_eq!(found, expected, "{phase:?} {before:?} {now:?}");
        }
    }
}
