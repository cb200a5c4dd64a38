//! Compares two states of a cluster, object by object and field by field.
//!
//! What may differ is a list of field paths with reasons, [`ALLOWED`]; anything else is a [`Difference`]. The list has
//! no wildcards over fields of specs or data.
//!
//! ```
//! use serde_json::json;
//! use velero_testkit::compare::{ALLOWED, compare};
//!
//! let object = |uid: &str, color: &str| json!({"apiVersion": "v1", "kind": "ConfigMap",
//!     "metadata": {"name": "settings", "namespace": "shop", "uid": uid}, "data": {"color": color}});
//! assert!(compare(&[object("a", "red")], &[object("b", "red")], ALLOWED).is_empty());
//!
//! let found = compare(&[object("a", "red")], &[object("b", "blue")], ALLOWED);
//! assert_eq!(found[0].to_string(), r#"v1/ConfigMap shop/settings: data.color: "red" became "blue""#);
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// A field that may differ between a source and what was restored from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedDifference {
    /// Kind of the objects, or `*` for all.
    pub kind: &'static str,
    /// Way to the field; everything below it may differ too. `[]` stands for each element of a list, and
    /// `[field=value]` for those elements whose `field` is `value`.
    pub path: &'static [&'static str],
    /// Why.
    pub reason: &'static str,
}

const fn allow(
    kind: &'static str,
    path: &'static [&'static str],
    reason: &'static str,
) -> AllowedDifference {
    AllowedDifference { kind, path, reason }
}

/// What may differ between the objects that were backed up and the objects that a restore made of them.
pub const ALLOWED: &[AllowedDifference] = &[
    allow(
        "*",
        &["metadata", "uid"],
        "given by the API server at creation",
    ),
    allow(
        "*",
        &["metadata", "resourceVersion"],
        "given by the API server at each write",
    ),
    allow("*", &["metadata", "creationTimestamp"], "time of creation"),
    allow(
        "*",
        &["metadata", "generation"],
        "counts the writes of this object's life",
    ),
    allow(
        "*",
        &["metadata", "generateName"],
        "only of use at creation, when the name is given",
    ),
    allow(
        "*",
        &["metadata", "ownerReferences", "[]", "uid"],
        "uid of the restored owner",
    ),
    allow(
        "*",
        &["metadata", "labels", "velero.io/backup-name"],
        "tells where a restored object comes from",
    ),
    allow(
        "*",
        &["metadata", "labels", "velero.io/restore-name"],
        "tells where a restored object comes from",
    ),
    allow(
        "*",
        &["metadata", "managedFields", "[]", "time"],
        "time of the write",
    ),
    allow(
        "*",
        &["metadata", "managedFields", "[subresource=status]"],
        "status is not restored, nor who wrote it",
    ),
    allow(
        "*",
        &[
            "metadata",
            "managedFields",
            "[]",
            "fieldsV1",
            "f:metadata",
            "f:generateName",
        ],
        "as the field",
    ),
    allow(
        "*",
        &[
            "metadata",
            "managedFields",
            "[]",
            "fieldsV1",
            "f:metadata",
            "f:ownerReferences",
        ],
        "keys are uids",
    ),
    allow(
        "*",
        &[
            "metadata",
            "managedFields",
            "[]",
            "fieldsV1",
            "f:metadata",
            "f:labels",
            "f:velero.io/backup-name",
        ],
        "owner of a restore label",
    ),
    allow(
        "*",
        &[
            "metadata",
            "managedFields",
            "[]",
            "fieldsV1",
            "f:metadata",
            "f:labels",
            "f:velero.io/restore-name",
        ],
        "owner of a restore label",
    ),
    allow(
        "*",
        &[
            "metadata",
            "managedFields",
            "[]",
            "fieldsV1",
            "f:metadata",
            "f:labels",
            ".",
        ],
        "owner of the map that the restore labels need",
    ),
    allow(
        "*",
        &["status"],
        "written by controllers, not restored unless asked for",
    ),
    allow(
        "PersistentVolumeClaim",
        &["metadata", "annotations", "pv.kubernetes.io/bind-completed"],
        "written at binding",
    ),
    allow(
        "PersistentVolumeClaim",
        &[
            "metadata",
            "annotations",
            "pv.kubernetes.io/bound-by-controller",
        ],
        "written at binding",
    ),
    allow(
        "PersistentVolume",
        &["spec", "claimRef", "uid"],
        "uid of the restored claim",
    ),
    allow(
        "PersistentVolume",
        &["spec", "claimRef", "resourceVersion"],
        "version of the restored claim",
    ),
    allow(
        "Service",
        &["spec", "clusterIP"],
        "given by the API server out of its range",
    ),
    allow(
        "Service",
        &["spec", "clusterIPs"],
        "given by the API server out of its range",
    ),
    allow(
        "Service",
        &["spec", "ports", "[]", "nodePort"],
        "given by the API server unless the user chose it",
    ),
    allow("Pod", &["spec", "nodeName"], "given by the scheduler"),
    allow(
        "Endpoints",
        &[
            "metadata",
            "annotations",
            "endpoints.kubernetes.io/last-change-trigger-time",
        ],
        "time of the last change of a pod",
    ),
    allow(
        "Job",
        &["metadata", "labels", "controller-uid"],
        "tells the uid of the Job that was backed up",
    ),
    allow(
        "Job",
        &["metadata", "labels", "batch.kubernetes.io/controller-uid"],
        "tells the uid of the Job that was backed up",
    ),
];

