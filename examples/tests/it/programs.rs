//! The examples, on a cluster of tests: what they leave behind and what they say when something is missing.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use velero_core::CancellationToken;
use velero_testkit::{ApiServer, Fault, FaultAction};

#[allow(dead_code, reason = "the main function of a program")]
#[path = "../../examples/backup_namespace.rs"]
mod backup_namespace;
#[allow(dead_code, reason = "the main function of a program")]
#[path = "../../examples/custom_action.rs"]
mod custom_action;
#[allow(dead_code, reason = "the main function of a program")]
#[path = "../../examples/restore_namespace.rs"]
mod restore_namespace;

fn shop() -> ApiServer {
    let server = ApiServer::new();
    for object in [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "shop"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": "shop"}}),
    ] {
        server.store().seed_value(object).unwrap();
    }
    server
}

fn has(server: &ApiServer, namespace: &str) -> bool {
    let store = server.store();
    store
        .get("v1", "ConfigMap", Some(namespace), "settings")
        .is_some()
}

async fn back_up(server: &ApiServer, namespace: &str, path: &Path) -> Result<(), String> {
    let path = path.to_str().unwrap();
    let cancel = CancellationToken::new();
    backup_namespace::back_up(server.client(), namespace.to_owned(), path, cancel)
        .await
        .map_err(|error| error.to_string())
}

async fn restore(server: &ApiServer, path: &Path, names: &[&str]) -> Result<(), String> {
    let name = |at: usize| names.get(at).map(|name| (*name).to_owned());
    restore_namespace::restore(server.client(), path.to_str().unwrap(), name(0), name(1))
        .await
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_good_backup_is_replaced_by_a_complete_one_alone() {
    let (server, folder) = (shop(), tempfile::tempdir().unwrap());
    let (path, part) = (
        folder.path().join("keep.tar.gz"),
        folder.path().join("keep.tar.gz.part"),
    );
    back_up(&server, "shop", &path).await.unwrap();
    let good = std::fs::read(&path).unwrap();
    assert!(!part.exists());

    let forbidden = Fault::new(FaultAction::Forbidden)
        .verb("list")
        .resource("secrets");
    for (namespace, fault) in [("nope", None), ("shop", Some(forbidden))] {
        if let Some(fault) = fault {
            server.faults().add(fault);
        }
        let error = back_up(&server, namespace, &path).await.unwrap_err();
        assert!(
            error.contains("not complete") && error.contains("keep.tar.gz.part"),
            "{error}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), good, "{namespace}");
        assert!(part.exists());
    }

    server.faults().clear();
    back_up(&server, "shop", &path).await.unwrap();
    assert!(!part.exists());
    restore(&server, &path, &["shop", "copy"]).await.unwrap();
    assert!(has(&server, "copy"));
}

#[tokio::test]
async fn a_cancelled_backup_leaves_nothing() {
    let (server, folder) = (shop(), tempfile::tempdir().unwrap());
    let path = folder.path().join("shop.tar.gz");
    let slow = Fault::new(FaultAction::Slow(Duration::from_secs(30)));
    server.faults().add(slow.verb("list").resource("secrets"));
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.cancel();
    });
    let path = path.to_str().unwrap();
    let work = backup_namespace::back_up(server.client(), "shop".to_owned(), path, cancel);
    let error = work.await.unwrap_err().to_string();
    assert!(error.contains("cancelled"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_namespace_that_the_file_does_not_hold_is_an_error() {
    let (server, folder) = (shop(), tempfile::tempdir().unwrap());
    let path = folder.path().join("shop.tar.gz");
    back_up(&server, "shop", &path).await.unwrap();
    let before = server.store().list("v1", "Namespace", None).len();
    for names in [&["nope"][..], &["nope", "copy"]] {
        let error = restore(&server, &path, names).await.unwrap_err();
        assert!(error.ends_with("holds no namespace \"nope\""), "{error}");
    }
    assert_eq!(server.store().list("v1", "Namespace", None).len(), before);
    restore(&ApiServer::new(), &path, &["shop"]).await.unwrap();
    restore(&ApiServer::new(), &path, &[]).await.unwrap();
}

#[tokio::test]
async fn a_copy_of_what_cannot_be_read_is_an_error() {
    let server = shop();
    let copy = async |source: &str| {
        custom_action::copy(server.client(), source.to_owned(), "copy".to_owned())
            .await
            .map_err(|error| error.to_string())
    };
    let error = copy("nope").await.unwrap_err();
    assert!(error.contains("nope could not be read"), "{error}");
    assert!(!has(&server, "copy"));
    copy("shop").await.unwrap();
    assert!(has(&server, "copy"));
}

#[tokio::test]
async fn the_actions_of_a_copy_do_their_work() {
    let server = shop();
    let store = server.store();
    let annotations = json!({"example.com/secret": "top"});
    store
        .seed_value(json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "marked", "namespace": "shop", "annotations": annotations}}))
        .unwrap();
    let labels = json!({"app": "web"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    store
        .seed_value(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": template}}))
        .unwrap();
    let copied = custom_action::copy(server.client(), "shop".to_owned(), "copy".to_owned());
    copied.await.unwrap();
    let secret = |name: &str| store.get("v1", "Secret", Some("copy"), name).is_some();
    assert_eq!((secret("key"), secret("marked")), (true, false));
    let web = store.get("apps/v1", "Deployment", Some("copy"), "web");
    assert_eq!(web.unwrap()["spec"]["replicas"], 1);
}
