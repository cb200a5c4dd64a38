//! Checks of single kinds: what must be there, and what cannot change.

use serde_json::Value;

use crate::registry::Resource;
use crate::status::Cause;

/// Fields that a kind needs: (group, plural, JSON pointer, field in the message).
const REQUIRED: [(&str, &str, &str, &str); 12] = [
    ("apps", "deployments", "/spec/selector", "spec.selector"),
    ("apps", "replicasets", "/spec/selector", "spec.selector"),
    ("apps", "statefulsets", "/spec/selector", "spec.selector"),
    ("apps", "daemonsets", "/spec/selector", "spec.selector"),
    ("", "pods", "/spec/containers", "spec.containers"),
    (
        "apps",
        "deployments",
        "/spec/template/spec/containers",
        "spec.template.spec.containers",
    ),
    (
        "apps",
        "statefulsets",
        "/spec/template/spec/containers",
        "spec.template.spec.containers",
    ),
    (
        "apps",
        "daemonsets",
        "/spec/template/spec/containers",
        "spec.template.spec.containers",
    ),
    (
        "batch",
        "jobs",
        "/spec/template/spec/containers",
        "spec.template.spec.containers",
    ),
    (
        "",
        "persistentvolumeclaims",
        "/spec/accessModes",
        "spec.accessModes",
    ),
    ("", "persistentvolumes", "/spec/capacity", "spec.capacity"),
    (
        "storage.k8s.io",
        "storageclasses",
        "/provisioner",
        "provisioner",
    ),
];

/// Fields that never change once set: (group, plural, JSON pointer, field, reason).
const FIXED: [(&str, &str, &str, &str, &str); 14] = [
    (
        "apps",
        "deployments",
        "/spec/selector",
        "spec.selector",
        "field is immutable",
    ),
    (
        "apps",
        "daemonsets",
        "/spec/selector",
        "spec.selector",
        "field is immutable",
    ),
    (
        "apps",
        "replicasets",
        "/spec/selector",
        "spec.selector",
        "field is immutable",
    ),
    (
        "batch",
        "jobs",
        "/spec/selector",
        "spec.selector",
        "field is immutable",
    ),
    (
        "batch",
        "jobs",
        "/spec/template",
        "spec.template",
        "field is immutable",
    ),
    ("", "secrets", "/type", "type", "field is immutable"),
    (
        "rbac.authorization.k8s.io",
        "rolebindings",
        "/roleRef",
        "roleRef",
        "cannot change roleRef",
    ),
    (
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        "/roleRef",
        "roleRef",
        "cannot change roleRef",
    ),
    (
        "storage.k8s.io",
        "storageclasses",
        "/provisioner",
        "provisioner",
        "field is immutable",
    ),
    (
        "storage.k8s.io",
        "storageclasses",
        "/parameters",
        "parameters",
        "field is immutable",
    ),
    (
        "scheduling.k8s.io",
        "priorityclasses",
        "/value",
        "value",
        "field is immutable",
    ),
    (
        "",
        "persistentvolumeclaims",
        "/spec/accessModes",
        "spec",
        "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
    ),
    (
        "",
        "persistentvolumeclaims",
        "/spec/storageClassName",
        "spec",
        "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
    ),
    (
        "apps",
        "statefulsets",
        "/spec/serviceName",
        "spec",
        "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
    ),
];

fn empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    }
}

/// What is wrong with an object of a built-in kind.
pub(crate) fn object(resource: &Resource, tree: &Value) -> Vec<Cause> {
    if resource.custom.is_some() {
        return custom(resource, tree);
    }
    let of_kind = REQUIRED
        .iter()
        .filter(|(group, plural, ..)| resource.is(group, plural));
    let mut causes: Vec<Cause> = of_kind
        .filter(|(_, _, pointer, _)| empty(tree.pointer(pointer)))
        .map(|(_, _, _, field)| Cause::required(*field, ""))
        .collect();
    if resource.group == "apps" && resource.plural != "controllerrevisions" {
        causes.extend(selector_matches(tree));
    }
    for (path, spec) in pod_specs(resource, tree) {
        causes.extend(pod_spec(&path, spec));
    }
    if matches!(resource.plural.as_str(), "configmaps" | "secrets") && resource.group.is_empty() {
        for key in tree["data"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, _)| k)
        {
            let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if key.is_empty()
                || key.len() > 253
                || !key.chars().all(ok)
                || key == "."
                || key == ".."
            {
                let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                causes.push(Cause::invalid(
                    format!("data[{key}]"),
                    &Value::from(key.as_str()),
                    why,
                ));
            }
        }
    }
    causes
}

/// The selector of a workload must select the pods of its template.
fn selector_matches(tree: &Value) -> Option<Cause> {
    let labels = &tree["spec"]["template"]["metadata"]["labels"];
    let wanted = tree["spec"]["selector"]["matchLabels"].as_object()?;
    let missing = wanted.iter().any(|(k, v)| labels.get(k) != Some(v));
    missing.then(|| {
        Cause::invalid(
            "spec.template.metadata.labels",
            labels,
            "`selector` does not match template `labels`",
        )
    })
}

