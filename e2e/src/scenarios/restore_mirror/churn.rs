//! Random changes to objects of many kinds.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    Kubectl,
    state::{name, text},
};

/// Numbers that a seed determines (splitmix64).
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }
}

/// Kinds whose objects are deleted, changed and copied: those that no controller changes.
const CALM: [&str; 23] = [
    "Book",
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "CronJob",
    "HorizontalPodAutoscaler",
    "Ingress",
    "IngressClass",
    "Lease",
    "LimitRange",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "PriorityClass",
    "ResourceQuota",
    "Role",
    "RoleBinding",
    "Secret",
    "Service",
    "ServiceAccount",
    "Shelf",
    "StorageClass",
    "Deployment",
];
/// Those of them that are not deleted: their data, or their pods, would go with them.
const NOT_DELETED: [&str; 2] = ["PersistentVolumeClaim", "Deployment"];
/// Those of them whose status controllers write.
const WATCHED: [&str; 7] = [
    "CronJob",
    "Deployment",
    "HorizontalPodAutoscaler",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "ResourceQuota",
    "ClusterRole",
];

/// Whether only users change an object.
pub(super) fn is_calm(object: &Value) -> bool {
    let kind = text(object, "/kind");
    CALM.contains(&kind) && !WATCHED.contains(&kind)
}

