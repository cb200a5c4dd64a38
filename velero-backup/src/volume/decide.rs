//! Which volume gets what: snapshot, copy of its files, or nothing. Pure.

use velero_core::api::Backup;
use velero_core::policy::{ResourcePolicies, VolumeActionKind, VolumeFacts};

use super::facts::{Claim, PersistentVolume};
use crate::pod_facts::{PodFacts, PodVolume};

/// The rules of one backup.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    policies: Option<ResourcePolicies>,
    /// `snapshotVolumes`; unset is yes.
    snapshot_volumes: bool,
    /// `defaultVolumesToFsBackup`; unset is no.
    fs_by_default: bool,
    /// Whether claims are among the kinds that are backed up.
    claims_included: bool,
    /// Whether volumes of CSI drivers are left to the CSI action.
    csi: bool,
}

/// What is decided about the files of one volume of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FsDecision {
    /// The files are copied.
    Copy,
    /// A rule of the policies says otherwise.
    Policy(VolumeActionKind),
    /// Volumes of this kind are never copied.
    Never,
    /// The pod does not ask for it, or asks not to.
    OptedOut,
}

/// What is decided about the snapshot of one PersistentVolume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SnapshotDecision {
    /// A snapshot is taken by a storage system's own API.
    Native,
    /// The CSI action takes it with the claim.
    Csi,
    /// A rule of the policies says otherwise.
    Policy(VolumeActionKind),
    /// The files of the volume are copied.
    Copied,
    /// The backup wants no snapshots.
    Off,
}

impl Rules {
    pub(super) fn new(
        backup: &Backup,
        policies: Option<&ResourcePolicies>,
        claims_included: bool,
        csi: bool,
    ) -> Self {
        Self {
            policies: policies.filter(|p| !p.volume_policies.is_empty()).cloned(),
            snapshot_volumes: backup.spec.snapshot_volumes != Some(false),
            fs_by_default: backup.spec.default_volumes_to_fs_backup == Some(true)
                || backup.spec.default_volumes_to_restic == Some(true),
            claims_included,
            csi,
        }
    }

    /// Whether anything depends on what volumes and claims are like.
    pub(super) fn has_policies(&self) -> bool {
        self.policies.is_some()
    }

    /// Whether pods need not ask for a copy of their files.
    pub(super) fn copies_by_default(&self) -> bool {
        self.fs_by_default
    }

    /// What the policies say of a volume.
    pub(super) fn policy(&self, volume: &VolumeFacts) -> Option<VolumeActionKind> {
        let policies = self.policies.as_ref()?;
        policies.action_for(volume).map(|action| action.kind)
    }

    /// What the policies say of a PersistentVolume and its claim, either of which may be missing.
    pub(super) fn policy_for(
        &self,
        volume: Option<&PersistentVolume>,
        claim: Option<&Claim>,
    ) -> Option<VolumeActionKind> {
        self.policies.as_ref()?;
        let facts = match volume {
            Some(volume) => volume.facts_with(claim),
            None => VolumeFacts {
                claim: claim.map(|claim| claim.facts.clone()),
                ..VolumeFacts::default()
            },
        };
        self.policy(&facts)
    }

    /// Whether the files of a pod's volume are copied. `policy` is what the policies say of its claim.
    pub(super) fn copy(
        &self,
        pod: &PodFacts,
        volume: &PodVolume,
        policy: Option<VolumeActionKind>,
    ) -> FsDecision {
        if self.is_never_copied(volume) {
            return FsDecision::Never;
        }
        let policy = if volume.claim.is_some() {
            policy
        } else {
            self.policy(&VolumeFacts {
                source: volume.source.clone(),
                ..VolumeFacts::default()
            })
        };
        match policy {
            Some(VolumeActionKind::FsBackup) => FsDecision::Copy,
            Some(other) => FsDecision::Policy(other),
            None if self.is_chosen(pod, &volume.name) => FsDecision::Copy,
            None => FsDecision::OptedOut,
        }
    }

