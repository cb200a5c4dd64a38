//! Volumes whose data is not in a backup: they are told, wherever somebody could think otherwise.

use serde_json::json;
use tempfile::TempDir;

use crate::program::Cluster;

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
