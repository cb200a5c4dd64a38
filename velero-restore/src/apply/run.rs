//! What all parts of one run share.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use velero_cluster::{Cluster, Reader};
use velero_core::action::{BoundSelector, RestoreItemAction};
use velero_core::artifact::RestoreItemOperation;
use velero_core::plan::{ExclusionReason, RestorePlan};
use velero_core::result::Record;
use velero_core::{
    CancellationToken, Catalog, GroupResource, Progress, ProgressUpdate, ResourceIdentifier,
    Timestamp,
};

use super::bulk::Bulk;
use super::claims::ClaimOwners;
use super::later::Later;
use super::modify::Modified;
use super::namespaces::Namespaces;
use super::owners::Owners;
use super::rehearse::Rehearsal;
use super::states::States;
use super::volumes::{Restorers, Volumes};
use crate::filters::Filters;
use crate::homes::Homes;
use crate::hooks::RunningHooks;
use crate::index::{ArchiveIndex, Location, Spool};
use crate::journal::Ledger;
use crate::result::ItemAction;
use crate::volumes::{NewVolume, with_created_claims};
use crate::{Error, RestoreOptions, RestoreRequest, RestoreResult, RestoreRun};

/// How long calls under way may take after a cancel.
const CALL_GRACE: Duration = Duration::from_secs(2);

/// What all parts of one run share.
pub(crate) struct Run {
    /// What is written to; its calls end soon after a cancel.
    pub(super) cluster: Cluster,
    /// The same for what must be brought to its end once it has begun.
    pub(super) lasting: Cluster,
    pub(super) request: RestoreRequest,
    pub(super) index: ArchiveIndex,
    pub(super) spool: Arc<Spool>,
    pub(super) options: RestoreOptions,
    pub(super) cancel: CancellationToken,
    pub(super) clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub(super) namespaces: Namespaces,
    pub(super) states: States,
    pub(super) planned: HashMap<String, String>,
    pub(super) volumes: Volumes,
    pub(super) later: Later,
    pub(super) modified: Modified,
    pub(super) bulk: Bulk,
    pub(super) owners: Owners,
    pub(super) hooks: RunningHooks,
    pub(super) ledger: Arc<Ledger>,
    /// When this run began.
    pub(super) began: Timestamp,
    pub(super) homes: OnceCell<Homes>,
    pub(super) claim_owners: ClaimOwners,
    /// What makes this a run that only looks.
    pub(super) rehearsal: Option<Rehearsal>,
    progress: Arc<dyn Progress>,
    total: AtomicU64,
    done: AtomicU64,
    tally: Mutex<RestoreResult>,
    missing: Mutex<HashSet<ResourceIdentifier>>,
}

/// What a run sees of the cluster until it looks again: after CustomResourceDefinitions there is more.
pub(crate) struct Stage {
    pub(super) catalog: Catalog,
    pub(super) reader: Reader,
    actions: Vec<Arc<BoundAction>>,
    /// Those of `actions` that may want to see a resource, for resources that were asked about.
    actions_of: RwLock<HashMap<GroupResource, Arc<[Arc<BoundAction>]>>>,
    pub(super) filters: Filters,
}

/// An action with its selector bound to the catalogue.
pub(super) struct BoundAction {
    pub(super) action: Arc<dyn RestoreItemAction>,
    pub(super) selector: BoundSelector,
}

impl Stage {
    pub(crate) fn new(
        cluster: &Cluster,
        request: &RestoreRequest,
        actions: &[Arc<dyn RestoreItemAction>],
    ) -> Self {
        let catalog = cluster.catalog();
        let bind = |action: &Arc<dyn RestoreItemAction>| {
            Arc::new(BoundAction {
                selector: action.applies_to().bind(&catalog),
                action: Arc::clone(action),
            })
        };
        Self {
            actions: actions.iter().map(bind).collect(),
            actions_of: RwLock::default(),
            filters: request.filters(&catalog),
            reader: cluster.reader(),
            catalog,
        }
    }

