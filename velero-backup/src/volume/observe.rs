//! Looking at items as they go by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use velero_core::policy::VolumeActionKind;
use velero_core::{ItemTree, RawItem};

use super::facts::{Claim, ClaimKey, PersistentVolume};
use super::tracker::Approach;
use super::{ClaimState, VolumeState, Volumes};
use crate::pod_facts::PodFacts;
use crate::prepared::{CsiOutcome, Prepared};

/// What some items have to do with volumes.
#[derive(Default)]
pub(super) struct Group<'a> {
    pub(super) pods: Vec<(Arc<PodFacts>, &'a Prepared)>,
    /// PersistentVolumes that were not seen before, by name.
    pub(super) volumes: BTreeMap<String, (PersistentVolume, &'a Prepared)>,
}

impl Group<'_> {
    /// A PersistentVolume as it is stored.
    pub(super) fn tree(&self, volume: &str) -> Option<ItemTree> {
        self.volumes.get(volume)?.1.stored.tree().ok()
    }
}

impl Volumes {
    /// Takes notes of the claims and PersistentVolumes among some items, and of the pods that use them.
    ///
    /// An object that has another form than Kubernetes gives it is stored all the same, and left alone here.
    pub(super) fn observe<'a>(&mut self, items: &[&'a Prepared]) -> Group<'a> {
        let mut group = Group::default();
        let mut claims: Vec<(ClaimKey, Claim, Option<CsiOutcome>)> = Vec::new();
        for &item in items {
            if item.skip || !item.resource.group.is_empty() {
                continue;
            }
            match item.resource.plural.as_str() {
                "pods" => group.pods.extend(item.pod.clone().map(|pod| (pod, item))),
                "persistentvolumeclaims" => {
                    let head = item.original.head();
                    let key = (head.namespace.clone(), head.name.clone());
                    claims.extend(Claim::read(&item.original).map(|claim| (key, claim, item.csi)));
                }
                "persistentvolumes" => {
                    let new = PersistentVolume::read(&item.stored)
                        .filter(|volume| !self.volumes.contains_key(&volume.name));
                    if let Some(volume) = new {
                        group.volumes.insert(volume.name.clone(), (volume, item));
                    }
                }
                _ => {}
            }
        }
        for (key, claim, csi) in claims {
            match csi {
                Some(CsiOutcome::Taken) => self.tracker.untrack(&claim.volume_name),
                Some(CsiOutcome::NotCsi) => self.tracker.track(
                    &claim.volume_name,
                    Approach::CsiSnapshot,
                    "skipped b/c it's not a CSI volume",
                ),
                None => {}
            }
            self.claim(key, claim, &group);
        }
        for (volume, _) in group.volumes.values() {
            let state = VolumeState {
                claim: volume.claim.clone(),
                info: volume.info.clone(),
            };
            self.volumes.insert(volume.name.clone(), state);
        }
        group
    }

    fn claim(&mut self, key: ClaimKey, mut claim: Claim, group: &Group<'_>) {
        let volume = group
            .volumes
            .get(&claim.volume_name)
            .map(|(volume, _)| volume);
        let policy = self.rules.policy_for(volume, Some(&claim));
        if policy == Some(VolumeActionKind::Skip) {
            // The blank at its end is the peer's.
            self.tracker.track(
                &claim.volume_name,
                Approach::Any,
                "skipped due to resource policy ",
            );
        }
        if !self.rules.has_policies() {
            claim.facts = Default::default();
        }
        let host_path = volume.is_some_and(PersistentVolume::is_host_path);
        self.claims.entry(key).or_insert(ClaimState {
            claim,
            policy,
            host_path,
            ..ClaimState::default()
        });
    }

    /// Claims that are not in the backup, as far as is known, and that count for what is done: for the files of pods among
    /// some items, and by the rules of policies for PersistentVolumes among them.
    pub(super) fn unknown_claims(&self, items: &[&Prepared]) -> BTreeSet<ClaimKey> {
        let plugs = &self.settings.plugs;
        let of_pods = plugs.pod_volumes.is_some() && self.settings.claims_included;
        let of_volumes = !plugs.snapshotters.is_empty() && self.rules.has_policies();
        if !of_pods && !of_volumes {
            return BTreeSet::new();
        }
        let mut here = BTreeSet::new();
        let mut wanted = BTreeSet::new();
        for item in items {
            let head = item.original.head();
            match item.resource.plural.as_str() {
                "persistentvolumeclaims" => {
                    here.insert((head.namespace.clone(), head.name.clone()));
                }
                "pods" if of_pods && !item.skip => {
                    let volumes = item.pod.iter().flat_map(|pod| &pod.volumes);
                    wanted.extend(volumes.filter_map(|volume| volume.claim.clone()));
                }
                "persistentvolumes" if of_volumes && !item.skip => {
                    let volume = PersistentVolume::read(&item.stored);
                    wanted.extend(volume.and_then(|volume| volume.claim));
                }
                _ => {}
            }
        }
        wanted.retain(|key| !here.contains(key) && !self.claims.contains_key(key));
        wanted
    }

    /// Takes note of a claim that is not in the backup, and of its PersistentVolume.
    pub(super) fn learn(&mut self, key: ClaimKey, claim: &RawItem, volume: Option<&RawItem>) {
        let Some(claim) = Claim::read(claim) else {
            return;
        };
        let volume = volume.and_then(PersistentVolume::read);
        let policy = self.rules.policy_for(volume.as_ref(), Some(&claim));
        let host_path = volume.is_some_and(|volume| volume.is_host_path());
        self.claims.insert(
            key,
            ClaimState {
                claim,
                policy,
                host_path,
                ..ClaimState::default()
            },
        );
    }

    /// What the policies say of a PersistentVolume, with what is known of its claim.
    pub(super) fn policy_of(&self, volume: &PersistentVolume) -> Option<VolumeActionKind> {
        let claim = volume.claim.as_ref().and_then(|key| self.claims.get(key));
        match claim {
            Some(state) if state.claim.volume_name == volume.name => {
                self.rules.policy_for(Some(volume), Some(&state.claim))
            }
            _ => self.rules.policy_for(Some(volume), None),
        }
    }
}
