//! What blocks, hooks and decisions about volumes need to know of a pod, read from it once.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use velero_core::RawItem;
use velero_core::hook::{BackupHookRules, HookPhase, PodHooks};
use velero_core::names::annotations::{VOLUMES_TO_BACKUP, VOLUMES_TO_EXCLUDE};
use velero_core::policy::VolumeSourceFacts;

/// The few facts of a pod by which its block is formed, its hooks run and its volumes are decided on.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct PodFacts {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) phase: String,
    /// Whether it is being deleted.
    pub(crate) deleting: bool,
    pub(crate) containers: Vec<String>,
    /// Claims that the pod's volumes come from, each once.
    pub(crate) claims: Vec<String>,
    pub(crate) volumes: Vec<PodVolume>,
    /// Volumes that a container mounts as files.
    pub(crate) mounted: BTreeSet<String>,
    /// Volumes that a container has as block devices.
    pub(crate) devices: BTreeSet<String>,
    /// Volume names that annotations opt in for a copy of their files, and out.
    pub(crate) opted_in: Option<String>,
    pub(crate) opted_out: Option<String>,
    pub(crate) pre: PodHooks,
    pub(crate) post: PodHooks,
}

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct PodVolume {
    pub(crate) name: String,
    /// Namespace and name of its claim; the name may be empty.
    pub(crate) claim: Option<(String, String)>,
    pub(crate) source: VolumeSourceFacts,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Wire {
    metadata: WireMeta,
    spec: WireSpec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireMeta {
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireSpec {
    containers: Option<Vec<WireContainer>>,
    volumes: Option<Vec<WireVolume>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireContainer {
    name: String,
    volume_mounts: Option<Vec<WireName>>,
    volume_devices: Option<Vec<WireName>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireName {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireVolume {
    #[serde(default)]
    name: String,
    #[serde(default)]
    persistent_volume_claim: Option<WireClaim>,
    #[serde(flatten)]
    source: VolumeSourceFacts,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireClaim {
    claim_name: String,
}

impl PodFacts {
    /// Reads a pod. One of another form than Kubernetes gives it has no volumes and only the hooks of the spec.
    pub(crate) fn read(pod: &RawItem, rules: &BackupHookRules) -> Self {
        let wire: Wire = serde_json::from_slice(pod.json()).unwrap_or_default();
        let head = pod.head();
        let mut annotations = wire.metadata.annotations.unwrap_or_default();
        let hooks = |phase| rules.of_pod(&head.namespace, &head.labels, &annotations, phase);
        let (pre, post) = (hooks(HookPhase::Pre), hooks(HookPhase::Post));
        let volumes: Vec<PodVolume> = wire
            .spec
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(|volume| PodVolume {
                name: volume.name,
                claim: volume
                    .persistent_volume_claim
                    .map(|source| (head.namespace.clone(), source.claim_name)),
                source: volume.source,
            })
            .collect();
        let containers = wire.spec.containers.unwrap_or_default();
        let used = |of: fn(&WireContainer) -> &Option<Vec<WireName>>| {
            let all = containers.iter().filter_map(|one| of(one).as_ref());
            all.flatten().map(|used| used.name.clone()).collect()
        };
        Self {
            namespace: head.namespace.clone(),
            name: head.name.clone(),
            phase: head.phase.clone(),
            deleting: head.deleting,
            claims: claims(&volumes),
            volumes,
            mounted: used(|container| &container.volume_mounts),
            devices: used(|container| &container.volume_devices),
            containers: containers.into_iter().map(|one| one.name).collect(),
            opted_in: annotations.remove(VOLUMES_TO_BACKUP),
            opted_out: annotations.remove(VOLUMES_TO_EXCLUDE),
            pre,
            post,
        }
    }

    /// Whether the pod has run to its end, well or badly.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }

    /// The hooks of one phase.
    pub(crate) fn hooks(&self, phase: HookPhase) -> &PodHooks {
        match phase {
            HookPhase::Pre => &self.pre,
            HookPhase::Post => &self.post,
        }
    }

    /// Whether there is anything to run.
    pub(crate) fn has_hooks(&self) -> bool {
        !self.pre.calls.is_empty() || !self.post.calls.is_empty()
    }
}

/// The names of the claims of some volumes, each once.
fn claims(volumes: &[PodVolume]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (_, name) in volumes.iter().filter_map(|volume| volume.claim.as_ref()) {
        if !name.is_empty() && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn facts_of_pods() {
        let read = |annotations: serde_json::Value, spec: serde_json::Value, phase: &str| {
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "annotations": annotations},
                "spec": spec, "status": {"phase": phase}});
            PodFacts::read(
                &RawItem::parse(pod.to_string().into()).unwrap(),
                &BackupHookRules::default(),
            )
        };
        let plain = read(json!(null), json!({"containers": null}), "Pending");
        assert!(!plain.has_hooks() && !plain.has_ended() && plain.claims.is_empty());
        let claim = |name: &str| json!({"name": "v", "persistentVolumeClaim": {"claimName": name}});
        let busy = read(
            json!({"post.hook.backup.velero.io/command": "x"}),
            json!({"containers": [{"name": "a"}, {"name": "b"}], "volumes": [claim("d"), {"name": "e", "emptyDir": {}}, claim("d"), claim("")]}),
            "Succeeded",
        );
        assert!(busy.has_hooks() && busy.has_ended());
        assert_eq!(
            (busy.claims, busy.containers),
            (vec!["d".to_owned()], vec!["a".to_owned(), "b".to_owned()])
        );
    }
}
