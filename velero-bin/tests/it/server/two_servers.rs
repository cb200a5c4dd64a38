//! Two servers in one namespace: each leaves alone what the other works on.

use std::time::Duration;

use serde_json::{Value, json};
use velero_bin::logfile::{LogOptions, RunLogs};
use velero_bin::server::{Server, Settings};
use velero_core::action::OperationProgress;
use velero_core::api::{Backup, BackupPhase, DeleteBackupRequest, DeleteBackupRequestPhase};
use velero_testkit::{Fault, FaultAction};

use super::operations::{self, State, begin, document, quick, secrets, set};
use super::world::{World, eventually, files, folder, gunzip, settings};

async fn second(world: &World, settings: Settings) -> Server {
    let settings = Settings {
        metrics_address: None,
        ..settings
    };
    let logs = RunLogs::install(&LogOptions::default());
    Server::start(world.api.client(), settings, logs)
        .await
        .unwrap()
}

async fn create(world: &World, name: &str) -> Backup {
    let spec = json!({"includedNamespaces": ["shop"]});
    world
        .create(json!({"metadata": {"name": name}, "spec": spec}))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_another_server_are_left_alone() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    let slow = FaultAction::Slow(Duration::from_millis(700));
    world.api.faults().add(
        Fault::new(slow)
            .verb("list")
            .resource("configmaps")
            .times(u64::MAX),
    );
    create(&world, "b0").await;
    world
        .wait::<Backup>("b0", "is under way", |backup| {
            *backup.phase() == BackupPhase::InProgress
        })
        .await;
    let other = second(&world, settings()).await;
    let request = json!({"metadata": {"name": "d"}, "spec": {"backupName": "b0"}});
    world.create::<DeleteBackupRequest>(request).await;
    for name in ["b1", "b2", "b3", "b4"] {
        create(&world, name).await;
    }
    for name in ["b0", "b1", "b2", "b3", "b4"] {
        let backup = world.backup_ended(name).await;
        assert_eq!(
            *backup.phase(),
            BackupPhase::Completed,
            "{name}: {:#?}",
            backup.status
        );
        let dir = folder.path().join(format!("bucket/backups/{name}"));
        // Whoever has looked at the store first has told the end; the run itself may be tidying up.
        let tidy = eventually(async || (files(&dir).len() == 9).then_some(())).await;
        assert!(tidy.is_some(), "{:?}", files(&dir));
        let metadata = std::fs::read(dir.join("velero-backup.json")).unwrap();
        let metadata: Value = serde_json::from_slice(&metadata).unwrap();
        assert_eq!(metadata["status"]["phase"], "Completed");
        let log = gunzip(&dir.join(format!("{name}-logs.gz")));
        assert_eq!(log.matches("starting the backup").count(), 1, "{log}");
    }
    let request = world
        .wait::<DeleteBackupRequest>("d", "is answered", |request| {
            *request.phase() == DeleteBackupRequestPhase::Processed
        })
        .await;
    assert!(
        request.status.errors[0].contains("still in progress"),
        "{:?}",
        request.status
    );
    assert!(world.stop().await && other.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_taken_over_when_its_signs_of_life_end() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    let now = jiff::Timestamp::now().to_string();
    let spec = json!({"includedNamespaces": ["shop"], "storageLocation": "default"});
    let mark = |backup: &Backup, renewed: &str| {
        let name = backup.metadata.name.clone().unwrap();
        let dir = folder.path().join("bucket/backups").join(&name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("{name}.tar.gz")), "half").unwrap();
        let holder = format!("{}/another server", backup.metadata.uid.clone().unwrap());
        let mark = json!({"holder": holder, "renewed": renewed, "leaseSeconds": 600});
        std::fs::write(dir.join("x-velero-reservation.json"), mark.to_string()).unwrap();
    };
    let begun = |name: &str, start: &str| json!({"metadata": {"name": name}, "spec": spec, "status": {"phase": "InProgress", "startTimestamp": start}});
    // Its server has not come to its claim yet.
    let early = world.create::<Backup>(begun("early", &now)).await;
    // Its server has left it without a claim, long ago.
    let left = world.create::<Backup>(begun("left", "2020-01-01T00:00:00Z"));
    let left = left.await.metadata.name.unwrap();
    assert_eq!(
        *world.backup_ended(&left).await.phase(),
        BackupPhase::Failed
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    let still = world.get::<Backup>("early").await.unwrap();
    assert_eq!(
        *still.phase(),
        BackupPhase::InProgress,
        "{:?}",
        still.status
    );

    mark(&early, &now);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let still = world.get::<Backup>("early").await.unwrap();
    assert_eq!(
        *still.phase(),
        BackupPhase::InProgress,
        "{:?}",
        still.status
    );
    let dir = folder.path().join("bucket/backups/early");
    // A look at the claim can be under way.
    let mut seen = files(&dir);
    seen.retain(|name| !name.starts_with(".velero-"));
    assert_eq!(seen, ["early.tar.gz", "x-velero-reservation.json"]);

    mark(&early, "2020-01-01T00:00:00Z");
    let ended = world.backup_ended("early").await;
    assert_eq!(*ended.phase(), BackupPhase::Failed);
    assert_eq!(
        files(&dir),
        ["early-logs.gz", "early-results.gz", "velero-backup.json"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_followed_by_one_of_them() {
    for failed in [false, true] {
        let (folder, state) = (folder(), State::default());
        let mut world = operations::world(folder.path(), &state).await;
        begin(&world, "b").await;
        let other = second(&world, quick(&state)).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        set(
            &state,
            match failed {
                true => OperationProgress::failed("no space"),
                false => OperationProgress::succeeded(),
            },
        );
        let ended = world.backup_ended("b").await;
        assert!(world.stop().await && other.stop().await);
        let dir = folder.path().join("bucket/backups/b");
        let log = gunzip(&dir.join("b-logs.gz"));
        assert_eq!(log.matches("backup completed").count(), 1, "{log}");
        assert_eq!(secrets(&dir).len(), 2);
        let results = document(&dir, "b-results.gz");
        let lines = results["errors"]["namespaces"]["shop"].as_array();
        assert_eq!(lines.map_or(0, Vec::len), usize::from(failed), "{results}");
        assert_eq!(ended.status.errors, i64::from(failed));
        assert!(!files(&dir).iter().any(|name| name.starts_with("x-velero")));
        let after = world.get::<Backup>("b").await.unwrap();
        assert_eq!(after.status, ended.status);
    }
}
