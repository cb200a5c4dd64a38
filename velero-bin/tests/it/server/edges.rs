//! Single facts of the peer's controllers that no other test shows.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use velero_core::action::OperationProgress;
use velero_core::api::{
    Backup, BackupPhase, BackupStorageLocation, BackupStorageLocationPhase, DeleteBackupRequest,
    DeleteBackupRequestPhase, DownloadRequest, DownloadRequestPhase, PodVolumeBackup, Restore,
    VeleroKind,
};
use velero_testkit::{Fault, FaultAction};

use super::operations::{self, State};
use super::s3::{S3Server, SECRET_KEY, secret};
use super::world::{World, files, folder};

async fn patch<K: VeleroKind>(world: &World, name: &str, patch: Value) {
    let patch = kube::api::Patch::Merge(&patch);
    let api = world.kind::<K>();
    api.patch(name, &Default::default(), &patch).await.unwrap();
}

fn put_list(path: &Path, list: &Value) {
    let file = std::fs::File::create(path).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    gzip.write_all(list.to_string().as_bytes()).unwrap();
    gzip.finish().unwrap();
}

#[tokio::test]
async fn a_ready_backup_that_is_deleted_holds_nobody_up() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    let slow = Fault::new(FaultAction::Slow(Duration::from_millis(700)));
    let faults = world.api.faults();
    faults.add(slow.verb("list").resource("configmaps").times(1));
    let spec = json!({"includedNamespaces": ["shop"]});
    let create = async |name: &str, phase: Value| {
        let backup = json!({"metadata": {"name": name}, "spec": spec, "status": {"phase": phase}});
        world.create::<Backup>(backup).await;
    };
    create("first", json!("New")).await;
    let runs = |backup: &Backup| *backup.phase() == BackupPhase::InProgress;
    world.wait::<Backup>("first", "runs", runs).await;
    create("ready", json!("ReadyToStart")).await;
    create("next", json!("New")).await;
    world.delete::<Backup>("ready").await;
    for name in ["first", "next"] {
        let ended = world.backup_ended(name).await;
        assert_eq!(*ended.phase(), BackupPhase::Completed, "{name}");
    }
}

#[tokio::test]
async fn a_backup_ends_when_its_last_file_is_stored_and_not_before() {
    let (folder, state) = (folder(), State::default());
    let world = operations::world(folder.path(), &state).await;
    operations::begin(&world, "b").await;
    // Where the list of items is there will be a folder, so that even root cannot write it.
    let list = folder
        .path()
        .join("bucket/backups/b/b-resource-list.json.gz");
    let aside = folder.path().join("aside");
    std::fs::rename(&list, &aside).unwrap();
    std::fs::create_dir_all(list.join("x")).unwrap();
    operations::set(&state, OperationProgress::succeeded());
    let finalizing = |backup: &Backup| *backup.phase() == BackupPhase::Finalizing;
    world.wait::<Backup>("b", "is finalizing", finalizing).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let still = world.get::<Backup>("b").await.unwrap();
    assert!(finalizing(&still), "{:?}", still.status);
    assert!(still.status.completion_timestamp.is_none());
    let metadata = folder.path().join("bucket/backups/b/velero-backup.json");
    let stored: Value = serde_json::from_slice(&std::fs::read(&metadata).unwrap()).unwrap();
    assert_eq!(stored["status"]["phase"], "WaitingForPluginOperations");

    std::fs::remove_dir_all(&list).unwrap();
    std::fs::rename(&aside, &list).unwrap();
    let ended = world.backup_ended("b").await;
    assert_eq!(*ended.phase(), BackupPhase::Completed, "{:?}", ended.status);
    let stored: Value = serde_json::from_slice(&std::fs::read(&metadata).unwrap()).unwrap();
    assert_eq!(stored["status"]["phase"], "Completed");
}

#[tokio::test]
async fn a_file_that_cannot_be_stored_takes_the_others_along() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    let dir = folder.path().join("bucket/backups/b");
    std::fs::create_dir_all(dir.join("b-volumeinfo.json.gz/x")).unwrap();
    let spec = json!({"includedNamespaces": ["shop"]});
    let backup = json!({"metadata": {"name": "b"}, "spec": spec});
    world.create::<Backup>(backup).await;
    let ended = world.backup_ended("b").await;
    assert_eq!(*ended.phase(), BackupPhase::Failed);
    let reason = &ended.status.failure_reason;
    assert!(reason.contains("b-volumeinfo.json.gz"), "{reason}");
    assert_eq!(
        files(&dir),
        ["b-logs.gz", "b-results.gz", "velero-backup.json"]
    );
}

