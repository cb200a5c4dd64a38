//! What an object loses on its way from one cluster to another.

use serde_json::Value;
use velero_core::ItemTree;
use velero_core::names::labels;

/// Metadata that a restored object does not keep.
const DROPPED: [&str; 9] = [
    "generateName",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
];

/// Removes what the API server gave to the object, its owners and its status.
///
/// Name, namespace, labels, annotations, finalizers, managedFields and unknown fields stay. `None` when there is no
/// metadata. Mirrors `resetMetadata` and `resetStatus` in upstream's `pkg/restore/restore.go`.
pub(crate) fn reset(item: &mut ItemTree) -> Option<()> {
    let object = item.as_value_mut().as_object_mut()?;
    object.remove("status");
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    for field in DROPPED {
        metadata.remove(field);
    }
    Some(())
}

/// Puts the two labels of a restore on an object.
pub(crate) fn label(item: &mut ItemTree, backup: &str, restore: &str) {
    item.set_label(labels::BACKUP_NAME, backup);
    item.set_label(labels::RESTORE_NAME, restore);
}

/// Removes the binding of a volume or claim, so that the controller binds it anew.
/// Mirrors `resetVolumeBindingInfo` in upstream's `pkg/restore/restore.go`.
pub(crate) fn reset_binding(item: &mut ItemTree) {
    item.remove("/spec/claimRef", "uid");
    item.remove("/spec/claimRef", "resourceVersion");
    item.remove_annotations(&[
        "pv.kubernetes.io/bind-completed",
        "pv.kubernetes.io/bound-by-controller",
    ]);
}

/// Sets the namespace of an object.
pub(crate) fn set_namespace(item: &mut ItemTree, namespace: &str) {
    let metadata = item.metadata_mut();
    if namespace.is_empty() {
        metadata.remove("namespace");
    } else {
        metadata.insert("namespace".into(), Value::String(namespace.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metadata_and_status() {
        let mut item = ItemTree::new(json!({
            "kind": "Pod", "spec": {"a": 1}, "status": {"phase": "Running"},
            "metadata": {
                "name": "n", "namespace": "s", "labels": {"l": "1"}, "annotations": {"a": "1"}, "finalizers": ["f"],
                "managedFields": [{"manager": "m"}], "generateName": "n-", "selfLink": "/x", "uid": "u", "resourceVersion": "1",
                "generation": 2, "creationTimestamp": "t", "deletionTimestamp": "t", "deletionGracePeriodSeconds": 3,
                "ownerReferences": [{"uid": "o"}], "clusterName": "kept",
            },
        }))
        .unwrap();
        reset(&mut item).unwrap();
        let kept = json!({
            "kind": "Pod", "spec": {"a": 1},
            "metadata": {
                "name": "n", "namespace": "s", "labels": {"l": "1"}, "annotations": {"a": "1"}, "finalizers": ["f"],
                "managedFields": [{"manager": "m"}], "clusterName": "kept",
            },
        });
        assert_eq!(item.as_value(), &kept);
        assert!(reset(&mut ItemTree::new(json!({"kind": "Pod"})).unwrap()).is_none());
    }

    #[test]
    fn bindings() {
        let mut item = ItemTree::new(json!({
            "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes",
                "pv.kubernetes.io/provisioned-by": "x"}},
            "spec": {"claimRef": {"name": "c", "uid": "u", "resourceVersion": "5"}},
        }))
        .unwrap();
        reset_binding(&mut item);
        let kept = json!({
            "metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": "x"}}, "spec": {"claimRef": {"name": "c"}},
        });
        assert_eq!(item.as_value(), &kept);
    }
}
