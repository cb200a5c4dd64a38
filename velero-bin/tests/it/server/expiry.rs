//! Backups that have expired.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use serde_json::{Value, json};
use velero_bin::server::Settings;
use velero_core::api::{Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequest};
use velero_testkit::{Fault, FaultAction};

use super::world::{Ahead, World, eventually, files, folder, settings};

const DAY: i64 = 24 * 3600;
const FAILURE: &str = "velero.io/gc-failure";

async fn started(folder: &Path, ahead: &Ahead) -> World {
    let settings = Settings {
        clock: ahead.clock(),
        garbage_collection_period: Duration::from_millis(100),
        ..settings()
    };
    let world = World::with_settings(folder, settings).await;
    world.seed_shop("shop");
    world
}

/// A backup of the cluster that has expired long ago.
fn expired(name: &str, location: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"storageLocation": location, "includedNamespaces": ["shop"]},
        "status": {"phase": "Completed", "startTimestamp": "2020-01-01T00:00:00Z", "expiration": "2020-02-01T00:00:00Z"},
    })
}

async fn requests(world: &World) -> usize {
    let all = world
        .kind::<DeleteBackupRequest>()
        .list(&Default::default())
        .await;
    all.unwrap().items.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_when_it_has_expired_and_not_before() {
    let (folder, ahead) = (folder(), Ahead::default());
    let world = started(folder.path(), &ahead).await;
    for (name, ttl) in [("day", "24h"), ("year", "8760h")] {
        world
            .create::<Backup>(json!({"metadata": {"name": name}, "spec": {"includedNamespaces": ["shop"], "ttl": ttl}}))
            .await;
        let ended = world.backup_ended(name).await;
        assert_eq!(*ended.phase(), BackupPhase::Completed, "{:?}", ended.status);
    }
    ahead.set(DAY - 60);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(world.get::<Backup>("day").await.is_some());
    assert_eq!(requests(&world).await, 0);
    ahead.set(DAY + 60);
    world.wait_gone::<Backup>("day").await;
    let left = files(&folder.path().join("bucket"));
    assert!(
        !left.is_empty() && left.iter().all(|file| file.starts_with("backups/year/")),
        "{left:?}"
    );
    assert!(world.get::<Backup>("year").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_an_expired_backup_is_told_by_a_label() {
    let (folder, ahead) = (folder(), Ahead::default());
    let world = started(folder.path(), &ahead).await;
    world
        .patch::<BackupStorageLocation>("default", json!({"spec": {"accessMode": "ReadOnly"}}))
        .await;
    world
        .create::<Backup>(expired("read-only", "default"))
        .await;
    world
        .create::<Backup>(expired("nowhere", "elsewhere"))
        .await;
    let labelled = |backup: &Backup| {
        let labels = backup.metadata.labels.as_ref();
        labels.and_then(|all| all.get(FAILURE)).cloned()
    };
    for (name, failure) in [("read-only", "BSLReadOnly"), ("nowhere", "BSLNotFound")] {
        let is = |backup: &Backup| labelled(backup).as_deref() == Some(failure);
        world.wait::<Backup>(name, "says why it stays", is).await;
    }
    world.api.calls().reset();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let calls = world.api.calls();
    assert_eq!(
        calls.count("patch", "backups"),
        0,
        "what is told is told once"
    );
    assert_eq!(calls.count("create", "deletebackuprequests"), 0);
    world
        .patch::<BackupStorageLocation>("default", json!({"spec": {"accessMode": "ReadWrite"}}))
        .await;
    world.wait_gone::<Backup>("read-only").await;
    assert!(world.get::<Backup>("nowhere").await.is_some());
    world
        .add_folder("elsewhere", &folder.path().join("elsewhere"))
        .await;
    world.wait_gone::<Backup>("nowhere").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_expires_while_it_runs_comes_to_its_end_first() {
    let (folder, ahead) = (folder(), Ahead::default());
    let world = started(folder.path(), &ahead).await;
    let slow = Fault::new(FaultAction::Slow(Duration::from_secs(2))).verb("list");
    world.api.faults().add(slow.resource("configmaps"));
    world
        .create::<Backup>(json!({"metadata": {"name": "b"}, "spec": {"includedNamespaces": ["shop"], "ttl": "1h"}}))
        .await;
    let runs = |backup: &Backup| {
        backup.status.expiration.is_some() && *backup.phase() == BackupPhase::InProgress
    };
    world.wait::<Backup>("b", "runs", runs).await;
    ahead.set(2 * 3600);
    world.wait_gone::<Backup>("b").await;
    assert!(
        world
            .metrics()
            .lines()
            .any(|l| l == "velero_backup_success_total{schedule=\"\"} 1"),
        "{}",
        world.metrics()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_backups_go_by_one_request_each() {
    const COUNT: usize = 1000;
    let (folder, ahead) = (folder(), Ahead::default());
    let mut world = started(folder.path(), &ahead).await;
    assert!(world.stop().await);
    for number in 0..COUNT {
        let mut backup = expired(&format!("b{number:04}"), "default");
        backup["apiVersion"] = "velero.io/v1".into();
        backup["kind"] = "Backup".into();
        backup["metadata"]["namespace"] = "velero".into();
        world.api.store().seed_value(backup).unwrap();
    }
    world.api.calls().reset();
    let settings = Settings {
        clock: ahead.clock(),
        ..settings()
    };
    world.start(settings).await;
    let gone = eventually(async || {
        let left = world
            .kind::<Backup>()
            .list(&Default::default())
            .await
            .unwrap();
        left.items.is_empty().then_some(())
    });
    assert!(
        gone.await.is_some(),
        "{} requests are left",
        requests(&world).await
    );
    assert_eq!(
        world.api.calls().count("create", "deletebackuprequests"),
        COUNT as u64
    );
    let all_gone = eventually(async || (requests(&world).await == 0).then_some(()));
    assert!(all_gone.await.is_some());
}

async fn cluster_id(world: &World) -> String {
    let api: Api<Namespace> = Api::all(world.api.client());
    api.get("kube-system").await.unwrap().metadata.uid.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_another_cluster_is_left_to_it_while_that_is_about() {
    let (folder, ahead) = (folder(), Ahead::default());
    let first = started(folder.path(), &Ahead::default()).await;
    let owner = cluster_id(&first).await;
    let spec = json!({"includedNamespaces": ["shop"], "ttl": "1h"});
    for name in ["asked", "waits"] {
        first
            .create::<Backup>(json!({"metadata": {"name": name}, "spec": spec}))
            .await;
        let ended = first.backup_ended(name).await;
        assert_eq!(*ended.phase(), BackupPhase::Completed, "{:?}", ended.status);
        let annotations = ended.metadata.annotations.unwrap();
        assert_eq!(annotations["x.velero.io/cluster"], owner);
    }
    let metadata = folder.path().join("bucket/metadata");
    let mark = metadata.join(format!("x-velero-cluster-{owner}.json"));
    let marked = eventually(async || mark.exists().then_some(()));
    assert!(marked.await.is_some(), "{:?}", files(folder.path()));

    let second = started(folder.path(), &ahead).await;
    assert_ne!(cluster_id(&second).await, owner);
    for name in ["asked", "waits"] {
        second.wait::<Backup>(name, "is found", |_| true).await;
    }
    ahead.set(2 * 3600);
    for name in ["asked", "waits"] {
        let is = |backup: &Backup| {
            let labels = backup.metadata.labels.as_ref();
            labels
                .and_then(|all| all.get(FAILURE))
                .is_some_and(|failure| failure == "OtherCluster")
        };
        second.wait::<Backup>(name, "says why it stays", is).await;
    }
    assert_eq!(requests(&second).await, 0);
    // Who asks for it gets it.
    second
        .create::<DeleteBackupRequest>(
            json!({"metadata": {"name": "d"}, "spec": {"backupName": "asked"}}),
        )
        .await;
    second.wait_gone::<Backup>("asked").await;
    assert!(second.get::<Backup>("waits").await.is_some());
    // And nobody waits for a cluster that is gone.
    ahead.set(8 * DAY);
    second.wait_gone::<Backup>("waits").await;
}
