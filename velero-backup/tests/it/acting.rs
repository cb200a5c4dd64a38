//! Actions made of closures that may wait.

use velero_core::action::{
    ActionContext, ActionError, BackupItemAction, BackupOutcome, ItemBlockAction, ResourceSelector,
};
use velero_core::api::Backup;
use velero_core::{ItemTree, ResourceIdentifier};

/// An action made of a closure.
pub(crate) struct Act<F> {
    pub(crate) selector: ResourceSelector,
    pub(crate) act: F,
}

#[async_trait::async_trait]
impl<F, R> BackupItemAction for Act<F>
where
    F: Fn(ItemTree) -> R + Send + Sync,
    R: Future<Output = Result<BackupOutcome, ActionError>> + Send,
{
    fn name(&self) -> &str {
        "example.com/act"
    }

    fn applies_to(&self) -> ResourceSelector {
        self.selector.clone()
    }

    async fn execute(
        &self,
        item: ItemTree,
        _: &ActionContext<'_, Backup>,
    ) -> Result<BackupOutcome, ActionError> {
        (self.act)(item).await
    }
}

pub(crate) fn on<F>(resource: &str, act: F) -> Act<F> {
    Act {
        selector: ResourceSelector::resources([resource]),
        act,
    }
}

/// An item-block action made of a closure.
pub(crate) struct Relate<F> {
    pub(crate) selector: ResourceSelector,
    pub(crate) relate: F,
}

#[async_trait::async_trait]
impl<F, R> ItemBlockAction for Relate<F>
where
    F: Fn(ItemTree) -> R + Send + Sync,
    R: Future<Output = Result<Vec<ResourceIdentifier>, ActionError>> + Send,
{
    fn name(&self) -> &str {
        "example.com/relate"
    }

    fn applies_to(&self) -> ResourceSelector {
        self.selector.clone()
    }

    async fn related_items(
        &self,
        item: &ItemTree,
        _: &ActionContext<'_, Backup>,
    ) -> Result<Vec<ResourceIdentifier>, ActionError> {
        (self.relate)(item.clone()).await
    }
}

pub(crate) fn relating<F>(resource: &str, relate: F) -> Relate<F> {
    Relate {
        selector: ResourceSelector::resources([resource]),
        relate,
    }
}

pub(crate) fn id(resource: &str, namespace: &str, name: &str) -> ResourceIdentifier {
    ResourceIdentifier {
        group_resource: resource.into(),
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// Relates one named item to others.
pub(crate) fn relate(
    kind: &str,
    name: &'static str,
    to: Vec<ResourceIdentifier>,
) -> impl ItemBlockAction + 'static {
    relating(kind, move |item: ItemTree| {
        let related = if item.name() == name {
            to.clone()
        } else {
            Vec::new()
        };
        async move { Ok(related) }
    })
}
