//! Backups whose items are stored and whose operations go on.
//!
//! Mirrors `pkg/controller/backup_operations_controller.go` and `backup_finalizer_controller.go` without their
//! controllers: the caller says when it is time for the next look and tells the cluster what came of it. While a backup
//! is followed it is claimed in the store, so that two servers do not end it twice.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tracing::Instrument as _;
use velero_backup::{BackupEngine, BackupOptions, artifacts};
use velero_cluster::Cluster;
use velero_core::CancellationToken;
use velero_core::action::BackupItemAction;
use velero_core::api::{Backup, BackupPhase, BackupStatus, Document};
use velero_core::artifact::BackupItemOperation;
use velero_core::result::{Record, ResultsFile, ScopedMessages, Severity};
use velero_persistence::{BackupFile, BackupStore, PutMode};

use super::claim::{Claim, holder};
use super::tidy::unless_late;
use super::{Clock, RunError};
use crate::logfile::{LogFile, RunLogs};

/// Seconds after which progress of operations is stored.
const STALE_SECONDS: i64 = 60;

/// What it takes to follow a backup to its end.
pub struct FollowRun {
    /// The cluster that was read.
    pub cluster: Cluster,
    /// Where the backup lies.
    pub store: BackupStore,
    /// The resource, waiting or finalizing.
    pub backup: Backup,
    /// Actions beyond the built-in ones: those that have started the operations must be among them.
    pub actions: Vec<Arc<dyn BackupItemAction>>,
    /// How the engine runs.
    pub options: BackupOptions,
    /// Where run logs are made; what happens is added to the backup's log in the store.
    pub logs: RunLogs,
    /// Who follows it: a text that no other process and no other server has.
    pub writer: String,
    /// Ends the work; the backup stays as it is and can be followed again.
    pub cancel: CancellationToken,
    /// Tells the time.
    pub clock: Clock,
}

impl FollowRun {
    fn name(&self) -> &str {
        self.backup.metadata.name.as_deref().unwrap_or_default()
    }

    fn holder(&self) -> String {
        let uid = self.backup.metadata.uid.as_deref();
        holder(uid.unwrap_or(self.name()), &self.writer)
    }

    /// The operations in the store, and how the backup has ended there, if it has: then only the resource is behind.
    async fn stored(&self) -> Result<(Vec<BackupItemOperation>, Option<BackupStatus>), RunError> {
        let operations = self
            .store
            .get_list(&BackupFile::ItemOperations.of(self.name()))
            .await
            .map_err(RunError::store("read the operations of the backup"))?;
        let bytes = self
            .store
            .get_metadata(self.name())
            .await
            .map_err(RunError::store("read the metadata of the backup"))?;
        let stored = Document::<Backup>::parse(&bytes).map_err(|source| RunError::Document {
            name: self.name().to_owned(),
            source,
        })?;
        let stored = stored.get();
        let ended = stored.metadata.uid == self.backup.metadata.uid && stored.phase().is_terminal();
        Ok((operations, ended.then(|| stored.status.clone())))
    }
}

/// A backup that is followed to its end: [`Follow::look`] until it is finalizing, then [`Follow::finalize`]. Give it up
/// by [`Follow::close`]; dropping it leaves the claim behind, as a kill does.
pub struct Follow {
    pub(super) engine: BackupEngine,
    pub(super) store: BackupStore,
    pub(super) backup: Backup,
    pub(super) operations: Vec<BackupItemOperation>,
    /// What a look has brought and the store has not taken yet.
    pending: Option<Pending>,
    claim: Held,
    holder: String,
    pub(super) logs: RunLogs,
    cancel: CancellationToken,
    pub(super) clock: Clock,
    /// When the operations were last stored.
    stored: Timestamp,
}

/// News on their way into the store; what it has taken is empty.
struct Pending {
    operations: Vec<BackupItemOperation>,
    backup: Backup,
    records: Vec<Record>,
    log: Bytes,
}

/// A claim, with a task that gives signs of life for it.
struct Held {
    claim: Claim,
    beat: tokio::task::AbortHandle,
}

impl Held {
    async fn take(
        store: &BackupStore,
        backup: &str,
        holder: &str,
        clock: &Clock,
    ) -> Result<Self, RunError> {
        let claim = Claim::on_complete(store, backup, holder, clock.clone()).await?;
        let beat = tokio::spawn(claim.clone().beat()).abort_handle();
        Ok(Self { claim, beat })
    }

