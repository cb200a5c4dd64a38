//! Archives with objects in several versions of their kinds.

use std::io::Cursor;

use serde_json::{Value, json};
use velero_core::action::{ActionError, ResourceSelector, RestoreItemAction, RestoreOutcome};
use velero_core::archive::{ArchiveWriter, ArchiveWriterOptions};
use velero_core::{GroupResource, ResourceIdentifier};
use velero_restore::{RestoreEngine, RestoreRequest, RestoreResult, RestoreRun, VersionPriorities};
use velero_testkit::ApiServer;

use crate::common::*;

fn book(name: &str, version: &str) -> Value {
    let mut book = object(
        &format!("library.example.com/{version}"),
        "Book",
        "default",
        name,
    );
    book["metadata"]["labels"] = json!({"app": "library"});
    book["written"] = json!(version);
    book
}

/// An archive of `b1` in three versions, and of `b2` in the preferred one alone.
fn versioned() -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new(), ArchiveWriterOptions::default()).unwrap();
    for (name, version, preferred) in [
        ("b1", "v1", true),
        ("b1", "v1beta1", false),
        ("b1", "v1alpha1", false),
        ("b2", "v1", true),
    ] {
        let book = book(name, version);
        let json = book.to_string();
        writer
            .append(&path_of(&book), version, preferred, json.as_bytes())
            .unwrap();
    }
    let map = config_map("default", "reader");
    add(&mut writer, &path_of(&map), map.to_string().as_bytes());
    writer.finish().unwrap()
}

/// A cluster that serves books in some versions, of which it prefers the first.
fn library(versions: &[&str]) -> ApiServer {
    let server = ApiServer::new();
    let mut crd = object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "",
        "books.library.example.com",
    );
    let versions: Vec<Value> = versions
        .iter()
        .enumerate()
        .map(|(at, version)| {
            json!({"name": version, "served": true, "storage": at == 0,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
        })
        .collect();
    crd["spec"] = json!({"group": "library.example.com", "scope": "Namespaced",
        "names": {"kind": "Book", "plural": "books", "singular": "book", "listKind": "BookList"}, "versions": versions});
    server.store().seed_value(crd).unwrap();
    server
}

async fn choosing(server: &ApiServer) -> RestoreEngine {
    let engine = engine(server).await;
    engine.options(options().api_group_versions(true))
}

async fn restore_with(engine: &RestoreEngine, request: &RestoreRequest) -> RestoreResult {
    let archive = Cursor::new(versioned());
    let run = RestoreRun::default();
    engine.run(request, archive, run).await.unwrap()
}

/// In which version the archive's object was written that was restored.
fn written(server: &ApiServer, version: &str, name: &str) -> Option<String> {
    let version = format!("library.example.com/{version}");
    let book = server
        .store()
        .get(&version, "Book", Some("default"), name)?;
    book["written"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn objects_come_in_a_version_that_the_cluster_serves() {
    for (served, wishes, expected) in [
        (&["v1", "v1beta1"][..], "", "v1"),
        (&["v1beta1"], "", "v1beta1"),
        (&["v1alpha1", "v1beta1"], "", "v1beta1"),
        (
            &["v1", "v1beta1"],
            "books.library.example.com=v9,v1beta1",
            "v1beta1",
        ),
        (&["v1"], "books.library.example.com=v1beta1", "v1"),
    ] {
        let server = library(served);
        let request = request(json!({"includedResources": ["books.library.example.com"]}));
        let request = request.version_priorities(VersionPriorities::parse(wishes));
        restore_with(&choosing(&server).await, &request).await;
        assert_eq!(
            written(&server, served[0], "b1").as_deref(),
            Some(expected),
            "{served:?} {wishes}"
        );
    }
}

/// An object that the archive has in one version alone is told of like any other that is not served.
#[tokio::test]
async fn an_object_without_the_chosen_version_is_an_error_that_names_the_served_one() {
    let server = library(&["v1beta1"]);
    let books = request(json!({"includedResources": ["books.library.example.com"]}));
    let result = restore_with(&choosing(&server).await, &books).await;
    let errors = errors(&result);
    assert!(
        errors.len() == 1
            && errors[0].contains("name: /b2")
            && errors[0].contains("as library.example.com/v1beta1, not as library.example.com/v1"),
        "{errors:?}"
    );
    assert_eq!(
        written(&server, "v1beta1", "b1").as_deref(),
        Some("v1beta1")
    );
    // Without the feature only the preferred version is looked at.
    let server = library(&["v1beta1"]);
    let result = restore_with(&engine(&server).await, &books).await;
    assert_eq!((result.errors(), result.counts.created), (2, 0));
}

/// The peer takes additional items from the plain path, in whatever version that is.
#[tokio::test]
async fn additional_items_come_in_the_chosen_version_too() {
    struct Asks;
    #[async_trait::async_trait]
    impl RestoreItemAction for Asks {
        fn name(&self) -> &str {
            "example.com/asks"
        }
        fn applies_to(&self) -> ResourceSelector {
            ResourceSelector::resources(["configmaps"])
        }
        async fn execute(
            &self,
            input: velero_core::action::RestoreInput,
            _: &velero_core::action::ActionContext<'_, velero_core::api::Restore>,
        ) -> Result<RestoreOutcome, ActionError> {
            let books = GroupResource::new("library.example.com", "books");
            let book = ResourceIdentifier::namespaced(books, "default", "b1");
            Ok(RestoreOutcome::create(input.item).with([book]))
        }
    }
    let server = library(&["v1beta1"]);
    let engine = choosing(&server).await.action(Asks);
    let request = request(
        json!({"labelSelector": {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}}),
    );
    let result = restore_with(&engine, &request).await;
    assert_clean(&result);
    assert_eq!(
        written(&server, "v1beta1", "b1").as_deref(),
        Some("v1beta1")
    );
}

#[tokio::test]
async fn wishes_lie_in_a_config_map() {
    let server = ApiServer::new();
    let reader = cluster(&server).await.reader();
    let none = VersionPriorities::read(&reader, "velero").await.unwrap();
    assert_eq!(none, VersionPriorities::default());
    server.store().seed_value(namespace("velero")).unwrap();
    let mut map = object("v1", "ConfigMap", "velero", "enableapigroupversions");
    map["data"] =
        json!({"restoreResourcesVersionPriority": "books.library.example.com = v1beta1\nodd line"});
    server.store().seed_value(map).unwrap();
    let wishes = VersionPriorities::read(&reader, "velero").await.unwrap();
    assert_eq!(wishes.of(&"books.library.example.com".into()), ["v1beta1"]);
    let request = request(json!({"includedResources": ["configmaps"]})).version_priorities(wishes);
    let result = restore_with(&choosing(&server).await, &request).await;
    let warnings = warnings(&result);
    assert!(
        warnings.len() == 1 && warnings[0].contains("\"oddline\" is passed over"),
        "{warnings:?}"
    );
}
