use std::time::Duration;

use serde_json::{Value, json};
use velero_core::api::{Backup, BackupPhase, BackupStorageLocation};
use velero_testkit::{Fault, FaultAction};

use super::world::{World, files, folder, gunzip, settings};

/// Holds up every backup that lists ConfigMaps.
fn hold(world: &World, time: Duration) {
    world.api.faults().add(
        Fault::new(FaultAction::Slow(time))
            .verb("list")
            .resource("configmaps")
            .times(u64::MAX),
    );
}

#[tokio::test]
async fn a_backup_completes_and_lies_in_the_folder() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    let backup = world.back_up("nightly", &["shop"]).await;

    assert_eq!(backup.spec.storage_location, "default");
    assert_eq!(backup.spec.ttl.to_string(), "720h0m0s");
    assert_eq!(backup.status.format_version, "1.1.0");
    assert_eq!((backup.status.errors, backup.status.warnings), (0, 0));
    let progress = backup.status.progress.clone().unwrap();
    assert!(
        progress.items_backed_up >= 7 && progress.total_items == progress.items_backed_up,
        "{progress:?}"
    );
    let (start, end) = (
        backup.status.start_timestamp.clone(),
        backup.status.completion_timestamp.clone(),
    );
    assert!(start.is_some() && start <= end);
    let notes = backup.metadata.annotations.clone().unwrap();
    assert_eq!(notes["velero.io/resource-timeout"], "10m0s");
    assert_eq!(notes["velero.io/source-cluster-k8s-major-version"], "1");
    assert_eq!(
        backup.metadata.labels.clone().unwrap()["velero.io/storage-location"],
        "default"
    );

    let dir = folder.path().join("bucket");
    let expected: Vec<String> = [
        "-itemoperations.json.gz",
        "-logs.gz",
        "-podvolumebackups.json.gz",
        "-resource-list.json.gz",
        "-results.gz",
        "-volumeinfo.json.gz",
        "-volumesnapshots.json.gz",
        ".tar.gz",
    ]
    .iter()
    .map(|suffix| format!("backups/nightly/nightly{suffix}"))
    .chain(["backups/nightly/velero-backup.json".to_owned()])
    .collect();
    assert_eq!(files(&dir), expected);
    let log = gunzip(&dir.join("backups/nightly/nightly-logs.gz"));
    assert!(log.contains("backup=velero/nightly"), "{log}");
    let list = gunzip(&dir.join("backups/nightly/nightly-resource-list.json.gz"));
    assert!(list.contains("shop/config-0"), "{list}");

    let metadata: Value = serde_json::from_slice(
        &std::fs::read(dir.join("backups/nightly/velero-backup.json")).unwrap(),
    )
    .unwrap();
    let live = serde_json::to_value(&backup).unwrap();
    assert_eq!(metadata["spec"], live["spec"]);
    assert_eq!(metadata["status"], live["status"]);
    for field in ["name", "namespace", "uid", "labels", "annotations"] {
        assert_eq!(
            metadata["metadata"][field], live["metadata"][field],
            "{field}"
        );
    }
    for line in [
        "velero_backup_attempt_total{schedule=\"\"} 1",
        "velero_backup_success_total{schedule=\"\"} 1",
        "velero_backup_failure_total{schedule=\"\"} 0",
    ] {
        world.wait_metric(line).await;
    }
}

#[tokio::test]
async fn every_write_names_its_manager() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    let calls = world.api.calls();
    calls.reset();
    world.back_up("b", &["shop"]).await;
    let writes: Vec<_> = calls
        .writes()
        .into_iter()
        .filter(|call| call.verb != "create")
        .collect();
    assert!(!writes.is_empty());
    for call in writes {
        assert_eq!(
            call.field_manager.as_deref(),
            Some("velero-server"),
            "{call:?}"
        );
    }
}

#[tokio::test]
async fn faults_of_the_spec_are_told() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    for (name, spec, parts) in [
        (
            "nowhere",
            json!({"storageLocation": "nowhere"}),
            &["\"nowhere\" does not exist"][..],
        ),
        (
            "filters",
            json!({"includedResources": ["pods"], "includedClusterScopedResources": ["nodes"]}),
            &["one family"],
        ),
        (
            "several",
            json!({"storageLocation": "nowhere", "includedNamespaces": ["a", "*"], "snapshotVolumes": true}),
            &[
                "\"nowhere\" does not exist",
                "must stand alone",
                "snapshotVolumes",
            ],
        ),
    ] {
        world
            .create::<Backup>(json!({"metadata": {"name": name}, "spec": spec}))
            .await;
        let backup = world.backup_ended(name).await;
        assert_eq!(*backup.phase(), BackupPhase::FailedValidation, "{name}");
        let errors = &backup.status.validation_errors;
        assert_eq!(errors.len(), parts.len(), "{errors:?}");
        for (error, part) in errors.iter().zip(parts) {
            assert!(error.contains(part), "{name}: {error} {part}");
        }
        assert_eq!(backup.status.completion_timestamp, None);
    }
    let line = "velero_backup_validation_failure_total{schedule=\"\"} 3";
    world.wait_metric(line).await;
    assert_eq!(files(&folder.path().join("bucket")), Vec::<String>::new());
}

