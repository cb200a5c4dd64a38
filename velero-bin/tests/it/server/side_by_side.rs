//! Several backups and restores at once.

use std::time::Duration;

use serde_json::{Value, json};
use velero_bin::server::Settings;
use velero_core::api::{Backup, BackupPhase, Restore, RestorePhase};
use velero_testkit::{Fault, FaultAction};

use super::world::{World, folder, settings};

/// Calls about ConfigMaps of a namespace take that long.
fn hold(world: &World, verb: &str, namespace: &str, time: Duration) {
    let slow = Fault::new(FaultAction::Slow(time))
        .verb(verb)
        .resource("configmaps");
    let slow = match namespace {
        "" => slow,
        namespace => slow.namespace(namespace),
    };
    world.api.faults().add(slow.times(u64::MAX));
}

fn backup(name: &str, namespaces: &[&str]) -> Value {
    json!({"metadata": {"name": name}, "spec": {"includedNamespaces": namespaces}})
}

fn restore(name: &str, namespaces: &[&str], mapping: Value) -> Value {
    let spec =
        json!({"backupName": "b", "includedNamespaces": namespaces, "namespaceMapping": mapping});
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn running(world: &World, name: &str) {
    let is = |backup: &Backup| *backup.phase() == BackupPhase::InProgress;
    world.wait::<Backup>(name, "runs", is).await;
}

async fn restoring(world: &World, name: &str) {
    let is = |restore: &Restore| *restore.phase() == RestorePhase::InProgress;
    world.wait::<Restore>(name, "runs", is).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_without_a_common_namespace_run_at_once() {
    let folder = folder();
    let settings = Settings {
        concurrent_backups: 3,
        ..settings()
    };
    let world = World::with_settings(folder.path(), settings).await;
    for namespace in ["shop", "bank", "mail", "web"] {
        world.seed_shop(namespace);
    }
    hold(&world, "list", "", Duration::from_secs(4));
    world.create::<Backup>(backup("shop", &["shop"])).await;
    world.create::<Backup>(backup("banks", &["ban*"])).await;
    running(&world, "shop").await;
    running(&world, "banks").await;
    assert_eq!(
        *world.get::<Backup>("shop").await.unwrap().phase(),
        BackupPhase::InProgress
    );
    // One that shares a namespace waits, and holds back who shares one with it; the last one passes both.
    for (name, namespaces) in [
        ("second", &["shop", "mail"][..]),
        ("third", &["mail"]),
        ("web", &["web"]),
    ] {
        world.create::<Backup>(backup(name, namespaces)).await;
        let is = |backup: &Backup| *backup.phase() != BackupPhase::New;
        world.wait::<Backup>(name, "is queued", is).await;
    }
    running(&world, "web").await;
    for name in ["second", "third"] {
        let waiting = world.get::<Backup>(name).await.unwrap();
        assert_eq!(*waiting.phase(), BackupPhase::Queued, "{name}");
    }
    world.api.faults().clear();
    let mut starts = Vec::new();
    for name in ["shop", "second", "third"] {
        let ended = world.backup_ended(name).await;
        assert_eq!(
            *ended.phase(),
            BackupPhase::Completed,
            "{name}: {:?}",
            ended.status
        );
        starts.push((
            ended.status.start_timestamp.unwrap().0,
            ended.status.completion_timestamp.unwrap().0,
        ));
    }
    assert!(
        starts[0].1 <= starts[1].0 && starts[1].1 <= starts[2].0,
        "{starts:?}"
    );
    for name in ["banks", "web"] {
        assert_eq!(
            *world.backup_ended(name).await.phase(),
            BackupPhase::Completed
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_backup_does_not_hold_up_a_small_one() {
    let folder = folder();
    let settings = Settings {
        concurrent_backups: 2,
        ..settings()
    };
    let world = World::with_settings(folder.path(), settings).await;
    world.seed_shop("huge");
    world.seed_shop("small");
    // With one namespace it is listed by itself.
    hold(&world, "list", "huge", Duration::from_secs(20));
    world.create::<Backup>(backup("huge", &["huge"])).await;
    running(&world, "huge").await;
    world.back_up("small", &["small"]).await;
    assert_eq!(
        *world.get::<Backup>("huge").await.unwrap().phase(),
        BackupPhase::InProgress
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_into_one_namespace_go_one_after_the_other_and_others_at_once() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.seed_shop("bank");
    world.back_up("b", &["shop", "bank"]).await;
    hold(&world, "create", "", Duration::from_secs(2));
    world
        .create::<Restore>(restore("one", &["shop"], json!({"shop": "new"})))
        .await;
    restoring(&world, "one").await;
    world
        .create::<Restore>(restore("two", &["bank"], json!({"bank": "new"})))
        .await;
    world
        .create::<Restore>(restore("three", &["bank"], json!({"bank": "other"})))
        .await;
    restoring(&world, "three").await;
    assert_eq!(
        *world.get::<Restore>("one").await.unwrap().phase(),
        RestorePhase::InProgress
    );
    assert_eq!(
        *world.get::<Restore>("two").await.unwrap().phase(),
        RestorePhase::New
    );
    world.api.faults().clear();
    let mut times = Vec::new();
    for name in ["one", "two", "three"] {
        let ended = world.restore_ended(name).await;
        assert_eq!(
            *ended.phase(),
            RestorePhase::Completed,
            "{name}: {:?}",
            ended.status
        );
        times.push((
            ended.status.start_timestamp.unwrap().0,
            ended.status.completion_timestamp.unwrap().0,
        ));
    }
    assert!(times[0].1 <= times[1].0, "{times:?}");
}
