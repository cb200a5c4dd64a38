//! How far a restore is, while it runs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use velero_bin::server::Settings;
use velero_core::api::{BackupStorageLocation, Restore, RestorePhase, RestoreProgress};
use velero_testkit::{Fault, FaultAction};

use super::world::{World, folder, settings};

/// Namespaces, with five ConfigMaps and a Secret each.
const NAMESPACES: usize = 40;

/// The counts of a restore, and whether it still creates objects.
fn counts(restore: &Restore) -> Option<(i64, i64)> {
    let RestoreProgress {
        total_items,
        items_restored,
    } = restore.status.progress.clone()?;
    (*restore.phase() == RestorePhase::InProgress).then_some((items_restored, total_items))
}

#[tokio::test]
async fn progress_is_written_while_objects_are_created_once_a_period() {
    let (folder, mut world) = (folder(), World::empty());
    let period = Duration::from_millis(200);
    world
        .start(Settings {
            progress_period: period,
            ..settings()
        })
        .await;
    world.add_folder("default", folder.path()).await;
    world
        .wait::<BackupStorageLocation>("default", "is available", |l| l.is_available())
        .await;
    for namespace in 0..NAMESPACES {
        world.seed_shop(&format!("n{namespace}"));
    }
    world.back_up("b", &["n*"]).await;
    let mapping: BTreeMap<String, String> = (0..NAMESPACES)
        .map(|namespace| (format!("n{namespace}"), format!("copy-{namespace}")))
        .collect();

    // Secrets come first; all of the other kind take their time.
    let slow = Fault::new(FaultAction::Slow(Duration::from_millis(700)))
        .verb("create")
        .resource("configmaps");
    world.api.faults().add(slow);
    world.api.calls().reset();
    let began = std::time::Instant::now();
    world
        .create::<Restore>(json!({"metadata": {"name": "r"},
            "spec": {"backupName": "b", "namespaceMapping": mapping}}))
        .await;
    let begun = world
        .wait::<Restore>("r", "said how far it is", |r| {
            counts(r).is_some_and(|(done, total)| 0 < done && done < total)
        })
        .await;
    let (first, total) = counts(&begun).unwrap();
    let later = world
        .wait::<Restore>("r", "said that it has come further", |r| {
            counts(r).is_some_and(|(done, _)| first < done && done < total)
        })
        .await;
    assert_eq!(counts(&later).unwrap().1, total);
    let ended = world.restore_ended("r").await;
    let periods = began.elapsed().as_millis() / period.as_millis();
    assert_eq!(
        *ended.phase(),
        RestorePhase::Completed,
        "{:#?}",
        ended.status
    );
    let progress = ended.status.progress.unwrap();
    assert_eq!(
        (progress.items_restored, progress.total_items),
        (total, total)
    );
    assert!(total >= NAMESPACES as i64 * 6, "{total}");
    let writes = world.api.calls().writes();
    let patches = writes
        .iter()
        .filter(|call| call.verb == "patch" && call.resource == "restores")
        .count();
    // Its phases, its finalizer and signs of life come on top.
    assert!(
        patches >= 4 && patches as u128 <= periods + 8,
        "{patches} patches in {periods} periods"
    );
}
