//! What selected items bring along although filters do not select it.

use std::io::Cursor;

use serde_json::{Value, json};
use velero_core::plan::{ExclusionReason, RestorePlan};
use velero_restore::{ArchiveIndex, RestoreOptions, RestoreRequest, plan};
use velero_testkit::ApiServer;

use crate::common::*;

/// A definition with a custom resource, pods with accounts, and accounts that nobody names.
fn world() -> Vec<Value> {
    let mut crd = object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "",
        "books.library.example.com",
    );
    crd["spec"] = json!({"group": "library.example.com", "scope": "Namespaced",
        "names": {"kind": "Book", "plural": "books", "singular": "book", "listKind": "BookList"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]});
    let pod = |namespace: &str, name: &str, account: &str, phase: &str| {
        let mut pod = object("v1", "Pod", namespace, name);
        pod["metadata"]["labels"] = json!({"app": name});
        pod["spec"] =
            json!({"containers": [{"name": "c", "image": "i"}], "serviceAccountName": account});
        pod["status"] = json!({"phase": phase});
        pod
    };
    let mut items = vec![
        namespace("shop"),
        namespace("other"),
        crd,
        object("library.example.com/v1", "Book", "shop", "b1"),
        pod("shop", "web", "web", "Running"),
        pod("shop", "web2", "web", "Running"),
        pod("shop", "plain", "default", "Running"),
        pod("shop", "done", "batch", "Succeeded"),
        pod("shop", "lost", "nowhere", "Running"),
        pod("other", "api", "api", "Running"),
    ];
    for (namespace, name) in [
        ("shop", "web"),
        ("shop", "default"),
        ("shop", "batch"),
        ("shop", "unused"),
        ("other", "api"),
    ] {
        items.push(object("v1", "ServiceAccount", namespace, name));
    }
    items
}

async fn planned(request: &RestoreRequest) -> (RestorePlan, Vec<String>) {
    let archive = Cursor::new(archive(&world()));
    let options = RestoreOptions::default();
    let (index, _) = ArchiveIndex::read(archive, request.selectors(), &options).unwrap();
    let plan = plan(&index, request, &catalog().await);
    let total = plan.len() as u64
        + plan.excluded.values().sum::<u64>()
        + plan.unserved.values().sum::<u64>();
    assert_eq!(total, world().len() as u64, "every item is accounted for");
    let brought = ["serviceaccounts", "customresourcedefinitions"];
    let items = plan.waves.iter().flat_map(|wave| &wave.items);
    let items = items.filter_map(|id| index.item(*id));
    let items = items.filter(|item| brought.contains(&item.resource.resource.as_str()));
    let names = items.map(|item| format!("{}/{}", item.namespace, item.name));
    let mut names: Vec<String> = names.collect();
    names.sort();
    (plan, names)
}

/// A request with a switch among its annotations.
fn switched(spec: Value, switch: &str) -> RestoreRequest {
    let mut restore = (**request(spec).restore()).clone();
    restore.metadata.annotations = Some([(switch.to_owned(), "false".to_owned())].into());
    RestoreRequest::resolve(restore).unwrap()
}

#[tokio::test]
async fn definitions_and_accounts_come_along_unless_they_are_excluded() {
    const CRD: &str = "/books.library.example.com";
    for (spec, expected) in [
        (
            json!({"includedResources": ["books.library.example.com"]}),
            &[CRD][..],
        ),
        (
            json!({"includedResources": ["books.library.example.com"], "excludedResources": ["crd"]}),
            &[],
        ),
        (
            json!({"includedResources": ["books.library.example.com"], "includeClusterResources": false}),
            &[],
        ),
        (
            json!({"includedResources": ["po"]}),
            &["other/api", "shop/web"],
        ),
        (
            json!({"includedResources": ["po"], "includeClusterResources": false}),
            &["other/api", "shop/web"],
        ),
        (
            json!({"includedResources": ["po"], "excludedResources": ["sa"]}),
            &[],
        ),
        (
            json!({"includedResources": ["po"], "includedNamespaces": ["shop"]}),
            &["shop/web"],
        ),
        (
            json!({"labelSelector": {"matchLabels": {"app": "api"}}}),
            &["other/api"],
        ),
        (
            json!({"labelSelector": {"matchLabels": {"app": "done"}}}),
            &[],
        ),
        (json!({"includedResources": ["services"]}), &[]),
        (
            json!({"excludedResources": ["pods", "books.library.example.com"], "labelSelector": {"matchLabels": {"app": "web"}}}),
            &[],
        ),
    ] {
        let (_, names) = planned(&request(spec.clone())).await;
        assert_eq!(names, expected, "{spec}");
    }
}

#[tokio::test]
async fn what_comes_along_is_no_longer_counted_as_left_out() {
    let (plan, _) = planned(&request(json!({"includedResources": ["po"]}))).await;
    let left = plan
        .excluded
        .get(&("serviceaccounts".into(), ExclusionReason::Resource));
    assert_eq!(left, Some(&3));
    let waves: Vec<String> = plan.waves.iter().map(|w| w.resource.to_string()).collect();
    assert_eq!(
        waves,
        ["serviceaccounts", "pods"],
        "accounts are there first"
    );
}

#[tokio::test]
async fn switches_keep_them_out() {
    let books = json!({"includedResources": ["books.library.example.com"]});
    let request = switched(books, "x.velero.io/bring-definitions");
    let (plan, names) = planned(&request).await;
    assert_eq!(names, Vec::<String>::new());
    assert_eq!(
        plan.unserved.values().sum::<u64>(),
        1,
        "the book is an error then"
    );
    let pods = json!({"includedResources": ["po"]});
    let request = switched(pods, "x.velero.io/bring-service-accounts");
    assert_eq!(planned(&request).await.1, Vec::<String>::new());
}

#[tokio::test]
async fn a_pod_is_restored_with_its_account() {
    let server = ApiServer::new();
    let spec = json!({"includedResources": ["pods"], "namespaceMapping": {"shop": "copy"},
        "labelSelector": {"matchLabels": {"app": "web"}}});
    let result = restore(&server, &world(), spec).await;
    assert_clean(&result);
    assert_eq!(entries(&result, "v1/ServiceAccount"), ["copy/web(created)"]);
    assert_eq!(entries(&result, "v1/Pod"), ["copy/web(created)"]);
}
