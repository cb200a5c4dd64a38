//! Claims and volumes: protection finalizers, the default class, first phases.

use serde_json::{Value, json};

use crate::store::State;

const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

fn add_finalizer(tree: &mut Value, finalizer: &str) {
    let mut list = tree["metadata"]["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if !list.iter().any(|f| f == finalizer) {
        list.push(finalizer.into());
        tree["metadata"]["finalizers"] = list.into();
    }
}

/// Completes a new claim.
pub(crate) fn new_claim(state: &State, tree: &mut Value, seed: bool) {
    add_finalizer(tree, "kubernetes.io/pvc-protection");
    if tree["spec"]
        .get("storageClassName")
        .is_none_or(Value::is_null)
        && let Some(class) = default_class(state)
    {
        tree["spec"]["storageClassName"] = class.into();
    }
    if !(seed && tree["status"]["phase"].is_string()) {
        tree["status"] = json!({"phase": "Pending"});
    }
}

/// Completes a new volume.
pub(crate) fn new_volume(tree: &mut Value, seed: bool, now: &str) {
    add_finalizer(tree, "kubernetes.io/pv-protection");
    if !(seed && tree["status"]["phase"].is_string()) {
        tree["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": now});
    }
}

fn default_class(state: &State) -> Option<String> {
    state
        .range("storageclasses.storage.k8s.io", "")
        .find(|class| class.tree()["metadata"]["annotations"][DEFAULT_CLASS] == "true")
        .map(|class| class.name().to_owned())
}
