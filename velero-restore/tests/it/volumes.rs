//! Claims and volumes.

use serde_json::{Value, json};
use velero_core::action::{ResourceSelector, RestoreMap};
use velero_core::api::{PodVolumeBackup, RestorePhase};
use velero_core::artifact::{BackupItemOperation, VolumeInfo};
use velero_core::volume::NativeSnapshot;
use velero_restore::BackupVolumes;
use velero_testkit::ApiServer;

use crate::common::*;

pub(crate) fn volume(policy: &str) -> Value {
    let mut volume = object("v1", "PersistentVolume", "", "pv1");
    volume["metadata"]["annotations"] = json!({"pv.kubernetes.io/bound-by-controller": "yes", "pv.kubernetes.io/provisioned-by": "x"});
    volume["spec"] = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x", "type": ""},
        "persistentVolumeReclaimPolicy": policy, "storageClassName": "s", "volumeMode": "Filesystem",
        "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "data", "namespace": "shop", "uid": "u", "resourceVersion": "9"}});
    volume
}

pub(crate) fn claim() -> Value {
    let mut claim = object("v1", "PersistentVolumeClaim", "shop", "data");
    claim["metadata"]["annotations"] = json!({"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes", "mine": "1"});
    claim["spec"] = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "s",
        "volumeMode": "Filesystem", "volumeName": "pv1"});
    claim["status"] = json!({"phase": "Bound"});
    claim
}

pub(crate) fn pod() -> Value {
    let mut pod = object("v1", "Pod", "shop", "web");
    pod["spec"] = json!({"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]});
    pod["status"] = json!({"phase": "Running"});
    pod
}

pub(crate) fn live_claim(server: &ApiServer, namespace: &str) -> Value {
    server
        .store()
        .get("v1", "PersistentVolumeClaim", Some(namespace), "data")
        .unwrap()
}

#[tokio::test]
async fn volumes_that_go_with_their_claim_are_provisioned_anew() {
    let server = ApiServer::new();
    let result = restore(
        &server,
        &[namespace("shop"), volume("Delete"), claim()],
        json!({}),
    )
    .await;
    assert_clean(&result);
    assert!(
        server
            .store()
            .get("v1", "PersistentVolume", None, "pv1")
            .is_none()
    );
    let claim = live_claim(&server, "shop");
    assert_eq!(claim["spec"].get("volumeName"), None);
    assert_eq!(claim["metadata"]["annotations"], json!({"mine": "1"}));
    assert_eq!(entries(&result, "v1/PersistentVolume"), ["pv1(skipped)"]);
    assert_eq!(
        result
            .created_claims
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["persistentvolumeclaims shop/data"]
    );
}

#[tokio::test]
async fn volumes_that_stay_are_restored_for_their_claim() {
    let server = ApiServer::new();
    let items = [namespace("shop"), volume("Retain"), claim()];
    let result = restore(
        &server,
        &items,
        json!({"namespaceMapping": {"shop": "copy"}}),
    )
    .await;
    assert_clean(&result);
    let live = server
        .store()
        .get("v1", "PersistentVolume", None, "pv1")
        .unwrap();
    assert_eq!(
        live["spec"]["claimRef"],
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "data", "namespace": "copy"})
    );
    assert_eq!(
        live["metadata"]["annotations"],
        json!({"pv.kubernetes.io/provisioned-by": "x"})
    );
    assert_eq!(
        live_claim(&server, "copy")["spec"]["volumeName"],
        json!("pv1")
    );
}

#[tokio::test]
async fn a_volume_that_is_there_and_differs_is_a_warning_and_its_claim_names_it() {
    let server = ApiServer::new();
    let mut other = volume("Retain");
    other["spec"]["hostPath"]["path"] = json!("/elsewhere");
    other["spec"].as_object_mut().unwrap().remove("claimRef");
    server.store().seed_value(other).unwrap();
    let items = [namespace("shop"), volume("Retain"), claim()];
    let result = restore(&server, &items, json!({})).await;
    let warnings = warnings(&result);
    assert!(
        errors(&result).is_empty()
            && warnings.len() == 1
            && warnings[0].starts_with("cluster: resource: /persistentvolumes name: /pv1"),
        "{warnings:?}"
    );
    let live = server
        .store()
        .get("v1", "PersistentVolume", None, "pv1")
        .unwrap();
    assert_eq!(live["spec"]["hostPath"]["path"], json!("/elsewhere"));
    assert_eq!(
        live_claim(&server, "shop")["spec"]["volumeName"],
        json!("pv1")
    );
}

