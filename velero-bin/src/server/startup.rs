//! What must hold before the controllers begin.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use velero_core::GroupResource;
use velero_core::api::crd;

use velero_cluster::Cluster;

use super::objects::Objects;

/// Checks that the namespace exists and the cluster serves our kinds.
///
/// # Errors
/// When one is missing; the message says what to do.
pub(super) async fn check(objects: &Objects, cluster: &Cluster) -> anyhow::Result<()> {
    let name = objects.namespace();
    let api = Api::<Namespace>::all(objects.client().clone());
    let found = objects
        .call("get", format!("Namespace {name:?}"), api.get_opt(name))
        .await?;
    anyhow::ensure!(
        found.is_some(),
        "namespace {name:?} does not exist; create it, or name another one with --namespace"
    );
    let catalog = cluster.catalog();
    let missing: Vec<String> = crd::all()
        .into_iter()
        .map(|definition| GroupResource::new(definition.spec.group, definition.spec.names.plural))
        .filter(|kind| catalog.get(kind).is_none())
        .map(|kind| kind.to_string())
        .collect();
    anyhow::ensure!(
        missing.is_empty(),
        "the cluster does not serve {}; install the definitions with: velero install --crds-only",
        missing.join(", ")
    );
    Ok(())
}
