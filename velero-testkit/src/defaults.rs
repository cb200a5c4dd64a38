//! Defaults of built-in kinds: one table by type, and the rules that look at more than one field
//! (Go: `pkg/apis/*/v1/defaults.go` and `zz_generated.defaults.go`).

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::registry::Resource;
use crate::schema::{Schema, Ty, TypeId};

/// One line each: type, field, JSON; set where the field is absent.
const TABLE: &str = include_str!("defaults.txt");

type Defaults = HashMap<&'static str, Vec<(&'static str, Value)>>;

fn table() -> &'static Defaults {
    static PARSED: OnceLock<Defaults> = OnceLock::new();
    PARSED.get_or_init(|| {
        let mut map: Defaults = HashMap::new();
        for line in TABLE.lines() {
            let mut words = line.splitn(3, ' ');
            if let (Some(ty), Some(field), Some(text)) = (words.next(), words.next(), words.next())
            {
                map.entry(ty)
                    .or_default()
                    .push((field, serde_json::from_str(text).unwrap_or_default()));
            }
        }
        map
    })
}

fn absent(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    }
}

fn set(tree: &mut Value, field: &str, default: impl Into<Value>) {
    if tree.is_object() && absent(tree.get(field)) {
        tree[field] = default.into();
    }
}

/// Fills the defaults of an object of a built-in kind.
pub(crate) fn apply(resource: &Resource, tree: &mut Value) {
    let Some(root) = &resource.root else { return };
    walk(&root.schema, root.id, tree);
    if resource.is("", "pods") {
        pod(tree);
    }
}

fn walk(schema: &Schema, id: TypeId, value: &mut Value) {
    match (schema.ty(id), &mut *value) {
        (Ty::Struct(s), Value::Object(map)) => {
            if let Some(defaults) = table().get(s.name.as_ref()) {
                for (field, default) in defaults {
                    if absent(map.get(*field)) {
                        map.insert((*field).to_owned(), default.clone());
                    }
                }
            }
            for (key, child) in map.iter_mut() {
                if matches!(child, Value::Object(_) | Value::Array(_)) {
                    walk(schema, schema.child(id, key), child);
                }
            }
            special(&s.name, value);
        }
        (Ty::Map { elem, .. }, Value::Object(map)) => map
            .values_mut()
            .for_each(|child| walk(schema, *elem, child)),
        (Ty::List { elem, .. }, Value::Array(items)) => items
            .iter_mut()
            .for_each(|child| walk(schema, *elem, child)),
        _ => {}
    }
}

