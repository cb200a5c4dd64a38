//! What a pod needs.

use async_trait::async_trait;
use velero_core::action::{
    ActionContext, ActionError, BackupItemAction, BackupOutcome, Effects, ResourceSelector, text,
};
use velero_core::api::Backup;
use velero_core::{GroupResource, ItemTree, ResourceIdentifier};

/// `velero.io/pod`: asks for a pod's priority class and claims.
#[derive(Debug, Clone, Copy, Default)]
pub struct PodAction;

#[async_trait]
impl BackupItemAction for PodAction {
    fn name(&self) -> &str {
        "velero.io/pod"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["pods"])
    }

    async fn execute(
        &self,
        item: ItemTree,
        _: &ActionContext<'_, Backup>,
    ) -> Result<BackupOutcome, ActionError> {
        Ok(BackupOutcome::unchanged().with(related(&item)))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}

fn related(pod: &ItemTree) -> Vec<ResourceIdentifier> {
    let mut out = Vec::new();
    let class = pod.str_at("/spec/priorityClassName");
    if !class.is_empty() {
        out.push(ResourceIdentifier::cluster(
            GroupResource::new("scheduling.k8s.io", "priorityclasses"),
            class,
        ));
    }
    for volume in pod.array_at("/spec/volumes") {
        let claim = volume
            .get("persistentVolumeClaim")
            .map_or("", |source| text(source, "claimName"));
        if !claim.is_empty() {
            out.push(ResourceIdentifier::namespaced(
                GroupResource::core("persistentvolumeclaims"),
                pod.namespace(),
                claim,
            ));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_bring_their_claims_and_priority_class() {
        for (spec, expected) in [
            (json!({}), vec![]),
            (
                json!({"priorityClassName": "high"}),
                vec!["priorityclasses.scheduling.k8s.io high"],
            ),
            (
                json!({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "persistentVolumeClaim": {"claimName": "data"}},
                       {"name": "c", "persistentVolumeClaim": {"claimName": ""}}]}),
                vec!["persistentvolumeclaims shop/data"],
            ),
            (json!({"volumes": null}), vec![]),
        ] {
            let pod = ItemTree::new(
                json!({"metadata": {"namespace": "shop", "name": "p"}, "spec": spec}),
            )
            .unwrap();
            let found: Vec<String> = related(&pod).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
        }
    }
}
