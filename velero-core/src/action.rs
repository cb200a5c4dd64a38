//! What users plug into a run: item actions, and what the engines hand to them.
//!
//! | to | implement | or write a closure |
//! |---|---|---|
//! | change, skip or complete items on their way into a backup | [`BackupItemAction`] | [`BackupMap`] |
//! | start work that goes on after the backup of its item | [`BackupItemAction`] with [`progress`](BackupItemAction::progress) and [`cancel`](BackupItemAction::cancel) | |
//! | say which items are frozen and stored together | [`ItemBlockAction`] | [`BlockMap`] |
//! | change, refuse or complete items on their way into a cluster | [`RestoreItemAction`] | [`RestoreMap`] |
//! | delete what items of a backup stand for, when the backup is deleted | [`DeleteItemAction`] | |
//!
//! The documentation of `velero-backup`, in its module `guide`, and that of `velero-restore` show each kind together with
//! its test on the API server of `velero-testkit`.

mod closure;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::api::{Backup, Restore};
use crate::filter::IncludesExcludes;
use crate::{Catalog, GroupResource, ItemTree, ResourceIdentifier, Selector};

pub use closure::{BackupMap, BlockMap, RestoreMap};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Which items an action wants to see.
///
/// Resource names are resolved as users write them (`pods`, `po`, `deployments.apps`); a name that the cluster does
/// not know selects nothing. Namespace filters leave all cluster-scoped items out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceSelector {
    /// Resources; empty means all.
    pub included_resources: Vec<String>,
    /// Resources left out.
    pub excluded_resources: Vec<String>,
    /// Namespaces; empty means all.
    pub included_namespaces: Vec<String>,
    /// Namespaces left out.
    pub excluded_namespaces: Vec<String>,
    /// Labels; empty means all.
    pub label_selector: Selector,
}

impl ResourceSelector {
    /// Selects resources by name.
    pub fn resources<I: IntoIterator<Item = S>, S: Into<String>>(names: I) -> Self {
        Self {
            included_resources: names.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Narrows to objects with certain labels.
    #[must_use]
    pub fn labels(mut self, selector: Selector) -> Self {
        self.label_selector = selector;
        self
    }

    /// Binds the names to what a cluster serves.
    pub fn bind(&self, catalog: &Catalog) -> BoundSelector {
        BoundSelector {
            resources: IncludesExcludes::new(
                catalog.resolve_all(&self.included_resources),
                catalog.resolve_all(&self.excluded_resources),
            ),
            namespaces: IncludesExcludes::new(
                self.included_namespaces.iter().cloned(),
                self.excluded_namespaces.iter().cloned(),
            ),
            labels: self.label_selector.clone(),
        }
    }
}

/// A [`ResourceSelector`] whose names are resolved.
#[derive(Debug, Clone, Default)]
pub struct BoundSelector {
    resources: IncludesExcludes,
    namespaces: IncludesExcludes,
    labels: Selector,
}

impl BoundSelector {
    /// Whether objects of this resource can be selected at all.
    pub fn matches_resource(&self, gr: &GroupResource) -> bool {
        self.resources.should_include(&gr.to_string())
    }

    /// Whether an object is selected.
    pub fn matches(
        &self,
        gr: &GroupResource,
        namespace: &str,
        labels: &std::collections::BTreeMap<String, String>,
    ) -> bool {
        self.matches_place(gr, namespace) && self.labels.matches(labels)
    }

    /// Whether objects of this resource and namespace (empty for cluster-scoped ones) can be selected at all.
    pub fn matches_place(&self, gr: &GroupResource, namespace: &str) -> bool {
        let namespace_matches = if namespace.is_empty() {
            self.namespaces.is_empty()
        } else {
            self.namespaces.should_include(namespace)
        };
        namespace_matches && self.matches_resource(gr)
    }
}

/// What an action does to the world beyond the item that it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effects {
    /// Nothing: it may run while a plan is only being looked at.
    None,
    /// Not known.
    #[default]
    Unknown,
}

/// Why an action failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ActionError {
    message: String,
    #[source]
    source: Option<Source>,
}

impl ActionError {
    /// An error of one line.
    pub fn new(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            source: None,
        }
    }

    /// An error with its cause.
    pub fn with_source(message: impl fmt::Display, source: impl Into<Source>) -> Self {
        Self {
            message: message.to_string(),
            source: Some(source.into()),
        }
    }
}

impl From<crate::Error> for ActionError {
    fn from(error: crate::Error) -> Self {
        Self::with_source("the item cannot be used", error)
    }
}

