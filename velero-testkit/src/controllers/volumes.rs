//! Claims and volumes find each other; claims that find none get new volumes.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{make, save};
use crate::registry::Resource;
use crate::server::Inner;
use crate::store::{State, Stored};

const VOLUMES: &str = "persistentvolumes";
const CLAIMS: &str = "persistentvolumeclaims";

/// A volume without a claim is available; one whose claim is gone is released.
pub(super) fn volume(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    live: &Arc<Stored>,
) {
    let mut tree = live.full(resource);
    let reference = tree["spec"]["claimRef"].clone();
    let text = |key: &str| reference[key].as_str().unwrap_or_default().to_owned();
    let claim = state.get(
        CLAIMS,
        &crate::store::key(Some(&text("namespace")), &text("name")),
    );
    let same = claim
        .as_ref()
        .is_some_and(|c| text("uid").is_empty() || c.uid.as_ref() == text("uid"));
    let bound = same
        && claim
            .as_ref()
            .is_some_and(|c| c.tree()["spec"]["volumeName"] == live.name());
    let phase = match (reference.is_object(), bound) {
        (false, _) => "Available",
        (true, true) => "Bound",
        (true, false) if !text("uid").is_empty() && !same => "Released",
        (true, false) => "Available",
    };
    if tree["status"]["phase"] != phase {
        tree["status"]["phase"] = phase.into();
        tree["status"]["lastPhaseTransitionTime"] = crate::clock::seconds(inner.now()).into();
        save(inner, state, resource, live, tree);
    }
    if phase == "Available" {
        let waiting: Vec<Arc<Stored>> = state
            .range(CLAIMS, "")
            .filter(|c| !c.deleting && c.tree()["status"]["phase"] == "Pending")
            .cloned()
            .collect();
        if let Some(claims) = state.registry.by_table(CLAIMS) {
            for waiting in waiting {
                claim_one(inner, state, &claims, &waiting);
            }
        }
    }
}

/// Binds a claim to its volume, or to one that fits, or to a new one.
pub(super) fn claim(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    live: &Arc<Stored>,
) {
    claim_one(inner, state, resource, live);
}

fn claim_one(inner: &Arc<Inner>, state: &mut State, resource: &Arc<Resource>, live: &Arc<Stored>) {
    let tree = live.full(resource);
    if tree["status"]["phase"] != "Pending" {
        return;
    }
    let Some(volumes) = state.registry.by_table(VOLUMES) else {
        return;
    };
    let named = tree["spec"]["volumeName"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let found = if named.is_empty() {
        state
            .range(VOLUMES, "")
            .find(|v| !v.deleting && fits(&v.tree(), &tree, live))
            .cloned()
    } else {
        state
            .get(VOLUMES, &named)
            .filter(|v| free_for(&v.tree(), live))
    };
    match found {
        Some(volume) => bind(inner, state, (resource, live), (&volumes, &volume)),
        None if named.is_empty() => provision(inner, state, live, &tree),
        None => {}
    }
}

/// Whether a volume is bound to nothing but, perhaps, this claim.
fn free_for(volume: &Value, claim: &Stored) -> bool {
    let reference = &volume["spec"]["claimRef"];
    let (namespace, name) = claim.identity();
    reference.is_null()
        || (reference["namespace"] == namespace
            && reference["name"] == name
            && reference["uid"]
                .as_str()
                .is_none_or(|uid| uid.is_empty() || uid == claim.uid.as_ref()))
}

fn fits(volume: &Value, claim: &Value, stored: &Stored) -> bool {
    let class = |v: &Value| {
        v["spec"]["storageClassName"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let modes = volume["spec"]["accessModes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let wanted = claim["spec"]["accessModes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let reserved = volume["spec"]["claimRef"].is_object();
    free_for(volume, stored)
        && class(volume) == class(claim)
        && wanted.iter().all(|m| modes.contains(m))
        && (reserved
            || volume["spec"]["capacity"]["storage"]
                == claim["spec"]["resources"]["requests"]["storage"])
}

fn bind(
    inner: &Arc<Inner>,
    state: &mut State,
    (claims, claim): (&Arc<Resource>, &Arc<Stored>),
    (volumes, volume): (&Arc<Resource>, &Arc<Stored>),
) {
    let now = crate::clock::seconds(inner.now());
    let mut tree = volume.full(volumes);
    let (namespace, name) = claim.identity();
    tree["spec"]["claimRef"] = json!({
        "kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": namespace, "name": name,
        "uid": claim.uid.as_ref(), "resourceVersion": claim.rv.to_string(),
    });
    tree["status"]["phase"] = "Bound".into();
    tree["status"]["lastPhaseTransitionTime"] = now.into();
    let (capacity, modes) = (
        tree["spec"]["capacity"].clone(),
        tree["spec"]["accessModes"].clone(),
    );
    save(inner, state, volumes, volume, tree);
    let mut tree = claim.full(claims);
    if tree["spec"]["volumeName"].is_null() {
        tree["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"] = "yes".into();
    }
    tree["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = "yes".into();
    tree["spec"]["volumeName"] = volume.name().into();
    tree["status"] = json!({"phase": "Bound", "capacity": capacity, "accessModes": modes});
    save(inner, state, claims, claim, tree);
}

/// Makes a volume for a claim of any class that has a provisioner.
fn provision(inner: &Arc<Inner>, state: &mut State, live: &Arc<Stored>, claim: &Value) {
    let class = claim["spec"]["storageClassName"]
        .as_str()
        .unwrap_or_default();
    let Some(found) = state.get("storageclasses.storage.k8s.io", class) else {
        return;
    };
    let found = found.tree();
    let provisioner = found["provisioner"].as_str().unwrap_or_default();
    if matches!(provisioner, "" | "kubernetes.io/no-provisioner") {
        return;
    }
    let (namespace, name) = live.identity();
    let volume = format!("pvc-{}", live.uid);
    let body = json!({
        "metadata": {"name": volume, "annotations": {"pv.kubernetes.io/provisioned-by": provisioner}},
        "spec": {
            "accessModes": claim["spec"]["accessModes"], "volumeMode": claim["spec"]["volumeMode"],
            "capacity": claim["spec"]["resources"]["requests"], "storageClassName": class,
            "persistentVolumeReclaimPolicy": found["reclaimPolicy"],
            "csi": {"driver": provisioner, "volumeHandle": live.uid.as_ref()},
            "claimRef": {
                "kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": namespace, "name": name,
                "uid": live.uid.as_ref(),
            },
        },
    });
    make(inner, state, "v1", "PersistentVolume", None, body);
}

/// The volume of a claim that is gone is deleted or kept, as it says itself.
pub(super) fn release(inner: &Arc<Inner>, state: &mut State, claim: &Value, uid: &str) {
    let name = claim["spec"]["volumeName"].as_str().unwrap_or_default();
    let (Some(volumes), Some(live)) = (state.registry.by_table(VOLUMES), state.get(VOLUMES, name))
    else {
        return;
    };
    let mut tree = live.full(&volumes);
    if tree["spec"]["claimRef"]["uid"] != uid {
        return;
    }
    let deletes = tree["spec"]["persistentVolumeReclaimPolicy"] == "Delete";
    tree["status"]["phase"] = "Released".into();
    save(inner, state, &volumes, &live, tree);
    if deletes {
        crate::effects::remove_quietly(inner, state, VOLUMES, name);
    } else if live.deleting {
        // Deleted while it was bound, it has waited for this.
        crate::effects::unprotect_volume(inner, state, &volumes, name);
    }
}