#[tokio::test]
async fn a_claim_whose_volume_stays_with_another_is_named() {
    let server = ApiServer::new();
    let items = [namespace("shop"), volume("Retain"), claim()];
    for item in &items {
        server.store().seed_value(item.clone()).unwrap();
    }
    let mapped = json!({"namespaceMapping": {"shop": "copy"}});
    let result = restore(&server, &items, mapped.clone()).await;
    assert_eq!(live_claim(&server, "copy")["spec"]["volumeName"], "pv1");
    let warnings = warnings(&result);
    let told = |w: &String| {
        w.starts_with("copy: resource: /persistentvolumeclaims name: /data")
            && w.contains("it stays Pending: its volume pv1 belongs to claim shop/data")
    };
    assert!(warnings.iter().any(told), "{warnings:?}");

    // Where the volume comes along, its claim gets it.
    let server = ApiServer::new();
    let result = restore(&server, &items, mapped).await;
    assert_clean(&result);
}

#[tokio::test]
async fn data_that_does_not_come_back_is_an_error_that_names_the_method() {
    for (method, wants, fails, restored) in [
        ("NativeSnapshot", None, true, false),
        ("PodVolumeBackup", None, true, false),
        ("CSISnapshot", Some(true), true, false),
        ("NativeSnapshot", Some(false), false, true),
        ("PodVolumeBackup", Some(false), false, false),
    ] {
        let server = ApiServer::new();
        let info = VolumeInfo {
            pv_name: "pv1".into(),
            backup_method: method.into(),
            ..VolumeInfo::default()
        };
        let request = request(json!({"restorePVs": wants})).volume_infos([info]);
        let items = archive(&[namespace("shop"), volume("Retain"), claim()]);
        let result = restore_bytes(&server, items, &request).await;
        let errors = errors(&result);
        assert_eq!(
            errors.len(),
            usize::from(fails),
            "{method} {wants:?} {errors:?}"
        );
        if fails {
            assert!(
                errors[0]
                    .starts_with("shop: resource: /persistentvolumeclaims name: /data error: /"),
                "{errors:?}"
            );
            assert!(errors[0].contains(method), "{errors:?}");
            assert_eq!(result.phase(), RestorePhase::PartiallyFailed);
        }
        assert_eq!(
            server
                .store()
                .get("v1", "PersistentVolume", None, "pv1")
                .is_some(),
            restored,
            "{method} {wants:?}"
        );
        assert_eq!(
            live_claim(&server, "shop")["spec"]
                .get("volumeName")
                .is_some(),
            restored,
            "{method} {wants:?}"
        );
    }
}

#[tokio::test]
async fn files_of_a_pod_that_belong_to_no_claim_are_missed_too() {
    let server = ApiServer::new();
    let info: VolumeInfo = serde_json::from_value(json!({"backupMethod": "PodVolumeBackup",
        "pvbInfo": {"podName": "web", "podNamespace": "shop", "volumeName": "cache"}}))
    .unwrap();
    let mut pod = pod();
    pod["spec"]["volumes"] = json!([{"name": "cache", "emptyDir": {}}]);
    let request = request(json!({})).volume_infos([info]);
    let result = restore_bytes(&server, archive(&[namespace("shop"), pod]), &request).await;
    let errors = errors(&result);
    assert!(
        errors.len() == 1
            && errors[0].contains("name: /web")
            && errors[0].contains("PodVolumeBackup"),
        "{errors:?}"
    );
}

