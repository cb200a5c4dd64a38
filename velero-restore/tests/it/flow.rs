//! Whole runs: what comes out, in which order and with how many calls.

use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use velero_core::api::RestorePhase;
use velero_core::{CancellationToken, ProgressUpdate};
use velero_restore::{ErrorKind, RestoreRun, archive_channel};
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::common::*;

#[tokio::test]
async fn objects_come_back_without_what_their_cluster_gave_them() {
    let server = ApiServer::new();
    let mut map = config_map("shop", "settings");
    map["metadata"]["labels"] = json!({"app": "web"});
    map["metadata"]["finalizers"] = json!(["example.com/keep"]);
    map["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "u"}]);
    map["metadata"]["managedFields"] = json!([managed(
        "kubectl-create",
        json!({"f:data": {".": {}, "f:key": {}}, "f:metadata": {"f:labels": {".": {}, "f:app": {}}, "f:finalizers": {".": {}, "v:\"example.com/keep\"": {}}}}),
    )]);
    let result = restore(&server, &[namespace("shop"), map], json!({})).await;
    assert_clean(&result);
    assert_eq!(result.phase(), RestorePhase::Completed);
    let live = server
        .store()
        .get("v1", "ConfigMap", Some("shop"), "settings")
        .unwrap();
    assert_eq!(live["data"], json!({"key": "settings"}));
    assert_eq!(
        live["metadata"]["labels"],
        json!({"app": "web", "velero.io/backup-name": "b1", "velero.io/restore-name": "r1"})
    );
    assert_eq!(live["metadata"]["finalizers"], json!(["example.com/keep"]));
    assert!(live["metadata"].get("ownerReferences").is_none());
    assert_ne!(
        live["metadata"]["uid"],
        json!("1b4e28ba-2fa1-11d2-883f-0016d3cca427")
    );
    assert_eq!(
        live["metadata"]["managedFields"].as_array().unwrap().len(),
        1
    );
    assert_eq!(
        live["metadata"]["managedFields"][0]["manager"],
        json!("kubectl-create")
    );
    assert_eq!(entries(&result, "v1/ConfigMap"), ["shop/settings(created)"]);
    assert_eq!(entries(&result, "v1/Namespace"), ["shop(created)"]);
    let shop = server.store().get("v1", "Namespace", None, "shop").unwrap();
    assert_eq!(
        shop["metadata"]["labels"],
        json!({"kubernetes.io/metadata.name": "shop", "team": "green"})
    );
    assert_eq!(shop["metadata"]["annotations"], json!({"note": "kept"}));
}

#[tokio::test]
async fn kinds_come_in_order() {
    let server = ApiServer::new();
    let mut items = vec![namespace("shop")];
    for (version, kind, ns) in [
        ("apps/v1", "DaemonSet", "shop"),
        ("v1", "Service", "shop"),
        ("v1", "ConfigMap", "shop"),
        ("v1", "Secret", "shop"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole", ""),
        ("v1", "ServiceAccount", "shop"),
    ] {
        let mut item = object(version, kind, ns, "x");
        match kind {
            "Service" => item["spec"] = json!({"ports": [{"port": 80}]}),
            "DaemonSet" => {
                item["spec"] = json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
                    "spec": {"containers": [{"name": "c", "image": "i"}]}}});
            }
            _ => {}
        }
        items.push(item);
    }
    let result = restore(&server, &items, json!({})).await;
    assert_clean(&result);
    let order: Vec<String> = server
        .calls()
        .writes()
        .iter()
        .map(|c| c.resource.clone())
        .collect();
    assert_eq!(
        order,
        [
            "namespaces",
            "clusterroles",
            "serviceaccounts",
            "secrets",
            "configmaps",
            "services",
            "daemonsets"
        ]
    );
}

