//! Volumes whose data is not in a backup: they are told, wherever somebody could think otherwise.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tempfile::TempDir;
use velero_persistence::{BackupFile, BackupStore, Location, RestoreFile};
use velero_testkit::ApiServer;

use crate::lost;
use crate::program::Cluster;
use crate::server::eventually;

fn claim(cluster: &Cluster, name: &str) {
    let volume = format!("pv-{name}");
    let store = cluster.server.store();
    for object in [
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Delete",
                "csi": {"driver": "d.example.com", "volumeHandle": name},
                "claimRef": {"kind": "PersistentVolumeClaim", "namespace": "shop", "name": name}},
            "status": {"phase": "Bound"}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"volumeName": volume, "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            "status": {"phase": "Bound"}}),
    ] {
        store.seed_value(object).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_without_data_are_told() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    let line = format!("direct backup none --store {store} --include-namespaces shop");
    let text = source.velero(&line).await.exits(0);
    assert!(!text.contains("no data"), "{text}");

    claim(&source, "data");
    claim(&source, "more");
    let told = "2 volumes have no data in the backup, their objects alone are stored: shop/data, shop/more";
    let line = format!("direct backup b --store {store} --include-namespaces shop");
    let text = source.velero(&line).await.exits(0);
    assert!(text.lines().any(|line| line == told), "{text}");

    let ran = source.velero(&format!("direct ls b --store {store}")).await;
    assert_eq!((ran.code, ran.stderr.trim_end()), (0, told));
    let ran = source
        .velero(&format!("direct ls b --store {store} -o json"))
        .await;
    assert!(serde_json::from_str::<serde_json::Value>(&ran.stdout).is_ok());

    let text = source
        .velero("direct backup b --dry-run --include-namespaces shop")
        .await
        .exits(0);
    let foreseen =
        "2 claims would be in the backup without the data of their volumes: shop/data, shop/more";
    assert!(text.lines().any(|line| line == foreseen), "{text}");
    let text = source
        .velero("direct backup b --dry-run --include-resources pv")
        .await
        .exits(0);
    let foreseen =
        "2 persistent volumes would be in the backup without their data: pv-data, pv-more";
    assert!(text.lines().any(|line| line == foreseen), "{text}");

    let target = Cluster::start().await;
    let line = format!("direct restore b --store {store} --namespace-mappings shop:copy");
    let text = target.velero(&line).await.exits(0);
    assert!(text.lines().any(|line| line == told), "{text}");
    // Nothing is made, so nothing is without its data.
    let line = format!("direct restore b --store {store} --include-resources configmaps");
    let text = target.velero(&line).await.exits(0);
    assert!(!text.contains("no data"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_whose_volume_was_filtered_out_are_told() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    claim(&source, "data");
    claim(&source, "more");
    let told = "2 claims are in the backup without their volumes, and so without data: shop/data, shop/more";
    for (name, filter) in [
        ("kinds", "--include-resources pvc"),
        ("scope", "--include-cluster-resources=false"),
    ] {
        let line =
            format!("direct backup {name} --store {store} --include-namespaces shop {filter}");
        let text = source.velero(&line).await.exits(0);
        assert!(text.lines().any(|line| line == told), "{text}");
        let ran = source
            .velero(&format!("direct ls {name} --store {store}"))
            .await;
        assert_eq!((ran.code, ran.stderr.trim_end()), (0, told));
    }
    let target = Cluster::start().await;
    let line = format!("direct restore kinds --store {store} --namespace-mappings shop:copy");
    let text = target.velero(&line).await.exits(0);
    assert!(text.lines().any(|line| line == told), "{text}");
}

/// Which location is not used may be said.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_location_is_no_fault_where_no_snapshot_is_wanted() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    let line = format!(
        "direct backup b --store {store} --volume-snapshot-locations aws --snapshot-volumes=false"
    );
    source.velero(&line).await.exits(0);
}

/// Flags about the data of volumes reach the same rule as with an operator.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_refused_by_its_field() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    for (flag, field) in [
        ("--data-mover=mine", "spec.datamover: "),
        ("--parallel-files-upload=4", "spec.uploaderConfig: "),
        (
            "--volume-snapshot-locations=aws",
            "spec.volumeSnapshotLocations: ",
        ),
    ] {
        let line = format!("direct backup b --store {store} {flag}");
        let message = source.velero(&line).await.fails();
        assert!(message.contains(field), "{flag}: {message}");
    }
    assert!(crate::program::files(folder.path()).is_empty());
}