/// Reads the cluster of a run. Answers come from what the run has already read where it can.
#[async_trait]
pub trait ClusterReader: Send + Sync {
    /// Reads one object; `None` when it does not exist.
    ///
    /// # Errors
    /// When the resource is not served or the API server refuses.
    async fn get(&self, id: &ResourceIdentifier) -> Result<Option<ItemTree>, ActionError>;

    /// Reads one object in one version of its resource; `None` when it does not exist.
    ///
    /// # Errors
    /// When the resource is not served in that version, the API server refuses, or this reader knows one version alone.
    async fn get_version(
        &self,
        id: &ResourceIdentifier,
        version: &str,
    ) -> Result<Option<ItemTree>, ActionError> {
        Err(ActionError::new(format_args!(
            "{id} cannot be read in version {version}: this reader knows preferred versions alone"
        )))
    }

    /// Lists the objects of a resource in one namespace, or in all when `namespace` is empty.
    ///
    /// # Errors
    /// When the resource is not served or the API server refuses.
    async fn list(
        &self,
        resource: &GroupResource,
        namespace: &str,
        selector: &Selector,
    ) -> Result<Vec<ItemTree>, ActionError>;

    /// What the cluster serves.
    fn catalog(&self) -> &Catalog;
}

/// What an action is given besides the item. `R` is [`Backup`] or [`Restore`].
#[derive(Clone, Copy)]
pub struct ActionContext<'a, R> {
    /// The run's custom resource; in direct mode one made from the command line.
    pub run: &'a R,
    /// The time of this call.
    pub now: Timestamp,
    /// Fires when the run is cancelled.
    pub cancel: &'a CancellationToken,
    /// Reads the cluster.
    pub cluster: &'a dyn ClusterReader,
}

impl<R: fmt::Debug> fmt::Debug for ActionContext<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActionContext")
            .field("run", &self.run)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// What a backup action makes of an item.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BackupOutcome {
    /// The item to store; `None` leaves it as it was, byte for byte.
    pub item: Option<ItemTree>,
    /// Objects to store before this one.
    pub additional_items: Vec<ResourceIdentifier>,
    /// Whether the item is left out of the backup.
    pub skip: bool,
    /// What the action has started and leaves running.
    pub operation: Option<BackupOperation>,
}

impl BackupOutcome {
    /// Leaves the item as it was.
    pub fn unchanged() -> Self {
        Self {
            item: None,
            additional_items: Vec::new(),
            skip: false,
            operation: None,
        }
    }

    /// Stores a changed item.
    pub fn changed(item: ItemTree) -> Self {
        Self {
            item: Some(item),
            ..Self::unchanged()
        }
    }

    /// Asks for more objects, to be stored before this one.
    #[must_use]
    pub fn with(mut self, items: impl IntoIterator<Item = ResourceIdentifier>) -> Self {
        self.additional_items.extend(items);
        self
    }

    /// Leaves the item out of the backup.
    pub fn skip() -> Self {
        Self {
            skip: true,
            ..Self::unchanged()
        }
    }

    /// Says what the action has started and leaves running.
    #[must_use]
    pub fn started(mut self, operation: BackupOperation) -> Self {
        self.operation = Some(operation);
        self
    }
}

/// Work that a backup action has started for an item, and that goes on after the item was handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupOperation {
    /// Name that the action knows the operation by. Not empty.
    pub id: String,
    /// Objects to read once more, and to store as they are then, when the operation has ended.
    pub post_operation_items: Vec<ResourceIdentifier>,
}

impl BackupOperation {
    /// An operation after which no object is read again.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            post_operation_items: Vec::new(),
        }
    }

    /// Names objects to read once more when the operation has ended.
    #[must_use]
    pub fn then_read(mut self, items: impl IntoIterator<Item = ResourceIdentifier>) -> Self {
        self.post_operation_items.extend(items);
        self
    }
}

/// How far an operation has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OperationProgress {
    /// Whether it has ended, well or badly.
    pub completed: bool,
    /// Why it failed; empty when it did not.
    pub error: String,
    /// How much is done, in `units`.
    pub done: i64,
    /// How much there is to do, in `units`; 0 when that is not known.
    pub total: i64,
    /// What is counted, such as `Bytes`.
    pub units: String,
    /// What is going on, in words.
    pub description: String,
    /// When the work began.
    pub started: Option<Timestamp>,
    /// When the figures were taken.
    pub updated: Option<Timestamp>,
}

impl OperationProgress {
    /// An operation that has ended well.
    pub fn succeeded() -> Self {
        Self {
            completed: true,
            ..Self::default()
        }
    }

    /// An operation that has failed.
    pub fn failed(error: impl Into<String>) -> Self {
        Self {
            completed: true,
            error: error.into(),
            ..Self::default()
        }
    }