    /// Volumes whose files lie elsewhere or come from the API server.
    fn is_never_copied(&self, volume: &PodVolume) -> bool {
        let never = [
            "hostPath",
            "secret",
            "configMap",
            "projected",
            "downwardAPI",
        ];
        never.contains(&volume.source.kind.as_str())
            || volume.name.starts_with("default-token")
            || (volume.claim.is_some() && !self.claims_included)
    }

    /// What annotations and the default say.
    fn is_chosen(&self, pod: &PodFacts, volume: &str) -> bool {
        if self.fs_by_default {
            !listed(pod.opted_out.as_deref(), volume)
        } else {
            listed(pod.opted_in.as_deref(), volume)
        }
    }

    /// Whether a snapshot of a PersistentVolume is taken. `copied` says whether the files of the volume are copied.
    pub(super) fn snapshot(
        &self,
        volume: &PersistentVolume,
        policy: Option<VolumeActionKind>,
        copied: bool,
    ) -> SnapshotDecision {
        match policy {
            Some(VolumeActionKind::Snapshot) => {}
            Some(other) => return SnapshotDecision::Policy(other),
            None if copied => return SnapshotDecision::Copied,
            None if !self.snapshot_volumes => return SnapshotDecision::Off,
            None => {}
        }
        if self.csi && volume.facts.source.csi.is_some() {
            SnapshotDecision::Csi
        } else {
            SnapshotDecision::Native
        }
    }
}

/// Whether a volume is on an annotation's list, whose entries are taken as they stand, blanks and all.
fn listed(list: Option<&str>, volume: &str) -> bool {
    names(list).any(|name| name == volume)
}

/// The entries of an annotation's list.
pub(super) fn names(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.into_iter()
        .filter(|list| !list.is_empty())
        .flat_map(|list| list.split(','))
}

#[cfg(test)]
mod tests {
    use super::*;
    use VolumeActionKind as Kind;
    use serde_json::{Value, json};
    use velero_core::RawItem;

    fn rules(spec: Value, policies: Option<&str>) -> Rules {
        let backup =
            serde_json::from_value(json!({"metadata": {"name": "b"}, "spec": spec})).unwrap();
        let policies = policies.map(|rules| {
            ResourcePolicies::parse(&format!("version: v1\nvolumePolicies: [{rules}]\n")).unwrap()
        });
        Rules::new(&backup, policies.as_ref(), true, false)
    }

    fn item(value: Value) -> RawItem {
        RawItem::parse(value.to_string().into()).unwrap()
    }