/// Every method, named by every document that can name it.
#[tokio::test(flavor = "multi_thread")]
async fn data_that_cannot_come_back_is_an_error_at_its_claim() {
    for with_infos in [true, false] {
        let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
        lost::seed(&source.server, "b");
        let url = format!("file://{}", folder.path().display());
        let line = format!("direct backup b --store {url} --include-namespaces shop,velero");
        source.velero(&line).await.exits(0);
        let store = BackupStore::open(&Location::from_url(&url).unwrap())
            .await
            .unwrap();
        lost::tell(&store, "b", with_infos).await;

        let target = Cluster::start().await;
        lost::serve_uploads(&target.server);
        let line = format!("direct restore b --store {url} --restore-name r");
        let text = target.velero(&line).await.exits(2);
        assert!(text.contains("PartiallyFailed."), "{text}");
        let results = store.get_json(&RestoreFile::Results.of("r")).await.unwrap();
        lost::assert_told(&results.unwrap(), "shop", with_infos);
        lost::assert_empty(&target.server, "shop", with_infos);

        let without = Cluster::start().await;
        let line =
            format!("direct restore b --store {url} --restore-name q --restore-volumes=false");
        let text = without.velero(&line).await.exits(0);
        assert!(text.contains("Completed."), "{text}");
        let results: Option<serde_json::Value> =
            store.get_json(&RestoreFile::Results.of("q")).await.unwrap();
        assert_eq!(results.unwrap()["errors"], json!({}));
    }
}

/// A volume of the class has the policy of the class; the old one had another.
#[tokio::test(flavor = "multi_thread")]
async fn new_volumes_are_waited_for_and_get_the_old_policy() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    claim(&source, "data");
    let url = format!("file://{}", folder.path().display());
    let line = format!("direct backup b --store {url} --include-namespaces shop");
    source.velero(&line).await.exits(0);
    let store = BackupStore::open(&Location::from_url(&url).unwrap())
        .await
        .unwrap();
    let infos = json!([{"pvName": "pv-data", "pvcName": "data", "pvcNamespace": "shop", "backupMethod": "CSISnapshot",
        "pvInfo": {"reclaimPolicy": "Retain", "labels": {"team": "green"}}}]);
    store
        .put_json(&BackupFile::VolumeInfos.of("b"), &infos)
        .await
        .unwrap();

    let target = Cluster::start().await;
    let line = format!("direct restore b --store {url} --restore-volumes=false --restore-name");
    let (first, late) = (
        format!("{line} r"),
        format!("{line} s --namespace-mappings shop:late --resource-timeout 1s"),
    );
    let bind = async {
        let server = &target.server;
        let found = eventually(async || {
            server
                .store()
                .get("v1", "PersistentVolumeClaim", Some("shop"), "data")
        })
        .await;
        found.unwrap();
        bind(server).await;
    };
    let (ran, ()) = tokio::join!(target.velero(&first), bind);
    assert!(
        ran.stderr
            .contains("waiting for the new volumes of 1 claims of shop"),
        "{}",
        ran.stderr
    );
    ran.exits(0);
    let volume = target
        .server
        .store()
        .get("v1", "PersistentVolume", None, "new")
        .unwrap();
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    assert_eq!(volume["metadata"]["labels"], json!({"team": "green"}));

    let text = target.velero(&late).await.exits(2);
    let told = "its volume was not given reclaim policy \"Retain\" and the labels of the one it replaces within 1s: the claim is not bound";
    assert!(
        text.contains("PartiallyFailed.") && text.contains(told),
        "{text}"
    );
    for wrong in ["--resource-timeout 0s", "--spool-dir /nowhere/at/all"] {
        let flag = wrong.split(' ').next().unwrap();
        let line = format!("direct restore b --store {url} {wrong}");
        let message = target.velero(&line).await.fails();
        assert!(message.starts_with(flag), "{message}");
    }
}

/// What a provisioner does for the claim `shop/data`.
async fn bind(server: &ApiServer) {
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "new"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Delete",
            "csi": {"driver": "d.example.com", "volumeHandle": "new"},
            "claimRef": {"kind": "PersistentVolumeClaim", "namespace": "shop", "name": "data"}},
        "status": {"phase": "Bound"}});
    server.store().seed_value(volume).unwrap();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(server.client(), "shop");
    let (bound, status) = (
        json!({"spec": {"volumeName": "new"}}),
        json!({"status": {"phase": "Bound"}}),
    );
    let options = PatchParams::default();
    claims
        .patch("data", &options, &Patch::Merge(&bound))
        .await
        .unwrap();
    claims
        .patch_status("data", &options, &Patch::Merge(&status))
        .await
        .unwrap();
}
