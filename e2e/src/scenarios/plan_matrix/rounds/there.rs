//! Objects that are there already.

use serde_json::{Value, json};

use super::super::kinds::{
    binding, claim, cluster_scoped, config_map, definition, job, named, namespaced, note, object,
    open, pod, secret, service, volume, workload,
};
use super::super::round::Change::{Delete, Keep, Patch, Replace};
use super::super::round::Round;
use super::space;

pub(super) fn kinds(name: &'static str, flags: &[&'static str], differs: &'static str) -> Round {
    let mut round = Round::new(name, flags);
    round.thrice(namespaced(), false, differs);
    round
}

pub(super) fn cluster_kinds(
    name: &'static str,
    flags: &[&'static str],
    differs: &'static str,
) -> Round {
    let mut round = Round::new(name, flags);
    round.thrice(cluster_scoped(), true, differs);
    for (state, change, expected) in [
        ("absent", Delete, "create"),
        ("equal", Keep, "skip-identical"),
        // No policy changes a namespace that is there.
        ("differs", Patch(note()), "conflict"),
    ] {
        round.put(space(&format!("m-{name}-{state}")), change, expected);
    }
    let group = format!("{name}.matrix.example.com");
    for (plural, kind, change, expected) in [
        ("gones", "Gone", Delete, "create"),
        ("equals", "Equal", Keep, "skip-identical"),
        ("others", "Other", Patch(note()), differs),
    ] {
        round.put(
            definition(&group, plural, kind, "v1", open()),
            change,
            expected,
        );
    }
    round
}

/// What no patch can change. Claims and volumes are never deleted to be created anew.
pub(super) fn immutable(
    name: &'static str,
    flags: &[&'static str],
    differs: &'static str,
) -> Round {
    let mut round = Round::new(name, flags);
    let frozen = |value: &str| {
        let mut map = config_map(value);
        map["immutable"] = json!(true);
        map
    };
    let sealed = |value: &str| {
        let mut sealed = secret(value);
        sealed["immutable"] = json!(true);
        sealed
    };
    let mut typed = secret("ours");
    typed["type"] = json!("matrix.example.com/theirs");
    let mut served = workload("StatefulSet", "served");
    served["spec"]["serviceName"] = json!("theirs");
    let mut commanded = pod();
    commanded["spec"]["containers"][0]["command"] = json!(["theirs"]);
    for (name, ours, theirs) in [
        ("data", frozen("ours"), frozen("theirs")),
        ("sealed", sealed("ours"), sealed("theirs")),
        ("type", secret("ours"), typed),
        (
            "headless",
            service(json!({"clusterIP": "None"})),
            service(json!({})),
        ),
        (
            "addressed",
            service(json!({})),
            service(json!({"clusterIP": "None"})),
        ),
        (
            "selector",
            workload("Deployment", "ours"),
            workload("Deployment", "theirs"),
        ),
        (
            "selector",
            workload("ReplicaSet", "ours"),
            workload("ReplicaSet", "theirs"),
        ),
        (
            "selector",
            workload("DaemonSet", "ours"),
            workload("DaemonSet", "theirs"),
        ),
        ("service", workload("StatefulSet", "served"), served),
        (
            "image",
            job("registry.example.com/ours:1"),
            job("registry.example.com/theirs:1"),
        ),
        ("class", claim("nobody"), claim("nobody-else")),
        (
            "ref",
            binding("RoleBinding", "Role", "ours"),
            binding("RoleBinding", "Role", "theirs"),
        ),
        ("command", pod(), commanded),
    ] {
        let expected = match is_kept(&ours) {
            true => "conflict",
            false => differs,
        };
        round.add(&ours, name, Replace(theirs), expected);
    }
    let class = |provisioner: &str| {
        let body = json!({"provisioner": provisioner, "reclaimPolicy": "Retain", "volumeBindingMode": "Immediate"});
        object("storage.k8s.io/v1", "StorageClass", body)
    };
    let priority = |value: i64| {
        object(
            "scheduling.k8s.io/v1",
            "PriorityClass",
            json!({"value": value}),
        )
    };
    let ingress = |name: &str| {
        let body = json!({"spec": {"controller": format!("matrix.example.com/{name}")}});
        object("networking.k8s.io/v1", "IngressClass", body)
    };
    let runtime = |name: &str| object("node.k8s.io/v1", "RuntimeClass", json!({"handler": name}));
    for (ours, theirs) in [
        (
            binding("ClusterRoleBinding", "ClusterRole", "view"),
            binding("ClusterRoleBinding", "ClusterRole", "edit"),
        ),
        (class("example.com/ours"), class("example.com/theirs")),
        (priority(1), priority(2)),
        (ingress("ours"), ingress("theirs")),
        (runtime("ours"), runtime("theirs")),
        (volume("/ours"), volume("/theirs")),
    ] {
        let expected = match is_kept(&ours) {
            true => "conflict",
            false => differs,
        };
        let ours = named(&ours, "", &round.space());
        round.put(ours, Replace(theirs), expected);
    }
    round
}

/// Whether an object holds what would be lost with it.
fn is_kept(object: &Value) -> bool {
    matches!(
        object["kind"].as_str(),
        Some("PersistentVolume" | "PersistentVolumeClaim")
    )
}