    /// The actions that may want to see objects of a resource, in their order.
    pub(super) fn actions_of(&self, resource: &GroupResource) -> Arc<[Arc<BoundAction>]> {
        let known = self
            .actions_of
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(resource) {
            return Arc::clone(found);
        }
        drop(known);
        let wanting = self.actions.iter();
        let wanting = wanting.filter(|bound| bound.selector.matches_resource(resource));
        let found: Arc<[_]> = wanting.cloned().collect();
        let mut known = self
            .actions_of
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        known.insert(resource.clone(), Arc::clone(&found));
        found
    }
}

/// What a run is made of.
pub(crate) struct Parts {
    pub(crate) cluster: Cluster,
    pub(crate) request: RestoreRequest,
    pub(crate) index: ArchiveIndex,
    pub(crate) spool: Spool,
    pub(crate) options: RestoreOptions,
    pub(crate) restorers: Restorers,
    pub(crate) run: RestoreRun,
    pub(crate) hooks: RunningHooks,
    pub(crate) ledger: Arc<Ledger>,
}

impl Run {
    pub(crate) fn new(parts: Parts, plan: &mut RestorePlan) -> Self {
        let tally = RestoreResult {
            records: std::mem::take(&mut plan.records),
            excluded: std::mem::take(&mut plan.excluded),
            ..RestoreResult::default()
        };
        for record in &tally.records {
            record.log();
        }
        log_excluded(&tally.excluded);
        Self {
            states: States::new(parts.index.slots()),
            volumes: Volumes::new(parts.restorers),
            later: Later::default(),
            modified: Modified::new(&parts.request),
            bulk: Bulk::default(),
            owners: Owners::default(),
            hooks: parts.hooks,
            ledger: parts.ledger,
            began: (parts.run.clock)(),
            homes: OnceCell::new(),
            claim_owners: ClaimOwners::default(),
            rehearsal: None,
            cluster: parts
                .cluster
                .cancelled_by(parts.run.cancel.clone(), CALL_GRACE),
            lasting: parts.cluster,
            request: parts.request,
            index: parts.index,
            spool: Arc::new(parts.spool),
            options: parts.options,
            cancel: parts.run.cancel,
            clock: parts.run.clock,
            namespaces: Namespaces::default(),
            planned: plan
                .namespaces
                .iter()
                .map(|(target, source)| (target.clone(), source.clone()))
                .collect(),
            progress: parts.run.progress,
            total: AtomicU64::new(plan.len() as u64),
            done: AtomicU64::new(0),
            tally: Mutex::new(tally),
            missing: Mutex::default(),
        }
    }

    /// Reads an item's bytes; on another thread when that needs IO.
    pub(crate) async fn load(&self, location: Location) -> Result<Bytes, Error> {
        if let Some(bytes) = self.spool.cached(location) {
            return Ok(bytes);
        }
        let spool = Arc::clone(&self.spool);
        tokio::task::spawn_blocking(move || spool.read(location))
            .await
            .map_err(|_| Error::Internal {
                what: "reading the spool",
            })?
    }

    /// Adds a record.
    pub(crate) fn record(&self, record: Record) {
        record.log();
        self.tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .records
            .push(record);
    }

    /// Notes how an item of the plan, or one that an action asked for, came out.
    pub(crate) fn finish_item(&self, planned: bool, entry: Option<(&str, &str, &str, ItemAction)>) {
        let is_counted = entry.is_some() || self.rehearsal.is_some();
        if let Some((kind, namespace, name, action)) = entry {
            let path = if namespace.is_empty() {
                format!("{name}({action})")
            } else {
                format!("{namespace}/{name}({action})")
            };
            let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.resource_list.add(kind, &path);
            tally.counts.add(action);
            if kind == "v1/PersistentVolumeClaim" && action == ItemAction::Created {
                tally.created_claims.push(ResourceIdentifier::namespaced(
                    GroupResource::core("persistentvolumeclaims"),
                    namespace,
                    name,
                ));
            }
        }
        if is_counted {
            return self.advance(planned);
        }
        // It counts where it was brought from; a namespace that is there does not count at all.
        self.total.fetch_sub(u64::from(planned), Ordering::Relaxed);
        self.tell_progress();
    }

