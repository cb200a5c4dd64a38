//! What the policy `mirror` holds back because more would go than a plan lists.

use std::time::Duration;

use serde_json::{Value, json};
use velero_cluster::{PatchKind, WriteOptions};
use velero_core::api::Restore;
use velero_core::plan::Verdict;
use velero_restore::{BackedUp, ExistingPolicy, RestoreRequest, RestoreResult};
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::common::*;
use crate::mirror::{backup, carry_out, deletions, map, mirror, plan, seed, whole};
use crate::verify::Looked;

fn definition(group: &str, plural: &str, kind: &str, scope: &str) -> Value {
    let mut crd = object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "",
        &format!("{plural}.{group}"),
    );
    crd["spec"] = json!({"group": group, "scope": scope,
        "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]});
    crd
}

/// An object that goes when somebody lets it.
fn held(mut object: Value) -> Value {
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    object
}

/// A mirror of a backup that has read all that the server serves by now.
async fn request(server: &ApiServer, spec: Value) -> RestoreRequest {
    mirror(spec).backed_up(whole(json!({}), &cluster(server).await.catalog()))
}

async fn carried_out(
    server: &ApiServer,
    items: &[Value],
    request: &RestoreRequest,
    found: &Looked,
) -> RestoreResult {
    let engine = engine(server).await;
    carry_out(&engine, items, request, found.expected())
        .await
        .unwrap()
}

/// Waits until an object is being deleted, makes another one, and lets the first go.
fn swap(server: &ApiServer, first: &Value, other: Value) -> tokio::task::JoinHandle<()> {
    let (store, first) = (server.store(), first.clone());
    tokio::spawn(async move {
        let text = |at: &str| first.pointer(at).and_then(Value::as_str);
        let (version, kind) = (text("/apiVersion").unwrap(), text("/kind").unwrap());
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name").unwrap());
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let live = store.get(version, kind, namespace, name);
            if live.is_some_and(|live| live["metadata"]["deletionTimestamp"].is_string()) {
                store.seed_value(other).unwrap();
                store.remove(version, kind, namespace, name);
                return;
            }
        }
    })
}

#[tokio::test]
async fn what_comes_into_a_namespace_meanwhile_keeps_it() {
    let server = ApiServer::new();
    let white = held(map("new", "white"));
    seed(
        &server,
        &[
            object("v1", "Namespace", "", "shop"),
            object("v1", "Namespace", "", "new"),
            white.clone(),
        ],
    );
    let items = [object("v1", "Namespace", "", "shop")];
    let request = request(&server, json!({"includedNamespaces": ["new"]})).await;
    let found = plan(&server, &items, &request).await;
    assert_eq!(
        deletions(&found),
        ["configmaps new/white", "namespaces new"]
    );
    let swap = swap(&server, &white, object("v1", "Secret", "new", "late"));
    let result = carried_out(&server, &items, &request, &found).await;
    swap.await.unwrap();
    let errors = errors(&result);
    assert!(
        errors.len() == 1
            && errors[0].contains("namespaces name: /new")
            && errors[0].contains("it holds secrets late, which is not to be deleted"),
        "{errors:?}"
    );
    let store = server.store();
    assert!(store.get("v1", "Secret", Some("new"), "late").is_some());
    let new = store.get("v1", "Namespace", None, "new").unwrap();
    assert_eq!(new["metadata"].get("deletionTimestamp"), None);
}

#[tokio::test]
async fn an_object_that_comes_meanwhile_keeps_the_definition_of_its_kind() {
    let server = ApiServer::new();
    let shop = object("v1", "Namespace", "", "shop");
    seed(
        &server,
        &[
            shop.clone(),
            definition("library.example.com", "books", "Book", "Namespaced"),
        ],
    );
    let book = |name: &str| object("library.example.com/v1", "Book", "shop", name);
    let first = held(book("first"));
    seed(&server, std::slice::from_ref(&first));
    let items = [shop];
    let request = request(&server, json!({})).await;
    let found = plan(&server, &items, &request).await;
    assert_eq!(deletions(&found).len(), 2, "{:?}", deletions(&found));
    let swap = swap(&server, &first, book("late"));
    let result = carried_out(&server, &items, &request, &found).await;
    swap.await.unwrap();
    let errors = errors(&result);
    assert!(
        errors.len() == 1 && errors[0].contains("it holds books.library.example.com late"),
        "{errors:?}"
    );
    let store = server.store();
    let late = store.get("library.example.com/v1", "Book", Some("shop"), "late");
    assert!(late.is_some());
}

