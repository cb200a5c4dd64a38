//! Restores whose items are done, while operations of actions and hooks of pods go on.
//!
//! Mirrors `pkg/controller/restore_operations_controller.go` and `restore_finalizer_controller.go` without their
//! controllers: the caller says when it is time for the next look and tells the cluster what came of it. How hooks stand
//! is in the restore's journal meanwhile, so that the next server goes on with them.

mod follow;
mod left;
mod news;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tracing::Instrument as _;
use velero_core::CancellationToken;
use velero_core::api::{Restore, RestorePhase, RestoreStatus, Time};
use velero_core::artifact::RestoreItemOperation;
use velero_core::operation::OperationCounts;
use velero_core::result::{Record, Severity, count};
use velero_persistence::BackupStore;
use velero_restore::{NewVolumes, RestoreEngine, RunningHooks, phase_after_items};

use super::spare::Kept;
use super::{Clock, RestoreJournal, RunError};
use crate::logfile::{LogFile, RunLog};
use news::{Pending, put_operations};

pub use follow::{RestoreFollowed, follow_restore};
pub use left::{RestoreFollowRun, RestoreLeft};

/// Seconds after which progress of operations is stored.
const STALE_SECONDS: i64 = 60;

fn log_name(restore: &Restore) -> String {
    let namespace = restore.metadata.namespace.as_deref().unwrap_or_default();
    let name = restore.metadata.name.as_deref().unwrap_or_default();
    format!("{namespace}/{name}")
}

fn engine_run(cancel: &CancellationToken, clock: &Clock) -> velero_restore::RestoreRun {
    let clock = clock.clone();
    velero_restore::RestoreRun::default()
        .cancel(cancel.clone())
        .clock(move || clock())
}

/// A restore that is followed to its end by one [`RestoreFollow::look`] after another.
pub struct RestoreFollow {
    engine: RestoreEngine,
    store: BackupStore,
    restore: Restore,
    operations: Vec<RestoreItemOperation>,
    hooks: RunningHooks,
    volumes: NewVolumes,
    /// What a look has brought and the store has not taken yet.
    pending: Option<Pending>,
    log: RunLog,
    /// What takes the news.
    kept: Kept,
    cancel: CancellationToken,
    clock: Clock,
    /// When the operations were last stored.
    stored: Timestamp,
    journal: Arc<RestoreJournal>,
    /// What has gone wrong since the items were done.
    records: Vec<Record>,
}

impl std::fmt::Debug for RestoreFollow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestoreFollow")
            .field("restore", &self.restore.metadata.name)
            .field("phase", self.restore.phase())
            .field("operations", &self.operations.len())
            .field("hooks", &self.hooks)
            .field("volumes", &self.volumes)
            .finish_non_exhaustive()
    }
}

impl RestoreFollow {
    /// Takes a restore over from its run, or from what another process has left in the store.
    ///
    /// # Errors
    /// When the store fails, or what it should hold is missing or damaged.
    pub async fn open(mut run: RestoreFollowRun) -> Result<Self, RunError> {
        let left = match run.left.take() {
            Some(left) => left,
            None => run.stored().await?,
        };
        let engine_run = engine_run(&run.cancel, &run.clock);
        let volumes = NewVolumes::new(run.cluster.clone(), left.volumes, &run.options, &engine_run);
        Ok(Self {
            engine: RestoreEngine::new(run.cluster)
                .actions(run.actions)
                .options(run.options),
            store: run.store,
            restore: run.restore,
            operations: left.operations,
            hooks: left.hooks,
            volumes,
            pending: None,
            log: left.log,
            kept: left.kept,
            cancel: run.cancel,
            stored: (run.clock)(),
            clock: run.clock,
            journal: left.journal,
            records: Vec::new(),
        })
    }

    /// Goes on with another handle on the same store, which may have other credentials by now.
    pub fn use_store(&mut self, store: BackupStore) {
        self.journal.use_store(store.clone());
        self.store = store;
    }

    /// The resource as it should be in the cluster now.
    pub fn restore(&self) -> &Restore {
        &self.restore
    }

    /// Whether all operations have ended.
    pub fn is_finalizing(&self) -> bool {
        matches!(
            self.restore.phase(),
            RestorePhase::Finalizing | RestorePhase::FinalizingPartiallyFailed
        )
    }

