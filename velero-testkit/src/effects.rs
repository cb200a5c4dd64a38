//! What follows from a write: contents of namespaces, garbage of owners, definitions of custom resources.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::admission;
use crate::objects::{meta, set_meta};
use crate::registry::Resource;
use crate::server::Inner;
use crate::store::{State, Stored, prefix};
use crate::verbs::{CreateOptions, DeleteOptions, create_tree, delete_key, drop_finalized};

const CRDS: &str = "customresourcedefinitions.apiextensions.k8s.io";
const PVC_PROTECTION: &str = "kubernetes.io/pvc-protection";
const PV_PROTECTION: &str = "kubernetes.io/pv-protection";

/// Runs work later, or at once when there is no delay (or no runtime to wait in).
fn later(
    inner: &Arc<Inner>,
    delay: Duration,
    state: &mut State,
    work: impl FnOnce(&Arc<Inner>, &mut State) + Send + 'static,
) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) if !delay.is_zero() => {
            let inner = inner.clone();
            runtime.spawn(async move {
                tokio::time::sleep(delay).await;
                let mut state = inner.lock();
                work(&inner, &mut state);
            });
        }
        _ => work(inner, state),
    }
}

/// Runs work as soon as the current request is answered.
pub(crate) fn soon(
    inner: &Arc<Inner>,
    state: &mut State,
    work: impl FnOnce(&Arc<Inner>, &mut State) + Send + 'static,
) {
    let delay = inner.options.namespace_delay;
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => {
            let inner = inner.clone();
            runtime.spawn(async move {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                let mut state = inner.lock();
                work(&inner, &mut state);
            });
        }
        Err(_) => work(inner, state),
    }
}

/// After an object was created.
pub(crate) fn created(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    object: &Arc<Stored>,
) {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => furnish(inner, state, object.name()),
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            let key = object.key.to_string();
            later(
                inner,
                inner.options.crd_delay,
                state,
                move |inner, state| establish(inner, state, &key),
            );
        }
        _ => {}
    }
    crate::controllers::created(inner, state, resource, object);
}

fn admission_established(tree: &Value) -> bool {
    let conditions = tree["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Established" && c["status"] == "True")
}

fn establish(inner: &Arc<Inner>, state: &mut State, key: &str) {
    let (Some(resource), Some(live)) = (state.registry.by_table(CRDS), state.get(CRDS, key)) else {
        return;
    };
    if live.deleting {
        return;
    }
    let mut tree = live.full(&resource);
    admission::establish(state, &mut tree, &crate::clock::seconds(inner.now()));
    if admission_established(&tree) {
        state.registry.define(&tree);
    }
    state.put(&resource, tree);
}