#[tokio::test]
async fn negative_times_and_selectors_at_fault_are_refused_by_their_fields() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    let both = json!({"labelSelector": {"matchLabels": {"a": "b"}}, "orLabelSelectors": [{"matchLabels": {"c": "d"}}]});
    let no_values = json!({"matchExpressions": [{"key": "app", "operator": "In"}]});
    for (name, spec, part) in [
        (
            "ttl",
            json!({"ttl": "-1h"}),
            "spec.ttl: -1h0m0s is negative",
        ),
        (
            "operations",
            json!({"itemOperationTimeout": "-5m"}),
            "spec.itemOperationTimeout: -5m0s is negative",
        ),
        (
            "snapshots",
            json!({"csiSnapshotTimeout": "-5m"}),
            "spec.csiSnapshotTimeout: -5m0s is negative",
        ),
        (
            "both",
            both,
            "spec.orLabelSelectors \"c=d\": it and spec.labelSelector",
        ),
        (
            "values",
            json!({"labelSelector": no_values}),
            "spec.labelSelector \"app\": ",
        ),
    ] {
        let backup = json!({"metadata": {"name": name}, "spec": spec});
        world.create::<Backup>(backup).await;
        let ended = world.backup_ended(name).await;
        let errors = &ended.status.validation_errors;
        assert!(
            *ended.phase() == BackupPhase::FailedValidation
                && errors.iter().any(|error| error.contains(part)),
            "{name}: {:?}",
            ended.status
        );
    }
}

/// A backup in the store, with one copy of a pod's volume.
fn in_store(folder: &Path, name: &str) {
    let dir = folder.join("bucket/backups").join(name);
    std::fs::create_dir_all(&dir).unwrap();
    let metadata = json!({"kind": "Backup", "apiVersion": "velero.io/v1", "metadata": {"name": name, "labels": {"from": "store"}},
        "spec": {"ttl": "1h0m0s"}, "status": {"phase": "Completed", "warnings": 7}});
    std::fs::write(dir.join("velero-backup.json"), metadata.to_string()).unwrap();
    let copy = json!({"kind": "PodVolumeBackup", "apiVersion": "velero.io/v1", "metadata": {"name": format!("{name}-copy")},
        "spec": {"node": "n", "pod": {"name": "p"}, "volume": "v", "backupStorageLocation": "here", "repoIdentifier": "r"},
        "status": {"phase": "Completed", "snapshotID": "s"}});
    put_list(
        &dir.join(format!("{name}-podvolumebackups.json.gz")),
        &json!([copy]),
    );
}

#[tokio::test]
async fn what_is_in_the_cluster_is_not_written_over_from_a_store() {
    let folder = folder();
    let world = World::started().await;
    let mut before = Vec::new();
    for (name, location) in [("same", "here"), ("other", "elsewhere")] {
        in_store(folder.path(), name);
        let own = json!({"metadata": {"name": name, "labels": {"velero.io/storage-location": location}},
            "spec": {"storageLocation": location}, "status": {"phase": "PartiallyFailed"}});
        before.push(world.create::<Backup>(own).await);
    }
    in_store(folder.path(), "new");
    world.add_folder("here", folder.path()).await;
    let synced = |location: &BackupStorageLocation| location.status.last_synced_time.is_some();
    world.wait("here", "is synced", synced).await;
    assert!(world.get::<PodVolumeBackup>("new-copy").await.is_some());
    for own in &before {
        let name = own.metadata.name.as_deref().unwrap();
        assert_eq!(world.get::<Backup>(name).await.as_ref(), Some(own));
        let copy = world.get::<PodVolumeBackup>(&format!("{name}-copy")).await;
        assert!(copy.is_none(), "{name}");
    }
}

#[tokio::test]
async fn a_backup_that_is_deleted_by_hand_comes_back() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    let first = world.back_up("b", &["shop"]).await;
    let period = json!({"spec": {"backupSyncPeriod": "1s"}});
    patch::<BackupStorageLocation>(&world, "default", period).await;
    world.delete::<Backup>("b").await;
    let again = world.wait::<Backup>("b", "is back", |_| true).await;
    assert_ne!(again.metadata.uid, first.metadata.uid);
    assert_eq!(again.status, first.status);
}