#[tokio::test]
async fn what_could_not_be_deleted_keeps_what_holds_it() {
    let server = ApiServer::new();
    seed(
        &server,
        &[
            object("v1", "Namespace", "", "shop"),
            object("v1", "Namespace", "", "new"),
            map("new", "white"),
        ],
    );
    let items = [object("v1", "Namespace", "", "shop")];
    let request = request(&server, json!({"includedNamespaces": ["new"]})).await;
    let found = plan(&server, &items, &request).await;
    assert_eq!(deletions(&found).len(), 2);
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("delete")
            .resource("configmaps")
            // The look tries it out.
            .skip(1),
    );
    let result = carried_out(&server, &items, &request, &found).await;
    let errors = errors(&result);
    assert!(
        errors.len() == 2
            && errors
                .iter()
                .any(|error| error.contains("namespaces name: /new")
                    && error.contains("something that was to be deleted before it is still there")),
        "{errors:?}"
    );
    assert_eq!(result.counts.deleted, 0);
    let store = server.store();
    assert!(store.get("v1", "ConfigMap", Some("new"), "white").is_some());
}

/// Snapshots are never restored and never deleted; a namespace would take them along.
#[tokio::test]
async fn a_snapshot_keeps_its_namespace_and_the_plan_says_so() {
    let server = ApiServer::new();
    seed(
        &server,
        &[
            object("v1", "Namespace", "", "shop"),
            object("v1", "Namespace", "", "new"),
            object("v1", "Namespace", "", "bare"),
            map("new", "white"),
            definition(
                "snapshot.storage.k8s.io",
                "volumesnapshots",
                "VolumeSnapshot",
                "Namespaced",
            ),
        ],
    );
    let snapshot = object(
        "snapshot.storage.k8s.io/v1",
        "VolumeSnapshot",
        "new",
        "kept",
    );
    seed(&server, &[snapshot]);
    let spec = json!({"includedNamespaces": ["new", "bare"]});
    let request = request(&server, spec).await;
    let items = [object("v1", "Namespace", "", "shop")];
    let found = plan(&server, &items, &request).await;
    assert_eq!(
        deletions(&found),
        ["configmaps new/white", "namespaces bare"]
    );
    let (said, why) = found.said("namespaces new");
    assert!(
        said == "excluded" && why.contains("holds volumesnapshots.snapshot.storage.k8s.io kept"),
        "{said} {why}"
    );
    let result = carried_out(&server, &items, &request, &found).await;
    assert_eq!((errors(&result), result.counts.deleted), (Vec::new(), 2));
    let store = server.store();
    assert!(store.get("v1", "Namespace", None, "new").is_some());
    assert!(store.get("v1", "Namespace", None, "bare").is_none());
}

/// A Project is a Namespace in another coat.
#[tokio::test]
async fn projects_are_left_alone() {
    let server = ApiServer::new();
    seed(
        &server,
        &[
            object("v1", "Namespace", "", "shop"),
            definition("project.openshift.io", "projects", "Project", "Cluster"),
            definition(
                "authorization.openshift.io",
                "clusterroles",
                "ClusterRole",
                "Cluster",
            ),
            definition("library.example.com", "shelves", "Shelf", "Cluster"),
        ],
    );
    seed(
        &server,
        &[
            object("project.openshift.io/v1", "Project", "", "new-team"),
            object("authorization.openshift.io/v1", "ClusterRole", "", "edit"),
            object("library.example.com/v1", "Shelf", "", "since"),
        ],
    );
    let request = request(&server, json!({})).await;
    let items = [object("v1", "Namespace", "", "shop")];
    let found = plan(&server, &items, &request).await;
    let told = deletions(&found);
    assert!(
        told.contains(&"shelves.library.example.com since".to_owned())
            && !told.iter().any(|place| place.contains("openshift")),
        "{told:?}"
    );
}

/// Another Velero is known by its storage locations.
#[tokio::test]
async fn a_velero_in_another_namespace_is_left_alone() {
    let server = ApiServer::new();
    let vault = object("v1", "Namespace", "", "vault");
    let mut role = object(
        "rbac.authorization.k8s.io/v1",
        "ClusterRoleBinding",
        "",
        "its",
    );
    role["roleRef"] =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
    role["subjects"] = json!([{"kind": "ServiceAccount", "name": "agent", "namespace": "vault"}]);
    let mut other = role.clone();
    other["metadata"]["name"] = json!("since");
    other["subjects"][0]["namespace"] = json!("elsewhere");
    seed(
        &server,
        &[
            vault.clone(),
            role,
            other,
            map("vault", "since"),
            definition(
                "velero.io",
                "backupstoragelocations",
                "BackupStorageLocation",
                "Namespaced",
            ),
        ],
    );
    let request = request(&server, json!({})).await;
    let items = [vault];
    let all = [
        "clusterrolebindings.rbac.authorization.k8s.io its",
        "clusterrolebindings.rbac.authorization.k8s.io since",
        "configmaps vault/since",
    ];
    let mut told = deletions(&plan(&server, &items, &request).await);
    told.sort();
    assert_eq!(told, all);
    let location = object("velero.io/v1", "BackupStorageLocation", "vault", "default");
    seed(&server, &[location]);
    let told = deletions(&plan(&server, &items, &request).await);
    assert_eq!(told, all[1..2]);
}

