//! Status of restored objects.

use serde_json::{Value, json};
use velero_restore::RestoreResult;
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::common::*;

fn pod() -> Value {
    let mut pod = object("v1", "Pod", "default", "web");
    pod["spec"] = json!({"containers": [{"name": "c", "image": "i"}]});
    pod["status"] = json!({"phase": "Running", "podIP": "10.9.9.9"});
    pod
}

fn status_of(server: &ApiServer) -> Value {
    let pod = server.store().get("v1", "Pod", Some("default"), "web");
    pod.unwrap()["status"].clone()
}

fn asked() -> Value {
    json!({"restoreStatus": {"includedResources": ["po"]}})
}

#[tokio::test]
async fn a_status_comes_back_where_spec_or_annotation_ask_for_it() {
    for (spec, annotation, expected) in [
        (json!({}), None, false),
        (json!({"restoreStatus": {}}), None, true),
        (asked(), None, true),
        (
            json!({"restoreStatus": {"excludedResources": ["pods"]}}),
            None,
            false,
        ),
        (json!({}), Some(" True"), true),
        (asked(), Some("false"), false),
    ] {
        let server = ApiServer::new();
        let mut pod = pod();
        if let Some(annotation) = annotation {
            pod["metadata"]["annotations"] = json!({"velero.io/restore-status": annotation});
        }
        let result = restore(&server, &[pod], spec.clone()).await;
        assert_clean(&result);
        let restored = status_of(&server)["podIP"] == json!("10.9.9.9");
        assert_eq!(restored, expected, "{spec} {annotation:?}");
    }
}

/// One call creates the object, one writes its status; owners follow without a third where that is possible.
#[tokio::test]
async fn owners_of_a_status_come_back_with_it() {
    let status = |operation: &str, fields: Value| {
        let mut entry = managed("kubelet", fields);
        entry["subresource"] = json!("status");
        entry["operation"] = json!(operation);
        entry
    };
    let spec = json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}}}}});
    let main = managed("kubectl", spec);
    let whole = json!({"f:status": {"f:phase": {}, "f:podIP": {}}});
    for (entries, patches) in [
        (json!([main, status("Update", whole.clone())]), 0),
        (json!([main, status("Apply", whole)]), 1),
    ] {
        let server = ApiServer::new();
        let mut pod = pod();
        pod["metadata"]["managedFields"] = entries;
        let engine = engine(&server).await;
        server.calls().reset();
        let result = run(&engine, archive(&[pod]), &request(asked())).await;
        assert_clean(&result);
        assert_eq!(server.calls().count_verb("patch"), patches);
        assert_eq!(server.calls().count_verb("update"), 1);
        let live = server.store().get("v1", "Pod", Some("default"), "web");
        let live = live.unwrap();
        let mut found: Vec<(&str, &str)> = live["metadata"]["managedFields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| {
                let text = |field: &str| e[field].as_str().unwrap_or_default();
                (text("manager"), text("subresource"))
            })
            .collect();
        found.sort_unstable();
        assert_eq!(found, [("kubectl", ""), ("kubelet", "status")]);
        assert_eq!(live["status"]["podIP"], json!("10.9.9.9"));
    }
}

#[tokio::test]
async fn a_status_that_cannot_be_written_is_a_warning() {
    async fn with(fault: FaultAction, times: u64) -> (ApiServer, RestoreResult) {
        let server = ApiServer::new();
        server.faults().add(
            Fault::new(fault)
                .verb("update")
                .resource("pods/status")
                .times(times),
        );
        let result = restore(&server, &[pod()], asked()).await;
        assert_eq!(entries(&result, "v1/Pod"), ["default/web(created)"]);
        (server, result)
    }
    let (server, result) = with(FaultAction::Conflict, 4).await;
    assert_clean(&result);
    assert_eq!(status_of(&server)["podIP"], json!("10.9.9.9"));
    for (fault, times, want) in [
        (
            FaultAction::Conflict,
            100,
            "its status is not restored: others changed it 5 times meanwhile",
        ),
        (
            FaultAction::Forbidden,
            100,
            "its status cannot be restored: cannot update pods default/web",
        ),
    ] {
        let (_, result) = with(fault, times).await;
        let warnings = warnings(&result);
        assert!(
            warnings.len() == 1 && warnings[0].contains(want),
            "{warnings:?}"
        );
        assert_eq!(result.errors(), 0);
    }
}

/// Without a status subresource the status is a part of the object like any other.
#[tokio::test]
async fn kinds_without_a_status_of_their_own_get_it_with_the_object() {
    let mut definition = object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "",
        "books.library.example.com",
    );
    definition["spec"] = json!({"group": "library.example.com", "scope": "Namespaced",
        "names": {"kind": "Book", "plural": "books", "singular": "book", "listKind": "BookList"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]});
    let mut book = object("library.example.com/v1", "Book", "default", "b1");
    book["status"] = json!({"read": true});
    for (spec, expected) in [
        (json!({}), None),
        (
            json!({"restoreStatus": {"includedResources": ["books.library.example.com"]}}),
            Some(json!({"read": true})),
        ),
    ] {
        let server = ApiServer::new();
        let result = restore(&server, &[definition.clone(), book.clone()], spec).await;
        assert_clean(&result);
        let live = server
            .store()
            .get("library.example.com/v1", "Book", Some("default"), "b1")
            .unwrap();
        assert_eq!(live.get("status").cloned(), expected);
        assert_eq!(server.calls().count("update", "books"), 0);
    }
}