#[tokio::test]
async fn other_requests_for_a_backup_go_first() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    // Snapshots, which this version cannot delete: the request stays, with its error.
    let snapshots = folder
        .path()
        .join("bucket/backups/b/b-volumesnapshots.json.gz");
    let taken = json!([{"spec": {"backupName": "b"}, "status": {"providerSnapshotID": "s", "phase": "Completed"}}]);
    put_list(&snapshots, &taken);
    for (name, backup) in [("old", "b"), ("foreign", "c")] {
        world
            .create::<DeleteBackupRequest>(json!({
                "metadata": {"name": name, "labels": {"velero.io/backup-name": backup}},
                "spec": {"backupName": backup}, "status": {"phase": "Processed", "errors": ["before"]},
            }))
            .await;
    }
    let request = json!({"metadata": {"name": "d"}, "spec": {"backupName": "b"}});
    world.create::<DeleteBackupRequest>(request).await;
    let processed =
        |request: &DeleteBackupRequest| *request.phase() == DeleteBackupRequestPhase::Processed;
    let refused = world.wait("d", "is processed", processed).await;
    assert_eq!(refused.status.errors.len(), 1, "{:?}", refused.status);
    assert!(world.get::<DeleteBackupRequest>("old").await.is_none());
    assert!(world.get::<DeleteBackupRequest>("foreign").await.is_some());
}

#[tokio::test]
async fn the_gauge_of_a_location_is_that_of_its_last_check() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    let gauge = |value: u8| {
        format!("velero_backup_location_status_gauge{{backup_location_name=\"default\"}} {value}")
    };
    world.wait_metric(&gauge(1)).await;
    let missing = json!({"spec": {"objectStorage": {"bucket": "missing"}}});
    patch::<BackupStorageLocation>(&world, "default", missing).await;
    let unavailable = |location: &BackupStorageLocation| {
        location.status.phase == Some(BackupStorageLocationPhase::Unavailable)
    };
    let checked = world.wait("default", "is unavailable", unavailable).await;
    world.wait_metric(&gauge(0)).await;
    // No further check was needed: the next one is due in a minute.
    let now = world.get::<BackupStorageLocation>("default").await.unwrap();
    assert_eq!(
        now.status.last_validation_time,
        checked.status.last_validation_time
    );
}

#[tokio::test]
async fn an_address_lives_for_ten_minutes() {
    let s3 = S3Server::start().await;
    let world = World::started().await;
    let key = secret("cloud-credentials", SECRET_KEY);
    world.api.store().seed_value(key).unwrap();
    let location = s3.location("main", "", "cloud-credentials");
    world.create::<BackupStorageLocation>(location).await;
    let available = BackupStorageLocation::is_available;
    world.wait("main", "is available", available).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    let target = json!({"kind": "BackupLog", "name": "b"});
    let request = json!({"metadata": {"name": "d"}, "spec": {"target": target}});
    let before = velero_core::Timestamp::now().as_second();
    world.create::<DownloadRequest>(request).await;
    let processed =
        |request: &DownloadRequest| request.status.phase == Some(DownloadRequestPhase::Processed);
    let answered = world.wait("d", "is processed", processed).await;
    let after = velero_core::Timestamp::now().as_second();
    let url = &answered.status.download_url;
    assert!(url.contains("X-Amz-Expires=600"), "{url}");
    let end = answered.status.expiration.unwrap().0.as_second();
    assert!((before + 600..=after + 600).contains(&end), "{end}");
}

#[tokio::test]
async fn foreign_finalizers_of_a_restore_are_left_alone() {
    const OURS: &str = "restores.velero.io/external-resources-finalizer";
    const OTHER: &str = "example.com/other";
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    let spec = json!({"backupName": "b", "namespaceMapping": {"shop": "copy"}});
    let restore = json!({"metadata": {"name": "r", "finalizers": [OTHER]}, "spec": spec});
    world.create::<Restore>(restore).await;
    let ended = world.restore_ended("r").await;
    assert_eq!(ended.metadata.finalizers.unwrap(), [OTHER, OURS]);
    world.delete::<Restore>("r").await;
    let cleaned = |restore: &Restore| restore.metadata.finalizers == Some(vec![OTHER.to_owned()]);
    world.wait("r", "has lost our finalizer", cleaned).await;
    let left = files(&folder.path().join("bucket/restores"));
    assert_eq!(left, Vec::<String>::new());
    // It stays as it is until the other one goes.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(world.get::<Restore>("r").await.is_some_and(|r| cleaned(&r)));
    let free = json!({"metadata": {"finalizers": null}});
    patch::<Restore>(&world, "r", free).await;
    world.wait_gone::<Restore>("r").await;
}
