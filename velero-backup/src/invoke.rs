//! Running actions on items: each call in a task of its own, under a deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tracing::Instrument as _;
use velero_cluster::Reader;
use velero_core::action::{
    ActionContext, ActionError, BackupItemAction, BackupOperation, BackupOutcome, BoundSelector,
    ItemBlockAction, OperationProgress,
};
use velero_core::api::Backup;
use velero_core::names::annotations;
use velero_core::result::{Record, Severity, chain};
use velero_core::{
    ApiResource, CancellationToken, Catalog, GroupResource, ItemTree, RawItem, ResourceIdentifier,
    Timestamp,
};

use crate::blocks::Member;
use crate::volume::Bars;

/// Tells the time of an action call.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What every action call is given.
pub(crate) struct CallContext {
    pub(crate) backup: Arc<Backup>,
    pub(crate) reader: Reader,
    pub(crate) cancel: CancellationToken,
    pub(crate) clock: Clock,
    pub(crate) timeout: Duration,
}

/// The actions of a run, bound to what the cluster serves.
#[derive(Clone)]
pub(crate) struct Actions {
    bound: Arc<Vec<(Arc<dyn BackupItemAction>, BoundSelector)>>,
    blocks: Arc<Vec<(Arc<dyn ItemBlockAction>, BoundSelector)>>,
    context: Arc<CallContext>,
}

/// The action that takes the snapshots of CSI volumes.
pub(crate) const CSI_ACTION: &str = "velero.io/csi-pvc-backupper";

/// What [`CSI_ACTION`] made of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CsiOutcome {
    /// A snapshot is being taken.
    Taken,
    /// The volume is not of a CSI driver.
    NotCsi,
}

/// An item after its actions.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) resource: Arc<ApiResource>,
    /// The item as it was read.
    pub(crate) original: RawItem,
    /// The item as it is stored.
    pub(crate) stored: RawItem,
    pub(crate) additional: Vec<ResourceIdentifier>,
    /// Whether the additional items enter the backup whatever the filters say.
    pub(crate) must_include: bool,
    /// Whether an action wants the item left out.
    pub(crate) skip: bool,
    /// What the action for the snapshots of CSI volumes made of a claim.
    pub(crate) csi: Option<CsiOutcome>,
    /// What actions have started, with the names of the actions.
    pub(crate) operations: Vec<(String, BackupOperation)>,
    pub(crate) records: Vec<Record>,
}

impl Prepared {
    /// The item as additional items name it.
    pub(crate) fn id(&self) -> ResourceIdentifier {
        let head = self.original.head();
        ResourceIdentifier {
            group_resource: self.resource.group_resource(),
            namespace: head.namespace.clone(),
            name: head.name.clone(),
        }
    }

    /// An item that no action looks at.
    pub(crate) fn plain(resource: Arc<ApiResource>, item: RawItem) -> Self {
        Self {
            resource,
            stored: item.clone(),
            original: item,
            additional: Vec::new(),
            must_include: false,
            skip: false,
            csi: None,
            operations: Vec::new(),
            records: Vec::new(),
        }
    }
}

impl Actions {
    pub(crate) fn bind(
        actions: impl IntoIterator<Item = Arc<dyn BackupItemAction>>,
        catalog: &Catalog,
        context: CallContext,
    ) -> Self {
        let bound = actions
            .into_iter()
            .map(|action| {
                let selector = action.applies_to().bind(catalog);
                (action, selector)
            })
            .collect();
        Self {
            bound: Arc::new(bound),
            blocks: Arc::default(),
            context: Arc::new(context),
        }
    }

    /// Adds actions that say what belongs to an item.
    pub(crate) fn with_blocks(
        mut self,
        actions: impl IntoIterator<Item = Arc<dyn ItemBlockAction>>,
        catalog: &Catalog,
    ) -> Self {
        let bound = actions.into_iter().map(|action| {
            let selector = action.applies_to().bind(catalog);
            (action, selector)
        });
        self.blocks = Arc::new(bound.collect());
        self
    }

