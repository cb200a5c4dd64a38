//! Whether an object of the cluster is what the archive holds.

use serde_json::{Map, Value};
use velero_core::ItemTree;
use velero_core::names::{GROUP, labels};

use crate::reset::reset;

/// Fields that the cluster chooses where nobody else does, by kind; `*` stands for each element of a list.
const CHOSEN: &[(&str, &[&str])] = &[
    ("Service", &["spec", "clusterIP"]),
    ("Service", &["spec", "clusterIPs"]),
    ("Service", &["spec", "ipFamilies"]),
    ("Service", &["spec", "ipFamilyPolicy"]),
    ("Service", &["spec", "healthCheckNodePort"]),
    ("Service", &["spec", "ports", "*", "nodePort"]),
    ("PersistentVolumeClaim", &["metadata", "finalizers"]),
    (
        "PersistentVolumeClaim",
        &["metadata", "annotations", "pv.kubernetes.io/bind-completed"],
    ),
    (
        "PersistentVolumeClaim",
        &[
            "metadata",
            "annotations",
            "pv.kubernetes.io/bound-by-controller",
        ],
    ),
    (
        "PersistentVolumeClaim",
        &[
            "metadata",
            "annotations",
            "volume.kubernetes.io/storage-provisioner",
        ],
    ),
    (
        "PersistentVolumeClaim",
        &[
            "metadata",
            "annotations",
            "volume.beta.kubernetes.io/storage-provisioner",
        ],
    ),
    (
        "PersistentVolumeClaim",
        &[
            "metadata",
            "annotations",
            "volume.kubernetes.io/selected-node",
        ],
    ),
    ("PersistentVolumeClaim", &["spec", "volumeName"]),
    ("PersistentVolume", &["metadata", "finalizers"]),
    (
        "PersistentVolume",
        &[
            "metadata",
            "annotations",
            "pv.kubernetes.io/bound-by-controller",
        ],
    ),
    ("PersistentVolume", &["spec", "claimRef", "uid"]),
    ("PersistentVolume", &["spec", "claimRef", "resourceVersion"]),
    ("Pod", &["spec", "nodeName"]),
    ("Pod", &["spec", "priority"]),
    // Of init containers that a hook has added.
    ("Pod", &["spec", "initContainers", "*", "imagePullPolicy"]),
    (
        "Pod",
        &["spec", "initContainers", "*", "terminationMessagePath"],
    ),
    (
        "Pod",
        &["spec", "initContainers", "*", "terminationMessagePolicy"],
    ),
    ("Pod", &["spec", "initContainers", "*", "volumeMounts"]),
    (
        "Job",
        &["spec", "selector", "matchLabels", "controller-uid"],
    ),
    (
        "Job",
        &[
            "spec",
            "selector",
            "matchLabels",
            "batch.kubernetes.io/controller-uid",
        ],
    ),
    (
        "Job",
        &["spec", "template", "metadata", "labels", "controller-uid"],
    ),
    (
        "Job",
        &[
            "spec",
            "template",
            "metadata",
            "labels",
            "batch.kubernetes.io/controller-uid",
        ],
    ),
    (
        "Job",
        &["spec", "template", "metadata", "labels", "job-name"],
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
    ),
    (
        "Secret",
        &[
            "metadata",
            "annotations",
            "kubernetes.io/service-account.uid",
        ],
    ),
];

/// Values that the API server puts where there are none, which older versions did not do for all of these fields.
const DEFAULTED: &[(&str, &[&str], &str)] = &[
    ("Service", &["spec", "type"], "ClusterIP"),
    ("Service", &["spec", "sessionAffinity"], "None"),
    ("Service", &["spec", "internalTrafficPolicy"], "Cluster"),
    ("Service", &["spec", "externalTrafficPolicy"], "Cluster"),
    ("Service", &["spec", "ports", "*", "protocol"], "TCP"),
    (
        "PersistentVolumeClaim",
        &["spec", "volumeMode"],
        "Filesystem",
    ),
    ("PersistentVolume", &["spec", "volumeMode"], "Filesystem"),
    ("Secret", &["type"], "Opaque"),
];

/// Whether an object of the cluster means the same as a wanted one: what the cluster writes or chooses by itself, who
/// owns which field, the labels of a restore and nulls aside.
pub(crate) fn same(live: &ItemTree, wanted: &ItemTree) -> bool {
    content(without_choices(live, wanted)) == content(wanted.clone())
}

/// An object of the cluster without what the cluster has chosen where the wanted object leaves it open.
pub(crate) fn without_choices(live: &ItemTree, wanted: &ItemTree) -> ItemTree {
    let mut live = live.clone();
    let kind = live.kind().to_owned();
    // To have no address is nobody's choice but the user's.
    let is_open = |path: &[&str]| {
        !(is_headless(&live) && matches!(path, ["spec", "clusterIP" | "clusterIPs"]))
    };
    let chosen: Vec<&[&str]> = CHOSEN
        .iter()
        .filter(|(k, path)| *k == kind && is_open(path))
        .map(|(_, path)| *path)
        .collect();
    for path in chosen {
        forget(live.as_value_mut(), Some(wanted.as_value()), path, None);
    }
    for (_, path, value) in DEFAULTED.iter().filter(|(k, _, _)| *k == kind) {
        forget(
            live.as_value_mut(),
            Some(wanted.as_value()),
            path,
            Some(value),
        );
    }
    live
}

