use std::time::Duration;

use serde_json::json;
use velero_bin::server::Settings;
use velero_core::api::{Backup, BackupPhase, BackupStorageLocation, PodVolumeBackup};

use super::s3::{S3Server, SECRET_KEY, secret};
use super::world::{Ahead, World, eventually, folder, settings};

#[tokio::test]
async fn a_second_cluster_finds_the_backups() {
    let folder = folder();
    let first = World::with_folder(folder.path()).await;
    first.seed_shop("shop");
    let original = first.back_up("nightly", &["shop"]).await;

    let second = World::started().await;
    second.add_folder("elsewhere", folder.path()).await;
    let copy = second.wait::<Backup>("nightly", "is found", |_| true).await;
    assert_ne!(copy.metadata.uid, original.metadata.uid);
    assert_eq!(copy.spec.storage_location, "elsewhere");
    assert_eq!(
        copy.metadata.labels.clone().unwrap()["velero.io/storage-location"],
        "elsewhere"
    );
    assert_eq!(copy.metadata.annotations, original.metadata.annotations);
    assert_eq!(copy.status, original.status);
    let location = second
        .wait::<BackupStorageLocation>("elsewhere", "is synced", |l| {
            l.status.last_synced_time.is_some()
        })
        .await;
    assert!(location.is_available());
}

#[tokio::test]
async fn what_is_no_finished_backup_is_passed_over() {
    let folder = folder();
    let dir = folder.path().join("bucket/backups");
    let put = |name: &str, metadata: Option<&str>| {
        std::fs::create_dir_all(dir.join(name)).unwrap();
        std::fs::write(dir.join(name).join(format!("{name}.tar.gz")), "x").unwrap();
        if let Some(metadata) = metadata {
            std::fs::write(dir.join(name).join("velero-backup.json"), metadata).unwrap();
        }
    };
    let metadata = |name: &str, phase: &str, expiration: &str| {
        json!({
            "kind": "Backup", "apiVersion": "velero.io/v1",
            "metadata": {"name": name, "namespace": "other", "uid": "1", "resourceVersion": "3"},
            "spec": {"ttl": "1h0m0s"}, "status": {"phase": phase, "expiration": expiration},
        })
        .to_string()
    };
    let (past, future) = ("2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z");
    put("folder-only", None);
    put("damaged", Some("{"));
    put(
        "other-name",
        Some(&metadata("another", "Completed", future)),
    );
    put(
        "waiting",
        Some(&metadata("waiting", "WaitingForPluginOperations", future)),
    );
    put(
        "finalizing",
        Some(&metadata("finalizing", "Finalizing", future)),
    );
    put("expired", Some(&metadata("expired", "Finalizing", past)));
    put(
        "zz-good",
        Some(&metadata("zz-good", "PartiallyFailed", future)),
    );

    let world = World::started().await;
    world.add_folder("default", folder.path()).await;
    let good = world.wait::<Backup>("zz-good", "is found", |_| true).await;
    assert_eq!(*good.phase(), BackupPhase::PartiallyFailed);
    // It is found as one that has ended, and goes at once, as it has expired.
    let gone = eventually(async || (!dir.join("expired").exists()).then_some(()));
    assert!(gone.await.is_some(), "the expired backup is still there");
    world.wait_gone::<Backup>("expired").await;
    for name in [
        "folder-only",
        "damaged",
        "other-name",
        "another",
        "waiting",
        "finalizing",
    ] {
        assert!(world.get::<Backup>(name).await.is_none(), "{name}");
    }
}

