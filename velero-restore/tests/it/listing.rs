//! Many objects that are in the cluster already: lists take the place of single reads.

use serde_json::{Value, json};
use velero_restore::{RestoreEngine, RestoreResult};
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::common::*;

/// After so many objects in a row that are there the rest is listed. The first ones are sent alone, so that no more of
/// them are met one by one, however many may be under way.
const ROW: usize = 8;
const IN_FLIGHT: usize = 64;

async fn listing(server: &ApiServer) -> RestoreEngine {
    let mut options = options().list_existing_after(ROW);
    options.items_in_flight = IN_FLIGHT;
    engine(server).await.options(options)
}

fn maps(namespace: &str, count: usize) -> Vec<Value> {
    let names = (0..count).map(|n| format!("m{n:04}"));
    names.map(|name| config_map(namespace, &name)).collect()
}

/// A server that has the objects, as a first restore leaves them.
async fn restored(items: &[Value]) -> ApiServer {
    let server = ApiServer::new();
    assert_clean(&run_items(&engine(&server).await, items).await);
    server
}

async fn again(server: &ApiServer, items: &[Value], spec: Value) -> RestoreResult {
    let engine = listing(server).await;
    server.calls().reset();
    run(&engine, archive(items), &request(spec)).await
}

fn calls(server: &ApiServer, verb: &str) -> u64 {
    server.calls().count(verb, "configmaps")
}

#[track_caller]
fn assert_listed(server: &ApiServer, pages: u64) {
    assert_eq!(calls(server, "list"), pages);
    for verb in ["create", "get"] {
        let count = calls(server, verb);
        assert!(count <= ROW as u64, "{count} calls of {verb}");
    }
}

#[tokio::test]
async fn equal_objects_cost_a_page_for_five_hundred_of_them() {
    let mut items = maps("shop", 1200);
    let server = restored(&items).await;
    let version = server.store().resource_version();
    // In whichever order the archive has them.
    items.reverse();
    let result = again(&server, &items, json!({})).await;
    assert_clean(&result);
    assert_eq!((result.counts.skipped, result.counts.total), (1200, 1200));
    assert_listed(&server, 3);
    assert_eq!(server.store().resource_version(), version);
    let scoped = server.calls().log();
    let lists: Vec<_> = scoped
        .iter()
        .filter(|c| c.verb == "list" && c.resource == "configmaps")
        .collect();
    assert!(lists.iter().all(|c| c.namespace.as_deref() == Some("shop")));
}

#[tokio::test]
async fn several_namespaces_are_one_list_wherever_they_are_mapped_to() {
    // Lists have `a-b/` before `a/`.
    let names = ["a", "a-b", "b"];
    let items: Vec<Value> = names.iter().flat_map(|ns| maps(ns, 60)).collect();
    let mapping = json!({"namespaceMapping": {"a": "z", "b": "a"}});
    let server = ApiServer::new();
    assert_clean(&restore(&server, &items, mapping.clone()).await);
    let result = again(&server, &items, mapping).await;
    assert_clean(&result);
    assert_eq!(result.counts.skipped, 180);
    assert_listed(&server, 1);
}

#[tokio::test]
async fn what_the_list_does_not_show_is_created() {
    let items = maps("shop", 300);
    let server = restored(&items[..100]).await;
    let result = again(&server, &items, json!({})).await;
    assert_clean(&result);
    assert_eq!((result.counts.skipped, result.counts.created), (100, 200));
    assert_eq!(calls(&server, "list"), 1);
    assert!(calls(&server, "create") <= 200 + ROW as u64);
    assert!(calls(&server, "get") <= ROW as u64);
}

#[tokio::test]
async fn objects_that_differ_cost_a_patch_each_and_nothing_else() {
    let items = maps("shop", 100);
    let server = restored(&items).await;
    let changed: Vec<Value> = items
        .iter()
        .cloned()
        .map(|mut item| {
            item["data"] = json!({"key": "new"});
            item
        })
        .collect();
    let result = again(&server, &changed, json!({})).await;
    assert_eq!((result.warnings(), result.counts.left), (100, 100));
    assert_listed(&server, 1);
    // One that has gone since the list is created; here it is there all the same.
    server.faults().add(
        Fault::new(FaultAction::NotFound)
            .verb("patch")
            .resource("configmaps")
            .name("m0090")
            .times(1),
    );
    let update = json!({"existingResourcePolicy": "update"});
    let result = again(&server, &changed, update).await;
    assert_clean(&result);
    assert_eq!(result.counts.updated, 100);
    assert_eq!((calls(&server, "list"), calls(&server, "patch")), (1, 101));
    assert!(calls(&server, "create") <= ROW as u64 + 1);
}

#[tokio::test]
async fn an_update_takes_away_what_the_backup_lacks_from_listed_objects_too() {
    let items = maps("shop", 100);
    let mut more = items.clone();
    for map in &mut more {
        map["data"]["gone"] = json!("x");
    }
    let server = restored(&more).await;
    let update = json!({"existingResourcePolicy": "update"});
    let result = again(&server, &items, update).await;
    assert_clean(&result);
    assert_eq!(result.counts.updated, 100);
    assert_listed(&server, 1);
    for item in &items {
        let name = item["metadata"]["name"].as_str().unwrap();
        let map = server.store().get("v1", "ConfigMap", Some("shop"), name);
        assert_eq!(map.unwrap()["data"], item["data"]);
    }
}

#[tokio::test]
async fn a_cluster_with_many_more_objects_is_not_listed_as_a_whole() {
    let items: Vec<Value> = [maps("a", 40), maps("b", 40), maps("few", 3)].concat();
    let server = restored(&items).await;
    for other in maps("others", 1500) {
        server.store().seed_value(other).unwrap();
    }
    let result = again(&server, &items, json!({})).await;
    assert_clean(&result);
    assert_eq!(result.counts.skipped, 83);
    // The first page of all tells how many there are; then a list for each namespace with enough of them.
    assert_eq!(calls(&server, "list"), 3);
    assert!(calls(&server, "get") <= ROW as u64 + 3);
}

#[tokio::test]
async fn a_list_that_fails_costs_calls_and_nothing_else() {
    let items: Vec<Value> = [maps("a", 40), maps("b", 40)].concat();
    let server = restored(&items).await;
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("list")
            .resource("configmaps"),
    );
    let result = again(&server, &items, json!({})).await;
    assert_clean(&result);
    assert_eq!(result.counts.skipped, 80);
    assert_eq!(calls(&server, "get"), 80);
}

#[tokio::test]
async fn accounts_of_namespaces_are_listed_too() {
    let items: Vec<Value> = (0..60)
        .map(|n| object("v1", "ServiceAccount", &format!("n{n:02}"), "default"))
        .collect();
    let server = restored(&items).await;
    let result = again(&server, &items, json!({})).await;
    assert_clean(&result);
    assert_eq!(result.counts.skipped, 60);
    let calls = server.calls();
    assert_eq!(calls.count("list", "serviceaccounts"), 1);
    assert!(calls.count("get", "serviceaccounts") <= ROW as u64);
    assert_eq!(calls.count("create", "serviceaccounts"), 0);
}
