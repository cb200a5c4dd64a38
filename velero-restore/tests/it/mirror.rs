//! Objects that the backup does not have, under the policy `mirror`.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use velero_core::Catalog;
use velero_core::api::{Backup, Restore};
use velero_core::plan::Verdict;
use velero_restore::{
    BackedUp, Error, ErrorKind, ExistingPolicy, ExpectedPlan, KindRead, RestoreEngine,
    RestoreOptions, RestoreRequest, RestoreResult, RestoreRun,
};
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::common::*;
use crate::verify::{Looked, look};

/// A backup with a spec, which has read every kind.
pub(crate) fn whole(spec: Value, catalog: &Catalog) -> BackedUp {
    let kinds = catalog
        .preferred()
        .map(|resource| resource.group_resource());
    backup(spec).kinds(kinds.map(|resource| (resource, KindRead::Whole)))
}

/// A complete backup with a spec, which does not tell what it has read.
pub(crate) fn backup(spec: Value) -> BackedUp {
    let backup: Backup = serde_json::from_value(json!({"metadata": {"name": "b1"}, "spec": spec, 
            "status": {"phase": "Completed", "startTimestamp": "2020-01-01T00:00:00Z"}}))
    .unwrap();
    BackedUp::new(backup)
}

/// A restore with the policy `mirror` and more of a spec.
pub(crate) fn mirror(mut spec: Value) -> RestoreRequest {
    spec["backupName"] = json!("b1");
    let mut restore: Restore = serde_json::from_value(
        json!({"metadata": {"name": "r1", "namespace": "velero"}, "spec": spec}),
    )
    .unwrap();
    ExistingPolicy::Mirror.apply(&mut restore);
    RestoreRequest::resolve(restore).unwrap()
}

/// A mirror of everything, of a backup of everything.
pub(crate) async fn all() -> RestoreRequest {
    mirror(json!({})).backed_up(whole(json!({}), &catalog().await))
}

/// What a plan lists for deletion.
pub(crate) fn deletions(found: &Looked) -> Vec<String> {
    let doomed = found
        .items
        .iter()
        .filter(|item| item.verdict == Verdict::Delete);
    doomed.map(|item| item.place()).collect()
}

pub(crate) async fn plan(server: &ApiServer, items: &[Value], request: &RestoreRequest) -> Looked {
    look(server, &engine(server).await, archive(items), request).await
}

pub(crate) async fn carry_out(
    engine: &RestoreEngine,
    items: &[Value],
    request: &RestoreRequest,
    expected: Arc<ExpectedPlan>,
) -> Result<RestoreResult, Error> {
    let run = RestoreRun::default().expecting(expected);
    engine.run(request, Cursor::new(archive(items)), run).await
}

/// A ConfigMap that is the same in archive and cluster.
pub(crate) fn map(namespace: &str, name: &str) -> Value {
    let mut map = object("v1", "ConfigMap", namespace, name);
    map["data"] = json!({"key": name});
    map
}

pub(crate) fn seed(server: &ApiServer, objects: &[Value]) {
    for object in objects {
        server.store().seed_value(object.clone()).unwrap();
    }
}

pub(crate) fn is_there(server: &ApiServer, name: &str) -> bool {
    let store = server.store();
    store.get("v1", "ConfigMap", Some("shop"), name).is_some()
}

fn owned(mut object: Value) -> Value {
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u1", "controller": true}]);
    object
}

/// A namespace, what it has in the backup, and what has come since.
pub(crate) fn world(server: &ApiServer) -> Vec<Value> {
    let kept = [
        namespace("shop"),
        map("shop", "kept"),
        object("v1", "Secret", "shop", "kept"),
    ];
    let mut role = object("rbac.authorization.k8s.io/v1", "ClusterRole", "", "since");
    role["rules"] = json!([]);
    seed(server, &kept);
    seed(
        server,
        &[
            map("shop", "since"),
            object("v1", "Secret", "shop", "since"),
            role,
            object("v1", "ServiceAccount", "shop", "since"),
            owned(map("shop", "owned")),
            object("v1", "Namespace", "", "velero"),
            map("velero", "since"),
            object("v1", "Namespace", "", "other"),
            map("other", "since"),
            map("kube-system", "since"),
        ],
    );
    kept.to_vec()
}