    async fn release(self) {
        self.claim.clone().release().await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.beat.abort();
    }
}

impl std::fmt::Debug for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follow")
            .field("backup", &self.backup.metadata.name)
            .field("phase", self.backup.phase())
            .field("operations", &self.operations.len())
            .finish_non_exhaustive()
    }
}

impl Follow {
    /// Claims a backup and reads its operations from the store. A backup that has ended there has ended here too.
    ///
    /// # Errors
    /// When somebody else follows it, or the store fails.
    pub async fn open(run: FollowRun) -> Result<Self, RunError> {
        let holder = run.holder();
        let claim = Held::take(&run.store, run.name(), &holder, &run.clock).await?;
        let (operations, ended) = match run.stored().await {
            Ok(stored) => stored,
            Err(error) => {
                claim.release().await;
                return Err(error);
            }
        };
        let follow = Self {
            engine: BackupEngine::new(run.cluster)
                .actions(run.actions)
                .options(run.options),
            store: run.store,
            backup: Backup {
                status: ended.clone().unwrap_or(run.backup.status),
                ..run.backup
            },
            operations,
            pending: None,
            claim,
            holder,
            logs: run.logs,
            cancel: run.cancel,
            stored: (run.clock)(),
            clock: run.clock,
        };
        if ended.is_some() {
            follow.forget_before().await;
        }
        Ok(follow)
    }

    /// Goes on with another handle on the same store, which may have other credentials by now.
    ///
    /// # Errors
    /// As [`Follow::open`].
    pub async fn use_store(&mut self, store: BackupStore) -> Result<(), RunError> {
        self.claim = Held::take(&store, self.name(), &self.holder, &self.clock).await?;
        self.store = store;
        Ok(())
    }

    /// Gives the claim back: whoever comes next can go on.
    pub async fn close(self) {
        self.claim.release().await;
    }

    /// The resource as it should be in the cluster now.
    pub fn backup(&self) -> &Backup {
        &self.backup
    }

    /// The operations, as far as they are known to be.
    pub fn operations(&self) -> &[BackupItemOperation] {
        &self.operations
    }

    /// Whether all operations have ended and [`Follow::finalize`] comes next.
    pub fn is_finalizing(&self) -> bool {
        matches!(
            self.backup.phase(),
            BackupPhase::Finalizing | BackupPhase::FinalizingPartiallyFailed
        )
    }

    /// Asks the actions about their operations, once, and brings the status of the backup up to date.
    ///
    /// The store is written when an operation has failed or all have ended; mere progress gets there once a minute.
    ///
    /// # Errors
    /// When the store fails. The next look writes what is missing there before it asks again.
    pub async fn look(&mut self) -> Result<&Backup, RunError> {
        if self.pending.is_none() {
            self.pending = self.ask().await?;
        }
        if let Some(mut news) = self.pending.take() {
            if let Err(error) = self.write(&mut news).await {
                self.pending = Some(news);
                return Err(error);
            }
            self.stored = (self.clock)();
            (self.backup, self.operations) = (news.backup, news.operations);
        }
        Ok(&self.backup)
    }

