//! Webhooks written for an older version of their API.

use async_trait::async_trait;
use serde_json::Value;
use velero_core::action::{
    ActionContext, ActionError, Effects, ResourceSelector, RestoreInput, RestoreItemAction,
    RestoreOutcome,
};
use velero_core::api::Restore;

/// `velero.io/admission-webhook-configuration`: side effects that `v1` does not know become `None`.
#[derive(Debug, Clone, Copy, Default)]
pub struct AdmissionWebhook;

#[async_trait]
impl RestoreItemAction for AdmissionWebhook {
    fn name(&self) -> &str {
        "velero.io/admission-webhook-configuration"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources([
            "mutatingwebhookconfigurations.admissionregistration.k8s.io",
            "validatingwebhookconfigurations.admissionregistration.k8s.io",
        ])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let mut item = input.item;
        if item.api_version() == "admissionregistration.k8s.io/v1"
            && let Some(Value::Array(webhooks)) = item.at_mut("/webhooks")
        {
            for side_effects in webhooks
                .iter_mut()
                .filter_map(|webhook| webhook.get_mut("sideEffects"))
            {
                if !matches!(side_effects.as_str(), Some("None" | "NoneOnDryRun")) {
                    *side_effects = Value::from("None");
                }
            }
        }
        Ok(RestoreOutcome::create(item))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}
