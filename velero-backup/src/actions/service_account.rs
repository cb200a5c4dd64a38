//! What a service account may do.

use std::sync::Arc;

use async_trait::async_trait;
use velero_core::action::{
    ActionContext, ActionError, BackupItemAction, BackupOutcome, Effects, ResourceSelector,
};
use velero_core::api::Backup;
use velero_core::{GroupResource, ItemTree, ResourceIdentifier};

use super::bindings::{GROUP, KnownBindings};

/// `velero.io/service-account`: asks for the cluster role bindings of a service account and their cluster roles.
///
/// One value serves one run. The engine's own knows the bindings from the list that the backup reads of them anyway, or
/// from one that is read for this alone; a value made by [`Default`] lists them at the first service account. If they
/// cannot be listed, that account gets the error and all are stored by themselves.
#[derive(Debug, Default)]
pub struct ServiceAccountAction {
    bindings: Arc<KnownBindings>,
}

impl ServiceAccountAction {
    pub(crate) fn over(bindings: &Arc<KnownBindings>) -> Self {
        Self {
            bindings: Arc::clone(bindings),
        }
    }
}

#[async_trait]
impl BackupItemAction for ServiceAccountAction {
    fn name(&self) -> &str {
        "velero.io/service-account"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["serviceaccounts"])
    }

    async fn execute(
        &self,
        item: ItemTree,
        cx: &ActionContext<'_, Backup>,
    ) -> Result<BackupOutcome, ActionError> {
        let mut related = Vec::new();
        for (binding, role) in self.bindings.of(&item, cx.cluster).await? {
            related.push(ResourceIdentifier::cluster(
                GroupResource::new(GROUP, "clusterrolebindings"),
                binding,
            ));
            related.extend(role.iter().map(|role| {
                ResourceIdentifier::cluster(GroupResource::new(GROUP, "clusterroles"), role)
            }));
        }
        Ok(BackupOutcome::unchanged().with(related))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}