/// Puts into a new namespace what controllers put there.
fn furnish(inner: &Arc<Inner>, state: &mut State, namespace: &str) {
    let objects = [
        (
            "v1",
            "ServiceAccount",
            json!({"metadata": {"name": "default"}}),
        ),
        (
            "v1",
            "ConfigMap",
            json!({
                "metadata": {
                    "name": "kube-root-ca.crt",
                    "annotations": {"kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."},
                },
                "data": {"ca.crt": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"},
            }),
        ),
    ];
    for (api_version, kind, tree) in objects {
        let Some(resource) = state.registry.by_kind(api_version, kind) else {
            continue;
        };
        let options = CreateOptions {
            manager: "kube-controller-manager".into(),
            ..CreateOptions::default()
        };
        if let Err(error) = create_tree(inner, state, &resource, Some(namespace), tree, &options) {
            tracing::debug!(
                namespace,
                kind,
                message = error.message,
                "namespace not furnished"
            );
        }
    }
}

/// After an object was changed.
pub(crate) fn updated(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    _before: &Arc<Stored>,
    object: &Arc<Stored>,
) {
    if resource.table.as_ref() == CRDS {
        let tree = object.full(resource);
        if admission_established(&tree) && !object.deleting {
            state.registry.define(&tree);
        }
    }
    crate::controllers::updated(inner, state, resource, object);
}

/// Adds the finalizers that hold an object back while something uses it, and takes those away that do not.
pub(crate) fn protect(
    state: &State,
    resource: &Resource,
    live: &Stored,
    finalizers: &mut Vec<Value>,
) {
    if resource.is("", "persistentvolumeclaims") && !claim_in_use(state, &live.key) {
        finalizers.retain(|f| f != PVC_PROTECTION);
    }
    if resource.is("", "persistentvolumes") && live.tree()["status"]["phase"] != "Bound" {
        finalizers.retain(|f| f != PV_PROTECTION);
    }
    let dependents = || state.dependents_of(&live.uid);
    if finalizers.iter().any(|f| f == "orphan") && dependents().is_empty() {
        finalizers.retain(|f| f != "orphan");
    }
    if finalizers.iter().any(|f| f == "foregroundDeletion") && dependents().is_empty() {
        finalizers.retain(|f| f != "foregroundDeletion");
    }
}

fn claim_in_use(state: &State, key: &str) -> bool {
    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
    let prefix = prefix(Some(namespace));
    state.range("pods", &prefix).any(|pod| {
        let tree = pod.tree();
        let volumes = tree["spec"]["volumes"].as_array().into_iter().flatten();
        let done = matches!(
            tree["status"]["phase"].as_str(),
            Some("Succeeded" | "Failed")
        );
        !done
            && volumes
                .into_iter()
                .any(|v| v["persistentVolumeClaim"]["claimName"] == name)
    })
}

/// Whether custom resources of a definition are still there.
pub(crate) fn has_instances(state: &State, resource: &Resource, object: &Stored) -> bool {
    resource.table.as_ref() == CRDS
        && state
            .table(object.name())
            .is_some_and(|t| !t.objects.is_empty())
}

/// After an object got its deletion time.
pub(crate) fn deleting(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    object: &Arc<Stored>,
) {
    let key = object.key.to_string();
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => soon(inner, state, move |inner, state| {
            empty_namespace(inner, state, &key)
        }),
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            for instance in keys(state, &key, "") {
                remove_quietly(inner, state, &key, &instance);
            }
            finish_definition(inner, state, &key);
        }
        _ => {
            let resource = resource.clone();
            soon(inner, state, move |inner, state| {
                propagate(inner, state, &resource, &key)
            });
        }
    }
}

/// Does what the `orphan` and `foregroundDeletion` finalizers stand for.
fn propagate(inner: &Arc<Inner>, state: &mut State, resource: &Arc<Resource>, key: &str) {
    let Some(live) = state.get(&resource.table, key).filter(|o| o.deleting) else {
        return;
    };
    let finalizers = live.tree()["metadata"]["finalizers"].clone();
    let has = |name: &str| {
        finalizers
            .as_array()
            .is_some_and(|l| l.iter().any(|f| f == name))
    };
    if has("orphan") {
        for (table, dependent) in state.dependents_of(&live.uid) {
            disown(state, &table, &dependent, &live.uid);
        }
        lift(inner, state, resource, key, "orphan");
    } else if has("foregroundDeletion") {
        for (table, dependent) in state.dependents_of(&live.uid) {
            remove_quietly(inner, state, &table, &dependent);
        }
        if state.dependents_of(&live.uid).is_empty() {
            lift(inner, state, resource, key, "foregroundDeletion");
        }
    }
}

