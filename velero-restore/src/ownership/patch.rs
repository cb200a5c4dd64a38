//! The patch that sets managedFields.

use serde_json::{Map, Value, json};
use velero_core::ItemTree;

use super::OWN_MANAGER;

/// The body of the merge patch: the entries, and the uid and version that the object must still have.
pub(crate) fn patch_body(uid: &str, resource_version: &str, entries: &[Value]) -> Value {
    json!({"metadata": {"uid": uid, "resourceVersion": resource_version, "managedFields": entries}})
}

/// The entries to set when others have written to the object since it was created: theirs come to the archive's.
///
/// Of an entry that both have, by manager, operation, version and subresource, the fields are united.
pub(crate) fn after_conflict(live: &ItemTree, entries: &[Value]) -> Vec<Value> {
    let mut out = entries.to_vec();
    for theirs in live.array_at("/metadata/managedFields") {
        let text = |field: &str| theirs.get(field).and_then(Value::as_str);
        if text("manager") == Some(OWN_MANAGER) && text("operation") == Some("Update") {
            continue;
        }
        match out.iter_mut().find(|ours| same_holder(ours, theirs)) {
            Some(ours) => unite(&mut ours["fieldsV1"], &theirs["fieldsV1"]),
            None => out.push(theirs.clone()),
        }
    }
    out
}

fn same_holder(a: &Value, b: &Value) -> bool {
    ["manager", "operation", "apiVersion", "subresource"]
        .iter()
        .all(|field| {
            a.get(*field).and_then(Value::as_str).unwrap_or_default()
                == b.get(*field).and_then(Value::as_str).unwrap_or_default()
        })
}

fn unite(ours: &mut Value, theirs: &Value) {
    let Value::Object(theirs) = theirs else {
        return;
    };
    if !ours.is_object() {
        *ours = Value::Object(Map::new());
    }
    let Value::Object(ours) = ours else { return };
    for (key, value) in theirs {
        match ours.get_mut(key) {
            Some(inner) => unite(inner, value),
            None => {
                ours.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_in_between_stays() {
        let live = ItemTree::new(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"uid": "u", "resourceVersion": "7", "managedFields": [
            {"manager": "velero-server", "operation": "Update", "apiVersion": "apps/v1", "fieldsV1": {"f:spec": {}}},
            {"manager": "velero-server", "operation": "Update", "apiVersion": "apps/v1", "subresource": "status", "fieldsV1": {"f:status": {}}},
            {"manager": "kcm", "operation": "Update", "apiVersion": "apps/v1", "subresource": "status", "fieldsV1": {"f:status": {"f:a": {}}}},
            {"manager": "kwok", "operation": "Update", "apiVersion": "apps/v1", "fieldsV1": {"f:x": {}}},
        ]}}))
        .unwrap();
        let archived = [
            json!({"manager": "kubectl", "operation": "Update", "apiVersion": "apps/v1", "fieldsV1": {"f:spec": {}}}),
            json!({"manager": "kcm", "operation": "Update", "apiVersion": "apps/v1", "subresource": "status", "fieldsV1": {"f:metadata": {}}}),
        ];
        let entries = after_conflict(&live, &archived);
        let managers: Vec<_> = entries
            .iter()
            .map(|e| e["manager"].as_str().unwrap())
            .collect();
        assert_eq!(managers, ["kubectl", "kcm", "kwok"]);
        assert_eq!(
            entries[1]["fieldsV1"],
            json!({"f:metadata": {}, "f:status": {"f:a": {}}})
        );
        let body = patch_body("u", "7", &entries);
        assert_eq!(
            (
                body["metadata"]["uid"].as_str(),
                body["metadata"]["resourceVersion"].as_str()
            ),
            (Some("u"), Some("7"))
        );
    }
}
