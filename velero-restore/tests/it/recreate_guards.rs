//! What the policies `update` and `recreate` never delete or change, and what a restore takes for its own.

use std::time::Duration;

use serde_json::{Value, json};
use velero_cluster::{Cluster, ClusterOptions};
use velero_restore::RestoreEngine;
use velero_testkit::{ApiServer, Fault, FaultAction, ManualClock};

use crate::common::*;
use crate::recreate::{recreate, recreated, secret};
use crate::verify::look;

fn definition(group: &str, plural: &str, kind: &str) -> Value {
    let mut crd = object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "",
        &format!("{plural}.{group}"),
    );
    crd["spec"] = json!({"group": group, "scope": "Namespaced",
        "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]});
    crd
}

/// What the API server says where a field cannot change.
fn invalid(message: &str) -> FaultAction {
    FaultAction::Status {
        code: 422,
        body: json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid", "code": 422,
            "message": message}),
    }
}

fn claim(name: &str, owner: &Value) -> Value {
    let mut claim = object("v1", "PersistentVolumeClaim", "shop", name);
    claim["spec"] =
        json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let text = |at: &str| owner.pointer(at).cloned().unwrap_or_default();
    claim["metadata"]["ownerReferences"] = json!([{"apiVersion": text("/apiVersion"), "kind": text("/kind"),
        "name": text("/metadata/name"), "uid": text("/metadata/uid")}]);
    claim
}

/// A database of an operator, its archive's form, and a server that says that it cannot change.
async fn databases(server: &ApiServer) -> (Value, Vec<Value>) {
    let store = server.store();
    for object in [
        object("v1", "Namespace", "", "shop"),
        definition("example.com", "databases", "Database"),
    ] {
        store.seed_value(object).unwrap();
    }
    let database = |size: u64| {
        let mut database = object("example.com/v1", "Database", "shop", "db");
        database["spec"] = json!({"size": size});
        database
    };
    let live = store.seed_value(database(1)).unwrap();
    server.faults().add(
        Fault::new(invalid(
            "Database.example.com \"db\" is invalid: spec.size: Invalid value: field is immutable",
        ))
        .verb("patch")
        .resource("databases"),
    );
    (live, vec![database(2)])
}

#[tokio::test]
async fn what_owns_claims_is_not_created_anew_and_the_plan_says_so() {
    for through in [false, true] {
        let server = ApiServer::new();
        let (live, items) = databases(&server).await;
        // Either itself or by what it has made.
        let owner = match through {
            false => live.clone(),
            true => {
                let mut set = object("v1", "ConfigMap", "shop", "made");
                set["metadata"]["ownerReferences"] = json!([{"apiVersion": "example.com/v1", "kind": "Database",
                    "name": "db", "uid": live["metadata"]["uid"]}]);
                server.store().seed_value(set).unwrap()
            }
        };
        server.store().seed_value(claim("data", &owner)).unwrap();
        let engine = engine(&server).await;
        let found = look(&server, &engine, archive(&items), &recreate()).await;
        let (said, why) = found.said("databases.example.com shop/db");
        assert!(
            said == "conflict" && why.contains("claim shop/data belongs to it"),
            "{said} {why}"
        );
        let result = recreated(&server, &items).await;
        let warnings = warnings(&result);
        assert!(
            warnings.len() == 1 && warnings[0].contains("claim shop/data belongs to it"),
            "{warnings:?}"
        );
        assert_eq!(server.calls().count_verb("delete"), 0);
        let now = server
            .store()
            .get("example.com/v1", "Database", Some("shop"), "db");
        assert_eq!(now.unwrap()["metadata"]["uid"], live["metadata"]["uid"]);
    }
}

#[tokio::test]
async fn claims_are_listed_once_and_hinder_nobody_else() {
    let server = ApiServer::new();
    let (_, mut items) = databases(&server).await;
    for n in 0..5 {
        let mut other = items[0].clone();
        other["metadata"]["name"] = json!(format!("db{n}"));
        let mut live = other.clone();
        live["spec"] = json!({"size": 1});
        server.store().seed_value(live).unwrap();
        items.push(other);
    }
    let owner = object("v1", "ConfigMap", "shop", "another");
    let owner = server.store().seed_value(owner).unwrap();
    server.store().seed_value(claim("data", &owner)).unwrap();
    let result = recreated(&server, &items).await;
    assert_clean(&result);
    let calls = server.calls();
    assert_eq!(
        (
            calls.count("list", "persistentvolumeclaims"),
            calls.count("delete", "databases")
        ),
        (1, 6)
    );
}

