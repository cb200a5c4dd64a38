//! Puts the sample application into an API server, as a user would.

use anyhow::{Context as _, Result};
use kube::Client;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;
use velero_cluster::Cluster;

/// Who creates the objects.
const USER: &str = "kubectl-create";

/// Creates objects in order. Objects that are put in without a call would have no owners of fields.
pub(super) async fn create(client: &Client, objects: &[Value]) -> Result<()> {
    let cluster = Cluster::connect(client.clone()).await?;
    let params = PostParams {
        field_manager: Some(USER.to_owned()),
        ..PostParams::default()
    };
    for object in objects {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if cluster.catalog().by_kind(api_version, kind).is_none() {
            // A kind that an earlier object defines.
            cluster.refresh().await?;
        }
        let catalog = cluster.catalog();
        let served = catalog
            .by_kind(api_version, kind)
            .with_context(|| format!("{api_version}/{kind} is not served"))?;
        let gvk = GroupVersionKind::gvk(&served.group, &served.version, kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, &served.plural);
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        let api: Api<DynamicObject> = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let name = object.metadata.name.clone().unwrap_or_default();
        let created = api.create(&params, &object).await;
        created.with_context(|| format!("{kind} {name:?} cannot be created"))?;
    }
    Ok(())
}
