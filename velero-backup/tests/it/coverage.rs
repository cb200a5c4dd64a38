use serde_json::{Value, json};
use velero_backup::{KindCoverage, Reading};
use velero_core::{CancellationToken, GroupResource};
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::support::*;

fn of<'a>(kinds: &'a [KindCoverage], resource: &str) -> &'a KindCoverage {
    let resource = GroupResource::from(resource);
    kinds.iter().find(|k| k.resource == resource).unwrap()
}

/// One line: how the kind was read, what was found and stored, and what was left out by which rule.
fn line(kind: &KindCoverage) -> String {
    let mut out = format!(
        "{}; found {} stored {}",
        kind.reading, kind.found, kind.stored
    );
    for (count, what) in [
        (kind.related, "related"),
        (kind.left_out.namespace, "other namespaces"),
        (kind.left_out.label_selector, "other labels"),
        (kind.left_out.exclude_label, "excluded"),
        (kind.left_out.deleting, "deleting"),
        (kind.left_out.action, "by action"),
        (kind.failed, "failed"),
        (kind.incomplete_lists, "incomplete"),
        (u64::from(kind.uncounted), "and uncounted: other labels"),
    ] {
        if count > 0 {
            out += &format!(" {what} {count}");
        }
    }
    out
}

/// [`world`] without the objects that every namespace gets, which would hide the numbers.
async fn small_world() -> ApiServer {
    let server = world();
    seed(
        &server,
        map(
            "shop",
            "hidden",
            json!({"velero.io/exclude-from-backup": "true", "app": "x"}),
        ),
    );
    let mut ending = map("bank", "ending", json!({"app": "x"}));
    ending["metadata"]["finalizers"] = json!(["example.com/wait"]);
    seed(&server, ending);
    let cluster = connect(&server).await;
    let catalog = cluster.catalog();
    let maps = catalog.resolve("cm").unwrap();
    let options = velero_cluster::DeleteOptions::default();
    for namespace in ["bank", "shop"] {
        let _ = cluster
            .delete(maps, namespace, "kube-root-ca.crt", &options)
            .await;
    }
    cluster
        .delete(maps, "bank", "ending", &options)
        .await
        .unwrap();
    for namespace in server.store().list("v1", "Namespace", None) {
        let name = namespace["metadata"]["name"].as_str().unwrap();
        let _ = cluster
            .delete(maps, name, "kube-root-ca.crt", &options)
            .await;
    }
    let left = server.store().list("v1", "ConfigMap", None);
    assert_eq!(left.len(), 6, "{left:?}");
    server
}

#[tokio::test]
async fn everything_found_is_told_with_its_rule() {
    let server = small_world().await;
    let x = json!({"matchLabels": {"app": "x"}});
    let y = json!({"matchLabels": {"app": "y"}});
    for (spec, resource, expected) in [
        (
            json!({}),
            "configmaps",
            "one list; found 6 stored 4 excluded 1 deleting 1",
        ),
        (
            json!({"excludedNamespaces": ["bank"]}),
            "configmaps",
            "one list; found 6 stored 2 other namespaces 3 excluded 1",
        ),
        (
            json!({"includedNamespaces": ["bank"]}),
            "configmaps",
            "by namespace; found 3 stored 2 deleting 1",
        ),
        (
            json!({"includedNamespaces": ["bank", "shop"]}),
            "configmaps",
            "one list; found 6 stored 4 excluded 1 deleting 1",
        ),
        (
            json!({"orLabelSelectors": [x, y]}),
            "configmaps",
            "one list; found 6 stored 2 other labels 2 excluded 1 deleting 1",
        ),
        // What the API server leaves out of its answer is not found, and nobody knows how much that is.
        (
            json!({"labelSelector": x}),
            "configmaps",
            "one list; found 4 stored 2 excluded 1 deleting 1 and uncounted: other labels 1",
        ),
        (
            json!({"labelSelector": x, "includedNamespaces": ["bank"]}),
            "secrets",
            "by namespace; found 0 stored 0 and uncounted: other labels 1",
        ),
        // Namespace objects are matched here.
        (
            json!({"labelSelector": {"matchLabels": {"team": "bank"}}, "excludedNamespaces": ["default", "kube-*"]}),
            "namespaces",
            "one list; found 6 stored 2 other namespaces 4",
        ),
        // Volumes come with their claims before their own turn.
        (
            json!({}),
            "persistentvolumes",
            "one list; found 3 stored 3 related 2",
        ),
        (
            json!({"includedNamespaces": ["shop"]}),
            "persistentvolumes",
            "not read: cluster-scoped kinds are not included; found 1 stored 1 related 1",
        ),
        (
            json!({"excludedResources": ["pv"]}),
            "persistentvolumes",
            "not read: resource filters; found 0 stored 0",
        ),
        // A claim that the label selectors leave out comes with its pod.
        (
            json!({"orLabelSelectors": [x, y]}),
            "persistentvolumeclaims",
            "one list; found 2 stored 2 related 2",
        ),
        (
            json!({"includedNamespaces": ["shop"]}),
            "customresourcedefinitions.apiextensions.k8s.io",
            "not read: cluster-scoped kinds are not included; found 1 stored 1 related 1",
        ),
        (
            json!({"includedNamespaces": ["x-*"]}),
            "pods",
            "not read: no namespace is included; found 0 stored 0",
        ),
    ] {
        let done = back_up(&server, spec.clone()).await;
        let found = line(of(&done.result.coverage.kinds, resource));
        assert_eq!(found, expected, "{spec}");
    }
    let done = back_up(&server, json!({"includedNamespaces": ["shop"]})).await;
    let namespaces = of(&done.result.coverage.kinds, "namespaces");
    assert_eq!(
        (namespaces.stored, namespaces.left_out.namespace + 1),
        (1, namespaces.found)
    );
}

