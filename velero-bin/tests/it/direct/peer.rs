//! Backups that the peer has made.

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use velero_persistence::{BackupFile, BackupStore, Location};

use crate::program::Cluster;

const BUCKET: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../velero-testkit/fixtures/demo/bucket"
);

/// A copy of the peer's bucket, which the test may write to.
fn copy() -> TempDir {
    fn walk(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() {
                walk(&path, &target);
            } else {
                std::fs::copy(&path, &target).unwrap();
            }
        }
    }
    let folder = TempDir::new().unwrap();
    walk(Path::new(BUCKET), folder.path());
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peers_backups_are_listed_and_restored() {
    let (cluster, folder) = (Cluster::start().await, copy());
    let store = format!("file://{}", folder.path().display());
    let listed = cluster
        .run(["direct", "ls", "--store", &store])
        .await
        .exits(0);
    for name in ["demo-full", "demo-ns", "demo-sched", "demo-sel"] {
        assert!(listed.contains(name), "{listed}");
    }
    let shown = cluster
        .run([
            "direct",
            "cat",
            "demo-ns",
            "books.library.example.com/b1",
            "--store",
            &store,
        ])
        .await
        .exits(0);
    assert!(shown.contains("big: 9007199254740993"), "{shown}");
    let line = format!("direct restore demo-ns --store {store} --namespace-mappings demo:copy");
    let text = cluster.velero(&line).await.exits(0);
    assert!(text.contains("Completed."), "{text}");
    let objects = cluster.server.store();
    assert!(
        objects
            .get("apps/v1", "Deployment", Some("copy"), "web")
            .is_some()
    );
    let book = objects
        .get("library.example.com/v1", "Book", Some("copy"), "b1")
        .unwrap();
    assert_eq!(book["spec"]["big"].to_string(), "9007199254740993");
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_volume_backups_are_read_from_the_store_and_told_as_lost() {
    let (cluster, folder) = (Cluster::start().await, TempDir::new().unwrap());
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "emptyDir": {}}]}});
    cluster.server.store().seed_value(pod).unwrap();
    let url = format!("file://{}", folder.path().display());
    let line = format!("direct backup first --store {url} --include-namespaces shop");
    cluster.velero(&line).await.exits(0);

    let store = BackupStore::open(&Location::from_url(&url).unwrap())
        .await
        .unwrap();
    let made = json!([{"spec": {"pod": {"namespace": "shop", "name": "web"}, "volume": "v", "uploaderType": "kopia"},
        "status": {"phase": "Completed", "snapshotID": "abc"}}]);
    store
        .put_json(&BackupFile::PodVolumeBackups.of("first"), &made)
        .await
        .unwrap();
    let target = Cluster::start().await;
    let text = target
        .run(["direct", "restore", "first", "--store", &url])
        .await
        .exits(2);
    assert!(
        text.contains("PartiallyFailed.") && text.contains("PodVolumeBackup"),
        "{text}"
    );
    assert!(
        target
            .server
            .store()
            .get("v1", "Pod", Some("shop"), "web")
            .is_some()
    );
    let without = Cluster::start().await;
    let args = [
        "direct",
        "restore",
        "first",
        "--store",
        &url,
        "--restore-volumes=false",
        "--restore-name",
        "again",
    ];
    without.run(args).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_that_are_damaged_are_refused_before_anything_is_created() {
    let (cluster, folder) = (Cluster::start().await, copy());
    let store = format!("file://{}", folder.path().display());
    let archive = folder.path().join("backups/demo-ns/demo-ns.tar.gz");
    let bytes = std::fs::read(&archive).unwrap();
    for (damage, expected) in [
        (bytes[..bytes.len() / 2].to_vec(), "cut short"),
        (b"no archive at all".to_vec(), "corrupt"),
    ] {
        std::fs::write(&archive, damage).unwrap();
        let before = cluster.server.store().count();
        let message = cluster
            .run(["direct", "restore", "demo-ns", "--store", &store])
            .await
            .fails();
        assert!(
            message.contains("cannot read the archive") && message.contains(expected),
            "{message}"
        );
        assert_eq!(cluster.server.store().count(), before);
    }
    std::fs::remove_file(&archive).unwrap();
    let message = cluster
        .run(["direct", "restore", "demo-ns", "--store", &store])
        .await
        .fails();
    assert!(message.contains("demo-ns.tar.gz"), "{message}");
}
