//! Objects that are in the cluster already.

use serde_json::{Value, json};
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::common::*;

#[tokio::test]
async fn a_second_restore_finds_everything_in_place() {
    let server = ApiServer::new();
    let mut service = object("v1", "Service", "shop", "web");
    service["spec"] = json!({"type": "NodePort", "selector": {"app": "web"}, "clusterIP": "10.0.9.9", "clusterIPs": ["10.0.9.9"],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30999}]});
    let items = [
        namespace("shop"),
        config_map("shop", "settings"),
        service,
        object("v1", "ServiceAccount", "shop", "runner"),
    ];
    assert_clean(&restore(&server, &items, json!({})).await);
    let again = restore(&server, &items, json!({})).await;
    assert_clean(&again);
    assert_eq!((again.counts.created, again.counts.skipped), (0, 3));
    assert_eq!(entries(&again, "v1/Service"), ["shop/web(skipped)"]);
}

#[tokio::test]
async fn an_object_that_differs_is_left_alone_with_a_warning() {
    let server = ApiServer::new();
    let mut other = object("v1", "ConfigMap", "default", "settings");
    other["data"] = json!({"key": "theirs"});
    server.store().seed_value(other).unwrap();
    let result = restore(&server, &[config_map("default", "settings")], json!({})).await;
    assert_eq!(
        entries(&result, "v1/ConfigMap"),
        ["default/settings(failed)"]
    );
    assert_eq!(result.errors(), 0);
    assert_eq!((result.counts.failed, result.counts.left), (1, 1));
    let warnings = warnings(&result);
    assert!(
        warnings.len() == 1 && warnings[0].contains("differs from the one in the backup"),
        "{warnings:?}"
    );
    assert_eq!(
        server
            .store()
            .get("v1", "ConfigMap", Some("default"), "settings")
            .unwrap()["data"]["key"],
        json!("theirs")
    );
}

#[tokio::test]
async fn accounts_are_merged() {
    let server = ApiServer::new();
    server
        .store()
        .seed_value(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "runner", "namespace": "default",
            "labels": {"l": "cluster"}}, "imagePullSecrets": [{"name": "own"}]}))
        .unwrap();
    let mut account = object("v1", "ServiceAccount", "default", "runner");
    account["metadata"]["labels"] = json!({"l": "backup", "m": "1"});
    account["imagePullSecrets"] = json!([{"name": "pull"}]);
    account["secrets"] = json!([{"name": "mine"}, {"name": "runner-token-abc"}]);
    let result = restore(&server, std::slice::from_ref(&account), json!({})).await;
    assert_clean(&result);
    assert_eq!(
        entries(&result, "v1/ServiceAccount"),
        ["default/runner(updated)"]
    );
    let live = server
        .store()
        .get("v1", "ServiceAccount", Some("default"), "runner")
        .unwrap();
    assert_eq!(
        live["imagePullSecrets"],
        json!([{"name": "own"}, {"name": "pull"}])
    );
    assert_eq!(live["secrets"], json!([{"name": "mine"}]));
    assert_eq!(
        live["metadata"]["labels"],
        json!({"l": "cluster", "m": "1"})
    );
    let again = restore(&server, &[account], json!({})).await;
    assert_eq!(
        entries(&again, "v1/ServiceAccount"),
        ["default/runner(skipped)"]
    );
}

#[tokio::test]
async fn an_equal_account_is_skipped_and_gets_no_labels() {
    let server = ApiServer::new();
    let mut account = object("v1", "ServiceAccount", "default", "runner");
    account["imagePullSecrets"] = json!([{"name": "pull"}]);
    let account = server.store().seed_value(account).unwrap();
    let version = server.store().resource_version();
    let result = restore(&server, &[account], json!({})).await;
    assert_clean(&result);
    assert_eq!(
        entries(&result, "v1/ServiceAccount"),
        ["default/runner(skipped)"]
    );
    assert_eq!(server.store().resource_version(), version);
}

