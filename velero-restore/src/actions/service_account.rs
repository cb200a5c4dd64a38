//! Token secrets that a ServiceAccount names.

use async_trait::async_trait;
use serde_json::Value;
use velero_core::action::{
    ActionContext, ActionError, Effects, ResourceSelector, RestoreInput, RestoreItemAction,
    RestoreOutcome, text,
};
use velero_core::api::Restore;

/// `velero.io/service-account`: the token secret that Kubernetes has made for the account is not named any more.
///
/// Of several such entries only the last one goes, as in upstream's `service_account_action.go`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServiceAccountAction;

#[async_trait]
impl RestoreItemAction for ServiceAccountAction {
    fn name(&self) -> &str {
        "velero.io/service-account"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["serviceaccounts"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let mut item = input.item;
        let prefix = format!("{}-token-", item.name());
        if let Some(Value::Array(secrets)) = item.at_mut("/secrets")
            && let Some(at) = secrets
                .iter()
                .rposition(|secret| text(secret, "name").starts_with(&prefix))
        {
            secrets.remove(at);
        }
        Ok(RestoreOutcome::create(item))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}
