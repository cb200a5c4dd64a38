//! Built-in actions that somebody has configured.

use std::io::Cursor;

use serde_json::{Value, json};
use velero_core::action::ClusterReader;
use velero_restore::actions::ActionConfig;
use velero_restore::{RestoreResult, RestoreRun};
use velero_testkit::ApiServer;

use crate::common::*;

fn plugin_config(name: &str, action: &str, data: Value) -> Value {
    let mut map = object("v1", "ConfigMap", "velero", name);
    map["metadata"]["labels"] = json!({"velero.io/plugin-config": "", action: "RestoreItemAction"});
    map["data"] = data;
    map
}

async fn restore_configured(server: &ApiServer, items: &[Value]) -> RestoreResult {
    let engine = engine(server).await;
    server.calls().reset();
    let config = ActionConfig::read(&engine.cluster().reader(), "velero").await;
    let request = request(json!({})).configure_actions(config.unwrap());
    let archive = Cursor::new(archive(items));
    let result = engine.run(&request, archive, RestoreRun::default()).await;
    result.unwrap()
}

fn claim(name: &str, class: &str) -> Value {
    let mut claim = object("v1", "PersistentVolumeClaim", "default", name);
    claim["spec"] = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": class});
    claim
}

#[tokio::test]
async fn config_maps_change_classes_and_images() {
    let server = ApiServer::new();
    let mut class = object("storage.k8s.io/v1", "StorageClass", "", "fast");
    class["provisioner"] = json!("example.com/disks");
    for seed in [
        namespace("velero"),
        class,
        plugin_config(
            "classes",
            "velero.io/change-storage-class",
            json!({"slow": "fast", "gone": "missing"}),
        ),
        plugin_config(
            "images",
            "velero.io/change-image-name",
            json!({"case1": "docker.io,registry.example.com", "case2": "odd"}),
        ),
    ] {
        server.store().seed_value(seed).unwrap();
    }
    let mut pod = object("v1", "Pod", "default", "web");
    pod["spec"] = json!({"containers": [{"name": "c", "image": "docker.io/web:1"}]});
    let items = [
        claim("a", "slow"),
        claim("b", "slow"),
        claim("c", "gone"),
        pod,
    ];
    let result = restore_configured(&server, &items).await;
    assert_eq!(
        warnings(&result),
        [
            "velero: message: /ConfigMap velero/images: data \"case2\" is passed over: \"odd\" is not of the form \"old,new\""
        ]
    );
    let errors = errors(&result);
    assert!(
        errors.len() == 1
            && errors[0].contains("name: /c")
            && errors[0].contains("storage class \"missing\""),
        "{errors:?}"
    );
    let get = |kind: &str, name: &str| server.store().get("v1", kind, Some("default"), name);
    for name in ["a", "b"] {
        let claim = get("PersistentVolumeClaim", name).unwrap();
        assert_eq!(claim["spec"]["storageClassName"], json!("fast"));
    }
    assert!(get("PersistentVolumeClaim", "c").is_none());
    let pod = get("Pod", "web").unwrap();
    let image = &pod["spec"]["containers"][0]["image"];
    assert_eq!(image, &json!("registry.example.com/web:1"));
    assert_eq!(server.calls().count("list", "configmaps"), 1);
    // Once for the class that is there; each time for one that may come yet.
    assert!(server.calls().count("get", "storageclasses") <= 3);
}

#[tokio::test]
async fn two_config_maps_for_one_action_are_refused() {
    let server = ApiServer::new();
    server.store().seed_value(namespace("velero")).unwrap();
    for name in ["one", "two"] {
        let map = plugin_config(name, "velero.io/change-image-name", json!({}));
        server.store().seed_value(map).unwrap();
    }
    let reader = cluster(&server).await.reader();
    let error = ActionConfig::read(&reader as &dyn ClusterReader, "velero").await;
    let error = error.unwrap_err().to_string();
    assert!(error.ends_with("one is right: one, two"), "{error}");
    let without = ActionConfig::read(&reader, "elsewhere").await.unwrap();
    assert_eq!(without, ActionConfig::default());
}