#[tokio::test]
async fn what_can_be_read_is_there_whatever_its_creation_was_refused_for() {
    let answer = |code: u16, reason: &str, message: &str| FaultAction::Status {
        code,
        body: json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code,
            "message": message}),
    };
    for refusal in [
        FaultAction::Forbidden,
        answer(403, "Forbidden", "exceeded quota: full"),
        answer(422, "Invalid", "data: not with us"),
    ] {
        let server = ApiServer::new();
        let equal = config_map("default", "equal");
        let mut differs = config_map("default", "differs");
        for seed in [&equal, &differs] {
            server.store().seed_value(seed.clone()).unwrap();
        }
        differs["data"] = json!({"key": "ours"});
        let fault = Fault::new(refusal)
            .verb("create")
            .resource("configmaps")
            .times(u64::MAX);
        server.faults().add(fault);
        let items = [equal, differs, config_map("default", "absent")];
        let result = restore(&server, &items, json!({})).await;
        assert_eq!(
            entries(&result, "v1/ConfigMap"),
            [
                "default/absent(failed)",
                "default/differs(failed)",
                "default/equal(skipped)"
            ]
        );
        let (errors, warnings) = (errors(&result), warnings(&result));
        assert!(
            errors.len() == 1 && errors[0].contains("name: /absent"),
            "{errors:?}"
        );
        assert!(
            warnings.len() == 1
                && warnings[0].contains("name: /differs")
                && warnings[0].contains("creating it was refused"),
            "{warnings:?}"
        );
    }
}

#[tokio::test]
async fn what_every_cluster_makes_by_itself_is_no_news() {
    let server = ApiServer::new();
    server
        .store()
        .seed_value(
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "edit", "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
                "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]}),
        )
        .unwrap();
    let mut root = object("v1", "ConfigMap", "shop", "kube-root-ca.crt");
    root["data"] = json!({"ca.crt": "another cluster's"});
    let mut role = object("rbac.authorization.k8s.io/v1", "ClusterRole", "", "edit");
    role["metadata"]["labels"] = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    role["metadata"]["annotations"] =
        json!({"rbac.authorization.kubernetes.io/autoupdate": "true"});
    role["rules"] = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    let mut kubernetes = object("v1", "Service", "default", "kubernetes");
    kubernetes["spec"] = json!({"clusterIP": "10.99.0.1", "ports": [{"name": "https", "port": 443, "targetPort": 7443}]});
    let items = [
        namespace("shop"),
        object("v1", "Namespace", "", "default"),
        root,
        role,
        kubernetes,
        object("v1", "ServiceAccount", "shop", "default"),
    ];
    let result = restore(&server, &items, json!({})).await;
    assert_clean(&result);
    assert_eq!(
        entries(&result, "v1/ConfigMap"),
        ["shop/kube-root-ca.crt(skipped)"]
    );
    assert_eq!(
        entries(&result, "v1/ServiceAccount"),
        ["shop/default(skipped)"]
    );
    assert_eq!(
        entries(&result, "v1/Service"),
        ["default/kubernetes(skipped)"]
    );
    let account = server
        .store()
        .get("v1", "ServiceAccount", Some("shop"), "default")
        .unwrap();
    assert_eq!(account["metadata"].get("labels"), None);
}

