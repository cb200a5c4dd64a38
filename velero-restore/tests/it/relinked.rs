//! Owner references, linked to the new uids of their owners.

use serde_json::{Value, json};
use velero_cluster::DeleteOptions;
use velero_restore::{RestoreEngine, RestoreResult};
use velero_testkit::{ApiServer, Controllers, Fault, FaultAction};

use crate::common::*;

const OLD: &str = "0b8e1b52-0000-4000-8000-";

fn old_uid(name: &str) -> String {
    format!("{OLD}{:0>12}", name.bytes().map(u64::from).sum::<u64>())
}

/// An object as an archive has it, with its old uid.
fn known(version: &str, kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = object(version, kind, namespace, name);
    object["metadata"]["uid"] = json!(old_uid(name));
    object
}

fn owned_by(mut object: Value, owner: &Value) -> Value {
    let reference = json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true});
    let owners = &mut object["metadata"]["ownerReferences"];
    match owners.as_array_mut() {
        Some(all) => all.push(reference),
        None => *owners = json!([reference]),
    }
    object
}

fn secret(name: &str) -> Value {
    known("v1", "Secret", "shop", name)
}

fn map(name: &str) -> Value {
    known("v1", "ConfigMap", "shop", name)
}

fn live(server: &ApiServer, namespace: &str, object: &Value) -> Value {
    let text = |field: &str| object[field].as_str().unwrap();
    let name = object["metadata"]["name"].as_str().unwrap();
    let found = server
        .store()
        .get(text("apiVersion"), text("kind"), Some(namespace), name);
    found.unwrap()
}