    /// An operation that is under way.
    pub fn running(done: i64, total: i64, units: impl Into<String>) -> Self {
        Self {
            done,
            total,
            units: units.into(),
            ..Self::default()
        }
    }
}

/// Sees items on their way into a backup, may change them and ask for more.
#[async_trait]
pub trait BackupItemAction: Send + Sync {
    /// A name for records, such as `example.com/strip-tokens`.
    fn name(&self) -> &str;

    /// Which items it wants to see.
    fn applies_to(&self) -> ResourceSelector;

    /// Handles one item.
    ///
    /// # Errors
    /// An error becomes a record of the run at this item.
    async fn execute(
        &self,
        item: ItemTree,
        cx: &ActionContext<'_, Backup>,
    ) -> Result<BackupOutcome, ActionError>;

    /// Tells how far an operation is that [`execute`](Self::execute) has started; asked until it has ended.
    ///
    /// # Errors
    /// An error makes the operation a failed one. An action that starts none need not answer.
    async fn progress(
        &self,
        operation_id: &str,
        cx: &ActionContext<'_, Backup>,
    ) -> Result<OperationProgress, ActionError> {
        let _ = cx;
        Err(ActionError::new(format!(
            "action {} knows no operation {operation_id:?}",
            self.name()
        )))
    }

    /// Ends an operation before its time. It counts as failed whatever the answer is.
    ///
    /// # Errors
    /// An error becomes a record of the run.
    async fn cancel(
        &self,
        operation_id: &str,
        cx: &ActionContext<'_, Backup>,
    ) -> Result<(), ActionError> {
        let _ = (operation_id, cx);
        Ok(())
    }

    /// What it does besides.
    fn effects(&self) -> Effects {
        Effects::Unknown
    }
}

/// Says which objects belong to an item so closely that they are backed up together with it, as one block: the hooks
/// of all pods of a block run before its first item is handled, and after its last one.
///
/// Related objects enter the backup through the same filters as additional items, and actions see them, too. Pods that
/// share claims, and claims of one volume group, form blocks without any action.
///
/// ```
/// use velero_core::action::*;
/// use velero_core::api::Backup;
/// use velero_core::{GroupResource, ItemTree, ResourceIdentifier};
///
/// /// Pods of one shard are frozen together: `shard-0` and `shard-0-replica`.
/// struct Shards;
///
/// #[async_trait::async_trait]
/// impl ItemBlockAction for Shards {
///     fn name(&self) -> &str {
///         "example.com/shards"
///     }
///     fn applies_to(&self) -> ResourceSelector {
///         ResourceSelector::resources(["pods"])
///     }
///     async fn related_items(
///         &self,
///         pod: &ItemTree,
///         _: &ActionContext<'_, Backup>,
///     ) -> Result<Vec<ResourceIdentifier>, ActionError> {
///         let replica = format!("{}-replica", pod.name());
///         Ok(vec![ResourceIdentifier::namespaced(GroupResource::core("pods"), pod.namespace(), replica)])
///     }
/// }
/// ```
#[async_trait]
pub trait ItemBlockAction: Send + Sync {
    /// A name for records, such as `example.com/shards`.
    fn name(&self) -> &str;

    /// Which items it wants to see.
    fn applies_to(&self) -> ResourceSelector;

    /// Names the objects that belong to an item, as it was read from the cluster.
    ///
    /// # Errors
    /// An error becomes a record of the run at this item, which is then backed up without the relation.
    async fn related_items(
        &self,
        item: &ItemTree,
        cx: &ActionContext<'_, Backup>,
    ) -> Result<Vec<ResourceIdentifier>, ActionError>;
}

/// What a restore action is given.
#[derive(Debug, Clone)]
pub struct RestoreInput {
    /// The item as it stands, after the reset of its metadata and earlier actions.
    pub item: ItemTree,
    /// The item as it lies in the archive.
    pub archived: Arc<ItemTree>,
}

/// What a restore action makes of an item.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RestoreOutcome {
    /// The item to create.
    pub item: ItemTree,
    /// Items of the archive to restore before this one.
    pub additional_items: Vec<ResourceIdentifier>,
    /// Whether this item is not restored.
    pub skip: bool,
    /// Whether creation waits until [`RestoreItemAction::additional_items_ready`] says so.
    pub wait_for_additional_items: bool,
    /// How long that wait may last; `None` leaves it to the run.
    pub additional_items_timeout: Option<Duration>,
    /// Name, known to the action, of what it has started and leaves running. It counts even if the item is skipped.
    pub operation: Option<String>,
}

