//! Tokens of ServiceAccounts.

use async_trait::async_trait;
use serde_json::Value;
use velero_core::action::{
    ActionContext, ActionError, Effects, ResourceSelector, RestoreInput, RestoreItemAction,
    RestoreOutcome,
};
use velero_core::api::Restore;
use velero_core::{GroupResource, Selector};

/// `velero.io/secret`: a token that Kubernetes has made is not restored; one that somebody asked for by hand is
/// emptied, so that Kubernetes fills it again.
#[derive(Debug, Clone, Copy, Default)]
pub struct SecretAction;

#[async_trait]
impl RestoreItemAction for SecretAction {
    fn name(&self) -> &str {
        "velero.io/secret"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["secrets"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        cx: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let mut item = input.item;
        if item.str_at("/type") != "kubernetes.io/service-account-token" {
            return Ok(RestoreOutcome::create(item));
        }
        let source = input.archived.namespace();
        let target = cx
            .run
            .spec
            .namespace_mapping
            .get(source)
            .map_or(source, String::as_str);
        let accounts = cx
            .cluster
            .list(
                &GroupResource::core("serviceaccounts"),
                target,
                &Selector::default(),
            )
            .await?;
        if accounts.iter().any(|account| {
            item.name()
                .starts_with(&format!("{}-token-", account.name()))
        }) {
            return Ok(RestoreOutcome::skip(item));
        }
        item.remove_annotations(&["kubernetes.io/service-account.uid"]);
        if let Some(Value::Object(data)) = item.at_mut("/data") {
            data.remove("token");
            data.remove("ca.crt");
        }
        Ok(RestoreOutcome::create(item))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}