    /// Asks the actions; gives what must be stored.
    async fn ask(&mut self) -> Result<Option<Pending>, RunError> {
        let log = self.logs.begin("backup", &self.log_name());
        let span = log.span().clone();
        let run = self.engine_run();
        let mut operations = self.operations.clone();
        let asked = self
            .engine
            .poll_operations(&self.backup, &mut operations, &run)
            .instrument(span);
        // An action may take its time to answer; asking changes nothing.
        let records = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(RunError::Cancelled),
            records = asked => records,
        };
        let mut backup = self.backup.clone();
        backup.status = artifacts::waiting_status(&self.backup, &operations, &records);
        if !records.is_empty() || *backup.phase() != *self.backup.phase() {
            let log = log
                .finish()
                .and_then(LogFile::into_bytes)
                .map_err(RunError::Log)?;
            return Ok(Some(Pending {
                operations,
                backup,
                records,
                log: log.into(),
            }));
        }
        if operations != self.operations && self.is_stale() {
            self.put_operations(&operations).await?;
            self.stored = (self.clock)();
        }
        (self.backup, self.operations) = (backup, operations);
        Ok(None)
    }

    /// Stores news, and what is stored is news no more.
    async fn write(&self, news: &mut Pending) -> Result<(), RunError> {
        self.confirm().await?;
        // The records come first: of an operation that is known to have failed nobody asks again why.
        if !news.records.is_empty() {
            let results = self.results().await?;
            self.put_results(results, &news.records).await?;
            news.records.clear();
        }
        if !news.log.is_empty() {
            let log = BackupFile::Logs.of(self.name());
            let written = self.store.append_packed(&log, news.log.clone()).await;
            written.map_err(RunError::store("add to the log of the backup"))?;
            news.log.clear();
        }
        self.put_operations(&news.operations).await?;
        self.put_metadata(&news.backup).await
    }

    /// Ends the backup as partially failed, for a reason that does not go away. What the store takes of it is stored.
    pub async fn give_up(&mut self, reason: &str) -> &Backup {
        let news = self.unwritten();
        self.end(news, reason, BackupPhase::PartiallyFailed).await
    }

    /// Ends the backup as failed as somebody wants that. Its operations are cancelled, which actions have until the
    /// deadline to do; its archive stays. `cancel` ends the calls of the actions, in place of what has ended the work.
    pub async fn cancel(
        &mut self,
        reason: &str,
        deadline: tokio::time::Instant,
        cancel: CancellationToken,
    ) -> &Backup {
        self.cancel = cancel;
        let mut news = self.unwritten();
        let log = self.logs.begin("backup", &self.log_name());
        let span = log.span().clone();
        let run = self.engine_run();
        let ended = self.engine.cancel_operations(
            &self.backup,
            &mut news.operations,
            &run,
            reason,
            deadline,
        );
        let records = ended.instrument(span.clone()).await;
        news.backup.status = artifacts::waiting_status(&news.backup, &news.operations, &records);
        news.records.extend(records);
        span.in_scope(|| tracing::warn!("{reason}"));
        match log.finish().and_then(LogFile::into_bytes) {
            Ok(lines) => news.log = [&news.log[..], &lines[..]].concat().into(),
            Err(error) => {
                tracing::warn!(%error, "what was logged of the end of the backup is lost")
            }
        }
        self.end(news, reason, BackupPhase::Failed).await
    }

    /// What the last look has brought and the store has not taken, or nothing new.
    fn unwritten(&mut self) -> Pending {
        self.pending.take().unwrap_or_else(|| Pending {
            operations: self.operations.clone(),
            backup: self.backup.clone(),
            records: Vec::new(),
            log: Bytes::new(),
        })
    }

    async fn end(&mut self, mut news: Pending, reason: &str, phase: BackupPhase) -> &Backup {
        let record = Record::run(Severity::Error, reason);
        let records = std::slice::from_ref(&record);
        let mut status =
            artifacts::finalized_status(&news.backup, &news.operations, records, (self.clock)());
        status.phase = Some(phase);
        status.failure_reason = reason.to_owned();
        news.backup.status = status;
        news.records.push(record);
        match self.write(&mut news).await {
            Ok(()) => self.forget_before().await,
            Err(error) => tracing::warn!(
                backup = self.name(),
                error = error.chain(),
                "the end of the backup is not in the store"
            ),
        }
        self.operations = news.operations;
        self.backup = news.backup;
        &self.backup
    }

    /// Stores how operations are, if the store takes it; a later look does otherwise.
    pub async fn flush(&mut self) {
        match self.put_operations(&self.operations).await {
            Ok(()) => self.stored = (self.clock)(),
            Err(error) => tracing::debug!(error = error.chain(), "operations could not be stored"),
        }
    }

    /// Whether the operations in the store are too old for those who look at them there.
    fn is_stale(&self) -> bool {
        (self.clock)().duration_since(self.stored).as_secs() >= STALE_SECONDS
    }

    /// Makes sure that nobody else has taken the backup over.
    pub(super) async fn confirm(&self) -> Result<(), RunError> {
        self.claim.claim.confirm().await
    }

    pub(super) fn name(&self) -> &str {
        self.backup.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn log_name(&self) -> String {
        let namespace = self.backup.metadata.namespace.as_deref();
        format!("{}/{}", namespace.unwrap_or_default(), self.name())
    }

    pub(super) fn engine_run(&self) -> velero_backup::BackupRun {
        let started = self.backup.status.start_timestamp.as_ref();
        let clock = self.clock.clone();
        velero_backup::BackupRun::starting_at(started.map_or_else(|| (self.clock)(), |t| t.0))
            .cancel(self.cancel.clone())
            .clock(move || clock())
    }

    async fn put_operations(&self, operations: &[BackupItemOperation]) -> Result<(), RunError> {
        let document = artifacts::item_operations(operations);
        self.store
            .put_packed(
                &BackupFile::ItemOperations.of(self.name()),
                document.bytes.into(),
            )
            .await
            .map_err(RunError::store("store the operations of the backup"))
    }

    /// The results in the store.
    pub(super) async fn results(&self) -> Result<ResultsFile, RunError> {
        let file = BackupFile::Results.of(self.name());
        let results: Option<ResultsFile> = self
            .store
            .get_json(&file)
            .await
            .map_err(RunError::store("read the results of the backup"))?;
        Ok(results.unwrap_or_default())
    }

    /// Replaces the results in the store.
    pub(super) async fn put_results(
        &self,
        mut all: ResultsFile,
        records: &[Record],
    ) -> Result<(), RunError> {
        let new = ResultsFile::from_records(records);
        add_messages(&mut all.errors, new.errors);
        add_messages(&mut all.warnings, new.warnings);
        let document = artifacts::results(&all);
        self.store
            .put_packed(&BackupFile::Results.of(self.name()), document.bytes.into())
            .await
            .map_err(RunError::store("store the results of the backup"))
    }

    /// Brings `velero-backup.json` up to date; fields that others have written stay. A backup that is not in the store any
    /// more does not come back.
    ///
    /// It never says that a backup is finalizing: a cluster that finds it would wait for somebody who may be gone.
    pub(super) async fn put_metadata(&self, backup: &Backup) -> Result<(), RunError> {
        let bytes = self
            .store
            .get_metadata(self.name())
            .await
            .map_err(RunError::store("read the metadata of the backup"))?;
        let damaged = |source| RunError::Document {
            name: self.name().to_owned(),
            source,
        };
        let mut document = Document::<Backup>::parse(&bytes).map_err(damaged)?;
        let phase = match backup.phase() {
            BackupPhase::Finalizing => BackupPhase::WaitingForPluginOperations,
            BackupPhase::FinalizingPartiallyFailed => {
                BackupPhase::WaitingForPluginOperationsPartiallyFailed
            }
            other => other.clone(),
        };
        document
            .update(|stored| {
                stored.status = backup.status.clone();
                stored.status.phase = Some(phase);
            })
            .map_err(damaged)?;
        self.store
            .put_metadata(
                self.name(),
                document.to_pretty_bytes().into(),
                PutMode::Replace,
            )
            .await
            .map_err(RunError::store("store the metadata of the backup"))
    }
}

