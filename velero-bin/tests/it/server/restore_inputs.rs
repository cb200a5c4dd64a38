//! What operated restores go by beside their spec: resource modifiers, configured actions, versions; and what is stored of
//! those that fail.

use std::path::Path;

use serde_json::{Value, json};
use velero_bin::features::Features;
use velero_bin::server::Settings;
use velero_core::api::{BackupStorageLocation, Restore, RestorePhase};
use velero_testkit::{Fault, FaultAction};

use super::operations::document;
use super::world::{World, files, folder, gunzip, settings};

fn seed(world: &World, value: Value) {
    world.api.store().seed_value(value).unwrap();
}

fn map(world: &World, name: &str, data: Value) {
    let meta = json!({"name": name, "namespace": "velero"});
    seed(
        world,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}),
    );
}

/// A ConfigMap that says what an action changes.
fn action(world: &World, name: &str, action: &str, data: Value) {
    let labels = json!({"velero.io/plugin-config": "", action: "RestoreItemAction"});
    let meta = json!({"name": name, "namespace": "velero", "labels": labels});
    seed(
        world,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}),
    );
}

async fn run(world: &World, name: &str, mut spec: Value) -> Restore {
    spec["backupName"] = json!("b");
    spec["namespaceMapping"] = json!({"shop": name});
    world
        .create::<Restore>(json!({"metadata": {"name": name}, "spec": spec}))
        .await;
    world.restore_ended(name).await
}

const RULES: &str = r#"
version: v1
resourceModifierRules:
- conditions: {groupResource: configmaps, resourceNameRegex: "^config-0$", namespaces: [shop]}
  patches: [{operation: replace, path: /data/number, value: '"changed"'}]
"#;

#[tokio::test]
async fn modifiers_that_cannot_be_used_fail_the_validation() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    map(&world, "two", json!({"a": RULES, "b": RULES}));
    map(&world, "none", json!(null));
    map(
        &world,
        "bad",
        json!({"r": "version: v1\nresourceModifierRules: [{conditions: {groupResource: pods}, patches: [{operation: replace}]}]\n"}),
    );
    map(&world, "odd", json!({"r": "version: v1\nrules: []\n"}));
    let place = "resource modifier ConfigMap velero/";
    for (at, (kind, name, fault)) in [
        (
            "ConfigMap",
            "gone",
            format!("{place}gone: it does not exist; create it in the restore's namespace"),
        ),
        (
            "configmap",
            "two",
            format!("{place}two: it has 2 data keys"),
        ),
        (
            "CONFIGMAP",
            "none",
            format!("{place}none: it has 0 data keys"),
        ),
        (
            "configmap",
            "bad",
            format!("{place}bad, key r: resourceModifierRules[0].patches[0].path: "),
        ),
        ("configmap", "odd", format!("{place}odd, key r: rules")),
        (
            "Secret",
            "two",
            "resourceModifier.kind \"Secret\" is not known".to_owned(),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let spec = json!({"resourceModifier": {"apiGroup": "", "kind": kind, "name": name}});
        let restore = run(&world, &format!("r{at}"), spec).await;
        assert_eq!(*restore.phase(), RestorePhase::FailedValidation, "{name}");
        let errors = &restore.status.validation_errors;
        assert!(errors[0].starts_with(&fault), "{name}: {errors:?}");
    }
    // Other faults are told as well, and nothing was made.
    let spec = json!({"existingResourcePolicy": "x", "resourceModifier": {"kind": "configmap", "name": "gone"}});
    let restore = run(&world, "both", spec).await;
    let errors = &restore.status.validation_errors;
    assert_eq!(errors.len(), 2, "{errors:?}");
    let spaces = world.api.store().list("v1", "Namespace", None);
    assert_eq!(spaces.len(), 6, "{spaces:?}");

    let denied = Fault::new(FaultAction::Forbidden)
        .verb("get")
        .resource("configmaps")
        .times(1);
    world.api.faults().add(denied);
    let spec = json!({"resourceModifier": {"kind": "configmap", "name": "two"}});
    let restore = run(&world, "denied", spec).await;
    let error = &restore.status.validation_errors[0];
    assert!(
        error.starts_with(&format!("{place}two: it cannot be read: ")),
        "{error}"
    );
}

#[tokio::test]
async fn several_config_maps_for_one_action_fail_the_validation() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    for name in ["one", "two"] {
        let data = json!({"x": "a,b"});
        action(&world, name, "velero.io/change-image-name", data);
    }
    let restore = run(&world, "r", json!({})).await;
    assert_eq!(*restore.phase(), RestorePhase::FailedValidation);
    assert_eq!(
        restore.status.validation_errors,
        [
            "configuration of actions in namespace \"velero\": 2 ConfigMaps have the label \
             velero.io/change-image-name=RestoreItemAction, and one is right: one, two"
        ]
    );
}

