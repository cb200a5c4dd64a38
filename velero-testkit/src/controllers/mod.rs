//! Controllers that make a server look alive: workloads get running pods, claims get volumes. Off unless asked for.
//!
//! Each change of an object asks for one look at it, after the request that made the change. A look changes only what
//! is not as it should be, so looks come to an end.

mod adopt;
mod pods;
mod volumes;
mod workloads;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::registry::Resource;
use crate::server::{Controllers, Inner};
use crate::store::{State, Stored};
use crate::verbs::{CreateOptions, create_tree};

/// The one node.
pub(crate) const NODE: &str = "testkit";
/// The default class, and who provisions for it.
const CLASS: &str = "standard";
const PROVISIONER: &str = "testkit.velero-rs.io/volumes";

fn on(inner: &Inner) -> bool {
    inner.options.controllers == Controllers::All
}

/// After an object was created.
pub(crate) fn created(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    object: &Arc<Stored>,
) {
    look_later(inner, state, resource, object);
}

/// After an object was changed.
pub(crate) fn updated(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    object: &Arc<Stored>,
) {
    look_later(inner, state, resource, object);
}

/// After an object is gone: its owner, or what it was bound to, may have something to do.
pub(crate) fn removed(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    last: &Arc<Stored>,
) {
    if !on(inner) {
        return;
    }
    if resource.is("", "persistentvolumeclaims") {
        let (tree, uid) = (last.tree(), last.uid.clone());
        crate::effects::soon(inner, state, move |inner, state| {
            volumes::release(inner, state, &tree, &uid)
        });
    }
    owner_later(inner, state, last);
}