/// Whether an object is a Service that has no address of its own.
pub(crate) fn is_headless(item: &ItemTree) -> bool {
    item.api_version() == "v1"
        && item.kind() == "Service"
        && item.str_at("/spec/clusterIP") == "None"
}

/// Removes a field that the wanted object does not have; given a value, only where the field has it.
fn forget(live: &mut Value, wanted: Option<&Value>, path: &[&str], value: Option<&str>) {
    match (path, live) {
        ([field], Value::Object(map)) => {
            let has_value =
                value.is_none_or(|v| map.get(*field).and_then(Value::as_str) == Some(v));
            if has_value && wanted.and_then(|w| w.get(*field)).is_none() {
                map.remove(*field);
            }
        }
        (["*", rest @ ..], Value::Array(list)) => {
            for (at, element) in list.iter_mut().enumerate() {
                forget(element, wanted.and_then(|w| w.get(at)), rest, value);
            }
        }
        ([field, rest @ ..], Value::Object(map)) => {
            if let Some(inner) = map.get_mut(*field) {
                forget(inner, wanted.and_then(|w| w.get(*field)), rest, value);
            }
        }
        _ => {}
    }
}

/// The content of an object, the labels of a restore aside, in a form that can be compared.
fn content(mut item: ItemTree) -> Option<Value> {
    item.remove_labels(&[labels::BACKUP_NAME, labels::RESTORE_NAME]);
    comparable(item)
}

/// What an object says, without what the cluster writes and who owns which field; `None` without metadata.
pub(crate) fn comparable(mut item: ItemTree) -> Option<Value> {
    reset(&mut item)?;
    item.remove_annotations(&[
        "deployment.kubernetes.io/revision",
        "deprecated.daemonset.template.generation",
    ]);
    item.metadata_mut().remove("managedFields");
    squeeze(item.into_value())
}

/// Fields that mean the same whether they are empty or absent. Elsewhere the difference counts: an empty selector takes
/// everything, an absent one nothing.
const EMPTY_IS_ABSENT: [&str; 9] = [
    "annotations",
    "finalizers",
    "labels",
    "matchLabels",
    "metadata",
    "ownerReferences",
    "resources",
    "securityContext",
    "volumes",
];