#[tokio::test]
async fn what_the_backup_does_not_have_is_listed_and_deleted() {
    let server = ApiServer::new();
    let items = world(&server);
    let request = all().await;
    let found = plan(&server, &items, &request).await;
    assert_eq!(found.notes, Vec::<String>::new());
    // The reverse of the order in which they would be restored.
    let expected = [
        "configmaps shop/since",
        "secrets shop/since",
        "serviceaccounts shop/since",
        "clusterroles.rbac.authorization.k8s.io since",
    ];
    assert_eq!(deletions(&found), expected);
    assert_eq!(found.verified.verdicts[&Verdict::Delete], 4);
    for (place, why) in [
        ("configmaps shop/owned", "its owner decides"),
        (
            "configmaps shop/kube-root-ca.crt",
            "provided by the cluster",
        ),
    ] {
        let (said, reason) = found.said(place);
        assert!(
            said == "excluded" && reason.contains(why),
            "{place}: {said} {reason}"
        );
    }

    let engine = engine(&server).await;
    server.calls().reset();
    let result = carry_out(&engine, &items, &request, found.expected())
        .await
        .unwrap();
    assert_clean(&result);
    assert_eq!((result.counts.deleted, result.counts.failed), (4, 0));
    assert_eq!(
        entries(&result, "v1/ConfigMap"),
        ["shop/kept(skipped)", "shop/since(deleted)"]
    );
    let store = server.store();
    assert!(store.get("v1", "Secret", Some("shop"), "since").is_none());
    for (namespace, name, is_there) in [
        ("shop", "since", false),
        ("shop", "kept", true),
        ("shop", "owned", true),
        ("velero", "since", true),
        ("other", "since", true),
        ("kube-system", "since", true),
    ] {
        let found = store
            .get("v1", "ConfigMap", Some(namespace), name)
            .is_some();
        assert_eq!(found, is_there, "{namespace}/{name}");
    }
    // Each deletion is tried out, and done; nothing is read one by one, and a kind is listed once.
    let deleted = server.calls().log();
    let deleted = deleted.iter().filter(|call| call.verb == "delete");
    let (tried, done): (Vec<_>, Vec<_>) = deleted.partition(|call| call.dry_run);
    assert_eq!((tried.len(), done.len()), (4, 4));
    assert_eq!(server.calls().count("list", "secrets"), 1);
    let again = plan(&server, &items, &request).await;
    assert_eq!(deletions(&again), Vec::<String>::new());
}

#[tokio::test]
async fn without_a_plan_or_a_word_of_the_backup_nothing_is_done() {
    let server = ApiServer::new();
    let items = world(&server);
    let before = server.store().resource_version();
    let engine = engine(&server).await;
    let failed: Backup = serde_json::from_value(json!({"metadata": {"name": "b1"},
        "spec": {}, "status": {"phase": "PartiallyFailed", "errors": 1}}))
    .unwrap();
    for (request, expected, says) in [
        (all().await, None, "only those that a plan lists"),
        (
            mirror(json!({})),
            Some(Arc::default()),
            "has not been given",
        ),
        (
            mirror(json!({})).backed_up(BackedUp::new(failed)),
            Some(Arc::default()),
            "PartiallyFailed with 1 errors",
        ),
    ] {
        let run = RestoreRun {
            expected,
            ..RestoreRun::default()
        };
        let error = engine
            .run(&request, Cursor::new(archive(&items)), run)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert!(error.to_string().contains(says), "{error}");
    }
    assert_eq!(server.store().resource_version(), before);
}

#[tokio::test]
async fn a_world_that_has_moved_is_named() {
    type Change = fn(&ApiServer);
    for (change, says) in [
        (
            (|server| seed(server, &[map("shop", "newer")])) as Change,
            "configmaps shop/newer (not in the plan)",
        ),
        (
            |server| {
                server
                    .store()
                    .remove("v1", "ConfigMap", Some("shop"), "since");
            },
            "configmaps shop/since (to be deleted, and not there any more)",
        ),
        (
            |server| {
                server
                    .store()
                    .remove("v1", "ConfigMap", Some("shop"), "since");
                let mut other = map("shop", "since");
                other["data"] = json!({"key": "another"});
                seed(server, &[other]);
            },
            "configmaps shop/since (now: delete)",
        ),
        (
            |server| {
                server
                    .store()
                    .remove("v1", "ConfigMap", Some("shop"), "since");
                seed(server, &[owned(map("shop", "since"))]);
            },
            "configmaps shop/since (now: excluded)",
        ),
    ] {
        let server = ApiServer::new();
        let items = world(&server);
        let request = all().await;
        let found = plan(&server, &items, &request).await;
        change(&server);
        let before = server.store().resource_version();
        let engine = engine(&server).await;
        let error = carry_out(&engine, &items, &request, found.expected())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Moved);
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(server.store().resource_version(), before);
    }
}

