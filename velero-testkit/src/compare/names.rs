//! Names in the place of identities that servers and controllers give: what refers to the same thing in two clusters
//! reads the same then.
//!
//! An identity is replaced only where it holds: a uid that no object has, an address that is not that of the pod it
//! tells about, and a cluster IP that its Service does not have, stay as they are and show.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Controllers that make slices of their own for a Service or an Endpoints object.
const SLICE_CONTROLLERS: [&str; 2] = [
    "endpointslice-controller.k8s.io",
    "endpointslicemirroring-controller.k8s.io",
];
/// Keeps account of the cluster IPs of Services.
const IP_ALLOCATOR: &str = "ipallocator.k8s.io";

/// The objects with
///
/// - `<Pod shop/web-1>` for the uid of that pod, wherever it occurs: in references, in the name of a volume that was
///   provisioned for a claim, in keys of owners of fields;
/// - `<slice 1 of Service shop/web, IPv4>` for the random name of a slice;
/// - `<IPv4 of Service shop/web>` for the name of an IPAddress;
/// - `<ip of Pod shop/web-1>`, `<node of Pod shop/web-1>` in Endpoints and slices, sorted by those pods.
pub(super) fn named(objects: &[Value]) -> Vec<Value> {
    let mut objects = objects.to_vec();
    name_slices(&mut objects);
    name_addresses(&mut objects);
    let uids = uids(&objects);
    for object in &mut objects {
        replace(object, &uids);
    }
    name_pods_in_endpoints(&mut objects);
    objects
}

fn name_slices(objects: &mut [Value]) {
    let mut slices: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, object) in objects.iter().enumerate() {
        if let Some(service) = service_of_slice(object) {
            let group = format!("{service}, {}", text(object, "/addressType"));
            slices.entry(group).or_default().push(at);
        }
    }
    for (group, mut all) in slices {
        all.sort_by_cached_key(|at| {
            let (slice, ports) = (&objects[*at], objects[*at]["ports"].to_string());
            (ports, text(slice, "/metadata/name").to_owned())
        });
        for (number, at) in all.into_iter().enumerate() {
            objects[at]["metadata"]["name"] = json!(format!("<slice {} of {group}>", number + 1));
        }
    }
}

/// The Service of a slice that a controller has made and named.
fn service_of_slice(object: &Value) -> Option<String> {
    let labels = &object["metadata"]["labels"];
    let prefix = text(object, "/metadata/generateName");
    let is_made = text(object, "/kind") == "EndpointSlice"
        && SLICE_CONTROLLERS
            .iter()
            .any(|controller| labels["endpointslice.kubernetes.io/managed-by"] == *controller)
        && !prefix.is_empty()
        && text(object, "/metadata/name").starts_with(prefix);
    let service = labels["kubernetes.io/service-name"].as_str()?;
    is_made.then(|| format!("Service {}/{service}", text(object, "/metadata/namespace")))
}

fn name_addresses(objects: &mut [Value]) {
    let addresses: BTreeMap<String, Value> = objects
        .iter()
        .filter(|object| text(object, "/kind") == "Service")
        .map(|service| (identity(service), service["spec"]["clusterIPs"].clone()))
        .collect();
    for object in objects {
        let labels = &object["metadata"]["labels"];
        if text(object, "/kind") != "IPAddress"
            || labels["ipaddress.kubernetes.io/managed-by"] != IP_ALLOCATOR
            || text(object, "/spec/parentRef/resource") != "services"
        {
            continue;
        }
        let service = format!(
            "Service {}/{}",
            text(object, "/spec/parentRef/namespace"),
            text(object, "/spec/parentRef/name")
        );
        let has_it = addresses
            .get(&service)
            .and_then(Value::as_array)
            .is_some_and(|all| all.contains(&object["metadata"]["name"]));
        if has_it {
            let family = labels["ipaddress.kubernetes.io/ip-family"].as_str();
            object["metadata"]["name"] =
                json!(format!("<{} of {service}>", family.unwrap_or("address")));
        }
    }
}

