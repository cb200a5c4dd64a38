//! Definitions that were made in the form of an older API version.

use async_trait::async_trait;
use velero_core::action::{
    ActionContext, ActionError, BackupItemAction, BackupOutcome, ClusterReader, Effects,
    ResourceSelector, text,
};
use velero_core::api::Backup;
use velero_core::{GroupResource, ItemTree, ResourceIdentifier};

const GROUP: &str = "apiextensions.k8s.io";
const OLD: &str = "v1beta1";

/// `velero.io/crd-remap-version`: stores a CustomResourceDefinition that was made as `v1beta1` in that form, where the
/// cluster still serves it, because it would be refused as `v1`.
///
/// Does not run when all API versions are backed up. Mirrors upstream's
/// `pkg/backup/actions/remap_crd_version_action.go`.
#[derive(Debug, Clone, Copy, Default)]
pub struct CrdVersionAction;

#[async_trait]
impl BackupItemAction for CrdVersionAction {
    fn name(&self) -> &str {
        "velero.io/crd-remap-version"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["customresourcedefinition.apiextensions.k8s.io"])
    }

    async fn execute(
        &self,
        item: ItemTree,
        cx: &ActionContext<'_, Backup>,
    ) -> Result<BackupOutcome, ActionError> {
        if item.api_version() != "apiextensions.k8s.io/v1"
            || !was_made_as_v1beta1(&item)
            || !serves_v1beta1(cx.cluster)
        {
            return Ok(BackupOutcome::unchanged());
        }
        let definitions = GroupResource::new(GROUP, "customresourcedefinitions");
        let id = ResourceIdentifier::cluster(definitions, item.name());
        Ok(match cx.cluster.get_version(&id, OLD).await? {
            Some(old) => BackupOutcome::changed(old),
            None => BackupOutcome::unchanged(),
        })
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}

fn serves_v1beta1(cluster: &dyn ClusterReader) -> bool {
    let definitions = GroupResource::new(GROUP, "customresourcedefinitions");
    cluster.catalog().get_version(&definitions, OLD).is_some()
}

/// Whether a definition has a first version without schema, a schema that is not structural, or keeps unknown fields
/// everywhere: what `v1` does not take.
fn was_made_as_v1beta1(definition: &ItemTree) -> bool {
    let no_schema = definition
        .array_at("/spec/versions")
        .first()
        .is_some_and(|first| {
            let schema = first.pointer("/schema/openAPIV3Schema");
            schema.is_none_or(serde_json::Value::is_null)
        });
    let not_structural = definition
        .array_at("/status/conditions")
        .iter()
        .any(|condition| text(condition, "type") == "NonStructuralSchema");
    let keeps_unknown = definition.at("/spec/preserveUnknownFields") == Some(&true.into());
    no_schema || not_structural || keeps_unknown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use velero_core::{ApiResource, CancellationToken, Catalog, Selector, Timestamp};

    /// A cluster whose definitions exist in both versions, or in one.
    struct Cluster {
        catalog: Catalog,
        old: Option<Value>,
    }

    #[async_trait]
    impl ClusterReader for Cluster {
        async fn get(&self, _: &ResourceIdentifier) -> Result<Option<ItemTree>, ActionError> {
            Err(ActionError::new("not asked for"))
        }

        async fn get_version(
            &self,
            id: &ResourceIdentifier,
            version: &str,
        ) -> Result<Option<ItemTree>, ActionError> {
            assert_eq!(
                (id.name.as_str(), version),
                ("books.example.com", "v1beta1")
            );
            Ok(self.old.clone().map(|old| ItemTree::new(old).unwrap()))
        }

        async fn list(
            &self,
            _: &GroupResource,
            _: &str,
            _: &Selector,
        ) -> Result<Vec<ItemTree>, ActionError> {
            Err(ActionError::new("not asked for"))
        }

        fn catalog(&self) -> &Catalog {
            &self.catalog
        }
    }

    fn cluster(versions: &[&str]) -> Cluster {
        let served = versions.iter().map(|version| ApiResource {
            group: GROUP.into(),
            version: (*version).into(),
            kind: "CustomResourceDefinition".into(),
            plural: "customresourcedefinitions".into(),
            ..ApiResource::default()
        });
        Cluster {
            catalog: Catalog::new(served.collect(), Vec::new()),
            old: Some(
                json!({"apiVersion": "apiextensions.k8s.io/v1beta1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "books.example.com"}}),
            ),
        }
    }

    async fn stored(
        cluster: &Cluster,
        version: &str,
        spec: Value,
        status: Value,
    ) -> Option<String> {
        let definition = json!({"apiVersion": format!("apiextensions.k8s.io/{version}"), "kind": "CustomResourceDefinition",
            "metadata": {"name": "books.example.com"}, "spec": spec, "status": status});
        let cx = ActionContext {
            run: &Backup::default(),
            now: Timestamp::UNIX_EPOCH,
            cancel: &CancellationToken::new(),
            cluster,
        };
        let outcome = CrdVersionAction
            .execute(ItemTree::new(definition).unwrap(), &cx)
            .await
            .unwrap();
        outcome.item.map(|item| item.api_version().to_owned())
    }

    #[tokio::test]
    async fn definitions_that_v1_would_refuse_are_stored_as_v1beta1() {
        let schema = json!({"versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}}}, {"name": "v2"}]});
        let with = |key: &str, value: Value| {
            let mut spec = schema.clone();
            spec[key] = value;
            spec
        };
        let not_structural = json!({"conditions": [{"type": "Established"}, {"type": "NonStructuralSchema", "status": "False"}]});
        let both = cluster(&["v1", "v1beta1"]);
        for (spec, status, old) in [
            (schema.clone(), Value::Null, false),
            (with("versions", json!([{"name": "v1"}])), Value::Null, true),
            (
                with("versions", json!([{"name": "v1", "schema": {}}])),
                Value::Null,
                true,
            ),
            (
                with(
                    "versions",
                    json!([{"name": "v1", "schema": {"openAPIV3Schema": null}}]),
                ),
                Value::Null,
                true,
            ),
            (with("versions", json!([])), Value::Null, false),
            (
                with("preserveUnknownFields", json!(true)),
                Value::Null,
                true,
            ),
            (
                with("preserveUnknownFields", json!(false)),
                Value::Null,
                false,
            ),
            (schema.clone(), not_structural, true),
            (
                schema.clone(),
                json!({"conditions": [{"type": "Established"}]}),
                false,
            ),
        ] {
            let expected = old.then(|| "apiextensions.k8s.io/v1beta1".to_owned());
            let found = stored(&both, "v1", spec.clone(), status.clone()).await;
            assert_eq!(found, expected, "{spec} {status}");
            // Neither where the old form is not served, nor in the old form itself, nor when it has just gone.
            let gone = Cluster {
                old: None,
                ..cluster(&["v1", "v1beta1"])
            };
            for (cluster, version) in [(&cluster(&["v1"]), "v1"), (&both, "v1beta1"), (&gone, "v1")]
            {
                assert_eq!(
                    stored(cluster, version, spec.clone(), status.clone()).await,
                    None
                );
            }
        }
    }
}
