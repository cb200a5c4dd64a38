//! What is told about volumes beside the archive.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use velero_core::api::{DataMovePhase, PodVolumeBackup};
use velero_core::artifact::VolumeInfo;
use velero_core::result::{Record, Severity};
use velero_core::volume::{NativeSnapshot, SnapshotPhase};

use super::facts::ClaimKey;
use super::{ClaimState, Copy, VolumeState, Volumes};

/// What came of the volumes of a run.
#[derive(Debug, Default)]
pub(crate) struct VolumeOutcome {
    /// Volumes that were left out, ordered by name; then native snapshots and copies in the order they were begun.
    pub(crate) infos: Vec<VolumeInfo>,
    pub(crate) snapshots: Vec<NativeSnapshot>,
    pub(crate) copies: Vec<PodVolumeBackup>,
    pub(crate) records: Vec<Record>,
}

impl Volumes {
    /// Gives up what was found.
    pub(crate) fn finish(self) -> VolumeOutcome {
        let mut out = VolumeOutcome::default();
        let Self {
            volumes,
            claims,
            tracker,
            snapshots,
            copies,
            ..
        } = self;
        for (name, skipped_reason) in tracker.summary() {
            // A volume whose object is not in the archive has no entry.
            if let Some(volume) = volumes.get(&name) {
                out.infos.push(VolumeInfo {
                    skipped: true,
                    skipped_reason,
                    ..of_volume(&name, volume)
                });
            }
        }
        for snapshot in snapshots {
            let name = &snapshot.spec.persistent_volume_name;
            if let Some(volume) = volumes.get(name) {
                out.infos.push(VolumeInfo {
                    backup_method: "NativeSnapshot".to_owned(),
                    other: of_snapshot(&snapshot),
                    ..of_volume(name, volume)
                });
            }
            out.snapshots.push(snapshot);
        }
        for copy in copies {
            out.take_copy(copy, &claims, &volumes);
        }
        out
    }
}

impl VolumeOutcome {
    /// Takes a copy. Its entry needs the PersistentVolume of its claim, if it has one.
    fn take_copy(
        &mut self,
        copy: Copy,
        claims: &BTreeMap<ClaimKey, ClaimState>,
        volumes: &BTreeMap<String, VolumeState>,
    ) {
        let Copy {
            claim, resource, ..
        } = copy;
        let volume = match &claim {
            None => Some(VolumeInfo::default()),
            Some(key) => claims.get(key).and_then(|state| {
                let name = &state.claim.volume_name;
                Some(of_volume(name, volumes.get(name)?))
            }),
        };
        match (volume, claim) {
            (Some(volume), _) => self.infos.push(VolumeInfo {
                backup_method: "PodVolumeBackup".to_owned(),
                start_timestamp: resource.status.start_timestamp.clone(),
                completion_timestamp: resource.status.completion_timestamp.clone(),
                other: of_copy(&resource),
                ..volume
            }),
            (None, claim) => {
                let (namespace, name) = claim.unwrap_or_default();
                self.records.push(Record::item(
                    Severity::Warning,
                    "persistentvolumeclaims",
                    namespace,
                    name,
                    "the claim's files were copied, but its PersistentVolume is not in the backup, so volume information has no entry for it",
                ));
            }
        }
        self.copies.push(resource);
    }
}

fn of_volume(name: &str, volume: &VolumeState) -> VolumeInfo {
    let (pvc_namespace, pvc_name) = volume.claim.clone().unwrap_or_default();
    VolumeInfo {
        pvc_name,
        pvc_namespace,
        pv_name: name.to_owned(),
        pv_info: Some(volume.info.clone()),
        ..VolumeInfo::default()
    }
}

fn result(succeeded: bool) -> (String, Value) {
    let word = if succeeded { "succeeded" } else { "failed" };
    ("result".to_owned(), word.into())
}

fn of_snapshot(snapshot: &NativeSnapshot) -> Map<String, Value> {
    let (spec, status) = (&snapshot.spec, &snapshot.status);
    let phase = status.phase.unwrap_or_default();
    let details = json!({
        "snapshotHandle": status.provider_snapshot_id,
        "volumeType": spec.volume_type,
        "volumeAZ": spec.volume_az,
        "iops": spec.volume_iops.unwrap_or_default().to_string(),
        "Phase": phase.to_string(),
    });
    [
        result(phase == SnapshotPhase::Completed),
        ("nativeSnapshotInfo".to_owned(), details),
    ]
    .into_iter()
    .collect()
}

fn of_copy(copy: &PodVolumeBackup) -> Map<String, Value> {
    let (spec, status) = (&copy.spec, &copy.status);
    let details = json!({
        "snapshotHandle": status.snapshot_id,
        "size": status.progress.total_bytes,
        "incrementalSize": status.incremental_bytes,
        "uploaderType": spec.uploader_type,
        "volumeName": spec.volume,
        "podName": spec.pod.name,
        "podNamespace": spec.pod.namespace,
        "nodeName": spec.node,
        "Phase": copy.phase().to_string(),
    });
    let optional = ["snapshotHandle", "size", "incrementalSize", "nodeName"];
    let kept = |(key, value): &(String, Value)| {
        !(optional.contains(&key.as_str()) && (*value == json!("") || *value == json!(0)))
    };
    let details: Map<String, Value> = match details {
        Value::Object(map) => map.into_iter().filter(kept).collect(),
        _ => Map::new(),
    };
    [
        result(*copy.phase() == DataMovePhase::Completed),
        ("pvbInfo".to_owned(), details.into()),
    ]
    .into_iter()
    .collect()
}
