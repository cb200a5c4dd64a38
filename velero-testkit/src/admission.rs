//! What the server sets and refuses beyond the shape of an object: namespaces, addresses and ports of Services,
//! definitions of custom resources, protection of volumes.

mod crds;
pub(crate) use crds::establish;
mod services;
mod volumes;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::objects::{meta, set_meta};
use crate::registry::Resource;
use crate::server::Inner;
use crate::status::ApiError;
use crate::store::State;

/// Refuses creation in a namespace that does not exist or goes away.
pub(crate) fn namespace(
    state: &State,
    resource: &Resource,
    namespace: &str,
    name: &str,
) -> Result<(), ApiError> {
    let Some(found) = state.get("namespaces", namespace) else {
        return Err(ApiError::not_found("namespaces", "", namespace));
    };
    if found.deleting {
        return Err(ApiError::terminating(
            &resource.plural,
            &resource.group,
            name,
            namespace,
        ));
    }
    Ok(())
}

/// Completes a new object. Seeded objects keep what they have.
pub(crate) fn on_create(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    tree: &mut Value,
    seed: bool,
) -> Result<(), ApiError> {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => new_namespace(tree),
        ("", "services") => services::assign(state, None, tree)?,
        ("", "secrets") => string_data(tree),
        ("", "persistentvolumeclaims") => volumes::new_claim(state, tree, seed),
        ("", "persistentvolumes") => volumes::new_volume(tree, seed),
        ("", "pods") => new_pod(tree, seed),
        ("apps", "deployments" | "statefulsets" | "daemonsets" | "replicasets")
        | ("batch", "jobs")
            if !seed =>
        {
            new_workload(resource, tree);
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            crds::on_write(inner, state, None, tree)?
        }
        _ => {}
    }
    Ok(())
}

/// Completes a changed object.
pub(crate) fn on_update(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    old: &Value,
    tree: &mut Value,
    subresource: Option<&str>,
) -> Result<(), ApiError> {
    if subresource.is_some() {
        return Ok(());
    }
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "services") => services::assign(state, Some(old), tree)?,
        ("", "secrets") => string_data(tree),
        ("", "namespaces") => {
            let name = meta(tree, "name").to_owned();
            tree["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            crds::on_write(inner, state, Some(old), tree)?
        }
        _ => {}
    }
    Ok(())
}

fn new_namespace(tree: &mut Value) {
    let name = meta(tree, "name").to_owned();
    if !tree["metadata"]["labels"].is_object() {
        set_meta(tree, "labels", json!({}));
    }
    tree["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
    let finalizers = tree["spec"]["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let own = Value::from("kubernetes");
    if !finalizers.contains(&own) {
        let mut all = finalizers;
        all.push(own);
        tree["spec"] = json!({"finalizers": all});
    }
    tree["status"] = json!({"phase": "Active"});
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

fn new_pod(tree: &mut Value, seed: bool) {
    if seed && tree["status"]["phase"].is_string() {
        return;
    }
    tree["status"] = json!({"phase": "Pending", "qosClass": qos(&tree["spec"])});
    let spec = &mut tree["spec"];
    if spec["serviceAccountName"]
        .as_str()
        .is_none_or(str::is_empty)
    {
        spec["serviceAccountName"] = "default".into();
        spec["serviceAccount"] = "default".into();
    }
    if spec["priority"].is_null() {
        spec["priority"] = 0.into();
        spec["preemptionPolicy"] = "PreemptLowerPriority".into();
    }
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        if !tolerations
            .iter()
            .any(|t| t["key"] == key && (t["effect"] == "NoExecute" || t["effect"].is_null()))
        {
            tolerations.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
    spec["tolerations"] = tolerations.into();
}

/// Quality of service of a pod, from requests and limits.
fn qos(spec: &Value) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array().into_iter().flatten() {
            let (requests, limits) = (
                &container["resources"]["requests"],
                &container["resources"]["limits"],
            );
            any |= requests.as_object().is_some_and(|o| !o.is_empty())
                || limits.as_object().is_some_and(|o| !o.is_empty());
            for key in ["cpu", "memory"] {
                let limit = limits.get(key);
                guaranteed &= limit.is_some() && requests.get(key).is_none_or(|r| Some(r) == limit);
            }
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// What the server itself writes into new workloads.
fn new_workload(resource: &Resource, tree: &mut Value) {
    if resource.plural == "daemonsets" {
        tree["metadata"]["annotations"]["deprecated.daemonset.template.generation"] = "1".into();
    }
    if resource.plural == "jobs" && tree["spec"]["manualSelector"] != Value::Bool(true) {
        let (uid, name) = (meta(tree, "uid").to_owned(), meta(tree, "name").to_owned());
        let labels = &mut tree["spec"]["template"]["metadata"]["labels"];
        for (key, value) in [
            ("batch.kubernetes.io/controller-uid", &uid),
            ("controller-uid", &uid),
            ("batch.kubernetes.io/job-name", &name),
            ("job-name", &name),
        ] {
            labels[key] = value.clone().into();
        }
        if tree["spec"]["selector"].is_null() {
            tree["spec"]["selector"] =
                json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
        }
    }
}
