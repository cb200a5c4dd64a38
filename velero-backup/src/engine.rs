//! The engine: from a request to an archive.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use velero_cluster::{Cluster, ListOptions};
use velero_core::action::{BackupItemAction, ItemBlockAction};
use velero_core::api::Backup;
use velero_core::archive::ArchiveWriterOptions;
use velero_core::names::annotations;
use velero_core::policy::ResourcePolicies;
use velero_core::result::Record;
use velero_core::volume::{PodVolumeBackups, VolumeSnapshotter};
use velero_core::{
    CancellationToken, Catalog, GoDuration, GroupResource, NoProgress, Progress, Timestamp,
};

use crate::guard::caught;
use crate::invoke::{Actions, CSI_ACTION, CallContext, Clock};
use crate::namespaces::live_namespaces;
use crate::run::Run;
use crate::volume::{VolumePlugs, VolumeSettings, Volumes};
use crate::writer::Writer;
use crate::{ArchiveSink, BackupRequest, BackupResult, Error, LiveNamespaces, RequestInputs};

/// How backups are run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BackupOptions {
    /// How lists are read: pages of 500 objects and at most 8 MiB.
    pub list: ListOptions,
    /// Kinds that are listed ahead of their turn; 3.
    pub kinds_ahead: usize,
    /// Whether every version of a kind that the cluster serves is read, not the preferred one alone.
    pub all_api_versions: bool,
    /// Items whose actions run at the same time; 16.
    pub concurrency: usize,
    /// Longest time for one action on one item; 10 min.
    pub action_timeout: Duration,
    /// Longest time from the start of the backup to the end of the copies of pod volumes, unless the backup has an
    /// annotation `velero.io/pod-volume-timeout`; 4 h.
    pub fs_backup_timeout: Duration,
    /// Longest time for one answer about an operation; 1 min.
    pub progress_timeout: Duration,
    /// Item blocks whose hooks run at the same time; 1.
    pub item_block_workers: usize,
    /// Bytes of items that wait for the archive's writer; 4 MiB.
    pub queue_bytes: usize,
    /// Bytes of items kept because earlier items refer to them; beyond that they are read one by one; 16 MiB. As much
    /// again is kept of pods that wait for the others of their namespace, and of those that are looked through because the
    /// label selectors of a backup do not match them.
    pub held_bytes: usize,
    /// gzip level of the archive, 0 to 9; 6.
    pub gzip_level: u32,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self {
            list: ListOptions::default().page_bytes(8 << 20, 8 << 20),
            kinds_ahead: 3,
            all_api_versions: false,
            concurrency: 16,
            action_timeout: Duration::from_secs(600),
            fs_backup_timeout: Duration::from_secs(4 * 3600),
            progress_timeout: Duration::from_secs(60),
            item_block_workers: 1,
            queue_bytes: 4 << 20,
            held_bytes: 16 << 20,
            gzip_level: 6,
        }
    }
}

impl BackupOptions {
    /// Sets how lists are read.
    #[must_use]
    pub fn list(mut self, list: ListOptions) -> Self {
        self.list = list;
        self
    }

    /// Sets whether every version of a kind is read: the server's feature `EnableAPIGroupVersions`.
    #[must_use]
    pub fn all_api_versions(mut self, all: bool) -> Self {
        self.all_api_versions = all;
        self
    }

    /// Sets the longest time for one action on one item.
    #[must_use]
    pub fn action_timeout(mut self, timeout: Duration) -> Self {
        self.action_timeout = timeout;
        self
    }

    /// Sets the longest time from the start of the backup to the end of the copies of pod volumes.
    #[must_use]
    pub fn fs_backup_timeout(mut self, timeout: Duration) -> Self {
        self.fs_backup_timeout = timeout;
        self
    }

    /// Sets the longest time for one answer about an operation.
    #[must_use]
    pub fn progress_timeout(mut self, timeout: Duration) -> Self {
        self.progress_timeout = timeout;
        self
    }

