//! The patch that makes an object of the cluster what the archive holds.

use serde_json::{Map, Value, json};
use velero_core::ItemTree;
use velero_core::names::labels;

use crate::compare::{comparable, same, without_choices};

/// The labels that tell which restore an object is from.
const RESTORE_LABELS: [&str; 2] = [labels::BACKUP_NAME, labels::RESTORE_NAME];

/// Gives the merge patch (RFC 7386) that turns `live` into `wanted`; `None` when there is nothing to change.
///
/// Keys that only the cluster has are deleted, lists are replaced whole, and the labels of the restore are written.
/// What the cluster gives or chooses by itself (metadata, status, addresses, bindings), and what controllers note in
/// annotations, is left as it is. `owners` are the managedFields of the archive; they come along with a change, before
/// the live entries of subresources. Mirrors `generatePatch` in upstream's `pkg/restore/merge_service_account.go`.
pub(crate) fn update_patch(live: &ItemTree, wanted: &ItemTree, owners: &[Value]) -> Option<Value> {
    let from = comparable(without_choices(live, wanted))?;
    let mut patch = diff(&from, &comparable(wanted.clone())?)?;
    spare_annotations(&mut patch, live, &from);
    // The labels of a restore alone change no owners.
    if !same(live, wanted)
        && let Some(entries) = owners_of(live, owners)
    {
        let metadata = &mut patch["metadata"];
        if !metadata.is_object() {
            *metadata = json!({});
        }
        metadata["managedFields"] = Value::Array(entries);
    }
    Some(patch)
}

/// Where all annotations would go, takes away those alone that were compared: the cluster's own stay.
fn spare_annotations(patch: &mut Value, live: &ItemTree, compared: &Value) {
    const AT: &str = "/metadata/annotations";
    let has = live.at(AT).and_then(Value::as_object);
    let compared = compared.pointer(AT).and_then(Value::as_object);
    let (Some(has), Some(compared)) = (has, compared) else {
        return;
    };
    if has.len() > compared.len()
        && let Some(gone) = patch.pointer_mut(AT)
        && gone.is_null()
    {
        let nulls = compared.keys().map(|key| (key.clone(), Value::Null));
        *gone = Value::Object(nulls.collect());
    }
}

/// Gives the merge patch that writes the restore labels of `wanted` alone; `None` when they are there.
pub(crate) fn label_patch(live: &ItemTree, wanted: &ItemTree) -> Option<Value> {
    let label = |item: &ItemTree, key: &str| item.at("/metadata/labels")?.get(key).cloned();
    let changes: Map<String, Value> = RESTORE_LABELS
        .iter()
        .filter_map(|key| {
            let value = label(wanted, key)?;
            (label(live, key).as_ref() != Some(&value)).then(|| ((*key).to_owned(), value))
        })
        .collect();
    (!changes.is_empty()).then(|| json!({"metadata": {"labels": changes}}))
}

/// The archive's entries of the object itself, and the live ones of its subresources; `None` where the archive has none.
fn owners_of(live: &ItemTree, archived: &[Value]) -> Option<Vec<Value>> {
    let of_object = |entry: &&Value| {
        entry
            .get("subresource")
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
    };
    let mut entries: Vec<Value> = archived.iter().filter(of_object).cloned().collect();
    if entries.is_empty() {
        return None;
    }
    let subresources = live
        .array_at("/metadata/managedFields")
        .iter()
        .filter(|entry| !of_object(entry));
    entries.extend(subresources.cloned());
    Some(entries)
}

