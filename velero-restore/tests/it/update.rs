//! Objects that are in the cluster already, under the policy `update`.

use serde_json::{Value, json};
use velero_restore::RestoreResult;
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::common::*;

const UPDATE: &str = "update";

fn policy(policy: &str) -> Value {
    json!({"existingResourcePolicy": policy})
}

/// The labels of a restore before this one.
fn stale(mut object: Value) -> Value {
    object["metadata"]["labels"]["velero.io/backup-name"] = json!("older");
    object["metadata"]["labels"]["velero.io/restore-name"] = json!("older");
    object
}

fn ours() -> Value {
    json!({"velero.io/backup-name": "b1", "velero.io/restore-name": "r1"})
}

fn secret(data: Value) -> Value {
    let mut secret = object("v1", "Secret", "default", "keys");
    secret["type"] = json!("Opaque");
    secret["data"] = data;
    secret
}

fn pod() -> Value {
    let mut pod = object("v1", "Pod", "default", "web");
    pod["spec"] = json!({"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Always"});
    pod
}

/// The verbs of all writes since the last reset.
fn writes(server: &ApiServer) -> Vec<String> {
    let calls = server.calls().writes();
    calls.iter().map(|call| call.verb.clone()).collect()
}

fn live(server: &ApiServer, object: &Value) -> Value {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let get = |pointer: &str| text(pointer).unwrap_or_default().to_owned();
    let (version, kind, name) = (get("/apiVersion"), get("/kind"), get("/metadata/name"));
    server
        .store()
        .get(&version, &kind, text("/metadata/namespace"), &name)
        .unwrap()
}