fn pod_specs<'a>(resource: &Resource, tree: &'a Value) -> Vec<(String, &'a Value)> {
    let path = match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => "/spec",
        ("apps", "deployments" | "replicasets" | "daemonsets") | ("batch", "jobs") => {
            "/spec/template/spec"
        }
        ("batch", "cronjobs") => "/spec/jobTemplate/spec/template/spec",
        _ => return Vec::new(),
    };
    let dotted = path.trim_start_matches('/').replace('/', ".");
    tree.pointer(path)
        .map(|spec| vec![(dotted, spec)])
        .unwrap_or_default()
}

fn pod_spec(path: &str, spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let volumes: Vec<&str> = spec["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|v| v["name"].as_str())
        .collect();
    for list in ["initContainers", "containers"] {
        let mut names: Vec<&str> = Vec::new();
        for (index, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let at = format!("{path}.{list}[{index}]");
            let name = container["name"].as_str().unwrap_or_default();
            if name.is_empty() {
                causes.push(Cause::required(format!("{at}.name"), ""));
            } else if names.contains(&name) {
                causes.push(Cause {
                    reason: "FieldValueDuplicate",
                    message: format!("Duplicate value: \"{name}\""),
                    field: format!("{at}.name"),
                });
            }
            names.push(name);
            for (mount, item) in container["volumeMounts"]
                .as_array()
                .into_iter()
                .flatten()
                .enumerate()
            {
                let volume = item["name"].as_str().unwrap_or_default();
                if !volumes.contains(&volume) {
                    causes.push(Cause {
                        reason: "FieldValueNotFound",
                        message: format!("Not found: \"{volume}\""),
                        field: format!("{at}.volumeMounts[{mount}].name"),
                    });
                }
            }
        }
    }
    causes
}

/// Required fields of a custom resource.
fn custom(resource: &Resource, tree: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let Some(openapi) = resource.custom.as_ref().and_then(|c| c.openapi.as_ref()) {
        check_schema("", openapi, tree, &mut causes);
    }
    causes
}

fn check_schema(path: &str, schema: &Value, value: &Value, causes: &mut Vec<Cause>) {
    let at = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    if let Some(allowed) = schema["enum"].as_array()
        && !value.is_null()
        && !allowed.contains(value)
    {
        let list: Vec<String> = allowed
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        causes.push(Cause::unsupported(path, value, &list));
    }
    if let (Some(minimum), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
        && number < minimum
    {
        let why = format!("{path} in body should be greater than or equal to {minimum}");
        causes.push(Cause::invalid(path, value, &why));
    }
    match value {
        Value::Object(map) => {
            for key in schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                if !map.contains_key(key) {
                    causes.push(Cause::required(at(key), ""));
                }
            }
            for (key, child) in map {
                if let Some(sub) = schema["properties"]
                    .get(key)
                    .or_else(|| schema.get("additionalProperties"))
                {
                    check_schema(&at(key), sub, child, causes);
                }
            }
        }
        Value::Array(items) => {
            for (index, child) in items.iter().enumerate() {
                check_schema(&format!("{path}[{index}]"), &schema["items"], child, causes);
            }
        }
        _ => {}
    }
}

/// What a change may not change.
pub(crate) fn change(resource: &Resource, old: &Value, new: &Value) -> Vec<Cause> {
    if resource.custom.is_some() {
        return Vec::new();
    }
    let mut causes = Vec::new();
    for (group, plural, pointer, field, why) in FIXED {
        if !resource.is(group, plural) {
            continue;
        }
        let (before, after) = (old.pointer(pointer), new.pointer(pointer));
        if before != after && !empty(before) {
            let value = after.cloned().unwrap_or_default();
            causes.push(if field == "spec" {
                Cause::forbidden(field, why)
            } else {
                Cause::invalid(field, &value, why)
            });
        }
    }
    if resource.group.is_empty() && matches!(resource.plural.as_str(), "configmaps" | "secrets") {
        causes.extend(immutable_data(old, new));
    }
    if resource.is("", "services") {
        let (before, after) = (&old["spec"]["clusterIP"], &new["spec"]["clusterIP"]);
        let external = new["spec"]["type"] == "ExternalName";
        if before.as_str().is_some_and(|ip| !ip.is_empty()) && before != after && !external {
            causes.push(Cause::invalid(
                "spec.clusterIPs[0]",
                after,
                "may not change once set",
            ));
        }
    }
    if resource.is("", "persistentvolumes")
        && old["spec"]["persistentVolumeSource"] != new["spec"]["persistentVolumeSource"]
    {
        causes.push(Cause::forbidden(
            "spec.persistentvolumesource",
            "spec.persistentvolumesource is immutable after creation",
        ));
    }
    if resource.is("", "persistentvolumeclaims") {
        let (before, after) = (&old["spec"]["volumeName"], &new["spec"]["volumeName"]);
        if before.as_str().is_some_and(|v| !v.is_empty()) && before != after {
            let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            causes.push(Cause::forbidden("spec", why));
        }
    }
    causes
}

fn immutable_data(old: &Value, new: &Value) -> Option<Cause> {
    if old["immutable"] != Value::Bool(true) {
        return None;
    }
    let changed = ["data", "binaryData", "immutable"]
        .into_iter()
        .find(|key| old.get(key) != new.get(key))?;
    Some(Cause::forbidden(
        changed,
        "field is immutable when `immutable` is set",
    ))
}
