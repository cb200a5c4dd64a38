//! What becomes of volume data: for each volume in the archive, why its data is not there.

use std::collections::BTreeMap;

use serde::Deserialize;
use velero_core::RawItem;
use velero_core::api::Backup;
use velero_core::artifact::{PvInfo, VolumeInfo};
use velero_core::names::annotations;
use velero_core::result::{Record, Severity};

/// Collects volumes and the pods that use them while items go by.
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    volumes: BTreeMap<String, Volume>,
    /// The pod that uses a claim, by namespace and name of the claim; the last one wins, as upstream.
    users: BTreeMap<(String, String), String>,
}

#[derive(Debug)]
struct Volume {
    claim: Option<(String, String)>,
    info: PvInfo,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WirePod {
    metadata: WireMeta,
    spec: WirePodSpec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireMeta {
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WirePodSpec {
    volumes: Option<Vec<WirePodVolume>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WirePodVolume {
    persistent_volume_claim: Option<WireClaimSource>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireClaimSource {
    claim_name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireVolume {
    spec: WireVolumeSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireVolumeSpec {
    claim_ref: Option<WireClaimRef>,
    persistent_volume_reclaim_policy: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireClaimRef {
    namespace: String,
    name: String,
}

impl Volumes {
    /// Looks at an item that is being stored; gives warnings about what it asks for in vain.
    pub(crate) fn observe(&mut self, group: &str, plural: &str, item: &RawItem) -> Vec<Record> {
        match (group, plural) {
            ("", "pods") => self.pod(item),
            ("", "persistentvolumes") => {
                self.volume(item);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn volume(&mut self, item: &RawItem) {
        // A volume that has another form than Kubernetes gives it is stored all the same, without an entry here.
        let Ok(wire) = serde_json::from_slice::<WireVolume>(item.json()) else {
            return;
        };
        let labels = &item.head().labels;
        let volume = Volume {
            claim: wire
                .spec
                .claim_ref
                .map(|claim| (claim.namespace, claim.name)),
            info: PvInfo {
                reclaim_policy: wire.spec.persistent_volume_reclaim_policy,
                labels: (!labels.is_empty()).then(|| labels.clone()),
            },
        };
        self.volumes.insert(item.head().name.clone(), volume);
    }

    fn pod(&mut self, item: &RawItem) -> Vec<Record> {
        let Ok(wire) = serde_json::from_slice::<WirePod>(item.json()) else {
            return Vec::new();
        };
        let head = item.head();
        for claim in wire
            .spec
            .volumes
            .unwrap_or_default()
            .into_iter()
            .filter_map(|v| v.persistent_volume_claim)
        {
            self.users.insert(
                (head.namespace.clone(), claim.claim_name),
                head.name.clone(),
            );
        }
        let notes = wire.metadata.annotations.unwrap_or_default();
        let warn = |message: String| {
            Record::item(
                Severity::Warning,
                "pods",
                head.namespace.as_str(),
                head.name.as_str(),
                message,
            )
        };
        let mut records = Vec::new();
        if let Some(volumes) = notes
            .get(annotations::VOLUMES_TO_BACKUP)
            .filter(|v| !v.is_empty())
        {
            records.push(warn(format!(
                "annotation {} asks for a file system backup of {volumes:?}, which this version cannot make; the data is not in the backup",
                annotations::VOLUMES_TO_BACKUP
            )));
        }
        records
    }

    /// The content of the volume information file, ordered by volume.
    pub(crate) fn finish(self, backup: &Backup) -> Vec<VolumeInfo> {
        let native = if backup.spec.snapshot_volumes == Some(false) {
            "not satisfy the criteria for VolumePolicy or the legacy snapshot way"
        } else {
            "no applicable volumesnapshotter found"
        };
        let Self { volumes, users } = self;
        volumes
            .into_iter()
            .map(|(name, volume)| {
                let user = volume.claim.as_ref().and_then(|claim| users.get(claim));
                let mut reason = user
                    .map(|pod| format!("podvolume: opted out due to annotation in pod {pod};"))
                    .unwrap_or_default();
                reason.push_str(&format!("volumeSnapshot: {native};"));
                let (pvc_namespace, pvc_name) = volume.claim.unwrap_or_default();
                VolumeInfo {
                    pvc_name,
                    pvc_namespace,
                    pv_name: name,
                    skipped: true,
                    skipped_reason: reason,
                    pv_info: Some(volume.info),
                    ..VolumeInfo::default()
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn item(value: &serde_json::Value) -> RawItem {
        RawItem::parse(value.to_string().into()).unwrap()
    }

    fn pod(name: &str, annotations: serde_json::Value) -> RawItem {
        item(
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "demo", "annotations": annotations},
            "spec": {"volumes": [{"name": "t", "emptyDir": {}}, {"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}}),
        )
    }

    #[test]
    fn entries_are_those_that_the_peer_writes() {
        let mut volumes = Volumes::default();
        let pv = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pvc-1"},
            "spec": {"claimRef": {"namespace": "demo", "name": "data"}, "persistentVolumeReclaimPolicy": "Delete"}});
        assert!(
            volumes
                .observe("", "persistentvolumes", &item(&pv))
                .is_empty()
        );
        assert!(
            volumes
                .observe("", "pods", &pod("web-1", json!(null)))
                .is_empty()
        );
        let infos = volumes.finish(&Backup::default());
        assert_eq!(
            serde_json::to_string(&infos).unwrap(),
            r#"[{"pvcName":"data","pvcNamespace":"demo","pvName":"pvc-1","snapshotDataMoved":false,"preserveLocalSnapshot":false,"skipped":true,"skippedReason":"podvolume: opted out due to annotation in pod web-1;volumeSnapshot: no applicable volumesnapshotter found;","pvInfo":{"reclaimPolicy":"Delete","labels":null}}]"#
        );
    }

    #[test]
    fn what_pods_ask_for_in_vain_is_told() {
        let mut volumes = Volumes::default();
        let notes = json!({"backup.velero.io/backup-volumes": "d", "pre.hook.backup.velero.io/command": "sync", "a": "b"});
        let records = volumes.observe("", "pods", &pod("p", notes));
        assert_eq!(records.len(), 1, "{records:?}");
        assert!(records.iter().all(|r| r.severity == Severity::Warning));
    }
}