/// `apiVersion/Kind namespace/name`.
pub(super) fn key(object: &Value) -> String {
    let (version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    format!(
        "{version}/{kind} {}/{}",
        text(object, "/metadata/namespace"),
        name(object)
    )
}

/// What was done to a cluster.
pub(super) struct Churn {
    pub(super) added: BTreeSet<String>,
    pub(super) changed: usize,
    pub(super) replaced: usize,
    pub(super) deleted: usize,
}

impl Churn {
    /// Deletes, changes and adds objects at random.
    pub(super) async fn make(
        kubectl: &Kubectl,
        before: &[Value],
        rng: &mut Rng,
        round: usize,
    ) -> Result<Self> {
        let mut churn = Self {
            added: BTreeSet::new(),
            changed: 0,
            replaced: 0,
            deleted: 0,
        };
        let (mut deletions, mut additions) = (Vec::new(), definitions(round));
        let touched: Vec<&Value> = before.iter().filter(|object| is_touched(object)).collect();
        for object in touched {
            let kind = text(object, "/kind");
            match rng.below(10) {
                0 | 1 if !NOT_DELETED.contains(&kind) => deletions.push(shell(object)),
                2..=4 => {
                    churn.change(kubectl, object, rng).await?;
                }
                // Nobody provisions a volume for a second one of this class.
                5 | 6 if text(object, "/spec/storageClassName") == "keep" => {}
                5 | 6 => {
                    additions.push(copy(object, &format!("since-{round}-{}", additions.len())))
                }
                _ => {}
            }
        }
        churn.deleted = deletions.len();
        act(kubectl, "delete", &deletions).await?;
        churn.replace(kubectl, rng).await?;
        churn.added.extend(additions.iter().map(key));
        // Definitions come first, and are served before their objects come.
        let (first, rest): (Vec<_>, Vec<_>) = additions
            .into_iter()
            .partition(|object| text(object, "/kind") == "CustomResourceDefinition");
        act(kubectl, "create", &first).await?;
        for definition in &first {
            let definition = format!("crd/{}", name(definition));
            kubectl
                .ok(&[
                    "wait",
                    "--for=condition=Established",
                    &definition,
                    "--timeout=60s",
                ])
                .await?;
        }
        act(kubectl, "create", &rest).await?;
        Ok(churn)
    }

    async fn change(&mut self, kubectl: &Kubectl, object: &Value, rng: &mut Rng) -> Result<()> {
        let mark = rng.below(1_000_000).to_string();
        let mut patch = json!({"metadata": {"labels": {"changed.example.com/by": "churn"}, "annotations": {"example.com/mark": mark}}});
        let frozen = object["immutable"] == json!(true);
        match text(object, "/kind") {
            "ConfigMap" if !frozen => patch["data"] = json!({"mark": mark, "greeting": null}),
            "Secret" if !frozen => patch["data"] = json!({"mark": "bWFyaw=="}),
            "Role" => patch["rules"] = json!([]),
            "CronJob" => patch["spec"] = json!({"schedule": "1 2 3 4 *"}),
            "Book" | "Shelf" => patch["spec"] = json!({"pages": 1, "mark": {"deep": [mark, null]}}),
            "Lease" => patch["spec"] = json!({"holderIdentity": mark}),
            "PodDisruptionBudget" => patch["spec"] = json!({"minAvailable": 0}),
            "HorizontalPodAutoscaler" => patch["spec"] = json!({"maxReplicas": 9}),
            "ResourceQuota" => patch["spec"] = json!({"hard": {"pods": "90", "secrets": "300"}}),
            "PriorityClass" => patch["description"] = json!(mark),
            _ => {}
        }
        let (patch, kind) = (patch.to_string(), kind_name(object));
        let mut args = vec!["patch", &kind, name(object), "--type=merge", "-p", &patch];
        let namespace = text(object, "/metadata/namespace");
        if !namespace.is_empty() {
            args.extend(["-n", namespace]);
        }
        kubectl.ok(&args).await?;
        self.changed += 1;
        Ok(())
    }

    /// Puts others in the place of objects that cannot be changed.
    async fn replace(&mut self, kubectl: &Kubectl, rng: &mut Rng) -> Result<()> {
        for team in ["team-0", "team-1"] {
            let object = |kind: &str, name: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": team}});
            let mut map = object("ConfigMap", "frozen");
            map["immutable"] = json!(true);
            map["data"] = json!({"a": rng.below(100).to_string()});
            let mut secret = object("Secret", "login");
            secret["type"] = json!("example.com/other");
            for other in [map, secret] {
                if rng.below(3) == 0 {
                    continue;
                }
                let found = shell(&other);
                act(kubectl, "delete", &[found]).await?;
                act(kubectl, "create", &[other]).await?;
                self.replaced += 1;
            }
        }
        Ok(())
    }
}

/// Whether an object of the world is changed: one of the teams', or one of what they share.
fn is_touched(object: &Value) -> bool {
    let namespace = text(object, "/metadata/namespace");
    let shared = ["team-reader", "important", "edge", "keep"];
    let is_shared = namespace.is_empty()
        && (shared.contains(&name(object)) || name(object).starts_with("shelf-"));
    CALM.contains(&text(object, "/kind"))
        && (namespace.starts_with("team-") || is_shared)
        && object["metadata"]["ownerReferences"]
            .as_array()
            .is_none_or(Vec::is_empty)
        && !["default", "kube-root-ca.crt"].contains(&name(object))
}

/// `books.library.example.com`, or the kind where that is enough.
fn kind_name(object: &Value) -> String {
    let (version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    match version.split_once('/') {
        Some((group, version)) => format!("{kind}.{version}.{group}"),
        None => kind.to_owned(),
    }
}

/// An object by its name alone.
fn shell(object: &Value) -> Value {
    let mut shell = json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": {"name": name(object)}});
    let namespace = text(object, "/metadata/namespace");
    if !namespace.is_empty() {
        shell["metadata"]["namespace"] = json!(namespace);
    }
    shell
}

/// An object of the same content and another name.
fn copy(object: &Value, called: &str) -> Value {
    let mut copy = object.clone();
    let labels = object["metadata"]["labels"].clone();
    copy["metadata"] = shell(object)["metadata"].clone();
    copy["metadata"]["name"] = json!(called);
    if labels.is_object() {
        copy["metadata"]["labels"] = labels;
    }
    let fields = copy.as_object_mut();
    if let Some(fields) = fields {
        fields.remove("status");
        fields.remove("secrets");
    }
    if let Some(spec) = copy.get_mut("spec").and_then(Value::as_object_mut) {
        for chosen in [
            "clusterIP",
            "clusterIPs",
            "healthCheckNodePort",
            "volumeName",
        ] {
            spec.remove(chosen);
        }
        for port in spec
            .get_mut("ports")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(port) = port.as_object_mut() {
                port.remove("nodePort");
            }
        }
    }
    copy
}

/// What is always added: a definition with an object, a pod without an owner, a volume of nobody's.
fn definitions(round: usize) -> Vec<Value> {
    let (plural, kind) = (format!("films{round}"), format!("Film{round}"));
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let meta = |called: &str| json!({"name": format!("{called}-{round}"), "namespace": "team-1"});
    vec![
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.cinema.example.com")},
            "spec": {"group": "cinema.example.com", "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": open}}]}}),
        json!({"apiVersion": "cinema.example.com/v1", "kind": kind, "metadata": meta("film"), "spec": {"minutes": 90}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta("lone"), "spec": {"nodeSelector": {"type": "kwok"},
            "containers": [{"name": "main", "image": "registry.example.com/lone:1"}]}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("held-{round}"), "namespace": "team-0"},
            "data": {"a": "b"}}),
    ]
}

async fn act(kubectl: &Kubectl, verb: &str, objects: &[Value]) -> Result<()> {
    if objects.is_empty() {
        return Ok(());
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let mut args = vec![verb, "-f", "-"];
    if verb == "delete" {
        args.push("--ignore-not-found");
    }
    kubectl.ok_with(&args, &list).await.map(drop)
}
