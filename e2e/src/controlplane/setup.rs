//! What a fresh control plane needs beyond its processes, and how to tell that it is ready.

use anyhow::{Context, Result};
use http::Request;
use k8s_openapi::api::{
    core::v1::{ConfigMap, Node, ServiceAccount},
    storage::v1::StorageClass,
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Lets kwok run the commands of `exec` as local processes.
pub(super) const KWOK_EXEC: &str = "apiVersion: kwok.x-k8s.io/v1alpha1\nkind: ClusterExec\nmetadata:\n  name: all\n\
                                    spec:\n  execs:\n  - local: {}\n";

/// Whether the API server says that it is ready.
pub(super) async fn ready(client: &Client) -> Result<bool> {
    let request = Request::get("/readyz").body(Vec::new())?;
    Ok(client.request_text(request).await? == "ok")
}

/// Whether the controllers have filled the namespace `default`.
pub(super) async fn default_account(client: &Client) -> Result<bool> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    Ok(accounts.get_opt("default").await?.is_some()
        && maps.get_opt("kube-root-ca.crt").await?.is_some())
}

/// Makes the default StorageClass whose volumes kwok makes up.
pub(super) async fn storage_class(client: &Client) -> Result<()> {
    let class: StorageClass = parse(json!({
        "metadata": {
            "name": "kwok-volume",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kwok.x-k8s.io/volume",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }))?;
    let api: Api<StorageClass> = Api::all(client.clone());
    api.create(&PostParams::default(), &class)
        .await
        .context("cannot create the default StorageClass")?;
    Ok(())
}

/// Creates `count` nodes for kwok to play.
pub(super) async fn nodes(client: &Client, count: usize) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    for n in 0..count {
        let name = format!("node-{n}");
        let room = json!({"cpu": "64", "memory": "256Gi", "pods": "10000"});
        let node: Node = parse(json!({
            "metadata": {
                "name": name,
                "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
                "labels": {
                    "kubernetes.io/hostname": name,
                    "kubernetes.io/arch": "amd64",
                    "kubernetes.io/os": "linux",
                    "type": "kwok",
                },
            },
            "status": {"allocatable": room, "capacity": room},
        }))?;
        api.create(&PostParams::default(), &node)
            .await
            .with_context(|| format!("cannot create node {name}"))?;
    }
    Ok(())
}

/// Whether `count` nodes say that they are Ready.
pub(super) async fn nodes_ready(client: &Client, count: usize) -> Result<bool> {
    let nodes: Api<Node> = Api::all(client.clone());
    let ready = nodes
        .list(&ListParams::default())
        .await?
        .items
        .iter()
        .filter(|node| is_ready(node))
        .count();
    Ok(ready >= count)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| {
        all.iter()
            .any(|one| one.type_ == "Ready" && one.status == "True")
    })
}

fn parse<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).context("an object of our own does not parse")
}
