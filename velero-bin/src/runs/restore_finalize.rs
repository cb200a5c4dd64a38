//! Restores whose items are done, while operations of actions and hooks of pods go on.
//!
//! Mirrors `pkg/controller/restore_operations_controller.go` and `restore_finalizer_controller.go` without their
//! controllers: the caller says when it is time for the next look and tells the cluster what came of it. How hooks stand
//! is in the restore's journal meanwhile, so that the next server goes on with them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tracing::Instrument as _;
use velero_cluster::Cluster;
use velero_core::CancellationToken;
use velero_core::action::RestoreItemAction;
use velero_core::api::{Restore, RestorePhase, RestoreStatus, Time};
use velero_core::artifact::RestoreItemOperation;
use velero_core::operation::OperationCounts;
use velero_core::result::{Record, ResultsFile, Severity, count};
use velero_persistence::{BackupStore, RestoreFile};
use velero_restore::{
    Journal, RestoreEngine, RestoreOptions, RunningHooks, artifacts, phase_after_items,
    phase_at_the_end,
};

use super::{Clock, RestoreJournal, RunError};
use crate::logfile::{LogFile, RunLog, RunLogs};

/// Seconds after which progress of operations is stored.
const STALE_SECONDS: i64 = 60;

/// What it takes to follow a restore to its end.
pub struct RestoreFollowRun {
    /// The cluster that is restored into.
    pub cluster: Cluster,
    /// Where the restore's artifacts lie.
    pub store: BackupStore,
    /// The resource, waiting or finalizing.
    pub restore: Restore,
    /// Actions beyond the built-in ones: those that have started the operations must be among them.
    pub actions: Vec<Arc<dyn RestoreItemAction>>,
    /// How the engine runs.
    pub options: RestoreOptions,
    /// What the run has left, if this process has made it; otherwise the store says it.
    pub left: Option<RestoreLeft>,
    /// Where run logs are made; what happens is added to the restore's log in the store.
    pub logs: RunLogs,
    /// Ends the work; the restore stays as it is and can be followed again.
    pub cancel: CancellationToken,
    /// Tells the time.
    pub clock: Clock,
}

/// What a run leaves to whoever follows the restore in the same process.
#[derive(Debug)]
pub struct RestoreLeft {
    pub(super) operations: Vec<RestoreItemOperation>,
    pub(super) hooks: RunningHooks,
    /// Where it is kept how they stand.
    pub(super) journal: Arc<RestoreJournal>,
    /// Takes the lines that come after those of the run.
    pub(super) log: RunLog,
    /// Whether the store has taken what the run has written.
    pub(super) kept: bool,
}

impl RestoreFollowRun {
    fn name(&self) -> &str {
        self.restore.metadata.name.as_deref().unwrap_or_default()
    }

    /// What another process has left, as the store has it.
    async fn stored(&self) -> Result<RestoreLeft, RunError> {
        let name = self.name();
        let operations: Vec<RestoreItemOperation> = self
            .store
            .get_list(&RestoreFile::ItemOperations.of(name))
            .await
            .map_err(RunError::store("read the operations of the restore"))?;
        if operations.is_empty() && self.restore.status.restore_item_operations_attempted > 0 {
            let fault = "the operations that the restore waits for are not in its store".to_owned();
            return Err(RunError::Validation(vec![fault]));
        }
        let journal = RestoreJournal::of(&self.cluster, &self.store, &self.restore);
        let journal = Arc::new(journal);
        let found = journal.find().await?;
        let log = self.logs.begin("restore", &log_name(&self.restore));
        let run =
            engine_run(&self.cancel, &self.clock).journal(Arc::clone(&journal) as Arc<dyn Journal>);
        let hooks = log.span().in_scope(|| {
            RunningHooks::resume(
                self.cluster.clone(),
                &self.restore,
                found.unwrap_or_default().hooks,
                &self.options,
                &run,
            )
        })?;
        Ok(RestoreLeft {
            operations,
            hooks,
            journal,
            log,
            kept: true,
        })
    }
}

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
    /// What a look has brought and the store has not taken yet.
    pending: Option<Pending>,
    log: RunLog,
    /// Whether the store is written at all.
    kept: bool,
    cancel: CancellationToken,
    clock: Clock,
    /// When the operations were last stored.
    stored: Timestamp,
    journal: Arc<RestoreJournal>,
    /// What has gone wrong since the items were done.
    records: Vec<Record>,
}

