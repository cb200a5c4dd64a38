//! Definitions that keep unknown fields in the way of an older version of their API.

use async_trait::async_trait;
use serde_json::Value;
use velero_core::action::{
    ActionContext, ActionError, Effects, ResourceSelector, RestoreInput, RestoreItemAction,
    RestoreOutcome,
};
use velero_core::api::Restore;

/// `velero.io/crd-preserve-fields`: `spec.preserveUnknownFields: true`, which `v1` refuses, moves into the schemas.
#[derive(Debug, Clone, Copy, Default)]
pub struct CrdPreserveFields;

#[async_trait]
impl RestoreItemAction for CrdPreserveFields {
    fn name(&self) -> &str {
        "velero.io/crd-preserve-fields"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["customresourcedefinitions.apiextensions.k8s.io"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let mut item = input.item;
        let preserves = item
            .at("/spec/preserveUnknownFields")
            .and_then(Value::as_bool)
            == Some(true);
        if !preserves || item.api_version() != "apiextensions.k8s.io/v1" {
            return Ok(RestoreOutcome::create(item));
        }
        item.object_mut("spec")
            .insert("preserveUnknownFields".into(), Value::Bool(false));
        if let Some(Value::Array(versions)) = item.at_mut("/spec/versions") {
            for schema in versions
                .iter_mut()
                .filter_map(|v| v.pointer_mut("/schema/openAPIV3Schema")?.as_object_mut())
            {
                schema.insert(
                    "x-kubernetes-preserve-unknown-fields".into(),
                    Value::Bool(true),
                );
            }
        }
        Ok(RestoreOutcome::create(item))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}
