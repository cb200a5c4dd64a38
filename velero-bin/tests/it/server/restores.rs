use std::time::Duration;

use serde_json::{Value, json};
use velero_core::api::{Backup, BackupStorageLocation, Restore, RestorePhase};
use velero_testkit::{Fault, FaultAction};

use super::s3::{S3Server, SECRET_KEY, secret};
use super::world::{World, eventually, files, folder, gunzip};

#[tokio::test]
async fn a_restore_brings_everything_back() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("nightly", &["shop"]).await;
    world
        .create::<Restore>(json!({"metadata": {"name": "r"},
            "spec": {"backupName": "nightly", "namespaceMapping": {"shop": "copy"}}}))
        .await;
    let restore = world.restore_ended("r").await;
    assert_eq!(
        *restore.phase(),
        RestorePhase::Completed,
        "{:#?}",
        restore.status
    );
    assert_eq!(
        (restore.status.errors, restore.status.warnings),
        (0, 0),
        "{:#?}",
        restore.status
    );
    assert!(restore.status.completion_timestamp.is_some());
    assert_eq!(restore.spec.excluded_resources.len(), 9);
    assert_eq!(restore.spec.item_operation_timeout.to_string(), "4h0m0s");
    let progress = restore.status.progress.clone().unwrap();
    assert_eq!(progress.total_items, progress.items_restored);
    assert_eq!(
        restore.metadata.finalizers.clone().unwrap(),
        ["restores.velero.io/external-resources-finalizer"]
    );

    for number in 0..5 {
        let name = format!("config-{number}");
        let map = world
            .api
            .store()
            .get("v1", "ConfigMap", Some("copy"), &name)
            .unwrap();
        assert_eq!(map["data"]["number"], number.to_string());
        assert_eq!(map["metadata"]["labels"]["velero.io/restore-name"], "r");
    }
    let dir = folder.path().join("bucket/restores/r");
    let expected = [
        "r-volumeinfo.json.gz",
        "restore-r-itemoperations.json.gz",
        "restore-r-logs.gz",
        "restore-r-resource-list.json.gz",
        "restore-r-results.gz",
    ];
    // The journal goes once the last phase is known to be stored.
    let whole = eventually(async || (files(&dir) == expected).then_some(())).await;
    assert!(whole.is_some(), "{:?}", files(&dir));
    assert!(gunzip(&dir.join("restore-r-logs.gz")).contains("restore=velero/r"));
    assert!(
        gunzip(&dir.join("restore-r-resource-list.json.gz")).contains("copy/config-0(created)")
    );
    world
        .wait_metric("velero_restore_success_total{schedule=\"\"} 1")
        .await;

    world.delete::<Restore>("r").await;
    world.wait_gone::<Restore>("r").await;
    assert_eq!(files(&dir), Vec::<String>::new());
}

/// What was restored is told by the status, which says as well that there is nothing else.
#[tokio::test]
async fn a_store_that_takes_no_results_does_not_fail_the_restore() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("nightly", &["shop"]).await;
    // Where the log should go there is a folder, so that even root cannot write it.
    let log = folder.path().join("bucket/restores/r/restore-r-logs.gz/x");
    std::fs::create_dir_all(log).unwrap();
    world
        .create::<Restore>(json!({"metadata": {"name": "r"},
            "spec": {"backupName": "nightly", "namespaceMapping": {"shop": "copy"}}}))
        .await;
    let restore = world.restore_ended("r").await;
    let status = &restore.status;
    assert_eq!(*restore.phase(), RestorePhase::Completed, "{status:#?}");
    assert_eq!((status.errors, status.warnings), (0, 1), "{status:#?}");
    let progress = status.progress.clone().unwrap();
    assert!(progress.total_items > 0 && progress.total_items == progress.items_restored);
    assert!(
        status.failure_reason.starts_with("cannot store the log"),
        "{status:#?}"
    );
    world
        .wait_metric("velero_restore_success_total{schedule=\"\"} 1")
        .await;
}

#[tokio::test]
async fn a_second_cluster_restores_from_s3() {
    let s3 = S3Server::start().await;
    let mut clusters = Vec::new();
    for _ in 0..2 {
        let world = World::started().await;
        world
            .api
            .store()
            .seed_value(secret("cloud-credentials", SECRET_KEY))
            .unwrap();
        world
            .create::<BackupStorageLocation>(s3.location("main", "fleet/one", "cloud-credentials"))
            .await;
        world
            .wait::<BackupStorageLocation>("main", "is available", |l| l.is_available())
            .await;
        clusters.push(world);
    }
    clusters[0].seed_shop("shop");
    clusters[0].back_up("nightly", &["shop"]).await;
    assert!(
        s3.bucket()
            .join("fleet/one/backups/nightly/velero-backup.json")
            .exists()
    );

    let patch = json!({"spec": {"backupSyncPeriod": "1s"}});
    let api = clusters[1].kind::<BackupStorageLocation>();
    api.patch(
        "main",
        &Default::default(),
        &kube::api::Patch::Merge(&patch),
    )
    .await
    .unwrap();
    clusters[1]
        .wait::<Backup>("nightly", "is found", |_| true)
        .await;
    clusters[1]
        .create::<Restore>(json!({"metadata": {"name": "r"}, "spec": {"backupName": "nightly"}}))
        .await;
    let restore = clusters[1].restore_ended("r").await;
    assert_eq!(
        *restore.phase(),
        RestorePhase::Completed,
        "{:#?}",
        restore.status
    );
    let stripped = |world: &World, kind: &str, name: &str| -> Value {
        let mut object = world
            .api
            .store()
            .get("v1", kind, Some("shop"), name)
            .unwrap();
        for field in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "managedFields",
            "labels",
        ] {
            object["metadata"].as_object_mut().unwrap().remove(field);
        }
        object
    };
    for (kind, name) in [("ConfigMap", "config-3"), ("Secret", "password")] {
        assert_eq!(
            stripped(&clusters[0], kind, name),
            stripped(&clusters[1], kind, name)
        );
    }
    assert!(
        s3.bucket()
            .join("fleet/one/restores/r/restore-r-results.gz")
            .exists()
    );
}