/// Rules that look at several fields of a type.
fn special(name: &str, tree: &mut Value) {
    match name {
        "core.v1.Container" | "core.v1.EphemeralContainer" => {
            let policy = pull_policy(tree["image"].as_str().unwrap_or_default());
            set(tree, "imagePullPolicy", policy);
        }
        "core.v1.PodSpec" => {
            let account = tree["serviceAccountName"].clone();
            let old = tree["serviceAccount"].clone();
            if !absent(Some(&account)) {
                tree["serviceAccount"] = account;
            } else if !absent(Some(&old)) {
                tree["serviceAccountName"] = old;
            }
        }
        "core.v1.Volume" if tree.as_object().is_some_and(|v| v.len() <= 1) => {
            tree["emptyDir"] = json!({});
        }
        "core.v1.ServiceSpec" => service(tree),
        "core.v1.ReplicationController" => {
            let labels = tree["spec"]["template"]["metadata"]["labels"].clone();
            if labels.is_object() {
                set(&mut tree["spec"], "selector", labels.clone());
                set(&mut tree["metadata"], "labels", labels);
            }
        }
        "core.v1.NodeStatus" if tree["capacity"].is_object() => {
            let capacity = tree["capacity"].clone();
            set(tree, "allocatable", capacity);
        }
        "core.v1.LimitRangeItem" if tree["type"] == "Container" => limit_range(tree),
        "core.v1.Namespace" => {
            let name = tree["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if !name.is_empty() {
                tree["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
            }
        }
        "core.v1.Secret" => string_data(tree),
        _ => special_elsewhere(name, tree),
    }
}

/// Rules outside the core group.
fn special_elsewhere(name: &str, tree: &mut Value) {
    match name {
        _ if name.starts_with("apps.") => special_in_apps(name, tree),
        "batch.v1.Job" => {
            let labels = tree["spec"]["template"]["metadata"]["labels"].clone();
            if labels.is_object() && tree["metadata"].is_object() {
                set(&mut tree["metadata"], "labels", labels);
            }
            if tree["spec"].is_object() {
                job(&mut tree["spec"]);
            }
        }
        "apiextensions.v1.CustomResourceDefinitionNames" => {
            let kind = tree["kind"].as_str().unwrap_or_default().to_owned();
            if !kind.is_empty() {
                set(tree, "singular", kind.to_lowercase());
                set(tree, "listKind", format!("{kind}List"));
            }
        }
        "rbac.v1.Subject" => {
            if matches!(tree["kind"].as_str(), Some("User" | "Group")) {
                set(tree, "apiGroup", "rbac.authorization.k8s.io");
            }
        }
        "networking.v1.NetworkPolicySpec" if absent(tree.get("policyTypes")) => {
            let egress = tree["egress"].as_array().is_some_and(|e| !e.is_empty());
            let types = if egress {
                json!(["Ingress", "Egress"])
            } else {
                json!(["Ingress"])
            };
            tree["policyTypes"] = types;
        }
        _ => {}
    }
}

/// Rules of the group `apps`.
fn special_in_apps(name: &str, tree: &mut Value) {
    match name {
        "apps.v1.DeploymentStrategy" if tree["type"] == "RollingUpdate" => {
            set(tree, "rollingUpdate", json!({}));
            set(&mut tree["rollingUpdate"], "maxUnavailable", "25%");
            set(&mut tree["rollingUpdate"], "maxSurge", "25%");
        }
        "apps.v1.DaemonSetUpdateStrategy" if tree["type"] == "RollingUpdate" => {
            set(tree, "rollingUpdate", json!({}));
            set(&mut tree["rollingUpdate"], "maxUnavailable", 1);
            set(&mut tree["rollingUpdate"], "maxSurge", 0);
        }
        "apps.v1.StatefulSetUpdateStrategy" => {
            if absent(tree.get("type")) {
                tree["type"] = "RollingUpdate".into();
                set(tree, "rollingUpdate", json!({}));
            }
            if tree["type"] == "RollingUpdate" && tree["rollingUpdate"].is_object() {
                set(&mut tree["rollingUpdate"], "partition", 0);
            }
        }
        "apps.v1.StatefulSetSpec" => {
            // Claim templates carry their kind in what the server returns.
            let templates = tree["volumeClaimTemplates"].as_array_mut();
            for claim in templates.into_iter().flatten() {
                set(claim, "apiVersion", "v1");
                set(claim, "kind", "PersistentVolumeClaim");
            }
        }
        "apps.v1.DaemonSet" => {
            let annotations = &mut tree["metadata"]["annotations"];
            set_new(annotations, "deprecated.daemonset.template.generation", "0");
        }
        _ => {}
    }
}

/// Like [`set`], for an object that may be absent itself.
fn set_new(tree: &mut Value, field: &str, default: &str) {
    if absent(tree.get(field)) && (tree.is_null() || tree.is_object()) {
        tree[field] = default.into();
    }
}

/// `stringData` is written into `data`.
fn string_data(tree: &mut Value) {
    use base64::Engine as _;
    let Some(Value::Object(texts)) = crate::objects::remove(tree, "stringData") else {
        return;
    };
    for (key, value) in texts {
        let raw = value.as_str().unwrap_or_default();
        tree["data"][key] = base64::engine::general_purpose::STANDARD.encode(raw).into();
    }
}

/// `Always` for images without a tag or with `latest`.
fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or_default();
    if last.contains('@') {
        return "IfNotPresent";
    }
    match last.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn host_ports(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            for port in container["ports"].as_array_mut().into_iter().flatten() {
                let number = port["containerPort"].clone();
                set(port, "hostPort", number);
            }
            drop_null(container, "ports");
        }
        drop_null(spec, list);
    }
}