/// One thing that differs although it may not.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Difference {
    /// An object is gone.
    Missing {
        /// `apps/v1/Deployment shop/web`.
        object: String,
    },
    /// An object has come that was not there.
    Unexpected {
        /// `apps/v1/Deployment shop/web`.
        object: String,
    },
    /// A field differs.
    Changed {
        /// `apps/v1/Deployment shop/web`.
        object: String,
        /// Way to the field, joined by dots.
        path: String,
        /// Value before; `None` when the field is new.
        before: Option<Value>,
        /// Value after; `None` when the field is gone.
        after: Option<Value>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { object } => write!(f, "{object}: missing"),
            Self::Unexpected { object } => write!(f, "{object}: was not there before"),
            Self::Changed {
                object,
                path,
                before,
                after,
            } => {
                write!(f, "{object}: {path}: ")?;
                match (before, after) {
                    (Some(before), Some(after)) => {
                        write!(f, "{} became {}", short(before), short(after))
                    }
                    (Some(before), None) => write!(f, "{} is gone", short(before)),
                    (None, Some(after)) => write!(f, "{} is new", short(after)),
                    (None, None) => Ok(()),
                }
            }
        }
    }
}

/// Values of any size in a line of moderate length.
fn short(value: &Value) -> String {
    const LONGEST: usize = 120;
    let mut text = value.to_string();
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push_str("...");
    }
    text
}

/// Compares two states; the order of the objects, and of their managedFields, does not matter.
///
/// Of objects with the same type, namespace and name the last one counts.
pub fn compare(
    before: &[Value],
    after: &[Value],
    allowed: &[AllowedDifference],
) -> Vec<Difference> {
    let (before, after) = (by_key(before), by_key(after));
    let mut found = Vec::new();
    for (key, old) in &before {
        let object = key.to_string();
        let Some(new) = after.get(key) else {
            found.push(Difference::Missing { object });
            continue;
        };
        let (old, new) = (
            canonical(old, &key.kind, allowed),
            canonical(new, &key.kind, allowed),
        );
        diff(&object, &mut Vec::new(), Some(&old), Some(&new), &mut found);
    }
    found.extend(
        after
            .keys()
            .filter(|key| !before.contains_key(key))
            .map(|key| Difference::Unexpected {
                object: key.to_string(),
            }),
    );
    found
}

