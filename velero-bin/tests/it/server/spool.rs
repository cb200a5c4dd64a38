//! Where the items of large backups lie while the operator restores them.
#![cfg(target_os = "linux")]

use std::time::Duration;

use serde_json::json;
use velero_bin::server::Settings;
use velero_core::api::{BackupStorageLocation, Restore, RestorePhase};
use velero_testkit::{Fault, FaultAction};

use super::world::{World, eventually, folder, settings};
use crate::spooled;

#[tokio::test]
async fn items_lie_in_the_folder_of_the_servers_flag() {
    let (bucket, spool) = (folder(), folder());
    let mut world = World::empty();
    let settings = Settings {
        spool_dir: Some(spool.path().to_owned()),
        ..settings()
    };
    world.start(settings).await;
    world.add_folder("default", bucket.path()).await;
    world
        .wait::<BackupStorageLocation>("default", "is available", |l| l.is_available())
        .await;
    spooled::seed(&world.api, "shop");
    world.back_up("b", &["shop"]).await;

    let slow = Fault::new(FaultAction::Slow(Duration::from_secs(2)))
        .verb("create")
        .resource("configmaps");
    world.api.faults().add(slow);
    let spec = json!({"backupName": "b", "namespaceMapping": {"shop": "copy"}});
    world
        .create::<Restore>(json!({"metadata": {"name": "r"}, "spec": spec}))
        .await;
    let open = eventually(async || {
        let open = spooled::open_files(std::process::id(), spool.path());
        (!open.is_empty()).then_some(open)
    });
    spooled::assert_nameless(
        &open.await.expect("nothing lies in the folder"),
        spool.path(),
    );
    world.api.faults().clear();
    let ended = world.restore_ended("r").await;
    assert_eq!(
        *ended.phase(),
        RestorePhase::Completed,
        "{:#?}",
        ended.status
    );
    assert!(spooled::open_files(std::process::id(), spool.path()).is_empty());
}