/// Asks for a look at the controller of an object.
fn owner_later(inner: &Arc<Inner>, state: &mut State, object: &Stored) {
    let tree = object.tree();
    let owners = tree["metadata"]["ownerReferences"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let namespace = object.identity().0.to_owned();
    for owner in owners
        .into_iter()
        .filter(|o| o["controller"] == Value::Bool(true))
    {
        let text = |key: &str| owner[key].as_str().unwrap_or_default().to_owned();
        let Some(resource) = state.registry.by_kind(&text("apiVersion"), &text("kind")) else {
            continue;
        };
        let key = crate::store::key(Some(&namespace), &text("name"));
        crate::effects::soon(inner, state, move |inner, state| {
            look(inner, state, &resource, &key)
        });
    }
}

fn look_later(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    object: &Arc<Stored>,
) {
    if !on(inner) {
        return;
    }
    let watched = matches!(
        (resource.group.as_str(), resource.plural.as_str()),
        (
            "apps",
            "deployments" | "replicasets" | "statefulsets" | "daemonsets"
        ) | ("batch", "jobs")
            | ("", "pods" | "persistentvolumes" | "persistentvolumeclaims")
    );
    if watched {
        let (resource, key) = (resource.clone(), object.key.to_string());
        crate::effects::soon(inner, state, move |inner, state| {
            look(inner, state, &resource, &key)
        });
    }
    if !object.owners.is_empty() {
        owner_later(inner, state, object);
        let (resource, key) = (resource.clone(), object.key.to_string());
        crate::effects::soon(inner, state, move |inner, state| {
            sweep(inner, state, &resource, &key)
        });
    }
}

fn look(inner: &Arc<Inner>, state: &mut State, resource: &Arc<Resource>, key: &str) {
    let Some(live) = state.get(&resource.table, key).filter(|o| !o.deleting) else {
        return;
    };
    match resource.plural.as_str() {
        "deployments" => workloads::deployment(inner, state, resource, &live),
        "replicasets" => workloads::replica_set(inner, state, resource, &live),
        "statefulsets" => workloads::stateful_set(inner, state, resource, &live),
        "daemonsets" => workloads::daemon_set(inner, state, resource, &live),
        "jobs" => workloads::job(inner, state, resource, &live),
        "pods" => pods::run(inner, state, resource, &live),
        "persistentvolumes" => volumes::volume(inner, state, resource, &live),
        "persistentvolumeclaims" => volumes::claim(inner, state, resource, &live),
        _ => {}
    }
}

/// Deletes an object none of whose owners exists.
fn sweep(inner: &Arc<Inner>, state: &mut State, resource: &Arc<Resource>, key: &str) {
    let Some(live) = state
        .get(&resource.table, key)
        .filter(|o| !o.deleting && !o.owners.is_empty())
    else {
        return;
    };
    let tree = live.tree();
    let namespace = live.identity().0.to_owned();
    let owners = tree["metadata"]["ownerReferences"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let lives = owners.iter().any(|owner| {
        let text = |key: &str| owner[key].as_str().unwrap_or_default();
        let Some(kind) = state.registry.by_kind(text("apiVersion"), text("kind")) else {
            return true;
        };
        let namespace = kind.namespaced.then_some(namespace.as_str());
        let found = state.get(&kind.table, &crate::store::key(namespace, text("name")));
        found.is_some_and(|o| o.uid.as_ref() == text("uid"))
    });
    if !lives {
        crate::effects::remove_quietly(inner, state, &resource.table, key);
    }
}

/// Writes an object whose tree was changed; says whether there was anything to write.
fn save(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    live: &Arc<Stored>,
    tree: Value,
) -> bool {
    if tree == live.full(resource) {
        return false;
    }
    let stored = state.put(resource, tree);
    crate::effects::updated(inner, state, resource, live, &stored);
    true
}

/// Creates an object as a controller does; one that is refused is tried again at the next look.
fn make(
    inner: &Arc<Inner>,
    state: &mut State,
    api_version: &str,
    kind: &str,
    namespace: Option<&str>,
    mut tree: Value,
) {
    let Some(resource) = state.registry.by_kind(api_version, kind) else {
        return;
    };
    let validation = crate::query::FieldValidation::Ignore;
    tree["apiVersion"] = api_version.into();
    tree["kind"] = kind.into();
    let options = CreateOptions {
        manager: "kube-controller-manager".into(),
        ..CreateOptions::default()
    };
    let made = crate::verbs::shape(&resource, &mut tree, validation)
        .and_then(|_| create_tree(inner, state, &resource, namespace, tree, &options));
    if let Err(error) = made {
        tracing::debug!(kind, message = error.message, "controller could not create");
    }
}

/// An owner reference to the controller of an object.
fn controlled_by(resource: &Resource, owner: &Stored) -> Value {
    json!([{
        "apiVersion": resource.api_version(), "kind": resource.kind, "name": owner.name(), "uid": owner.uid.as_ref(),
        "controller": true, "blockOwnerDeletion": true,
    }])
}

/// Puts the node and the default class into a new cluster.
pub(crate) fn furnish(inner: &Arc<Inner>) {
    if !on(inner) {
        return;
    }
    let mut state = inner.lock();
    make(
        inner,
        &mut state,
        "v1",
        "Node",
        None,
        json!({"metadata": {"name": NODE}}),
    );
    if let (Some(nodes), Some(live)) = (state.registry.by_table("nodes"), state.get("nodes", NODE))
    {
        let mut tree = live.full(&nodes);
        let capacity = json!({"cpu": "8", "memory": "16Gi", "pods": "250"});
        tree["status"] = json!({
            "capacity": capacity, "allocatable": capacity,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "no kubelet runs here"}],
            "nodeInfo": {
                "kubeletVersion": crate::discovery::VERSION, "operatingSystem": "linux", "architecture": "amd64",
                "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
                "machineID": "", "osImage": "", "systemUUID": "",
            },
        });
        state.put(&nodes, tree);
    }
    let class = json!({
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": PROVISIONER,
    });
    make(
        inner,
        &mut state,
        "storage.k8s.io/v1",
        "StorageClass",
        None,
        class,
    );
}
