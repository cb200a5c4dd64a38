//! What a service account may do.

use std::collections::HashMap;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use velero_core::action::{
    ActionContext, ActionError, BackupItemAction, BackupOutcome, ClusterReader, Effects,
    ResourceSelector, text,
};
use velero_core::api::Backup;
use velero_core::{GroupResource, ItemTree, ResourceIdentifier, Selector};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Bindings and their roles by the namespace and name of the service account.
type Bindings = HashMap<(String, String), Vec<(String, Option<String>)>>;

/// `velero.io/service-account`: asks for the cluster role bindings of a service account and their cluster roles.
///
/// The bindings of the cluster are listed once, at the first service account; one value serves one run. If they cannot be
/// listed, that account gets the error and all are stored by themselves.
#[derive(Debug, Default)]
pub struct ServiceAccountAction {
    bindings: OnceCell<Bindings>,
}

#[async_trait]
impl BackupItemAction for ServiceAccountAction {
    fn name(&self) -> &str {
        "velero.io/service-account"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["serviceaccounts"])
    }

    async fn execute(
        &self,
        item: ItemTree,
        cx: &ActionContext<'_, Backup>,
    ) -> Result<BackupOutcome, ActionError> {
        let mut failure = None;
        let bindings = self
            .bindings
            .get_or_init(|| async {
                read(cx.cluster).await.unwrap_or_else(|error| {
                    failure = Some(error);
                    Bindings::new()
                })
            })
            .await;
        if let Some(error) = failure {
            return Err(ActionError::with_source(
                "the cluster role bindings cannot be listed, so no service account brings its own into the backup",
                error,
            ));
        }
        let key = (item.namespace().to_owned(), item.name().to_owned());
        let mut related = Vec::new();
        for (binding, role) in bindings.get(&key).into_iter().flatten() {
            related.push(ResourceIdentifier::cluster(
                GroupResource::new(GROUP, "clusterrolebindings"),
                binding,
            ));
            related.extend(role.iter().map(|role| {
                ResourceIdentifier::cluster(GroupResource::new(GROUP, "clusterroles"), role)
            }));
        }
        Ok(BackupOutcome::unchanged().with(related))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}

async fn read(cluster: &dyn ClusterReader) -> Result<Bindings, ActionError> {
    let resource = GroupResource::new(GROUP, "clusterrolebindings");
    if cluster.catalog().get(&resource).is_none() {
        return Ok(Bindings::new());
    }
    Ok(index(
        &cluster.list(&resource, "", &Selector::default()).await?,
    ))
}

fn index(bindings: &[ItemTree]) -> Bindings {
    let mut out = Bindings::new();
    for binding in bindings {
        let role = (binding.str_at("/roleRef/kind") == "ClusterRole")
            .then(|| binding.str_at("/roleRef/name").to_owned());
        for subject in binding
            .array_at("/subjects")
            .iter()
            .filter(|s| text(s, "kind") == "ServiceAccount")
        {
            let key = (
                text(subject, "namespace").to_owned(),
                text(subject, "name").to_owned(),
            );
            let entry = (
                binding.name().to_owned(),
                role.clone().filter(|r| !r.is_empty()),
            );
            let list = out.entry(key).or_default();
            if !list.contains(&entry) {
                list.push(entry);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bindings_by_service_account() {
        let binding = |name: &str, subjects: serde_json::Value, role: &str| {
            ItemTree::new(json!({"metadata": {"name": name}, "subjects": subjects, "roleRef": {"kind": "ClusterRole", "name": role}})).unwrap()
        };
        let account =
            |ns: &str, name: &str| json!({"kind": "ServiceAccount", "namespace": ns, "name": name});
        let all = index(&[
            binding(
                "b1",
                json!([account("a", "x"), account("a", "x"), {"kind": "User", "name": "x"}]),
                "view",
            ),
            binding("b2", json!([account("a", "x"), account("b", "x")]), "edit"),
            binding("b3", serde_json::Value::Null, "edit"),
        ]);
        let of = |ns: &str| {
            all.get(&(ns.to_owned(), "x".to_owned()))
                .cloned()
                .unwrap_or_default()
        };
        assert_eq!(
            of("a"),
            [
                ("b1".to_owned(), Some("view".to_owned())),
                ("b2".to_owned(), Some("edit".to_owned()))
            ]
        );
        assert_eq!(of("b").len(), 1);
        assert_eq!(all.len(), 2);
    }
}
