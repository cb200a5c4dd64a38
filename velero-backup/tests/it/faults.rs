use serde_json::json;
use velero_backup::{BackupEngine, BackupOptions, ErrorKind};
use velero_cluster::ListOptions;
use velero_testkit::{Fault, FaultAction};

use crate::support::*;

#[tokio::test]
async fn a_kind_that_cannot_be_listed_is_a_record_and_the_rest_is_stored() {
    for (action, warnings, errors) in [
        (FaultAction::Forbidden, 0, 1),
        (FaultAction::NotFound, 1, 0),
        (FaultAction::InternalError, 0, 1),
        (FaultAction::Truncate(10), 0, 1),
        (FaultAction::ConnectionReset, 0, 1),
    ] {
        let server = world();
        let engine = engine(&server).await;
        server
            .faults()
            .add(Fault::new(action.clone()).verb("list").resource("secrets"));
        let done = run_with(&engine, json!({})).await;
        assert_eq!(
            (done.result.warnings(), done.result.errors()),
            (warnings, errors),
            "{action:?} {:?}",
            done.lines()
        );
        assert!(
            done.lines()[0].starts_with("resource: /secrets "),
            "{:?}",
            done.lines()
        );
        assert!(
            done.has("configmaps/namespaces/shop/plain")
                && done.has("books.example.com/namespaces/shop/b1")
        );
    }
}

#[tokio::test]
async fn what_passes_leaves_no_trace() {
    for action in [
        FaultAction::InternalError,
        FaultAction::Unavailable,
        FaultAction::ConnectionReset,
        FaultAction::Truncate(500),
        FaultAction::TooManyRequests {
            retry_after_seconds: 0,
        },
    ] {
        let server = world();
        let engine = engine(&server).await;
        let whole = run_with(&engine, json!({})).await;
        server
            .faults()
            .add(Fault::new(action.clone()).verb("list").skip(4).times(2));
        server.faults().add(
            Fault::new(action.clone())
                .verb("list")
                .resource("configmaps")
                .times(1),
        );
        let done = run_with(&engine, json!({})).await;
        assert!(
            done.result.records.is_empty(),
            "{action:?} {:?}",
            done.lines()
        );
        assert!(done.archive == whole.archive, "{action:?}");
    }
}

#[tokio::test]
async fn an_expired_list_goes_on_without_loss_or_doubles() {
    let server = world();
    for at in 0..50 {
        seed(&server, map("shop", &format!("m{at:03}"), json!({})));
    }
    let options = BackupOptions::default().list(ListOptions::default().page_size(10));
    let engine = BackupEngine::new(connect(&server).await).options(options);
    let whole = run_with(&engine, json!({})).await;
    server.faults().add(
        Fault::new(FaultAction::Gone)
            .verb("list")
            .resource("configmaps")
            .query("continue=")
            .skip(2)
            .times(2),
    );
    let done = run_with(&engine, json!({})).await;
    assert_eq!(server.faults().acted(), [2]);
    assert!(
        done.result.records.is_empty() && done.archive == whole.archive,
        "{:?}",
        done.lines()
    );
}

#[tokio::test]
async fn credentials_for_some_namespaces_only_are_enough_for_them() {
    let server = world();
    let engine = engine(&server).await;
    let spec = json!({"includedNamespaces": ["shop", "bank"], "includedResources": ["configmaps"]});
    let whole = run_with(&engine, spec.clone()).await;
    server.calls().reset();
    // Only the list of the whole cluster is forbidden: it has no namespace in its path.
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("list")
            .resource("configmaps")
            .times(1),
    );
    let done = run_with(&engine, spec).await;
    assert!(done.result.records.is_empty(), "{:?}", done.lines());
    assert_eq!(done.items, whole.items);
    assert_eq!(server.calls().count("list", "configmaps"), 3);
}

#[tokio::test]
async fn an_additional_item_that_cannot_be_read_does_not_cost_its_parent() {
    let server = world();
    let engine = engine(&server).await;
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("get")
            .resource("persistentvolumes"),
    );
    let done = run_with(&engine, json!({"includedNamespaces": ["shop"]})).await;
    assert!(
        done.has("pods/namespaces/shop/web")
            && done.has("persistentvolumeclaims/namespaces/shop/data")
    );
    assert!(!done.has("persistentvolumes/cluster/pv-shop"));
    assert_eq!(done.result.errors(), 1, "{:?}", done.lines());
    assert!(
        done.lines()[0]
            .contains("name: /pv-shop error: /additional item of persistentvolumeclaims shop/data"),
        "{:?}",
        done.lines()
    );
}

#[tokio::test]
async fn bindings_that_cannot_be_listed_are_a_record_at_each_service_account() {
    let server = world();
    let engine = engine(&server).await;
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("list")
            .resource("clusterrolebindings"),
    );
    let done = run_with(&engine, json!({"includedNamespaces": ["shop"]})).await;
    assert!(done.has("serviceaccounts/namespaces/shop/runner"));
    assert!(
        done.result.errors() >= 1 && done.lines().iter().all(|l| l.contains("/serviceaccounts")),
        "{:?}",
        done.lines()
    );
}

#[tokio::test]
async fn a_cluster_that_is_gone_ends_the_backup() {
    let server = world();
    let engine = engine(&server).await;
    let request = engine.request(&backup(json!({}))).await.unwrap();
    for action in [FaultAction::Unauthorized, FaultAction::ConnectionReset] {
        server.faults().clear();
        server
            .faults()
            .add(Fault::new(action.clone()).verb("list").skip(3));
        let kept = Kept::default();
        let error = engine.run(&request, kept.clone(), run()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cluster, "{action:?} {error}");
        assert!(!is_archive(&kept.bytes()));
    }
}

pub(crate) fn is_archive(bytes: &[u8]) -> bool {
    velero_core::archive::ArchiveReader::new(bytes)
        .for_each(|_, _| Ok(std::ops::ControlFlow::Continue(())))
        .is_ok()
}