#[tokio::test]
async fn a_pod_brings_its_claim_and_the_claim_its_volume() {
    let server = ApiServer::new();
    let items = [namespace("shop"), pod(), claim(), volume("Retain")];
    let mut labelled = items.to_vec();
    labelled[1]["metadata"]["labels"] = json!({"app": "web"});
    let spec =
        json!({"labelSelector": {"matchLabels": {"app": "web"}}, "includedNamespaces": ["shop"]});
    let result = restore(&server, &labelled, spec).await;
    assert_clean(&result);
    let order: Vec<String> = server
        .calls()
        .writes()
        .iter()
        .filter(|c| c.verb == "create")
        .map(|c| c.resource.clone())
        .collect();
    assert_eq!(
        order,
        [
            "namespaces",
            "persistentvolumes",
            "persistentvolumeclaims",
            "pods"
        ]
    );
}

#[tokio::test]
async fn without_cluster_resources_a_claim_comes_without_its_volume() {
    let server = ApiServer::new();
    let items = [namespace("shop"), claim(), volume("Retain")];
    let result = restore(&server, &items, json!({"includeClusterResources": false})).await;
    assert_clean(&result);
    assert!(
        server
            .store()
            .get("v1", "PersistentVolume", None, "pv1")
            .is_none()
    );
    assert_eq!(
        live_claim(&server, "shop")["spec"]["volumeName"],
        json!("pv1")
    );
}

/// Backups older than volume information, and what else names data: each keeps even a volume out that would stay.
#[tokio::test]
async fn whatever_names_data_of_a_volume_makes_its_claim_an_error() {
    let copies: Vec<PodVolumeBackup> = serde_json::from_value(
        json!([{"metadata": {"annotations": {"velero.io/pvc-name": "data"}},
        "spec": {"pod": {"namespace": "shop", "name": "web"}, "volume": "d"}}]),
    )
    .unwrap();
    let snapshot = |source: Value| {
        vec![json!({"metadata": {"namespace": "shop", "name": "s"}, "spec": {"source": source}})]
    };
    let operations: Vec<BackupItemOperation> = serde_json::from_value(json!([{"spec": {"backupName": "b1", "backupUID": "u",
        "backupItemAction": "velero.io/csi-pvc-backupper", "operationID": "du-u.1", "postOperationItems": null,
        "resourceIdentifier": {"Group": "", "Resource": "persistentvolumeclaims", "Namespace": "shop", "Name": "data"}}}]))
    .unwrap();
    let native: Vec<NativeSnapshot> =
        serde_json::from_value(json!([{"spec": {"persistentVolumeName": "pv1"}, "status": {}}]))
            .unwrap();
    let told = |set: &dyn Fn(&mut BackupVolumes)| {
        let mut told = BackupVolumes::default();
        set(&mut told);
        told
    };
    let with = |annotation: &str| {
        let mut claim = claim();
        claim["metadata"]["annotations"][annotation] = json!("x");
        claim
    };
    let nothing = BackupVolumes::default;
    for (told, claim, method) in [
        (nothing(), claim(), None),
        (
            told(&|t| t.snapshots = native.clone()),
            claim(),
            Some("NativeSnapshot"),
        ),
        (
            told(&|t| t.pod_volumes = copies.clone()),
            claim(),
            Some("PodVolumeBackup"),
        ),
        (
            told(&|t| t.csi_snapshots = snapshot(json!({"persistentVolumeClaimName": "data"}))),
            claim(),
            Some("CSISnapshot"),
        ),
        (
            told(&|t| t.csi_snapshots = snapshot(json!({}))),
            claim(),
            None,
        ),
        (
            told(&|t| t.operations = operations.clone()),
            claim(),
            Some("CSISnapshot with moved data"),
        ),
        (
            nothing(),
            with("velero.io/volume-snapshot-name"),
            Some("CSISnapshot"),
        ),
        (
            nothing(),
            with("velero.io/data-upload-name"),
            Some("CSISnapshot with moved data"),
        ),
    ] {
        for wants in [true, false] {
            let server = ApiServer::new();
            let request = request(json!({"restorePVs": wants})).volumes(told.clone());
            let items = archive(&[namespace("shop"), volume("Retain"), claim.clone()]);
            let result = restore_bytes(&server, items, &request).await;
            let errors = errors(&result);
            let expected = method.filter(|_| wants);
            assert_eq!(
                errors.len(),
                usize::from(expected.is_some()),
                "{told:?} {errors:?}"
            );
            if let Some(method) = expected {
                let end = format!("by {method}, which this version cannot restore");
                assert!(
                    errors[0].starts_with("shop: resource: /persistentvolumeclaims name: /data")
                        && errors[0].contains(&end),
                    "{errors:?}"
                );
                assert_eq!(result.phase(), RestorePhase::PartiallyFailed);
            }
            // Without data wanted a native volume comes as it was.
            let kept = method.is_none() || (!wants && method == Some("NativeSnapshot"));
            let live = server.store().get("v1", "PersistentVolume", None, "pv1");
            let names = live_claim(&server, "shop")["spec"]
                .get("volumeName")
                .is_some();
            assert_eq!((live.is_some(), names), (kept, kept), "{method:?} {wants}");
        }
    }
}

