//! Volumes of restored claims: those that are made anew, and those whose data cannot come back.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use velero_bin::server::Settings;
use velero_core::api::{Backup, BackupStorageLocation, Restore, RestorePhase};
use velero_persistence::{BackupFile, BackupStore, Location};
use velero_testkit::{ApiServer, Controllers, Fault, FaultAction};

use super::operations::document;
use super::world::{World, files, folder, settings};
use crate::lost;

const WAITS_FOR: &str = "x.velero.io/waits-for";

/// An operator, and a backup `b` of the namespace `shop` with a claim whose data a CSI driver had snapshotted.
struct Bench {
    world: World,
    folder: TempDir,
}

fn quick() -> Settings {
    Settings {
        item_operation_sync_frequency: Duration::from_millis(50),
        resource_timeout: Duration::from_secs(30),
        ..settings()
    }
}

impl Bench {
    async fn new(controllers: Controllers) -> Self {
        let folder = folder();
        let mut world = World::on(ApiServer::builder().controllers(controllers).build(), "");
        world.start(quick()).await;
        world.add_folder("default", folder.path()).await;
        world
            .wait::<BackupStorageLocation>("default", "is available", |l| l.is_available())
            .await;
        world.seed_shop("shop");
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "shop"},
            "spec": {"volumeName": "old", "storageClassName": "standard", "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}},
            "status": {"phase": "Bound"}});
        world
            .api
            .store()
            .seed_value(volume("old", "shop", "Retain"))
            .unwrap();
        world.api.store().seed_value(claim).unwrap();
        world.back_up("b", &["shop"]).await;
        let bench = Self { world, folder };
        let infos = json!([{"pvName": "old", "pvcName": "data", "pvcNamespace": "shop", "backupMethod": "CSISnapshot",
            "pvInfo": {"reclaimPolicy": "Retain", "labels": {"team": "green"}}}]);
        bench
            .store()
            .await
            .put_json(&BackupFile::VolumeInfos.of("b"), &infos)
            .await
            .unwrap();
        bench
    }

    async fn store(&self) -> BackupStore {
        let url = format!("file://{}", self.folder.path().join("bucket").display());
        BackupStore::open(&Location::from_url(&url).unwrap())
            .await
            .unwrap()
    }

    async fn restore(&self, name: &str, target: &str) {
        let spec =
            json!({"backupName": "b", "namespaceMapping": {"shop": target}, "restorePVs": false});
        self.world
            .create::<Restore>(json!({"metadata": {"name": name}, "spec": spec}))
            .await;
    }

    /// Waits until a restore says that it waits for the new volume of its claim.
    async fn waits(&self, name: &str, target: &str) -> Restore {
        let told = format!("the new volumes of 1 claims of {target}, since ");
        self.world
            .wait::<Restore>(name, "waits for its volume", |restore| {
                let annotations = restore.metadata.annotations.clone().unwrap_or_default();
                *restore.phase() == RestorePhase::Finalizing
                    && annotations
                        .get(WAITS_FOR)
                        .is_some_and(|text| text.starts_with(&told))
            })
            .await
    }

    /// What a provisioner does.
    async fn bind(&self, namespace: &str) {
        self.world
            .api
            .store()
            .seed_value(volume("new", namespace, "Delete"))
            .unwrap();
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.world.api.client(), namespace);
        let options = PatchParams::default();
        let (bound, status) = (
            json!({"spec": {"volumeName": "new"}}),
            json!({"status": {"phase": "Bound"}}),
        );
        claims
            .patch("data", &options, &Patch::Merge(&bound))
            .await
            .unwrap();
        claims
            .patch_status("data", &options, &Patch::Merge(&status))
            .await
            .unwrap();
    }

    async fn assert_like_the_old_one(&self, volume: &str) {
        let volumes: Api<PersistentVolume> = Api::all(self.world.api.client());
        let live = volumes.get(volume).await.unwrap();
        let policy = live.spec.unwrap().persistent_volume_reclaim_policy;
        assert_eq!(policy.as_deref(), Some("Retain"));
        let labels = live.metadata.labels.unwrap_or_default();
        assert_eq!(labels.get("team").map(String::as_str), Some("green"));
    }

    fn dir(&self, restore: &str) -> PathBuf {
        self.folder.path().join("bucket/restores").join(restore)
    }
}

fn volume(name: &str, namespace: &str, policy: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "standard",
            "persistentVolumeReclaimPolicy": policy, "csi": {"driver": "d.example.com", "volumeHandle": name},
            "claimRef": {"kind": "PersistentVolumeClaim", "namespace": namespace, "name": "data"}},
        "status": {"phase": "Bound"}})
}

#[tokio::test]
async fn a_restore_ends_when_its_new_volumes_are_like_the_old_ones() {
    let bench = Bench::new(Controllers::All).await;
    bench.restore("r", "copy").await;
    let ended = bench.world.restore_ended("r").await;
    assert_eq!(
        *ended.phase(),
        RestorePhase::Completed,
        "{:#?}",
        ended.status
    );
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(bench.world.api.client(), "copy");
    let claim = claims.get("data").await.unwrap();
    bench
        .assert_like_the_old_one(claim.spec.unwrap().volume_name.unwrap().as_str())
        .await;
    let annotations = ended.metadata.annotations.unwrap_or_default();
    assert_eq!(annotations.get(WAITS_FOR), None);
    assert_eq!(files(&bench.dir("r")).len(), 5);
}

