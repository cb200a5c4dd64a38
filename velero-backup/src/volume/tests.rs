use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::{Value, json};
use velero_core::api::{DataMovePhase, ObjectMeta};
use velero_core::result::Severity;
use velero_core::volume::{PodVolume, VolumeProperties};
use velero_core::{ApiResource, ItemTree, RawItem};

use super::*;

/// A location that knows the volumes whose names begin with its own.
#[derive(Default)]
struct Disks {
    name: &'static str,
    calls: Mutex<Vec<String>>,
    /// Call that fails: `id`, `look`, `take`, `panic`, `hang`.
    broken: &'static str,
}

impl Disks {
    fn called(&self, text: String) {
        self.calls.lock().unwrap().push(text);
    }

    fn may_fail(&self, call: &str) -> Result<(), ActionError> {
        if self.broken == call {
            return Err(ActionError::new(format!("{call} is broken")));
        }
        Ok(())
    }
}

#[async_trait]
impl VolumeSnapshotter for Disks {
    fn location(&self) -> &str {
        self.name
    }

    async fn volume_id(&self, volume: &ItemTree) -> Result<Option<String>, ActionError> {
        self.may_fail("id")?;
        let name = volume.name();
        Ok(name.starts_with(self.name).then(|| format!("vol-{name}")))
    }

    async fn properties(&self, id: &str, zone: &str) -> Result<VolumeProperties, ActionError> {
        self.called(format!("look {id} {zone}"));
        self.may_fail("look")?;
        Ok(VolumeProperties {
            volume_type: "ssd".into(),
            iops: (zone == "z1").then_some(100),
        })
    }

    async fn create_snapshot(
        &self,
        id: &str,
        zone: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<String, ActionError> {
        self.called(format!("take {id} {zone} {tags:?}"));
        match self.broken {
            "panic" => panic!("no disk"),
            "hang" => std::future::pending().await,
            _ => self.may_fail("take")?,
        }
        Ok(format!("snap-{id}"))
    }
}

/// A copier whose copies end as their volumes are called.
#[derive(Default)]
struct Copier {
    created: Mutex<Vec<String>>,
    /// Pods whose copies cannot be made.
    broken: &'static str,
}

#[async_trait]
impl PodVolumeBackups for Copier {
    async fn create(
        &self,
        backup: &Backup,
        volume: PodVolume<'_>,
    ) -> Result<PodVolumeBackup, ActionError> {
        let pod = volume.pod;
        if pod.name() == self.broken {
            return Err(ActionError::new("no node-agent runs on the node"));
        }
        let claim = volume
            .claim
            .map_or(String::new(), |(name, uid)| format!(" {name} {uid}"));
        let mut created = self.created.lock().unwrap();
        created.push(format!("{}/{}{claim}", pod.name(), volume.volume));
        let mut resource = PodVolumeBackup {
            metadata: ObjectMeta {
                name: Some(format!(
                    "{}-{}",
                    backup.metadata.name.clone().unwrap(),
                    created.len()
                )),
                ..ObjectMeta::default()
            },
            ..PodVolumeBackup::default()
        };
        resource.spec.pod.namespace = Some(pod.namespace().to_owned());
        resource.spec.pod.name = Some(pod.name().to_owned());
        resource.spec.volume = volume.volume.to_owned();
        resource.spec.uploader_type = "kopia".into();
        Ok(resource)
    }

