use serde_json::{Value, json};
use velero_core::api::{
    Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequest, DeleteBackupRequestPhase,
    Restore,
};

use super::world::{World, files, folder};

fn is_processed(request: &DeleteBackupRequest) -> bool {
    *request.phase() == DeleteBackupRequestPhase::Processed
}

fn request(name: &str, backup: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"backupName": backup}})
}

#[tokio::test]
async fn a_backup_goes_with_all_that_belongs_to_it() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    world.back_up("other", &["shop"]).await;
    world
        .create::<Restore>(json!({"metadata": {"name": "r"}, "spec": {"backupName": "b"}}))
        .await;
    world.restore_ended("r").await;

    world.create::<DeleteBackupRequest>(request("d", "b")).await;
    world.wait_gone::<DeleteBackupRequest>("d").await;
    assert!(world.get::<Backup>("b").await.is_none());
    assert!(world.get::<Restore>("r").await.is_none());
    assert!(world.get::<Backup>("other").await.is_some());
    let left = files(&folder.path().join("bucket"));
    assert!(
        !left.is_empty() && left.iter().all(|file| file.starts_with("backups/other/")),
        "{left:?}"
    );
    for line in [
        "velero_backup_deletion_attempt_total",
        "velero_backup_deletion_success_total",
    ] {
        world
            .wait_metric(&format!("{line}{{schedule=\"\"}} 1"))
            .await;
    }
}

#[tokio::test]
async fn refusals_are_errors_of_the_request() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    world
        .create::<DeleteBackupRequest>(request("d1", "unknown"))
        .await;
    let refused = world
        .wait::<DeleteBackupRequest>("d1", "is processed", is_processed)
        .await;
    assert_eq!(refused.status.errors, ["backup \"unknown\" not found"]);

    let api = world.kind::<BackupStorageLocation>();
    let patch = json!({"spec": {"accessMode": "ReadOnly"}});
    api.patch(
        "default",
        &Default::default(),
        &kube::api::Patch::Merge(&patch),
    )
    .await
    .unwrap();
    world
        .create::<DeleteBackupRequest>(request("d2", "b"))
        .await;
    let refused = world
        .wait::<DeleteBackupRequest>("d2", "is processed", is_processed)
        .await;
    assert!(
        refused.status.errors[0].contains("read-only"),
        "{:?}",
        refused.status
    );
    assert_eq!(
        *world.get::<Backup>("b").await.unwrap().phase(),
        BackupPhase::Completed
    );
}

#[tokio::test]
async fn volume_data_that_cannot_be_deleted_is_an_error() {
    use std::io::Write as _;
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    let dir = folder.path().join("bucket/backups/b");
    let file = std::fs::File::create(dir.join("b-volumesnapshots.json.gz")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    let snapshots = json!([{"spec": {"backupName": "b"}, "status": {"providerSnapshotID": "snap-1", "phase": "Completed"}}]);
    gzip.write_all(snapshots.to_string().as_bytes()).unwrap();
    gzip.finish().unwrap();
    let before = files(&dir);

    world.create::<DeleteBackupRequest>(request("d", "b")).await;
    let refused = world
        .wait::<DeleteBackupRequest>("d", "is processed", is_processed)
        .await;
    assert!(
        refused.status.errors[0].contains("1 native volume snapshots"),
        "{:?}",
        refused.status
    );
    assert_eq!(files(&dir), before);
    assert_eq!(
        *world.get::<Backup>("b").await.unwrap().phase(),
        BackupPhase::Completed
    );
    world
        .wait_metric("velero_backup_deletion_failure_total{schedule=\"\"} 1")
        .await;
}

#[tokio::test]
async fn a_failed_namesake_does_not_take_the_real_backup_along() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    let api = world.kind::<BackupStorageLocation>();
    let patch = json!({"spec": {"backupSyncPeriod": "0s"}});
    api.patch(
        "default",
        &Default::default(),
        &kube::api::Patch::Merge(&patch),
    )
    .await
    .unwrap();
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    world.delete::<Backup>("b").await;
    // The start tells the two apart, in whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    world
        .create::<Backup>(
            json!({"metadata": {"name": "b"}, "spec": {"includedNamespaces": ["shop"]}}),
        )
        .await;
    assert_eq!(*world.backup_ended("b").await.phase(), BackupPhase::Failed);
    let before = files(&folder.path().join("bucket"));
    world.create::<DeleteBackupRequest>(request("d", "b")).await;
    world.wait_gone::<DeleteBackupRequest>("d").await;
    assert!(world.get::<Backup>("b").await.is_none());
    assert_eq!(files(&folder.path().join("bucket")), before);
}

#[tokio::test]
async fn an_interrupted_deletion_goes_on() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    let mut interrupted = request("d", "b");
    interrupted["status"] = json!({"phase": "InProgress"});
    world.create::<DeleteBackupRequest>(interrupted).await;
    world.wait_gone::<DeleteBackupRequest>("d").await;
    assert!(world.get::<Backup>("b").await.is_none());
    assert_eq!(files(&folder.path().join("bucket")), Vec::<String>::new());
}
