//! The claims that a pod mounts.

use async_trait::async_trait;
use serde_json::Value;
use velero_core::action::{
    ActionContext, ActionError, Effects, ResourceSelector, RestoreInput, RestoreItemAction,
    RestoreOutcome,
};
use velero_core::api::Restore;
use velero_core::{GroupResource, ResourceIdentifier};

/// `velero.io/add-pvc-from-pod`: the claims of a pod's volumes are restored before the pod.
#[derive(Debug, Clone, Copy, Default)]
pub struct AddPvcFromPod;

#[async_trait]
impl RestoreItemAction for AddPvcFromPod {
    fn name(&self) -> &str {
        "velero.io/add-pvc-from-pod"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["pods"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let namespace = input.archived.namespace().to_owned();
        let claims: Vec<ResourceIdentifier> = input
            .item
            .array_at("/spec/volumes")
            .iter()
            .filter_map(|volume| {
                volume
                    .pointer("/persistentVolumeClaim/claimName")
                    .and_then(Value::as_str)
            })
            .map(|claim| {
                ResourceIdentifier::namespaced(
                    GroupResource::core("persistentvolumeclaims"),
                    namespace.as_str(),
                    claim,
                )
            })
            .collect();
        Ok(RestoreOutcome::create(input.item).with(claims))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}
