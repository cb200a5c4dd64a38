//! What a restore of direct mode goes by beside its spec: files, ConfigMaps of Velero's namespace, features.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use velero_testkit::{Fault, FaultAction};

use crate::program::{Cluster, Ran, files};

const RULES: &str = r#"
version: v1
resourceModifierRules:
- conditions: {groupResource: configmaps}
  patches: [{operation: add, path: /data/changed, value: '"yes"'}]
"#;

const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop}, \
    spec: {containers: [{name: c, image: 'docker.io/web:1'}]}, status: {phase: Running, podIP: 10.9.9.9}}";

fn map(name: &str, labels: Value, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "velero", "labels": labels}, "data": data})
}

fn images(name: &str, row: &str) -> Value {
    let labels =
        json!({"velero.io/plugin-config": "", "velero.io/change-image-name": "RestoreItemAction"});
    map(name, labels, json!({"row": row}))
}

/// A folder with a backup `first` of a shop with a Pod.
async fn backed_up() -> (TempDir, String) {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    source.server.store().seed(POD).unwrap();
    let store = format!("file://{}", folder.path().join("store").display());
    let line = format!("direct backup first --store {store} --include-namespaces shop");
    source.velero(&line).await.exits(0);
    (folder, store)
}

async fn restore(target: &Cluster, store: &str, flags: &[&str]) -> Ran {
    let line = ["direct", "restore", "first", "--store", store];
    target.run([&line, flags].concat()).await
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn data(target: &Cluster) -> Value {
    let map = target
        .server
        .store()
        .get("v1", "ConfigMap", Some("shop"), "settings");
    map.unwrap()["data"].clone()
}

fn pod(target: &Cluster) -> Value {
    let pod = target.server.store().get("v1", "Pod", Some("shop"), "web");
    pod.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn modifiers_come_from_the_cluster_or_from_a_file() {
    let (folder, store) = backed_up().await;
    let target = Cluster::start().await;
    let objects = target.server.store();
    objects
        .seed("{apiVersion: v1, kind: Namespace, metadata: {name: velero}}")
        .unwrap();
    objects
        .seed_value(map("bad", json!({}), json!({"r": "version: v0\n"})))
        .unwrap();
    let bad = write(folder.path(), "bad.yaml", "version: v1\nrules: []\n");
    for (flag, value, fault) in [
        (
            "--resource-modifier-configmap",
            "bad",
            "resource modifier ConfigMap velero/bad, key r: version: \"v0\"",
        ),
        (
            "--resource-modifier-configmap",
            "gone",
            "resource modifier ConfigMap velero/gone: it does not exist",
        ),
        ("--resource-modifier-file", bad.as_str(), "bad.yaml: rules"),
        (
            "--resource-modifier-file",
            "/nowhere.yaml",
            "cannot read resource modifier file /nowhere.yaml",
        ),
        (
            "--action-config-file",
            "/nowhere.yaml",
            "cannot read action config file /nowhere.yaml",
        ),
    ] {
        let message = restore(&target, &store, &[flag, value]).await.fails();
        assert!(message.contains(fault), "{flag} {value}: {message}");
    }
    assert!(objects.get("v1", "Namespace", None, "shop").is_none());
    // Nothing was begun, so nothing is in the store.
    let kept = files(&folder.path().join("store"));
    assert!(
        kept.iter().all(|file| file.starts_with("backups/")),
        "{kept:?}"
    );

    objects
        .seed_value(map("good", json!({}), json!({"r": RULES})))
        .unwrap();
    let good = write(folder.path(), "good.yaml", RULES);
    for (flag, value) in [
        ("--resource-modifier-configmap", "good"),
        ("--resource-modifier-file", good.as_str()),
    ] {
        let target_of_its_own = Cluster::start().await;
        let target = if flag.ends_with("file") {
            &target_of_its_own
        } else {
            &target
        };
        restore(target, &store, &[flag, value]).await.exits(0);
        assert_eq!(data(target), json!({"color": "blue", "changed": "yes"}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_are_configured_by_the_cluster_or_by_a_file() {
    let (folder, store) = backed_up().await;
    let images_file = format!(
        "{}\n---\n{{kind: ConfigMapList, items: []}}\n",
        images("f", "docker.io/,file.example.com/")
    );
    let file = write(folder.path(), "images.yaml", &images_file);
    let plain = map("plain", json!({}), json!({"a": "b"})).to_string();
    let plain = write(folder.path(), "plain.yaml", &plain);
    let other = write(
        folder.path(),
        "other.yaml",
        "{kind: Secret, metadata: {name: s}}",
    );
    for (flags, expected) in [
        (vec![], Ok("cluster.example.com/web:1")),
        (
            vec!["--action-config-file", &file],
            Ok("file.example.com/web:1"),
        ),
        (
            vec!["--action-config-file", &plain],
            Err("plain.yaml: ConfigMap \"plain\" changes nothing"),
        ),
        (
            vec!["--action-config-file", &other],
            Err("other.yaml: the object \"s\" is no ConfigMap"),
        ),
    ] {
        let target = Cluster::start().await;
        for object in [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "velero"}}),
            images("i", "docker.io/,cluster.example.com/"),
        ] {
            target.server.store().seed_value(object).unwrap();
        }
        let ran = restore(&target, &store, &flags).await;
        match expected {
            Ok(image) => {
                ran.exits(0);
                assert_eq!(pod(&target)["spec"]["containers"][0]["image"], image);
            }
            Err(fault) => {
                let message = ran.fails();
                assert!(message.contains(fault), "{message}");
            }
        }
        let lists = target.server.calls().log();
        let everywhere = lists
            .iter()
            .filter(|call| call.resource == "configmaps" && call.namespace.is_none());
        assert_eq!(everywhere.count(), 0);
    }
    // Who may not look into Velero's namespace goes without, and is told.
    let target = Cluster::start().await;
    let denied = Fault::new(FaultAction::Forbidden)
        .verb("list")
        .resource("configmaps")
        .namespace("velero");
    target.server.faults().add(denied);
    let ran = restore(&target, &store, &[]).await;
    assert!(
        ran.stderr
            .contains("ConfigMaps of namespace \"velero\" may not be listed"),
        "{}",
        ran.stderr
    );
    ran.exits(0);
    let image = &pod(&target)["spec"]["containers"][0]["image"];
    assert_eq!(image, "docker.io/web:1");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_order_are_asked_for_by_flags() {
    let (_folder, store) = backed_up().await;
    for (flags, restored) in [
        (&[][..], false),
        (&["--status-include-resources", "pods"], true),
        (
            &[
                "--status-include-resources",
                "*",
                "--status-exclude-resources",
                "po",
            ],
            false,
        ),
    ] {
        let target = Cluster::start().await;
        restore(&target, &store, flags).await.exits(0);
        let is_restored = pod(&target)["status"]["podIP"] == "10.9.9.9";
        assert_eq!(is_restored, restored, "{flags:?}");
    }
    let message = restore(
        &Cluster::start().await,
        &store,
        &["--restore-resource-priorities", "pods,-,secrets,-"],
    )
    .await;
    assert!(
        message.code == 1 && message.stderr.contains("separators"),
        "{message:?}"
    );
    let first = async |flags: &[&str]| {
        let target = Cluster::start().await;
        restore(&target, &store, flags).await.exits(0);
        let calls = target.server.calls().log();
        let mut kinds = calls.iter().filter(|call| {
            call.verb == "create" && ["secrets", "configmaps"].contains(&call.resource.as_str())
        });
        kinds.next().unwrap().resource.clone()
    };
    assert_eq!(first(&[]).await, "secrets");
    let flags = ["--restore-resource-priorities", "configmaps,-,secrets"];
    assert_eq!(first(&flags).await, "configmaps");
}

#[tokio::test(flavor = "multi_thread")]
async fn features_choose_versions_and_a_failure_leaves_its_log() {
    let (folder, store) = backed_up().await;
    let target = Cluster::start().await;
    let denied = Fault::new(FaultAction::Forbidden)
        .verb("get")
        .resource("configmaps")
        .name("enableapigroupversions")
        .times(1);
    target.server.faults().add(denied);
    let flags = [
        "--features",
        "EnableAPIGroupVersions",
        "--restore-name",
        "r",
    ];
    let message = restore(&target, &store, &flags).await.fails();
    assert!(
        message.contains("cannot read which API versions are wanted"),
        "{message}"
    );
    let dir = folder.path().join("store/restores/r");
    assert_eq!(files(&dir), ["restore-r-logs.gz", "restore-r-results.gz"]);
    // The next one of that name takes its place.
    restore(&target, &store, &flags).await.exits(0);
    assert_eq!(files(&dir).len(), 5);
    let message = restore(&target, &store, &flags).await.fails();
    assert!(
        message.contains("restore \"r\" exists already"),
        "{message}"
    );
}
