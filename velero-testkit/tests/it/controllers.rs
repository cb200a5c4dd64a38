//! Controllers, where a restore relies on them.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, ListParams};
use velero_testkit::{ApiServer, Controllers};

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not come");
}

fn server() -> ApiServer {
    ApiServer::builder().controllers(Controllers::All).build()
}

#[tokio::test]
async fn workloads_take_over_pods_that_nobody_controls() {
    let server = server();
    let pod = |name: &str, app: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: shop, labels: {{app: {app}}}}}, \
             spec: {{containers: [{{name: c, image: i}}]}}}}"
        )
    };
    let store = server.store();
    for (name, app) in [("web-1", "web"), ("web-2", "web"), ("other", "other")] {
        store.seed(&pod(name, app)).unwrap();
    }
    store
        .seed(
            "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web, namespace: shop}, spec: {replicas: 2, \
             selector: {matchExpressions: [{key: app, operator: In, values: [web]}]}, \
             template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: i}]}}}}",
        )
        .unwrap();
    let pods: Api<Pod> = Api::namespaced(server.client(), "shop");
    let owner = async |name: &str| {
        let owners = pods.get(name).await.unwrap().metadata.owner_references;
        owners.unwrap_or_default().first().map(|o| o.name.clone())
    };
    until("the owner", async || {
        owner("web-1").await.as_deref() == Some("web") && owner("web-2").await.is_some()
    })
    .await;
    assert_eq!(owner("other").await, None);
    assert_eq!(
        pods.list(&ListParams::default()).await.unwrap().items.len(),
        3
    );
}

#[tokio::test]
async fn a_volume_that_is_deleted_while_bound_goes_with_its_claim() {
    let server = server();
    server
        .store()
        .seed(
            "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: disk}\nspec: {capacity: {storage: 1Gi}, \
             accessModes: [ReadWriteOnce], storageClassName: manual, persistentVolumeReclaimPolicy: Retain, \
             hostPath: {path: /x}}\n---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, namespace: shop}\n\
             spec: {accessModes: [ReadWriteOnce], storageClassName: manual, volumeName: disk, \
             resources: {requests: {storage: 1Gi}}}\n",
        )
        .unwrap();
    let client = server.client();
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), "shop");
    until("the binding", async || {
        let claim = claims.get("data").await.unwrap();
        claim.status.and_then(|s| s.phase).as_deref() == Some("Bound")
    })
    .await;
    volumes
        .delete("disk", &DeleteParams::default())
        .await
        .unwrap();
    assert!(
        volumes
            .get("disk")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    );
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces
        .delete("shop", &DeleteParams::default())
        .await
        .unwrap();
    until("the end of the volume", async || {
        volumes.get_opt("disk").await.unwrap().is_none()
    })
    .await;
}