/// The merge patch from one value to another, of which the second holds no nulls outside of lists.
fn diff(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(from_map), Value::Object(to_map)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let mut patch = Map::new();
    for key in from_map.keys().filter(|key| !to_map.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in to_map {
        let change = match from_map.get(key) {
            Some(old) => diff(old, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(mut value: Value, restore: &str) -> ItemTree {
        value["metadata"]["name"] = json!("x");
        if !restore.is_empty() {
            value["metadata"]["labels"]["velero.io/backup-name"] = json!("b");
            value["metadata"]["labels"]["velero.io/restore-name"] = json!(restore);
        }
        ItemTree::new(value).unwrap()
    }

    #[test]
    fn differences_become_merge_patches() {
        for (live, wanted, expected) in [
            (
                json!({"data": {"a": "1"}}),
                json!({"data": {"a": "1"}}),
                None,
            ),
            (
                json!({"data": {"a": "1", "gone": "x"}}),
                json!({"data": {"a": "2", "new": "y"}}),
                Some(json!({"data": {"a": "2", "gone": null, "new": "y"}})),
            ),
            (
                json!({"l": [1, 2, 3]}),
                json!({"l": [3]}),
                Some(json!({"l": [3]})),
            ),
            (
                json!({"a": {"b": 1}}),
                json!({"a": 1}),
                Some(json!({"a": 1})),
            ),
            (
                json!({"a": 1}),
                json!({"a": {"b": 1}}),
                Some(json!({"a": {"b": 1}})),
            ),
            (
                json!({"data": {"a": "1"}}),
                json!({}),
                Some(json!({"data": null})),
            ),
            (
                json!({"metadata": {"finalizers": ["theirs"], "annotations": {"a": "1"}, "uid": "u", "ownerReferences": [{}]}, "status": {"s": 1}}),
                json!({"metadata": {"finalizers": ["ours"]}}),
                Some(json!({"metadata": {"finalizers": ["ours"], "annotations": null}})),
            ),
            // What the cluster has chosen stays, and so does what its controllers note.
            (
                json!({"kind": "Service", "spec": {"clusterIP": "10.0.0.1", "type": "ClusterIP", "selector": {"a": "b"}}}),
                json!({"kind": "Service", "spec": {"selector": {"a": "c"}}}),
                Some(json!({"spec": {"selector": {"a": "c"}}})),
            ),
            (
                json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "3"}}, "spec": {"replicas": 1}}),
                json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}}, "spec": {"replicas": 2}}),
                Some(json!({"spec": {"replicas": 2}})),
            ),
            (
                json!({"kind": "PersistentVolumeClaim", "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes", "a": "1"}}}),
                json!({"kind": "PersistentVolumeClaim"}),
                Some(json!({"metadata": {"annotations": {"a": null}}})),
            ),
        ] {
            assert_eq!(
                update_patch(&tree(live.clone(), "r"), &tree(wanted.clone(), "r"), &[]),
                expected,
                "{live} {wanted}"
            );
        }
    }

    #[test]
    fn restore_labels_are_written_where_they_are_stale_or_missing() {
        let data = json!({"data": {"a": "1"}});
        let both = json!({"velero.io/backup-name": "b", "velero.io/restore-name": "new"});
        for (live, expected) in [
            (tree(data.clone(), "new"), None),
            (
                tree(data.clone(), "old"),
                Some(json!({"velero.io/restore-name": "new"})),
            ),
            (tree(data.clone(), ""), Some(both)),
        ] {
            let wanted = tree(data.clone(), "new");
            let expected = expected.map(|labels| json!({"metadata": {"labels": labels}}));
            assert_eq!(update_patch(&live, &wanted, &[]), expected);
            assert_eq!(label_patch(&live, &wanted), expected);
        }
        // A map of labels that goes otherwise keeps those of the restore.
        let live = tree(json!({"metadata": {"labels": {"app": "web"}}}), "old");
        let labels = json!({"app": null, "velero.io/restore-name": "new"});
        assert_eq!(
            update_patch(&live, &tree(json!({}), "new"), &[]),
            Some(json!({"metadata": {"labels": labels}}))
        );
    }

    #[test]
    fn owners_come_along_with_a_change_only() {
        let status = json!({"manager": "kcm", "subresource": "status"});
        let live = json!({"metadata": {"managedFields": [{"manager": "theirs"}, status]}, "a": 1});
        let owners = [
            json!({"manager": "ours"}),
            json!({"manager": "old", "subresource": "status"}),
        ];
        let live = tree(live, "r");
        assert_eq!(
            update_patch(&live, &tree(json!({"a": 1}), "r"), &owners),
            None
        );
        assert_eq!(
            update_patch(&live, &tree(json!({"a": 2}), "r"), &owners),
            Some(json!({"a": 2, "metadata": {"managedFields": [{"manager": "ours"}, status]}}))
        );
        assert_eq!(
            update_patch(&live, &tree(json!({"a": 2}), "r"), &owners[1..]),
            Some(json!({"a": 2}))
        );
    }
}
