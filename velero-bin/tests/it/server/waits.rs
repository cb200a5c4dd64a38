//! What runs wait for is told, by an annotation and by events.

use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use serde_json::json;
use velero_bin::server::Settings;
use velero_core::api::{Backup, BackupPhase, BackupStorageLocation, Restore, VeleroKind};
use velero_testkit::{Fault, FaultAction};

use super::operations;
use super::world::{Ahead, World, eventually, folder, settings};

fn told<K: VeleroKind>(object: &K) -> Option<String> {
    let annotations = object.meta().annotations.as_ref()?;
    annotations.get("x.velero.io/waits-for").cloned()
}

/// Waits for an event about an object.
async fn event(world: &World, kind: &str, name: &str, reason: &str) -> Event {
    let api: Api<Event> = Api::namespaced(world.api.client(), "velero");
    let found = eventually(async || {
        let events = api.list(&Default::default()).await.unwrap().items;
        events.into_iter().find(|event| {
            let about = event.regarding.clone().unwrap_or_default();
            about.kind.as_deref() == Some(kind)
                && about.name.as_deref() == Some(name)
                && event.reason.as_deref() == Some(reason)
        })
    });
    let found = found.await;
    found.unwrap_or_else(|| panic!("no event {reason} about {kind} {name}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_turn_says_so() {
    let (folder, ahead) = (folder(), Ahead::default());
    let settings = Settings {
        clock: ahead.clock(),
        ..settings()
    };
    let world = World::with_settings(folder.path(), settings).await;
    world.seed_shop("shop");
    world.back_up("done", &["shop"]).await;
    // One backup and one restore hold all others up.
    for verb in ["list", "create"] {
        let slow = Fault::new(FaultAction::Slow(Duration::from_secs(2))).verb(verb);
        world
            .api
            .faults()
            .add(slow.resource("configmaps").times(u64::MAX));
    }
    for name in ["first", "second"] {
        let spec = json!({"includedNamespaces": ["shop"]});
        let backup = json!({"metadata": {"name": name}, "spec": spec});
        world.create::<Backup>(backup).await;
        let spec = json!({"backupName": "done", "namespaceMapping": {"shop": "copy"}});
        let restore = json!({"metadata": {"name": name}, "spec": spec});
        world.create::<Restore>(restore).await;
        let is_queued = |backup: &Backup| name == "first" || *backup.phase() == BackupPhase::Queued;
        let queued = world.wait::<Backup>(name, "is queued", is_queued).await;
        assert_eq!(told(&queued), None, "a short wait is not told");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    ahead.set(7);
    let backup = world.wait::<Backup>("second", "waits", |backup| told(backup).is_some());
    let text = told(&backup.await).unwrap();
    assert!(
        text.starts_with("the backups before it: first, since 20"),
        "{text}"
    );
    let restore = world.wait::<Restore>("second", "waits", |restore| told(restore).is_some());
    let text = told(&restore.await).unwrap();
    assert!(
        text.starts_with("the restores before it: first, since 20"),
        "{text}"
    );
    let waiting = event(&world, "Backup", "second", "Waiting").await;
    let note = waiting.note.unwrap();
    assert!(
        note.starts_with("it waits for the backups before it: first"),
        "{note}"
    );
    assert_eq!(waiting.type_.as_deref(), Some("Normal"));
    event(&world, "Restore", "second", "Waiting").await;

    world.api.faults().clear();
    assert_eq!(told(&world.backup_ended("second").await), None);
    assert_eq!(told(&world.restore_ended("second").await), None);
    event(&world, "Backup", "second", "Completed").await;
    event(&world, "BackupStorageLocation", "default", "Available").await;
}

#[tokio::test]
async fn a_backup_that_waits_for_operations_says_for_which() {
    let (folder, state) = (folder(), operations::State::default());
    let world = operations::world(folder.path(), &state).await;
    operations::begin(&world, "b").await;
    let waiting = world.wait::<Backup>("b", "tells", |backup| told(backup).is_some());
    let text = told(&waiting.await).unwrap();
    let start = "1 of 1 operations of actions (example.com/snap), since 20";
    assert!(text.starts_with(start), "{text}");
    // The time stays, and nothing is written again.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let still = world.get::<Backup>("b").await.unwrap();
    assert_eq!(told(&still), Some(text));
    operations::set(
        &state,
        velero_core::action::OperationProgress::failed("no space"),
    );
    let ended = world.backup_ended("b").await;
    assert_eq!(told(&ended), None);
    let event = event(&world, "Backup", "b", "PartiallyFailed").await;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert_eq!(event.note.as_deref(), Some("1 errors"));
}

#[tokio::test]
async fn events_that_may_not_be_written_hold_nothing_up() {
    let folder = folder();
    let mut world = World::empty();
    let refused = Fault::new(FaultAction::Forbidden).verb("create");
    world
        .api
        .faults()
        .add(refused.resource("events").times(u64::MAX));
    world.start(settings()).await;
    world.add_folder("default", folder.path()).await;
    let available = |l: &BackupStorageLocation| l.is_available();
    world
        .wait::<BackupStorageLocation>("default", "is available", available)
        .await;
    world.seed_shop("shop");
    let backup = world.back_up("b", &["shop"]).await;
    assert_eq!(*backup.phase(), BackupPhase::Completed);
}