    /// Whether there is any action that relates items.
    pub(crate) fn relate_any(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Whether any action can relate items of this resource.
    pub(crate) fn relate_kind(&self, gr: &GroupResource) -> bool {
        self.blocks
            .iter()
            .any(|(_, selector)| selector.matches_resource(gr))
    }

    /// Whether any action relates this item.
    pub(crate) fn relate(&self, member: &Member) -> bool {
        let (gr, head) = (member.resource.group_resource(), member.item.head());
        self.blocks
            .iter()
            .any(|(_, s)| s.matches(&gr, &head.namespace, &head.labels))
    }

    /// What belongs to an item, by all actions that want to see it, and what went wrong with them.
    pub(crate) async fn related_items(
        &self,
        member: &Member,
    ) -> (Vec<ResourceIdentifier>, Vec<Record>) {
        let (gr, item) = (member.resource.group_resource(), &member.item);
        let (mut related, mut records) = (Vec::new(), Vec::new());
        let head = item.head();
        let mine = self
            .blocks
            .iter()
            .filter(|(_, s)| s.matches(&gr, &head.namespace, &head.labels));
        let mut tree = None;
        for (action, _) in mine {
            if tree.is_none() {
                match item.tree() {
                    Ok(parsed) => tree = Some(Arc::new(parsed)),
                    Err(error) => {
                        let message =
                            format!("its item-block actions did not run: {}", chain(&error));
                        records.push(record(&gr, item, message));
                        break;
                    }
                }
            }
            let Some(tree) = tree.clone() else { break };
            let (context, call) = (Arc::clone(&self.context), Arc::clone(action));
            let timeout = context.timeout;
            let answer = guarded(timeout, async move {
                call.related_items(&tree, &context.cx()).await
            })
            .await
            .unwrap_or_else(|| Err(format!("no answer within {} s", timeout.as_secs_f64())));
            match answer {
                Ok(ids) => related.extend(ids),
                Err(reason) => records.push(record(
                    &gr,
                    item,
                    format!(
                        "item-block action {}: {reason}; the item is backed up without what it relates",
                        action.name()
                    ),
                )),
            }
        }
        (related, records)
    }

    /// Whether any action can want items of this resource.
    pub(crate) fn want(&self, gr: &GroupResource) -> bool {
        self.bound
            .iter()
            .any(|(_, selector)| selector.matches_resource(gr))
    }

    /// Whether an action of one of these names is bound.
    pub(crate) fn has_any(&self, names: &[&str]) -> bool {
        self.bound
            .iter()
            .any(|(action, _)| names.contains(&action.name()))
    }

    /// Runs all actions that want this item, one after the other.
    ///
    /// What goes wrong becomes a record; the item then goes on as it was before the action that failed.
    pub(crate) async fn prepare(
        &self,
        resource: Arc<ApiResource>,
        item: RawItem,
        bars: Bars,
    ) -> Prepared {
        let gr = resource.group_resource();
        let head = item.head();
        let mine: Vec<_> = self
            .bound
            .iter()
            .filter(|(a, s)| {
                s.matches(&gr, &head.namespace, &head.labels) && !bars.keep_out(a.name())
            })
            .map(|(a, _)| Arc::clone(a))
            .collect();
        let mut out = Prepared::plain(resource, item);
        if mine.is_empty() {
            return out;
        }
        let mut tree = match out.original.tree() {
            Ok(tree) => tree,
            Err(error) => {
                out.records.push(record(
                    &gr,
                    &out.original,
                    format!("its actions did not run: {}", chain(&error)),
                ));
                return out;
            }
        };
        let mut changed = false;
        for action in mine {
            let name = action.name().to_owned();
            match self.call(action, tree.clone()).await {
                Ok(outcome) => apply(&mut out, &mut tree, &mut changed, &name, outcome),
                Err(reason) => out.records.push(record(
                    &gr,
                    &out.original,
                    format!("action {name}: {reason}; the item is stored without it"),
                )),
            }
            if out.skip {
                return out;
            }
        }
        if changed {
            match RawItem::from_tree(&tree) {
                Ok(stored) => out.stored = stored,
                Err(error) => out.records.push(record(
                    &gr,
                    &out.original,
                    format!(
                        "its actions left no object, so it is stored as it was: {}",
                        chain(&error)
                    ),
                )),
            }
        }
        out
    }

    async fn call(
        &self,
        action: Arc<dyn BackupItemAction>,
        item: ItemTree,
    ) -> Result<BackupOutcome, String> {
        let context = Arc::clone(&self.context);
        let timeout = context.timeout;
        let call = async move { action.execute(item, &context.cx()).await };
        guarded(timeout, call)
            .await
            .unwrap_or_else(|| Err(format!("no answer within {} s", timeout.as_secs_f64())))
    }

    /// Asks an action how far an operation is; `None` when no answer came in time.
    pub(crate) async fn progress(
        &self,
        action: &str,
        operation: &str,
        timeout: Duration,
    ) -> Option<Result<OperationProgress, String>> {
        let action = match self.named(action) {
            Ok(action) => action,
            Err(reason) => return Some(Err(reason)),
        };
        let (context, operation) = (Arc::clone(&self.context), operation.to_owned());
        let call = async move { action.progress(&operation, &context.cx()).await };
        guarded(timeout, call).await
    }

    /// Tells an action to end an operation; `None` when no answer came in time.
    pub(crate) async fn cancel(
        &self,
        action: &str,
        operation: &str,
        timeout: Duration,
    ) -> Option<Result<(), String>> {
        let action = match self.named(action) {
            Ok(action) => action,
            Err(reason) => return Some(Err(reason)),
        };
        let (context, operation) = (Arc::clone(&self.context), operation.to_owned());
        let call = async move { action.cancel(&operation, &context.cx()).await };
        guarded(timeout, call).await
    }

    /// The time, by the run's clock.
    pub(crate) fn now(&self) -> Timestamp {
        (self.context.clock)()
    }

    fn named(&self, name: &str) -> Result<Arc<dyn BackupItemAction>, String> {
        self.bound
            .iter()
            .map(|(action, _)| action)
            .find(|action| action.name() == name)
            .cloned()
            .ok_or_else(|| format!("there is no action {name:?} to ask"))
    }
}

impl CallContext {
    fn cx(&self) -> ActionContext<'_, Backup> {
        ActionContext {
            run: &self.backup,
            now: (self.clock)(),
            cancel: &self.cancel,
            cluster: &self.reader,
        }
    }
}

