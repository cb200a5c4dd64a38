//! Looking at items as they go by.

use std::collections::{BTreeMap, BTreeSet};

use velero_core::{ItemTree, RawItem};

use super::facts::{Claim, ClaimKey, PersistentVolume, Pod};
use super::tracker::Approach;
use super::{ClaimState, VolumeState, Volumes};
use crate::invoke::{CsiOutcome, Prepared};
use velero_core::policy::VolumeActionKind;

/// What some items have to do with volumes.
#[derive(Default)]
pub(super) struct Group<'a> {
    pub(super) pods: Vec<(Pod, &'a Prepared)>,
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
                "pods" => group
                    .pods
                    .extend(Pod::read(&item.original).map(|pod| (pod, item))),
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

    /// Claims that pods among some items have copied and that are not in the backup, as far as is known.
    pub(super) fn unknown_claims(&self, items: &[&Prepared]) -> BTreeSet<ClaimKey> {
        if self.settings.plugs.pod_volumes.is_none() || !self.settings.claims_included {
            return BTreeSet::new();
        }
        let here: BTreeSet<ClaimKey> = items
            .iter()
            .filter(|item| item.resource.plural == "persistentvolumeclaims")
            .map(|item| item.original.head())
            .map(|head| (head.namespace.clone(), head.name.clone()))
            .collect();
        items
            .iter()
            .filter(|item| item.resource.plural == "pods" && !item.skip)
            .filter_map(|item| Pod::read(&item.original))
            .flat_map(|pod| pod.volumes)
            .filter_map(|volume| volume.claim)
            .filter(|key| !here.contains(key) && !self.claims.contains_key(key))
            .collect()
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