/// Takes away what indexing put there.
fn drop_null(tree: &mut Value, key: &str) {
    if let Some(map) = tree.as_object_mut()
        && map.get(key).is_some_and(Value::is_null)
    {
        map.remove(key);
    }
}

fn service(spec: &mut Value) {
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if spec["sessionAffinity"] == "None" {
        crate::objects::remove(spec, "sessionAffinityConfig");
    } else if spec["sessionAffinity"] == "ClientIP"
        && absent(spec.pointer("/sessionAffinityConfig/clientIP/timeoutSeconds"))
    {
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 10800}});
    }
    if let Some(ports) = spec.get_mut("ports").and_then(Value::as_array_mut) {
        for port in ports {
            let number = port["port"].clone();
            if absent(port.get("targetPort")) || port["targetPort"] == 0 {
                port["targetPort"] = number;
            }
        }
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP"
            && spec["externalIPs"]
                .as_array()
                .is_some_and(|l| !l.is_empty()))
    {
        set(spec, "externalTrafficPolicy", "Cluster");
    }
    drop_null(spec, "externalIPs");
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
}

fn limit_range(item: &mut Value) {
    let fill = |item: &mut Value, target: &str, source: &str| {
        for (key, value) in item[source].as_object().cloned().into_iter().flatten() {
            if item[target].get(&key).is_none() {
                item[target][key] = value;
            }
        }
    };
    fill(item, "default", "max");
    fill(item, "defaultRequest", "default");
    fill(item, "defaultRequest", "min");
    for key in ["default", "defaultRequest", "max", "min"] {
        drop_null(item, key);
    }
}

fn job(spec: &mut Value) {
    set(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    set(spec, "manualSelector", false);
    if absent(spec.get("completions")) && absent(spec.get("parallelism")) {
        spec["completions"] = 1.into();
    }
    set(spec, "parallelism", 1);
    let indexed = !absent(spec.get("backoffLimitPerIndex"));
    set(
        spec,
        "backoffLimit",
        if indexed { i64::from(i32::MAX) } else { 6 },
    );
    let failed = !absent(spec.get("podFailurePolicy"));
    set(
        spec,
        "podReplacementPolicy",
        if failed {
            "Failed"
        } else {
            "TerminatingOrFailed"
        },
    );
}

/// Rules of pods that do not hold for templates.
fn pod(tree: &mut Value) {
    let spec = &mut tree["spec"];
    set(spec, "enableServiceLinks", true);
    if spec["hostNetwork"] == Value::Bool(true) {
        host_ports(spec);
    }
    for list in ["containers", "initContainers"] {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for container in containers {
            let limits = container["resources"]["limits"]
                .as_object()
                .cloned()
                .unwrap_or_default();
            for (key, value) in limits {
                if container["resources"]["requests"].get(&key).is_none() {
                    container["resources"]["requests"][key] = value;
                }
            }
            if let Some(resources) = container.get_mut("resources") {
                drop_null(resources, "limits");
                drop_null(resources, "requests");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{TABLE, table};
    use crate::schema::builtin;

    #[test]
    fn every_line_names_a_field() {
        let schema = builtin();
        for line in TABLE.lines() {
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            let id = schema
                .named(words[0])
                .unwrap_or_else(|| panic!("{line}: no such type"));
            assert!(schema.declares(id, words[1]), "{line}: no such field");
            assert!(
                serde_json::from_str::<serde_json::Value>(words[2]).is_ok(),
                "{line}: no JSON"
            );
        }
        assert!(table().len() > 30);
    }
}