/// Renames volumes that were provisioned, and so named after the uid of their claim, to `pvc:<namespace>/<claim>`, also
/// in the claims that name them: a claim that is restored has another uid.
pub fn name_volumes_by_claim(objects: &mut [Value]) {
    let text = |object: &Value, pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let mut names = BTreeMap::new();
    for object in objects
        .iter_mut()
        .filter(|object| object["kind"] == "PersistentVolume")
    {
        let (name, uid) = (
            text(object, "/metadata/name"),
            text(object, "/spec/claimRef/uid"),
        );
        if !uid.is_empty() && name == format!("pvc-{uid}") {
            let claim = format!(
                "pvc:{}/{}",
                text(object, "/spec/claimRef/namespace"),
                text(object, "/spec/claimRef/name")
            );
            object["metadata"]["name"] = claim.clone().into();
            names.insert(name, claim);
        }
    }
    for object in objects
        .iter_mut()
        .filter(|object| object["kind"] == "PersistentVolumeClaim")
    {
        if let Some(claim) = names.get(&text(object, "/spec/volumeName")) {
            object["spec"]["volumeName"] = claim.clone().into();
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} ", self.api_version, self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

fn by_key(objects: &[Value]) -> BTreeMap<Key, &Value> {
    let text = |object: &Value, pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    objects
        .iter()
        .map(|object| {
            let key = Key {
                api_version: text(object, "/apiVersion"),
                kind: text(object, "/kind"),
                namespace: text(object, "/metadata/namespace"),
                name: text(object, "/metadata/name"),
            };
            (key, object)
        })
        .collect()
}

/// The object without what may differ, and with its managedFields in a fixed order.
fn canonical(object: &Value, kind: &str, allowed: &[AllowedDifference]) -> Value {
    let mut object = object.clone();
    for entry in allowed
        .iter()
        .filter(|entry| entry.kind == "*" || entry.kind == kind)
    {
        prune(&mut object, entry.path);
    }
    if let Some(Value::Array(entries)) = object.pointer_mut("/metadata/managedFields") {
        // What owned nothing but what may differ is an entry no more.
        entries.retain(|entry| {
            entry["fieldsV1"]
                .as_object()
                .is_some_and(|fields| !fields.is_empty())
        });
        entries.sort_by_cached_key(|entry| {
            ["manager", "operation", "subresource", "apiVersion"]
                .map(|field| entry[field].as_str().unwrap_or_default().to_owned())
        });
        if entries.is_empty() {
            prune(&mut object, &["metadata", "managedFields"]);
        }
    }
    object
}

/// Takes the field at `path` out, and objects and lists that hold nothing any more because of it.
///
/// Returns whether `value` itself is to be taken out.
fn prune(value: &mut Value, path: &[&str]) -> bool {
    let Some((step, rest)) = path.split_first() else {
        return true;
    };
    match value {
        Value::Object(fields) => {
            let Some(field) = fields.get_mut(*step) else {
                return false;
            };
            let goes = prune(field, rest);
            if goes {
                fields.remove(*step);
            }
            goes && fields.is_empty()
        }
        Value::Array(elements) => {
            let Some(wanted) = step
                .strip_prefix('[')
                .and_then(|step| step.strip_suffix(']'))
            else {
                return false;
            };
            let before = elements.len();
            elements.retain_mut(|element| !(selects(wanted, element) && prune(element, rest)));
            elements.is_empty() && before > 0
        }
        _ => false,
    }
}

fn selects(wanted: &str, element: &Value) -> bool {
    wanted.is_empty()
        || wanted
            .split_once('=')
            .is_some_and(|(field, value)| element[field].as_str() == Some(value))
}

fn diff(
    object: &str,
    path: &mut Vec<String>,
    before: Option<&Value>,
    after: Option<&Value>,
    found: &mut Vec<Difference>,
) {
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let added = new.keys().filter(|field| !old.contains_key(*field));
            for field in old.keys().chain(added) {
                path.push(field.clone());
                diff(object, path, old.get(field), new.get(field), found);
                path.pop();
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for at in 0..old.len().max(new.len()) {
                path.push(format!("[{at}]"));
                diff(object, path, old.get(at), new.get(at), found);
                path.pop();
            }
        }
        (old, new) if old == new => {}
        (old, new) => found.push(Difference::Changed {
            object: object.to_owned(),
            path: path.join("."),
            before: old.cloned(),
            after: new.cloned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample() -> Vec<Value> {
        vec![
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop", "uid": "1",
                "labels": {"app": "web", "velero.io/backup-name": "b"}, "annotations": {"note": "x"},
                "ownerReferences": [{"kind": "Shop", "name": "s", "uid": "2"}],
                "managedFields": [
                    {"manager": "kubectl", "operation": "Update", "time": "2026-01-01T00:00:00Z",
                     "fieldsV1": {"f:spec": {"f:ports": {}}, "f:metadata": {"f:labels": {".": {}, "f:app": {}}}}},
                    {"manager": "kcm", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}}]},
                "spec": {"clusterIP": "10.0.0.1", "selector": {"app": "web"},
                    "ports": [{"port": 80, "nodePort": 30000}, {"port": 81, "big": 9007199254740993i64}]},
                "status": {"loadBalancer": {}}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "shop"},
                "data": {"uid": "not metadata", "status": "open"}}),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}, "spec": {"finalizers": ["kubernetes"]}}),
        ]
    }

    /// The ways to all leaves: values that are neither object nor list, and empty ones of those.
    fn leaves(value: &Value, path: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                fields.iter().for_each(|(field, value)| {
                    path.push(field.clone());
                    leaves(value, path, out);
                    path.pop();
                })
            }
            Value::Array(elements) if !elements.is_empty() => {
                elements.iter().enumerate().for_each(|(at, value)| {
                    path.push(at.to_string());
                    leaves(value, path, out);
                    path.pop();
                })
            }
            _ => out.push(path.clone()),
        }
    }

    fn at<'a>(mut value: &'a mut Value, path: &[String]) -> &'a mut Value {
        for step in path {
            value = match value {
                Value::Array(elements) => &mut elements[step.parse::<usize>().unwrap()],
                other => &mut other[step.as_str()],
            };
        }
        value
    }

    /// Says the same as the comparer should, in another way.
    fn may_differ(kind: &str, path: &[String], object: &Value) -> bool {
        ALLOWED
            .iter()
            .filter(|entry| entry.kind == "*" || entry.kind == kind)
            .any(|entry| {
                entry.path.len() <= path.len()
                    && entry
                        .path
                        .iter()
                        .zip(path)
                        .all(|(wanted, step)| match *wanted {
                            "[]" => step.parse::<usize>().is_ok(),
                            "[subresource=status]" => {
                                object["metadata"]["managedFields"][step.parse::<usize>().unwrap()]
                                    ["subresource"]
                                    == "status"
                            }
                            wanted => wanted == step,
                        })
            })
    }

    #[test]
    fn the_same_state_has_no_differences_in_any_order() {
        let mut turned = sample();
        turned.reverse();
        assert_eq!(compare(&sample(), &turned, ALLOWED), []);
    }

    #[test]
    fn every_object_that_is_dropped_or_added_is_found() {
        for dropped in 0..sample().len() {
            let mut fewer = sample();
            fewer.remove(dropped);
            assert!(matches!(
                compare(&sample(), &fewer, ALLOWED)[..],
                [Difference::Missing { .. }]
            ));
            assert!(matches!(
                compare(&fewer, &sample(), ALLOWED)[..],
                [Difference::Unexpected { .. }]
            ));
        }
    }

    #[test]
    fn every_leaf_that_changes_or_goes_is_found_unless_it_is_listed() {
        let mut checked = 0;
        for (number, object) in sample().iter().enumerate() {
            let mut paths = Vec::new();
            leaves(object, &mut Vec::new(), &mut paths);
            for path in paths {
                let mut changed = sample();
                *at(&mut changed[number], &path) = json!("something else");
                let mut gone = sample();
                let (last, parent) = path.split_last().unwrap();
                match at(&mut gone[number], parent) {
                    Value::Array(elements) => drop(elements.remove(last.parse::<usize>().unwrap())),
                    Value::Object(fields) => drop(fields.remove(last)),
                    _ => unreachable!(),
                }
                let allowed = may_differ(object["kind"].as_str().unwrap(), &path, object);
                for (what, state) in [("changed", changed), ("gone", gone)] {
                    let found = compare(&sample(), &state, ALLOWED);
                    // Without its mark an entry of the status is an entry like any other.
                    let mark = path.last().is_some_and(|last| last == "subresource");
                    assert_eq!(
                        found.is_empty(),
                        allowed && !mark,
                        "{path:?} {what}: {found:?}"
                    );
                }
                checked += 1;
            }
        }
        assert!(checked > 25, "{checked}");
    }

    #[test]
    fn provisioned_volumes_are_named_by_their_claims() {
        let state = |uid: &str| {
            let mut objects = [
                json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("pvc-{uid}")},
                    "spec": {"claimRef": {"namespace": "shop", "name": "data", "uid": uid}}}),
                json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "made-by-hand"},
                    "spec": {"claimRef": {"namespace": "shop", "name": "photos", "uid": uid}}}),
                json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "shop"},
                    "spec": {"volumeName": format!("pvc-{uid}")}}),
            ];
            name_volumes_by_claim(&mut objects);
            objects
        };
        assert_eq!(state("1")[0]["metadata"]["name"], "pvc:shop/data");
        assert_eq!(state("1")[2]["spec"]["volumeName"], "pvc:shop/data");
        assert_eq!(state("1")[1]["metadata"]["name"], "made-by-hand");
        assert_eq!(compare(&state("1"), &state("2"), ALLOWED), []);
    }

    #[test]
    fn the_list_is_short_and_names_fields() {
        assert!(ALLOWED.len() <= 25, "{}", ALLOWED.len());
        for entry in ALLOWED {
            assert!(!entry.reason.is_empty());
            let below = matches!(
                entry.path[0],
                "spec" | "data" | "stringData" | "binaryData" | "rules" | "subjects"
            );
            assert!(
                !below || (entry.path.len() > 1 && entry.kind != "*"),
                "{entry:?}"
            );
        }
    }

    #[test]
    fn what_a_restore_adds_to_an_object_without_labels_may_differ() {
        let before = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n", "managedFields":
            [{"manager": "m", "fieldsV1": {"f:data": {}}}]}});
        let after = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n",
            "labels": {"velero.io/restore-name": "r"}, "managedFields":
            [{"manager": "m", "fieldsV1": {"f:data": {}, "f:metadata": {"f:labels": {".": {}, "f:velero.io/restore-name": {}}}}}]}});
        assert_eq!(compare(&[before], &[after], ALLOWED), []);
        let bare = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a", "namespace": "n"}});
        let mut labelled = bare.clone();
        labelled["metadata"]["labels"] = json!({"velero.io/restore-name": "r"});
        labelled["metadata"]["managedFields"] = json!([{"manager": "m", "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:velero.io/restore-name": {}}}}}]);
        assert_eq!(compare(&[bare], &[labelled], ALLOWED), []);
    }
}
