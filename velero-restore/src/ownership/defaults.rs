//! Fields that the API server fills in by itself, so that nobody owns them in objects made by others.

use serde_json::{Value, json};
use velero_core::ItemTree;

use super::fields::{Path, Step};

/// What happens to a field that nobody owns when the object is created in the name of its one manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It is not sent: the server chooses it again, after it has noted who owns what.
    Drop,
    /// It is sent: newer servers fill it in before they note who owns what, so the manager owns it either way.
    Keep,
}

/// Value that a field of the table must have.
enum Wanted {
    Any,
    Text(&'static str),
    True,
    ObjectName,
}

/// Kind, path with `*` for any element, value, way.
const TABLE: &[(&str, &[&str], Wanted, Way)] = &[
    ("Service", &["spec", "ipFamilies"], Wanted::Any, Way::Drop),
    (
        "Service",
        &["spec", "ipFamilies", "*"],
        Wanted::Any,
        Way::Drop,
    ),
    (
        "Service",
        &["spec", "ipFamilyPolicy"],
        Wanted::Text("SingleStack"),
        Way::Drop,
    ),
    (
        "Service",
        &["spec", "internalTrafficPolicy"],
        Wanted::Text("Cluster"),
        Way::Keep,
    ),
    (
        "Service",
        &["spec", "externalTrafficPolicy"],
        Wanted::Text("Cluster"),
        Way::Keep,
    ),
    (
        "Service",
        &["spec", "sessionAffinity"],
        Wanted::Text("None"),
        Way::Keep,
    ),
    (
        "Service",
        &["spec", "allocateLoadBalancerNodePorts"],
        Wanted::True,
        Way::Keep,
    ),
    (
        "Namespace",
        &["spec", "finalizers", "*"],
        Wanted::Text("kubernetes"),
        Way::Drop,
    ),
    (
        "Namespace",
        &["spec", "finalizers"],
        Wanted::Text("kubernetes"),
        Way::Drop,
    ),
    (
        "PersistentVolumeClaim",
        &["metadata", "finalizers", "*"],
        Wanted::Text("kubernetes.io/pvc-protection"),
        Way::Drop,
    ),
    (
        "PersistentVolumeClaim",
        &["metadata", "finalizers"],
        Wanted::Text("kubernetes.io/pvc-protection"),
        Way::Drop,
    ),
    (
        "PersistentVolumeClaim",
        &["spec", "volumeMode"],
        Wanted::Text("Filesystem"),
        Way::Keep,
    ),
    (
        "PersistentVolume",
        &["metadata", "finalizers", "*"],
        Wanted::Text("kubernetes.io/pv-protection"),
        Way::Drop,
    ),
    (
        "PersistentVolume",
        &["metadata", "finalizers"],
        Wanted::Text("kubernetes.io/pv-protection"),
        Way::Drop,
    ),
    (
        "PersistentVolume",
        &["spec", "volumeMode"],
        Wanted::Text("Filesystem"),
        Way::Keep,
    ),
    (
        "StatefulSet",
        &[
            "spec",
            "persistentVolumeClaimRetentionPolicy",
            "whenDeleted",
        ],
        Wanted::Text("Retain"),
        Way::Keep,
    ),
    (
        "StatefulSet",
        &["spec", "persistentVolumeClaimRetentionPolicy", "whenScaled"],
        Wanted::Text("Retain"),
        Way::Keep,
    ),
    (
        "Job",
        &[
            "spec",
            "template",
            "metadata",
            "labels",
            "batch.kubernetes.io/job-name",
        ],
        Wanted::ObjectName,
        Way::Drop,
    ),
    (
        "Job",
        &["spec", "template", "metadata", "labels", "job-name"],
        Wanted::ObjectName,
        Way::Drop,
    ),
];

/// Whether an unowned field may be sent all the same.
pub(super) fn is_kept(item: &ItemTree, path: &Path) -> bool {
    way(item, path) == Some(Way::Keep)
}

/// Whether an unowned field need not be sent.
pub(super) fn is_dropped(item: &ItemTree, path: &Path) -> bool {
    way(item, path) == Some(Way::Drop)
}

fn way(item: &ItemTree, path: &Path) -> Option<Way> {
    let value = value_at(item, path)?;
    TABLE
        .iter()
        .find(|(kind, pattern, wanted, _)| {
            *kind == item.kind()
                && matches_path(pattern, path)
                && matches_value(wanted, value, item)
        })
        .map(|(_, _, _, way)| *way)
}

fn matches_path(pattern: &[&str], path: &Path) -> bool {
    pattern.len() == path.len()
        && pattern.iter().zip(path).all(|(wanted, step)| match step {
            Step::Field(field) => wanted == field,
            Step::Element(_) => *wanted == "*",
        })
}

fn matches_value(wanted: &Wanted, value: &Value, item: &ItemTree) -> bool {
    match wanted {
        // Two families are a choice that somebody has made.
        Wanted::Any => value.as_array().is_none_or(|list| list.len() == 1),
        Wanted::Text(text) => *value == json!(text) || *value == json!([text]),
        Wanted::True => *value == json!(true),
        Wanted::ObjectName => value.as_str() == Some(item.name()),
    }
}

fn value_at<'a>(item: &'a ItemTree, path: &Path) -> Option<&'a Value> {
    path.iter()
        .try_fold(item.as_value(), |value, step| match step {
            Step::Field(field) => value.get(field),
            Step::Element(at) => value.get(*at),
        })
}

