//! The engine: from an archive to a cluster.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use velero_cluster::Cluster;
use velero_core::action::RestoreItemAction;
use velero_core::plan::RestorePlan;
use velero_core::result::{Record, Severity};
use velero_core::volume::SnapshotRestorer;
use velero_core::{CancellationToken, NoProgress, Progress, Timestamp};

use crate::apply::{Parts, Restorers, Run, apply};
use crate::index::{ArchiveIndex, Spool};
use crate::journal::Ledger;
use crate::mirror::{self, MIRROR_NEEDS_PLAN};
use crate::{
    Error, ExpectedPlan, Journal, RestoreOptions, RestoreRequest, RestoreResult, RunningHooks,
    actions, plan, versions,
};

/// What belongs to one run.
#[derive(Clone)]
pub struct RestoreRun {
    /// Receives the counts.
    pub progress: Arc<dyn Progress>,
    /// Ends the run when it fires: no more items are taken up, and the result says so.
    pub cancel: CancellationToken,
    /// Tells the time of an action's call.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// What a plan has found: the run restores nothing where the world has moved since. Without it nobody looks.
    pub expected: Option<Arc<ExpectedPlan>>,
    /// Where the run keeps what the cluster cannot tell, and finds what an earlier attempt of the same restore has left: it
    /// goes on from there then. Without it a run begins anew, whatever was before.
    pub journal: Option<Arc<dyn Journal>>,
}

impl Default for RestoreRun {
    /// By the system's clock, without progress.
    fn default() -> Self {
        Self {
            progress: Arc::new(NoProgress),
            cancel: CancellationToken::new(),
            clock: Arc::new(Timestamp::now),
            expected: None,
            journal: None,
        }
    }
}

impl fmt::Debug for RestoreRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoreRun")
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

impl RestoreRun {
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

    /// Sets what a plan has found, which must still be so.
    #[must_use]
    pub fn expecting(mut self, expected: Arc<ExpectedPlan>) -> Self {
        self.expected = Some(expected);
        self
    }

    /// Sets where the run keeps what the cluster cannot tell.
    #[must_use]
    pub fn journal(mut self, journal: Arc<dyn Journal>) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Sets what tells the time.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

/// Restores archives into a cluster.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use velero_cluster::{Cluster, client_from};
/// use velero_core::api::Restore;
/// use velero_restore::{RestoreEngine, RestoreRequest, RestoreRun};
///
/// let client = client_from(velero_cluster::kube::Config::infer().await?, "")?;
/// let cluster = Cluster::connect(client).await?;
/// let mut restore = Restore::default();
/// restore.metadata.name = Some("demo".into());
/// restore.spec.backup_name = "shop".into();
/// let archive = std::fs::File::open("shop.tar.gz")?;
/// let result = RestoreEngine::new(cluster)
///     .run(&RestoreRequest::resolve(restore)?, archive, RestoreRun::default())
///     .await?;
/// assert_eq!(result.errors(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RestoreEngine {
    cluster: Cluster,
    /// Whether the actions of this crate run, configured by the request.
    built_in: bool,
    actions: Vec<Arc<dyn RestoreItemAction>>,
    pub(crate) restorers: Restorers,
    pub(crate) options: RestoreOptions,
}