/// Takes a finalizer away, and the object with its last one.
fn lift(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    key: &str,
    finalizer: &str,
) {
    let Some(live) = state.get(&resource.table, key) else {
        return;
    };
    let mut tree = live.full(resource);
    let mut list: Vec<Value> = tree["metadata"]["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    list.retain(|f| f != finalizer);
    if list.is_empty() {
        crate::objects::clear_meta(&mut tree, "finalizers");
    } else {
        set_meta(&mut tree, "finalizers", list);
    }
    state.put(resource, tree);
    drop_finalized(inner, state, resource, key);
}

/// Lets a volume go that is bound no more.
pub(crate) fn unprotect_volume(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    key: &str,
) {
    lift(inner, state, resource, key, PV_PROTECTION);
}

/// Takes an owner out of a dependent.
fn disown(state: &mut State, table: &str, key: &str, owner: &str) {
    let (Some(resource), Some(live)) = (state.registry.by_table(table), state.get(table, key))
    else {
        return;
    };
    let mut tree = live.full(&resource);
    let mut owners: Vec<Value> = tree["metadata"]["ownerReferences"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    owners.retain(|o| o["uid"] != owner);
    if owners.is_empty() {
        crate::objects::clear_meta(&mut tree, "ownerReferences");
    } else {
        set_meta(&mut tree, "ownerReferences", owners);
    }
    state.put(&resource, tree);
}

fn keys(state: &State, table: &str, prefix: &str) -> Vec<Arc<str>> {
    state.range(table, prefix).map(|o| o.key.clone()).collect()
}

pub(crate) fn remove_quietly(inner: &Arc<Inner>, state: &mut State, table: &str, key: &str) {
    let Some(resource) = state.registry.by_table(table) else {
        return;
    };
    if let Err(error) = delete_key(inner, state, &resource, key, &DeleteOptions::default()) {
        tracing::debug!(table, key, message = error.message, "not deleted");
    }
}

/// After an object is gone.
pub(crate) fn removed(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    last: &Arc<Stored>,
) {
    if resource.table.as_ref() == CRDS {
        state.registry.forget(last.name());
    }
    if let Some(crd) = resource.custom.as_ref().map(|c| c.crd.clone()) {
        finish_definition(inner, state, &crd);
    }
    if inner.options.garbage_collection {
        collect_dependents(inner, state, last);
    }
    if resource.is("", "pods") {
        release_claims(inner, state, last);
    }
    finish_owners(inner, state, last);
    let (namespace, _) = last.identity();
    if !namespace.is_empty() {
        let namespace = namespace.to_owned();
        if state
            .get("namespaces", &namespace)
            .is_some_and(|ns| ns.deleting)
        {
            soon(inner, state, move |inner, state| {
                finish_namespace(inner, state, &namespace)
            });
        }
    }
    crate::controllers::removed(inner, state, resource, last);
}

/// Deletes dependents that have no owner left, and takes the owner out of the others.
fn collect_dependents(inner: &Arc<Inner>, state: &mut State, owner: &Stored) {
    let dependents = state.dependents_of(&owner.uid);
    if dependents.is_empty() {
        return;
    }
    let uid = owner.uid.clone();
    soon(inner, state, move |inner, state| {
        for (table, key) in dependents {
            let Some(live) = state.get(&table, &key).filter(|o| o.owners.contains(&uid)) else {
                continue;
            };
            if live.owners.iter().any(|o| *o != uid) {
                disown(state, &table, &key, &uid);
            } else {
                remove_quietly(inner, state, &table, &key);
            }
        }
    });
}

/// A foreground deletion ends when the last dependent is gone.
fn finish_owners(inner: &Arc<Inner>, state: &mut State, last: &Stored) {
    if last.owners.is_empty() {
        return;
    }
    let namespace = last.identity().0;
    let tree = last.tree();
    for owner in tree["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let text = |key: &str| owner[key].as_str().unwrap_or_default();
        if !state.dependents_of(text("uid")).is_empty() {
            continue;
        }
        let Some(resource) = state.registry.by_kind(text("apiVersion"), text("kind")) else {
            continue;
        };
        let key = crate::store::key(
            Some(namespace).filter(|_| resource.namespaced),
            text("name"),
        );
        let waits = state.get(&resource.table, &key);
        if waits.is_some_and(|o| o.deleting && o.uid.as_ref() == text("uid")) {
            propagate(inner, state, &resource, &key);
        }
    }
}

/// Lets claims go that wait for the last pod that used them.
fn release_claims(inner: &Arc<Inner>, state: &mut State, pod: &Stored) {
    let (namespace, _) = pod.identity();
    let prefix = prefix(Some(namespace));
    let waiting: Vec<Arc<str>> = state
        .range("persistentvolumeclaims", &prefix)
        .filter(|c| c.deleting)
        .map(|c| c.key.clone())
        .collect();
    for key in waiting {
        if !claim_in_use(state, &key)
            && let Some(resource) = state.registry.by_table("persistentvolumeclaims")
        {
            lift(inner, state, &resource, &key, PVC_PROTECTION);
        }
    }
}

/// Removes a definition that is being deleted once its instances are gone.
fn finish_definition(inner: &Arc<Inner>, state: &mut State, name: &str) {
    let Some(live) = state.get(CRDS, name).filter(|o| o.deleting) else {
        return;
    };
    if state.table(name).is_some_and(|t| !t.objects.is_empty()) {
        return;
    }
    if let Some(resource) = state.registry.by_table(CRDS) {
        drop_finalized(inner, state, &resource, &live.key);
    }
}

/// Deletes everything in a namespace.
fn empty_namespace(inner: &Arc<Inner>, state: &mut State, namespace: &str) {
    if state
        .get("namespaces", namespace)
        .is_none_or(|ns| !ns.deleting)
    {
        return;
    }
    let prefix = prefix(Some(namespace));
    for table in state.table_names() {
        if state
            .registry
            .by_table(&table)
            .is_none_or(|r| !r.namespaced)
        {
            continue;
        }
        for key in keys(state, &table, &prefix) {
            remove_quietly(inner, state, &table, &key);
        }
    }
    finish_namespace(inner, state, namespace);
}

/// Removes an emptied namespace, or says in its conditions what holds it.
fn finish_namespace(inner: &Arc<Inner>, state: &mut State, namespace: &str) {
    let Some(live) = state.get("namespaces", namespace).filter(|ns| ns.deleting) else {
        return;
    };
    let Some(resource) = state.registry.by_table("namespaces") else {
        return;
    };
    let prefix = prefix(Some(namespace));
    let mut left: Vec<String> = Vec::new();
    for table in state.table_names() {
        let namespaced = state
            .registry
            .by_table(&table)
            .is_some_and(|r| r.namespaced);
        let count = if namespaced {
            state.range(&table, &prefix).count()
        } else {
            0
        };
        if count > 0 {
            left.push(format!("{table} has {count} resource instances"));
        }
    }
    let mut tree = live.full(&resource);
    if left.is_empty() {
        let others: Vec<Value> = tree["spec"]["finalizers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|f| *f != "kubernetes")
            .cloned()
            .collect();
        if others.is_empty() {
            if let Some(spec) = tree.get_mut("spec").and_then(Value::as_object_mut) {
                spec.remove("finalizers");
            }
        } else {
            tree["spec"]["finalizers"] = others.into();
        }
    } else {
        let now = crate::clock::seconds(inner.now());
        tree["status"]["conditions"] = json!([
            {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "reason": "ResourcesDiscovered", "message": "All resources successfully discovered", "lastTransitionTime": now},
            {"type": "NamespaceDeletionGroupVersionParsingFailure", "status": "False", "reason": "ParsedGroupVersions", "message": "All legacy kube types successfully parsed", "lastTransitionTime": now},
            {"type": "NamespaceDeletionContentFailure", "status": "False", "reason": "ContentDeleted", "message": "All content successfully deleted, may be waiting on finalization", "lastTransitionTime": now},
            {"type": "NamespaceContentRemaining", "status": "True", "reason": "SomeResourcesRemain", "message": format!("Some resources are remaining: {}", left.join(", ")), "lastTransitionTime": now},
            {"type": "NamespaceFinalizersRemaining", "status": "True", "reason": "SomeFinalizersRemain", "message": "Some content in the namespace has finalizers remaining", "lastTransitionTime": now},
        ]);
    }
    if tree != live.full(&resource) {
        state.put(&resource, tree);
    }
    drop_finalized(inner, state, &resource, namespace);
    tracing::trace!(
        namespace,
        left = left.len(),
        uid = meta(&live.tree(), "uid"),
        "namespace emptied"
    );
}
