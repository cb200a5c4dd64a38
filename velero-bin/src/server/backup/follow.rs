//! A backup from the end of its items to its end: operations, then the items that they have changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use velero_core::CancellationToken;
use velero_core::api::{Backup, BackupPhase, BackupStorageLocation};
use velero_core::artifact::BackupItemOperation;
use velero_core::operation::OperationCounts;
use velero_persistence::BackupStore;

use super::recover::free;
use super::run::{backup_options, count};
use crate::runs::{Follow, FollowRun};
use crate::server::context::{Context, stamp};
use crate::server::follow::{Followed, Stop, Task, last_moment};
use crate::server::stores::{self, StoreError};
use crate::server::tracker::RunKind;
use crate::server::waits;

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
    let started = backup.status.start_timestamp.as_ref();
    let task = Task {
        due: last_moment(context, started, backup.spec.item_operation_timeout),
        context: context.clone(),
        followed: Hold {
            context: context.clone(),
            cancel: cancel.clone(),
            follow: None,
            stale: false,
        },
        cancel,
        slot: Arc::clone(&context.backup_slot),
    };
    task.start(backup.clone(), running);
}

/// What a backup waits for, by its operations; nothing once all have ended.
fn waits_for(operations: &[BackupItemOperation]) -> Option<String> {
    let counts = OperationCounts::of(operations);
    if counts.all_ended() {
        return None;
    }
    let going = operations
        .iter()
        .filter(|one| !one.status.phase.is_terminal());
    let actions: BTreeSet<&str> = going
        .map(|one| one.spec.backup_item_action.as_str())
        .collect();
    Some(format!(
        "{} of {} operations of actions ({})",
        counts.left(),
        counts.attempted,
        waits::named(actions)
    ))
}

/// What a task has of a backup.
struct Hold {
    context: Context,
    cancel: CancellationToken,
    follow: Option<Follow>,
    /// The last step has failed: the store may have other credentials by now.
    stale: bool,
}

impl Followed for Hold {
    type Kind = Backup;

    fn has_ended(backup: &Backup) -> bool {
        backup.phase().is_terminal()
    }

    fn with_status(backup: &Backup, status_of: Backup) -> Backup {
        let mut backup = Backup {
            status: status_of.status,
            ..backup.clone()
        };
        match Self::has_ended(&backup) {
            true => waits::clear(&mut backup.metadata),
            false => waits::take_over(&mut backup.metadata, &status_of.metadata),
        }
        backup
    }

    /// One look, or the end; gives the backup as it should be then.
    async fn step(&mut self, backup: &Backup) -> Result<(Backup, Duration), Stop> {
        self.check_location(backup).await?;
        let mut follow = match self.follow.take() {
            Some(follow) => follow,
            None => self.open(backup).await?,
        };
        let outcome = self.step_of(&mut follow, backup).await;
        let is_finalizing = follow.is_finalizing();
        self.follow = Some(follow);
        let next = outcome?;
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

    /// Gives the claim on the backup back, if there is one.
    async fn release(&mut self) {
        if let Some(follow) = self.follow.take() {
            follow.close().await;
        }
    }

    async fn give_up(&mut self, backup: &Backup, reason: &str) -> Backup {
        let reason = format!("the backup could not be finalized: {reason}");
        if let Some(follow) = &mut self.follow {
            return follow.give_up(&reason).await.clone();
        }
        self.ended_by(backup, BackupPhase::PartiallyFailed, reason)
    }

    async fn hold(&mut self, backup: &Backup, cancel: CancellationToken) -> Result<(), Stop> {
        self.cancel = cancel;
        if self.follow.is_none() {
            self.follow = Some(self.open(backup).await?);
        }
        Ok(())
    }

    async fn cancel(
        &mut self,
        backup: &Backup,
        reason: &str,
        deadline: Instant,
        cancel: CancellationToken,
    ) -> Backup {
        if let Some(follow) = &mut self.follow {
            if follow.backup().phase().is_terminal() {
                return follow.backup().clone();
            }
            return follow.cancel(reason, deadline, cancel).await.clone();
        }
        self.ended_by(backup, BackupPhase::Failed, reason.to_owned())
    }

    async fn flush(&mut self) {
        if let Some(follow) = &mut self.follow {
            follow.flush().await;
        }
    }

    fn ended(&self, backup: &Backup) {
        count(&self.context, backup);
        let name = backup.metadata.name.as_deref().unwrap_or_default();
        tracing::info!(backup = name, phase = %backup.phase(), "the backup has ended");
    }
}

impl Hold {
    /// The backup as it has ended, where its store takes nothing of that.
    fn ended_by(&self, backup: &Backup, phase: BackupPhase, reason: String) -> Backup {
        let mut ended = backup.clone();
        ended.status.phase = Some(phase);
        ended.status.errors += 1;
        ended.status.failure_reason = reason;
        ended.status.completion_timestamp = stamp(self.context.now());
        ended
    }

    async fn step_of(&self, follow: &mut Follow, backup: &Backup) -> Result<Backup, Stop> {
        if self.stale {
            follow.use_store(self.store(backup).await?).await?;
        }
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
        let mut next = next.clone();
        let waits_for = waits_for(follow.operations());
        waits::take_over(&mut next.metadata, &backup.metadata);
        waits::set(&mut next.metadata, waits_for.as_deref(), self.context.now());
        Ok(next)
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
        let store = self.store(backup).await?;
        if let (true, Some(name), Some(uid)) = (
            self.context.is_alone(),
            &backup.metadata.name,
            &backup.metadata.uid,
        ) {
            free(&store, name, uid)
                .await
                .map_err(|error| Stop::Later(velero_core::result::chain(&error)))?;
        }
        Ok(Follow::open(FollowRun {
            cluster: self.context.cluster.clone(),
            store,
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
}
