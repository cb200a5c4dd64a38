//! Jobs find their pods by the uid that they had.

use async_trait::async_trait;
use serde_json::Value;
use velero_core::action::{
    ActionContext, ActionError, Effects, ResourceSelector, RestoreInput, RestoreItemAction,
    RestoreOutcome,
};
use velero_core::api::Restore;

/// `velero.io/job`: the old uid goes out of the selector and the labels of the pod template.
#[derive(Debug, Clone, Copy, Default)]
pub struct JobAction;

#[async_trait]
impl RestoreItemAction for JobAction {
    fn name(&self) -> &str {
        "velero.io/job"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["jobs.batch"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let mut item = input.item;
        for at in [
            "/spec/selector/matchLabels",
            "/spec/template/metadata/labels",
        ] {
            if let Some(Value::Object(labels)) = item.at_mut(at) {
                labels.remove("controller-uid");
                labels.remove("batch.kubernetes.io/controller-uid");
            }
        }
        Ok(RestoreOutcome::create(item))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}
