//! Two servers in one namespace: each leaves alone what the other works on.

use std::time::Duration;

use serde_json::{Value, json};
use velero_bin::logfile::{LogOptions, RunLogs};
use velero_bin::server::{Server, Settings};
use velero_core::action::OperationProgress;
use velero_core::api::{Backup, BackupPhase, Restore, RestorePhase};
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
    let begun = |name: &str, start: &str| json!({"metadata": {"name": name, "annotations": {ATTEMPT: "3"}}, "spec": spec, "status": {"phase": "InProgress", "startTimestamp": start}});
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

/// As an annotation of the Restore: its store may be one that nothing can be written to.
const CLAIM: &str = "x.velero.io/claim";
const ATTEMPT: &str = "x.velero.io/attempt";

fn claim_of(restore: &Restore) -> Option<Value> {
    let claim = restore.metadata.annotations.as_ref()?.get(CLAIM)?;
    Some(serde_json::from_str(claim).unwrap())
}

async fn restore(world: &World, name: &str) -> Restore {
    let spec = json!({"backupName": "b", "namespaceMapping": {"shop": name}});
    world
        .create(json!({"metadata": {"name": name}, "spec": spec}))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_of_another_server_are_left_alone() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    let slow = FaultAction::Slow(Duration::from_millis(700));
    world.api.faults().add(
        Fault::new(slow)
            .verb("create")
            .resource("configmaps")
            .times(u64::MAX),
    );
    restore(&world, "r0").await;
    let begun = world
        .wait::<Restore>("r0", "is under way", |restore| {
            *restore.phase() == RestorePhase::InProgress
        })
        .await;
    let claim = claim_of(&begun).unwrap();
    assert_eq!(claim["leaseSeconds"], 120, "{claim}");
    let other = second(&world, settings()).await;
    for name in ["r1", "r2", "r3"] {
        restore(&world, name).await;
    }
    for name in ["r0", "r1", "r2", "r3"] {
        let restore = world.restore_ended(name).await;
        assert_eq!(
            *restore.phase(),
            RestorePhase::Completed,
            "{name}: {:#?}",
            restore.status
        );
        // It goes after the journal.
        world
            .wait::<Restore>(name, "is let go", |restore| claim_of(restore).is_none())
            .await;
        let dir = folder.path().join(format!("bucket/restores/{name}"));
        let log = gunzip(&dir.join(format!("restore-{name}-logs.gz")));
        assert_eq!(log.matches("starting the restore").count(), 1, "{log}");
    }
    assert!(world.stop().await && other.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_without_signs_of_life_is_ended() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    assert!(world.stop().await);
    let now = jiff::Timestamp::now().to_string();
    let claim = |renewed: &str| {
        json!({"holder": "another server", "renewed": renewed, "leaseSeconds": 120}).to_string()
    };
    for (name, claim) in [
        ("held", claim(&now)),
        ("left", claim("2020-01-01T00:00:00Z")),
    ] {
        let finalizers = ["restores.velero.io/external-resources-finalizer"];
        world
            .create::<Restore>(json!({
                "metadata": {"name": name, "finalizers": finalizers, "annotations": {CLAIM: claim, "of": "somebody", ATTEMPT: "3"}},
                "spec": {"backupName": "b"}, "status": {"phase": "InProgress", "startTimestamp": now},
            }))
            .await;
    }
    world.start(settings()).await;
    let left = world.restore_ended("left").await;
    assert_eq!(*left.phase(), RestorePhase::Failed);
    let reason = "the server stopped while the restore was InProgress, 3 times";
    assert_eq!(left.status.failure_reason, reason);
    assert_eq!(left.status.errors, 1);
    let annotations = left.metadata.annotations.unwrap();
    assert_eq!(annotations.keys().collect::<Vec<_>>(), ["of", ATTEMPT]);
    // The next server keeps what there is to know of it.
    let dir = folder.path().join("bucket/restores/left");
    let log = gunzip(&dir.join("restore-left-logs.gz"));
    assert!(log.contains(reason), "{log}");
    let results = document(&dir, "restore-left-results.gz");
    let line = results["errors"]["velero"][0].as_str().unwrap();
    assert!(line.contains(reason), "{results}");

    // One that is held is not ended, and its files are not deleted while somebody writes them.
    let mark = folder.path().join("bucket/restores/held/held-x");
    std::fs::create_dir_all(mark.parent().unwrap()).unwrap();
    std::fs::write(&mark, "x").unwrap();
    world.delete::<Restore>("held").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let held = world.get::<Restore>("held").await.unwrap();
    assert_eq!(*held.phase(), RestorePhase::InProgress);
    assert!(mark.exists());
    let expired = json!({"metadata": {"annotations": {CLAIM: claim("2020-01-01T00:00:00Z")}}});
    let patch = kube::api::Patch::Merge(&expired);
    let api = world.kind::<Restore>();
    api.patch("held", &Default::default(), &patch)
        .await
        .unwrap();
    world.wait_gone::<Restore>("held").await;
    assert!(!mark.exists());
}