    /// What is waited for, in words; empty when it is nothing.
    pub fn waits_for(&self) -> String {
        let mut parts = Vec::new();
        let counts = OperationCounts::of(&self.operations);
        let left = counts.left();
        if left > 0 {
            parts.push(format!(
                "{left} of {} operations of actions",
                counts.attempted
            ));
        }
        let hooks = self.hooks.left();
        if hooks > 0 {
            let pods = self.hooks.waiting();
            let namespaces: Vec<&str> = pods.keys().map(String::as_str).collect();
            let count: usize = pods.values().sum();
            parts.push(format!(
                "{hooks} hooks in {count} pods of {}",
                namespaces.join(", ")
            ));
        }
        let volumes = self.volumes.left();
        if volumes > 0 {
            let waiting = self.volumes.waiting();
            let namespaces: Vec<&str> = waiting.keys().map(String::as_str).collect();
            parts.push(format!(
                "the new volumes of {volumes} claims of {}",
                namespaces.join(", ")
            ));
        }
        parts.join(" and ")
    }

    /// Asks the actions about their operations, once, or looks at new volumes, once, and waits for hooks and for what is
    /// left of them for no longer than `patience`; brings the status of the restore up to date.
    ///
    /// The store is written when something has failed or a phase has ended; mere progress of operations gets there once a
    /// minute.
    ///
    /// # Errors
    /// When the store fails, the work is cancelled, or another process has taken it over. The next look writes what is missing in the store before it asks
    /// again.
    pub async fn look(&mut self, patience: Duration) -> Result<&Restore, RunError> {
        let cancel = self.cancel.clone();
        let look = async {
            if self.pending.is_none() {
                self.pending = self.news(patience).await?;
            }
            if self.journal.is_lost() {
                return Err(RunError::TakenOver);
            }
            if let Some(mut news) = self.pending.take() {
                if let Err(error) = self.write(&mut news).await {
                    self.pending = Some(news);
                    return Err(error);
                }
                self.stored = (self.clock)();
                (self.restore, self.operations) = (news.restore, news.operations);
            }
            if self.restore.phase().is_terminal() {
                self.journal.forget().await;
            }
            Ok(())
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(RunError::Cancelled),
            outcome = look => outcome?,
        }
        Ok(&self.restore)
    }

    /// Finds out what has happened; gives what must be stored.
    async fn news(&mut self, patience: Duration) -> Result<Option<Pending>, RunError> {
        let mut operations = self.operations.clone();
        let mut records;
        if self.is_finalizing() {
            records = self
                .volumes
                .look(&operations)
                .instrument(self.log.span().clone())
                .await;
            if records.is_empty() {
                self.wait_for_hooks(patience).await;
            }
        } else {
            let run = engine_run(&self.cancel, &self.clock);
            records = self
                .engine
                .poll_operations(&self.restore, &mut operations, &run)
                .instrument(self.log.span().clone())
                .await;
        }
        let left = self.hooks.left() + self.volumes.left();
        records.extend(self.hooks.take_records());
        self.records.extend_from_slice(&records);
        let mut restore = self.restore.clone();
        restore.status = self.status(&operations, left, &records);
        if restore.phase().is_terminal() {
            self.log.span().in_scope(|| {
                tracing::info!(
                    phase = %restore.phase(),
                    errors = restore.status.errors,
                    warnings = restore.status.warnings,
                    "restore completed"
                );
            });
        }
        if !records.is_empty() || *restore.phase() != *self.restore.phase() {
            let log = self
                .log
                .cut()
                .and_then(LogFile::into_bytes)
                .map_err(RunError::Log)?;
            return Ok(Some(Pending {
                operations,
                restore,
                records,
                log: log.into(),
            }));
        }
        if operations != self.operations
            && self.is_stale()
            && let Some(store) = self.place()
        {
            put_operations(store, self.name(), &operations).await?;
            self.stored = (self.clock)();
        }
        (self.restore, self.operations) = (restore, operations);
        Ok(None)
    }

    /// Those that go on are told of at the next look, and volumes are looked at again.
    async fn wait_for_hooks(&self, patience: Duration) {
        if self.volumes.left() > 0 {
            tokio::time::sleep(patience).await;
        } else {
            let _ = tokio::time::timeout(patience, self.hooks.ended()).await;
        }
    }

    /// The status with what is known now; `left` is how many hooks and volumes have not ended.
    fn status(
        &self,
        operations: &[RestoreItemOperation],
        left: usize,
        records: &[Record],
    ) -> RestoreStatus {
        let mut status = self.restore.status.clone();
        status.errors += as_int(count(records, Severity::Error));
        status.warnings += as_int(count(records, Severity::Warning));
        count_operations(&mut status, operations);
        let hooks = self.hooks.counts();
        let known = status.hook_status.get_or_insert_default();
        if hooks.hooks_attempted >= known.hooks_attempted {
            *known = hooks;
        }
        let has_errors = status.errors > 0 || is_partial(self.restore.phase());
        let phase = if self.is_finalizing() {
            phase_after_items(operations, left, has_errors)
        } else {
            // Finalizing is gone through, even if there is nothing left to wait for.
            phase_after_items(operations, left.max(1), has_errors)
        };
        if phase.is_terminal() {
            status.completion_timestamp = Some(whole_seconds((self.clock)()));
        }
        status.phase = Some(phase);
        status
    }

