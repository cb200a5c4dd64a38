//! Resource policies and what is plugged in for volumes, through whole runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use velero_backup::{BackupEngine, artifacts};
use velero_core::ItemTree;
use velero_core::action::{
    ActionContext, ActionError, BackupItemAction, BackupOutcome, ResourceSelector,
};
use velero_core::api::{Backup, DataMovePhase, PodVolumeBackup};
use velero_core::policy::ResourcePolicies;
use velero_core::volume::{PodVolume, PodVolumeBackups, VolumeProperties, VolumeSnapshotter};
use velero_testkit::{ApiServer, ExecResult};

use crate::hooks::{Bench, both, hooked};
use crate::support::*;

fn policies(text: &str) -> Option<ResourcePolicies> {
    Some(ResourcePolicies::parse(&format!("version: v1\n{text}\n")).unwrap())
}

/// A spec that names a ConfigMap of policies.
fn spec(mut spec: Value) -> Value {
    spec["resourcePolicy"] = json!({"kind": "configmap", "name": "p"});
    spec
}

async fn run_by(engine: &BackupEngine, given: Value, text: &str) -> Done {
    let kept = Kept::default();
    let request = engine
        .request_with(&backup(spec(given)), policies(text))
        .await
        .unwrap();
    let result = engine.run(&request, kept.clone(), run()).await.unwrap();
    open(result, kept.bytes())
}

fn replace(server: &ApiServer, object: Value) {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (kind, namespace, name) = (
        text("/kind"),
        text("/metadata/namespace"),
        text("/metadata/name"),
    );
    let _ = server
        .store()
        .remove("v1", kind, Some(namespace).filter(|n| !n.is_empty()), name);
    seed(server, object);
}

/// Pods that run and mount what they have.
fn running(server: &ApiServer) {
    for ns in ["bank", "shop"] {
        let mut pod = pod(ns, "web", Some("data"), json!({}));
        pod["spec"]["nodeName"] = json!("n1");
        pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/d"}]);
        pod["status"] = json!({"phase": "Running"});
        replace(server, pod);
    }
}