impl fmt::Debug for RestoreEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions: Vec<&str> = self.actions.iter().map(|a| a.name()).collect();
        f.debug_struct("RestoreEngine")
            .field("built_in", &self.built_in)
            .field("actions", &actions)
            .field("restorers", &self.restorers)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl RestoreEngine {
    /// An engine with the actions of [`actions::configured`], as a request configures them, and default options.
    pub fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            built_in: true,
            actions: Vec::new(),
            restorers: Restorers::default(),
            options: RestoreOptions::default(),
        }
    }

    /// Adds an action, to run after all others.
    #[must_use]
    pub fn action(mut self, action: impl RestoreItemAction + 'static) -> Self {
        self.actions.push(Arc::new(action));
        self
    }

    /// Adds actions, to run after the built-in ones, in the order given.
    #[must_use]
    pub fn actions(mut self, more: impl IntoIterator<Item = Arc<dyn RestoreItemAction>>) -> Self {
        self.actions.extend(more);
        self
    }

    /// Adds what makes volumes of native snapshots of one location. The records of the snapshots come with
    /// [`RestoreRequest::volumes`].
    ///
    /// Without one for its location a volume is provisioned anew, and its claim is an error that names the method.
    #[must_use]
    pub fn snapshot_restorer(mut self, restorer: impl SnapshotRestorer + 'static) -> Self {
        self.restorers.add(Arc::new(restorer));
        self
    }

    /// Leaves out all actions so far, the built-in ones among them.
    #[must_use]
    pub fn without_actions(mut self) -> Self {
        self.built_in = false;
        self.actions.clear();
        self
    }

    /// Sets the options.
    #[must_use]
    pub fn options(mut self, options: RestoreOptions) -> Self {
        self.options = options;
        self
    }

    /// The actions of a run, in their order.
    pub(crate) fn actions_for(&self, request: &RestoreRequest) -> Vec<Arc<dyn RestoreItemAction>> {
        let mut all = Vec::new();
        if self.built_in {
            let hooks = request.init_hooks().clone();
            all = actions::configured(request.action_config(), hooks);
        }
        all.extend(self.actions.iter().cloned());
        all
    }

    /// The action of this name, among the built-in ones if they run.
    pub(crate) fn action_named(&self, name: &str) -> Option<Arc<dyn RestoreItemAction>> {
        let built_in = self.built_in.then(actions::built_in).unwrap_or_default();
        let mut all = self.actions.iter().cloned().chain(built_in);
        all.find(|action| action.name() == name)
    }

    /// How long an action may take to say how far its operation is.
    pub(crate) fn progress_timeout(&self) -> std::time::Duration {
        self.options.progress_timeout
    }

    /// The options of a run, with what the request asks for besides.
    pub(crate) fn options_for(&self, request: &RestoreRequest) -> RestoreOptions {
        let mut options = self.options.clone();
        options.relink_owners |= request.relinks_owners();
        options
    }

    /// The cluster that is restored into.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Reads an archive and plans its restore; changes nothing.
    ///
    /// # Errors
    /// When the archive is damaged, temporary space cannot be used, or the request names resource modifiers that it has
    /// not been given.
    pub async fn plan<R: Read + Send + 'static>(
        &self,
        request: &RestoreRequest,
        archive: R,
    ) -> Result<(RestorePlan, ArchiveIndex, Spool), Error> {
        request.check_modifiers()?;
        if request.mirrors() {
            request.mirrored()?;
        }
        let (selectors, options) = (request.selectors().clone(), self.options_for(request));
        let read =
            tokio::task::spawn_blocking(move || ArchiveIndex::read(archive, &selectors, &options));
        let (mut index, spool) = read.await.map_err(|_| Error::Internal {
            what: "reading the archive",
        })??;
        let catalog = self.cluster.catalog();
        if self.options.api_group_versions {
            let wishes = request.wished_versions();
            index.choose_versions(|resource, source| {
                versions::choice(resource, source, &catalog, wishes)
            });
        }
        let plan = plan(&index, request, &catalog);
        Ok((plan, index, spool))
    }

    /// Restores an archive, and waits for the hooks of its pods and for the new volumes of its claims. With operations of
    /// actions that go on, the volumes are left to whoever follows these: [`NewVolumes`](crate::NewVolumes).
    ///
    /// The archive is read on a blocking thread; bytes that come asynchronously go through
    /// [`archive_channel`](crate::archive_channel). What goes wrong with single items is in the result. Dropping the
    /// future stops at once; a run with the same [`Journal`](crate::Journal) goes on then. What the earlier one has created
    /// counts as created, without a second write; hooks that have ended are not run again.
    ///
    /// # Errors
    /// As [`RestoreEngine::plan`], when discovery fails, when the world is not as the expected plan has it, and when objects
    /// are to be deleted by the policy [`ExistingPolicy::Mirror`](crate::ExistingPolicy::Mirror) and there is no plan.
    pub async fn run<R: Read + Send + 'static>(
        &self,
        request: &RestoreRequest,
        archive: R,
        run: RestoreRun,
    ) -> Result<RestoreResult, Error> {
        let (progress, cancel) = (Arc::clone(&run.progress), run.cancel.clone());
        let after = run.clone();
        let (mut result, hooks) = self.start(request, archive, run).await?;
        let pods: usize = hooks.waiting().into_values().sum();
        if pods > 0 {
            tracing::info!(pods, "waiting for hooks of restored pods");
            progress.waiting(&format!("hooks of {pods} restored pods to end"));
        }
        tokio::select! {
            biased;
            () = hooks.ended() => {}
            () = cancel.cancelled() => hooks.give_up("the restore was cancelled"),
        }
        result.take_hooks(&hooks);
        self.finish_volumes(&mut result, &after).await;
        result.cancelled |= cancel.is_cancelled();
        Ok(result)
    }

    /// As [`RestoreEngine::run`], but that hooks are not waited for: the result holds what is known of them by now, and
    /// they go on for as long as the second part is held.
    ///
    /// # Errors
    /// As [`RestoreEngine::run`].
    pub async fn start<R: Read + Send + 'static>(
        &self,
        request: &RestoreRequest,
        archive: R,
        run: RestoreRun,
    ) -> Result<(RestoreResult, RunningHooks), Error> {
        if request.mirrors() && run.expected.is_none() {
            return Err(Error::Invalid {
                messages: vec![MIRROR_NEEDS_PLAN.to_owned()],
            });
        }
        let (mut plan, mut index, mut spool) = self.plan(request, archive).await?;
        let catalog = self.cluster.catalog();
        let (ledger, earlier) = Ledger::load(run.journal.clone(), (run.clock)()).await?;
        let ledger = Arc::new(ledger);
        let mut found = mirror::Found::default();
        // An earlier attempt has looked before it wrote; since then others may have written, too.
        if let Some(expected) = run.expected.clone() {
            let read = (index, spool);
            ((index, spool), found) = self
                .check_expected(request, &plan, read, (&run, &ledger), &expected)
                .await?;
        }
        let is_empty = index.is_empty();
        let hooks = RunningHooks::new(
            self.cluster.clone(),
            request.restore(),
            request.exec_hooks().clone(),
            &self.options,
            &run,
        );
        if run.expected.is_some() && run.cancel.is_cancelled() {
            // Nobody has looked to the end: nothing is begun, and nothing kept.
            let result = RestoreResult {
                cancelled: true,
                ..RestoreResult::default()
            };
            return Ok((result, hooks));
        }
        hooks.write_down(&ledger, earlier).await;
        let parts = Parts {
            cluster: self.cluster.clone(),
            request: request.clone(),
            index,
            spool,
            options: self.options_for(request),
            restorers: self.restorers.clone(),
            run,
            hooks: hooks.clone(),
            ledger,
        };
        let run = Arc::new(Run::new(parts, &mut plan));
        if is_empty {
            run.record(Record::run(
                Severity::Warning,
                "the archive holds no items, nothing was restored",
            ));
        }
        for warning in warnings(request) {
            run.record(warning);
        }
        found.notes.into_iter().for_each(|note| run.record(note));
        let before = run.errors();
        apply(&run, &plan, &self.actions_for(request)).await?;
        run.note_left_out(&plan, &catalog);
        if !run.is_cancelled() {
            mirror::delete(&run, found.unwanted, run.errors() - before).await;
        }
        // Tasks are over; none of them holds the run any more.
        let run = Arc::into_inner(run).ok_or(Error::Internal {
            what: "the restore",
        })?;
        let mut result = run.into_result();
        result.take_hooks(&hooks);
        Ok((result, hooks))
    }
}

/// What is to be said of what a request asks for, whatever the archive holds.
pub(crate) fn warnings(request: &RestoreRequest) -> impl Iterator<Item = Record> + '_ {
    let versions = request.wished_versions().warnings();
    let others = request.action_config().warnings.iter().chain(versions);
    let all = others.chain(request.exec_hooks().notes());
    all.map(|warning| Record::run(Severity::Warning, warning))
}