    /// Sets how many item blocks have their hooks run at the same time. The order of the archive stays.
    #[must_use]
    pub fn item_block_workers(mut self, workers: usize) -> Self {
        self.item_block_workers = workers;
        self
    }

    /// Sets how many bytes of items are kept because earlier items refer to them.
    #[must_use]
    pub fn held_bytes(mut self, bytes: usize) -> Self {
        self.held_bytes = bytes;
        self
    }

    /// Sets the gzip level of the archive.
    #[must_use]
    pub fn gzip_level(mut self, level: u32) -> Self {
        self.gzip_level = level;
        self
    }
}

/// What belongs to one run.
#[derive(Clone)]
pub struct BackupRun {
    /// Receives the counts.
    pub progress: Arc<dyn Progress>,
    /// Ends the run when it fires; the sink then never gets a complete archive.
    pub cancel: CancellationToken,
    /// When the backup starts: the modification time of everything in the archive.
    pub start: Timestamp,
    /// Tells the time.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// What the run has noted by the time it fails, for those who want to keep it.
    pub noted: Noted,
}

/// The records of a run that has failed. Empty for one that has not. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Noted {
    records: Arc<Mutex<Vec<Record>>>,
}

impl Noted {
    /// Takes the records out.
    pub fn take(&self) -> Vec<Record> {
        std::mem::take(&mut self.lock())
    }

    pub(crate) fn put(&self, records: Vec<Record>) {
        *self.lock() = records;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for BackupRun {
    /// Starts now, by the system's clock, without progress.
    fn default() -> Self {
        Self {
            progress: Arc::new(NoProgress),
            cancel: CancellationToken::new(),
            start: Timestamp::now(),
            clock: Arc::new(Timestamp::now),
            noted: Noted::default(),
        }
    }
}

impl fmt::Debug for BackupRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupRun")
            .field("start", &self.start)
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

impl BackupRun {
    /// A run that starts at `start`.
    pub fn starting_at(start: Timestamp) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    /// Sets who receives the counts.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Sets what ends the run.
    #[must_use]
    pub fn cancel(mut self, cancel: CancellationToken) -> Self {
        self.cancel = cancel;
        self
    }

    /// Sets what tells the time.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

/// How long copies of pod volumes may take: what the backup's annotation says, or else the options. An annotation that is
/// no duration is told of when the backup is resolved.
fn pod_volume_timeout(backup: &Backup, options: &BackupOptions) -> Duration {
    let notes = backup.metadata.annotations.as_ref();
    notes
        .and_then(|notes| notes.get(annotations::POD_VOLUME_TIMEOUT))
        .and_then(|text| text.parse::<GoDuration>().ok())
        .map_or(options.fs_backup_timeout, |timeout| timeout.to_std())
}

/// Backs up clusters.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use velero_backup::{BackupEngine, BackupRun, Cluster, kube};
/// use velero_core::api::Backup;
///
/// let cluster = Cluster::connect(kube::Client::try_default().await?).await?;
/// let engine = BackupEngine::new(cluster);
/// let mut backup = Backup::default();
/// backup.spec.included_namespaces = vec!["shop".into()];
/// let request = engine.request(&backup).await?;
/// let file = std::fs::File::create("shop.tar.gz")?;
/// let result = engine.run(&request, file, BackupRun::default()).await?;
/// assert_eq!(result.errors(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BackupEngine {
    cluster: Cluster,
    actions: Vec<Arc<dyn BackupItemAction>>,
    block_actions: Vec<Arc<dyn ItemBlockAction>>,
    volumes: VolumePlugs,
    options: BackupOptions,
}

impl fmt::Debug for BackupEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |action: &Arc<dyn BackupItemAction>| {
            caught(|| action.name().to_owned()).unwrap_or_default()
        };
        let names: Vec<String> = self.actions.iter().map(name).collect();
        f.debug_struct("BackupEngine")
            .field("cluster", &self.cluster)
            .field("actions", &names)
            .field("options", &self.options)
            .finish()
    }
}