/// Removes fields, the last elements of lists first; lists and objects left empty go too.
pub(super) fn drop_fields(item: &mut ItemTree, paths: &[Path]) {
    for path in paths.iter().rev() {
        remove(item.as_value_mut(), path);
    }
}

fn remove(value: &mut Value, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else {
        return;
    };
    let inner_is_empty = |inner: &Value| {
        inner.as_array().is_some_and(Vec::is_empty)
            || inner.as_object().is_some_and(serde_json::Map::is_empty)
    };
    match (step, value) {
        (Step::Field(field), Value::Object(map)) => {
            let gone = match map.get_mut(field) {
                Some(inner) if !rest.is_empty() => {
                    remove(inner, rest);
                    inner_is_empty(inner)
                }
                _ => true,
            };
            if gone {
                map.remove(field);
            }
        }
        (Step::Element(at), Value::Array(list)) if *at < list.len() => match list.get_mut(*at) {
            Some(inner) if !rest.is_empty() => remove(inner, rest),
            _ => {
                list.remove(*at);
            }
        },
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str) -> Step {
        Step::Field(name.into())
    }

    #[test]
    fn table() {
        let service = |spec: Value| {
            ItemTree::new(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec})).unwrap()
        };
        for (spec, name, expected) in [
            (
                json!({"ipFamilies": ["IPv4"]}),
                "ipFamilies",
                Some(Way::Drop),
            ),
            (json!({"ipFamilies": ["IPv4", "IPv6"]}), "ipFamilies", None),
            (
                json!({"ipFamilyPolicy": "SingleStack"}),
                "ipFamilyPolicy",
                Some(Way::Drop),
            ),
            (
                json!({"ipFamilyPolicy": "PreferDualStack"}),
                "ipFamilyPolicy",
                None,
            ),
            (
                json!({"sessionAffinity": "None"}),
                "sessionAffinity",
                Some(Way::Keep),
            ),
            (
                json!({"sessionAffinity": "ClientIP"}),
                "sessionAffinity",
                None,
            ),
            (json!({"clusterIP": "10.0.0.1"}), "clusterIP", None),
        ] {
            assert_eq!(
                way(&service(spec.clone()), &vec![field("spec"), field(name)]),
                expected,
                "{spec}"
            );
        }
    }

    #[test]
    fn removal() {
        let mut item = ItemTree::new(json!({"metadata": {"name": "c", "finalizers": ["a", "b"]}, "spec": {"x": {"y": 1}, "z": 2}})).unwrap();
        let paths = vec![
            vec![field("metadata"), field("finalizers"), Step::Element(0)],
            vec![field("metadata"), field("finalizers"), Step::Element(1)],
            vec![field("spec"), field("x"), field("y")],
        ];
        drop_fields(&mut item, &paths);
        assert_eq!(
            item.as_value(),
            &json!({"metadata": {"name": "c"}, "spec": {"z": 2}})
        );
    }
}