    async fn wait(
        &self,
        created: &[PodVolumeBackup],
        _: Duration,
    ) -> Result<Vec<PodVolumeBackup>, ActionError> {
        let mut ended = Vec::new();
        for copy in created {
            let mut copy = copy.clone();
            copy.status.phase = Some(match copy.spec.volume.as_str() {
                "bad" => DataMovePhase::Failed,
                "stopped" => DataMovePhase::Canceled,
                "slow" => continue,
                "unreadable" => return Err(ActionError::new("the api server is gone")),
                _ => DataMovePhase::Completed,
            });
            copy.status.message = "because".into();
            copy.status.snapshot_id = "s1".into();
            copy.status.progress.total_bytes = 7;
            ended.push(copy);
        }
        Ok(ended)
    }
}

/// A run of volumes, told in short.
#[derive(Default)]
struct World {
    spec: Value,
    policies: Option<&'static str>,
    disks: Vec<Arc<Disks>>,
    copier: Option<Arc<Copier>>,
    csi: bool,
}

impl World {
    fn volumes(&self) -> Volumes {
        let spec = if self.spec.is_null() {
            json!({})
        } else {
            self.spec.clone()
        };
        let backup: Backup = serde_json::from_value(
            json!({"metadata": {"name": "b1", "uid": "u1", "labels": {"team": "x"}}, "spec": spec}),
        )
        .unwrap();
        let policies = self.policies.map(|rules| {
            ResourcePolicies::parse(&format!("version: v1\nvolumePolicies: [{rules}]\n")).unwrap()
        });
        let plugs = VolumePlugs {
            snapshotters: self.disks.iter().map(|d| Arc::clone(d) as _).collect(),
            pod_volumes: self.copier.clone().map(|copier| copier as _),
        };
        let settings = VolumeSettings {
            plugs,
            claims_included: true,
            csi: self.csi,
            copies_until: Some((
                Timestamp::from_second(61).unwrap(),
                Arc::new(|| Timestamp::from_second(60).unwrap()),
            )),
            call_timeout: Duration::from_millis(100),
            concurrency: 4,
        };
        Volumes::new(Arc::new(backup), policies.as_ref(), settings)
    }

    /// What came of items that are stored together.
    async fn run(&self, items: Vec<Value>) -> (Vec<Record>, VolumeOutcome) {
        self.run_groups(vec![items]).await
    }

    async fn run_groups(&self, groups: Vec<Vec<Value>>) -> (Vec<Record>, VolumeOutcome) {
        let mut volumes = self.volumes();
        let mut records = Vec::new();
        for items in groups {
            let items: Vec<Prepared> = items.iter().map(prepared).collect();
            records.extend(volumes.protect(&items.iter().collect::<Vec<_>>()).await);
        }
        records.extend(volumes.wait(0).await);
        (records, volumes.finish())
    }

    /// The reasons why volumes were left out.
    async fn reasons(&self, items: Vec<Value>) -> Vec<String> {
        let (_, outcome) = self.run(items).await;
        let skipped = outcome.infos.into_iter().filter(|info| info.skipped);
        skipped
            .map(|info| format!("{}: {}", info.pv_name, info.skipped_reason))
            .collect()
    }
}

fn prepared(value: &Value) -> Prepared {
    let plural = match value["kind"].as_str().unwrap() {
        "Pod" => "pods",
        "PersistentVolumeClaim" => "persistentvolumeclaims",
        _ => "persistentvolumes",
    };
    let resource = ApiResource {
        version: "v1".into(),
        plural: plural.into(),
        ..ApiResource::default()
    };
    let item = RawItem::parse(value.to_string().into()).unwrap();
    Prepared::plain(Arc::new(resource), item)
}

/// A running pod with volume `d` on a claim, opted in or not.
fn pod(name: &str, opt_in: &str, claim: &str) -> Value {
    pod_with(
        name,
        opt_in,
        json!([{"name": "d", "persistentVolumeClaim": {"claimName": claim}}]),
    )
}

fn pod_with(name: &str, opt_in: &str, volumes: Value) -> Value {
    let mounts: Vec<Value> = volumes
        .as_array()
        .unwrap()
        .iter()
        .map(|volume| json!({"name": volume["name"], "mountPath": "/x"}))
        .collect();
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "annotations": {"backup.velero.io/backup-volumes": opt_in}},
        "spec": {"nodeName": "n1", "volumes": volumes, "containers": [{"name": "c", "volumeMounts": mounts}]},
        "status": {"phase": "Running"}})
}

fn claim(name: &str, volume: &str) -> Value {
    let phase = if volume.is_empty() {
        "Pending"
    } else {
        "Bound"
    };
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "shop", "uid": "c1", "labels": {"tier": "db"}},
        "spec": {"volumeName": volume}, "status": {"phase": phase}})
}