#[tokio::test]
async fn where_claims_cannot_be_listed_nothing_is_created_anew() {
    let server = ApiServer::new();
    let (_, items) = databases(&server).await;
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("list")
            .resource("persistentvolumeclaims"),
    );
    let result = recreated(&server, &items).await;
    let warnings = warnings(&result);
    assert!(
        warnings.len() == 1 && warnings[0].contains("claims could be deleted with it: they cannot"),
        "{warnings:?}"
    );
    assert_eq!(server.calls().count_verb("delete"), 0);
}

#[tokio::test]
async fn what_a_policy_or_a_webhook_refuses_is_not_created_anew() {
    for (code, message) in [
        (
            422,
            "secrets \"keys\" is forbidden: ValidatingAdmissionPolicy 'locked' with binding 'all' denied request: it is locked",
        ),
        (
            422,
            "admission webhook \"lock.example.com\" denied the request: it is locked",
        ),
        (
            400,
            "admission webhook \"lock.example.com\" denied the request: it is locked",
        ),
    ] {
        let server = ApiServer::new();
        let mut live = secret("example.com/x");
        live["data"] = json!({"key": "eQ=="});
        server.store().seed_value(live).unwrap();
        let mut action = invalid(message);
        if let FaultAction::Status { code: said, body } = &mut action {
            *said = code;
            body["code"] = json!(code);
            if code == 400 {
                body["reason"] = json!("BadRequest");
            }
        }
        server
            .faults()
            .add(Fault::new(action).verb("patch").resource("secrets"));
        let result = recreated(&server, &[secret("example.com/x")]).await;
        let warnings = warnings(&result);
        assert!(
            warnings.len() == 1 && warnings[0].contains("it is locked"),
            "{code} {message}: {warnings:?}"
        );
        assert_eq!(server.calls().count_verb("delete"), 0, "{code} {message}");
    }
    // What the API server itself says of a field does lead there.
    let server = ApiServer::new();
    let mut live = secret("example.com/x");
    live["data"] = json!({"key": "eQ=="});
    server.store().seed_value(live).unwrap();
    let action = invalid("Secret \"keys\" is invalid: data: Forbidden: field is immutable");
    server
        .faults()
        .add(Fault::new(action).verb("patch").resource("secrets"));
    assert_clean(&recreated(&server, &[secret("example.com/x")]).await);
    assert_eq!(server.calls().count_verb("delete"), 1);
}

#[tokio::test]
async fn pods_that_a_controller_has_made_are_left_to_it() {
    let pod = |image: &str| {
        let mut pod = object("v1", "Pod", "default", "kafka-0");
        pod["spec"] = json!({"nodeName": "n1", "containers": [{"name": "c", "image": image, "args": [image]}]});
        pod
    };
    for is_controlled in [true, false] {
        let server = ApiServer::new();
        let mut live = pod("theirs");
        live["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "kafka",
            "uid": "u1", "controller": is_controlled}]);
        server.store().seed_value(live).unwrap();
        let fixed =
            "Pod \"kafka-0\" is invalid: spec: Forbidden: pod updates may not change fields";
        let fault = Fault::new(invalid(fixed)).verb("patch").resource("pods");
        server.faults().add(fault);
        let result = recreated(&server, &[pod("ours")]).await;
        let deleted = server.calls().count_verb("delete");
        let warnings = warnings(&result);
        match is_controlled {
            true => assert!(
                deleted == 0
                    && warnings.len() == 1
                    && warnings[0].contains("what controls it decides about it"),
                "{warnings:?}"
            ),
            false => assert_eq!((deleted, warnings), (1, Vec::new())),
        }
    }
}

/// Nobody hears whether it was deleted, and it was.
#[tokio::test(start_paused = true)]
async fn a_deletion_without_an_answer_is_gone_on_with() {
    let server = ApiServer::new();
    server
        .store()
        .seed_value(secret("example.com/old"))
        .unwrap();
    let mut lost = Fault::new(FaultAction::ConnectionReset)
        .verb("delete")
        .resource("secrets");
    lost.after = true;
    server.faults().add(lost);
    let options =
        ClusterOptions::default().timeouts(Duration::from_secs(2), Duration::from_secs(5));
    let cluster = Cluster::connect_with(server.client(), options)
        .await
        .unwrap();
    let engine = RestoreEngine::new(cluster).options(options_for_long());
    let result = run(&engine, archive(&[secret("example.com/new")]), &recreate()).await;
    assert_eq!(errors(&result), Vec::<String>::new());
    let now = server.store().get("v1", "Secret", Some("default"), "keys");
    assert_eq!(now.unwrap()["type"], json!("example.com/new"));
}

