//! Running actions on items.

use std::sync::Arc;
use std::time::Duration;

use velero_cluster::Reader;
use velero_core::action::{
    ActionContext, BackupItemAction, BackupOutcome, BoundSelector, ItemBlockAction,
    OperationProgress,
};
use velero_core::api::Backup;
use velero_core::result::{Record, Severity, chain};
use velero_core::{
    CancellationToken, Catalog, GroupResource, ItemTree, RawItem, ResourceIdentifier, Timestamp,
};

use crate::Error;
use crate::actions::{KnownBindings, built_in};
use crate::blocks::Member;
use crate::guard::{answer, caught, guarded};
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
    bound: Arc<Vec<Bound<dyn BackupItemAction>>>,
    blocks: Arc<Vec<Bound<dyn ItemBlockAction>>>,
    /// What is to be told of actions that could not say their names.
    nameless: Arc<Vec<String>>,
    bindings: Arc<KnownBindings>,
    context: Arc<CallContext>,
}

/// An action with what it has said of itself. It is asked once.
struct Bound<A: ?Sized> {
    name: String,
    action: Arc<A>,
    selector: BoundSelector,
}

/// The action that takes the snapshots of CSI volumes.
pub(crate) const CSI_ACTION: &str = "velero.io/csi-pvc-backupper";

impl Actions {
    /// Asks all actions what they are called and which items they want to see: those that every backup runs, and those
    /// that were added.
    ///
    /// # Errors
    /// When one panics instead: nobody knows then what would be missing without it.
    pub(crate) fn bind(
        all_api_versions: bool,
        added: &[Arc<dyn BackupItemAction>],
        added_blocks: &[Arc<dyn ItemBlockAction>],
        catalog: &Catalog,
        context: CallContext,
    ) -> Result<Self, Error> {
        let bindings = Arc::default();
        let mut bound = Vec::new();
        for action in built_in(all_api_versions, &bindings) {
            let name = action.name().to_owned();
            let selector = action.applies_to().bind(catalog);
            bound.push(Bound {
                name,
                action,
                selector,
            });
        }
        for (at, action) in added.iter().enumerate() {
            let name = named("action", at, || action.name()).map_err(fault)?;
            let selector = asked("action", &name, || action.applies_to())?.bind(catalog);
            let action = Arc::clone(action);
            bound.push(Bound {
                name,
                action,
                selector,
            });
        }
        let mut blocks = Vec::new();
        for (at, action) in added_blocks.iter().enumerate() {
            let name = named("item-block action", at, || action.name()).map_err(fault)?;
            let selector = asked("item-block action", &name, || action.applies_to())?;
            blocks.push(Bound {
                name,
                action: Arc::clone(action),
                selector: selector.bind(catalog),
            });
        }
        Ok(Self {
            bound: Arc::new(bound),
            blocks: Arc::new(blocks),
            nameless: Arc::default(),
            bindings,
            context: Arc::new(context),
        })
    }

    /// Actions that are asked about their operations alone. Those that every backup runs start none.
    pub(crate) fn unbound(added: &[Arc<dyn BackupItemAction>], context: CallContext) -> Self {
        let (mut bound, mut nameless) = (Vec::new(), Vec::new());
        for (at, action) in added.iter().enumerate() {
            match named("action", at, || action.name()) {
                Ok(name) => bound.push(Bound {
                    name,
                    action: Arc::clone(action),
                    selector: BoundSelector::default(),
                }),
                Err(reason) => nameless.push(reason),
            }
        }
        Self {
            bound: Arc::new(bound),
            blocks: Arc::default(),
            nameless: Arc::new(nameless),
            bindings: Arc::default(),
            context: Arc::new(context),
        }
    }

    /// What is known of the cluster role bindings of service accounts.
    pub(crate) fn bindings(&self) -> &Arc<KnownBindings> {
        &self.bindings
    }

    /// Whether there is any action that relates items.
    pub(crate) fn relate_any(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Whether any action can relate items of this resource.
    pub(crate) fn relate_kind(&self, gr: &GroupResource) -> bool {
        self.blocks
            .iter()
            .any(|bound| bound.selector.matches_resource(gr))
    }

    /// Whether any action relates this item.
    pub(crate) fn relate(&self, member: &Member) -> bool {
        let (gr, head) = (member.resource.group_resource(), member.item.head());
        self.blocks
            .iter()
            .any(|bound| bound.selector.matches(&gr, &head.namespace, &head.labels))
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
            .filter(|bound| bound.selector.matches(&gr, &head.namespace, &head.labels));
        let mut tree = None;
        for bound in mine {
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
            let (context, call) = (Arc::clone(&self.context), Arc::clone(&bound.action));
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
                        bound.name
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
            .any(|bound| bound.selector.matches_resource(gr))
    }

    /// Whether an action of one of these names is bound.
    pub(crate) fn has_any(&self, names: &[&str]) -> bool {
        self.bound
            .iter()
            .any(|bound| names.contains(&bound.name.as_str()))
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
        for at in mine {
            let Bound { name, action, .. } = &self.bound[at];
            match self.call(Arc::clone(action), tree.clone()).await {
                Ok(outcome) => {
                    if let Some(next) = out.take(name, outcome) {
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

    /// The places of the actions that see an item.
    fn wanting(&self, member: &Member, bars: Bars) -> Vec<usize> {
        let (gr, head) = (member.resource.group_resource(), member.item.head());
        let wants = |selector: &BoundSelector| selector.matches(&gr, &head.namespace, &head.labels);
        (0..self.bound.len())
            .filter(|at| {
                let Bound { name, selector, .. } = &self.bound[*at];
                wants(selector) && !bars.keep_out(name)
            })
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
        let mut all = self.bound.iter();
        match all.find(|bound| bound.name == name) {
            Some(bound) => Ok(Arc::clone(&bound.action)),
            None => {
                let mut reasons = vec![format!("there is no action {name:?} to ask")];
                reasons.extend(self.nameless.iter().cloned());
                Err(reasons.join("; "))
            }
        }
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

/// Asks for the name of an action that was added as number `at`, from 0; an error is what is to be told of it.
fn named<'a>(what: &str, at: usize, ask: impl FnOnce() -> &'a str) -> Result<String, String> {
    caught(|| ask().to_owned()).map_err(|panic| {
        let number = at + 1;
        format!("added {what} {number}: it panicked when it was asked for its name: {panic}")
    })
}

/// Asks an action for its selector.
fn asked<T>(what: &str, name: &str, ask: impl FnOnce() -> T) -> Result<T, Error> {
    caught(ask).map_err(|panic| {
        fault(format!(
            "{what} {name}: it panicked when it was asked which items it wants to see: {panic}"
        ))
    })
}

fn fault(text: String) -> Error {
    Error::Invalid { faults: vec![text] }
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
