//! Running actions on items.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use velero_cluster::Reader;
use velero_core::action::{
    ActionContext, BackupItemAction, BackupOutcome, BoundSelector, ItemBlockAction,
    OperationProgress, ResourceSelector,
};
use velero_core::api::Backup;
use velero_core::result::{Record, Severity, chain};
use velero_core::{
    CancellationToken, Catalog, GroupResource, ItemTree, RawItem, ResourceIdentifier, Timestamp,
};

use crate::Error;
use crate::blocks::Member;
use crate::guard::{answer, guarded, panic_text};
use crate::prepared::Prepared;
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

impl Actions {
    /// Asks all actions which items they want to see.
    ///
    /// # Errors
    /// When one panics instead: nobody knows then what would be missing without it.
    pub(crate) fn bind(
        actions: impl IntoIterator<Item = Arc<dyn BackupItemAction>>,
        blocks: impl IntoIterator<Item = Arc<dyn ItemBlockAction>>,
        catalog: &Catalog,
        context: CallContext,
    ) -> Result<Self, Error> {
        let mut bound = Vec::new();
        for action in actions {
            let selector = asked(action.name(), || action.applies_to())?;
            bound.push((action, selector.bind(catalog)));
        }
        let mut bound_blocks = Vec::new();
        for action in blocks {
            let selector = asked(action.name(), || action.applies_to())?;
            bound_blocks.push((action, selector.bind(catalog)));
        }
        Ok(Self {
            bound: Arc::new(bound),
            blocks: Arc::new(bound_blocks),
            context: Arc::new(context),
        })
    }

    /// Actions that are asked about their operations alone.
    pub(crate) fn unbound(
        actions: impl IntoIterator<Item = Arc<dyn BackupItemAction>>,
        context: CallContext,
    ) -> Self {
        let bound = actions.into_iter().map(|a| (a, BoundSelector::default()));
        Self {
            bound: Arc::new(bound.collect()),
            blocks: Arc::default(),
            context: Arc::new(context),
        }
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
            let answer = answer(context.timeout, async move {
                call.related_items(&tree, &context.cx()).await
            })
            .await;
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
    pub(crate) async fn prepare(&self, member: Member, bars: Bars) -> Prepared {
        let mine = self.wanting(&member, bars);
        let mut out = Prepared::from(member);
        if mine.is_empty() {
            return out;
        }
        let mut tree = match out.original.tree() {
            Ok(tree) => tree,
            Err(error) => {
                out.error(format!("its actions did not run: {}", chain(&error)));
                return out;
            }
        };
        let mut changed = false;
        for action in mine {
            let name = action.name().to_owned();
            match self.call(action, tree.clone()).await {
                Ok(outcome) => {
                    if let Some(next) = out.take(&name, outcome) {
                        (tree, changed) = (next, true);
                    }
                }
                Err(reason) => out.error(format!(
                    "action {name}: {reason}; the item is stored without it"
                )),
            }
            if out.skip {
                return out;
            }
        }
        if changed {
            out.change(&tree);
        }
        out
    }

    /// The actions that see an item.
    fn wanting(&self, member: &Member, bars: Bars) -> Vec<Arc<dyn BackupItemAction>> {
        let (gr, head) = (member.resource.group_resource(), member.item.head());
        let wants = |selector: &BoundSelector| selector.matches(&gr, &head.namespace, &head.labels);
        self.bound
            .iter()
            .filter(|(action, selector)| wants(selector) && !bars.keep_out(action.name()))
            .map(|(action, _)| Arc::clone(action))
            .collect()
    }

    async fn call(
        &self,
        action: Arc<dyn BackupItemAction>,
        item: ItemTree,
    ) -> Result<BackupOutcome, String> {
        let context = Arc::clone(&self.context);
        answer(context.timeout, async move {
            action.execute(item, &context.cx()).await
        })
        .await
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

/// Asks an action for its selector.
fn asked(name: &str, ask: impl FnOnce() -> ResourceSelector) -> Result<ResourceSelector, Error> {
    catch_unwind(AssertUnwindSafe(ask)).map_err(|panic| Error::Invalid {
        faults: vec![format!(
            "action {name}: it panicked when it was asked which items it wants to see: {}",
            panic_text(panic.as_ref())
        )],
    })
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