fn volume(name: &str, claim: &str, source: Value) -> Value {
    let mut spec = json!({"capacity": {"storage": "10Gi"}, "storageClassName": "gp2", "persistentVolumeReclaimPolicy": "Delete"});
    if !claim.is_empty() {
        spec["claimRef"] = json!({"namespace": "shop", "name": claim});
    }
    spec.as_object_mut()
        .unwrap()
        .extend(source.as_object().unwrap().clone());
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": "z1"}}, "spec": spec})
}

fn disk() -> Value {
    json!({"awsElasticBlockStore": {"volumeID": "v"}})
}

fn disks(name: &'static str) -> Arc<Disks> {
    Arc::new(Disks {
        name,
        ..Disks::default()
    })
}

fn messages(records: &[Record], severity: Severity) -> Vec<String> {
    let wanted = records.iter().filter(|record| record.severity == severity);
    wanted.map(Record::line).collect()
}

const NOT: &str =
    "volumeSnapshot: not satisfy the criteria for VolumePolicy or the legacy snapshot way;";
const NONE: &str = "volumeSnapshot: no applicable volumesnapshotter found;";
const OUT: &str = "podvolume: opted out due to annotation in pod web;";
const SKIPPED: &str = "any: skipped due to resource policy ;";

#[tokio::test]
async fn why_volumes_are_left_out() {
    let items = || {
        vec![
            pod("web", "", "data"),
            claim("data", "pv"),
            volume("pv", "data", disk()),
        ]
    };
    let off = json!({"snapshotVolumes": false});
    for (spec, policies, items, expected) in [
        (json!({}), None, items(), format!("{OUT}{NONE}")),
        (off.clone(), None, items(), format!("{OUT}{NOT}")),
        (
            json!({}),
            None,
            vec![volume("pv", "", disk())],
            NONE.to_owned(),
        ),
        (
            json!({}),
            None,
            vec![volume("pv", "gone", disk())],
            NONE.to_owned(),
        ),
        (
            off.clone(),
            None,
            vec![volume("pv", "", disk())],
            NOT.to_owned(),
        ),
        // Rules of policies.
        (
            json!({}),
            Some("{action: {type: skip}}"),
            items(),
            format!("{SKIPPED}{OUT}{NOT}"),
        ),
        (
            json!({}),
            Some("{conditions: {storageClass: [gp2]}, action: {type: skip}}"),
            items(),
            format!("{SKIPPED}{OUT}{NOT}"),
        ),
        (
            json!({}),
            Some("{conditions: {storageClass: [x]}, action: {type: skip}}"),
            items(),
            format!("{OUT}{NONE}"),
        ),
        (
            json!({}),
            Some("{action: {type: custom}}"),
            items(),
            format!("{OUT}{NOT}"),
        ),
        (
            off.clone(),
            Some("{action: {type: snapshot}}"),
            items(),
            format!("{OUT}{NONE}"),
        ),
        (
            json!({}),
            Some("{conditions: {pvcLabels: {tier: db}}, action: {type: skip}}"),
            items(),
            format!("{SKIPPED}{OUT}{NOT}"),
        ),
        (
            json!({}),
            Some("{conditions: {pvcPhase: [Bound]}, action: {type: skip}}"),
            items(),
            format!("{SKIPPED}{OUT}{NOT}"),
        ),
        (
            json!({}),
            Some("{conditions: {pvcPhase: [Bound]}, action: {type: skip}}"),
            vec![volume("pv", "", disk())],
            NONE.to_owned(),
        ),
        (
            json!({}),
            Some("{action: {type: skip}}"),
            vec![volume("pv", "", disk())],
            NOT.to_owned(),
        ),
    ] {
        let world = World {
            spec: spec.clone(),
            policies,
            ..World::default()
        };
        assert_eq!(
            world.reasons(items).await,
            [format!("pv: {expected}")],
            "{spec} {policies:?}"
        );
    }
}