#[tokio::test]
async fn a_deletion_that_would_be_refused_is_blocked_and_an_error() {
    let server = ApiServer::new();
    let items = world(&server);
    let request = all().await;
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("delete")
            .resource("secrets"),
    );
    let found = plan(&server, &items, &request).await;
    let (said, why) = found.said("secrets shop/since");
    assert!(
        said == "blocked" && why.contains("cannot be deleted"),
        "{said} {why}"
    );
    assert_eq!(found.verified.errors, 1);
    let engine = engine(&server).await;
    let result = carry_out(&engine, &items, &request, found.expected())
        .await
        .unwrap();
    let errors = errors(&result);
    assert!(
        errors.len() == 1 && errors[0].contains("cannot delete secrets shop/since"),
        "{errors:?}"
    );
    // Nor is it tried again: the plan does not list it as a deletion.
    assert_eq!((result.counts.deleted, result.counts.failed), (3, 0));
}

#[tokio::test]
async fn nothing_is_deleted_where_items_are_not_restored() {
    let server = ApiServer::new();
    let mut items = world(&server);
    items.push(object("v1", "LimitRange", "shop", "lost"));
    let request = all().await;
    let found = plan(&server, &items, &request).await;
    assert_eq!(deletions(&found).len(), 4);
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("create")
            .resource("limitranges")
            // The look that comes first.
            .skip(1),
    );
    let engine = engine(&server).await;
    let result = carry_out(&engine, &items, &request, found.expected())
        .await
        .unwrap();
    let errors = errors(&result);
    assert!(
        errors.len() == 2 && errors[1].contains("none of the 4 objects is deleted"),
        "{errors:?}"
    );
    assert_eq!(result.counts.deleted, 0);
    assert!(is_there(&server, "since"));
}

#[tokio::test]
async fn what_owns_an_object_of_the_backup_is_not_deleted() {
    let server = ApiServer::new();
    let items = world(&server);
    let owner = server
        .store()
        .get("v1", "Secret", Some("shop"), "since")
        .unwrap();
    let uid = owner["metadata"]["uid"].clone();
    let mut kept = map("shop", "kept");
    kept["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Secret", "name": "since", "uid": uid}]);
    server
        .store()
        .remove("v1", "ConfigMap", Some("shop"), "kept");
    seed(&server, &[kept]);
    let request = all().await;
    let found = plan(&server, &items, &request).await;
    let engine = engine(&server).await;
    let result = carry_out(&engine, &items, &request, found.expected())
        .await
        .unwrap();
    let errors = errors(&result);
    assert!(
        errors.len() == 1 && errors[0].contains("it owns objects that the backup has"),
        "{errors:?}"
    );
    assert!(is_there(&server, "kept"));
    let store = server.store();
    assert!(store.get("v1", "Secret", Some("shop"), "since").is_some());
}

#[tokio::test]
async fn an_object_is_deleted_as_it_was_seen_only() {
    // One conflict is a change of the bookkeeping; the object is looked at again.
    let server = ApiServer::new();
    let items = world(&server);
    let request = all().await;
    let found = plan(&server, &items, &request).await;
    server.faults().add(
        Fault::new(FaultAction::Conflict)
            .verb("delete")
            .resource("configmaps")
            // The check tries it out.
            .skip(1)
            .times(1),
    );
    let engine = engine(&server).await;
    let result = carry_out(&engine, &items, &request, found.expected())
        .await
        .unwrap();
    assert_clean(&result);
    assert!(!is_there(&server, "since"));
    let writes = server.calls().writes();
    let deletions = writes
        .iter()
        .filter(|call| call.verb == "delete" && call.resource == "configmaps");
    assert_eq!(deletions.count(), 2);
}

