//! What can be plugged in for volumes, made for tests, and backups with policies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use velero_backup::BackupEngine;
use velero_core::ItemTree;
use velero_core::action::{
    ActionContext, ActionError, BackupItemAction, BackupOutcome, ResourceSelector,
};
use velero_core::api::{Backup, DataMovePhase, PodVolumeBackup};
use velero_core::policy::ResourcePolicies;
use velero_core::volume::{PodVolume, PodVolumeBackups, VolumeProperties, VolumeSnapshotter};
use velero_testkit::ApiServer;

use crate::support::*;

pub(crate) fn policies(text: &str) -> Option<ResourcePolicies> {
    Some(ResourcePolicies::parse(&format!("version: v1\n{text}\n")).unwrap())
}

/// A spec that names a ConfigMap of policies.
pub(crate) fn spec(mut spec: Value) -> Value {
    spec["resourcePolicy"] = json!({"kind": "configmap", "name": "p"});
    spec
}

pub(crate) async fn run_by(engine: &BackupEngine, given: Value, text: &str) -> Done {
    let kept = Kept::default();
    let request = engine
        .request_with(&backup(spec(given)), policies(text))
        .await
        .unwrap();
    let result = engine.run(&request, kept.clone(), run()).await.unwrap();
    open(result, kept.bytes())
}

pub(crate) fn replace(server: &ApiServer, object: Value) {
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
pub(crate) fn running(server: &ApiServer) {
    for ns in ["bank", "shop"] {
        let mut pod = pod(ns, "web", Some("data"), json!({}));
        pod["spec"]["nodeName"] = json!("n1");
        pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/d"}]);
        pod["status"] = json!({"phase": "Running"});
        replace(server, pod);
    }
}

/// Everything that is called, in order.
#[derive(Clone, Default)]
pub(crate) struct Calls(pub(crate) Arc<Mutex<Vec<String>>>);

impl Calls {
    fn note(&self, call: String) {
        self.0.lock().unwrap().push(call);
    }
}

pub(crate) struct Disks(pub(crate) Calls);

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

pub(crate) struct Copier(pub(crate) Calls);

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

/// An action that calls itself the one for CSI snapshots, and notes what it sees.
pub(crate) struct Csi(pub(crate) Calls);

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