    /// Stores news, and what is stored is news no more.
    async fn write(&self, news: &mut Pending) -> Result<(), RunError> {
        match self.place() {
            Some(store) => news.write(store, self.name(), &self.operations).await,
            None => Ok(()),
        }
    }

    /// Where news are stored, if that is anywhere.
    fn place(&self) -> Option<&BackupStore> {
        match &self.kept {
            Kept::InStore => Some(&self.store),
            Kept::Apart(store) => Some(store),
            Kept::Nowhere => None,
        }
    }

    /// Ends the restore as partially failed, for a reason that does not go away. What the store takes of it is stored.
    pub async fn give_up(&mut self, reason: &str) -> &Restore {
        let news = self.unwritten();
        self.end(news, reason, RestorePhase::PartiallyFailed).await
    }

    /// Ends the restore as failed as somebody wants that. Its operations are cancelled, which actions have until the deadline
    /// to do; hooks and new volumes are not waited for any more, and what is in the cluster stays. `cancel` ends the calls of
    /// the actions, in place of what has ended the work.
    pub async fn cancel(
        &mut self,
        reason: &str,
        deadline: tokio::time::Instant,
        cancel: CancellationToken,
    ) -> &Restore {
        self.cancel = cancel;
        let mut news = self.unwritten();
        let run = engine_run(&self.cancel, &self.clock);
        let span = self.log.span().clone();
        let ended = self.engine.cancel_operations(
            &self.restore,
            &mut news.operations,
            &run,
            reason,
            deadline,
        );
        let records = ended.instrument(span.clone()).await;
        news.restore.status.errors += as_int(records.len());
        news.records.extend(records);
        span.in_scope(|| tracing::warn!("{reason}"));
        match self.log.cut().and_then(LogFile::into_bytes) {
            Ok(lines) => news.log = [&news.log[..], &lines[..]].concat().into(),
            Err(error) => {
                tracing::warn!(%error, "what was logged of the end of the restore is lost")
            }
        }
        self.end(news, reason, RestorePhase::Failed).await
    }

    /// What the last look has brought and the store has not taken, or nothing new.
    fn unwritten(&mut self) -> Pending {
        self.pending.take().unwrap_or_else(|| Pending {
            operations: self.operations.clone(),
            restore: self.restore.clone(),
            records: Vec::new(),
            log: Bytes::new(),
        })
    }

    async fn end(&mut self, mut news: Pending, reason: &str, phase: RestorePhase) -> &Restore {
        self.hooks.give_up(reason);
        self.journal.forget().await;
        // What an earlier look has brought is in its status.
        let mut records = vec![Record::run(Severity::Error, reason)];
        records.extend(self.hooks.take_records());
        records.extend(self.volumes.give_up(reason));
        self.restore.status = news.restore.status.clone();
        let mut status = self.status(&news.operations, 0, &records);
        status.phase = Some(phase);
        status.failure_reason = reason.to_owned();
        status.completion_timestamp = Some(whole_seconds((self.clock)()));
        news.restore.status = status;
        news.records.extend(records);
        if let Err(error) = self.write(&mut news).await {
            tracing::warn!(
                restore = self.name(),
                error = error.chain(),
                "the end of the restore is not in the store"
            );
        }
        (self.restore, self.operations) = (news.restore, news.operations);
        &self.restore
    }

    /// Stores how operations are, if the store takes it; a later look does otherwise.
    pub async fn flush(&mut self) {
        let Some(store) = self.place() else {
            return;
        };
        match put_operations(store, self.name(), &self.operations).await {
            Ok(()) => self.stored = (self.clock)(),
            Err(error) => tracing::debug!(error = error.chain(), "operations could not be stored"),
        }
    }

    fn is_stale(&self) -> bool {
        (self.clock)().duration_since(self.stored).as_secs() >= STALE_SECONDS
    }

    fn name(&self) -> &str {
        self.restore.metadata.name.as_deref().unwrap_or_default()
    }

    /// The restore and what has gone wrong since its items were done.
    fn into_parts(self) -> (Restore, Vec<Record>) {
        (self.restore, self.records)
    }
}

/// Counts operations into a status.
pub(super) fn count_operations(status: &mut RestoreStatus, operations: &[RestoreItemOperation]) {
    let counts = OperationCounts::of(operations);
    let as_int = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    status.restore_item_operations_attempted = as_int(counts.attempted);
    status.restore_item_operations_completed = as_int(counts.completed);
    status.restore_item_operations_failed = as_int(counts.failed);
}

fn is_partial(phase: &RestorePhase) -> bool {
    matches!(
        phase,
        RestorePhase::WaitingForPluginOperationsPartiallyFailed
            | RestorePhase::FinalizingPartiallyFailed
    )
}

fn as_int(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}
