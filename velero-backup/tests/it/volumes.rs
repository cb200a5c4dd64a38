//! The data of volumes through whole runs, by what is plugged in.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use velero_backup::artifacts;
use velero_core::action::ActionError;
use velero_core::api::{Backup, PodVolumeBackup};
use velero_core::volume::{PodVolume, PodVolumeBackups};
use velero_testkit::ExecResult;

use crate::bench::{Bench, both, hooked};
use crate::plugged::{Calls, Copier, Disks, policies, replace, run_by, running, spec};
use crate::support::*;

fn document(done: &Done, suffix: &str) -> Value {
    use std::io::Read as _;
    let all = artifacts::artifacts(&done.result);
    let artifact = all.iter().find(|a| a.suffix == suffix).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(artifact.bytes.as_slice())
        .read_to_string(&mut text)
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn snapshots_and_copies_by_what_is_plugged_in() {
    let server = world();
    running(&server);
    let calls = Calls::default();
    let engine = engine(&server)
        .await
        .volume_snapshotter(Disks(calls.clone()))
        .pod_volumes(Copier(calls.clone()));
    // The volumes of one namespace are copied, those of the other snapshotted; hostPath volumes cannot be copied.
    let mut pv = volume("pv-shop", "shop", "data", json!({}));
    pv["spec"].as_object_mut().unwrap().remove("hostPath");
    pv["spec"]["csi"] = json!({"driver": "d", "volumeHandle": "h"});
    replace(&server, pv);
    let text = "volumePolicies: [{conditions: {csi: {}}, action: {type: fs-backup}}]";
    let mut given = backup(spec(json!({"snapshotVolumes": true})));
    given.metadata.annotations =
        Some([("velero.io/pod-volume-timeout".to_owned(), "90s".to_owned())].into());
    let request = engine.request_with(&given, policies(text)).await.unwrap();
    let kept = Kept::default();
    let result = engine.run(&request, kept.clone(), run()).await.unwrap();
    let done = open(result, kept.bytes());
    assert_eq!(
        *calls.0.lock().unwrap(),
        [
            "snapshot vol-pv-bank of b1",
            "copy shop Some(\"data\")",
            "snapshot vol-pv-free of b1",
            "wait for 1 at most 90 s"
        ]
    );
    // A snapshot that failed costs no manifest.
    assert_eq!(done.result.errors(), 1, "{:?}", done.lines());
    assert!(done.lines()[0].contains("quota") && done.has("persistentvolumes/cluster/pv-free"));
    let methods: Vec<(String, String)> = done
        .result
        .volume_infos
        .iter()
        .map(|info| (info.pv_name.clone(), info.backup_method.clone()))
        .collect();
    assert_eq!(
        methods,
        [
            ("pv-bank", "NativeSnapshot"),
            ("pv-free", "NativeSnapshot"),
            ("pv-shop", "PodVolumeBackup")
        ]
        .map(|(name, method)| (name.to_owned(), method.to_owned()))
    );
    let snapshots = document(&done, "-volumesnapshots.json.gz");
    assert_eq!(
        snapshots[0]["status"],
        json!({"providerSnapshotID": "snap-vol-pv-bank", "phase": "Completed"})
    );
    assert_eq!(snapshots[1]["status"], json!({"phase": "Failed"}));
    assert_eq!(
        document(&done, "-podvolumebackups.json.gz")[0]["spec"]["volume"],
        "data"
    );
    let status = artifacts::final_status(&given, &done.result);
    assert_eq!(
        (
            status.volume_snapshots_attempted,
            status.volume_snapshots_completed
        ),
        (2, 1)
    );
}

#[tokio::test]
async fn a_timeout_that_is_none_is_an_error_and_the_default_counts() {
    let server = world();
    running(&server);
    let calls = Calls::default();
    let engine = engine(&server).await.pod_volumes(Copier(calls.clone()));
    let mut given =
        backup(json!({"includedNamespaces": ["shop"], "defaultVolumesToFsBackup": true}));
    given.metadata.annotations =
        Some([("velero.io/pod-volume-timeout".to_owned(), "soon".to_owned())].into());
    let mut pv = volume("pv-shop", "shop", "data", json!({}));
    pv["spec"].as_object_mut().unwrap().remove("hostPath");
    pv["spec"]["csi"] = json!({"driver": "d", "volumeHandle": "h"});
    replace(&server, pv);
    let request = engine.request(&given).await.unwrap();
    let result = engine.run(&request, Kept::default(), run()).await.unwrap();
    assert_eq!(result.errors(), 1, "{:?}", result.records);
    assert_eq!(
        calls.0.lock().unwrap().last().unwrap(),
        "wait for 1 at most 14400 s"
    );
}

#[tokio::test]
async fn what_hooks_freeze_stays_frozen_until_its_files_are_copied() {
    let bench = Bench::new(|_| ExecResult::default());
    for name in ["a", "b"] {
        let mut pod = hooked(name, &[name], both());
        pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": name, "mountPath": "/d"}]);
        seed(&bench.server, pod);
        let pv = format!("pv-{name}");
        seed(&bench.server, claim("shop", name, &pv, json!({})));
        let mut volume = volume(&pv, "shop", name, json!({}));
        volume["spec"].as_object_mut().unwrap().remove("hostPath");
        volume["spec"]["csi"] = json!({"driver": "d", "volumeHandle": "h"});
        seed(&bench.server, volume);
    }
    let engine = engine(&bench.server)
        .await
        .pod_volumes(Copier(Calls(Arc::clone(&bench.log))));
    let spec = json!({"includedNamespaces": ["shop"], "defaultVolumesToFsBackup": true});
    let done = run_with(&engine, spec).await;
    assert_eq!(done.lines(), Vec::<String>::new());
    let steps = |name: &str| {
        [
            format!("{name} c freeze"),
            format!("copy shop Some({name:?})"),
            "wait for 1 at most 14400 s".to_owned(),
            format!("{name} c thaw"),
        ]
    };
    assert_eq!(bench.ran(), [steps("a"), steps("b")].concat());
    assert_eq!(done.result.pod_volume_backups.len(), 2);
}

#[tokio::test]
async fn claims_outside_of_the_backup_count_for_the_files_of_their_pods() {
    let server = world();
    running(&server);
    for (ns, class) in [("bank", "fast"), ("shop", "slow")] {
        let mut hidden = claim(
            ns,
            "data",
            &format!("pv-{ns}"),
            json!({"velero.io/exclude-from-backup": "true"}),
        );
        hidden["metadata"]["uid"] = json!(format!("uid-{ns}"));
        replace(&server, hidden);
        let mut pv = volume(&format!("pv-{ns}"), ns, "data", json!({}));
        pv["spec"].as_object_mut().unwrap().remove("hostPath");
        pv["spec"]["csi"] = json!({"driver": "d", "volumeHandle": "h"});
        pv["spec"]["storageClassName"] = json!(class);
        replace(&server, pv);
    }
    let calls = Calls::default();
    let engine = engine(&server).await.pod_volumes(Copier(calls.clone()));
    let text = "volumePolicies: [{conditions: {storageClass: [slow]}, action: {type: fs-backup}}]";
    let done = run_by(&engine, json!({}), text).await;
    assert_eq!(calls.0.lock().unwrap()[0], "copy shop Some(\"data\")");
    assert_eq!(done.result.pod_volume_backups.len(), 1);
    assert!(!done.has("persistentvolumeclaims/namespaces/shop/data"));
}

#[tokio::test]
async fn who_needs_a_volume_without_its_snapshot_is_not_whole() {
    let server = world();
    running(&server);
    replace(&server, claim("bank", "data", "pv-free", json!({})));
    replace(&server, volume("pv-free", "bank", "data", json!({})));
    let engine = engine(&server)
        .await
        .volume_snapshotter(Disks(Calls::default()));
    for namespaces in [json!(["bank"]), json!(["*"])] {
        let done = run_with(&engine, json!({"includedNamespaces": namespaces})).await;
        let lines = done.lines();
        assert_eq!(
            (done.result.errors(), done.result.warnings()),
            (1, 2),
            "{lines:?}"
        );
        assert!(lines[0].contains("name: /pv-free error: /the snapshot of volume \"vol-pv-free\""));
        for (resource, name) in [("persistentvolumeclaims", "data"), ("pods", "web")] {
            let line = format!(
                "resource: /{resource} name: /{name} message: /it is in the backup, but not whole: there were errors at persistentvolumes pv-free"
            );
            assert!(lines.contains(&line), "{line} is not in {lines:#?}");
        }
        assert!(
            done.has("pods/namespaces/bank/web") && done.has("persistentvolumes/cluster/pv-free")
        );
    }
}

#[tokio::test]
async fn rules_about_claims_hold_for_volumes_whose_claims_are_left_out() {
    let server = world();
    running(&server);
    let labels = json!({"keep": "out", "velero.io/exclude-from-backup": "true"});
    replace(&server, claim("bank", "data", "pv-bank", labels));
    let calls = Calls::default();
    let engine = engine(&server)
        .await
        .volume_snapshotter(Disks(calls.clone()));
    let text = "volumePolicies: [{conditions: {pvcLabels: {keep: out}}, action: {type: skip}}]";
    server.calls().reset();
    let done = run_by(&engine, json!({}), text).await;
    assert!(done.has("persistentvolumes/cluster/pv-bank"));
    assert!(!done.has("persistentvolumeclaims/namespaces/bank/data"));
    let taken = calls.0.lock().unwrap().join(", ");
    assert!(
        taken.contains("vol-pv-shop") && !taken.contains("vol-pv-bank"),
        "{taken}"
    );
    // The claim that no list holds is read for its pod, which asks for it, and for its volume.
    assert_eq!(server.calls().count("get", "persistentvolumeclaims"), 2);
}

/// A copier whose copies cannot be looked at.
struct Lost(Copier);

#[async_trait::async_trait]
impl PodVolumeBackups for Lost {
    async fn create(
        &self,
        backup: &Backup,
        volume: PodVolume<'_>,
    ) -> Result<PodVolumeBackup, ActionError> {
        self.0.create(backup, volume).await
    }

    async fn wait(
        &self,
        _: &[PodVolumeBackup],
        _: Duration,
    ) -> Result<Vec<PodVolumeBackup>, ActionError> {
        Err(ActionError::new("nobody knows"))
    }
}

#[tokio::test]
async fn hooks_thaw_though_copies_cannot_be_waited_for() {
    let bench = Bench::new(|_| ExecResult::default());
    let mut pod = hooked("a", &["a"], both());
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "a", "mountPath": "/d"}]);
    seed(&bench.server, pod);
    seed(&bench.server, claim("shop", "a", "pv-a", json!({})));
    let mut disk = volume("pv-a", "shop", "a", json!({}));
    disk["spec"].as_object_mut().unwrap().remove("hostPath");
    disk["spec"]["csi"] = json!({"driver": "d", "volumeHandle": "h"});
    seed(&bench.server, disk);
    let copier = Lost(Copier(Calls(Arc::clone(&bench.log))));
    let engine = engine(&bench.server).await.pod_volumes(copier);
    let spec = json!({"includedNamespaces": ["shop"], "defaultVolumesToFsBackup": true});
    let done = run_with(&engine, spec).await;
    assert_eq!(
        bench.ran(),
        ["a c freeze", "copy shop Some(\"a\")", "a c thaw"]
    );
    assert!(
        done.lines()[0].contains("cannot be looked at: nobody knows"),
        "{:?}",
        done.lines()
    );
    assert_eq!(done.result.errors(), 2, "{:?}", done.lines());
    assert!(done.has("pods/namespaces/shop/a"));
}