/// The entry of the peer for such a volume, field by field.
#[tokio::test]
async fn entries_of_volumes_that_are_left_out() {
    let mut pv = volume("pvc-1", "data", json!({"hostPath": {"path": "/"}}));
    pv["metadata"] = json!({"name": "pvc-1"});
    let (records, outcome) = World::default()
        .run(vec![pod("web", "", "data"), pv, claim("data", "pvc-1")])
        .await;
    assert!(records.is_empty(), "{records:?}");
    assert_eq!(
        serde_json::to_string(&outcome.infos).unwrap(),
        r#"[{"pvcName":"data","pvcNamespace":"shop","pvName":"pvc-1","snapshotDataMoved":false,"preserveLocalSnapshot":false,"skipped":true,"skippedReason":"podvolume: opted out due to annotation in pod web;volumeSnapshot: no applicable volumesnapshotter found;","pvInfo":{"reclaimPolicy":"Delete","labels":null}}]"#
    );
}

#[tokio::test]
async fn native_snapshots() {
    let aws = disks("aws");
    let gcp = disks("gcp");
    let world = World {
        disks: vec![Arc::clone(&aws), gcp],
        ..World::default()
    };
    let mut plain = volume("gcp-1", "", disk());
    plain["metadata"]["labels"] = json!({});
    let (records, outcome) = world
        .run(vec![
            volume("aws-1", "data", disk()),
            plain,
            volume("nfs-1", "", disk()),
        ])
        .await;
    assert!(records.is_empty(), "{records:?}");
    assert_eq!(
        *aws.calls.lock().unwrap(),
        [
            "look vol-aws-1 z1",
            r#"take vol-aws-1 z1 {"team": "x", "velero.io/backup": "b1", "velero.io/pv": "aws-1"}"#
        ]
    );
    assert_eq!(
        serde_json::to_value(&outcome.snapshots).unwrap(),
        json!([
            {"spec": {"backupName": "b1", "backupUID": "u1", "location": "aws", "persistentVolumeName": "aws-1", "providerVolumeID": "vol-aws-1",
                "volumeType": "ssd", "volumeAZ": "z1", "volumeIOPS": 100}, "status": {"providerSnapshotID": "snap-vol-aws-1", "phase": "Completed"}},
            {"spec": {"backupName": "b1", "backupUID": "u1", "location": "gcp", "persistentVolumeName": "gcp-1", "providerVolumeID": "vol-gcp-1",
                "volumeType": "ssd"}, "status": {"providerSnapshotID": "snap-vol-gcp-1", "phase": "Completed"}},
        ])
    );
    let infos = serde_json::to_value(&outcome.infos).unwrap();
    assert_eq!(infos[0]["skippedReason"], NONE);
    assert_eq!(
        infos[1],
        json!({"pvcName": "data", "pvcNamespace": "shop", "pvName": "aws-1", "backupMethod": "NativeSnapshot", "snapshotDataMoved": false,
            "preserveLocalSnapshot": false, "skipped": false, "result": "succeeded",
            "nativeSnapshotInfo": {"snapshotHandle": "snap-vol-aws-1", "volumeType": "ssd", "volumeAZ": "z1", "iops": "100", "Phase": "Completed"},
            "pvInfo": {"reclaimPolicy": "Delete", "labels": {"topology.kubernetes.io/zone": "z1"}}})
    );
    assert_eq!(infos[2]["nativeSnapshotInfo"]["iops"], "0");
}