#[tokio::test]
async fn what_owns_objects_of_the_backup_keeps_what_holds_it_and_the_plan_says_so() {
    let server = ApiServer::new();
    let shop = object("v1", "Namespace", "", "shop");
    seed(
        &server,
        &[
            shop.clone(),
            definition("library.example.com", "books", "Book", "Namespaced"),
        ],
    );
    let book = object("library.example.com/v1", "Book", "shop", "since");
    let book = server.store().seed_value(book).unwrap();
    let mut kept = map("shop", "kept");
    kept["metadata"]["ownerReferences"] = json!([{"apiVersion": "library.example.com/v1", "kind": "Book",
        "name": "since", "uid": book["metadata"]["uid"]}]);
    seed(&server, &[kept]);
    let items = [shop, map("shop", "kept")];
    let request = request(&server, json!({})).await;
    let found = plan(&server, &items, &request).await;
    assert_eq!(deletions(&found), Vec::<String>::new());
    let (said, why) = found.said("books.library.example.com shop/since");
    assert!(
        said == "blocked" && why.contains("it owns objects that the backup has"),
        "{said} {why}"
    );
    assert_eq!(found.verified.errors, 1);
    let crd = "customresourcedefinitions.apiextensions.k8s.io books.library.example.com";
    assert_eq!(found.said(crd).0, "excluded");
    assert_eq!(found.verified.verdicts.get(&Verdict::Delete), None);
    let result = carried_out(&server, &items, &request, &found).await;
    assert_eq!((result.errors(), result.counts.deleted), (1, 0));
}

/// A glob that does not parse would switch off the exclusions after it.
#[tokio::test]
async fn a_restore_that_deletes_takes_no_broken_pattern() {
    let bad = json!({"backupName": "b1", "excludedResources": ["[a-z", "secrets"]});
    for (policy, is_taken) in [
        (ExistingPolicy::Update, true),
        (ExistingPolicy::Recreate, false),
        (ExistingPolicy::Mirror, false),
    ] {
        let mut restore: Restore =
            serde_json::from_value(json!({"metadata": {"name": "r1"}, "spec": bad})).unwrap();
        policy.apply(&mut restore);
        let request = RestoreRequest::resolve(restore);
        assert_eq!(request.is_ok(), is_taken, "{policy}");
        let said = request.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(
            is_taken || said.contains("excludedResources: \"[a-z\" is no pattern"),
            "{said}"
        );
    }
    let server = ApiServer::new();
    let shop = object("v1", "Namespace", "", "shop");
    seed(&server, &[shop.clone(), map("shop", "since")]);
    let broken: BackedUp = backup(json!({"excludedNamespaces": ["[a-z"]})).kinds([]);
    let engine = engine(&server).await;
    let planned = engine
        .plan(
            &mirror(json!({})).backed_up(broken),
            std::io::Cursor::new(archive(&[shop])),
        )
        .await;
    let said = planned.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(
        said.contains("of the backup's spec, excludedNamespaces: \"[a-z\" is no pattern"),
        "{said}"
    );
}

/// Somebody makes an object his own while the restore runs: its owner decides about it from then on.
#[tokio::test]
async fn an_object_that_gets_an_owner_meanwhile_stays() {
    let server = ApiServer::new();
    let shop = object("v1", "Namespace", "", "shop");
    let (first, second) = (
        map("shop", "since"),
        object("v1", "Secret", "shop", "since"),
    );
    seed(&server, &[shop.clone(), first, second]);
    let items = [shop];
    let request = request(&server, json!({})).await;
    let found = plan(&server, &items, &request).await;
    assert_eq!(
        deletions(&found),
        ["configmaps shop/since", "secrets shop/since"]
    );
    let slow = FaultAction::Slow(Duration::from_millis(800));
    server.faults().add(
        Fault::new(slow)
            .verb("delete")
            .resource("secrets")
            // The look tries it out.
            .skip(1),
    );
    let (store, other) = (server.store(), cluster(&server).await);
    let adopting = tokio::spawn(async move {
        while store
            .get("v1", "ConfigMap", Some("shop"), "since")
            .is_some()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let catalog = other.catalog();
        let secrets = catalog.by_kind("v1", "Secret").unwrap();
        let owners = json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u1"}]}});
        let body = owners.to_string().into();
        let options = WriteOptions::default();
        other
            .patch(
                secrets,
                "shop",
                "since",
                PatchKind::Merge,
                None,
                body,
                &options,
            )
            .await
            .unwrap();
    });
    let result = carried_out(&server, &items, &request, &found).await;
    adopting.await.unwrap();
    let errors = errors(&result);
    assert!(
        errors.len() == 1 && errors[0].contains("it has an owner by now, who decides about it"),
        "{errors:?}"
    );
    let store = server.store();
    assert!(store.get("v1", "Secret", Some("shop"), "since").is_some());
}
