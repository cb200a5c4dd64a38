use velero_cluster::{Cluster, ClusterOptions, ErrorKind};
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::{connect, short};

#[tokio::test]
async fn aggregated_discovery_takes_one_call_a_root() {
    let server = ApiServer::new();
    let cluster = Cluster::connect(server.client()).await.unwrap();
    assert_eq!(server.calls().total(), 2, "{:?}", server.calls().counts());
    let catalog = cluster.catalog();
    let deployments = catalog.resolve("deploy").unwrap();
    assert_eq!(
        (
            deployments.api_version(),
            deployments.namespaced,
            deployments.has_status
        ),
        ("apps/v1".to_owned(), true, true)
    );
    assert!(deployments.preferred && deployments.verbs.can_back_up());
    let namespaces = catalog.resolve("ns").unwrap();
    assert!(!namespaces.namespaced && namespaces.verbs.can_back_up());
    assert!(catalog.failures().is_empty());
}

#[tokio::test]
async fn new_definitions_show_after_a_refresh_in_all_clones() {
    let server = ApiServer::new();
    let cluster = connect(&server).await;
    let clone = cluster.clone();
    assert!(clone.catalog().resolve("books").is_none());
    crate::seed(
        &server,
        serde_json::json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "books.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "books", "singular": "book", "kind": "Book", "listKind": "BookList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}),
    );
    cluster.refresh().await.unwrap();
    assert_eq!(
        clone.catalog().resolve("book").unwrap().api_version(),
        "example.com/v1"
    );
}

#[tokio::test]
async fn the_version_is_read() {
    let cluster = connect(&ApiServer::new()).await;
    let version = cluster.server_version().await.unwrap();
    assert!(
        version.git_version.starts_with('v') && version.major == "1" && !version.minor.is_empty(),
        "{version:?}"
    );
}

#[tokio::test]
async fn a_root_that_fails_for_good_is_an_error_that_says_so() {
    let server = ApiServer::new();
    server.faults().add(Fault::new(FaultAction::Unauthorized));
    let error = Cluster::connect_with(server.client(), short())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(
        error.to_string().starts_with("cannot discover /api"),
        "{error}"
    );
    server.faults().clear();
    server
        .faults()
        .add(Fault::new(FaultAction::Unavailable).times(2));
    assert!(
        Cluster::connect_with(server.client(), ClusterOptions::default())
            .await
            .is_ok()
    );
}