/// Objects of which each cluster has its own are of no use in another one, and cost no call.
#[tokio::test]
async fn what_holds_in_its_own_cluster_only_is_not_brought_to_another() {
    let server = ApiServer::new();
    let mut identity = object(
        "coordination.k8s.io/v1",
        "Lease",
        "kube-system",
        "apiserver-x",
    );
    identity["metadata"]["labels"] = json!({"apiserver.kubernetes.io/identity": "kube-apiserver"});
    let mut address = object("networking.k8s.io/v1", "IPAddress", "", "10.0.0.7");
    address["metadata"]["labels"] =
        json!({"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
    address["spec"] =
        json!({"parentRef": {"resource": "services", "namespace": "shop", "name": "web"}});
    let node = object(
        "coordination.k8s.io/v1",
        "Lease",
        "kube-node-lease",
        "node-1",
    );
    let items = [identity, address, node];
    let engine = engine(&server).await;
    server.calls().reset();
    let result = run_items(&engine, &items).await;
    assert_clean(&result);
    assert_eq!((result.counts.skipped, result.counts.total), (3, 3));
    assert_eq!(server.calls().writes().len(), 0);
    assert_eq!(
        entries(&result, "coordination.k8s.io/v1/Lease"),
        [
            "kube-node-lease/node-1(skipped)",
            "kube-system/apiserver-x(skipped)"
        ]
    );
}

/// What a user has set on an object that the cluster provides is told when it does not come back.
#[tokio::test]
async fn what_was_set_on_a_provided_object_is_not_lost_in_silence() {
    let server = ApiServer::new();
    let marked = |rules: Value| {
        let mut role = object("rbac.authorization.k8s.io/v1", "ClusterRole", "", "view");
        role["metadata"]["labels"] = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
        role["metadata"]["annotations"] =
            json!({"rbac.authorization.kubernetes.io/autoupdate": "true"});
        role["rules"] = rules;
        role
    };
    server.store().seed_value(marked(json!([]))).unwrap();
    let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]);
    let mut root = object("v1", "ConfigMap", "default", "kube-root-ca.crt");
    root["metadata"]["labels"] = json!({"mine": "1"});
    root["data"] = json!({"ca.crt": "another cluster's"});
    let mut account = object("v1", "ServiceAccount", "default", "default");
    account["imagePullSecrets"] = json!([{"name": "pull"}]);
    for policy in ["none", "update"] {
        let items = [marked(rules.clone()), root.clone(), account.clone()];
        let result = restore(&server, &items, json!({"existingResourcePolicy": policy})).await;
        let warnings = warnings(&result);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        for warning in &warnings {
            assert!(warning.contains("the cluster provides it"), "{warning}");
        }
    }
    let live = server
        .store()
        .get("v1", "ServiceAccount", Some("default"), "default")
        .unwrap();
    assert_eq!(live["imagePullSecrets"], json!([{"name": "pull"}]));
    let role = server
        .store()
        .get("rbac.authorization.k8s.io/v1", "ClusterRole", None, "view");
    assert_eq!(role.unwrap()["rules"], json!([]));
}

#[tokio::test]
async fn a_port_that_is_taken_counts_as_existing_only_if_the_service_does() {
    let server = ApiServer::new();
    let service = |name: &str, port: i64| {
        let mut service = object("v1", "Service", "default", name);
        service["spec"] = json!({"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": port, "protocol": "TCP", "targetPort": 80}]});
        service
    };
    server.store().seed_value(service("holder", 30080)).unwrap();
    let items = [service("holder", 30080), service("other", 30080)];
    let result = restore(&server, &items, json!({"preserveNodePorts": true})).await;
    assert_eq!(
        entries(&result, "v1/Service"),
        ["default/holder(skipped)", "default/other(failed)"]
    );
    let errors = errors(&result);
    assert!(
        errors.len() == 1
            && errors[0].contains("name: /other")
            && errors[0].contains("already allocated"),
        "{errors:?}"
    );
}

#[tokio::test]
async fn an_object_that_is_being_deleted_is_not_there() {
    let server = ApiServer::new();
    let mut dying = config_map("default", "settings");
    dying["metadata"]["finalizers"] = json!(["example.com/wait"]);
    dying["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    server.store().seed_value(dying).unwrap();
    let result = restore(&server, &[config_map("default", "settings")], json!({})).await;
    let warnings = warnings(&result);
    assert!(
        warnings.len() == 1 && warnings[0].contains("being deleted"),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn a_live_object_equal_to_the_backed_up_one_is_left_alone() {
    let server = ApiServer::new();
    let seeded: Value = server
        .store()
        .seed_value(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "default",
            "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": "pv1", "storageClassName": "s"},
            "status": {"phase": "Bound"}}))
        .unwrap();
    let result = restore(
        &server,
        &[seeded],
        json!({"includeClusterResources": false}),
    )
    .await;
    assert_clean(&result);
    assert_eq!(
        entries(&result, "v1/PersistentVolumeClaim"),
        ["default/data(skipped)"]
    );
}