#[tokio::test]
async fn backups_queue_up() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    hold(&world, Duration::from_millis(1500));
    let names = ["a", "b", "c"];
    for (at, name) in names.iter().enumerate() {
        world
            .create::<Backup>(
                json!({"metadata": {"name": name}, "spec": {"includedNamespaces": ["shop"]}}),
            )
            .await;
        world
            .wait::<Backup>(name, "is taken up", |backup| match at {
                0 => *backup.phase() == BackupPhase::InProgress,
                _ => {
                    *backup.phase() == BackupPhase::Queued
                        && backup.status.queue_position == at as i64
                }
            })
            .await;
    }
    let mut ends = Vec::new();
    for name in names {
        let backup = world.backup_ended(name).await;
        assert_eq!(*backup.phase(), BackupPhase::Completed);
        assert_eq!(backup.status.queue_position, 0);
        ends.push((
            backup.status.start_timestamp.clone(),
            backup.status.completion_timestamp.clone(),
        ));
    }
    for pair in ends.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "two ran at a time: {ends:?}");
    }
}

/// However fast items are stored, the resource is written once a period and at the steps of the run.
#[tokio::test]
async fn progress_is_written_once_a_period() {
    let folder = folder();
    let mut world = World::empty();
    let period = Duration::from_millis(200);
    world
        .start(velero_bin::server::Settings {
            progress_period: period,
            ..settings()
        })
        .await;
    world.add_folder("default", folder.path()).await;
    world
        .wait::<BackupStorageLocation>(
            "default",
            "is available",
            BackupStorageLocation::is_available,
        )
        .await;
    for namespace in 0..150 {
        world.seed_shop(&format!("n{namespace}"));
    }
    hold(&world, Duration::from_millis(900));
    let calls = world.api.calls();
    calls.reset();
    let began = std::time::Instant::now();
    let backup = world.back_up("b", &["*"]).await;
    let periods = began.elapsed().as_millis() / period.as_millis();
    let stored = backup.status.progress.unwrap().items_backed_up;
    assert!(stored >= 1050, "{stored}");
    let writes = calls.writes();
    let patches = writes
        .iter()
        .filter(|call| call.verb == "patch" && call.resource == "backups")
        .count();
    // Queued, ReadyToStart, InProgress and the end.
    assert!(
        patches >= 5 && patches as u128 <= periods + 5,
        "{patches} patches in {periods} periods"
    );
}

#[tokio::test]
async fn a_taken_name_fails_and_leaves_the_store_alone() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    // Sync would bring the backup back.
    let api = world.kind::<BackupStorageLocation>();
    let patch = json!({"spec": {"backupSyncPeriod": "0s"}});
    api.patch(
        "default",
        &Default::default(),
        &kube::api::Patch::Merge(&patch),
    )
    .await
    .unwrap();
    let first = world.back_up("b", &["shop"]).await;
    world.delete::<Backup>("b").await;
    let metadata = folder.path().join("bucket/backups/b/velero-backup.json");
    let before = std::fs::read(&metadata).unwrap();

    world
        .create::<Backup>(
            json!({"metadata": {"name": "b"}, "spec": {"includedNamespaces": ["shop"]}}),
        )
        .await;
    let second = world.backup_ended("b").await;
    assert_eq!(*second.phase(), BackupPhase::Failed);
    assert!(
        second.status.failure_reason.contains("exists already"),
        "{}",
        second.status.failure_reason
    );
    assert!(second.status.completion_timestamp.is_some());
    assert_ne!(first.metadata.uid, second.metadata.uid);
    assert_eq!(std::fs::read(&metadata).unwrap(), before);
}

