//! Running actions on items: each call in a task of its own, under a deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tracing::Instrument as _;
use velero_cluster::Reader;
use velero_core::action::{ActionContext, BackupItemAction, BackupOutcome, BoundSelector};
use velero_core::api::Backup;
use velero_core::names::annotations;
use velero_core::result::{Record, Severity, chain};
use velero_core::{
    ApiResource, CancellationToken, Catalog, GroupResource, ItemTree, RawItem, ResourceIdentifier,
    Timestamp,
};

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
    context: Arc<CallContext>,
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
    pub(crate) records: Vec<Record>,
}

impl Prepared {
    /// An item that no action looks at.
    pub(crate) fn plain(resource: Arc<ApiResource>, item: RawItem) -> Self {
        Self {
            resource,
            stored: item.clone(),
            original: item,
            additional: Vec::new(),
            must_include: false,
            skip: false,
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
            context: Arc::new(context),
        }
    }

    /// Whether any action can want items of this resource.
    pub(crate) fn want(&self, gr: &GroupResource) -> bool {
        self.bound
            .iter()
            .any(|(_, selector)| selector.matches_resource(gr))
    }

    /// Runs all actions that want this item, one after the other.
    ///
    /// What goes wrong becomes a record; the item then goes on as it was before the action that failed.
    pub(crate) async fn prepare(&self, resource: Arc<ApiResource>, item: RawItem) -> Prepared {
        let gr = resource.group_resource();
        let head = item.head();
        let mine: Vec<_> = self
            .bound
            .iter()
            .filter(|(_, s)| s.matches(&gr, &head.namespace, &head.labels))
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
                Ok(outcome) => apply(&mut out, &mut tree, &mut changed, outcome),
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
        let call = async move {
            let cx = ActionContext {
                run: &*context.backup,
                now: (context.clock)(),
                cancel: &context.cancel,
                cluster: &context.reader,
            };
            action.execute(item, &cx).await
        };
        let task = tokio::spawn(call.in_current_span());
        let _guard = AbortOnDrop(task.abort_handle());
        match tokio::time::timeout(timeout, task).await {
            Ok(Ok(Ok(outcome))) => Ok(outcome),
            Ok(Ok(Err(error))) => Err(chain(&error)),
            Ok(Err(error)) if error.is_panic() => Err(format!(
                "it panicked: {}",
                panic_text(error.into_panic().as_ref())
            )),
            Ok(Err(_)) => Err("it was stopped".to_owned()),
            Err(_) => Err(format!("no answer within {} s", timeout.as_secs_f64())),
        }
    }
}

/// Takes an outcome into the item; two annotations of a changed item are orders to the engine and not stored.
fn apply(out: &mut Prepared, tree: &mut ItemTree, changed: &mut bool, outcome: BackupOutcome) {
    out.skip |= outcome.skip;
    if let Some(item) = outcome.item {
        *tree = item;
        *changed = true;
        out.skip |= tree.annotation(annotations::SKIP_FROM_BACKUP).is_some();
        if tree.annotation(annotations::MUST_INCLUDE_ADDITIONAL_ITEMS) == Some("true") {
            out.must_include = true;
            tree.remove_annotations(&[annotations::MUST_INCLUDE_ADDITIONAL_ITEMS]);
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

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
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