impl BackupEngine {
    /// An engine with the built-in actions.
    pub fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            actions: Vec::new(),
            block_actions: Vec::new(),
            volumes: VolumePlugs::default(),
            options: BackupOptions::default(),
        }
    }

    /// Adds an action, to run after those that are there.
    #[must_use]
    pub fn action(mut self, action: impl BackupItemAction + 'static) -> Self {
        self.actions.push(Arc::new(action));
        self
    }

    /// Adds actions, to run after those that are there.
    #[must_use]
    pub fn actions(mut self, actions: impl IntoIterator<Item = Arc<dyn BackupItemAction>>) -> Self {
        self.actions.extend(actions);
        self
    }

    /// Adds an action that says what belongs to an item, to be asked after those that are there.
    #[must_use]
    pub fn item_block_action(mut self, action: impl ItemBlockAction + 'static) -> Self {
        self.block_actions.push(Arc::new(action));
        self
    }

    /// Adds actions that say what belongs to an item, to be asked after those that are there.
    #[must_use]
    pub fn item_block_actions(
        mut self,
        actions: impl IntoIterator<Item = Arc<dyn ItemBlockAction>>,
    ) -> Self {
        self.block_actions.extend(actions);
        self
    }

    /// Adds what takes native snapshots in one location, to be asked after those that are there.
    #[must_use]
    pub fn volume_snapshotter(mut self, snapshotter: impl VolumeSnapshotter + 'static) -> Self {
        self.volumes.snapshotters.push(Arc::new(snapshotter));
        self
    }

    /// Sets what copies the files of pod volumes.
    #[must_use]
    pub fn pod_volumes(mut self, copier: impl PodVolumeBackups + 'static) -> Self {
        self.volumes.pod_volumes = Some(Arc::new(copier));
        self
    }

    /// Sets the options.
    #[must_use]
    pub fn options(mut self, options: BackupOptions) -> Self {
        self.options = options;
        self
    }

    /// The cluster that is backed up.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Resolves a backup without resource policies against the cluster as it is now.
    ///
    /// # Errors
    /// [`Error::Invalid`] with everything that is wrong with the backup; [`Error::Cluster`] when the namespaces cannot be
    /// listed.
    pub async fn request(&self, backup: &Backup) -> Result<BackupRequest, Error> {
        self.request_with(backup, None).await
    }

    /// Resolves a backup against the cluster as it is now. `policies` are those that `spec.resourcePolicy` names.
    ///
    /// # Errors
    /// As [`BackupEngine::request`].
    pub async fn request_with(
        &self,
        backup: &Backup,
        policies: Option<ResourcePolicies>,
    ) -> Result<BackupRequest, Error> {
        let included = &backup.spec.included_namespaces;
        let live = live_namespaces(&self.cluster, &self.options.list, included)
            .await
            .map_err(|source| Error::Cluster {
                operation: "listing the namespaces",
                source: Box::new(source),
            })?;
        self.request_in(backup, policies, &live)
    }

    /// Resolves a backup against a cluster whose namespaces have been read. Makes no call.
    ///
    /// # Errors
    /// [`Error::Invalid`] with everything that is wrong with the backup.
    pub fn request_in(
        &self,
        backup: &Backup,
        policies: Option<ResourcePolicies>,
        namespaces: &LiveNamespaces,
    ) -> Result<BackupRequest, Error> {
        let mut inputs = RequestInputs::default().policies(policies);
        inputs.volume_snapshots = !self.volumes.snapshotters.is_empty();
        inputs.pod_volumes = self.volumes.pod_volumes.is_some();
        let catalog = self.cluster.catalog();
        BackupRequest::resolve_with(backup, &catalog, namespaces.heads(), &inputs)
            .map(|request| request.with_objects(namespaces))
            .map_err(|faults| Error::Invalid { faults })
    }

    /// The actions, bound to what the cluster serves.
    pub(crate) fn bind(
        &self,
        backup: Arc<Backup>,
        catalog: &Catalog,
        clock: Clock,
        cancel: CancellationToken,
    ) -> Result<Actions, Error> {
        let (all_versions, blocks) = (self.options.all_api_versions, &self.block_actions);
        let context = self.context(backup, clock, cancel);
        Actions::bind(all_versions, &self.actions, blocks, catalog, context)
    }

    /// The actions, to be asked about operations.
    pub(crate) fn unbound(
        &self,
        backup: Arc<Backup>,
        clock: Clock,
        cancel: CancellationToken,
    ) -> Actions {
        Actions::unbound(&self.actions, self.context(backup, clock, cancel))
    }

    fn context(&self, backup: Arc<Backup>, clock: Clock, cancel: CancellationToken) -> CallContext {
        CallContext {
            backup,
            reader: self.cluster.reader(),
            cancel,
            clock,
            timeout: self.options.action_timeout,
        }
    }

    /// What is done for the volumes of a run.
    fn volumes_of(&self, request: &BackupRequest, run: &BackupRun, csi: bool) -> Volumes {
        let claims = GroupResource::core("persistentvolumeclaims");
        let taken = |claims| request.scope().collects(claims);
        let settings = VolumeSettings {
            plugs: self.volumes.clone(),
            claims_included: request.catalog().get(&claims).is_some_and(taken),
            csi,
            copies_until: run
                .start
                .checked_add(pod_volume_timeout(request.backup(), &self.options))
                .ok()
                .map(|until| (until, Clock::clone(&run.clock))),
            call_timeout: self.options.action_timeout,
            concurrency: self.options.concurrency,
        };
        Volumes::new(request.shared_backup(), request.policies(), settings)
    }

    pub(crate) fn settings(&self) -> &BackupOptions {
        &self.options
    }

    /// Runs a backup and writes its archive into `sink`, on a blocking thread.
    ///
    /// What concerns single kinds and items becomes a record of the result. Dropping the future, like cancelling the
    /// run, ends everything but the post hooks of pods whose pre hooks have run; the sink then never gets a complete
    /// archive.
    ///
    /// # Errors
    /// When the sink fails, the run is cancelled, the cluster answers nothing any more, or an action cannot say what it
    /// applies to.
    pub async fn run(
        &self,
        request: &BackupRequest,
        sink: impl ArchiveSink + 'static,
        run: BackupRun,
    ) -> Result<BackupResult, Error> {
        let mtime = u64::try_from(run.start.as_second()).unwrap_or_default();
        let archive = ArchiveWriterOptions::default()
            .mtime(mtime)
            .level(self.options.gzip_level);
        // Actions learn of a run that ends for another reason than its caller's wish, too.
        let cancel = run.cancel.child_token();
        let _on_end = cancel.clone().drop_guard();
        let actions = self.bind(
            request.shared_backup(),
            request.catalog(),
            Clock::clone(&run.clock),
            cancel.clone(),
        )?;
        let writer = Writer::start(sink, archive, self.options.queue_bytes);
        let mut work = Run::new(
            &self.cluster,
            request,
            actions,
            &self.options,
            &run,
            &writer,
        );
        let csi = work.actions.has_any(&[CSI_ACTION]);
        work.volumes = self.volumes_of(request, &run, csi);
        let outcome = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::Cancelled),
            outcome = work.drive() => outcome,
        };
        if outcome.is_err() {
            work.finish_hooks().await;
        }
        let finished = work.into_output();
        let written = match outcome {
            Ok(()) => writer.finish_unless(&cancel).await,
            Err(Error::Sink { .. }) => Err(writer.failure().await),
            Err(error) => {
                writer.abandon().await;
                Err(error)
            }
        };
        match written {
            Ok(bytes) => Ok(finished.into_result(bytes, run.start, (run.clock)())),
            Err(error) => {
                run.noted.put(finished.records);
                Err(error)
            }
        }
    }
}
