//! What actions do with the items of a backup before it is deleted.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use velero_cluster::Cluster;
use velero_core::action::{ActionContext, BoundSelector, ClusterReader, DeleteItemAction};
use velero_core::api::Backup;
use velero_core::archive::ItemPath;
use velero_core::plan::ItemId;
use velero_core::result::{Record, Severity, chain};
use velero_core::{
    CancellationToken, ItemTree, NoProgress, Progress, ProgressUpdate, RawItem, SelectorSet,
    Timestamp,
};

use crate::guard::guarded;
use crate::index::{ArchiveIndex, Fault, IndexedItem, Spool};
use crate::{Error, RestoreOptions};

/// Items that actions work on at the same time.
const ITEMS_IN_FLIGHT: usize = 16;

/// What the actions have done with the items of a backup.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DeletionResult {
    /// Items that actions were called for.
    pub items: u64,
    /// Items that an action could have wanted and that cannot be read. With any, the backup should stay: what these stand
    /// for is not known.
    pub unreadable: Vec<Record>,
    /// Calls that have failed.
    pub failures: Vec<Record>,
    /// Whether the pass was ended before it was through.
    pub cancelled: bool,
}

/// The pass over a backup's items before the backup is deleted. Upstream: `internal/delete/delete_item_action_handler.go`.
///
/// The archive is read once. Items of resources and namespaces that no action wants are not decoded; of the others an item
/// that lies in the archive twice counts as it came last. Actions see an item one after the other, several items are
/// worked on at once. No filter of the backup applies.
///
/// ```no_run
/// # async fn run(cluster: velero_restore::Cluster, action: std::sync::Arc<dyn velero_core::action::DeleteItemAction>) -> Result<(), Box<dyn std::error::Error>> {
/// use velero_core::{CancellationToken, api::Backup};
/// use velero_restore::DeletionPass;
///
/// let archive = std::fs::File::open("shop.tar.gz")?;
/// let pass = DeletionPass::new(cluster).actions([action]);
/// let result = pass.run(Backup::default(), archive, CancellationToken::new()).await?;
/// assert!(result.unreadable.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DeletionPass {
    cluster: Cluster,
    actions: Vec<Arc<dyn DeleteItemAction>>,
    options: RestoreOptions,
    progress: Arc<dyn Progress>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl fmt::Debug for DeletionPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions: Vec<&str> = self.actions.iter().map(|a| a.name()).collect();
        f.debug_struct("DeletionPass")
            .field("actions", &actions)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl DeletionPass {
    /// A pass without actions, whose actions read this cluster.
    pub fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            actions: Vec::new(),
            options: RestoreOptions::default(),
            progress: Arc::new(NoProgress),
            clock: Arc::new(Timestamp::now),
        }
    }

    /// Adds actions, to run in the order given.
    #[must_use]
    pub fn actions(mut self, more: impl IntoIterator<Item = Arc<dyn DeleteItemAction>>) -> Self {
        self.actions.extend(more);
        self
    }

    /// Sets the options: the limit of an action's call, and where the items lie meanwhile.
    #[must_use]
    pub fn options(mut self, options: RestoreOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets who receives the counts.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Sets what tells the time.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Whether there is anything to do: without actions no archive need be opened.
    pub fn is_needed(&self) -> bool {
        !self.actions.is_empty()
    }

    /// Shows the items of an archive to the actions that want them.
    ///
    /// What goes wrong with single items is in the result, and a line of the log.
    ///
    /// # Errors
    /// When the archive is damaged, or temporary space cannot be used.
    pub async fn run<R: Read + Send + 'static>(
        &self,
        backup: Backup,
        archive: R,
        cancel: CancellationToken,
    ) -> Result<DeletionResult, Error> {
        if !self.is_needed() {
            return Ok(DeletionResult::default());
        }
        let catalog = self.cluster.catalog();
        let bind = |action: &Arc<dyn DeleteItemAction>| Bound {
            selector: action.applies_to().bind(&catalog),
            action: Arc::clone(action),
        };
        let actions: Arc<[Bound]> = self.actions.iter().map(bind).collect();
        let (wanted, options) = (Arc::clone(&actions), self.options.clone());
        let read = tokio::task::spawn_blocking(move || {
            let is_wanted = |path: &ItemPath| {
                let mut selectors = wanted.iter().map(|bound| &bound.selector);
                selectors.any(|one| one.matches_place(&path.group_resource, &path.namespace))
            };
            ArchiveIndex::read_some(archive, &SelectorSet::default(), &options, is_wanted)
        });
        let (index, spool) = read.await.map_err(|_| Error::Internal {
            what: "reading the archive",
        })??;
        let pass = Arc::new(Pass {
            actions,
            backup,
            index,
            spool,
            reader: Box::new(self.cluster.reader()),
            clock: Arc::clone(&self.clock),
            limit: self.options.action_timeout,
            cancel,
        });
        Ok(self.see(&pass).await)
    }

    /// Shows all items of an index to the actions.
    async fn see(&self, pass: &Arc<Pass>) -> DeletionResult {
        let mut result = DeletionResult {
            unreadable: pass.index.faults().iter().map(unreadable).collect(),
            ..DeletionResult::default()
        };
        let total = pass.index.len() as u64;
        let mut done = 0;
        self.progress.update(ProgressUpdate { total, done });
        let ids = 0..u32::try_from(pass.index.slots()).unwrap_or(u32::MAX);
        let items = ids.map(|at| Arc::clone(pass).item(ItemId(at)));
        let mut seen = stream::iter(items).buffer_unordered(ITEMS_IN_FLIGHT);
        while let Some(seen) = seen.next().await {
            match seen {
                Seen::Replaced => continue,
                Seen::Unwanted => {}
                Seen::Handled(failures) => {
                    result.items += 1;
                    result.failures.extend(failures);
                }
                Seen::Unreadable(record) => result.unreadable.push(*record),
                Seen::Cancelled => {
                    result.cancelled = true;
                    break;
                }
            }
            done += 1;
            self.progress.update(ProgressUpdate { total, done });
        }
        for record in result.unreadable.iter().chain(&result.failures) {
            record.log();
        }
        result
    }
}