/// Runs a call of an action in a task of its own; `None` when it does not end in time.
async fn guarded<T: Send + 'static>(
    timeout: Duration,
    call: impl Future<Output = Result<T, ActionError>> + Send + 'static,
) -> Option<Result<T, String>> {
    let task = tokio::spawn(call.in_current_span());
    let _guard = AbortOnDrop(task.abort_handle());
    Some(match tokio::time::timeout(timeout, task).await.ok()? {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(chain(&error)),
        Err(error) if error.is_panic() => Err(format!(
            "it panicked: {}",
            panic_text(error.into_panic().as_ref())
        )),
        Err(_) => Err("it was stopped".to_owned()),
    })
}

/// Takes an outcome into the item; two annotations of a changed item are orders to the engine and not stored.
fn apply(
    out: &mut Prepared,
    tree: &mut ItemTree,
    changed: &mut bool,
    action: &str,
    outcome: BackupOutcome,
) {
    out.skip |= outcome.skip;
    let started = outcome.operation.is_some() || !outcome.additional_items.is_empty();
    if action == CSI_ACTION && started {
        out.csi = Some(CsiOutcome::Taken);
    }
    if let Some(operation) = outcome.operation.filter(|started| !started.id.is_empty()) {
        out.operations.push((action.to_owned(), operation));
    }
    if let Some(item) = outcome.item {
        *tree = item;
        *changed = true;
        out.skip |= tree.annotation(annotations::SKIP_FROM_BACKUP).is_some();
        if tree.annotation(annotations::MUST_INCLUDE_ADDITIONAL_ITEMS) == Some("true") {
            out.must_include = true;
            tree.remove_annotations(&[annotations::MUST_INCLUDE_ADDITIONAL_ITEMS]);
        }
        if action == CSI_ACTION && tree.annotation(annotations::SKIPPED_NO_CSI_PV).is_some() {
            out.csi.get_or_insert(CsiOutcome::NotCsi);
            tree.remove_annotations(&[annotations::SKIPPED_NO_CSI_PV]);
        }
    }
    for id in outcome.additional_items {
        if !out.additional.contains(&id) {
            out.additional.push(id);
        }
    }
}

fn record(gr: &GroupResource, item: &RawItem, message: String) -> Record {
    let head = item.head();
    Record::item(
        Severity::Error,
        gr,
        head.namespace.as_str(),
        head.name.as_str(),
        message,
    )
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Ends a task whose answer nobody waits for any more.
pub(crate) struct AbortOnDrop(pub(crate) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
