//! Controllers that are switched off.

use std::time::Duration;

use clap::Parser as _;
use serde_json::json;
use velero_bin::server::{ServerArgs, Settings};
use velero_core::api::{
    Backup, BackupPhase, DeleteBackupRequest, DeleteBackupRequestPhase, DownloadRequest,
    DownloadRequestPhase, Restore, RestorePhase, Schedule, SchedulePhase, ServerStatusRequest,
    ServerStatusRequestPhase,
};

use super::world::{World, folder, settings};

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    server: ServerArgs,
}

fn with(flag: &str) -> Settings {
    let cli = Cli::parse_from(["server", flag]);
    Settings {
        disabled: cli.server.settings("velero").unwrap().disabled,
        ..settings()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_for_restores_leaves_backups_alone() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    assert!(world.stop().await);
    world.start(with("--restore-only")).await;
    world
        .create::<Backup>(
            json!({"metadata": {"name": "new"}, "spec": {"includedNamespaces": ["shop"]}}),
        )
        .await;
    world
        .create::<DeleteBackupRequest>(
            json!({"metadata": {"name": "d"}, "spec": {"backupName": "b"}}),
        )
        .await;
    world
        .create::<Schedule>(
            json!({"metadata": {"name": "s"}, "spec": {"schedule": "@every 1s", "template": {}}}),
        )
        .await;
    world
        .create::<Restore>(json!({"metadata": {"name": "r"}, "spec": {"backupName": "b"}}))
        .await;
    let ended = world.restore_ended("r").await;
    assert_eq!(
        *ended.phase(),
        RestorePhase::Completed,
        "{:?}",
        ended.status
    );
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(
        *world.get::<Backup>("new").await.unwrap().phase(),
        BackupPhase::New
    );
    let request = world.get::<DeleteBackupRequest>("d").await.unwrap();
    assert_eq!(*request.phase(), DeleteBackupRequestPhase::New);
    assert_eq!(
        *world.get::<Schedule>("s").await.unwrap().phase(),
        SchedulePhase::New
    );
    // The next server takes all of it up.
    assert!(world.stop().await);
    world.start(settings()).await;
    world.backup_ended("new").await;
    world.wait_gone::<Backup>("b").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_is_off_and_nothing_else() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    assert!(world.stop().await);
    world
        .start(with("--disable-controllers=restore,download-request"))
        .await;
    world
        .create::<Restore>(json!({"metadata": {"name": "r"}, "spec": {"backupName": "b"}}))
        .await;
    let target = json!({"target": {"kind": "BackupLog", "name": "b"}});
    world
        .create::<DownloadRequest>(json!({"metadata": {"name": "d"}, "spec": target}))
        .await;
    world
        .create::<ServerStatusRequest>(json!({"metadata": {"name": "q"}, "spec": {}}))
        .await;
    let is = |request: &ServerStatusRequest| {
        request.status.phase == Some(ServerStatusRequestPhase::Processed)
    };
    world
        .wait::<ServerStatusRequest>("q", "is answered", is)
        .await;
    world.back_up("new", &["shop"]).await;
    let restore = world.get::<Restore>("r").await.unwrap();
    assert_eq!(
        (restore.phase(), &restore.metadata.finalizers),
        (&RestorePhase::New, &None)
    );
    assert_eq!(
        world
            .get::<DownloadRequest>("d")
            .await
            .unwrap()
            .status
            .phase
            .unwrap_or(DownloadRequestPhase::New),
        DownloadRequestPhase::New
    );
}