fn owners(server: &ApiServer, namespace: &str, object: &Value) -> Vec<Value> {
    let live = live(server, namespace, object);
    live["metadata"]["ownerReferences"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

async fn linking(server: &ApiServer) -> RestoreEngine {
    engine(server).await.options(options().relink_owners(true))
}

async fn relinked(server: &ApiServer, items: &[Value], spec: Value) -> RestoreResult {
    let engine = linking(server).await;
    server.calls().reset();
    run(&engine, archive(items), &request(spec)).await
}

#[track_caller]
fn assert_linked(server: &ApiServer, namespace: &str, object: &Value, owner: &Value) {
    let uid = &live(server, namespace, owner)["metadata"]["uid"];
    let owners = owners(server, namespace, object);
    assert_eq!(owners.len(), 1, "{owners:?}");
    assert_eq!(&owners[0]["uid"], uid);
    assert_eq!(owners[0]["controller"], json!(true));
}

#[tokio::test]
async fn an_owner_that_is_there_goes_with_the_object() {
    let server = ApiServer::new();
    // Secrets come before ConfigMaps.
    let owner = secret("owner");
    let mut owned = owned_by(map("owned"), &owner);
    let fields = json!({"f:metadata": {"f:ownerReferences": {".": {}, format!("k:{{\"uid\":\"{}\"}}", old_uid("owner")): {}}}});
    owned["metadata"]["managedFields"] = json!([managed("maker", fields)]);
    let items = [owned.clone(), owner.clone()];
    let result = relinked(
        &server,
        &items,
        json!({"namespaceMapping": {"shop": "copy"}}),
    )
    .await;
    assert_clean(&result);
    assert_linked(&server, "copy", &owned, &owner);
    assert_eq!((result.owners.linked, result.owners.linked_later), (1, 0));
    // One write an object, in the name of who has set the owner.
    assert_eq!(server.calls().count("create", "configmaps"), 1);
    assert_eq!(server.calls().count_verb("patch"), 0);
    let fields = &live(&server, "copy", &owned)["metadata"]["managedFields"];
    assert_eq!(fields[0]["manager"], json!("maker"), "{fields}");
}

#[tokio::test]
async fn an_owner_that_comes_later_costs_a_patch() {
    let server = ApiServer::new();
    let owner = map("owner");
    let owned = owned_by(secret("owned"), &owner);
    let result = relinked(&server, &[owner.clone(), owned.clone()], json!({})).await;
    assert_clean(&result);
    assert_linked(&server, "shop", &owned, &owner);
    assert_eq!((result.owners.linked, result.owners.linked_later), (0, 1));
    let calls = server.calls();
    assert_eq!(
        (
            calls.count("patch", "secrets"),
            calls.count("get", "secrets")
        ),
        (1, 0)
    );
    // Nothing is left to be done by the same restore once more.
    let again = relinked(&server, &[owner, owned], json!({})).await;
    assert_clean(&again);
    assert_eq!(server.calls().count_verb("patch"), 0);
}

#[tokio::test]
async fn owners_on_both_sides_and_changes_in_between() {
    let server = ApiServer::new();
    let (early, late) = (secret("early"), map("late"));
    // A ConfigMap's place is after both; a Secret's in between.
    let mut between = owned_by(owned_by(secret("z-between"), &early), &late);
    between["metadata"]["ownerReferences"][1]["controller"] = json!(false);
    server.faults().add(
        Fault::new(FaultAction::Conflict)
            .verb("patch")
            .resource("secrets")
            .times(1),
    );
    let mut options = options().relink_owners(true);
    options.items_in_flight = 1;
    let engine = engine(&server).await.options(options);
    let items = [early.clone(), between.clone(), late.clone()];
    let result = run_items(&engine, &items).await;
    assert_clean(&result);
    let owners = owners(&server, "shop", &between);
    let uid = |object: &Value| live(&server, "shop", object)["metadata"]["uid"].clone();
    let uids: Vec<Value> = owners.iter().map(|o| o["uid"].clone()).collect();
    assert_eq!(uids, [uid(&early), uid(&late)]);
    assert_eq!((result.owners.linked, result.owners.linked_later), (1, 1));
}

#[tokio::test]
async fn an_owner_of_the_cluster_is_found_once_and_one_that_is_gone_is_left_out() {
    let server = ApiServer::new();
    let there = map("there");
    server.store().seed_value(namespace("shop")).unwrap();
    let seeded = server
        .store()
        .seed_value(object("v1", "ConfigMap", "shop", "there"))
        .unwrap();
    let items: Vec<Value> = (0..5)
        .map(|n| owned_by(secret(&format!("s{n}")), &there))
        .chain([owned_by(secret("orphan"), &map("gone"))])
        .collect();
    let result = relinked(&server, &items, json!({})).await;
    assert_clean(&result);
    for n in 0..5 {
        let found = owners(&server, "shop", &secret(&format!("s{n}")));
        assert_eq!(found[0]["uid"], seeded["metadata"]["uid"]);
    }
    assert!(owners(&server, "shop", &secret("orphan")).is_empty());
    assert_eq!((result.owners.linked, result.owners.dropped), (5, 1));
    assert_eq!(server.calls().count("get", "configmaps"), 2);
}

#[tokio::test]
async fn without_being_asked_nothing_is_linked_and_the_annotation_asks() {
    let (owner, annotation) = (secret("owner"), "x.velero.io/relink-owners");
    let items = [owner.clone(), owned_by(map("owned"), &owner)];
    for (said, expected) in [("false", 0), ("true", 1)] {
        let server = ApiServer::new();
        let restore = json!({"metadata": {"name": "r1", "annotations": {annotation: said}}, "spec": {"backupName": "b1"}});
        let request =
            velero_restore::RestoreRequest::resolve(serde_json::from_value(restore).unwrap())
                .unwrap();
        assert_clean(&restore_bytes(&server, archive(&items), &request).await);
        assert_eq!(owners(&server, "shop", &items[1]).len(), expected, "{said}");
    }
}

#[tokio::test]
async fn what_is_not_ours_is_linked_by_update_alone() {
    for (policy, expected) in [("none", 0), ("update", 1)] {
        let server = ApiServer::new();
        let owner = secret("owner");
        let owned = owned_by(map("owned"), &owner);
        server.store().seed_value(namespace("shop")).unwrap();
        server
            .store()
            .seed_value(object("v1", "ConfigMap", "shop", "owned"))
            .unwrap();
        let items = [owner.clone(), owned.clone()];
        let result = relinked(&server, &items, json!({"existingResourcePolicy": policy})).await;
        assert_clean(&result);
        assert_eq!(owners(&server, "shop", &owned).len(), expected, "{policy}");
    }
}

/// Controllers take pods back, and the garbage collector deletes what has an owner that is not there.
#[tokio::test]
async fn with_controllers_everything_stays_and_goes_with_its_owner() {
    let server = ApiServer::builder().controllers(Controllers::All).build();
    let labels = json!({"app": "web"});
    let mut set = known("apps/v1", "ReplicaSet", "shop", "web");
    let containers = json!({"containers": [{"name": "c", "image": "i"}]});
    set["spec"] = json!({"replicas": 1, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": containers}});
    let mut pod = owned_by(known("v1", "Pod", "shop", "web-1"), &set);
    pod["metadata"]["labels"] = labels;
    pod["spec"] = containers;
    let owner = map("owner");
    let items = [
        set.clone(),
        pod.clone(),
        owner.clone(),
        owned_by(secret("owned"), &owner),
        owned_by(secret("orphan"), &map("gone")),
    ];
    let result = relinked(&server, &items, json!({})).await;
    assert_clean(&result);
    assert_eq!((result.owners.left, result.owners.linked_later), (1, 1));
    assert_eq!(server.calls().count("patch", "pods"), 0);
    settle().await;
    assert_linked(&server, "shop", &pod, &set);
    assert_linked(&server, "shop", &items[3], &owner);
    live(&server, "shop", &items[4]);
    // Those that go are deleted as a user would: what they own goes with them, and nothing else.
    for owner in [&owner, &set] {
        delete(&server, owner).await;
    }
    settle().await;
    for owned in [&pod, &items[3]] {
        let (kind, name) = (owned["kind"].as_str(), owned["metadata"]["name"].as_str());
        let version = owned["apiVersion"].as_str().unwrap();
        let found = server
            .store()
            .get(version, kind.unwrap(), Some("shop"), name.unwrap());
        assert_eq!(found, None);
    }
    live(&server, "shop", &items[4]);
}

async fn delete(server: &ApiServer, item: &Value) {
    let cluster = cluster(server).await;
    let catalog = cluster.catalog();
    let (version, kind) = (item["apiVersion"].as_str(), item["kind"].as_str());
    let resource = catalog.by_kind(version.unwrap(), kind.unwrap()).unwrap();
    let name = item["metadata"]["name"].as_str().unwrap();
    cluster
        .delete(resource, "shop", name, &DeleteOptions::default())
        .await
        .unwrap();
}

async fn settle() {
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
}