#[tokio::test]
async fn lists_of_policies_narrow_those_of_the_spec() {
    let engine = engine(&world()).await;
    let kinds = ["configmaps", "pods", "serviceaccounts", "persistentvolumes"];
    for (given, lists, expected) in [
        (
            json!({}),
            "includedNamespaceScopedResources: [cm]",
            vec!["configmaps"],
        ),
        (
            json!({}),
            "excludedNamespaceScopedResources: [configmaps, po]",
            vec!["persistentvolumes", "serviceaccounts"],
        ),
        (
            json!({}),
            "excludedNamespaceScopedResources: [pods], excludedClusterScopedResources: [pv]",
            vec!["configmaps", "serviceaccounts"],
        ),
        (
            json!({"includedNamespaceScopedResources": ["cm"]}),
            "excludedNamespaceScopedResources: [configmaps]",
            vec!["configmaps"],
        ),
        (
            json!({"includedNamespaceScopedResources": ["*"]}),
            "excludedNamespaceScopedResources: [configmaps]",
            vec!["configmaps", "persistentvolumes", "pods", "serviceaccounts"],
        ),
        (
            json!({"excludedNamespaceScopedResources": ["cm"]}),
            "includedNamespaceScopedResources: [configmaps, pods]",
            vec!["pods"],
        ),
        (
            json!({"includedNamespaceScopedResources": ["cm"]}),
            "includedClusterScopedResources: [persistentvolumes]",
            vec!["configmaps", "persistentvolumes"],
        ),
    ] {
        let done = run_by(
            &engine,
            given.clone(),
            &format!("includeExcludePolicy: {{{lists}}}"),
        )
        .await;
        let mut found: Vec<&str> = kinds
            .into_iter()
            .filter(|kind| !done.of(&[kind]).is_empty())
            .collect();
        let mut expected = expected;
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{given} {lists}");
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_before_the_run() {
    let engine = engine(&world()).await;
    let lists = "includeExcludePolicy: {excludedNamespaceScopedResources: [cm]}";
    for (given, text, fault) in [
        (
            json!({"includedResources": ["pods"]}),
            Some(lists),
            "includeExcludePolicy, which cannot be used together with includedResources",
        ),
        (
            json!({"includeClusterResources": true}),
            Some(lists),
            "includeExcludePolicy, which cannot",
        ),
        (
            json!({}),
            None,
            "the policies of ConfigMap \"p\" were not read",
        ),
        (
            json!({}),
            Some("volumePolicies: [{action: {type: snapshot}}]"),
            "volumePolicies[0].action.type: \"snapshot\"",
        ),
        (
            json!({}),
            Some("volumePolicies: [{action: {type: fs-backup}}]"),
            "volumePolicies[0].action.type: \"fs-backup\"",
        ),
        (
            json!({"snapshotVolumes": true}),
            Some("volumePolicies: []"),
            "spec.snapshotVolumes: volume snapshots",
        ),
    ] {
        let policies = text.and_then(policies);
        let error = engine
            .request_with(&backup(spec(given)), policies)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(fault), "{error}");
    }
    // Another kind names nothing, as in the peer; but that is told.
    let other =
        json!({"resourcePolicy": {"kind": "Secret", "name": "p"}, "includedNamespaces": ["shop"]});
    let done = run_with(&engine, other).await;
    assert_eq!((done.result.errors(), done.result.warnings()), (0, 1));
    assert!(
        done.lines()[0].contains("kind \"Secret\" is not read"),
        "{:?}",
        done.lines()
    );
}

#[tokio::test]
async fn skipped_volumes_say_so_and_cost_no_calls() {
    let server = world();
    running(&server);
    let engine = engine(&server).await;
    let plain = {
        server.calls().reset();
        run_with(&engine, json!({})).await;
        server.calls().total()
    };
    server.calls().reset();
    let text = "volumePolicies: [{conditions: {pvcPhase: [Bound], storageClass: [none]}, action: {type: skip}}, {conditions: {volumeTypes: [hostPath], pvcPhase: [Bound]}, action: {type: skip}}]";
    let done = run_by(&engine, json!({}), text).await;
    assert_eq!(server.calls().total(), plain);
    let found: Vec<(String, String)> = done
        .result
        .volume_infos
        .iter()
        .map(|info| (info.pv_name.clone(), info.skipped_reason.clone()))
        .collect();
    let skipped = "any: skipped due to resource policy ;podvolume: opted out due to annotation in pod web;\
                   volumeSnapshot: not satisfy the criteria for VolumePolicy or the legacy snapshot way;";
    let free = "volumeSnapshot: no applicable volumesnapshotter found;";
    assert_eq!(
        found,
        [
            ("pv-bank", skipped),
            ("pv-free", free),
            ("pv-shop", skipped)
        ]
        .map(|(name, reason)| (name.to_owned(), reason.to_owned()))
    );
    assert!(done.has("persistentvolumes/cluster/pv-shop") && done.result.records.is_empty());
}

/// Everything that is called, in order.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<String>>>);

impl Calls {
    fn note(&self, call: String) {
        self.0.lock().unwrap().push(call);
    }
}

struct Disks(Calls);

#[async_trait::async_trait]
impl VolumeSnapshotter for Disks {
    fn location(&self) -> &str {
        "disks"
    }

    async fn volume_id(&self, volume: &ItemTree) -> Result<Option<String>, ActionError> {
        Ok(Some(format!("vol-{}", volume.name())))
    }

    async fn properties(&self, _: &str, _: &str) -> Result<VolumeProperties, ActionError> {
        Ok(VolumeProperties::default())
    }

    async fn create_snapshot(
        &self,
        id: &str,
        _: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<String, ActionError> {
        self.0
            .note(format!("snapshot {id} of {}", tags["velero.io/backup"]));
        if id == "vol-pv-free" {
            return Err(ActionError::new("quota"));
        }
        Ok(format!("snap-{id}"))
    }
}

struct Copier(Calls);

#[async_trait::async_trait]
impl PodVolumeBackups for Copier {
    async fn create(
        &self,
        _: &Backup,
        volume: PodVolume<'_>,
    ) -> Result<PodVolumeBackup, ActionError> {
        let mut copy = PodVolumeBackup::default();
        copy.spec.pod.namespace = Some(volume.pod.namespace().to_owned());
        copy.spec.pod.name = Some(volume.pod.name().to_owned());
        copy.spec.volume = volume.volume.to_owned();
        self.0.note(format!(
            "copy {} {:?}",
            volume.pod.namespace(),
            volume.claim.map(|c| c.0)
        ));
        Ok(copy)
    }

    async fn wait(
        &self,
        created: &[PodVolumeBackup],
        timeout: Duration,
    ) -> Result<Vec<PodVolumeBackup>, ActionError> {
        self.0.note(format!(
            "wait for {} at most {} s",
            created.len(),
            timeout.as_secs()
        ));
        let mut ended = created.to_vec();
        for copy in &mut ended {
            copy.status.phase = Some(DataMovePhase::Completed);
        }
        Ok(ended)
    }
}

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

/// An action that calls itself the one for CSI snapshots, and notes what it sees.
struct Csi(Calls);

#[async_trait::async_trait]
impl BackupItemAction for Csi {
    fn name(&self) -> &str {
        "velero.io/csi-pvc-backupper"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["persistentvolumeclaims"])
    }

    async fn execute(
        &self,
        mut item: ItemTree,
        _: &ActionContext<'_, Backup>,
    ) -> Result<BackupOutcome, ActionError> {
        self.0.note(format!("csi {}", item.namespace()));
        item.set_annotation("backup.velero.io/skipped-no-csi-pv", "true");
        Ok(BackupOutcome::changed(item))
    }
}

#[tokio::test]
async fn rules_keep_the_csi_action_from_claims() {
    let server = world();
    running(&server);
    let mut labelled = claim("bank", "data", "pv-bank", json!({"keep": "out"}));
    labelled["metadata"]["uid"] = json!("u1");
    replace(&server, labelled);
    let calls = Calls::default();
    let engine = engine(&server).await.action(Csi(calls.clone()));
    server.calls().reset();
    let text = "volumePolicies: [{conditions: {pvcLabels: {keep: out}}, action: {type: skip}}]";
    let done = run_by(&engine, json!({}), text).await;
    assert_eq!(*calls.0.lock().unwrap(), ["csi shop"]);
    assert_eq!(server.calls().count("get", "persistentvolumes"), 0);
    let reasons: Vec<&str> = done
        .result
        .volume_infos
        .iter()
        .map(|info| info.skipped_reason.split(';').next().unwrap())
        .collect();
    assert_eq!(
        reasons,
        [
            "any: skipped due to resource policy ",
            "volumeSnapshot: no applicable volumesnapshotter found",
            "csiSnapshot: skipped b/c it's not a CSI volume"
        ]
    );
    // The annotation was for the engine alone.
    let stored = &done.items["persistentvolumeclaims/namespaces/shop/data"];
    assert_eq!(stored.pointer("/metadata/annotations"), None, "{stored}");
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