/// The name for each uid.
fn uids(objects: &[Value]) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    // A provisioned volume is named after the uid of its claim: the claims first.
    for volumes in [false, true] {
        for object in objects {
            let uid = text(object, "/metadata/uid");
            if !uid.is_empty() && (text(object, "/kind") == "PersistentVolume") == volumes {
                let name = with_names(&identity(object), &names);
                names.insert(uid.to_owned(), format!("<{name}>"));
            }
        }
    }
    names
}

fn replace(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::String(text) => *text = with_names(text, names),
        Value::Array(all) => all.iter_mut().for_each(|value| replace(value, names)),
        Value::Object(fields) => {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(key, mut value)| {
                    replace(&mut value, names);
                    (with_names(&key, names), value)
                })
                .collect();
        }
        _ => {}
    }
}

/// `text` with names for the uids in it.
fn with_names(text: &str, names: &BTreeMap<String, String>) -> String {
    const UID: usize = 36;
    const FIRST_DASH: usize = 8;
    let mut out = String::new();
    let (mut from, mut at) = (0, 0);
    while at + UID <= text.len() {
        let has_dash = text.as_bytes()[at + FIRST_DASH] == b'-';
        let uid = text.get(at..at + UID).filter(|_| has_dash);
        match uid.and_then(|uid| names.get(uid)) {
            Some(name) => {
                out.push_str(&text[from..at]);
                out.push_str(name);
                at += UID;
                from = at;
            }
            None => at += 1,
        }
    }
    out.push_str(&text[from..]);
    out
}

/// Address and node of each pod.
type Places = BTreeMap<String, (Value, Value)>;

fn name_pods_in_endpoints(objects: &mut [Value]) {
    let places: Places = objects
        .iter()
        .filter(|object| text(object, "/kind") == "Pod")
        .map(|pod| {
            let place = (
                pod["status"]["podIP"].clone(),
                pod["spec"]["nodeName"].clone(),
            );
            (identity(pod), place)
        })
        .collect();
    for object in objects {
        match text(object, "/kind") {
            "EndpointSlice" => name_pods(object.get_mut("endpoints"), "/addresses/0", &places),
            "Endpoints" => {
                let subsets = object.get_mut("subsets").and_then(Value::as_array_mut);
                for subset in subsets.into_iter().flatten() {
                    for list in ["addresses", "notReadyAddresses"] {
                        name_pods(subset.get_mut(list), "/ip", &places);
                    }
                }
            }
            _ => {}
        }
    }
}

fn name_pods(list: Option<&mut Value>, address: &str, places: &Places) {
    let Some(Value::Array(entries)) = list else {
        return;
    };
    for entry in entries.iter_mut() {
        let target = format!(
            "{} {}/{}",
            text(entry, "/targetRef/kind"),
            text(entry, "/targetRef/namespace"),
            text(entry, "/targetRef/name")
        );
        let place = (entry.pointer(address), entry.get("nodeName"));
        let (Some(ip), Some(node)) = place else {
            continue;
        };
        if places.get(&target) == Some(&(ip.clone(), node.clone())) {
            if let Some(ip) = entry.pointer_mut(address) {
                *ip = json!(format!("<ip of {target}>"));
            }
            entry["nodeName"] = json!(format!("<node of {target}>"));
        }
    }
    // They are in the order of their addresses.
    entries.sort_by_cached_key(|entry| text(entry, "/targetRef/name").to_owned());
}

/// `Kind namespace/name`.
fn identity(object: &Value) -> String {
    let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
    match text(object, "/metadata/namespace") {
        "" => format!("{kind} {name}"),
        namespace => format!("{kind} {namespace}/{name}"),
    }
}

/// The string at a JSON pointer, empty when there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