/// A restore waits for its volumes in a task of its own, and says so.
#[tokio::test]
async fn the_next_server_gives_new_volumes_what_the_old_ones_had() {
    let mut bench = Bench::new(Controllers::default()).await;
    bench.restore("r", "copy").await;
    bench.waits("r", "copy").await;
    let other = json!({"backupName": "b", "namespaceMapping": {"shop": "other"}, "includedResources": ["configmaps"]});
    bench
        .world
        .create::<Restore>(json!({"metadata": {"name": "other"}, "spec": other}))
        .await;
    let other = bench.world.restore_ended("other").await;
    assert_eq!(*other.phase(), RestorePhase::Completed);

    assert!(
        bench.world.stop().await,
        "volumes hold up the end of the server"
    );
    bench.world.start(quick()).await;
    bench.waits("r", "copy").await;
    bench.bind("copy").await;
    let ended = bench.world.restore_ended("r").await;
    assert_eq!(
        *ended.phase(),
        RestorePhase::Completed,
        "{:#?}",
        ended.status
    );
    bench.assert_like_the_old_one("new").await;
}

#[tokio::test]
async fn a_volume_that_never_comes_makes_a_partial_restore() {
    let mut bench = Bench::new(Controllers::default()).await;
    bench.world.stop().await;
    let hasty = Settings {
        resource_timeout: Duration::from_millis(300),
        ..quick()
    };
    bench.world.start(hasty).await;
    bench.restore("r", "copy").await;
    let ended = bench.world.restore_ended("r").await;
    assert_eq!(
        *ended.phase(),
        RestorePhase::PartiallyFailed,
        "{:#?}",
        ended.status
    );
    assert_eq!(ended.status.errors, 1);
    let results = document(&bench.dir("r"), "restore-r-results.gz");
    let line = results["errors"]["namespaces"]["copy"][0].as_str().unwrap();
    assert!(
        line.contains("name: /data") && line.contains("the claim is not bound"),
        "{line}"
    );
    bench
        .world
        .wait_metric("velero_restore_partial_failure_total{schedule=\"\"} 1")
        .await;
}

/// Whoever takes it up does not know the volumes any more; nothing is done.
#[tokio::test]
async fn without_its_backup_a_restore_is_not_finalized() {
    let mut bench = Bench::new(Controllers::default()).await;
    bench.restore("r", "copy").await;
    bench.waits("r", "copy").await;
    assert!(bench.world.stop().await);
    bench.world.delete::<Backup>("b").await;
    bench.bind("copy").await;
    bench.world.start(quick()).await;
    let ended = bench.world.restore_ended("r").await;
    assert_eq!(*ended.phase(), RestorePhase::PartiallyFailed);
    assert!(
        ended.status.failure_reason.contains("backup \"b\" is gone"),
        "{:#?}",
        ended.status
    );
    let volumes: Api<PersistentVolume> = Api::all(bench.world.api.client());
    let live = volumes.get("new").await.unwrap();
    assert_eq!(
        live.spec
            .unwrap()
            .persistent_volume_reclaim_policy
            .as_deref(),
        Some("Delete")
    );
}

#[tokio::test]
async fn the_last_write_is_tried_again() {
    for action in [
        FaultAction::ConnectionReset,
        FaultAction::Unavailable,
        FaultAction::InternalError,
    ] {
        let bench = Bench::new(Controllers::default()).await;
        bench.restore("r", "copy").await;
        bench.waits("r", "copy").await;
        let fault = Fault::new(action.clone())
            .verb("patch")
            .resource("restores")
            .times(3);
        bench.world.api.faults().add(fault);
        bench.bind("copy").await;
        let ended = bench.world.restore_ended("r").await;
        assert_eq!(
            *ended.phase(),
            RestorePhase::Completed,
            "{action:?}: {:#?}",
            ended.status
        );
        let acted: u64 = bench.world.api.faults().acted().iter().sum();
        assert!(acted >= 1, "{action:?}");
        bench.assert_like_the_old_one("new").await;
    }
}

/// Every method, named by every document that can name it.
#[tokio::test]
async fn data_that_cannot_come_back_is_an_error_at_its_claim() {
    for with_infos in [true, false] {
        let folder = folder();
        let world = World::with_folder(folder.path()).await;
        world.seed_shop("shop");
        lost::seed(&world.api, "b");
        world.back_up("b", &["shop", "velero"]).await;
        let url = format!("file://{}", folder.path().join("bucket").display());
        let store = BackupStore::open(&Location::from_url(&url).unwrap())
            .await
            .unwrap();
        lost::tell(&store, "b", with_infos).await;
        for (name, wants_data) in [("r", Value::Null), ("q", json!(false))] {
            let spec = json!({"backupName": "b", "namespaceMapping": {"shop": name}, "restorePVs": wants_data,
                "includedNamespaces": ["shop"]});
            world
                .create::<Restore>(json!({"metadata": {"name": name}, "spec": spec}))
                .await;
            let ended = world.restore_ended(name).await;
            let dir = folder.path().join("bucket/restores").join(name);
            let results = document(&dir, &format!("restore-{name}-results.gz"));
            if wants_data.is_null() {
                assert_eq!(*ended.phase(), RestorePhase::PartiallyFailed);
                lost::assert_told(&results, name, with_infos);
                lost::assert_empty(&world.api, name, with_infos);
            } else {
                assert_eq!(*ended.phase(), RestorePhase::Completed, "{results:#}");
                assert_eq!(results["errors"], json!({}));
            }
        }
    }
}