impl RestoreOutcome {
    /// Restores the item.
    pub fn create(item: ItemTree) -> Self {
        Self {
            item,
            additional_items: Vec::new(),
            skip: false,
            wait_for_additional_items: false,
            additional_items_timeout: None,
            operation: None,
        }
    }

    /// Does not restore the item.
    pub fn skip(item: ItemTree) -> Self {
        Self {
            skip: true,
            ..Self::create(item)
        }
    }

    /// Asks for more items, to be restored before this one.
    #[must_use]
    pub fn with(mut self, items: impl IntoIterator<Item = ResourceIdentifier>) -> Self {
        self.additional_items.extend(items);
        self
    }

    /// Says what the action has started and leaves running: the restore goes on waiting until
    /// [`RestoreItemAction::progress`] says that it has ended.
    #[must_use]
    pub fn started(mut self, operation_id: impl Into<String>) -> Self {
        self.operation = Some(operation_id.into());
        self
    }
}

/// Sees items on their way into a cluster, may change or refuse them and ask for more.
#[async_trait]
pub trait RestoreItemAction: Send + Sync {
    /// A name for records, such as `example.com/set-domain`.
    fn name(&self) -> &str;

    /// Which items it wants to see; namespaces are those of the target.
    fn applies_to(&self) -> ResourceSelector;

    /// Handles one item.
    ///
    /// # Errors
    /// An error becomes a record of the run at this item, which is then not created.
    async fn execute(
        &self,
        input: RestoreInput,
        cx: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError>;

    /// Whether the additional items of an earlier call are ready; asked once a second until it says yes.
    ///
    /// # Errors
    /// An error ends the wait and becomes a record.
    async fn additional_items_ready(
        &self,
        items: &[ResourceIdentifier],
        cx: &ActionContext<'_, Restore>,
    ) -> Result<bool, ActionError> {
        let _ = (items, cx);
        Ok(true)
    }

    /// Tells how far an operation is that [`execute`](Self::execute) has started; asked until it has ended.
    ///
    /// # Errors
    /// An error makes the operation a failed one. An action that starts none need not answer.
    async fn progress(
        &self,
        operation_id: &str,
        cx: &ActionContext<'_, Restore>,
    ) -> Result<OperationProgress, ActionError> {
        let _ = cx;
        Err(ActionError::new(format!(
            "action {} knows no operation {operation_id:?}",
            self.name()
        )))
    }

    /// Ends an operation before its time. It counts as failed whatever the answer is.
    ///
    /// # Errors
    /// An error becomes a record of the run.
    async fn cancel(
        &self,
        operation_id: &str,
        cx: &ActionContext<'_, Restore>,
    ) -> Result<(), ActionError> {
        let _ = (operation_id, cx);
        Ok(())
    }

    /// What it does besides.
    fn effects(&self) -> Effects {
        Effects::Unknown
    }
}

/// Sees the items of a backup that is deleted, to delete what they stand for outside of the backup's own files: snapshots
/// of a storage system, for one.
///
/// It runs before the files go. A deletion that was interrupted begins anew, so that an item can come more than once, also
/// after what it stands for is gone.
///
/// ```
/// use velero_core::action::*;
/// use velero_core::api::Backup;
/// use velero_core::ItemTree;
///
/// /// Deletes the snapshot that an archived object names.
/// struct Snapshots;
///
/// #[async_trait::async_trait]
/// impl DeleteItemAction for Snapshots {
///     fn name(&self) -> &str {
///         "example.com/snapshots"
///     }
///     fn applies_to(&self) -> ResourceSelector {
///         ResourceSelector::resources(["snapshots.example.com"])
///     }
///     async fn execute(&self, item: &ItemTree, _: &ActionContext<'_, Backup>) -> Result<(), ActionError> {
///         let handle = text(item.as_value(), "handle").to_owned();
///         if handle.is_empty() {
///             return Err(ActionError::new("it has no handle"));
///         }
///         // Here the storage system is called; a snapshot that it does not know is no error.
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait DeleteItemAction: Send + Sync {
    /// A name for records, such as `example.com/snapshots`.
    fn name(&self) -> &str;

    /// Which items it wants to see.
    fn applies_to(&self) -> ResourceSelector;

    /// Handles one item, as it lies in the archive.
    ///
    /// # Errors
    /// An error becomes a record at this item. The backup is deleted all the same, as with the peer: what was not deleted
    /// is known by that record only.
    async fn execute(
        &self,
        item: &ItemTree,
        cx: &ActionContext<'_, Backup>,
    ) -> Result<(), ActionError>;
}

/// Reads one string field of an object, for actions over typed content.
pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
