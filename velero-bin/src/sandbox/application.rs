//! Puts the sample application into an API server, as a user and a cluster's controllers would.

use anyhow::{Context as _, Result};
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use velero_cluster::Cluster;

/// Who creates the objects.
const USER: &str = "kubectl-create";
/// Who binds the claim.
const CONTROLLER: &str = "kube-controller-manager";

/// Creates the objects of a text of YAML documents, in order. Gives their number.
pub(super) async fn create(client: &Client, text: &str) -> Result<usize> {
    let objects: Vec<Value> =
        serde_saphyr::from_multiple(text).context("the sample application does not parse")?;
    let mut cluster = Cluster::connect(client.clone()).await?;
    let params = PostParams {
        field_manager: Some(USER.to_owned()),
        ..PostParams::default()
    };
    for object in &objects {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if cluster.catalog().by_kind(api_version, kind).is_none() {
            // A kind that an earlier document defines.
            cluster = Cluster::connect(client.clone()).await?;
        }
        let catalog = cluster.catalog();
        let served = catalog
            .by_kind(api_version, kind)
            .with_context(|| format!("{api_version}/{kind} is not served"))?;
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk(group, version, kind),
            &served.plural,
        );
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        let api: Api<DynamicObject> = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let name = object.metadata.name.clone().unwrap_or_default();
        api.create(&params, &object)
            .await
            .with_context(|| format!("{kind} {name:?} cannot be created"))?;
    }
    Ok(objects.len())
}

/// Binds a claim to the volume that it names, unless a controller has done so.
pub(super) async fn bind(client: &Client, namespace: &str, claim: &str) -> Result<()> {
    let kind = |kind| ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind));
    let claims: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &kind("PersistentVolumeClaim"));
    let volumes: Api<DynamicObject> = Api::all_with(client.clone(), &kind("PersistentVolume"));
    let found = claims.get(claim).await?;
    if found.data["status"]["phase"] == "Bound" {
        return Ok(());
    }
    let volume = found.data["spec"]["volumeName"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let params = PatchParams::apply(CONTROLLER);
    let reference = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim,
        "uid": found.metadata.uid, "resourceVersion": found.metadata.resource_version});
    volumes
        .patch(
            &volume,
            &params,
            &Patch::Merge(json!({"spec": {"claimRef": reference}})),
        )
        .await?;
    volumes
        .patch_status(
            &volume,
            &params,
            &Patch::Merge(json!({"status": {"phase": "Bound"}})),
        )
        .await?;
    let completed =
        json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}});
    claims
        .patch(claim, &params, &Patch::Merge(completed))
        .await?;
    let status = json!({"status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "10Gi"}}});
    claims
        .patch_status(claim, &params, &Patch::Merge(status))
        .await?;
    Ok(())
}

/// Says of a volume that its claim is gone, unless a controller has done so. One that is bound cannot be deleted.
pub(super) async fn release(client: &Client, volume: &str) -> Result<()> {
    let volumes: Api<DynamicObject> = Api::all_with(
        client.clone(),
        &ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "PersistentVolume")),
    );
    let found = volumes.get_opt(volume).await?;
    if found.is_none_or(|volume| volume.data["status"]["phase"] != "Bound") {
        return Ok(());
    }
    let status = json!({"status": {"phase": "Released"}});
    volumes
        .patch_status(
            volume,
            &PatchParams::apply(CONTROLLER),
            &Patch::Merge(status),
        )
        .await?;
    Ok(())
}