/// News on their way into the store; what it has taken is empty.
struct Pending {
    operations: Vec<RestoreItemOperation>,
    restore: Restore,
    records: Vec<Record>,
    log: Bytes,
}

impl std::fmt::Debug for RestoreFollow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestoreFollow")
            .field("restore", &self.restore.metadata.name)
            .field("phase", self.restore.phase())
            .field("operations", &self.operations.len())
            .field("hooks", &self.hooks)
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
        Ok(Self {
            engine: RestoreEngine::new(run.cluster)
                .actions(run.actions)
                .options(run.options),
            store: run.store,
            restore: run.restore,
            operations: left.operations,
            hooks: left.hooks,
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
        let left = counts.attempted - counts.completed - counts.failed;
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
        parts.join(" and ")
    }

    /// Asks the actions about their operations, once, or waits for hooks for no longer than `patience`; brings the status
    /// of the restore up to date.
    ///
    /// The store is written when something has failed or a phase has ended; mere progress of operations gets there once a
    /// minute.
    ///
    /// # Errors
    /// When the store fails, or the work is cancelled. The next look writes what is missing in the store before it asks
    /// again.
    pub async fn look(&mut self, patience: Duration) -> Result<&Restore, RunError> {
        let cancel = self.cancel.clone();
        let look = async {
            if self.pending.is_none() {
                self.pending = self.news(patience).await?;
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
        let mut records = Vec::new();
        if self.is_finalizing() {
            // Those that go on are told of at the next look.
            let _ = tokio::time::timeout(patience, self.hooks.ended()).await;
        } else {
            let run = engine_run(&self.cancel, &self.clock);
            records = self
                .engine
                .poll_operations(&self.restore, &mut operations, &run)
                .instrument(self.log.span().clone())
                .await;
        }
        let hooks_left = self.hooks.left();
        records.extend(self.hooks.take_records());
        self.records.extend_from_slice(&records);
        let mut restore = self.restore.clone();
        restore.status = self.status(&operations, hooks_left, &records);
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
        if operations != self.operations && self.is_stale() && self.kept {
            self.put_operations(&operations).await?;
            self.stored = (self.clock)();
        }
        (self.restore, self.operations) = (restore, operations);
        Ok(None)
    }

    /// The status with what is known now.
    fn status(
        &self,
        operations: &[RestoreItemOperation],
        hooks_left: usize,
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
            phase_after_items(operations, hooks_left, has_errors)
        } else {
            // Finalizing is gone through, even if there is nothing left to wait for.
            phase_after_items(operations, hooks_left.max(1), has_errors)
        };
        if phase.is_terminal() {
            status.completion_timestamp = Some(whole_seconds((self.clock)()));
        }
        status.phase = Some(phase);
        status
    }

    /// Stores news, and what is stored is news no more.
    async fn write(&self, news: &mut Pending) -> Result<(), RunError> {
        if !self.kept {
            return Ok(());
        }
        // The records come first: of an operation that is known to have failed nobody asks again why.
        if !news.records.is_empty() {
            // Another process may have stored some of them before it could write them into the resource.
            if let Some((errors, warnings)) = self.add_results(&news.records).await? {
                news.restore.status.errors = errors;
                news.restore.status.warnings = warnings;
            }
            news.records.clear();
        }
        if !news.log.is_empty() {
            let log = RestoreFile::Logs.of(self.name());
            let written = self.store.append_packed(&log, news.log.clone()).await;
            written.map_err(RunError::store("add to the log of the restore"))?;
            news.log.clear();
        }
        if news.operations != self.operations {
            self.put_operations(&news.operations).await?;
        }
        Ok(())
    }

    /// Ends the restore as partially failed, for a reason that does not go away. What the store takes of it is stored.
    pub async fn give_up(&mut self, reason: &str) -> &Restore {
        self.hooks.give_up(reason);
        self.journal.forget().await;
        let mut records = vec![Record::run(Severity::Error, reason)];
        records.extend(self.hooks.take_records());
        let mut restore = self.restore.clone();
        restore.status = self.status(&self.operations, 0, &records);
        restore.status.phase = Some(phase_at_the_end(true));
        restore.status.failure_reason = reason.to_owned();
        restore.status.completion_timestamp = Some(whole_seconds((self.clock)()));
        let mut news = Pending {
            operations: self.operations.clone(),
            restore: restore.clone(),
            records,
            log: Bytes::new(),
        };
        if let Err(error) = self.write(&mut news).await {
            tracing::warn!(
                restore = self.name(),
                error = error.chain(),
                "the end of the restore is not in the store"
            );
        }
        self.restore = restore;
        &self.restore
    }

    fn is_stale(&self) -> bool {
        (self.clock)().duration_since(self.stored).as_secs() >= STALE_SECONDS
    }

    fn name(&self) -> &str {
        self.restore.metadata.name.as_deref().unwrap_or_default()
    }

    async fn put_operations(&self, operations: &[RestoreItemOperation]) -> Result<(), RunError> {
        let bytes = artifacts::item_operations(operations).map_err(RunError::Log)?;
        self.store
            .put_packed(&RestoreFile::ItemOperations.of(self.name()), bytes.into())
            .await
            .map_err(RunError::store("store the operations of the restore"))
    }

    /// Adds records to the results in the store, but for those that are there already; gives how many errors and warnings
    /// there are then, if there were results.
    async fn add_results(&self, records: &[Record]) -> Result<Option<(i64, i64)>, RunError> {
        let file = RestoreFile::Results.of(self.name());
        let results: Option<ResultsFile> = self
            .store
            .get_json(&file)
            .await
            .map_err(RunError::store("read the results of the restore"))?;
        let were_there = results.is_some();
        let mut results = results.unwrap_or_default();
        results.add_new(ResultsFile::from_records(records));
        let bytes = artifacts::results_file(&results).map_err(RunError::Log)?;
        self.store
            .put_packed(&file, bytes.into())
            .await
            .map_err(RunError::store("store the results of the restore"))?;
        let counts = (as_int(results.errors.len()), as_int(results.warnings.len()));
        Ok(were_there.then_some(counts))
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

/// A restore that was followed to its end.
#[derive(Debug)]
pub struct RestoreFollowed {
    /// The resource with its final status.
    pub restore: Restore,
    /// What has gone wrong since its items were done.
    pub records: Vec<Record>,
}

/// Follows a restore to its end with nothing in between but a pause; `tell` is told what is waited for whenever that
/// changes.
///
/// # Errors
/// As [`RestoreFollow::look`].
pub async fn follow_restore(
    run: RestoreFollowRun,
    period: Duration,
    tell: impl Fn(&str),
) -> Result<RestoreFollowed, RunError> {
    let cancel = run.cancel.clone();
    let mut follow = RestoreFollow::open(run).await?;
    let mut told = String::new();
    while !follow.restore().phase().is_terminal() {
        let waits = follow.waits_for();
        if waits != told && !waits.is_empty() {
            tell(&waits);
            told = waits;
        }
        let before = follow.restore().phase().clone();
        follow.look(period).await?;
        if follow.is_finalizing() || *follow.restore().phase() != before {
            continue;
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(RunError::Cancelled),
            () = tokio::time::sleep(period) => {}
        }
    }
    Ok(RestoreFollowed {
        restore: follow.restore,
        records: follow.records,
    })
}