/// What is broken, the records, the phases of the snapshots and why the volume was left out.
#[tokio::test]
async fn snapshots_that_fail() {
    for (broken, record, phases, left_out) in [
        (
            "id",
            "location \"aws\" cannot tell whether the volume is one of its own: id is broken",
            vec![],
            NONE,
        ),
        (
            "look",
            "no snapshot: volume \"vol-aws-1\" cannot be looked at in location \"aws\": look is broken",
            vec![],
            "volumeSnapshot: no snapshot: volume",
        ),
        (
            "take",
            "the snapshot of volume \"vol-aws-1\" in location \"aws\" failed: take is broken",
            vec!["Failed"],
            "",
        ),
        ("panic", "failed: it panicked: no disk", vec!["Failed"], ""),
        ("hang", "failed: no answer within 0.1 s", vec!["Failed"], ""),
    ] {
        let disks = Arc::new(Disks {
            name: "aws",
            broken,
            ..Disks::default()
        });
        let world = World {
            disks: vec![disks],
            ..World::default()
        };
        let (records, outcome) = world.run(vec![volume("aws-1", "", disk())]).await;
        let errors = messages(&records, Severity::Error);
        assert!(
            errors.len() == 1 && errors[0].contains(record) && errors[0].contains("/aws-1"),
            "{broken}: {errors:?}"
        );
        let found: Vec<_> = outcome
            .snapshots
            .iter()
            .map(|s| s.status.phase.unwrap().to_string())
            .collect();
        assert_eq!(found, phases, "{broken}");
        let info = serde_json::to_value(&outcome.infos[0]).unwrap();
        if phases.is_empty() {
            assert!(
                info["skippedReason"]
                    .as_str()
                    .unwrap()
                    .starts_with(left_out),
                "{broken}: {info}"
            );
        } else {
            assert_eq!(
                (&info["result"], &info["skipped"]),
                (&json!("failed"), &json!(false)),
                "{broken}"
            );
        }
    }
    // The next location is asked when one cannot tell.
    let broken = Arc::new(Disks {
        name: "a",
        broken: "id",
        ..Disks::default()
    });
    let world = World {
        disks: vec![broken, disks("aws")],
        ..World::default()
    };
    let (records, outcome) = world.run(vec![volume("aws-1", "", disk())]).await;
    assert_eq!((records.len(), outcome.snapshots.len()), (1, 1));
}

/// Which snapshots are taken, and which files are copied.
#[tokio::test]
async fn who_takes_what() {
    let csi = json!({"csi": {"driver": "ebs", "volumeHandle": "h"}});
    let items = |opt_in: &str, source: &Value| {
        vec![
            pod("web", opt_in, "data"),
            claim("data", "aws-1"),
            volume("aws-1", "data", source.clone()),
        ]
    };
    let (disk, copied, none): (_, &[&str], &[&str]) = (disk(), &["web/d data c1"], &[]);
    let off = json!({"snapshotVolumes": false});
    for (spec, policies, with_csi, items, snapshots, copies) in [
        (json!({}), None, false, items("", &disk), 1, none),
        (json!({}), None, false, items("d", &disk), 0, copied),
        (off.clone(), None, false, items("", &disk), 0, none),
        (off.clone(), None, false, items("d", &disk), 0, copied),
        (
            json!({"defaultVolumesToFsBackup": true}),
            None,
            false,
            items("", &disk),
            0,
            copied,
        ),
        (
            off.clone(),
            Some("{action: {type: snapshot}}"),
            false,
            items("d", &disk),
            1,
            none,
        ),
        (
            json!({}),
            Some("{action: {type: fs-backup}}"),
            false,
            items("", &disk),
            0,
            copied,
        ),
        (
            json!({}),
            Some("{action: {type: skip}}"),
            false,
            items("d", &disk),
            0,
            none,
        ),
        (
            json!({}),
            Some("{action: {type: custom}}"),
            false,
            items("d", &disk),
            0,
            none,
        ),
        (
            json!({}),
            Some("{conditions: {pvcLabels: {tier: db}}, action: {type: fs-backup}}"),
            false,
            items("", &disk),
            0,
            copied,
        ),
        (
            off.clone(),
            Some("{conditions: {pvcLabels: {tier: db}}, action: {type: snapshot}}"),
            false,
            items("", &disk),
            1,
            none,
        ),
        (
            json!({}),
            Some("{conditions: {storageClass: [x]}, action: {type: skip}}"),
            false,
            items("", &disk),
            1,
            none,
        ),
        (json!({}), None, false, items("", &csi), 1, none),
        (json!({}), None, true, items("", &csi), 0, none),
        (json!({}), None, true, items("", &disk), 1, none),
    ] {
        let copier = Arc::new(Copier::default());
        let world = World {
            spec,
            policies,
            csi: with_csi,
            disks: vec![disks("aws")],
            copier: Some(Arc::clone(&copier)),
        };
        let (records, outcome) = world.run(items).await;
        assert!(records.is_empty(), "{records:?}");
        assert_eq!(
            outcome.snapshots.len(),
            snapshots,
            "{} {policies:?}",
            world.spec
        );
        assert_eq!(
            *copier.created.lock().unwrap(),
            copies,
            "{} {policies:?}",
            world.spec
        );
    }
}

