//! Native snapshots of PersistentVolumes.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use velero_core::ItemTree;
use velero_core::names::labels;
use velero_core::result::{Record, Severity};
use velero_core::volume::{
    NativeSnapshot, NativeSnapshotSpec, NativeSnapshotStatus, SnapshotPhase, VolumeSnapshotter,
};

use super::Volumes;
use super::decide::SnapshotDecision;
use super::observe::Group;
use super::tracker::Approach;
use super::zone::zone;
use crate::guard::caught;

/// What came of the attempt to snapshot one PersistentVolume.
struct Attempt {
    volume: String,
    /// Why no snapshot was tried, where none was.
    skipped: Option<String>,
    snapshot: Option<NativeSnapshot>,
    faults: Vec<String>,
}

impl Volumes {
    /// Takes the native snapshots of the PersistentVolumes of a group, several at a time; the order stays.
    pub(super) async fn snapshot(&mut self, group: &Group<'_>, records: &mut Vec<Record>) {
        let mut native = Vec::new();
        for (volume, _) in group.volumes.values() {
            let state = volume.claim.as_ref().and_then(|key| self.claims.get(key));
            let copied = state.is_some_and(|state| state.chosen);
            let policy = self.policy_of(volume);
            match self.rules.snapshot(volume, policy, copied) {
                SnapshotDecision::Native => native.push(volume.name.clone()),
                SnapshotDecision::Csi => {}
                SnapshotDecision::Policy(_) | SnapshotDecision::Copied | SnapshotDecision::Off => {
                    self.tracker.track(
                        &volume.name,
                        Approach::VolumeSnapshot,
                        "not satisfy the criteria for VolumePolicy or the legacy snapshot way",
                    );
                }
            }
        }
        let attempts: Vec<Attempt> = stream::iter(native)
            .map(|volume| {
                let tree = group.tree(&volume).map(Arc::new);
                self.attempt(volume, tree)
            })
            .buffered(self.settings.concurrency.max(1))
            .collect()
            .await;
        for attempt in attempts {
            self.note(attempt, records);
        }
    }

    fn note(&mut self, attempt: Attempt, records: &mut Vec<Record>) {
        let record = |severity, message: String| {
            Record::item(
                severity,
                "persistentvolumes",
                "",
                attempt.volume.as_str(),
                message,
            )
        };
        for fault in attempt.faults {
            records.push(record(Severity::Error, fault));
        }
        if let Some(reason) = attempt.skipped {
            self.tracker
                .track(&attempt.volume, Approach::VolumeSnapshot, reason);
        }
        if let Some(snapshot) = attempt.snapshot {
            if self.backup.spec.snapshot_move_data == Some(true) {
                let message = "snapshotMoveData is set, but the data of native snapshots cannot be moved; the snapshot stays in the storage system";
                records.push(record(Severity::Warning, message.to_owned()));
            }
            self.tracker.untrack(&attempt.volume);
            self.snapshots.push(snapshot);
        }
    }

    async fn attempt(&self, volume: String, tree: Option<Arc<ItemTree>>) -> Attempt {
        let mut attempt = Attempt {
            volume,
            skipped: None,
            snapshot: None,
            faults: Vec::new(),
        };
        let Some(tree) = tree else {
            let fault = "no snapshot: its object cannot be read";
            attempt.skipped = Some(fault.to_owned());
            attempt.faults.push(fault.to_owned());
            return attempt;
        };
        let Some((snapshotter, location, id)) = self.owner(&tree, &mut attempt.faults).await else {
            attempt.skipped = Some("no applicable volumesnapshotter found".to_owned());
            return attempt;
        };
        let zone = zone(&tree);
        let (disks, in_zone) = (Arc::clone(&snapshotter), (id.clone(), zone.clone()));
        let look = async move { disks.properties(&in_zone.0, &in_zone.1).await };
        match self.call(look).await {
            Ok(properties) => {
                let spec = NativeSnapshotSpec {
                    backup_name: self.backup.metadata.name.clone().unwrap_or_default(),
                    backup_uid: self.backup.metadata.uid.clone().unwrap_or_default(),
                    location,
                    persistent_volume_name: attempt.volume.clone(),
                    provider_volume_id: id,
                    volume_type: properties.volume_type,
                    volume_az: zone,
                    volume_iops: properties.iops,
                    ..NativeSnapshotSpec::default()
                };
                let snapshot = self.take(snapshotter, spec, &mut attempt.faults).await;
                attempt.snapshot = Some(snapshot);
            }
            Err(reason) => {
                let fault = format!(
                    "no snapshot: volume {id:?} cannot be looked at in location {location:?}: {reason}"
                );
                attempt.skipped = Some(fault.clone());
                attempt.faults.push(fault);
            }
        }
        attempt
    }

    /// The first location that knows a PersistentVolume, with its name, and the volume's id there.
    async fn owner(
        &self,
        volume: &Arc<ItemTree>,
        faults: &mut Vec<String>,
    ) -> Option<(Arc<dyn VolumeSnapshotter>, String, String)> {
        for (at, snapshotter) in self.settings.plugs.snapshotters.iter().enumerate() {
            let location = match caught(|| snapshotter.location().to_owned()) {
                Ok(location) => location,
                Err(panic) => {
                    let number = at + 1;
                    faults.push(format!(
                        "volume snapshotter {number}: it panicked when it was asked for its location: {panic}"
                    ));
                    continue;
                }
            };
            let (disks, volume) = (Arc::clone(snapshotter), Arc::clone(volume));
            let id = self.call(async move { disks.volume_id(&volume).await });
            match id.await {
                Ok(Some(id)) if !id.is_empty() => {
                    return Some((Arc::clone(snapshotter), location, id));
                }
                Ok(_) => {}
                Err(reason) => faults.push(format!(
                    "location {location:?} cannot tell whether the volume is one of its own: {reason}"
                )),
            }
        }
        None
    }

    async fn take(
        &self,
        snapshotter: Arc<dyn VolumeSnapshotter>,
        spec: NativeSnapshotSpec,
        faults: &mut Vec<String>,
    ) -> NativeSnapshot {
        let tags = self.tags(&spec.persistent_volume_name);
        let (id, zone) = (spec.provider_volume_id.clone(), spec.volume_az.clone());
        let create = async move { snapshotter.create_snapshot(&id, &zone, &tags).await };
        let result = self.call(create).await;
        let mut status = NativeSnapshotStatus::default();
        match result {
            Ok(id) => {
                status.phase = Some(SnapshotPhase::Completed);
                status.provider_snapshot_id = id;
            }
            Err(reason) => {
                status.phase = Some(SnapshotPhase::Failed);
                faults.push(format!(
                    "the snapshot of volume {:?} in location {:?} failed: {reason}",
                    spec.provider_volume_id, spec.location
                ));
            }
        }
        NativeSnapshot { spec, status }
    }

    /// What a snapshot is marked with: the labels of the backup, its name and that of the PersistentVolume.
    fn tags(&self, volume: &str) -> BTreeMap<String, String> {
        let metadata = &self.backup.metadata;
        let mut tags = metadata.labels.clone().unwrap_or_default();
        let name = metadata.name.clone().unwrap_or_default();
        tags.insert(labels::SNAPSHOT_TAG_BACKUP.to_owned(), name);
        tags.insert(labels::SNAPSHOT_TAG_VOLUME.to_owned(), volume.to_owned());
        tags
    }
}
