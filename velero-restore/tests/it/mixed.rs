//! A mix of kinds, as teams have them, beside controllers that are at work: what its restore costs in calls.

use std::time::Duration;

use http::Request;
use serde_json::{Value, json};
use velero_testkit::kube::Client;
use velero_testkit::{ApiServer, Controllers};

use crate::common::*;

const TEAMS: [&str; 2] = ["team-0", "team-1"];
/// Pods of a Deployment.
const REPLICAS: usize = 2;

/// Where objects of a kind are created, how many of them a team has, and what they are.
type Load = (&'static str, &'static str, usize, fn(usize) -> Value);

/// The load of the bench of this name, kind by kind.
const LOAD: [Load; 9] = [
    (
        "api/v1",
        "configmaps",
        300,
        |n| json!({"kind": "ConfigMap", "data": {"number": n.to_string()}}),
    ),
    (
        "api/v1",
        "secrets",
        200,
        |_| json!({"kind": "Secret", "data": {"key": "dmFsdWU="}}),
    ),
    (
        "apis/bench.example.com/v1",
        "widgets",
        150,
        |n| json!({"kind": "Widget", "spec": {"size": n, "parts": ["a", "b"]}}),
    ),
    ("api/v1", "services", 10, |n| {
        json!({"kind": "Service", "spec": {"selector": {"app": format!("app-{n}")},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})
    }),
    ("api/v1", "persistentvolumeclaims", 10, |_| {
        json!({"kind": "PersistentVolumeClaim", "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}})
    }),
    (
        "api/v1",
        "serviceaccounts",
        10,
        |_| json!({"kind": "ServiceAccount"}),
    ),
    ("apis/rbac.authorization.k8s.io/v1", "roles", 5, |_| {
        json!({"kind": "Role",
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]})
    }),
    (
        "apis/rbac.authorization.k8s.io/v1",
        "rolebindings",
        5,
        |n| {
            json!({"kind": "RoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": format!("roles-{n}")},
            "subjects": [{"kind": "ServiceAccount", "name": format!("serviceaccounts-{n}")}]})
        },
    ),
    ("apis/apps/v1", "deployments", 10, |n| {
        let labels = json!({"app": format!("app-{n}")});
        json!({"kind": "Deployment", "spec": {"replicas": REPLICAS, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "serviceAccountName": format!("serviceaccounts-{n}"),
                "containers": [{"name": "main", "image": "app:1",
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
                "volumes": [{"name": "data",
                    "persistentVolumeClaim": {"claimName": format!("persistentvolumeclaims-{n}")}}]}}}})
    }),
];

fn widgets() -> Value {
    let mut crd = object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "",
        "widgets.bench.example.com",
    );
    crd["spec"] = json!({"group": "bench.example.com", "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]});
    crd
}

fn alive() -> ApiServer {
    ApiServer::builder().controllers(Controllers::All).build()
}

/// Creates an object as users do, so that its fields have an owner.
async fn create(client: &Client, path: &str, object: &Value) {
    let request = Request::post(format!("/{path}?fieldManager=kubectl-create"))
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())
        .unwrap();
    client.request::<Value>(request).await.unwrap();
}

/// What a backup of the teams holds once their pods run: also what controllers have made.
async fn backed_up() -> Vec<Value> {
    let server = alive();
    let client = server.client();
    let definitions = "apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    create(&client, definitions, &widgets()).await;
    for team in TEAMS {
        create(
            &client,
            "api/v1/namespaces",
            &object("v1", "Namespace", "", team),
        )
        .await;
        for (api, resource, count, of) in LOAD {
            let path = format!("{api}/namespaces/{team}/{resource}");
            let version = api.trim_start_matches("apis/").trim_start_matches("api/");
            for n in 0..count {
                let mut object = of(n);
                object["apiVersion"] = json!(version);
                object["metadata"] = json!({"name": format!("{resource}-{n}")});
                create(&client, &path, &object).await;
            }
        }
    }
    let run = |objects: &[Value]| {
        let pods = objects.iter().filter(|o| o["kind"] == "Pod");
        pods.filter(|pod| pod["status"]["phase"] == "Running")
            .count()
    };
    let wanted = TEAMS.len() * 10 * REPLICAS;
    for _ in 0..500 {
        let mut objects = server.store().all();
        if run(&objects) == wanted {
            objects.retain(is_of_a_team);
            return objects;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the pods of the load do not run after ten seconds");
}

fn is_of_a_team(object: &Value) -> bool {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let is_team = |name: Option<&str>| name.is_some_and(|name| TEAMS.contains(&name));
    match object["kind"].as_str() {
        Some("Event") => false,
        Some("Namespace") => is_team(text("/metadata/name")),
        Some("CustomResourceDefinition") => true,
        Some("PersistentVolume") => is_team(text("/spec/claimRef/namespace")),
        _ => is_team(text("/metadata/namespace")),
    }
}

#[tokio::test]
async fn an_object_of_a_mixed_load_costs_at_most_a_quarter_more_than_a_call() {
    let items = backed_up().await;
    let count = |kind: &str| items.iter().filter(|item| item["kind"] == kind).count();
    assert_eq!(
        ["Pod", "ReplicaSet", "Widget", "PersistentVolume"].map(count),
        [40, 20, 300, 20]
    );
    let server = alive();
    let engine = engine(&server).await;
    server.calls().reset();
    let result = run_items(&engine, &items).await;
    assert_clean(&result);
    assert_eq!(result.counts.total as usize, items.len());
    let (calls, objects) = (server.calls().total(), items.len() as u64);
    assert!(
        calls * 4 <= objects * 5,
        "{calls} calls for {objects} objects: {:?}",
        server.calls().counts()
    );
}