#[tokio::test]
async fn pods_are_done_with_before_replica_sets_and_webhooks_come_last() {
    let server = ApiServer::new();
    server.faults().add(
        Fault::new(FaultAction::Slow(Duration::from_millis(100)))
            .verb("create")
            .resource("pods")
            .name("slow"),
    );
    let containers = json!([{"name": "c", "image": "i"}]);
    let mut items = vec![namespace("shop")];
    for kind in ["ReplicaSet", "Deployment"] {
        let mut item = object("apps/v1", kind, "shop", "x");
        item["spec"] = json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": containers}}});
        items.push(item);
    }
    let mut quota = object("v1", "ResourceQuota", "shop", "x");
    quota["spec"] = json!({"hard": {"pods": "0"}});
    let mut webhook = object(
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        "",
        "x",
    );
    webhook["webhooks"] = json!([]);
    items.extend([quota, webhook]);
    for name in ["slow", "fast"] {
        let mut pod = object("v1", "Pod", "shop", name);
        pod["spec"] = json!({"containers": containers});
        items.push(pod);
    }
    let engine = engine(&server).await;
    server.calls().reset();
    let result = run_items(&engine, &items).await;
    assert_clean(&result);
    let mut order: Vec<String> = server
        .calls()
        .writes()
        .iter()
        .map(|c| c.resource.clone())
        .collect();
    order.dedup();
    assert_eq!(
        order,
        [
            "namespaces",
            "pods",
            "replicasets",
            "deployments",
            "resourcequotas",
            "validatingwebhookconfigurations"
        ]
    );
}

#[tokio::test]
async fn namespaces_are_mapped() {
    let server = ApiServer::new();
    let mut binding = object(
        "rbac.authorization.k8s.io/v1",
        "ClusterRoleBinding",
        "",
        "readers",
    );
    binding["roleRef"] =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
    binding["subjects"] =
        json!([{"kind": "ServiceAccount", "name": "runner", "namespace": "shop"}]);
    let items = [namespace("shop"), config_map("shop", "settings"), binding];
    let result = restore(
        &server,
        &items,
        json!({"namespaceMapping": {"shop": "copy"}}),
    )
    .await;
    assert_clean(&result);
    let store = server.store();
    assert!(store.get("v1", "Namespace", None, "shop").is_none());
    let copy = store.get("v1", "Namespace", None, "copy").unwrap();
    assert_eq!(
        copy["metadata"]["labels"],
        json!({"kubernetes.io/metadata.name": "copy", "team": "green"})
    );
    let map = store
        .get("v1", "ConfigMap", Some("copy"), "settings")
        .unwrap();
    assert_eq!(map["metadata"]["namespace"], json!("copy"));
    let binding = store
        .get(
            "rbac.authorization.k8s.io/v1",
            "ClusterRoleBinding",
            None,
            "readers",
        )
        .unwrap();
    assert_eq!(binding["subjects"][0]["namespace"], json!("copy"));
    assert_eq!(entries(&result, "v1/ConfigMap"), ["copy/settings(created)"]);
}

