//! Taking out of a state what controllers decide anew, each time in another way.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::state::{identity, text};

/// Brings everything into the same form that controllers write in another one in each cluster.
pub(crate) fn normalise(objects: &mut [Value]) {
    endpoints(objects);
    for object in objects {
        match text(object, "/kind") {
            "EndpointSlice" => forget_last_change(object),
            "PersistentVolumeClaim" => binders(object),
            // kwok applies, updates, or does both.
            "PersistentVolume" if is_provisioned(object) => {
                remove(object, "/metadata", "managedFields");
            }
            _ => {}
        }
    }
}

/// Puts the pods in the place of their addresses and nodes in Endpoints, sorted by name, and leaves the time of the last
/// change out.
///
/// An address that is not that of its pod stays, and shows in a comparison.
fn endpoints(objects: &mut [Value]) {
    let places: BTreeMap<String, (Value, Value)> = objects
        .iter()
        .filter(|object| text(object, "/kind") == "Pod")
        .map(|pod| {
            (
                identity(pod),
                (
                    pod["status"]["podIP"].clone(),
                    pod["spec"]["nodeName"].clone(),
                ),
            )
        })
        .collect();
    for object in objects.iter_mut() {
        if text(object, "/kind") == "EndpointSlice" {
            endpoints_of_slice(object, &places);
        }
        if text(object, "/kind") != "Endpoints" {
            continue;
        }
        forget_last_change(object);
        for subset in object["subsets"].as_array_mut().into_iter().flatten() {
            let Some(addresses) = subset["addresses"].as_array_mut() else {
                continue;
            };
            for address in addresses.iter_mut() {
                let target = &address["targetRef"];
                let pod = format!(
                    "Pod {}/{}",
                    text(target, "/namespace"),
                    text(target, "/name")
                );
                if places.get(&pod) == Some(&(address["ip"].clone(), address["nodeName"].clone())) {
                    address["ip"] = json!(format!("<ip of {pod}>"));
                    address["nodeName"] = json!(format!("<node of {pod}>"));
                }
            }
            addresses.sort_by_cached_key(|address| text(address, "/targetRef/name").to_owned());
        }
    }
}

/// The same for an EndpointSlice, where an endpoint has a list of addresses.
fn endpoints_of_slice(slice: &mut Value, places: &BTreeMap<String, (Value, Value)>) {
    let Some(endpoints) = slice["endpoints"].as_array_mut() else {
        return;
    };
    for endpoint in endpoints.iter_mut() {
        let target = &endpoint["targetRef"];
        let pod = format!(
            "Pod {}/{}",
            text(target, "/namespace"),
            text(target, "/name")
        );
        let place = (
            endpoint["addresses"][0].clone(),
            endpoint["nodeName"].clone(),
        );
        if places.get(&pod) == Some(&place) {
            endpoint["addresses"][0] = json!(format!("<ip of {pod}>"));
            endpoint["nodeName"] = json!(format!("<node of {pod}>"));
        }
    }
    endpoints.sort_by_cached_key(|endpoint| text(endpoint, "/targetRef/name").to_owned());
}

fn forget_last_change(endpoints: &mut Value) {
    const TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
    remove(endpoints, "/metadata/annotations", TIME);
    if endpoints.pointer("/metadata/annotations") == Some(&json!({})) {
        remove(endpoints, "/metadata", "annotations");
    }
    let entries = endpoints
        .pointer_mut("/metadata/managedFields")
        .and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        let owned = "/fieldsV1/f:metadata/f:annotations";
        remove(entry, owned, &format!("f:{TIME}"));
        if entry.pointer(owned) == Some(&json!({".": {}})) {
            remove(entry, "/fieldsV1/f:metadata", "f:annotations");
        }
    }
}

/// Makes one owner of kwok and the volume controller: which of the two writes what of a binding is a race.
fn binders(claim: &mut Value) {
    const BINDERS: [&str; 2] = ["kube-controller-manager", "kwok"];
    let Some(entries) = claim
        .pointer_mut("/metadata/managedFields")
        .and_then(Value::as_array_mut)
    else {
        return;
    };
    let mut united: Option<Value> = None;
    entries.retain(|entry| {
        let binds =
            BINDERS.contains(&text(entry, "/manager")) && text(entry, "/subresource").is_empty();
        if binds {
            match &mut united {
                Some(first) => unite(&mut first["fieldsV1"], &entry["fieldsV1"]),
                None => united = Some(entry.clone()),
            }
        }
        !binds
    });
    if let Some(mut entry) = united {
        entry["manager"] = json!("<binder>");
        entries.push(entry);
    }
}

/// Whether a volume was made for its claim, and is made anew for the restored claim.
fn is_provisioned(volume: &Value) -> bool {
    let annotation = &volume["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"];
    annotation.is_string() && text(volume, "/spec/persistentVolumeReclaimPolicy") == "Delete"
}

fn unite(into: &mut Value, other: &Value) {
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    for (key, value) in other.as_object().into_iter().flatten() {
        match into.get_mut(key) {
            Some(inner) => unite(inner, value),
            None => into[key] = value.clone(),
        }
    }
}

fn remove(value: &mut Value, pointer: &str, key: &str) {
    if let Some(Value::Object(fields)) = value.pointer_mut(pointer) {
        fields.remove(key);
    }
}