    /// Counts an item as failed that cannot be in the list, as nobody knows its kind.
    pub(super) fn count_failed(&self) {
        self.tally().counts.add(ItemAction::Failed);
        self.advance(false);
    }

    /// Tells that one more item is done, of the plan or besides.
    fn advance(&self, planned: bool) {
        self.total.fetch_add(u64::from(!planned), Ordering::Relaxed);
        self.done.fetch_add(1, Ordering::Relaxed);
        self.tell_progress();
    }

    fn tell_progress(&self) {
        let done = self.done.load(Ordering::Relaxed);
        let total = self.total.load(Ordering::Relaxed).max(done);
        self.progress.update(ProgressUpdate { total, done });
    }

    /// Notes what an action has started.
    pub(super) fn add_operation(&self, operation: RestoreItemOperation) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.operations.push(operation);
    }

    /// Says what is waited for.
    pub(crate) fn tell_wait(&self, what: &str) {
        if self.rehearsal.is_some() {
            return;
        }
        tracing::info!("waiting for {what}");
        self.progress.waiting(what);
    }

    /// What has come of the run so far.
    pub(super) fn tally(&self) -> MutexGuard<'_, RestoreResult> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many errors have been recorded.
    pub(crate) fn errors(&self) -> usize {
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.errors()
    }

    /// Counts an item whose object in the cluster differs and was left as it was.
    pub(super) fn count_left(&self) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.counts.left += 1;
    }

    /// Whether it is the first time that this object is found missing.
    pub(super) fn first_miss(&self, id: &ResourceIdentifier) -> bool {
        self.missing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone())
    }

    /// The result, when the run has ended.
    pub(crate) fn into_result(self) -> RestoreResult {
        self.modified.log();
        let mut result = self
            .tally
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        result.cancelled = self.cancel.is_cancelled();
        result.owners = self.owners.counts();
        result.new_volumes = NewVolume::all_of(
            self.request.known_volumes().infos(),
            &result.created_claims,
            &self.request.spec().namespace_mapping,
        );
        result.volumes = with_created_claims(self.volumes.into_told(), &result.created_claims);
        result
    }

    /// What lies in the archive, and what was recorded beside its items, when the run has ended.
    ///
    /// # Errors
    /// When something still reads the spool.
    pub(crate) fn into_archive(self) -> Result<(ArchiveIndex, Spool, Vec<Record>), Error> {
        let spool = Arc::into_inner(self.spool).ok_or(Error::Internal {
            what: "reading the spool",
        })?;
        let tally = self.tally.into_inner();
        let records = tally.unwrap_or_else(PoisonError::into_inner).records;
        Ok((self.index, spool, records))
    }

    /// Waits before looking again; `false` when the deadline has passed or the run is cancelled.
    pub(crate) async fn pause(&self, deadline: Instant, pause: Duration) -> bool {
        let until = (Instant::now() + pause).min(deadline);
        if Instant::now() >= deadline {
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep_until(until) => true,
            () = self.cancel.cancelled() => false,
        }
    }

    /// What is written to.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What lies in the archive.
    pub(crate) fn index(&self) -> &ArchiveIndex {
        &self.index
    }

    /// How it runs.
    pub(crate) fn options(&self) -> &RestoreOptions {
        &self.options
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    pub(crate) fn items_in_flight(&self) -> usize {
        self.options.items_in_flight.max(1)
    }
}

/// One line of the log for each kind and reason to leave objects out.
fn log_excluded(excluded: &BTreeMap<(GroupResource, ExclusionReason), u64>) {
    for ((resource, reason), count) in excluded {
        let why = match reason {
            ExclusionReason::Resource => "the kind is not selected",
            ExclusionReason::NeverRestored => "the kind is never restored",
            ExclusionReason::Namespace => "their namespaces are not selected",
            ExclusionReason::Labels => "their labels do not match",
            ExclusionReason::ClusterScope => "cluster-scoped objects are not selected",
            ExclusionReason::Completed => "they have run to their end",
            ExclusionReason::MirrorPod => "kubelets make them from files",
            ExclusionReason::SameTarget => "other objects come to the same names",
            _ => "they are excluded",
        };
        let resource = resource.to_string();
        tracing::info!(resource, count, "left out: {why}");
    }
}
