//! DataUploads: what they tell of claims, and the actions that they are for.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use velero_core::action::{ResourceSelector, RestoreMap};
use velero_core::api::crd;
use velero_testkit::ApiServer;

use crate::common::*;
use crate::volumes::{claim, live_claim, volume};

const KIND: &str = "velero.io/v2alpha1/DataUpload";

/// A DataUpload of the claim `shop/data`, made by a backup.
fn upload(backup: &str) -> Value {
    let mut upload = object("velero.io/v2alpha1", "DataUpload", "velero", "du-1");
    upload["metadata"]["labels"] = json!({"velero.io/backup-name": backup});
    upload["spec"] = json!({"snapshotType": "CSI", "sourceNamespace": "shop", "sourcePVC": "data",
        "backupStorageLocation": "default", "operationTimeout": "10m"});
    upload["status"] = json!({"phase": "Completed", "snapshotID": "s"});
    upload
}

/// A cluster that serves them, or one that does not.
fn server(serves: bool) -> ApiServer {
    let server = ApiServer::new();
    let uploads = |name: &str| name == "datauploads.velero.io";
    for definition in crd::all() {
        if serves && definition.metadata.name.as_deref().is_some_and(uploads) {
            let definition = serde_json::to_value(definition).unwrap();
            server.store().seed_value(definition).unwrap();
        }
    }
    server
}

/// Actions see them whatever the filters say, in the namespace of the server too; nothing is made of them.
#[tokio::test]
async fn actions_run_for_data_uploads_whatever_is_selected() {
    for spec in [
        json!({}),
        json!({"includedNamespaces": ["shop"]}),
        json!({"excludedNamespaces": ["velero"]}),
        json!({"includedResources": ["configmaps"]}),
        json!({"excludedResources": ["datauploads.velero.io"]}),
        json!({"labelSelector": {"matchLabels": {"app": "web"}}}),
        json!({"includeClusterResources": false}),
    ] {
        let server = server(true);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let names = Arc::clone(&seen);
        let selector = ResourceSelector::resources(["datauploads.velero.io"]);
        let action = RestoreMap::new("example.com/mover", selector, move |item| {
            names.lock().unwrap().push(item.name().to_owned());
            Ok(item)
        });
        let engine = engine(&server).await.action(action);
        let items = archive(&[namespace("shop"), config_map("shop", "m"), upload("b1")]);
        let result = run(&engine, items, &request(spec.clone())).await;
        assert!(errors(&result).is_empty(), "{spec}: {:?}", errors(&result));
        assert_eq!(*seen.lock().unwrap(), ["du-1"], "{spec}");
        assert_eq!(entries(&result, KIND), ["velero/du-1(skipped)"], "{spec}");
        let store = server.store();
        assert!(
            store
                .list("velero.io/v2alpha1", "DataUpload", None)
                .is_empty(),
            "{spec}"
        );
        assert!(
            store.get("v1", "Namespace", None, "velero").is_none(),
            "{spec}"
        );
    }
}

#[tokio::test]
async fn a_cluster_that_does_not_serve_data_uploads_misses_nothing() {
    let server = server(false);
    let items = [namespace("shop"), config_map("shop", "m"), upload("b1")];
    let result = restore(&server, &items, json!({})).await;
    assert_clean(&result);
    assert!(entries(&result, KIND).is_empty());
}

/// A backup of everything holds the DataUploads of other backups, whose data is not this backup's.
#[tokio::test]
async fn a_claim_whose_upload_is_in_the_archive_has_lost_its_data() {
    for (backup, restores, fails) in [
        ("b1", Value::Null, true),
        ("b1", json!(false), false),
        ("other", Value::Null, false),
    ] {
        let server = server(true);
        let items = [namespace("shop"), upload(backup), volume("Retain"), claim()];
        let result = restore(&server, &items, json!({"restorePVs": restores})).await;
        let told = format!("{backup} {restores}: {:?}", result.records);
        let errors = errors(&result);
        assert_eq!(errors.len(), usize::from(fails), "{told}");
        if fails {
            let line = &errors[0];
            let is_at_claim =
                line.starts_with("shop: resource: /persistentvolumeclaims name: /data error: /");
            assert!(
                is_at_claim && line.contains("CSISnapshot with moved data"),
                "{told}"
            );
        }
        // Of the volume that the data was on nothing is made where the data is elsewhere.
        let is_empty = live_claim(&server, "shop")["spec"]
            .get("volumeName")
            .is_none();
        assert_eq!(is_empty, backup == "b1", "{told}");
    }
}
