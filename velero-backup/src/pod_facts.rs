//! What blocks and hooks need to know of a pod.

use std::collections::BTreeMap;

use serde::Deserialize;
use velero_core::RawItem;
use velero_core::hook::{BackupHookRules, HookPhase, PodHooks};

/// The few facts of a pod by which its block is formed and its hooks run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PodFacts {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) containers: Vec<String>,
    /// Claims that the pod's volumes come from, each once.
    pub(crate) claims: Vec<String>,
    /// Whether the pod has run to its end, well or badly.
    pub(crate) ended: bool,
    pub(crate) pre: PodHooks,
    pub(crate) post: PodHooks,
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
#[serde(default)]
struct WireContainer {
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireVolume {
    persistent_volume_claim: Option<WireClaim>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireClaim {
    claim_name: String,
}

impl PodFacts {
    /// Reads a pod. One of another form than Kubernetes gives it has no claims and only the hooks of the spec.
    pub(crate) fn read(pod: &RawItem, rules: &BackupHookRules) -> Self {
        let wire: Wire = serde_json::from_slice(pod.json()).unwrap_or_default();
        let head = pod.head();
        let annotations = wire.metadata.annotations.unwrap_or_default();
        let hooks = |phase| rules.of_pod(&head.namespace, &head.labels, &annotations, phase);
        let mut claims: Vec<String> = Vec::new();
        for volume in wire.spec.volumes.unwrap_or_default() {
            let name = volume
                .persistent_volume_claim
                .unwrap_or_default()
                .claim_name;
            if !name.is_empty() && !claims.contains(&name) {
                claims.push(name);
            }
        }
        Self {
            containers: wire
                .spec
                .containers
                .unwrap_or_default()
                .into_iter()
                .map(|c| c.name)
                .collect(),
            claims,
            ended: matches!(head.phase.as_str(), "Succeeded" | "Failed"),
            pre: hooks(HookPhase::Pre),
            post: hooks(HookPhase::Post),
            namespace: head.namespace.clone(),
            name: head.name.clone(),
        }
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
        assert!(!plain.has_hooks() && !plain.ended && plain.claims.is_empty());
        let claim = |name: &str| json!({"name": "v", "persistentVolumeClaim": {"claimName": name}});
        let busy = read(
            json!({"post.hook.backup.velero.io/command": "x"}),
            json!({"containers": [{"name": "a"}, {"name": "b"}], "volumes": [claim("d"), {"name": "e", "emptyDir": {}}, claim("d"), claim("")]}),
            "Succeeded",
        );
        assert!(busy.has_hooks() && busy.ended);
        assert_eq!(
            (busy.claims, busy.containers),
            (vec!["d".to_owned()], vec!["a".to_owned(), "b".to_owned()])
        );
    }
}
