//! What binds a pod to the cluster it ran in.

use async_trait::async_trait;
use serde_json::Value;
use velero_core::action::{
    ActionContext, ActionError, Effects, ResourceSelector, RestoreInput, RestoreItemAction,
    RestoreOutcome, text,
};
use velero_core::api::Restore;
use velero_core::{GroupResource, ResourceIdentifier};

/// `velero.io/pod`: node and priority are chosen anew, mounted tokens of the ServiceAccount go, and the
/// PriorityClass is restored before the pod.
///
/// Ephemeral containers go too: the API server takes them in no new pod.
#[derive(Debug, Clone, Copy, Default)]
pub struct PodAction;

#[async_trait]
impl RestoreItemAction for PodAction {
    fn name(&self) -> &str {
        "velero.io/pod"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["pods"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let mut item = input.item;
        for field in ["nodeName", "priority", "ephemeralContainers"] {
            item.remove("/spec", field);
        }
        let prefix = format!("{}-token-", item.str_at("/spec/serviceAccountName"));
        let is_token = |volume: &Value| text(volume, "name").starts_with(&prefix);
        if let Some(Value::Array(volumes)) = item.at_mut("/spec/volumes") {
            volumes.retain(|volume| !is_token(volume));
        }
        for containers in ["/spec/containers", "/spec/initContainers"] {
            let Some(Value::Array(containers)) = item.at_mut(containers) else {
                continue;
            };
            for mounts in containers
                .iter_mut()
                .filter_map(|c| c.get_mut("volumeMounts")?.as_array_mut())
            {
                mounts.retain(|mount| !is_token(mount));
            }
        }
        let class = item.str_at("/spec/priorityClassName").to_owned();
        let class = (!class.is_empty()).then(|| {
            ResourceIdentifier::cluster(
                GroupResource::new("scheduling.k8s.io", "priorityclasses"),
                class,
            )
        });
        Ok(RestoreOutcome::create(item).with(class))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}