#[tokio::test]
async fn a_volume_without_a_claim_is_not_kept_out_by_what_names_claims() {
    let server = ApiServer::new();
    let mut free = volume("Retain");
    free["spec"].as_object_mut().unwrap().remove("claimRef");
    let told = BackupVolumes {
        csi_snapshots: vec![
            json!({"metadata": {"namespace": "", "name": "s"}, "spec": {"source": {"persistentVolumeClaimName": ""}}}),
        ],
        ..BackupVolumes::default()
    };
    let request = request(json!({})).volumes(told);
    assert_clean(&restore_bytes(&server, archive(&[free]), &request).await);
    let live = server.store().get("v1", "PersistentVolume", None, "pv1");
    assert!(live.is_some());
}

#[tokio::test]
async fn an_action_that_says_where_the_data_comes_from_is_trusted() {
    let server = ApiServer::new();
    let claims = ResourceSelector::resources(["persistentvolumeclaims"]);
    let bring = RestoreMap::new("example.com/bring", claims, |mut item| {
        item.remove("/spec", "volumeName");
        let source =
            json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
        item.object_mut("spec").insert("dataSource".into(), source);
        Ok(item)
    });
    let info = VolumeInfo {
        pv_name: "pv1".into(),
        backup_method: "CSISnapshot".into(),
        ..VolumeInfo::default()
    };
    let engine = engine(&server).await.action(bring);
    let request = request(json!({})).volume_infos([info]);
    let items = archive(&[namespace("shop"), volume("Delete"), claim()]);
    assert_clean(&run(&engine, items, &request).await);
    assert_eq!(
        live_claim(&server, "shop")["spec"]["dataSource"]["name"],
        "s"
    );
}

#[tokio::test]
async fn files_that_very_old_backups_name_on_the_pod_are_missed_too() {
    for wants in [true, false] {
        let server = ApiServer::new();
        let mut pod = pod();
        pod["metadata"]["annotations"] = json!({"snapshot.velero.io/cache": "abc"});
        pod["spec"]["volumes"] = json!([{"name": "cache", "emptyDir": {}}]);
        let spec = json!({"restorePVs": wants});
        let errors = errors(&restore(&server, &[namespace("shop"), pod], spec).await);
        assert_eq!(errors.len(), usize::from(wants), "{errors:?}");
        assert!(
            errors
                .iter()
                .all(|e| e.contains("volumes cache of the pod") && e.contains("restic"))
        );
    }
}

#[tokio::test]
async fn snapshots_of_drivers_are_left_out_without_a_word_where_no_data_is_wanted() {
    for (wants, expected) in [(true, 1), (false, 0)] {
        let server = ApiServer::new();
        let snapshot = object("snapshot.storage.k8s.io/v1", "VolumeSnapshot", "shop", "s");
        let spec = json!({"restorePVs": wants});
        let result = restore(
            &server,
            &[namespace("shop"), config_map("shop", "a"), snapshot],
            spec,
        )
        .await;
        let warnings = warnings(&result);
        assert_eq!(
            (errors(&result).len(), warnings.len()),
            (0, expected),
            "{warnings:?}"
        );
    }
}