#[tokio::test]
async fn faults_of_the_spec_are_told() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    for (name, spec, part) in [
        ("nothing", json!({}), "neither is"),
        (
            "unknown",
            json!({"backupName": "unknown"}),
            "\"unknown\" does not exist",
        ),
        (
            "schedule",
            json!({"scheduleName": "daily"}),
            "no backups found",
        ),
    ] {
        world
            .create::<Restore>(json!({"metadata": {"name": name}, "spec": spec}))
            .await;
        let restore = world.restore_ended(name).await;
        assert_eq!(*restore.phase(), RestorePhase::FailedValidation);
        assert!(
            restore.status.validation_errors[0].contains(part),
            "{:?}",
            restore.status
        );
        assert_eq!(restore.status.completion_timestamp, None);
        // Nothing lies in a store, so nothing holds it.
        world.delete::<Restore>(name).await;
        world.wait_gone::<Restore>(name).await;
    }
    for (schedule, count) in [("", 2), ("daily", 1)] {
        for metric in [
            "velero_restore_attempt_total",
            "velero_restore_validation_failed_total",
        ] {
            world
                .wait_metric(&format!("{metric}{{schedule=\"{schedule}\"}} {count}"))
                .await;
        }
    }
}

#[tokio::test]
async fn a_schedule_is_resolved_to_its_newest_backup() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world
        .create::<Backup>(
            json!({"metadata": {"name": "daily-1", "labels": {"velero.io/schedule-name": "daily"}},
            "spec": {"includedNamespaces": ["shop"]}}),
        )
        .await;
    world.backup_ended("daily-1").await;
    world
        .wait_metric("velero_backup_success_total{schedule=\"daily\"} 1")
        .await;
    world
        .create::<Restore>(json!({"metadata": {"name": "r"},
            "spec": {"scheduleName": "daily", "namespaceMapping": {"shop": "copy"}}}))
        .await;
    let restore = world.restore_ended("r").await;
    assert_eq!(
        *restore.phase(),
        RestorePhase::Completed,
        "{:#?}",
        restore.status
    );
    assert_eq!(restore.spec.backup_name, "daily-1");
}

#[tokio::test]
async fn a_backup_without_its_archive_fails_the_restore() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    std::fs::remove_file(folder.path().join("bucket/backups/b/b.tar.gz")).unwrap();
    world
        .create::<Restore>(json!({"metadata": {"name": "r"}, "spec": {"backupName": "b"}}))
        .await;
    let restore = world.restore_ended("r").await;
    assert_eq!(*restore.phase(), RestorePhase::Failed);
    assert!(
        restore.status.failure_reason.contains("b.tar.gz"),
        "{}",
        restore.status.failure_reason
    );
    assert!(restore.status.completion_timestamp.is_some());
}

#[tokio::test]
async fn a_restore_that_is_deleted_is_cancelled_first() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    let slow = FaultAction::Slow(Duration::from_secs(2));
    world
        .api
        .faults()
        .add(Fault::new(slow).verb("create").resource("configmaps"));
    let spec = json!({"backupName": "b", "namespaceMapping": {"shop": "copy"}});
    world
        .create::<Restore>(json!({"metadata": {"name": "r"}, "spec": spec}))
        .await;
    world
        .wait::<Restore>("r", "is under way", |restore| {
            *restore.phase() == RestorePhase::InProgress
        })
        .await;
    world.delete::<Restore>("r").await;
    world.wait_gone::<Restore>("r").await;
    world
        .wait_metric("velero_restore_failed_total{schedule=\"\"} 1")
        .await;
    assert_eq!(
        files(&folder.path().join("bucket/restores")),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn a_restore_stays_while_its_files_cannot_be_deleted() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    world
        .create::<Restore>(json!({"metadata": {"name": "r"}, "spec": {"backupName": "b"}}))
        .await;
    world.restore_ended("r").await;
    let bucket = |name: &'static str| {
        let api = world.kind::<BackupStorageLocation>();
        let patch = json!({"spec": {"objectStorage": {"bucket": name}}});
        async move {
            api.patch(
                "default",
                &Default::default(),
                &kube::api::Patch::Merge(&patch),
            )
            .await
            .unwrap();
        }
    };
    bucket("elsewhere").await;
    world
        .wait::<BackupStorageLocation>("default", "is unavailable", |location| {
            !location.is_available()
        })
        .await;
    world.delete::<Restore>("r").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(world.get::<Restore>("r").await.is_some());
    bucket("bucket").await;
    world.wait_gone::<Restore>("r").await;
    assert_eq!(
        files(&folder.path().join("bucket/restores")),
        Vec::<String>::new()
    );
}
