//! Runs that a server has not brought to their end: the next one does. And runs that somebody has cancelled.

use std::time::Duration;

use kube::api::Patch;
use serde_json::{Value, json};
use velero_core::api::{
    Backup, BackupPhase, DeleteBackupRequest, Restore, RestorePhase, VeleroKind,
};
use velero_testkit::{Fault, FaultAction};

use super::world::{World, eventually, files, folder, gunzip, settings};

const ATTEMPT: &str = "x.velero.io/attempt";
const CANCEL: &str = "x.velero.io/cancel";

/// Each list of ConfigMaps takes that long.
fn hold(world: &World, time: Duration) {
    let slow = Fault::new(FaultAction::Slow(time)).verb("list");
    world
        .api
        .faults()
        .add(slow.resource("configmaps").times(u64::MAX));
}

async fn create(world: &World, name: &str) -> Backup {
    let spec = json!({"includedNamespaces": ["*"]});
    world
        .create(json!({"metadata": {"name": name}, "spec": spec}))
        .await
}

async fn under_way(world: &World, name: &str) {
    world
        .wait::<Backup>(name, "is under way", |backup| {
            *backup.phase() == BackupPhase::InProgress
        })
        .await;
}

async fn annotate<K: VeleroKind>(world: &World, name: &str, key: &str, value: &str) {
    let patch = json!({"metadata": {"annotations": {key: value}}});
    let api = world.kind::<K>();
    let patched = api
        .patch(name, &Default::default(), &Patch::Merge(&patch))
        .await;
    patched.unwrap();
}

fn annotation<K: VeleroKind>(object: &K, key: &str) -> Option<String> {
    object.meta().annotations.as_ref()?.get(key).cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_hands_its_backup_over() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    // It puts itself on the list of namespaces to leave out.
    let hidden = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "hidden", "labels": {"velero.io/exclude-from-backup": "true"}}});
    world.api.store().seed_value(hidden).unwrap();
    hold(&world, Duration::from_secs(3));
    create(&world, "b").await;
    under_way(&world, "b").await;
    create(&world, "later").await;
    world
        .wait::<Backup>("later", "is queued", |backup| {
            *backup.phase() == BackupPhase::Queued
        })
        .await;
    assert!(world.stop().await, "the server did not stop in time");
    let left = world.get::<Backup>("b").await.unwrap();
    assert_eq!(*left.phase(), BackupPhase::Queued, "{:?}", left.status);
    assert_eq!(left.status.failure_reason, "");
    assert!(left.status.start_timestamp.is_none() && left.status.progress.is_none());
    assert!(left.status.completion_timestamp.is_none());
    let dir = folder.path().join("bucket/backups/b");
    assert!(!dir.exists(), "{:?}", files(&dir));

    world.api.faults().clear();
    world.start(settings()).await;
    let ended = world.backup_ended("b").await;
    assert_eq!(*ended.phase(), BackupPhase::Completed, "{:?}", ended.status);
    assert_eq!(annotation(&ended, ATTEMPT), None);
    let later = world.backup_ended("later").await;
    assert!(later.status.start_timestamp >= ended.status.start_timestamp);
    assert_eq!(files(&dir).len(), 9, "{:?}", files(&dir));
    let plain = world.back_up("plain", &["*"]).await;
    assert_eq!(ended.spec, plain.spec);
    assert_eq!(ended.spec.excluded_namespaces, ["hidden"]);
}

