//! Actions made of closures that need no cluster.

use async_trait::async_trait;

use super::{
    ActionContext, ActionError, BackupItemAction, BackupOutcome, Effects, ItemBlockAction,
    ResourceSelector, RestoreInput, RestoreItemAction, RestoreOutcome,
};
use crate::api::{Backup, Restore};
use crate::{ItemTree, ResourceIdentifier};

/// A backup action made of a closure that needs no cluster: name, selector and a function from item to outcome.
///
/// ```
/// use velero_core::action::{BackupMap, BackupOutcome, ResourceSelector};
///
/// let secrets = ResourceSelector::resources(["secrets"]);
/// let strip = BackupMap::new("example.com/strip-tokens", secrets, |mut item| {
///     Ok(match item.remove("/data", "token") {
///         Some(_) => BackupOutcome::changed(item),
///         None => BackupOutcome::unchanged(),
///     })
/// });
/// # let _ = strip;
/// ```
pub struct BackupMap<F> {
    name: String,
    selector: ResourceSelector,
    map: F,
}

impl<F> BackupMap<F>
where
    F: Fn(ItemTree) -> Result<BackupOutcome, ActionError> + Send + Sync,
{
    /// Makes the action.
    pub fn new(name: impl Into<String>, selector: ResourceSelector, map: F) -> Self {
        Self {
            name: name.into(),
            selector,
            map,
        }
    }
}

#[async_trait]
impl<F> BackupItemAction for BackupMap<F>
where
    F: Fn(ItemTree) -> Result<BackupOutcome, ActionError> + Send + Sync,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn applies_to(&self) -> ResourceSelector {
        self.selector.clone()
    }

    async fn execute(
        &self,
        item: ItemTree,
        _: &ActionContext<'_, Backup>,
    ) -> Result<BackupOutcome, ActionError> {
        (self.map)(item)
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}

/// An item-block action made of a closure that needs no cluster: name, selector and a function from item to related items.
pub struct BlockMap<F> {
    name: String,
    selector: ResourceSelector,
    map: F,
}

impl<F> BlockMap<F>
where
    F: Fn(&ItemTree) -> Vec<ResourceIdentifier> + Send + Sync,
{
    /// Makes the action.
    pub fn new(name: impl Into<String>, selector: ResourceSelector, map: F) -> Self {
        Self {
            name: name.into(),
            selector,
            map,
        }
    }
}

#[async_trait]
impl<F> ItemBlockAction for BlockMap<F>
where
    F: Fn(&ItemTree) -> Vec<ResourceIdentifier> + Send + Sync,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn applies_to(&self) -> ResourceSelector {
        self.selector.clone()
    }

    async fn related_items(
        &self,
        item: &ItemTree,
        _: &ActionContext<'_, Backup>,
    ) -> Result<Vec<ResourceIdentifier>, ActionError> {
        Ok((self.map)(item))
    }
}

/// A restore action made of a closure that needs no cluster: name, selector and a function from item to item.
pub struct RestoreMap<F> {
    name: String,
    selector: ResourceSelector,
    map: F,
}

impl<F> RestoreMap<F>
where
    F: Fn(ItemTree) -> Result<ItemTree, ActionError> + Send + Sync,
{
    /// Makes the action.
    pub fn new(name: impl Into<String>, selector: ResourceSelector, map: F) -> Self {
        Self {
            name: name.into(),
            selector,
            map,
        }
    }
}

#[async_trait]
impl<F> RestoreItemAction for RestoreMap<F>
where
    F: Fn(ItemTree) -> Result<ItemTree, ActionError> + Send + Sync,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn applies_to(&self) -> ResourceSelector {
        self.selector.clone()
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        (self.map)(input.item).map(RestoreOutcome::create)
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}