#[tokio::test]
async fn a_cancelled_backup_leaves_its_log() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    hold(&world, Duration::from_secs(3));
    world
        .create::<Backup>(
            json!({"metadata": {"name": "b"}, "spec": {"includedNamespaces": ["shop"]}}),
        )
        .await;
    world
        .wait::<Backup>("b", "is under way", |backup| {
            *backup.phase() == BackupPhase::InProgress
        })
        .await;
    let cancel = json!({"metadata": {"annotations": {"x.velero.io/cancel": "anna"}}});
    let began = std::time::Instant::now();
    world
        .kind::<Backup>()
        .patch("b", &Default::default(), &kube::api::Patch::Merge(&cancel))
        .await
        .unwrap();
    let backup = world.backup_ended("b").await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(world.stop().await);
    assert_eq!(*backup.phase(), BackupPhase::Failed);
    assert!(
        backup.status.failure_reason.starts_with("cancelled by"),
        "{}",
        backup.status.failure_reason
    );
    assert!(backup.status.completion_timestamp.is_some());
    let dir = folder.path().join("bucket/backups/b");
    assert_eq!(
        files(&dir),
        ["b-logs.gz", "b-results.gz", "velero-backup.json"]
    );
    let log = gunzip(&dir.join("b-logs.gz"));
    assert!(
        log.contains("the backup has failed: cancelled by anna"),
        "{log}"
    );
    let results: Value = serde_json::from_str(&gunzip(&dir.join("b-results.gz"))).unwrap();
    assert_eq!(
        results["errors"]["velero"],
        json!([" error: /cancelled by anna"])
    );
    let metadata: Value =
        serde_json::from_slice(&std::fs::read(dir.join("velero-backup.json")).unwrap()).unwrap();
    assert_eq!(metadata["status"]["phase"], "Failed");
    let live = serde_json::to_value(&backup).unwrap();
    for field in [
        "failureReason",
        "startTimestamp",
        "completionTimestamp",
        "expiration",
        "errors",
    ] {
        assert!(!metadata["status"][field].is_null(), "{field}");
        assert_eq!(metadata["status"][field], live["status"][field], "{field}");
    }

    // It is a backup like any other: the next server deletes it, another cluster finds it.
    let mut other = World::with_folder(folder.path()).await;
    other
        .wait::<Backup>("b", "is imported", |found| {
            *found.phase() == BackupPhase::Failed
        })
        .await;
    assert!(other.stop().await);
}

/// The cluster is gone in the middle of a run; the store is not. What is left makes room for the next run of that name.
#[tokio::test]
async fn a_failed_run_leaves_its_log() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    let on_list = |action: FaultAction, resource: &str| {
        Fault::new(action)
            .verb("list")
            .resource(resource)
            .times(u64::MAX)
    };
    let faults = world.api.faults();
    faults.add(on_list(FaultAction::Forbidden, "configmaps"));
    faults.add(on_list(FaultAction::Unauthorized, "secrets"));
    world
        .create::<Backup>(
            json!({"metadata": {"name": "b"}, "spec": {"includedNamespaces": ["shop"]}}),
        )
        .await;
    let backup = world.backup_ended("b").await;
    assert_eq!(*backup.phase(), BackupPhase::Failed);
    let dir = folder.path().join("bucket/backups/b");
    assert_eq!(
        files(&dir),
        ["b-logs.gz", "b-results.gz", "velero-backup.json"]
    );
    let log = gunzip(&dir.join("b-logs.gz"));
    assert!(log.contains(&backup.status.failure_reason), "{log}");
    // What was noted before is in the results as well.
    let results = gunzip(&dir.join("b-results.gz"));
    assert!(
        results.contains("resource: /configmaps error: /")
            && results.contains(" error: /the backup cannot go on: listing the objects"),
        "{results}"
    );
    assert!(backup.status.errors >= 2, "{:?}", backup.status);
    world
        .wait_metric("velero_backup_failure_total{schedule=\"\"} 1")
        .await;

    // It makes room for the next one of that name, which says so.
    world.api.faults().clear();
    let again = json!({"metadata": {"name": "b"}, "spec": {"includedNamespaces": ["shop"]}});
    world.delete::<Backup>("b").await;
    world.create::<Backup>(again.clone()).await;
    assert_eq!(
        *world.backup_ended("b").await.phase(),
        BackupPhase::Completed
    );
    let log = gunzip(&dir.join("b-logs.gz"));
    assert!(
        log.contains("a failed backup of that name, with its log and results, has made room"),
        "{log}"
    );
    // That one makes none.
    world.delete::<Backup>("b").await;
    world.create::<Backup>(again).await;
    let refused = world.backup_ended("b").await.status.failure_reason;
    assert!(
        refused.starts_with("backup \"b\" exists already"),
        "{refused}"
    );
    assert!(dir.join("b.tar.gz").is_file());
}

#[tokio::test]
async fn a_deleted_backup_is_cancelled() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    hold(&world, Duration::from_secs(2));
    world
        .create::<Backup>(
            json!({"metadata": {"name": "b"}, "spec": {"includedNamespaces": ["shop"]}}),
        )
        .await;
    world
        .wait::<Backup>("b", "is under way", |backup| {
            *backup.phase() == BackupPhase::InProgress
        })
        .await;
    world.delete::<Backup>("b").await;
    world
        .wait_metric("velero_backup_failure_total{schedule=\"\"} 1")
        .await;
    assert_eq!(files(&folder.path().join("bucket")), Vec::<String>::new());
}

