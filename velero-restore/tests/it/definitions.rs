//! CustomResourceDefinitions and what they bring.

use std::time::Duration;

use serde_json::{Value, json};
use velero_core::api::RestorePhase;
use velero_restore::RestoreOptions;
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::common::*;

pub(crate) fn definition() -> Value {
    let mut crd = object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "",
        "books.library.example.com",
    );
    crd["spec"] = json!({"group": "library.example.com", "scope": "Namespaced",
        "names": {"kind": "Book", "plural": "books", "singular": "book", "listKind": "BookList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]});
    crd
}

fn book() -> Value {
    let mut book = object("library.example.com/v1", "Book", "shop", "b1");
    book["spec"] = json!({"pages": 321, "big": 9_007_199_254_740_993_i64});
    book["metadata"]["labels"] = json!({"app": "web"});
    book["status"] = json!({"read": true});
    book
}

#[tokio::test]
async fn custom_resources_follow_their_definition() {
    let server = ApiServer::builder()
        .crd_delay(Duration::from_millis(200))
        .build();
    let result = restore(
        &server,
        &[book(), definition(), namespace("shop")],
        json!({}),
    )
    .await;
    assert_clean(&result);
    let live = server
        .store()
        .get("library.example.com/v1", "Book", Some("shop"), "b1")
        .unwrap();
    assert_eq!(
        live["spec"],
        json!({"pages": 321, "big": 9_007_199_254_740_993_i64})
    );
    assert!(live.get("status").is_none());
}

#[tokio::test]
async fn a_definition_comes_along_when_labels_or_namespaces_do_not_select_it() {
    for spec in [
        json!({"labelSelector": {"matchLabels": {"app": "web"}}}),
        json!({"includedNamespaces": ["shop"]}),
    ] {
        let server = ApiServer::new();
        let result = restore(
            &server,
            &[definition(), namespace("shop"), book()],
            spec.clone(),
        )
        .await;
        assert_clean(&result);
        assert_eq!(
            entries(&result, "library.example.com/v1/Book"),
            ["shop/b1(created)"],
            "{spec}"
        );
    }
}

#[tokio::test]
async fn kinds_that_nobody_serves_are_named_item_by_item() {
    for spec in [
        json!({"includeClusterResources": false}),
        json!({"excludedResources": ["customresourcedefinitions.apiextensions.k8s.io"]}),
    ] {
        let server = ApiServer::new();
        let result = restore(
            &server,
            &[definition(), namespace("shop"), book()],
            spec.clone(),
        )
        .await;
        let errors = errors(&result);
        assert_eq!(errors.len(), 1, "{spec} {errors:?}");
        assert!(
            errors[0].starts_with("shop: resource: /books.library.example.com name: /b1 error: /"),
            "{errors:?}"
        );
        assert_eq!(result.phase(), RestorePhase::PartiallyFailed);
    }
}

#[tokio::test]
async fn a_definition_that_is_never_served_is_an_error_after_the_deadline() {
    let server = ApiServer::builder()
        .crd_delay(Duration::from_secs(3600))
        .build();
    let options: RestoreOptions = options().resource_timeout(Duration::from_millis(100));
    let engine = engine(&server).await.options(options);
    let archive = std::io::Cursor::new(archive(&[definition(), namespace("shop"), book()]));
    let result = engine
        .run(&request(json!({})), archive, Default::default())
        .await
        .unwrap();
    let errors = errors(&result);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors
            .iter()
            .any(|e| e.contains("books.library.example.com error: /is not served within 0.1s: ")),
        "{errors:?}"
    );
    assert!(
        errors
            .iter()
            .any(|e| e.contains("name: /b1") && e.contains("does not serve")),
        "{errors:?}"
    );
}

#[tokio::test]
async fn a_definition_whose_names_are_taken_says_so() {
    let server = ApiServer::new();
    let options: RestoreOptions = options().resource_timeout(Duration::from_millis(100));
    let engine = engine(&server).await.options(options);
    let mut other = definition();
    other["metadata"]["name"] = json!("novels.library.example.com");
    other["spec"]["names"]["plural"] = json!("novels");
    assert_clean(&run_items(&engine, &[definition()]).await);
    let items = [other, config_map("default", "a")];
    let result = run_items(&engine, &items).await;
    let errors = errors(&result);
    assert!(
        errors.len() == 1
            && errors[0].contains("novels.library.example.com")
            && errors[0].contains("NamesAccepted is \"False\": \"Book\" is already in use"),
        "{errors:?}"
    );
    assert_eq!(entries(&result, "v1/ConfigMap"), ["default/a(created)"]);
}

/// What API servers answer that have not taken a definition up.
fn not_served_yet() -> Fault {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound",
        "message": "the server could not find the requested resource", "details": {}});
    Fault::new(FaultAction::Status { code: 404, body })
        .verb("create")
        .resource("books")
}

#[tokio::test(start_paused = true)]
async fn kinds_that_a_definition_has_just_brought_are_given_a_moment() {
    for (times, created) in [(Some(3), true), (None, false)] {
        let server = ApiServer::new();
        let mut fault = not_served_yet();
        fault.times = times;
        server.faults().add(fault);
        let items = [book(), definition(), namespace("shop")];
        let result = restore(&server, &items, json!({})).await;
        let errors = errors(&result);
        assert_eq!(errors.is_empty(), created, "{errors:?}");
        assert_eq!(result.counts.created, if created { 3 } else { 2 });
    }
    // A kind that was there before is not waited for.
    let server = ApiServer::new();
    restore(&server, &[definition(), namespace("shop")], json!({})).await;
    server.faults().add(not_served_yet());
    server.calls().reset();
    let result = restore(&server, &[book()], json!({})).await;
    assert_eq!(errors(&result).len(), 1);
    assert_eq!(server.calls().count("create", "books"), 1);
}