fn unreadable(fault: &Fault) -> Record {
    Record::item(
        Severity::Error,
        &fault.resource,
        fault.namespace.as_str(),
        fault.name.as_str(),
        format!("it cannot be decoded: {}", fault.message),
    )
}

/// An action, and which items it wants.
struct Bound {
    action: Arc<dyn DeleteItemAction>,
    selector: BoundSelector,
}

/// What has become of one item.
enum Seen {
    /// A later entry of the archive replaces it.
    Replaced,
    /// No action wants it.
    Unwanted,
    /// Actions were called; their failures.
    Handled(Vec<Record>),
    /// It cannot be read.
    Unreadable(Box<Record>),
    /// The pass is to end.
    Cancelled,
}

struct Pass {
    actions: Arc<[Bound]>,
    backup: Backup,
    index: ArchiveIndex,
    spool: Spool,
    reader: Box<dyn ClusterReader>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    limit: std::time::Duration,
    cancel: CancellationToken,
}

impl Pass {
    /// Calls the actions that want an item, one after the other.
    async fn item(self: Arc<Self>, id: ItemId) -> Seen {
        if self.cancel.is_cancelled() {
            return Seen::Cancelled;
        }
        let Some(item) = self.index.item(id) else {
            return Seen::Replaced;
        };
        let record = |message: String| {
            Record::item(
                Severity::Error,
                item.resource,
                item.namespace,
                item.name,
                message,
            )
        };
        let unreadable = |message: String| Seen::Unreadable(Box::new(record(message)));
        let raw = match self.bytes(&item).await.map(RawItem::parse) {
            Ok(Ok(raw)) => raw,
            Ok(Err(error)) => return unreadable(chain(&error)),
            Err(error) => return unreadable(chain(&error)),
        };
        let labels = &raw.head().labels;
        let wanted = |bound: &&Bound| {
            bound
                .selector
                .matches(item.resource, item.namespace, labels)
        };
        let wanted: Vec<&Bound> = self.actions.iter().filter(wanted).collect();
        if wanted.is_empty() {
            return Seen::Unwanted;
        }
        let tree = match raw.tree() {
            Ok(tree) => Arc::new(tree),
            Err(error) => return unreadable(chain(&error)),
        };
        let mut failures = Vec::new();
        for bound in wanted {
            let Err(message) = self.call(&bound.action, &tree).await else {
                continue;
            };
            if self.cancel.is_cancelled() {
                return Seen::Cancelled;
            }
            let name = bound.action.name();
            failures.push(record(format!("action {name} failed: {message}")));
        }
        Seen::Handled(failures)
    }

    async fn call(
        self: &Arc<Self>,
        action: &Arc<dyn DeleteItemAction>,
        item: &Arc<ItemTree>,
    ) -> Result<(), String> {
        let (pass, action, item) = (Arc::clone(self), Arc::clone(action), Arc::clone(item));
        let call = async move {
            let cx = ActionContext {
                run: &pass.backup,
                now: (pass.clock)(),
                cancel: &pass.cancel,
                cluster: &*pass.reader,
            };
            action.execute(&item, &cx).await.map_err(|e| chain(&e))
        };
        guarded(call, self.limit, &self.cancel).await
    }

    /// The bytes of an item, off the async threads where they have to be read.
    async fn bytes(self: &Arc<Self>, item: &IndexedItem<'_>) -> Result<Bytes, Error> {
        let location = item.location;
        if let Some(bytes) = self.spool.cached(location) {
            return Ok(bytes);
        }
        let pass = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || pass.spool.read(location));
        read.await.map_err(|_| Error::Internal {
            what: "reading an item",
        })?
    }
}