/// Follows a backup to its end with nothing in between but a pause.
///
/// # Errors
/// As [`Follow::look`] and [`Follow::finalize`]; when it is cancelled the backup stays as it is in the store.
pub async fn follow_to_end(run: FollowRun, period: Duration) -> Result<Backup, RunError> {
    let cancel = run.cancel.clone();
    let mut follow = Follow::open(run).await?;
    let outcome = to_end(&mut follow, period, &cancel).await;
    follow.close().await;
    outcome
}

async fn to_end(
    follow: &mut Follow,
    period: Duration,
    cancel: &CancellationToken,
) -> Result<Backup, RunError> {
    loop {
        if follow.backup().phase().is_terminal() {
            return Ok(follow.backup().clone());
        }
        if follow.is_finalizing() {
            unless_late(cancel, async { follow.finalize().await.map(drop) }).await?;
            continue;
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(RunError::Cancelled),
            () = tokio::time::sleep(period) => {}
        }
        unless_late(cancel, async { follow.look().await.map(drop) }).await?;
    }
}

fn add_messages(all: &mut ScopedMessages, new: ScopedMessages) {
    all.velero.extend(new.velero);
    all.cluster.extend(new.cluster);
    for (namespace, lines) in new.namespaces {
        all.namespaces.entry(namespace).or_default().extend(lines);
    }
}