/// Drops nulls, and fields of [`EMPTY_IS_ABSENT`] that hold nothing; `None` when the value is null itself.
fn squeeze(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(map) => Some(Value::Object(
            map.into_iter()
                .filter_map(|(k, v)| Some((k, squeeze(v)?)))
                .filter(|(k, v)| !(is_empty(v) && EMPTY_IS_ABSENT.contains(&k.as_str())))
                .collect::<Map<String, Value>>(),
        )),
        // Elements keep their places: a null one still counts.
        Value::Array(list) => Some(Value::Array(
            list.into_iter()
                .map(|v| squeeze(v).unwrap_or(Value::Null))
                .collect(),
        )),
        other => Some(other),
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// Whether an object is a part of Velero, which no restore changes under its own feet: its namespace `own` with all that is
/// in it, its custom resources and their definitions, and outside of all namespaces what its installer labels and what
/// gives rights to accounts of that namespace.
pub(crate) fn belongs_to_velero(live: &ItemTree, own: &str) -> bool {
    let is_ours = |group: &str| {
        let parent = group.strip_suffix(GROUP);
        parent.is_some_and(|parent| parent.is_empty() || parent.ends_with('.'))
    };
    let installed = || {
        live.namespace().is_empty()
            && live
                .at("/metadata/labels")
                .and_then(|l| l.get(labels::COMPONENT))
                .is_some_and(|value| value == labels::COMPONENT_VELERO)
    };
    let group = live.api_version().split_once('/').map_or("", |(g, _)| g);
    match (group, live.kind()) {
        ("", "Namespace") => live.name() == own || installed(),
        ("apiextensions.k8s.io", "CustomResourceDefinition")
            if is_ours(live.str_at("/spec/group")) =>
        {
            true
        }
        ("rbac.authorization.k8s.io", "ClusterRoleBinding" | "RoleBinding")
            if binds_accounts_of(live, own) =>
        {
            true
        }
        _ => live.namespace() == own || is_ours(group) || installed(),
    }
}

/// Whether a binding gives rights to a ServiceAccount of a namespace.
fn binds_accounts_of(binding: &ItemTree, namespace: &str) -> bool {
    let mut subjects = binding.array_at("/subjects").iter();
    subjects.any(|subject| subject["kind"] == "ServiceAccount" && subject["namespace"] == namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tree(value: Value) -> ItemTree {
        ItemTree::new(value).unwrap()
    }

    #[test]
    fn bookkeeping_is_no_difference() {
        let a = tree(json!({
            "kind": "Deployment",
            "metadata": {"name": "a", "uid": "1", "resourceVersion": "9", "managedFields": [{"manager": "x"}], "creationTimestamp": null,
                "labels": {"velero.io/restore-name": "r", "app": "x"}, "annotations": {"deployment.kubernetes.io/revision": "3"}},
            "spec": {"template": {"metadata": {"creationTimestamp": null}, "spec": {"securityContext": {}, "volumes": []}}},
            "status": {"x": 1},
        }));
        let mut b = tree(
            json!({"kind": "Deployment", "metadata": {"name": "a", "labels": {"app": "x"}}, "spec": {"template": {"spec": {}}}}),
        );
        assert!(same(&a, &b));
        b.set_label("app", "y");
        assert!(!same(&a, &b));
    }

    #[test]
    fn content_is_a_difference() {
        for (a, b) in [
            (
                json!({"metadata": {"name": "a"}, "data": {"k": ""}}),
                json!({"metadata": {"name": "a"}}),
            ),
            (
                json!({"metadata": {"name": "a"}, "l": [1, 2]}),
                json!({"metadata": {"name": "a"}, "l": [2, 1]}),
            ),
            (
                json!({"metadata": {"name": "a"}, "spec": {"from": [{"namespaceSelector": {}}]}}),
                json!({"metadata": {"name": "a"}, "spec": {"from": [{}]}}),
            ),
            (
                json!({"metadata": {"name": "a"}, "n": false}),
                json!({"metadata": {"name": "a"}}),
            ),
            (
                json!({"metadata": {"name": "a", "finalizers": ["f"]}}),
                json!({"metadata": {"name": "a"}}),
            ),
        ] {
            assert!(!same(&tree(a.clone()), &tree(b.clone())), "{a} {b}");
        }
    }

    #[test]
    fn to_have_no_address_is_a_difference() {
        let service = |spec: Value| {
            tree(
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}),
            )
        };
        let headless = service(json!({"clusterIP": "None", "clusterIPs": ["None"]}));
        let addressed = service(json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}));
        let open = service(json!({}));
        assert!(same(&addressed, &open) && same(&headless, &headless));
        assert!(!same(&headless, &open) && !same(&addressed, &headless));
    }

    #[test]
    fn what_the_cluster_chose_is_no_difference() {
        let live = json!({"kind": "Service", "metadata": {"name": "s"}, "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ipFamilies": ["IPv4"], "ports": [{"port": 80, "nodePort": 30001}, {"port": 81, "nodePort": 30002}]}});
        for (wanted, expected) in [
            (json!({"ports": [{"port": 80}, {"port": 81}]}), true),
            (
                json!({"ports": [{"port": 80, "nodePort": 30001}, {"port": 81}]}),
                true,
            ),
            (
                json!({"ports": [{"port": 80, "nodePort": 30009}, {"port": 81}]}),
                false,
            ),
            (
                json!({"clusterIP": "None", "ports": [{"port": 80}, {"port": 81}]}),
                false,
            ),
            (json!({"ports": [{"port": 80}]}), false),
        ] {
            let wanted =
                tree(json!({"kind": "Service", "metadata": {"name": "s"}, "spec": wanted}));
            assert_eq!(
                same(&tree(live.clone()), &wanted),
                expected,
                "{:?}",
                wanted.as_value()
            );
        }
    }

    #[test]
    fn what_belongs_to_velero() {
        let labels = json!({"component": "velero"});
        for (object, expected) in [
            (
                json!({"apiVersion": "velero.io/v1", "kind": "Schedule", "metadata": {"namespace": "shop"}}),
                true,
            ),
            (
                json!({"apiVersion": "velero.io.example.com/v1", "kind": "Schedule", "metadata": {}}),
                false,
            ),
            (
                json!({"apiVersion": "apps/v1", "metadata": {"namespace": "velero", "labels": labels}}),
                true,
            ),
            (
                json!({"apiVersion": "apps/v1", "metadata": {"namespace": "shop", "labels": labels}}),
                false,
            ),
            (
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"labels": labels}}),
                true,
            ),
            (
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "velero"}}),
                true,
            ),
            (
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "shop"}}),
                false,
            ),
            (
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {},
                    "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "backup", "namespace": "velero"}]}),
                true,
            ),
            (
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {},
                    "subjects": [{"kind": "ServiceAccount", "name": "velero", "namespace": "shop"}]}),
                false,
            ),
            (
                json!({"apiVersion": "x.velero.io/v1", "kind": "Thing", "metadata": {}}),
                true,
            ),
            (
                json!({"apiVersion": "myvelero.io/v1", "kind": "Thing", "metadata": {}}),
                false,
            ),
            (
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "velero"}}),
                true,
            ),
            (
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
                false,
            ),
            (
                json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {},
                    "spec": {"group": "velero.io"}}),
                true,
            ),
            (
                json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {},
                    "spec": {"group": "example.com"}}),
                false,
            ),
        ] {
            assert_eq!(
                belongs_to_velero(&tree(object.clone()), "velero"),
                expected,
                "{object}"
            );
        }
    }
}
