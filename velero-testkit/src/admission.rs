//! What the server sets and refuses beyond the shape of an object: namespaces, addresses and ports of Services,
//! definitions of custom resources, protection of volumes.

mod crds;
mod pods;
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
        ("", "persistentvolumeclaims") => volumes::new_claim(state, tree, seed),
        ("", "persistentvolumes") => {
            volumes::new_volume(tree, seed, &crate::clock::seconds(inner.now()))
        }
        ("", "pods") => pods::new_pod(state, tree, seed)?,
        ("apps", "deployments" | "statefulsets" | "daemonsets" | "replicasets")
        | ("batch", "jobs")
            if !seed =>
        {
            new_workload(resource, tree);
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => crds::on_write(None, tree)?,
        _ => {}
    }
    Ok(())
}

/// Completes a changed object.
pub(crate) fn on_update(
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
        ("", "namespaces") => {
            let name = meta(tree, "name").to_owned();
            tree["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
        }
        ("apps", "daemonsets") => {
            const GENERATION: &str = "deprecated.daemonset.template.generation";
            let before = old["metadata"]["annotations"][GENERATION]
                .as_str()
                .unwrap_or("0");
            let changed = old["spec"]["template"] != tree["spec"]["template"];
            let next = before.parse::<i64>().unwrap_or(0) + i64::from(changed);
            tree["metadata"]["annotations"][GENERATION] = next.to_string().into();
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => crds::on_write(Some(old), tree)?,
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
        if tree["metadata"]["labels"].is_null() {
            tree["metadata"]["labels"] = tree["spec"]["template"]["metadata"]["labels"].clone();
        }
        if tree["spec"]["selector"].is_null() {
            tree["spec"]["selector"] =
                json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
        }
    }
}