#[tokio::test]
async fn pod_volume_backups_come_along() {
    use std::io::Write as _;
    let folder = folder();
    let dir = folder.path().join("bucket/backups/b");
    std::fs::create_dir_all(&dir).unwrap();
    let metadata = json!({
        "kind": "Backup", "apiVersion": "velero.io/v1", "metadata": {"name": "b"}, "status": {"phase": "Completed"},
    });
    std::fs::write(dir.join("velero-backup.json"), metadata.to_string()).unwrap();
    let list = json!([{
        "kind": "PodVolumeBackup", "apiVersion": "velero.io/v1",
        "metadata": {"name": "b-x", "namespace": "other", "uid": "2",
            "ownerReferences": [{"apiVersion": "velero.io/v1", "kind": "Backup", "name": "b", "uid": "old", "controller": true}]},
        "spec": {"node": "n", "pod": {"name": "p"}, "volume": "v", "backupStorageLocation": "old", "repoIdentifier": "r",
            "uploaderType": "kopia"},
        "status": {"phase": "Completed", "snapshotID": "s"},
    }]);
    let file = std::fs::File::create(dir.join("b-podvolumebackups.json.gz")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    gzip.write_all(list.to_string().as_bytes()).unwrap();
    gzip.finish().unwrap();

    let world = World::started().await;
    world.add_folder("here", folder.path()).await;
    let volume = world
        .wait::<PodVolumeBackup>("b-x", "is found", |_| true)
        .await;
    let backup = world.get::<Backup>("b").await.unwrap();
    assert_eq!(
        volume.metadata.labels.clone().unwrap()["velero.io/backup-uid"],
        backup.metadata.uid.clone().unwrap()
    );
    assert_eq!(
        volume.metadata.owner_references.clone().unwrap()[0].uid,
        backup.metadata.uid.unwrap()
    );
    assert_eq!(volume.spec.backup_storage_location, "here");
    assert_eq!(volume.status.snapshot_id, "s");
}

#[tokio::test]
async fn backups_that_the_store_lost_go() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("kept", &["shop"]).await;
    world.back_up("lost", &["shop"]).await;
    let api = world.kind::<BackupStorageLocation>();
    let patch = json!({"spec": {"backupSyncPeriod": "1s"}});
    api.patch(
        "default",
        &Default::default(),
        &kube::api::Patch::Merge(&patch),
    )
    .await
    .unwrap();
    std::fs::remove_dir_all(folder.path().join("bucket/backups/lost")).unwrap();
    world.wait_gone::<Backup>("lost").await;
    assert!(world.get::<Backup>("kept").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn new_backups_are_found_within_seconds_and_nothing_else_is_looked_at() {
    let folder = folder();
    let first = World::with_folder(folder.path()).await;
    first.seed_shop("shop");
    first.back_up("old", &["shop"]).await;
    let second = World::started().await;
    second.add_folder("default", folder.path()).await;
    let found = async |name: &'static str| {
        let began = std::time::Instant::now();
        second.wait::<Backup>(name, "is found", |_| true).await;
        assert!(
            began.elapsed() < Duration::from_secs(8),
            "{name}: {:?}",
            began.elapsed()
        );
    };
    found("old").await;
    // One that is being written is come back to.
    let dir = folder.path().join("bucket/backups");
    std::fs::create_dir(dir.join("slow")).unwrap();
    std::fs::write(dir.join("slow/slow-logs.gz"), "x").unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    second.api.calls().reset();
    let metadata = std::fs::read(dir.join("old/velero-backup.json")).unwrap();
    let mut metadata: serde_json::Value = serde_json::from_slice(&metadata).unwrap();
    metadata["metadata"]["name"] = "slow".into();
    std::fs::write(dir.join("slow/velero-backup.json"), metadata.to_string()).unwrap();
    found("slow").await;
    first.back_up("new", &["shop"]).await;
    found("new").await;
    let calls = second.api.calls();
    assert_eq!(calls.count("create", "backups"), 2);
    // Names are looked at every five seconds; locations are only written when something has come of it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    second.api.calls().reset();
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(calls.count("list", "backups"), 0);
    let own = calls.writes();
    let own: Vec<_> = own
        .iter()
        .filter(|call| call.resource != "backupstoragelocations")
        .collect();
    assert!(own.is_empty(), "{own:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_many_backups_comes_in_with_few_calls() {
    const COUNT: usize = 2000;
    let folder = folder();
    let dir = folder.path().join("bucket/backups");
    for number in 0..COUNT {
        let name = format!("b{number:04}");
        let metadata = json!({
            "kind": "Backup", "apiVersion": "velero.io/v1", "metadata": {"name": name, "namespace": "velero"},
            "spec": {"ttl": "1h0m0s"}, "status": {"phase": "Completed", "expiration": "2999-01-01T00:00:00Z"},
        });
        std::fs::create_dir_all(dir.join(&name)).unwrap();
        std::fs::write(
            dir.join(&name).join("velero-backup.json"),
            metadata.to_string(),
        )
        .unwrap();
    }
    let world = World::started().await;
    world.add_folder("default", folder.path()).await;
    let all = eventually(async || {
        let all = world
            .kind::<Backup>()
            .list(&Default::default())
            .await
            .unwrap();
        (all.items.len() == COUNT).then_some(())
    });
    assert!(all.await.is_some());
    assert_eq!(world.api.calls().count("create", "backups"), COUNT as u64);
    assert_eq!(
        world.api.calls().count("list", "schedules"),
        2,
        "one look and the watch"
    );
}

#[tokio::test]
async fn when_backups_last_ended_well_is_known_after_a_restart() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    let backup = world.back_up("b", &["shop"]).await;
    assert!(world.stop().await);
    world.start(settings()).await;
    let end = backup.status.completion_timestamp.unwrap().0.as_second();
    world
        .wait_metric(&format!(
            "velero_backup_last_successful_timestamp{{schedule=\"\"}} {end}"
        ))
        .await;
    world.wait_metric("velero_backup_total 1").await;
    let metrics = world.metrics();
    assert!(
        metrics.contains("\nvelero_backup_age_seconds{schedule=\"\"} "),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn looks_at_the_names_cost_the_api_server_nothing() {
    let (s3, ahead) = (S3Server::start().await, Ahead::default());
    let mut world = World::empty();
    world
        .start(Settings {
            clock: ahead.clock(),
            ..settings()
        })
        .await;
    let secret = secret("good", SECRET_KEY);
    world.api.store().seed_value(secret).unwrap();
    world
        .create::<BackupStorageLocation>(s3.location("default", "", "good"))
        .await;
    world
        .wait::<BackupStorageLocation>("default", "is synced", |l| {
            l.status.last_synced_time.is_some()
        })
        .await;
    let calls = world.api.calls();
    calls.reset();
    for round in 1..=4 {
        let name = format!("b{round}");
        let dir = s3.bucket().join("backups").join(&name);
        std::fs::create_dir_all(&dir).unwrap();
        let metadata = json!({
            "kind": "Backup", "apiVersion": "velero.io/v1", "metadata": {"name": name, "namespace": "other", "uid": "1"},
            "spec": {"ttl": "1h0m0s"}, "status": {"phase": "Completed", "expiration": "2999-01-01T00:00:00Z"},
        });
        std::fs::write(dir.join("velero-backup.json"), metadata.to_string()).unwrap();
        ahead.set(round * 6);
        world.wait::<Backup>(&name, "is found", |_| true).await;
    }
    assert_eq!(calls.count("get", "secrets"), 0);
    // The last import has changed the location, which the server looks at.
    tokio::time::sleep(Duration::from_millis(300)).await;
    calls.reset();
    tokio::time::sleep(Duration::from_millis(500)).await;
    for resource in ["backupstoragelocations", "backups", "secrets"] {
        let made = ["get", "list", "patch"].map(|verb| calls.count(verb, resource));
        assert_eq!(made, [0; 3], "{resource}");
    }
    // Credentials that have changed are found within a minute.
    ahead.set(90);
    let read = eventually(async || (calls.count("get", "secrets") > 0).then_some(()));
    assert!(read.await.is_some());
}
