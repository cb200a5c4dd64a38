//! What decisions about volumes look at, read from pods, claims and PersistentVolumes.

use serde::Deserialize;
use velero_core::RawItem;
use velero_core::artifact::PvInfo;
use velero_core::policy::{ClaimFacts, VolumeFacts, VolumeSourceFacts};

use crate::pod_facts::PodFacts;

/// A claim by namespace and name.
pub(super) type ClaimKey = (String, String);

/// A claim.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Claim {
    pub(super) uid: String,
    pub(super) volume_name: String,
    pub(super) facts: ClaimFacts,
}

/// A PersistentVolume.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct PersistentVolume {
    pub(super) name: String,
    pub(super) claim: Option<ClaimKey>,
    pub(super) info: PvInfo,
    /// Without a claim.
    pub(super) facts: VolumeFacts,
}

impl PodFacts {
    /// Why no files of this pod can be copied now, if so.
    pub(super) fn copy_obstacle(&self) -> Option<String> {
        if self.deleting {
            return Some("the pod is being deleted".to_owned());
        }
        (self.phase != "Running").then(|| {
            let phase = if self.phase.is_empty() {
                "not known"
            } else {
                self.phase.as_str()
            };
            format!("the pod is not running, its phase is {phase}")
        })
    }

    /// Why the files of one volume cannot be copied, if so.
    pub(super) fn volume_obstacle(&self, name: &str, host_path: bool) -> Option<&'static str> {
        if host_path {
            return Some("it is a hostPath volume");
        }
        if self.devices.contains(name) {
            return Some("it is a block device");
        }
        (!self.mounted.contains(name)).then_some("no container of the pod mounts it")
    }
}

impl Claim {
    pub(super) fn read(item: &RawItem) -> Option<Self> {
        let wire: WireClaim = serde_json::from_slice(item.json()).ok()?;
        let head = item.head();
        Some(Self {
            uid: head.uid.clone(),
            volume_name: wire.spec.volume_name,
            facts: ClaimFacts {
                labels: head.labels.clone(),
                phase: head.phase.clone(),
            },
        })
    }
}

impl PersistentVolume {
    pub(super) fn read(item: &RawItem) -> Option<Self> {
        let spec = serde_json::from_slice::<WireVolume>(item.json()).ok()?.spec;
        let labels = &item.head().labels;
        Some(Self {
            name: item.head().name.clone(),
            claim: spec
                .claim_ref
                .filter(|claim| !claim.name.is_empty())
                .map(|claim| (claim.namespace, claim.name)),
            info: PvInfo {
                reclaim_policy: spec.persistent_volume_reclaim_policy,
                labels: (!labels.is_empty()).then(|| labels.clone()),
            },
            facts: VolumeFacts {
                capacity: spec
                    .capacity
                    .and_then(|capacity| capacity.storage.parse().ok())
                    .unwrap_or_default(),
                storage_class: spec.storage_class_name,
                source: spec.source,
                claim: None,
            },
        })
    }

    /// Whether the data lies on a node, where no copier reaches it.
    pub(super) fn is_host_path(&self) -> bool {
        self.facts.source.kind == "hostPath"
    }

    /// The facts of the volume with those of its claim.
    pub(super) fn facts_with(&self, claim: Option<&Claim>) -> VolumeFacts {
        VolumeFacts {
            claim: claim.map(|claim| claim.facts.clone()),
            ..self.facts.clone()
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireClaim {
    spec: WireClaimSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireClaimSpec {
    volume_name: String,
}

#[derive(Deserialize)]
struct WireVolume {
    spec: WireVolumeSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireVolumeSpec {
    #[serde(default)]
    capacity: Option<WireCapacity>,
    #[serde(default)]
    claim_ref: Option<WireClaimRef>,
    #[serde(default)]
    persistent_volume_reclaim_policy: String,
    #[serde(default)]
    storage_class_name: String,
    #[serde(flatten)]
    source: VolumeSourceFacts,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireCapacity {
    storage: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireClaimRef {
    namespace: String,
    name: String,
}
