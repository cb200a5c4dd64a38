//! Volumes of a run, over fakes of what is plugged in.

mod copies;
mod skipped;
mod snapshots;

use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::{Value, json};
use velero_core::api::{DataMovePhase, ObjectMeta};
use velero_core::hook::BackupHookRules;
use velero_core::result::Severity;
use velero_core::volume::{PodVolume, VolumeProperties};
use velero_core::{ApiResource, ItemTree, RawItem};

use super::*;
use crate::blocks::Member;

/// A location that knows the volumes whose names begin with its own.
#[derive(Default)]
struct Disks {
    name: &'static str,
    calls: Mutex<Vec<String>>,
    /// Call that fails: `location`, `id`, `look`, `take`, `panic`, `hang`, `busy`.
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
        assert_ne!(self.broken, "location", "where am I");
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
            // No point at which it could be ended.
            "busy" => std::thread::sleep(Duration::from_secs(4)),
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
                "odd" => panic!("what is this"),
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
    Member::new(Arc::new(resource), item, &BackupHookRules::default()).into()
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