#[tokio::test]
async fn a_claim_of_two_pods_is_copied_once() {
    for (broken, groups, expected, errors) in [
        ("", 1, &["web/d data c1"][..], 0),
        ("", 2, &["web/d data c1"], 0),
        ("web", 1, &["web2/d data c1"], 1),
        ("web", 2, &["web2/d data c1"], 1),
    ] {
        let copier = Arc::new(Copier {
            broken,
            ..Copier::default()
        });
        let world = World {
            copier: Some(Arc::clone(&copier)),
            ..World::default()
        };
        let mut items = vec![
            claim("data", "pv"),
            volume("pv", "data", disk()),
            pod("web", "d", "data"),
        ];
        let second = vec![pod("web2", "d", "data")];
        let groups = if groups == 1 {
            items.extend(second);
            vec![items]
        } else {
            vec![items, second]
        };
        let (records, outcome) = world.run_groups(groups).await;
        assert_eq!(*copier.created.lock().unwrap(), expected);
        assert_eq!(
            messages(&records, Severity::Error).len(),
            errors,
            "{records:?}"
        );
        // Once taken, a volume is not among those that were left out.
        assert!(
            outcome.infos.len() == 1 && !outcome.infos[0].skipped,
            "{:?}",
            outcome.infos
        );
    }
}

#[tokio::test]
async fn copies_that_cannot_be_made() {
    let with = |pointer: &str, value: Value| {
        let mut pod = pod("web", "d", "data");
        *pod.pointer_mut(pointer).unwrap() = value;
        pod
    };
    let block = json!([{"name": "c", "volumeDevices": [{"name": "d", "devicePath": "/dev/x"}]}]);
    let mut ending = pod("web", "d", "data");
    ending["metadata"]["deletionTimestamp"] = json!("2026-11-22T00:00:00Z");
    for (pod, source, reason) in [
        (
            with("/status/phase", json!("Pending")),
            disk(),
            "the pod is not running, its phase is Pending",
        ),
        (
            with("/status/phase", json!("Succeeded")),
            disk(),
            "the pod is not running, its phase is Succeeded",
        ),
        (ending, disk(), "the pod is being deleted"),
        (
            with("/spec/containers/0/volumeMounts", json!([])),
            disk(),
            "no container of the pod mounts it",
        ),
        (
            with("/spec/containers", block),
            disk(),
            "it is a block device",
        ),
        (
            pod("web", "d", "data"),
            json!({"hostPath": {"path": "/"}}),
            "it is a hostPath volume",
        ),
    ] {
        let copier = Arc::new(Copier::default());
        let world = World {
            copier: Some(Arc::clone(&copier)),
            ..World::default()
        };
        let items = vec![pod, claim("data", "pv"), volume("pv", "data", source)];
        let (records, outcome) = world.run(items.clone()).await;
        assert_eq!(
            messages(&records, Severity::Warning),
            [format!(
                "resource: /pods name: /web message: /the files of volume \"d\" are not copied: {reason}"
            )]
        );
        assert!(messages(&records, Severity::Error).is_empty() && outcome.copies.is_empty());
        assert_eq!(
            outcome.infos[0].skipped_reason,
            format!("podvolume: volume d of pod shop/web: {reason};{NONE}")
        );
        // The data is not lost for want of a copy: a snapshot is taken where one can be.
        let world = World {
            disks: vec![disks("pv")],
            ..world
        };
        assert_eq!(world.run(items).await.1.snapshots.len(), 1, "{reason}");
    }
}