/// What a server leaves that was killed in the middle of a backup.
async fn killed(world: &World, dir: &std::path::Path, name: &str, annotations: Value) -> Backup {
    let begun = json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"includedNamespaces": ["shop"], "storageLocation": "default"},
        "status": {"phase": "InProgress", "startTimestamp": "2020-01-01T00:00:00Z",
            "progress": {"totalItems": 9, "itemsBackedUp": 7}},
    });
    let backup = world.create::<Backup>(begun).await;
    let dir = dir.join("bucket/backups").join(name);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(format!("{name}.tar.gz")), "half").unwrap();
    let holder = format!("{}/another server", backup.metadata.uid.clone().unwrap());
    let mark = json!({"holder": holder, "renewed": "2020-01-01T00:00:00Z", "leaseSeconds": 600});
    std::fs::write(dir.join("x-velero-reservation.json"), mark.to_string()).unwrap();
    backup
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_backup_begins_anew_three_times_at_most() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("plain", &["shop"]).await;
    assert!(world.stop().await);
    killed(&world, folder.path(), "once", json!({})).await;
    killed(&world, folder.path(), "twice", json!({ATTEMPT: "2"})).await;
    killed(&world, folder.path(), "thrice", json!({ATTEMPT: "3"})).await;
    let cancelled = json!({CANCEL: "anna"});
    killed(&world, folder.path(), "cancelled", cancelled).await;
    world.start(settings()).await;

    for (name, attempt) in [("once", "2"), ("twice", "3")] {
        let ended = world.backup_ended(name).await;
        assert_eq!(*ended.phase(), BackupPhase::Completed, "{:?}", ended.status);
        assert_eq!(annotation(&ended, ATTEMPT).as_deref(), Some(attempt));
        assert!(ended.status.start_timestamp.unwrap().0.as_second() > 1_700_000_000);
        let dir = folder.path().join("bucket/backups").join(name);
        let whole = eventually(async || (files(&dir).len() == 9).then_some(())).await;
        assert!(whole.is_some(), "{:?}", files(&dir));
        let archive = std::fs::read(dir.join(format!("{name}.tar.gz"))).unwrap();
        assert!(archive.len() > 100, "{}", archive.len());
    }
    let times = "the server stopped while the backup was InProgress, 3 times";
    for (name, reason) in [("thrice", times), ("cancelled", "cancelled by anna")] {
        let ended = world.backup_ended(name).await;
        assert_eq!(*ended.phase(), BackupPhase::Failed, "{:?}", ended.status);
        assert_eq!(ended.status.failure_reason, reason);
        let dir = folder.path().join("bucket/backups").join(name);
        let kept = ["logs.gz", "results.gz"].map(|file| format!("{name}-{file}"));
        let kept = [kept[0].as_str(), kept[1].as_str(), "velero-backup.json"];
        assert_eq!(files(&dir), kept);
        assert!(gunzip(&dir.join(kept[0])).contains(reason));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_hands_its_restore_over() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    for turn in 1..=4 {
        world.api.faults().clear();
        // Secrets come before ConfigMaps.
        let slow = Fault::new(FaultAction::Slow(Duration::from_secs(1))).verb("create");
        let resource = ["secrets", "configmaps"][turn % 2];
        world
            .api
            .faults()
            .add(slow.resource(resource).namespace("copy").times(u64::MAX));
        if turn == 1 {
            let spec = json!({"backupName": "b", "namespaceMapping": {"shop": "copy"}});
            world
                .create::<Restore>(json!({"metadata": {"name": "r"}, "spec": spec}))
                .await;
        } else {
            world.start(settings()).await;
        }
        world
            .wait::<Restore>("r", "is under way", |restore| {
                *restore.phase() == RestorePhase::InProgress
                    && annotation(restore, "x.velero.io/claim").is_some()
            })
            .await;
        assert!(world.stop().await, "the server did not stop in time");
        let left = world.get::<Restore>("r").await.unwrap();
        assert_eq!(*left.phase(), RestorePhase::InProgress, "{:?}", left.status);
        assert_eq!(left.status.failure_reason, "");
        assert_eq!(annotation(&left, "x.velero.io/claim"), None);
        assert_eq!(annotation(&left, ATTEMPT).as_deref(), Some("0"));
    }
    world.api.faults().clear();
    world.start(settings()).await;
    let ended = world.restore_ended("r").await;
    let status = &ended.status;
    assert_eq!(*ended.phase(), RestorePhase::Completed, "{status:#?}");
    assert_eq!((status.errors, status.warnings), (0, 0), "{status:#?}");
    assert_eq!(annotation(&ended, ATTEMPT).as_deref(), Some("1"));
    let dir = folder.path().join("bucket/restores/r");
    let gone =
        eventually(async || (!files(&dir).iter().any(|file| file.starts_with("x-"))).then_some(()));
    assert!(gone.await.is_some(), "{:?}", files(&dir));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_backup_or_restore_can_be_cancelled() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("done", &["shop"]).await;
    hold(&world, Duration::from_secs(2));
    create(&world, "first").await;
    under_way(&world, "first").await;
    create(&world, "second").await;
    annotate::<Backup>(&world, "second", CANCEL, "").await;
    let ended = world.backup_ended("second").await;
    assert_eq!(*ended.phase(), BackupPhase::Failed);
    let reason = "cancelled by the annotation x.velero.io/cancel";
    assert_eq!(ended.status.failure_reason, reason);
    assert_eq!(ended.status.queue_position, 0);
    assert!(ended.status.start_timestamp.is_none());
    assert!(!folder.path().join("bucket/backups/second").exists());
    let restore = json!({"metadata": {"name": "r", "annotations": {CANCEL: "anna"}}, "spec": {"backupName": "done"}});
    world.create::<Restore>(restore).await;
    let ended = world.restore_ended("r").await;
    assert_eq!(*ended.phase(), RestorePhase::Failed);
    assert_eq!(ended.status.failure_reason, "cancelled by anna");
    world.api.faults().clear();
    let first = world.backup_ended("first").await;
    assert_eq!(*first.phase(), BackupPhase::Completed, "{:?}", first.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_backup_that_runs_ends_its_run_first() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    hold(&world, Duration::from_secs(30));
    create(&world, "b").await;
    under_way(&world, "b").await;
    let began = std::time::Instant::now();
    let request = json!({"metadata": {"name": "d"}, "spec": {"backupName": "b"}});
    world.create::<DeleteBackupRequest>(request).await;
    world.wait_gone::<Backup>("b").await;
    world.wait_gone::<DeleteBackupRequest>("d").await;
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(!folder.path().join("bucket/backups/b").exists());
}