#[tokio::test]
async fn modifiers_actions_and_status_change_what_is_restored() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    seed(
        &world,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"containers": [{"name": "c", "image": "docker.io/web:1"}]}, "status": {"phase": "Running", "podIP": "10.9.9.9"}}),
    );
    world.back_up("b", &["shop"]).await;
    map(&world, "rules", json!({"any-key": RULES}));
    let data = json!({"case": "docker.io, registry.example.com", "odd": "x"});
    action(&world, "images", "velero.io/change-image-name", data);
    let restore = run(
        &world,
        "copy",
        json!({"resourceModifier": {"kind": "ConfigMap", "name": "rules"}, "restoreStatus": {"includedResources": ["pods"]},
            "uploaderConfig": {"writeSparseFiles": true, "parallelFilesDownload": 3}}),
    )
    .await;
    let status = &restore.status;
    assert_eq!(*restore.phase(), RestorePhase::Completed, "{status:#?}");
    // A row that is no change is told.
    assert_eq!((status.errors, status.warnings), (0, 1), "{status:#?}");
    let get = |kind: &str, name: &str| {
        let found = world.api.store().get("v1", kind, Some("copy"), name);
        found.unwrap()
    };
    assert_eq!(get("ConfigMap", "config-0")["data"]["number"], "changed");
    assert_eq!(get("ConfigMap", "config-1")["data"]["number"], "1");
    let pod = get("Pod", "web");
    assert_eq!(
        pod["spec"]["containers"][0]["image"],
        "registry.example.com/web:1"
    );
    assert_eq!(pod["status"]["podIP"], "10.9.9.9");
    let uploader = restore.spec.uploader_config.unwrap();
    assert_eq!(uploader.parallel_files_download, 3);
}

/// A cluster that serves books as v1 and v1beta1, with one in the backup `b`, and an operator that chooses versions.
async fn library(folder: &Path) -> World {
    let mut world = World::empty();
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    seed(
        &world,
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "books.library.example.com"},
            "spec": {"group": "library.example.com", "scope": "Namespaced", "versions": [version("v1", true), version("v1beta1", false)],
                "names": {"kind": "Book", "plural": "books", "singular": "book", "listKind": "BookList"}}}),
    );
    world.seed_shop("shop");
    seed(
        &world,
        json!({"apiVersion": "library.example.com/v1", "kind": "Book", "metadata": {"name": "one", "namespace": "shop"}}),
    );
    let features = Features::new(["EnableAPIGroupVersions"]);
    world
        .start(Settings {
            features,
            ..settings()
        })
        .await;
    world.add_folder("default", folder).await;
    world
        .wait::<BackupStorageLocation>("default", "is available", |l| l.is_available())
        .await;
    world.back_up("b", &["shop"]).await;
    world
}

/// The versions in which books were created.
fn created(world: &World) -> Vec<String> {
    let calls = world.api.calls().log();
    let books = calls
        .iter()
        .filter(|call| call.verb == "create" && call.resource == "books");
    books.map(|call| call.version.clone()).collect()
}

#[tokio::test]
async fn versions_are_those_that_users_want() {
    let folder = folder();
    let world = library(folder.path()).await;
    let restore = run(&world, "plain", json!({})).await;
    assert_eq!(
        *restore.phase(),
        RestorePhase::Completed,
        "{:?}",
        restore.status
    );
    assert_eq!(created(&world), ["v1"]);
    let wishes = "books.library.example.com=v1beta1,v1\nnonsense\n";
    map(
        &world,
        "enableapigroupversions",
        json!({"restoreResourcesVersionPriority": wishes}),
    );
    let restore = run(&world, "wished", json!({})).await;
    assert_eq!(*restore.phase(), RestorePhase::Completed);
    assert_eq!(restore.status.warnings, 1, "{:?}", restore.status);
    assert_eq!(created(&world), ["v1", "v1beta1"]);
}

/// The peer keeps nothing of a restore that fails before its items.
#[tokio::test]
async fn a_failed_restore_leaves_its_log_and_results() {
    let folder = folder();
    let world = library(folder.path()).await;
    let denied = Fault::new(FaultAction::Forbidden)
        .verb("get")
        .resource("configmaps")
        .name("enableapigroupversions");
    world.api.faults().add(denied);
    let restore = run(&world, "r", json!({})).await;
    assert_eq!(*restore.phase(), RestorePhase::Failed);
    let status = &restore.status;
    let reason = "cannot read which API versions are wanted: ";
    assert!(status.failure_reason.starts_with(reason), "{status:#?}");
    assert_eq!((status.errors, status.warnings), (1, 0));
    assert!(status.start_timestamp.is_some() && status.completion_timestamp.is_some());
    let dir = folder.path().join("bucket/restores/r");
    assert_eq!(files(&dir), ["restore-r-logs.gz", "restore-r-results.gz"]);
    let log = gunzip(&dir.join("restore-r-logs.gz"));
    assert!(
        log.contains("the restore has failed: cannot read which API versions"),
        "{log}"
    );
    let results = document(&dir, "restore-r-results.gz");
    let line = results["errors"]["velero"][0].as_str().unwrap();
    assert!(line.contains(reason), "{results}");
    world
        .wait_metric("velero_restore_failed_total{schedule=\"\"} 1")
        .await;
    world.delete::<Restore>("r").await;
    world.wait_gone::<Restore>("r").await;
    assert_eq!(files(&dir), Vec::<String>::new());
}
