//! Flags of `velero server`, given to the program itself, and what they do to a restore.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use velero_core::api::{BackupStorageLocation, Restore, RestorePhase};
use velero_testkit::{Fault, FaultAction, ServingHandle};

use super::world::{World, eventually, folder};
use crate::{program, spooled};

/// `velero server` as a process of its own; ended when it is dropped.
struct Program {
    child: Child,
    _home: TempDir,
    _serving: ServingHandle,
}

impl Program {
    async fn start(world: &World, flags: &[&str]) -> Self {
        let serving = world
            .api
            .serve("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let home = TempDir::new().unwrap();
        std::fs::create_dir(home.path().join(".kube")).unwrap();
        std::fs::write(home.path().join(".kube/config"), serving.kubeconfig_yaml()).unwrap();
        let args = ["server", "--metrics-address="].iter().chain(flags);
        let child = program::command(home.path(), args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            _home: home,
            _serving: serving,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

async fn backed_up(world: &World, bucket: &Path) {
    world.add_folder("default", bucket).await;
    world
        .wait::<BackupStorageLocation>("default", "is available", |l| l.is_available())
        .await;
    world.back_up("b", &["shop"]).await;
    world.api.calls().reset();
}

async fn restore(world: &World, name: &str) {
    let spec = json!({"backupName": "b", "namespaceMapping": {"shop": name}});
    world
        .create::<Restore>(json!({"metadata": {"name": name}, "spec": spec}))
        .await;
}

/// The kinds that were created, in the order in which the first of each was.
fn order(world: &World) -> Vec<String> {
    let mut kinds = Vec::new();
    for call in world.api.calls().writes() {
        let is_of_shop = ["configmaps", "secrets"].contains(&call.resource.as_str());
        if call.verb == "create" && is_of_shop && !kinds.contains(&call.resource) {
            kinds.push(call.resource);
        }
    }
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_go_by_the_order_that_the_server_is_given() {
    for (flags, expected) in [
        (&[][..], ["secrets", "configmaps"]),
        (
            &["--restore-resource-priorities", "configmaps,-,secrets"],
            ["configmaps", "secrets"],
        ),
        // Without a separator the first kinds alone are others.
        (
            &["--restore-resource-priorities=configmaps"],
            ["configmaps", "secrets"],
        ),
    ] {
        let (bucket, world) = (folder(), World::empty());
        world.seed_shop("shop");
        let _server = Program::start(&world, flags).await;
        backed_up(&world, bucket.path()).await;
        restore(&world, "copy").await;
        let ended = world.restore_ended("copy").await;
        let status = &ended.status;
        assert_eq!(*ended.phase(), RestorePhase::Completed, "{status:#?}");
        assert_eq!(order(&world), expected, "{flags:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn items_lie_in_the_folder_that_the_server_is_given() {
    let (bucket, spool, world) = (folder(), folder(), World::empty());
    world
        .api
        .store()
        .seed("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
        .unwrap();
    spooled::seed(&world.api, "shop");
    let flags = ["--spool-dir", spool.path().to_str().unwrap()];
    let server = Program::start(&world, &flags).await;
    backed_up(&world, bucket.path()).await;
    let slow = Fault::new(FaultAction::Slow(Duration::from_secs(2)))
        .verb("create")
        .resource("configmaps");
    world.api.faults().add(slow);
    restore(&world, "copy").await;
    let process = server.child.id();
    let open = eventually(async || {
        let open = spooled::open_files(process, spool.path());
        (!open.is_empty()).then_some(open)
    });
    spooled::assert_nameless(
        &open.await.expect("nothing lies in the folder"),
        spool.path(),
    );
    world.api.faults().clear();
    let ended = world.restore_ended("copy").await;
    let status = &ended.status;
    assert_eq!(*ended.phase(), RestorePhase::Completed, "{status:#?}");
    assert!(spooled::open_files(process, spool.path()).is_empty());
}
