//! APIServices that the API server makes by itself.

use async_trait::async_trait;
use velero_core::action::{
    ActionContext, ActionError, Effects, ResourceSelector, RestoreInput, RestoreItemAction,
    RestoreOutcome,
};
use velero_core::api::Restore;
use velero_core::{Operator, Requirement, Selector};

/// `velero.io/apiservice`: APIServices that the API server manages are not restored.
#[derive(Debug, Clone, Copy, Default)]
pub struct ApiServiceAction;

#[async_trait]
impl RestoreItemAction for ApiServiceAction {
    fn name(&self) -> &str {
        "velero.io/apiservice"
    }

    fn applies_to(&self) -> ResourceSelector {
        let managed = Requirement {
            key: "kube-aggregator.kubernetes.io/automanaged".into(),
            operator: Operator::Exists,
            values: Vec::new(),
        };
        ResourceSelector::resources(["apiservices.apiregistration.k8s.io"])
            .labels(Selector::new(vec![managed]))
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        Ok(RestoreOutcome::skip(input.item))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}
