//! Which claims the actions that take volume data are kept from.

use velero_core::policy::VolumeActionKind;
use velero_core::result::{Record, Severity, chain};
use velero_core::{GroupResource, RawItem, ResourceIdentifier};

use super::Volumes;
use super::decide::{FsDecision, SnapshotDecision};
use super::facts::{Claim, PersistentVolume};
use crate::blocks::Member;
use crate::invoke::CSI_ACTION;
use crate::pod_facts::PodFacts;
use crate::run::Run;

/// The action of the peer's plugin for vSphere.
const VSPHERE_ACTION: &str = "velero.io/vsphere-pvc-backupper";

/// Actions that take the data behind claims.
pub(crate) const VOLUME_ACTIONS: [&str; 2] = [CSI_ACTION, VSPHERE_ACTION];

/// Which of [`VOLUME_ACTIONS`] are kept from an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Bars {
    /// None of them.
    #[default]
    Nobody,
    /// The one for CSI: no snapshot is to be taken.
    Csi,
    /// All: the policies skip the volume.
    All,
}

impl Bars {
    /// Whether an action does not see the item.
    pub(crate) fn keep_out(self, action: &str) -> bool {
        match self {
            Self::Nobody => false,
            Self::Csi => action == CSI_ACTION,
            Self::All => VOLUME_ACTIONS.contains(&action),
        }
    }
}

impl Volumes {
    /// Notes which claims a pod will have copied, before anything is done for them.
    pub(super) fn foresee(&mut self, pod: &PodFacts) {
        if self.settings.plugs.pod_volumes.is_none() || pod.copy_obstacle().is_some() {
            return;
        }
        for volume in &pod.volumes {
            if let Some(key) = &volume.claim
                && self.rules.copy(pod, volume, None) == FsDecision::Copy
                && pod.volume_obstacle(&volume.name, false).is_none()
            {
                self.foreseen.insert(key.clone());
            }
        }
    }

    /// The actions that do not see a claim; `volume` is its PersistentVolume, where there is one.
    pub(super) fn bars(&self, claim: &RawItem, volume: Option<&RawItem>) -> Bars {
        let head = claim.head();
        let key = (head.namespace.clone(), head.name.clone());
        let claim = Claim::read(claim);
        let volume = volume.and_then(PersistentVolume::read);
        let policy = self.rules.policy_for(volume.as_ref(), claim.as_ref());
        if policy == Some(VolumeActionKind::Skip) {
            return Bars::All;
        }
        // A claim without a volume has no data, unless a rule for such claims says otherwise.
        let Some(volume) = volume else {
            return if policy == Some(VolumeActionKind::Snapshot) {
                Bars::Nobody
            } else {
                Bars::Csi
            };
        };
        let copied = self.foreseen.contains(&key);
        match self.rules.snapshot(&volume, policy, copied) {
            SnapshotDecision::Native | SnapshotDecision::Csi => Bars::Nobody,
            SnapshotDecision::Policy(_) | SnapshotDecision::Copied | SnapshotDecision::Off => {
                Bars::Csi
            }
        }
    }
}

impl Run<'_> {
    /// Says for each of some items which actions for volumes do not see it. Costs nothing where there are no such actions.
    pub(crate) async fn bars(&mut self, items: &[Member]) -> Vec<Bars> {
        let mut bars = vec![Bars::Nobody; items.len()];
        if self.finalizing || !self.actions.has_any(&VOLUME_ACTIONS) {
            return bars;
        }
        for pod in items.iter().filter_map(|member| member.pod.as_ref()) {
            self.volumes.foresee(pod);
        }
        for (at, member) in items.iter().enumerate() {
            if member.is_claim() {
                let volume = self.volume_behind(&member.item).await;
                bars[at] = self.volumes.bars(&member.item, volume.as_ref());
            }
        }
        bars
    }

    /// The PersistentVolume of a claim, from the list of its kind where that is read anyway.
    pub(super) async fn volume_behind(&mut self, claim: &RawItem) -> Option<RawItem> {
        let name = Claim::read(claim)?.volume_name;
        let kind = GroupResource::core("persistentvolumes");
        if name.is_empty() {
            return None;
        }
        if self.kind_of.contains_key(&kind) {
            let id = ResourceIdentifier::cluster(kind.clone(), name.as_str());
            if let Ok(Some(item)) = self.held(&id).await {
                return Some(item);
            }
        }
        let resource = self.request.catalog().get(&kind).cloned()?;
        match self.cluster.get(&resource, "", &name).await {
            Ok(item) => item,
            Err(error) => {
                let message = format!(
                    "it cannot be read, so what is done for its data is decided without it: {}",
                    chain(&error)
                );
                self.mark_broken(ResourceIdentifier::cluster(kind.clone(), name.as_str()));
                self.out
                    .record(Record::item(Severity::Error, &kind, "", name, message));
                None
            }
        }
    }
}