    fn pod(annotations: Value, volumes: Value) -> PodFacts {
        let pod = item(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "shop", "annotations": annotations}, "spec": {"volumes": volumes}}));
        PodFacts::read(&pod, &Default::default())
    }

    fn volume(source: Value) -> PersistentVolume {
        let mut spec = json!({"capacity": {"storage": "10Gi"}, "storageClassName": "gp2", "claimRef": {"namespace": "shop", "name": "data"}});
        spec.as_object_mut()
            .unwrap()
            .extend(source.as_object().unwrap().clone());
        PersistentVolume::read(&item(json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": spec})))
            .unwrap()
    }

    fn claim(phase: &str) -> Claim {
        Claim::read(&item(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "shop", "labels": {"a": "b"}}, "spec": {"volumeName": "pv"}, "status": {"phase": phase}})))
        .unwrap()
    }

    #[test]
    fn volumes_of_pods() {
        let claim = json!({"name": "d", "persistentVolumeClaim": {"claimName": "data"}});
        let temp = json!({"name": "d", "emptyDir": {}});
        let all = json!({"defaultVolumesToFsBackup": true});
        let opt = |list: &str| json!({"backup.velero.io/backup-volumes": list});
        let out = |list: &str| json!({"backup.velero.io/backup-volumes-excludes": list});
        for (spec, policies, notes, volume, expected) in [
            // Opted in.
            (json!({}), None, json!({}), &claim, FsDecision::OptedOut),
            (json!({}), None, opt("d"), &claim, FsDecision::Copy),
            (json!({}), None, opt("a,d"), &claim, FsDecision::Copy),
            (json!({}), None, opt("a, d"), &claim, FsDecision::OptedOut),
            (json!({}), None, opt(""), &claim, FsDecision::OptedOut),
            (json!({}), None, out("x"), &claim, FsDecision::OptedOut),
            (json!({}), None, opt("d"), &temp, FsDecision::Copy),
            // Opted out.
            (all.clone(), None, json!({}), &claim, FsDecision::Copy),
            (all.clone(), None, json!({}), &temp, FsDecision::Copy),
            (all.clone(), None, out("d"), &claim, FsDecision::OptedOut),
            (all.clone(), None, out("x,d"), &claim, FsDecision::OptedOut),
            (all.clone(), None, out("d "), &claim, FsDecision::Copy),
            (
                json!({"defaultVolumesToRestic": true}),
                None,
                json!({}),
                &claim,
                FsDecision::Copy,
            ),
            // Never.
            (
                all.clone(),
                None,
                opt("d"),
                &json!({"name": "d", "hostPath": {"path": "/"}}),
                FsDecision::Never,
            ),
            (
                all.clone(),
                None,
                opt("d"),
                &json!({"name": "d", "secret": {"secretName": "s"}}),
                FsDecision::Never,
            ),
            (
                all.clone(),
                None,
                opt("d"),
                &json!({"name": "d", "configMap": {"name": "m"}}),
                FsDecision::Never,
            ),
            (
                all.clone(),
                None,
                opt("d"),
                &json!({"name": "d", "projected": {"sources": []}}),
                FsDecision::Never,
            ),
            (
                all.clone(),
                None,
                opt("d"),
                &json!({"name": "d", "downwardAPI": {}}),
                FsDecision::Never,
            ),
            (
                all.clone(),
                None,
                json!({}),
                &json!({"name": "default-token-x", "emptyDir": {}}),
                FsDecision::Never,
            ),
            (
                all.clone(),
                Some("{action: {type: fs-backup}}"),
                json!({}),
                &json!({"name": "d", "hostPath": {"path": "/"}}),
                FsDecision::Never,
            ),
            // A rule that matches beats annotations and defaults.
            (
                json!({}),
                Some("{conditions: {volumeTypes: [emptyDir]}, action: {type: fs-backup}}"),
                json!({}),
                &temp,
                FsDecision::Copy,
            ),
            (
                all.clone(),
                Some("{conditions: {volumeTypes: [emptyDir]}, action: {type: skip}}"),
                json!({}),
                &temp,
                FsDecision::Policy(Kind::Skip),
            ),
            (
                json!({}),
                Some("{conditions: {volumeTypes: [emptyDir]}, action: {type: snapshot}}"),
                opt("d"),
                &temp,
                FsDecision::Policy(Kind::Snapshot),
            ),
            (
                all.clone(),
                Some("{conditions: {volumeTypes: [emptyDir]}, action: {type: custom}}"),
                json!({}),
                &temp,
                FsDecision::Policy(Kind::Custom),
            ),
            (
                all.clone(),
                Some("{conditions: {volumeTypes: [nfs]}, action: {type: skip}}"),
                json!({}),
                &temp,
                FsDecision::Copy,
            ),
            (
                json!({}),
                Some("{conditions: {nfs: {}}, action: {type: fs-backup}}"),
                json!({}),
                &json!({"name": "d", "nfs": {"server": "s", "path": "/"}}),
                FsDecision::Copy,
            ),
        ] {
            let pod = pod(notes, json!([volume]));
            assert_eq!(
                rules(spec.clone(), policies).copy(&pod, &pod.volumes[0], None),
                expected,
                "{spec} {policies:?} {pod:?}"
            );
        }
    }

    #[test]
    fn volumes_of_claims() {
        let host = json!({"hostPath": {"path": "/"}});
        for (policies, phase, with_volume, expected) in [
            (
                "{conditions: {storageClass: [gp2]}, action: {type: fs-backup}}",
                "Bound",
                true,
                FsDecision::Copy,
            ),
            (
                "{conditions: {storageClass: [gp2]}, action: {type: skip}}",
                "Bound",
                true,
                FsDecision::Policy(Kind::Skip),
            ),
            (
                "{conditions: {pvcLabels: {a: b}}, action: {type: fs-backup}}",
                "Bound",
                true,
                FsDecision::Copy,
            ),
            (
                "{conditions: {pvcPhase: [Pending]}, action: {type: skip}}",
                "Pending",
                false,
                FsDecision::Policy(Kind::Skip),
            ),
            (
                "{conditions: {pvcPhase: [Lost]}, action: {type: skip}}",
                "Lost",
                false,
                FsDecision::Policy(Kind::Skip),
            ),
            (
                "{conditions: {storageClass: [gp2]}, action: {type: fs-backup}}",
                "Pending",
                false,
                FsDecision::OptedOut,
            ),
        ] {
            let rules = rules(json!({}), Some(policies));
            let pv = with_volume.then(|| volume(host.clone()));
            let policy = rules.policy_for(pv.as_ref(), Some(&claim(phase)));
            let pod = pod(
                json!({}),
                json!([{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]),
            );
            assert_eq!(
                rules.copy(&pod, &pod.volumes[0], policy),
                expected,
                "{policies}"
            );
        }
        // Claims that the filters leave out keep their volumes out.
        let backup = serde_json::from_value(
            json!({"metadata": {}, "spec": {"defaultVolumesToFsBackup": true}}),
        )
        .unwrap();
        let rules = Rules::new(&backup, None, false, false);
        let pod = pod(
            json!({}),
            json!([{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "t", "emptyDir": {}}]),
        );
        let decided: Vec<_> = pod
            .volumes
            .iter()
            .map(|v| rules.copy(&pod, v, None))
            .collect();
        assert_eq!(decided, [FsDecision::Never, FsDecision::Copy]);
    }

    #[test]
    fn snapshots() {
        let on = json!({});
        let off = json!({"snapshotVolumes": false});
        let disk = json!({"awsElasticBlockStore": {"volumeID": "v"}});
        let csi = json!({"csi": {"driver": "ebs", "volumeHandle": "h"}});
        for (spec, source, policy, copied, with_csi, expected) in [
            (&on, &disk, None, false, false, SnapshotDecision::Native),
            (
                &json!({"snapshotVolumes": true}),
                &disk,
                None,
                false,
                false,
                SnapshotDecision::Native,
            ),
            (&off, &disk, None, false, false, SnapshotDecision::Off),
            (&on, &disk, None, true, false, SnapshotDecision::Copied),
            (&off, &disk, None, true, false, SnapshotDecision::Copied),
            // A rule beats both.
            (
                &off,
                &disk,
                Some(Kind::Snapshot),
                false,
                false,
                SnapshotDecision::Native,
            ),
            (
                &on,
                &disk,
                Some(Kind::Snapshot),
                true,
                false,
                SnapshotDecision::Native,
            ),
            (
                &on,
                &disk,
                Some(Kind::Skip),
                false,
                false,
                SnapshotDecision::Policy(Kind::Skip),
            ),
            (
                &on,
                &disk,
                Some(Kind::FsBackup),
                false,
                false,
                SnapshotDecision::Policy(Kind::FsBackup),
            ),
            (
                &on,
                &disk,
                Some(Kind::Custom),
                false,
                false,
                SnapshotDecision::Policy(Kind::Custom),
            ),
            // Volumes of CSI drivers are left to the CSI action, where there is one.
            (&on, &csi, None, false, false, SnapshotDecision::Native),
            (&on, &csi, None, false, true, SnapshotDecision::Csi),
            (&on, &disk, None, false, true, SnapshotDecision::Native),
            (&off, &csi, None, false, true, SnapshotDecision::Off),
            (
                &on,
                &csi,
                Some(Kind::Snapshot),
                false,
                true,
                SnapshotDecision::Csi,
            ),
        ] {
            let mut rules = rules(spec.clone(), None);
            rules.csi = with_csi;
            assert_eq!(
                rules.snapshot(&volume(source.clone()), policy, copied),
                expected,
                "{spec} {source} {policy:?} {copied} {with_csi}"
            );
        }
    }
}
