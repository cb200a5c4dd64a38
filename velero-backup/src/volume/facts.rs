//! What decisions about volumes look at, read from pods, claims and PersistentVolumes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use velero_core::RawItem;
use velero_core::artifact::PvInfo;
use velero_core::names::annotations;
use velero_core::policy::{ClaimFacts, VolumeFacts, VolumeSourceFacts};

/// A claim by namespace and name.
pub(super) type ClaimKey = (String, String);

/// A pod as far as its volumes go.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    /// Volume names that annotations opt in, and out.
    pub(super) opted_in: Option<String>,
    pub(super) opted_out: Option<String>,
    pub(super) volumes: Vec<Volume>,
    /// Volumes that a container mounts as files.
    mounted: BTreeSet<String>,
    /// Volumes that a container has as block devices.
    devices: BTreeSet<String>,
    phase: String,
    deleting: bool,
}

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) claim: Option<ClaimKey>,
    pub(super) source: VolumeSourceFacts,
}

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

impl Pod {
    /// Reads a pod; nothing when it has another form than Kubernetes gives it.
    pub(super) fn read(item: &RawItem) -> Option<Self> {
        let wire: WirePod = serde_json::from_slice(item.json()).ok()?;
        let head = item.head();
        let mut notes = wire.metadata.annotations.unwrap_or_default();
        let volumes = wire.spec.volumes.unwrap_or_default().into_iter();
        let volumes = volumes.map(|volume| Volume {
            name: volume.name,
            claim: volume
                .persistent_volume_claim
                .map(|source| (head.namespace.clone(), source.claim_name)),
            source: volume.source,
        });
        let containers = wire.spec.containers.unwrap_or_default();
        let names = |of: fn(&WireContainer) -> &Option<Vec<WireName>>| {
            containers
                .iter()
                .filter_map(|container| of(container).as_ref())
                .flatten()
                .map(|used| used.name.clone())
                .collect()
        };
        Some(Self {
            namespace: head.namespace.clone(),
            name: head.name.clone(),
            opted_in: notes.remove(annotations::VOLUMES_TO_BACKUP),
            opted_out: notes.remove(annotations::VOLUMES_TO_EXCLUDE),
            volumes: volumes.collect(),
            mounted: names(|container| &container.volume_mounts),
            devices: names(|container| &container.volume_devices),
            phase: head.phase.clone(),
            deleting: head.deleting,
        })
    }

    /// Why no files of this pod can be copied now, if so.
    pub(super) fn obstacle(&self) -> Option<String> {
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
            claim: spec.claim_ref.map(|claim| (claim.namespace, claim.name)),
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
    containers: Option<Vec<WireContainer>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePodVolume {
    #[serde(default)]
    name: String,
    #[serde(default)]
    persistent_volume_claim: Option<WireClaimSource>,
    #[serde(flatten)]
    source: VolumeSourceFacts,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireClaimSource {
    claim_name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireContainer {
    volume_mounts: Option<Vec<WireName>>,
    volume_devices: Option<Vec<WireName>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireName {
    name: String,
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
