//! Volumes whose data is named by one document of a backup or another, by every method, and cannot be restored yet.

use serde_json::{Value, json};
use velero_core::api::crd;
use velero_persistence::{BackupFile, BackupStore};
use velero_testkit::ApiServer;

/// What names the data: the claim, the method that its error has to name, and whether the volume information says it.
const WAYS: [(&str, &str, bool); 12] = [
    ("info-files", "PodVolumeBackup", true),
    ("info-native", "NativeSnapshot", true),
    ("info-csi", "by CSISnapshot, which", true),
    ("info-moved", "CSISnapshot with moved data", true),
    ("kopia", "PodVolumeBackup", false),
    ("restic", "PodVolumeBackup", false),
    ("native", "NativeSnapshot", false),
    ("csi-list", "by CSISnapshot, which", false),
    ("csi-claim", "by CSISnapshot, which", false),
    ("operation", "CSISnapshot with moved data", false),
    ("moved-claim", "CSISnapshot with moved data", false),
    ("upload", "CSISnapshot with moved data", false),
];

/// A pod whose files belong to no claim.
const POD: &str = "files";

/// Puts a claim for each way into the namespace `shop`, and what else a backup called `backup` will have.
pub(crate) fn seed(server: &ApiServer, backup: &str) {
    let store = server.store();
    for (claim, _, _) in WAYS {
        let volume = format!("pv-{claim}");
        let annotations = match claim {
            "csi-claim" => json!({"velero.io/volume-snapshot-name": "s"}),
            "moved-claim" => json!({"velero.io/data-upload-name": "velero/du"}),
            _ => json!({}),
        };
        for object in [
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
                "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Retain", "csi": {"driver": "d.example.com", "volumeHandle": claim},
                    "claimRef": {"kind": "PersistentVolumeClaim", "namespace": "shop", "name": claim}},
                "status": {"phase": "Bound"}}),
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": claim, "namespace": "shop", "annotations": annotations},
                "spec": {"volumeName": volume, "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
                "status": {"phase": "Bound"}}),
        ] {
            store.seed_value(object).unwrap();
        }
    }
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD, "namespace": "shop"},
        "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "emptyDir": {}}]}});
    store.seed_value(pod).unwrap();
    serve_uploads(server);
    let upload = json!({"apiVersion": "velero.io/v2alpha1", "kind": "DataUpload",
        "metadata": {"name": "du-1", "namespace": "velero", "labels": {"velero.io/backup-name": backup}},
        "spec": {"snapshotType": "CSI", "sourceNamespace": "shop", "sourcePVC": "upload", "backupStorageLocation": "default",
            "operationTimeout": "10m"},
        "status": {"phase": "Completed", "snapshotID": "s"}});
    store.seed_value(upload).unwrap();
}

/// Lets a cluster serve DataUploads, unless it does.
pub(crate) fn serve_uploads(server: &ApiServer) {
    let name = "datauploads.velero.io";
    let store = server.store();
    let there = store.get(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        None,
        name,
    );
    for definition in crd::all() {
        if there.is_none() && definition.metadata.name.as_deref() == Some(name) {
            store
                .seed_value(serde_json::to_value(definition).unwrap())
                .unwrap();
        }
    }
}

/// Puts beside an archive what the peer would have put there. Releases before 1.13 have no volume information.
pub(crate) async fn tell(store: &BackupStore, backup: &str, with_infos: bool) {
    let volume_infos = BackupFile::VolumeInfos.of(backup);
    if with_infos {
        let mut infos: Vec<Value> = store.get_list(&volume_infos).await.unwrap();
        infos.retain(|info| !info["pvName"].as_str().unwrap().starts_with("pv-info-"));
        infos.extend([
            info("info-files", "PodVolumeBackup", false),
            info("info-native", "NativeSnapshot", false),
            info("info-csi", "CSISnapshot", false),
            info("info-moved", "CSISnapshot", true),
        ]);
        store.put_json(&volume_infos, &infos).await.unwrap();
    } else {
        store.store().delete(volume_infos.key()).await.unwrap();
    }
    let copy = |claim: &str, uploader: &str| {
        let pod = if claim.is_empty() { POD } else { "web" };
        let annotations = json!({"velero.io/pvc-name": claim});
        json!({"metadata": {"annotations": annotations}, "spec": {"pod": {"namespace": "shop", "name": pod}, "volume": format!("v-{claim}"),
            "uploaderType": uploader}, "status": {"phase": "Completed", "snapshotID": "s"}})
    };
    let copies = [
        copy("kopia", "kopia"),
        copy("restic", "restic"),
        copy("", "kopia"),
    ];
    let native = json!([{"spec": {"persistentVolumeName": "pv-native", "location": "aws"},
        "status": {"phase": "Completed", "providerSnapshotID": "snap-1"}}]);
    let csi = json!([{"metadata": {"namespace": "shop", "name": "s"},
        "spec": {"source": {"persistentVolumeClaimName": "csi-list"}}}]);
    let id = json!({"Group": "", "Resource": "persistentvolumeclaims", "Namespace": "shop", "Name": "operation"});
    let operations = json!([{"spec": {"backupName": backup, "backupUID": "u", "backupItemAction": "velero.io/csi-pvc-backupper",
        "operationID": "du-1.2", "postOperationItems": null, "resourceIdentifier": id}, "status": {"phase": "Completed"}}]);
    for (file, content) in [
        (BackupFile::PodVolumeBackups, json!(copies)),
        (BackupFile::VolumeSnapshots, native),
        (BackupFile::CsiVolumeSnapshots, csi),
        (BackupFile::ItemOperations, operations),
    ] {
        store.put_json(&file.of(backup), &content).await.unwrap();
    }
}

fn info(claim: &str, method: &str, moved: bool) -> Value {
    json!({"pvName": format!("pv-{claim}"), "pvcName": claim, "pvcNamespace": "shop", "backupMethod": method,
        "snapshotDataMoved": moved, "preserveLocalSnapshot": false, "skipped": false})
}

/// Looks at the errors of a restore's results file: one for each claim whose data is named, and no other.
#[track_caller]
pub(crate) fn assert_told(results: &Value, namespace: &str, with_infos: bool) {
    let errors = &results["errors"];
    let lines: Vec<&str> = errors["namespaces"][namespace]
        .as_array()
        .unwrap_or_else(|| panic!("{errors:#}"))
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    let mut expected = vec![("pods", POD, "PodVolumeBackup")];
    for (claim, method, by_info) in WAYS {
        if with_infos || !by_info {
            expected.push(("persistentvolumeclaims", claim, method));
        }
    }
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    assert_eq!(errors.as_object().unwrap().len(), 1, "{errors:#}");
    for (resource, name, method) in expected {
        let start = format!(" resource: /{resource} name: /{name} error: /");
        let found: Vec<&&str> = lines
            .iter()
            .filter(|line| line.starts_with(&start))
            .collect();
        assert!(
            found.len() == 1 && found[0].contains(method),
            "{name} {method}: {found:?} of {lines:#?}"
        );
    }
}

/// Asserts that no claim has the volume of the data that it lost.
#[track_caller]
pub(crate) fn assert_empty(server: &ApiServer, namespace: &str, with_infos: bool) {
    for (claim, _, by_info) in WAYS {
        let store = server.store();
        let live = store
            .get("v1", "PersistentVolumeClaim", Some(namespace), claim)
            .unwrap();
        if with_infos || !by_info {
            assert_eq!(live["spec"].get("volumeName"), None, "{claim}");
        }
    }
}
