//! Create, read, list, delete, faults and counts, through `kube`.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::discovery::{ApiResource, Discovery};
use serde_json::json;
use velero_testkit::{ApiServer, Fault, FaultAction};

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": "b"}})).unwrap()
}

#[tokio::test]
async fn objects_come_and_go() {
    let server = ApiServer::new();
    let maps: Api<ConfigMap> = Api::namespaced(server.client_with_user_agent("me/1"), "default");
    let made = maps
        .create(&PostParams::default(), &config_map("one"))
        .await
        .unwrap();
    assert!(made.metadata.uid.is_some());
    assert_eq!(maps.get("one").await.unwrap(), made);
    let again = maps
        .create(&PostParams::default(), &config_map("one"))
        .await
        .unwrap_err();
    assert!(matches!(again, kube::Error::Api(s) if s.code == 409 && s.reason == "AlreadyExists"));
    maps.delete("one", &DeleteParams::default()).await.unwrap();
    assert!(maps.get_opt("one").await.unwrap().is_none());
    assert_eq!(server.calls().count("create", "configmaps"), 2);
    assert_eq!(server.calls().user_agents().get("me/1"), Some(&5));
    assert_eq!(server.calls().log()[1].code, 200);
}

#[tokio::test]
async fn pages_share_a_version() {
    let server = ApiServer::new();
    let maps: Api<ConfigMap> = Api::namespaced(server.client(), "default");
    for index in 0..10 {
        maps.create(&PostParams::default(), &config_map(&format!("m{index}")))
            .await
            .unwrap();
    }
    let mut params = ListParams::default().limit(4);
    let mut names = Vec::new();
    let mut versions = Vec::new();
    loop {
        let page = maps.list(&params).await.unwrap();
        names.extend(page.items.iter().map(|m| m.metadata.name.clone().unwrap()));
        versions.push(page.metadata.resource_version.clone().unwrap());
        if names.len() == 4 {
            maps.delete("m9", &DeleteParams::default()).await.unwrap();
        }
        match page.metadata.continue_.filter(|t| !t.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(names.len(), 11, "the list is that of its first page");
    versions.dedup();
    assert_eq!(versions.len(), 1);
}

#[tokio::test]
async fn namespaces_are_furnished_and_emptied() {
    let server = ApiServer::new();
    let client = server.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let shop: Namespace = serde_json::from_value(json!({"metadata": {"name": "shop"}})).unwrap();
    namespaces
        .create(&PostParams::default(), &shop)
        .await
        .unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "shop");
    assert!(maps.get("kube-root-ca.crt").await.is_ok());
    maps.create(&PostParams::default(), &config_map("one"))
        .await
        .unwrap();
    let gone = namespaces
        .delete("shop", &DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(
        gone.left().unwrap().status.unwrap().phase.as_deref(),
        Some("Terminating")
    );
    for _ in 0..100 {
        if namespaces.get_opt("shop").await.unwrap().is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(namespaces.get_opt("shop").await.unwrap().is_none());
    let late = maps
        .create(&PostParams::default(), &config_map("two"))
        .await
        .unwrap_err();
    assert!(
        matches!(late, kube::Error::Api(s) if s.code == 404 && s.message == "namespaces \"shop\" not found")
    );
}

#[tokio::test]
async fn custom_resources_are_served() {
    let server = ApiServer::new();
    let client = server.client();
    server
        .store()
        .seed(
            "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.example.io}
spec:
  group: example.io
  scope: Namespaced
  names: {plural: gadgets, kind: Gadget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
    subresources: {status: {}}
",
        )
        .unwrap();
    let discovery = Discovery::new(client.clone())
        .run_aggregated()
        .await
        .unwrap();
    let (resource, capabilities) = discovery
        .resolve_gvk(&kube::core::GroupVersionKind::gvk(
            "example.io",
            "v1",
            "Gadget",
        ))
        .unwrap();
    assert_eq!(resource.plural, "gadgets");
    assert!(
        capabilities
            .subresources
            .iter()
            .any(|(s, _)| s.plural.ends_with("status"))
    );
    let gadgets: Api<DynamicObject> = Api::namespaced_with(client, "default", &resource);
    let body: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "example.io/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"size": 1, "x": 2}, "status": {"a": 1},
    }))
    .unwrap();
    let made = gadgets.create(&PostParams::default(), &body).await.unwrap();
    assert_eq!(
        made.data["spec"],
        json!({"size": 1}),
        "unknown fields are pruned"
    );
    assert!(made.data.get("status").is_none());
    let patch = json!({"spec": {"size": 2}});
    let changed = gadgets
        .patch("g", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    assert_eq!(changed.metadata.generation, Some(2));
}

#[tokio::test]
async fn faults_act_in_turn() {
    let server = ApiServer::new();
    let pods: Api<Pod> = Api::all(server.client());
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("list")
            .resource("pods")
            .skip(1)
            .times(1),
    );
    assert!(pods.list(&ListParams::default()).await.is_ok());
    let refused = pods.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(s) if s.code == 403));
    assert!(pods.list(&ListParams::default()).await.is_ok());
    assert_eq!(server.faults().acted(), [1]);
    server
        .faults()
        .add(Fault::new(FaultAction::ConnectionReset).verb("get"));
    assert!(pods.get("x").await.is_err());
}

#[tokio::test]
async fn defaults_are_set() {
    let server = ApiServer::new();
    let client = server.client();
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    let body: Service = serde_json::from_value(json!({
        "metadata": {"name": "web"}, "spec": {"type": "NodePort", "ports": [{"port": 80}], "selector": {"app": "web"}},
    }))
    .unwrap();
    let made = services
        .create(&PostParams::default(), &body)
        .await
        .unwrap()
        .spec
        .unwrap();
    assert!(made.cluster_ip.unwrap().starts_with("10.0."));
    assert_eq!(made.ip_families, Some(vec!["IPv4".to_owned()]));
    assert!(made.ports.unwrap()[0].node_port.is_some());
    let deployments: Api<Deployment> = Api::namespaced(client, "default");
    let body: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}},
        },
    }))
    .unwrap();
    let made = deployments
        .create(&PostParams::default(), &body)
        .await
        .unwrap();
    let tree = serde_json::to_value(&made).unwrap();
    assert_eq!(
        tree["spec"]["strategy"]["rollingUpdate"],
        json!({"maxSurge": "25%", "maxUnavailable": "25%"})
    );
    assert_eq!(
        tree["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"],
        "Always"
    );
    let _ = ApiResource::erase::<Pod>(&());
}