fn options_for_long() -> velero_restore::RestoreOptions {
    options().terminating_timeout(Duration::from_secs(60))
}

/// Neither the operator, nor what else is in its namespace, nor custom resources of Velero anywhere.
#[tokio::test]
async fn nothing_of_velero_is_changed_or_deleted() {
    let definitions = [
        definition("velero.io", "schedules", "Schedule"),
        definition(
            "velero.io",
            "backupstoragelocations",
            "BackupStorageLocation",
        ),
    ];
    let in_place = |namespace: &str, value: &str| {
        let mut typed = object("v1", "Secret", namespace, "credentials");
        typed["type"] = json!(format!("example.com/{value}"));
        let mut map = object("v1", "ConfigMap", namespace, "settings");
        map["data"] = json!({"key": value});
        let mut account = object("v1", "ServiceAccount", namespace, "agent");
        account["imagePullSecrets"] = json!([{"name": value}]);
        let mut schedule = object("velero.io/v1", "Schedule", namespace, "nightly");
        schedule["spec"] = json!({"schedule": value});
        vec![typed, map, account, schedule]
    };
    let update = request(json!({"existingResourcePolicy": "update"}));
    for (request, name) in [(update, "update"), (recreate(), "recreate")] {
        for (place, changed) in [("velero", 0), ("vault", 0), ("shop", 3)] {
            let server = ApiServer::new();
            for object in definitions.iter().cloned().chain([
                object("v1", "Namespace", "", "velero"),
                object("v1", "Namespace", "", "shop"),
                object("v1", "Namespace", "", "vault"),
            ]) {
                server.store().seed_value(object).unwrap();
            }
            server
                .store()
                .seed_value(object(
                    "velero.io/v1",
                    "BackupStorageLocation",
                    "vault",
                    "default",
                ))
                .unwrap();
            for object in in_place(place, "theirs") {
                server.store().seed_value(object).unwrap();
            }
            let engine = engine(&server).await;
            server.calls().reset();
            let result = run(&engine, archive(&in_place(place, "ours")), &request).await;
            let calls = server.calls();
            let writes = calls.writes();
            let deleted = writes.iter().filter(|call| call.verb == "delete").count();
            let patched: Vec<_> = writes
                .iter()
                .filter(|call| call.verb == "patch" && call.resource != "secrets")
                .map(|call| call.resource.clone())
                .collect();
            // The type of a Secret cannot be patched.
            let replaced = usize::from(name == "recreate" && changed > 0);
            assert_eq!(deleted, replaced, "{name} {place}: {writes:?}");
            let expected: &[&str] = match changed {
                0 => &[],
                _ => &["configmaps", "serviceaccounts"],
            };
            let mut sorted = patched;
            sorted.sort();
            assert_eq!(sorted, expected, "{name} {place}");
            let live = server
                .store()
                .get("velero.io/v1", "Schedule", Some(place), "nightly");
            assert_eq!(live.unwrap()["spec"]["schedule"], "theirs");
            if changed == 0 {
                assert_eq!(calls.count_verb("patch"), 0, "{name} {place}");
                assert_eq!(
                    result.warnings(),
                    4,
                    "{name} {place}: {:?}",
                    warnings(&result)
                );
            }
            assert!(calls.count("list", "backupstoragelocations") <= 1);
        }
    }
}

/// An earlier restore of the same name has left the same labels.
#[tokio::test]
async fn an_object_of_an_earlier_restore_of_the_name_is_not_ours() {
    for (age, expected) in [
        (Duration::from_secs(30 * 24 * 3600), "failed"),
        (Duration::ZERO, "created"),
    ] {
        let now = velero_core::Timestamp::now();
        let then = now.checked_sub(age).unwrap();
        let server = ApiServer::builder().clock(ManualClock::at(then)).build();
        let mut live = config_map("default", "m");
        live["metadata"]["labels"] =
            json!({"velero.io/restore-name": "r1", "velero.io/backup-name": "b1"});
        live["data"] = json!({"key": "last month's"});
        let metadata = live["metadata"].as_object_mut().unwrap();
        metadata.remove("creationTimestamp");
        server.store().seed_value(live).unwrap();
        // The first try ends without an answer, the next one finds an object.
        server.faults().add(
            Fault::new(FaultAction::ConnectionReset)
                .verb("create")
                .resource("configmaps")
                .times(1)
                .after(),
        );
        let mut item = config_map("default", "m");
        item["data"] = json!({"key": "ours"});
        let result = restore(&server, &[item], json!({})).await;
        assert_eq!(
            entries(&result, "v1/ConfigMap"),
            [format!("default/m({expected})")],
            "{age:?}"
        );
    }
}