#[tokio::test]
async fn two_namespaces_mapped_to_one_lose_nothing_silently() {
    let server = ApiServer::new();
    let items = [
        namespace("a"),
        namespace("b"),
        config_map("a", "same"),
        config_map("b", "same"),
        config_map("b", "other"),
    ];
    let result = restore(
        &server,
        &items,
        json!({"namespaceMapping": {"a": "one", "b": "one"}}),
    )
    .await;
    assert_eq!(
        entries(&result, "v1/ConfigMap"),
        ["one/other(created)", "one/same(created)"]
    );
    let warnings = warnings(&result);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with("one: resource: /configmaps name: /same message: /not restored"),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn an_object_costs_one_call() {
    let server = ApiServer::new();
    let mut items = Vec::new();
    for n in 0..30 {
        items.push(namespace(&format!("n{n}")));
    }
    for n in 0..15_000 {
        items.push(config_map(&format!("n{}", n % 30), &format!("map-{n}")));
    }
    let archive = archive(&items);
    let engine = engine(&server).await;
    server.calls().reset();
    let result = engine
        .run(
            &request(json!({})),
            Cursor::new(archive),
            RestoreRun::default(),
        )
        .await
        .unwrap();
    assert_clean(&result);
    assert_eq!(
        (result.counts.created, result.counts.total),
        (15_030, 15_030)
    );
    let calls = server.calls().total();
    assert!(
        calls <= 15_030,
        "{calls} calls for 15030 objects: {:?}",
        server.calls().counts()
    );
    assert_eq!(
        server.calls().field_managers().get("kubectl-create"),
        Some(&15_000)
    );
}

#[tokio::test]
async fn several_managers_cost_a_second_call() {
    let server = ApiServer::new();
    let mut map = config_map("default", "shared");
    map["data"] = json!({"a": "1", "b": "2"});
    let entries = json!([
        managed("one", json!({"f:data": {".": {}, "f:a": {}}})),
        managed("two", json!({"f:data": {"f:b": {}}})),
    ]);
    map["metadata"]["managedFields"] = entries;
    let engine = engine(&server).await;
    server.calls().reset();
    let result = run_items(&engine, &[map]).await;
    assert_clean(&result);
    assert_eq!(
        (
            server.calls().count("create", "configmaps"),
            server.calls().count("patch", "configmaps")
        ),
        (1, 1)
    );
    let live = server
        .store()
        .get("v1", "ConfigMap", Some("default"), "shared")
        .unwrap();
    let managers: Vec<_> = live["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["manager"].as_str().unwrap())
        .collect();
    assert_eq!(managers, ["one", "two"]);
}

#[tokio::test]
async fn an_empty_archive_is_a_warning() {
    let server = ApiServer::new();
    let result = restore(&server, &[], json!({})).await;
    assert_eq!(
        warnings(&result),
        ["velero: message: /the archive holds no items, nothing was restored"]
    );
    assert_eq!(
        (result.phase(), result.errors()),
        (RestorePhase::Completed, 0)
    );
}

#[tokio::test]
async fn progress_ends_with_everything_done() {
    let server = ApiServer::new();
    let seen: Arc<Mutex<Vec<ProgressUpdate>>> = Arc::default();
    let run = RestoreRun::default().progress({
        let seen = Arc::clone(&seen);
        Arc::new(move |update: ProgressUpdate| seen.lock().unwrap().push(update))
    });
    let items = [
        namespace("shop"),
        config_map("shop", "a"),
        config_map("shop", "b"),
    ];
    let result = engine(&server)
        .await
        .run(&request(json!({})), Cursor::new(archive(&items)), run)
        .await
        .unwrap();
    // The namespace is made before its item's turn, and counts once.
    let last = seen.lock().unwrap().last().copied().unwrap();
    assert_eq!((last.done, last.total), (3, 3));
    assert_eq!(result.counts.restored(), 3);
}

#[tokio::test]
async fn a_cancelled_run_takes_up_no_more_items() {
    let server = ApiServer::new();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let run = RestoreRun::default().cancel(cancel);
    let items = [namespace("shop"), config_map("shop", "a")];
    let result = engine(&server)
        .await
        .run(&request(json!({})), Cursor::new(archive(&items)), run)
        .await
        .unwrap();
    assert!(result.cancelled && result.phase() == RestorePhase::Failed);
    assert!(
        server
            .store()
            .get("v1", "ConfigMap", Some("shop"), "a")
            .is_none()
    );
}

#[tokio::test]
async fn archives_may_come_in_pieces() {
    let server = ApiServer::new();
    let bytes = archive(&[config_map("default", "a")]);
    let (sender, pieces) = archive_channel(2);
    let send = async move {
        for piece in bytes.chunks(100) {
            assert!(sender.send(piece.to_vec().into()).await);
        }
    };
    let engine = engine(&server).await;
    let request = request(json!({}));
    let (result, ()) = tokio::join!(engine.run(&request, pieces, RestoreRun::default()), send);
    assert_eq!(
        entries(&result.unwrap(), "v1/ConfigMap"),
        ["default/a(created)"]
    );
}

#[tokio::test]
async fn a_damaged_archive_ends_the_run_before_anything_is_written() {
    let server = ApiServer::new();
    let bytes = archive(&[namespace("shop"), config_map("shop", "a")]);
    let engine = engine(&server).await;
    for damaged in [
        bytes[..bytes.len() - 30].to_vec(),
        b"not an archive".to_vec(),
    ] {
        let error = engine
            .run(
                &request(json!({})),
                Cursor::new(damaged),
                RestoreRun::default(),
            )
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Archive, "{error}");
    }
    assert!(
        server
            .store()
            .get("v1", "Namespace", None, "shop")
            .is_none()
    );
}
