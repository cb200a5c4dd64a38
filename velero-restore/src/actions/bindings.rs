//! Subjects of bindings in namespaces that are mapped.

use async_trait::async_trait;
use serde_json::Value;
use velero_core::ItemTree;
use velero_core::action::{
    ActionContext, ActionError, Effects, ResourceSelector, RestoreInput, RestoreItemAction,
    RestoreOutcome,
};
use velero_core::api::Restore;

/// `velero.io/role-bindings`: subjects of a RoleBinding follow the namespace mapping.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoleBindings;

/// `velero.io/cluster-role-bindings`: subjects of a ClusterRoleBinding follow the namespace mapping.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClusterRoleBindings;

fn map_subjects(mut item: ItemTree, restore: &Restore) -> ItemTree {
    let mapping = &restore.spec.namespace_mapping;
    if let Some(Value::Array(subjects)) = item.at_mut("/subjects") {
        for namespace in subjects
            .iter_mut()
            .filter_map(|subject| subject.get_mut("namespace"))
        {
            if let Some(target) = namespace.as_str().and_then(|source| mapping.get(source)) {
                *namespace = Value::from(target.as_str());
            }
        }
    }
    item
}

#[async_trait]
impl RestoreItemAction for RoleBindings {
    fn name(&self) -> &str {
        "velero.io/role-bindings"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["rolebindings.rbac.authorization.k8s.io"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        cx: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        Ok(RestoreOutcome::create(map_subjects(input.item, cx.run)))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}

#[async_trait]
impl RestoreItemAction for ClusterRoleBindings {
    fn name(&self) -> &str {
        "velero.io/cluster-role-bindings"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["clusterrolebindings.rbac.authorization.k8s.io"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        cx: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        Ok(RestoreOutcome::create(map_subjects(input.item, cx.run)))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}
