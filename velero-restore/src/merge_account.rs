//! Merging a ServiceAccount of an archive into one of the cluster.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use velero_core::ItemTree;
use velero_core::names::labels;

/// Gives the merge patch that adds to `live` what only the archive has; `None` when there is nothing to add.
///
/// Secrets and pull secrets are united by name, labels and annotations by key; what the cluster has stays. The labels
/// of a restore are not added. Mirrors upstream's `pkg/restore/merge_service_account.go`.
pub(crate) fn merge_patch(live: &ItemTree, archived: &ItemTree) -> Option<Value> {
    let mut patch = Map::new();
    for field in ["secrets", "imagePullSecrets"] {
        if let Some(list) = united(
            live.array_at(&format!("/{field}")),
            archived.array_at(&format!("/{field}")),
        ) {
            patch.insert(field.into(), Value::Array(list));
        }
    }
    let mut metadata = Map::new();
    for field in ["labels", "annotations"] {
        let at = format!("/metadata/{field}");
        let has = |key: &str| live.at(&at).and_then(|m| m.get(key)).is_some();
        let missing: Map<String, Value> = archived
            .at(&at)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter(|(key, _)| {
                !has(key) && ![labels::BACKUP_NAME, labels::RESTORE_NAME].contains(&key.as_str())
            })
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if !missing.is_empty() {
            metadata.insert(field.into(), Value::Object(missing));
        }
    }
    if !metadata.is_empty() {
        patch.insert("metadata".into(), Value::Object(metadata));
    }
    (!patch.is_empty()).then(|| json!(patch))
}

fn united(live: &[Value], archived: &[Value]) -> Option<Vec<Value>> {
    let name = |v: &Value| {
        v.get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let mut names: BTreeSet<String> = live.iter().map(name).collect();
    let added: Vec<Value> = archived
        .iter()
        .filter(|v| names.insert(name(v)))
        .cloned()
        .collect();
    (!added.is_empty()).then(|| live.iter().cloned().chain(added).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging() {
        for (live, archived, expected) in [
            (json!({}), json!({}), None),
            (
                json!({"secrets": [{"name": "a"}]}),
                json!({"secrets": [{"name": "a"}]}),
                None,
            ),
            (
                json!({"secrets": [{"name": "b"}]}),
                json!({"secrets": [{"name": "a"}, {"name": "b"}], "imagePullSecrets": [{"name": "p"}]}),
                Some(
                    json!({"secrets": [{"name": "b"}, {"name": "a"}], "imagePullSecrets": [{"name": "p"}]}),
                ),
            ),
            (
                json!({"metadata": {"labels": {"l": "cluster"}}}),
                json!({"metadata": {"labels": {"l": "archive", "m": "1", "velero.io/restore-name": "r"}, "annotations": {"a": "1"}}}),
                Some(json!({"metadata": {"labels": {"m": "1"}, "annotations": {"a": "1"}}})),
            ),
            (
                json!({}),
                json!({"metadata": {"labels": {"velero.io/backup-name": "b"}}}),
                None,
            ),
        ] {
            let tree = |v: Value| ItemTree::new(v).unwrap();
            assert_eq!(
                merge_patch(&tree(live.clone()), &tree(archived)),
                expected,
                "{live}"
            );
        }
    }
}