#[tokio::test]
async fn init_hooks_run_in_restored_pods_once() {
    let server = ApiServer::new();
    let mut pod = object("v1", "Pod", "default", "web");
    pod["spec"] = json!({"containers": [{"name": "c", "image": "i"}]});
    let mut annotated = pod.clone();
    annotated["metadata"]["name"] = json!("annotated");
    annotated["metadata"]["annotations"] =
        json!({"init.hook.restore.velero.io/container-image": "busybox"});
    let items = [pod, annotated];
    let spec = json!({"hooks": {"resources": [{"name": "h", "postHooks": [
        {"init": {"initContainers": [{"name": "first", "image": "busybox", "command": ["true"]}]}}]}]}});
    assert_clean(&restore(&server, &items, spec.clone()).await);
    let init = |name: &str| {
        let pod = server.store().get("v1", "Pod", Some("default"), name);
        let spec = pod.unwrap()["spec"].clone();
        let containers = spec["initContainers"].as_array().cloned().unwrap();
        containers
            .iter()
            .map(|c| c["name"].as_str().unwrap().to_owned())
            .collect::<Vec<String>>()
    };
    assert_eq!(init("web"), ["first"]);
    let made = init("annotated");
    assert!(
        made.len() == 1 && made[0].starts_with("velero-restore-init-"),
        "{made:?}"
    );
    // Restored once more onto what is there, nothing is to be done.
    let full: Vec<Value> = items
        .iter()
        .map(|pod| ApiServer::new().store().seed_value(pod.clone()).unwrap())
        .collect();
    let third = ApiServer::new();
    for count in [2, 0] {
        let result = restore(&third, &full, spec.clone()).await;
        assert_clean(&result);
        assert_eq!(result.counts.created, count);
    }
    // What was restored like that, backed up and restored again, has each container once.
    let again: Vec<Value> = ["web", "annotated"]
        .map(|name| {
            server
                .store()
                .get("v1", "Pod", Some("default"), name)
                .unwrap()
        })
        .into();
    let other = ApiServer::new();
    assert_clean(&restore(&other, &again, spec).await);
    let count = |pod: Value| pod["spec"]["initContainers"].as_array().map(Vec::len);
    for name in ["web", "annotated"] {
        let pod = other.store().get("v1", "Pod", Some("default"), name);
        assert_eq!(count(pod.unwrap()), Some(1), "{name}");
    }
}

/// Being as it was backed up is not enough where the restore wants something else.
#[tokio::test]
async fn objects_as_they_were_backed_up_are_not_taken_for_what_is_wanted() {
    let binding = |subject: &str| {
        let mut binding = object(
            "rbac.authorization.k8s.io/v1",
            "ClusterRoleBinding",
            "",
            "b",
        );
        binding["roleRef"] =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
        binding["subjects"] =
            json!([{"kind": "ServiceAccount", "name": "runner", "namespace": subject}]);
        binding
    };
    let volume = || {
        let mut volume = object("v1", "PersistentVolume", "", "pv1");
        volume["spec"] = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/x"}, "storageClassName": "s",
            "claimRef": {"kind": "PersistentVolumeClaim", "namespace": "shop", "name": "data"}});
        volume
    };
    for (seed, kind, mapped) in [
        (
            binding("shop"),
            "rbac.authorization.k8s.io/v1/ClusterRoleBinding",
            "b",
        ),
        (volume(), "v1/PersistentVolume", "pv1"),
    ] {
        let server = ApiServer::new();
        let live = server.store().seed_value(seed).unwrap();
        for (spec, action) in [
            (json!({}), "skipped"),
            (json!({"namespaceMapping": {"shop": "copy"}}), "failed"),
        ] {
            let result = restore(&server, std::slice::from_ref(&live), spec).await;
            assert_eq!(entries(&result, kind), [format!("{mapped}({action})")]);
        }
    }
    let server = ApiServer::new();
    let mut deployment = object("apps/v1", "Deployment", "default", "web");
    deployment["spec"] = json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "docker.io/web:1"}]}}});
    let live = server.store().seed_value(deployment).unwrap();
    let map = plugin_config(
        "images",
        "velero.io/change-image-name",
        json!({"a": "docker.io,registry.example.com"}),
    );
    server.store().seed_value(namespace("velero")).unwrap();
    server.store().seed_value(map).unwrap();
    let result = restore_configured(&server, &[live]).await;
    assert_eq!(
        entries(&result, "apps/v1/Deployment"),
        ["default/web(failed)"]
    );
}

#[tokio::test]
async fn a_pod_that_was_restored_with_its_volumes_does_not_wait_for_them_again() {
    let server = ApiServer::new();
    let mut pod = object("v1", "Pod", "default", "web");
    pod["spec"] = json!({"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "data", "emptyDir": {}}],
        "initContainers": [{"name": "restore-wait", "image": "velero", "args": ["an earlier restore"],
            "volumeMounts": [{"name": "data", "mountPath": "/restores/data"}]}]});
    let pod = ApiServer::new().store().seed_value(pod).unwrap();
    let spec = json!({"hooks": {"resources": [{"name": "h", "postHooks": [
        {"init": {"initContainers": [{"name": "first", "image": "i", "command": ["true"]}]}}]}]}});
    assert_clean(&restore(&server, std::slice::from_ref(&pod), spec).await);
    let live = server.store().get("v1", "Pod", Some("default"), "web");
    let containers = live.unwrap()["spec"]["initContainers"].clone();
    assert_eq!(containers.as_array().map(Vec::len), Some(1), "{containers}");
    assert_eq!(containers[0]["name"], json!("first"));
    // The pod that is there, and still has it, is no other one.
    let other = ApiServer::new();
    other.store().seed_value(pod.clone()).unwrap();
    let result = restore(&other, &[pod], json!({})).await;
    assert_clean(&result);
    assert_eq!(entries(&result, "v1/Pod"), ["default/web(skipped)"]);
}