#[tokio::test]
async fn an_object_becomes_what_the_backup_has() {
    let server = ApiServer::new();
    let mut old = stale(secret(json!({"both": "b2xk", "gone": "eA=="})));
    old["metadata"]["annotations"] = json!({"theirs": "1"});
    old["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}]);
    server.store().seed_value(old).unwrap();
    let mut new = secret(json!({"both": "bmV3", "more": "eQ=="}));
    new["metadata"]["labels"] = json!({"app": "web"});
    new["metadata"]["managedFields"] = json!([
        managed("one", json!({"f:data": {".": {}, "f:both": {}}})),
        managed("two", json!({"f:type": {}, "f:data": {"f:more": {}}})),
    ]);
    let engine = engine(&server).await;
    server.calls().reset();
    let request = request(policy(UPDATE));
    let result = run(&engine, archive(std::slice::from_ref(&new)), &request).await;
    assert_clean(&result);
    assert_eq!(entries(&result, "v1/Secret"), ["default/keys(updated)"]);
    assert_eq!(
        writes(&server),
        ["create", "patch"],
        "the refused try, and one write"
    );
    let now = live(&server, &new);
    assert_eq!(now["data"], json!({"both": "bmV3", "more": "eQ=="}));
    assert_eq!(
        now["metadata"]["labels"],
        json!({"app": "web", "velero.io/backup-name": "b1", "velero.io/restore-name": "r1"})
    );
    assert!(now["metadata"].get("annotations").is_none(), "{now}");
    assert_eq!(now["metadata"]["ownerReferences"][0]["name"], json!("o"));
    let owners = now["metadata"]["managedFields"].as_array().unwrap();
    assert!(owners.iter().any(|e| e["manager"] == json!("two")), "{now}");

    server.calls().reset();
    let again = run(&engine, archive(&[new]), &request).await;
    assert_clean(&again);
    assert_eq!(entries(&again, "v1/Secret"), ["default/keys(skipped)"]);
    assert_eq!(writes(&server), ["create"], "there is nothing to change");
}

/// Whoever is equal keeps all but the labels of an earlier restore.
#[tokio::test]
async fn stale_labels_are_written_anew_by_update_alone() {
    let account = object("v1", "ServiceAccount", "default", "runner");
    for object in [pod(), account] {
        // As a cluster has it, which is as a backup has it.
        let object = ApiServer::new().store().seed_value(object).unwrap();
        for (policy_name, expected) in [("", "older"), ("none", "older"), (UPDATE, "r1")] {
            let server = ApiServer::new();
            server.store().seed_value(stale(object.clone())).unwrap();
            let items = [object.clone()];
            let result = restore(&server, &items, policy(policy_name)).await;
            assert_clean(&result);
            assert_eq!((result.counts.skipped, result.counts.total), (1, 1));
            assert_eq!(
                live(&server, &object)["metadata"]["labels"]["velero.io/restore-name"],
                json!(expected),
                "{object} {policy_name:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_equal_account_without_labels_gets_them_by_update_alone() {
    let account = object("v1", "ServiceAccount", "default", "runner");
    for (policy_name, expected) in [("none", Value::Null), (UPDATE, ours())] {
        let server = ApiServer::new();
        server.store().seed_value(account.clone()).unwrap();
        let result = restore(&server, std::slice::from_ref(&account), policy(policy_name)).await;
        assert_clean(&result);
        let labels = &live(&server, &account)["metadata"]["labels"];
        assert_eq!(labels, &expected, "{policy_name}");
    }
}

#[tokio::test]
async fn accounts_are_merged_and_keep_what_they_have() {
    let mut theirs = object("v1", "ServiceAccount", "default", "runner");
    theirs["imagePullSecrets"] = json!([{"name": "own"}]);
    let mut account = object("v1", "ServiceAccount", "default", "runner");
    account["imagePullSecrets"] = json!([{"name": "pull"}]);
    let items = [account];

    let server = ApiServer::new();
    server.store().seed_value(theirs.clone()).unwrap();
    let result = restore(&server, &items, policy(UPDATE)).await;
    assert_clean(&result);
    assert_eq!(
        entries(&result, "v1/ServiceAccount"),
        ["default/runner(updated)"]
    );
    let merged = live(&server, &theirs);
    assert_eq!(
        merged["imagePullSecrets"],
        json!([{"name": "own"}, {"name": "pull"}])
    );
    assert!(
        merged["metadata"].get("labels").is_none(),
        "a merged account gets no labels"
    );

    // A refused merge is a warning; then the labels are tried alone.
    let server = ApiServer::new();
    server.store().seed_value(theirs.clone()).unwrap();
    refuse_patches(&server, "serviceaccounts", 1);
    let result = restore(&server, &items, policy(UPDATE)).await;
    assert_eq!((result.errors(), result.warnings()), (0, 1));
    assert_eq!(
        entries(&result, "v1/ServiceAccount"),
        ["default/runner(failed)"]
    );
    assert_eq!(live(&server, &theirs)["metadata"]["labels"], ours());
}

fn refuse_patches(server: &ApiServer, resource: &str, times: u64) {
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("patch")
            .resource(resource)
            .times(times),
    );
}

#[tokio::test]
async fn what_cannot_be_updated_is_a_warning_and_gets_the_labels() {
    let wanted = secret(json!({"key": "eA=="}));
    let different = || {
        let mut other = wanted.clone();
        other["type"] = json!("example.com/other");
        other
    };
    let check = |result: &RestoreResult, errors: usize| {
        let warnings = warnings(result);
        assert!(
            warnings.len() == 1 && warnings[0].contains("cannot be updated to what the backup has"),
            "{warnings:?}"
        );
        assert_eq!(entries(result, "v1/Secret"), ["default/keys(failed)"]);
        assert_eq!(result.errors(), errors, "{:?}", result.records);
    };
    let items = std::slice::from_ref(&wanted);
    // The type of a secret cannot change.
    let server = ApiServer::new();
    server.store().seed_value(different()).unwrap();
    check(&restore(&server, items, policy(UPDATE)).await, 0);
    let now = live(&server, &wanted);
    assert_eq!(now["metadata"]["labels"], ours());
    assert_eq!(now["type"], json!("example.com/other"));

    let server = ApiServer::new();
    server.store().seed_value(different()).unwrap();
    refuse_patches(&server, "secrets", 2);
    let result = restore(&server, items, policy(UPDATE)).await;
    check(&result, 1);
    assert!(
        errors(&result)[0].contains("the labels of the restore cannot be written"),
        "{:?}",
        result.records
    );
}

#[tokio::test]
async fn what_the_cluster_has_chosen_survives_an_update() {
    let server = ApiServer::new();
    let mut service = object("v1", "Service", "default", "web");
    service["spec"] = json!({"type": "NodePort", "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 80}]});
    let mut claim = object("v1", "PersistentVolumeClaim", "default", "data");
    claim["metadata"]["finalizers"] = json!(["kubernetes.io/pvc-protection"]);
    claim["spec"] = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "s", "volumeMode": "Filesystem"});
    claim["metadata"]["managedFields"] = json!([managed(
        "kubectl",
        json!({"f:spec": {"f:accessModes": {}, "f:resources": {"f:requests": {".": {}, "f:storage": {}}}, "f:storageClassName": {}, "f:volumeMode": {}},
            "f:metadata": {"f:annotations": {".": {}, "f:note": {}}}})
    )]);
    let items = [service.clone(), claim.clone()];
    assert_clean(&restore(&server, &items, json!({})).await);
    let before = (live(&server, &service), live(&server, &claim));
    service["spec"]["selector"] = json!({"app": "shop"});
    claim["metadata"]["annotations"] = json!({"note": "new"});
    let items = [service.clone(), claim.clone()];
    let result = restore(&server, &items, policy(UPDATE)).await;
    assert_clean(&result);
    assert_eq!(result.counts.updated, 2, "{:?}", result.counts);
    let after = (live(&server, &service), live(&server, &claim));
    for field in ["clusterIP", "clusterIPs", "ports", "ipFamilies"] {
        assert_eq!(after.0["spec"][field], before.0["spec"][field], "{field}");
    }
    assert_eq!(after.0["spec"]["selector"], json!({"app": "shop"}));
    assert_eq!(
        after.1["metadata"]["finalizers"],
        json!(["kubernetes.io/pvc-protection"])
    );
    assert_eq!(after.1["metadata"]["annotations"]["note"], json!("new"));
}

#[tokio::test]
async fn what_clusters_make_and_what_belongs_to_velero_is_never_changed() {
    let server = ApiServer::new();
    let mut role = object("rbac.authorization.k8s.io/v1", "ClusterRole", "", "edit");
    role["metadata"]["labels"] = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    role["metadata"]["annotations"] =
        json!({"rbac.authorization.kubernetes.io/autoupdate": "true"});
    role["rules"] = json!([]);
    let mut settings = config_map("velero", "settings");
    settings["metadata"]["labels"] = json!({"component": "velero"});
    let account = object("v1", "ServiceAccount", "default", "default");
    for seed in [namespace("velero"), role.clone(), settings.clone()] {
        server.store().seed_value(seed).unwrap();
    }
    settings["data"] = json!({"key": "another"});
    role["rules"] = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    let engine = engine(&server).await;
    server.calls().reset();
    let items = [role, settings, account];
    let result = run(&engine, archive(&items), &request(policy(UPDATE))).await;
    assert_eq!(
        warnings(&result),
        [
            "cluster: resource: /clusterroles.rbac.authorization.k8s.io name: /edit message: /not restored: the object in the cluster differs from the \
             one in the backup; the cluster provides it, and no restore changes it",
            "velero: resource: /configmaps name: /settings message: /not updated: it differs from the one in the backup, and \
             belongs to Velero itself",
        ]
    );
    assert_eq!(server.calls().count_verb("patch"), 0);
}

/// The peer's patch takes the volume from the claim that holds it.
#[tokio::test]
async fn a_bound_volume_is_not_taken_from_its_claim() {
    let mut volume = object("v1", "PersistentVolume", "", "pv1");
    volume["spec"] = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/x"}, "storageClassName": "s",
        "claimRef": {"kind": "PersistentVolumeClaim", "namespace": "shop", "name": "data", "uid": "u"}});
    volume["status"] = json!({"phase": "Bound"});
    let mut unclaimed = volume.clone();
    unclaimed["spec"]
        .as_object_mut()
        .unwrap()
        .remove("claimRef");
    for (archived, mapping) in [
        (volume.clone(), json!({"shop": "copy"})),
        (unclaimed, json!({})),
    ] {
        let server = ApiServer::new();
        server.store().seed_value(volume.clone()).unwrap();
        let spec = json!({"existingResourcePolicy": UPDATE, "namespaceMapping": mapping});
        let result = restore(&server, &[archived, namespace("shop")], spec).await;
        let warnings = warnings(&result);
        assert!(
            warnings.len() == 1 && warnings[0].contains("is bound to another claim, shop/data"),
            "{warnings:?}"
        );
        let claim = &live(&server, &volume)["spec"]["claimRef"];
        assert_eq!(
            (&claim["namespace"], &claim["uid"]),
            (&json!("shop"), &json!("u"))
        );
    }
}