#[tokio::test]
async fn lists_that_fail_are_told() {
    let server = small_world().await;
    for (action, spec, expected) in [
        (
            FaultAction::Forbidden,
            json!({}),
            "one list; found 0 stored 0 incomplete 1",
        ),
        (
            FaultAction::Forbidden,
            json!({"includedNamespaces": ["shop", "bank"]}),
            "by namespace: the list of the cluster is forbidden; found 6 stored 4 excluded 1 deleting 1",
        ),
    ] {
        let engine = engine(&server).await;
        server.faults().add(
            Fault::new(action)
                .verb("list")
                .resource("configmaps")
                .times(1),
        );
        let done = run_with(&engine, spec.clone()).await;
        assert_eq!(
            line(of(&done.result.coverage.kinds, "configmaps")),
            expected,
            "{spec}"
        );
        server.faults().clear();
    }
}

#[tokio::test]
async fn every_kind_that_is_served_is_there() {
    let server = small_world().await;
    let engine = engine(&server).await;
    for spec in [
        json!({}),
        json!({"includedNamespaces": ["shop"], "includedResources": ["pods"]}),
        json!({"includeClusterResources": false}),
    ] {
        let done = run_with(&engine, spec.clone()).await;
        let kinds = &done.result.coverage.kinds;
        let catalog = engine.cluster().catalog();
        for resource in catalog.preferred() {
            let kind = of(kinds, &resource.group_resource().to_string());
            let read = !matches!(kind.reading, Reading::Not(_));
            assert!(!read || resource.verbs.can_back_up(), "{kind:?}");
            assert_eq!(
                kind.found,
                kind.stored + kind.left_out.total() + kind.failed
            );
        }
        assert_eq!(kinds.len(), catalog.preferred().count(), "{spec}");
    }
}

/// What both ways to know have to agree on: all but what actions bring in.
fn comparable(kinds: &[KindCoverage]) -> Vec<(String, Reading, u64, Value)> {
    kinds
        .iter()
        .map(|kind| {
            let left = kind.left_out;
            let left = json!([left.namespace, left.exclude_label, left.deleting]);
            (
                kind.resource.to_string(),
                kind.reading.clone(),
                kind.stored,
                left,
            )
        })
        .collect()
}

#[tokio::test]
async fn a_dry_run_says_what_a_run_does_and_reads_no_bodies() {
    let server = small_world().await;
    let engine = engine(&server).await;
    for spec in [
        json!({}),
        json!({"includedNamespaces": ["shop"], "includeClusterResources": true}),
        json!({"excludedNamespaces": ["bank"], "excludedNamespaceScopedResources": ["pvc"], "excludedClusterScopedResources": ["pv", "clusterroles", "clusterrolebindings"]}),
        json!({"includedNamespaces": ["shop"], "includedNamespaceScopedResources": ["books", "cm"]}),
        json!({"orLabelSelectors": [{"matchLabels": {"app": "x"}}], "includedNamespaceScopedResources": ["cm"]}),
    ] {
        let done = run_with(&engine, spec.clone()).await;
        let request = engine.request(&backup(spec.clone())).await.unwrap();
        server.calls().reset();
        let dry = engine
            .dry_run(&request, &CancellationToken::new())
            .await
            .unwrap();
        assert_eq!(
            comparable(&dry.coverage.kinds),
            comparable(&done.result.coverage.kinds),
            "{spec}"
        );
        assert!(dry.records.is_empty(), "{:?}", dry.records);
        let calls = server.calls();
        assert_eq!(
            calls.total(),
            calls.count_verb("list"),
            "{:?}",
            calls.counts()
        );
    }
    let request = engine.request(&backup(json!({}))).await.unwrap();
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    assert!(engine.dry_run(&request, &cancelled).await.is_err());
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("list")
            .resource("secrets"),
    );
    let dry = engine
        .dry_run(&request, &CancellationToken::new())
        .await
        .unwrap();
    assert!(dry.records.len() == 1 && dry.records[0].line().contains("not all objects"));
}

#[tokio::test]
async fn bindings_that_cannot_be_listed_are_one_error() {
    let server = small_world().await;
    let engine = engine(&server).await;
    let refused = Fault::new(FaultAction::Forbidden);
    server
        .faults()
        .add(refused.verb("list").resource("clusterrolebindings"));
    server.calls().reset();
    let done = run_with(&engine, json!({"includedNamespaces": ["shop", "bank"]})).await;
    assert_eq!(server.calls().count("list", "clusterrolebindings"), 1);
    assert_eq!(
        (done.result.errors(), done.result.warnings()),
        (1, 0),
        "{:?}",
        done.lines()
    );
    assert!(
        done.lines()[0].contains("no service account brings its own into the backup"),
        "{:?}",
        done.lines()
    );
    assert_eq!(of(&done.result.coverage.kinds, "serviceaccounts").failed, 0);
    assert!(done.has("serviceaccounts/namespaces/shop/runner"));
}

#[tokio::test]
async fn a_selector_costs_no_call_for_counting() {
    let server = small_world().await;
    let engine = engine(&server).await;
    let mut lists = Vec::new();
    for spec in [
        json!({}),
        json!({"labelSelector": {"matchLabels": {"app": "x"}}, "includeClusterResources": true}),
    ] {
        let request = engine.request(&backup(spec)).await.unwrap();
        server.calls().reset();
        let dry = engine.dry_run(&request, &CancellationToken::new()).await;
        assert!(dry.unwrap().records.is_empty());
        lists.push(server.calls().count_verb("list"));
    }
    assert_eq!(lists[0], lists[1]);
}