async fn held(options: RestoreOptions, lift: bool) -> RestoreResult {
    let server = ApiServer::new();
    let items = world(&server);
    let mut held = map("shop", "held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    seed(&server, &[held]);
    let request = all().await;
    let found = plan(&server, &items, &request).await;
    let store = server.store();
    let lifting = tokio::spawn(async move {
        if !lift {
            return;
        }
        loop {
            tokio::time::sleep(Duration::from_millis(30)).await;
            let held = store.get("v1", "ConfigMap", Some("shop"), "held");
            if held.is_some_and(|h| h["metadata"]["deletionTimestamp"].is_string()) {
                store.remove("v1", "ConfigMap", Some("shop"), "held");
                return;
            }
        }
    });
    let engine = engine(&server).await.options(options);
    let result = carry_out(&engine, &items, &request, found.expected())
        .await
        .unwrap();
    lifting.await.unwrap();
    result
}

#[tokio::test]
async fn deleted_objects_are_waited_for_until_a_deadline() {
    let result = held(options(), true).await;
    assert_clean(&result);
    assert_eq!(result.counts.deleted, 5);
    let short = options().terminating_timeout(Duration::from_millis(100));
    let result = held(short, false).await;
    let errors = errors(&result);
    assert!(
        errors.len() == 1
            && errors[0].contains("still there")
            && errors[0].contains("held by example.com/hold"),
        "{errors:?}"
    );
}

#[tokio::test]
async fn many_objects_are_listed_and_waited_for_page_by_page() {
    let server = ApiServer::new();
    let mut items = vec![namespace("shop")];
    seed(&server, &items);
    for n in 0..600 {
        let (kept, mut since) = (
            map("shop", &format!("m{n:04}")),
            map("shop", &format!("m{n:04}-since")),
        );
        if n < 40 {
            since["metadata"]["finalizers"] = json!(["example.com/hold"]);
        }
        seed(&server, &[kept.clone(), since]);
        items.push(kept);
    }
    let request = all().await;
    let found = plan(&server, &items, &request).await;
    assert_eq!(deletions(&found).len(), 600);
    let short = options().terminating_timeout(Duration::from_millis(50));
    let engine = engine(&server).await.options(short);
    server.calls().reset();
    let result = carry_out(&engine, &items, &request, found.expected())
        .await
        .unwrap();
    assert_eq!((result.counts.deleted, result.errors()), (600, 40));
    // What holds each of those that stay is read at the end.
    let calls = server.calls().log();
    let reads = calls.iter().filter(|call| {
        call.verb == "get"
            && call
                .name
                .as_ref()
                .is_some_and(|name| name.ends_with("-since"))
    });
    assert_eq!(reads.count(), 40);
    let left = server.store().list("v1", "ConfigMap", Some("shop"));
    // With the certificate that is in each namespace.
    assert_eq!(left.len(), 641);
}

#[tokio::test]
async fn a_list_that_fails_is_told_and_nothing_of_its_kind_is_deleted() {
    let server = ApiServer::new();
    let items = world(&server);
    let request = all().await;
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("list")
            .resource("secrets"),
    );
    let found = plan(&server, &items, &request).await;
    assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
    assert!(
        found.notes[0].contains("secrets cannot be listed"),
        "{:?}",
        found.notes
    );
    assert!(!deletions(&found).contains(&"secrets shop/since".to_owned()));
    let engine = engine(&server).await;
    let result = carry_out(&engine, &items, &request, found.expected())
        .await
        .unwrap();
    assert_eq!((result.errors(), result.warnings()), (0, 1));
    let store = server.store();
    assert!(store.get("v1", "Secret", Some("shop"), "since").is_some());
}

#[tokio::test]
async fn a_cancelled_restore_deletes_nothing() {
    let server = ApiServer::new();
    let items = world(&server);
    let request = all().await;
    let found = plan(&server, &items, &request).await;
    let run = RestoreRun::default().expecting(found.expected());
    run.cancel.cancel();
    let engine = engine(&server).await;
    let result = engine
        .run(&request, Cursor::new(archive(&items)), run)
        .await
        .unwrap();
    assert!(result.cancelled && is_there(&server, "since"));
}