/// What a server finds that comes after one that was killed.
#[tokio::test]
async fn what_a_killed_server_left_is_ended() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    let whole = world.back_up("whole", &["shop"]).await;
    assert!(world.stop().await);
    // Killed after the last file was written, and before the resource was.
    let patch = json!({"status": {"phase": "InProgress", "completionTimestamp": null}});
    let api = world.kind::<Backup>();
    api.patch(
        "whole",
        &Default::default(),
        &kube::api::Patch::Merge(&patch),
    )
    .await
    .unwrap();
    // Killed while it was written.
    let spec = json!({"includedNamespaces": ["shop"], "storageLocation": "default"});
    let half = world
        .create::<Backup>(
            json!({"metadata": {"name": "half", "annotations": {"x.velero.io/attempt": "3"}}, "spec": spec, "status": {"phase": "InProgress"}}),
        )
        .await;
    let dir = folder.path().join("bucket/backups/half");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("half.tar.gz"), "half").unwrap();
    let holder = format!("{}/another server", half.metadata.uid.clone().unwrap());
    let mark = json!({"holder": holder, "renewed": "2020-01-01T00:00:00Z", "leaseSeconds": 600});
    std::fs::write(dir.join("x-velero-reservation.json"), mark.to_string()).unwrap();
    // Killed just before it began.
    world.create::<Backup>(json!({"metadata": {"name": "ready"}, "spec": spec, "status": {"phase": "ReadyToStart"}})).await;

    world.start(settings()).await;
    let adopted = world.backup_ended("whole").await;
    assert_eq!(adopted.status, whole.status);
    let failed = world.backup_ended("half").await;
    assert_eq!(*failed.phase(), BackupPhase::Failed);
    assert!(
        failed
            .status
            .failure_reason
            .contains("stopped while the backup was InProgress")
    );
    assert!(failed.status.completion_timestamp.is_some());
    assert_eq!(
        files(&dir),
        ["half-logs.gz", "half-results.gz", "velero-backup.json"]
    );
    let metadata: Value =
        serde_json::from_slice(&std::fs::read(dir.join("velero-backup.json")).unwrap()).unwrap();
    assert_eq!(
        metadata["status"],
        serde_json::to_value(&failed.status).unwrap()
    );
    assert_eq!(
        *world.backup_ended("ready").await.phase(),
        BackupPhase::Completed
    );
}

#[tokio::test]
async fn labelled_namespaces_stay_out() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world
        .api
        .store()
        .seed_value(json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "hidden", "labels": {"velero.io/exclude-from-backup": "true"}}}))
        .unwrap();
    let backup = world.back_up("b", &["*"]).await;
    assert_eq!(backup.spec.excluded_namespaces, ["hidden"]);
    let list = gunzip(
        &folder
            .path()
            .join("bucket/backups/b/b-resource-list.json.gz"),
    );
    assert!(
        list.contains("shop/config-0") && !list.contains("hidden"),
        "{list}"
    );
}

#[tokio::test]
async fn a_read_only_location_takes_no_backup() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
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
        .create::<Backup>(json!({"metadata": {"name": "b"}}))
        .await;
    let backup = world.backup_ended("b").await;
    assert_eq!(*backup.phase(), BackupPhase::FailedValidation);
    assert!(
        backup.status.validation_errors[0].contains("read-only"),
        "{:?}",
        backup.status
    );
}

/// Answers that fail, and one that is lost after the write has happened.
#[tokio::test]
async fn the_end_is_written_in_spite_of_faults() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    hold(&world, Duration::from_millis(500));
    let spec = json!({"includedNamespaces": ["shop"]});
    world
        .create::<Backup>(json!({"metadata": {"name": "b"}, "spec": spec}))
        .await;
    world
        .wait::<Backup>("b", "is under way", |backup| {
            *backup.phase() == BackupPhase::InProgress
        })
        .await;
    let faults = world.api.faults();
    let on_patch = |action: FaultAction| Fault::new(action).verb("patch").resource("backups");
    faults.add(on_patch(FaultAction::Unavailable).times(3));
    faults.add(on_patch(FaultAction::ConnectionReset).times(2));
    faults.add(on_patch(FaultAction::ConnectionReset).times(1).after());
    let backup = world.backup_ended("b").await;
    assert_eq!(
        *backup.phase(),
        BackupPhase::Completed,
        "{:#?}",
        backup.status
    );
}
