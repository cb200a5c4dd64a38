//! Backups whose items are stored and whose operations go on.
//!
//! Mirrors `pkg/controller/backup_operations_controller.go` and `backup_finalizer_controller.go` without their
//! controllers: the caller says when it is time for the next look and tells the cluster what came of it.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::Instrument as _;
use velero_backup::{
    ArchiveBase, BackupEngine, BackupOptions, FinalizeResult, archive_channel, artifacts,
};
use velero_cluster::Cluster;
use velero_core::CancellationToken;
use velero_core::action::BackupItemAction;
use velero_core::api::{Backup, BackupPhase, Document};
use velero_core::archive::END_MEMBER;
use velero_core::artifact::BackupItemOperation;
use velero_core::result::{Record, ResourceList, ResultsFile, ScopedMessages, Severity};
use velero_persistence::{BackupFile, BackupStore, PutMode};

use super::backup::{Uploaded, upload};
use super::{Clock, RunError};
use crate::logfile::{LogFile, RunLogs};

/// Chunks of the archive between the engine and the upload, 256 KiB each.
const CHUNKS: usize = 16;

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
    /// Ends the work; the backup stays as it is and can be followed again.
    pub cancel: CancellationToken,
    /// Tells the time.
    pub clock: Clock,
}

/// A backup that is followed to its end: [`Follow::look`] until it is finalizing, then [`Follow::finalize`].
pub struct Follow {
    engine: BackupEngine,
    store: BackupStore,
    backup: Backup,
    operations: Vec<BackupItemOperation>,
    logs: RunLogs,
    cancel: CancellationToken,
    clock: Clock,
    /// When the operations were last stored.
    stored: Timestamp,
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
    /// Reads the operations of a backup from its store.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn open(run: FollowRun) -> Result<Self, RunError> {
        let name = run.backup.metadata.name.clone().unwrap_or_default();
        let operations = run
            .store
            .get_list(&BackupFile::ItemOperations.of(&name))
            .await
            .map_err(RunError::store("read the operations of the backup"))?;
        Ok(Self {
            engine: BackupEngine::new(run.cluster)
                .actions(run.actions)
                .options(run.options),
            store: run.store,
            backup: run.backup,
            operations,
            logs: run.logs,
            cancel: run.cancel,
            stored: (run.clock)(),
            clock: run.clock,
        })
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
    /// When the store fails. The next look makes up for it.
    pub async fn look(&mut self) -> Result<&Backup, RunError> {
        let log = self.logs.begin("backup", &self.log_name());
        let span = log.span().clone();
        let run = self.engine_run();
        let mut operations = self.operations.clone();
        let records = self
            .engine
            .poll_operations(&self.backup, &mut operations, &run)
            .instrument(span)
            .await;
        let mut backup = self.backup.clone();
        backup.status = artifacts::waiting_status(&self.backup, &operations, &records);
        if !records.is_empty() || *backup.phase() != *self.backup.phase() {
            let lines = log
                .finish()
                .and_then(LogFile::into_bytes)
                .map_err(RunError::Log)?;
            self.put_operations(&operations).await?;
            self.add_records(&records).await?;
            self.add_log(lines).await?;
            self.put_metadata(&backup).await?;
            self.stored = (self.clock)();
        } else if operations != self.operations && self.is_stale() {
            self.put_operations(&operations).await?;
            self.stored = (self.clock)();
        }
        (self.backup, self.operations) = (backup, operations);
        Ok(&self.backup)
    }

    /// Stores the items once more that operations name, and ends the backup.
    ///
    /// # Errors
    /// When the store or the cluster fails, or the work is cancelled: then it can be done again. See
    /// [`Follow::give_up`] for what never works.
    pub async fn finalize(&mut self) -> Result<&Backup, RunError> {
        let log = self.logs.begin("backup", &self.log_name());
        let span = log.span().clone();
        let result = self.store_again().instrument(span.clone()).await?;
        let records = result.as_ref().map_or(&[][..], |result| &result.records);
        let mut backup = self.backup.clone();
        backup.status =
            artifacts::finalized_status(&backup, &self.operations, records, (self.clock)());
        span.in_scope(|| {
            tracing::info!(
                items = result.as_ref().map_or(0, |result| result.stored),
                phase = %backup.phase(),
                "backup completed"
            );
        });
        let lines = log
            .finish()
            .and_then(LogFile::into_bytes)
            .map_err(RunError::Log)?;
        if let Some(result) = &result {
            self.add_resources(&result.resource_list).await?;
            self.add_records(&result.records).await?;
        }
        self.add_log(lines).await?;
        self.put_metadata(&backup).await?;
        self.backup = backup;
        Ok(&self.backup)
    }

    /// Ends the backup as partially failed, for a reason that does not go away. What the store takes of it is stored.
    pub async fn give_up(&mut self, reason: &str) -> &Backup {
        let record = Record::run(Severity::Error, reason);
        let mut backup = self.backup.clone();
        backup.status = artifacts::finalized_status(
            &backup,
            &self.operations,
            std::slice::from_ref(&record),
            (self.clock)(),
        );
        let stored = async {
            self.put_operations(&self.operations).await?;
            self.add_records(std::slice::from_ref(&record)).await?;
            self.put_metadata(&backup).await
        };
        if let Err(error) = stored.await {
            tracing::warn!(
                backup = self.name(),
                error = error.chain(),
                "the end of the backup is not in the store"
            );
        }
        self.backup = backup;
        &self.backup
    }