#[tokio::test]
async fn how_copies_end() {
    let names = ["good", "bad", "stopped", "slow"];
    let volumes: Vec<Value> = names
        .iter()
        .map(|name| json!({"name": name, "emptyDir": {}}))
        .collect();
    let world = World {
        copier: Some(Arc::default()),
        ..World::default()
    };
    let (records, outcome) = world
        .run(vec![pod_with("web", &names.join(","), json!(volumes))])
        .await;
    let errors = messages(&records, Severity::Error);
    for part in [
        "\"bad\" failed: because",
        "\"stopped\" was cancelled: because",
        "\"slow\" has not ended within 1 s; it is New",
    ] {
        assert!(
            errors.iter().any(|e| e.contains(part)),
            "{part}: {errors:?}"
        );
    }
    assert_eq!((records.len(), errors.len()), (3, 3));
    let infos = serde_json::to_value(&outcome.infos).unwrap();
    assert_eq!(
        infos[0],
        json!({"backupMethod": "PodVolumeBackup", "snapshotDataMoved": false, "preserveLocalSnapshot": false, "skipped": false, "result": "succeeded",
            "pvbInfo": {"snapshotHandle": "s1", "size": 7, "uploaderType": "kopia", "volumeName": "good", "podName": "web", "podNamespace": "shop", "Phase": "Completed"}})
    );
    let results: Vec<_> = (0..4)
        .map(|at| infos[at]["result"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(results, ["succeeded", "failed", "failed", "failed"]);
    assert_eq!(outcome.copies.len(), 4);

    // Copies that cannot be looked at count as they were.
    let (records, outcome) = world
        .run(vec![pod_with(
            "web",
            "unreadable",
            json!([{"name": "unreadable", "emptyDir": {}}]),
        )])
        .await;
    assert_eq!(
        (
            messages(&records, Severity::Error).len(),
            outcome.copies.len()
        ),
        (2, 1)
    );
}

#[tokio::test]
async fn what_cannot_be_done_is_told() {
    // Nothing was plugged in that could copy files.
    let (records, outcome) = World::default()
        .run(vec![
            pod("web", "d,x", "data"),
            claim("data", "pv"),
            volume("pv", "data", disk()),
        ])
        .await;
    let warnings = messages(&records, Severity::Warning);
    assert!(
        warnings.len() == 2 && warnings[0].contains("names \"x\", which is no volume of the pod"),
        "{warnings:?}"
    );
    assert!(
        warnings[1].contains("this version cannot make file system backups"),
        "{warnings:?}"
    );
    assert!(
        outcome.infos[0]
            .skipped_reason
            .starts_with("podvolume: volume d of pod shop/web: this version")
    );

    // The object of the volume is not in the backup: the copy is, its entry is not.
    let world = World {
        copier: Some(Arc::default()),
        ..World::default()
    };
    let (records, outcome) = world
        .run(vec![pod("web", "d", "data"), claim("data", "pv")])
        .await;
    assert!(records.is_empty());
    assert_eq!(
        (
            outcome.copies.len(),
            outcome.infos.len(),
            outcome.records.len()
        ),
        (1, 0, 1)
    );

    // Native snapshots cannot be moved.
    let spec = json!({"snapshotMoveData": true});
    let world = World {
        spec,
        disks: vec![disks("pv")],
        ..World::default()
    };
    let (records, outcome) = world.run(vec![volume("pv", "", disk())]).await;
    assert_eq!(
        (
            messages(&records, Severity::Warning).len(),
            outcome.snapshots.len()
        ),
        (1, 1)
    );
}

/// Claims without a volume are matched by what they have themselves, and never an error.
#[tokio::test]
async fn claims_without_a_volume() {
    for policies in [
        None,
        Some("{conditions: {pvcPhase: [Pending, Lost]}, action: {type: skip}}"),
    ] {
        let mut lost = claim("lost", "pv-gone");
        lost["status"]["phase"] = json!("Lost");
        let world = World {
            policies,
            ..World::default()
        };
        let (records, outcome) = world
            .run(vec![pod("web", "", "data"), claim("data", ""), lost])
            .await;
        assert!(
            records.is_empty() && outcome.infos.is_empty(),
            "{records:?} {outcome:?}"
        );
    }
}

/// What the CSI action did with the claim: a snapshot clears earlier reasons for good.
#[tokio::test]
async fn claims_after_the_csi_action() {
    use crate::invoke::CsiOutcome;
    for (csi, expected) in [
        (None, Some(format!("{OUT}"))),
        (
            Some(CsiOutcome::NotCsi),
            Some(format!(
                "csiSnapshot: skipped b/c it's not a CSI volume;{OUT}"
            )),
        ),
        (Some(CsiOutcome::Taken), None),
    ] {
        let world = World {
            csi: true,
            ..World::default()
        };
        let source = json!({"csi": {"driver": "ebs", "volumeHandle": "h"}});
        let items = [
            pod("web", "", "data"),
            volume("pv", "data", source),
            claim("data", "pv"),
        ];
        let mut items: Vec<Prepared> = items.iter().map(prepared).collect();
        items[2].csi = csi;
        let mut volumes = world.volumes();
        volumes.protect(&items.iter().collect::<Vec<_>>()).await;
        let reason = volumes.finish().infos.pop().map(|info| info.skipped_reason);
        assert_eq!(reason, expected);
    }
}

/// Which claims the CSI action, and that of vSphere, do not see.
#[test]
fn claims_that_actions_do_not_see() {
    let csi = json!({"csi": {"driver": "ebs", "volumeHandle": "h"}});
    let off = json!({"snapshotVolumes": false});
    let bound = || claim("data", "pv");
    for (spec, policies, opt_in, claim, has_volume, expected) in [
        (json!({}), None, "", bound(), true, Bars::Nobody),
        (off.clone(), None, "", bound(), true, Bars::Csi),
        (json!({}), None, "d", bound(), true, Bars::Csi),
        (
            json!({}),
            Some("{action: {type: skip}}"),
            "",
            bound(),
            true,
            Bars::All,
        ),
        (
            json!({}),
            Some("{conditions: {pvcLabels: {tier: db}}, action: {type: skip}}"),
            "",
            bound(),
            true,
            Bars::All,
        ),
        (
            json!({}),
            Some("{action: {type: custom}}"),
            "",
            bound(),
            true,
            Bars::Csi,
        ),
        (
            json!({}),
            Some("{action: {type: fs-backup}}"),
            "",
            bound(),
            true,
            Bars::Csi,
        ),
        (
            off,
            Some("{action: {type: snapshot}}"),
            "d",
            bound(),
            true,
            Bars::Nobody,
        ),
        // Without a volume.
        (json!({}), None, "", claim("data", ""), false, Bars::Csi),
        (
            json!({}),
            Some("{conditions: {pvcPhase: [Pending]}, action: {type: skip}}"),
            "",
            claim("data", ""),
            false,
            Bars::All,
        ),
        (
            json!({}),
            Some("{conditions: {pvcPhase: [Pending]}, action: {type: snapshot}}"),
            "",
            claim("data", ""),
            false,
            Bars::Nobody,
        ),
    ] {
        let world = World {
            spec,
            policies,
            csi: true,
            copier: Some(Arc::default()),
            ..World::default()
        };
        let mut volumes = world.volumes();
        volumes.foresee(&prepared(&pod("web", opt_in, "data")).original);
        let volume = prepared(&volume("pv", "data", csi.clone())).original;
        let found = volumes.bars(&prepared(&claim).original, has_volume.then_some(&volume));
        assert_eq!(found, expected, "{} {policies:?} {opt_in}", world.spec);
    }
    for (bars, csi, vsphere, other) in [
        (Bars::Nobody, false, false, false),
        (Bars::Csi, true, false, false),
        (Bars::All, true, true, false),
    ] {
        let actions = [
            "velero.io/csi-pvc-backupper",
            "velero.io/vsphere-pvc-backupper",
            "velero.io/pv",
        ];
        assert_eq!(
            actions.map(|action| bars.keep_out(action)),
            [csi, vsphere, other]
        );
    }
}

#[tokio::test]
async fn skipped_items_and_odd_objects_are_left_alone() {
    let world = World {
        disks: vec![disks("pv")],
        ..World::default()
    };
    let mut volumes = world.volumes();
    let mut left_out = prepared(&volume("pv", "", disk()));
    left_out.skip = true;
    let odd = prepared(
        &json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv-odd"}, "spec": "?"}),
    );
    assert!(volumes.protect(&[&left_out, &odd]).await.is_empty());
    // Seen twice, snapshotted once.
    let seen = prepared(&volume("pv", "", disk()));
    volumes.protect(&[&seen]).await;
    volumes.protect(&[&seen]).await;
    assert_eq!(volumes.finish().snapshots.len(), 1);
}