    /// Whether the operations in the store are too old for those who look at them there.
    fn is_stale(&self) -> bool {
        (self.clock)().duration_since(self.stored).as_secs() >= STALE_SECONDS
    }

    fn name(&self) -> &str {
        self.backup.metadata.name.as_deref().unwrap_or_default()
    }

    fn log_name(&self) -> String {
        let namespace = self.backup.metadata.namespace.as_deref();
        format!("{}/{}", namespace.unwrap_or_default(), self.name())
    }

    fn engine_run(&self) -> velero_backup::BackupRun {
        let started = self.backup.status.start_timestamp.as_ref();
        let clock = self.clock.clone();
        velero_backup::BackupRun::starting_at(started.map_or_else(|| (self.clock)(), |t| t.0))
            .cancel(self.cancel.clone())
            .clock(move || clock())
    }

    /// Stores items once more, if operations name any.
    async fn store_again(&self) -> Result<Option<FinalizeResult>, RunError> {
        let any = self.operations.iter().any(|operation| {
            let items = operation.spec.post_operation_items.as_ref();
            items.is_some_and(|items| !items.is_empty())
        });
        if !any {
            return Ok(None);
        }
        let failed = || RunError::store("add to the archive");
        let archive = BackupFile::Contents.of(self.name());
        let (base, writer) = match self.kept_bytes().await? {
            Some(keep) => {
                let writer = self.store.extend(&archive, keep).await.map_err(failed())?;
                (ArchiveBase::Tail, writer)
            }
            None => {
                let old = self.store.reader(&archive).await.map_err(failed())?;
                let old: Box<dyn Read + Send> = Box::new(old.into_blocking());
                let writer = self.store.writer(&archive).await.map_err(failed())?;
                (ArchiveBase::CopyOf(old), writer)
            }
        };
        let (sink, chunks) = archive_channel(CHUNKS);
        let work = self.engine.finalize(
            &self.backup,
            &self.operations,
            base,
            sink,
            self.engine_run(),
        );
        let (result, uploaded) = tokio::join!(work, upload(chunks, writer));
        match (uploaded, result) {
            (Err(error), _) => Err(failed()(error)),
            (Ok(_), Err(error)) => Err(error.into()),
            (Ok(Uploaded::GivenUp), Ok(result)) if result.stored > 0 => Err(RunError::Cancelled),
            (Ok(_), Ok(result)) => Ok(Some(result)),
        }
    }

    /// How many bytes of the archive stay when items are added; `None` when it has not the end that this program writes.
    async fn kept_bytes(&self) -> Result<Option<u64>, RunError> {
        let failed = || RunError::store("look at the archive");
        let archive = BackupFile::Contents.of(self.name());
        let objects = self.store.store();
        let size = objects.size(archive.key()).await.map_err(failed())?;
        let end = END_MEMBER.len() as u64;
        let Some(keep) = size.and_then(|size| size.checked_sub(end)) else {
            return Ok(None);
        };
        let tail = objects
            .range_reader(archive.key(), keep..keep + end)
            .await
            .map_err(failed())?;
        let tail = tail.read_to_end(end).await.map_err(failed())?;
        Ok((tail[..] == END_MEMBER[..]).then_some(keep))
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

    /// Adds to the results in the store.
    async fn add_records(&self, records: &[Record]) -> Result<(), RunError> {
        if records.is_empty() {
            return Ok(());
        }
        let failed = || RunError::store("store the results of the backup");
        let file = BackupFile::Results.of(self.name());
        let mut all: ResultsFile = self
            .store
            .get_json(&file)
            .await
            .map_err(failed())?
            .unwrap_or_default();
        let new = ResultsFile::from_records(records);
        add_messages(&mut all.errors, new.errors);
        add_messages(&mut all.warnings, new.warnings);
        let document = artifacts::results(&all);
        self.store
            .put_packed(&file, document.bytes.into())
            .await
            .map_err(failed())
    }

    /// Adds to the list of items in the store.
    async fn add_resources(&self, new: &ResourceList) -> Result<(), RunError> {
        if new.is_empty() {
            return Ok(());
        }
        let failed = || RunError::store("store the list of items of the backup");
        let file = BackupFile::ResourceList.of(self.name());
        let mut all: ResourceList = self
            .store
            .get_json(&file)
            .await
            .map_err(failed())?
            .unwrap_or_default();
        let before = all.len();
        all.merge(new);
        if all.len() == before {
            return Ok(());
        }
        let document = artifacts::resource_list(&all);
        self.store
            .put_packed(&file, document.bytes.into())
            .await
            .map_err(failed())
    }

    async fn add_log(&self, lines: Vec<u8>) -> Result<(), RunError> {
        self.store
            .append_packed(&BackupFile::Logs.of(self.name()), lines.into())
            .await
            .map_err(RunError::store("add to the log of the backup"))
    }

    /// Brings `velero-backup.json` up to date; fields that others have written stay. A backup that is not in the store any
    /// more does not come back.
    ///
    /// It never says that a backup is finalizing: a cluster that finds it would wait for somebody who may be gone.
    async fn put_metadata(&self, backup: &Backup) -> Result<(), RunError> {
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
    loop {
        if follow.is_finalizing() {
            return Ok(follow.finalize().await?.clone());
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(RunError::Cancelled),
            () = tokio::time::sleep(period) => {}
        }
        follow.look().await?;
    }
}

fn add_messages(all: &mut ScopedMessages, new: ScopedMessages) {
    all.velero.extend(new.velero);
    all.cluster.extend(new.cluster);
    for (namespace, lines) in new.namespaces {
        all.namespaces.entry(namespace).or_default().extend(lines);
    }
}
