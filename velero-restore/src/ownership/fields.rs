//! Which fields of an object a set of field names does not cover.

use serde_json::{Map, Value};
use velero_core::ItemTree;

/// One step of a path through an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A field of an object.
    Field(String),
    /// An element of a list.
    Element(usize),
}

/// A path through an object.
pub(crate) type Path = Vec<Step>;

/// Metadata that no manager owns.
const NOT_OWNED: [&str; 4] = ["name", "namespace", "managedFields", "generateName"];

/// The paths of all values that are sent but are not in `set`, which has the form of `fieldsV1`.
///
/// Nulls and empty objects and lists are no values. Of a list only the elements that are not in the set are named.
pub(crate) fn unowned(item: &ItemTree, set: &Value, restore_labels: &[&str]) -> Vec<Path> {
    let mut out = Vec::new();
    let Some(object) = item.as_value().as_object() else {
        return out;
    };
    let mut path = Vec::new();
    for (key, value) in object
        .iter()
        .filter(|(key, _)| *key != "apiVersion" && *key != "kind")
    {
        path.push(Step::Field(key.clone()));
        let part = set.get(format!("f:{key}"));
        match (key.as_str(), value) {
            ("metadata", Value::Object(metadata)) => {
                walk_metadata(metadata, part, restore_labels, &mut path, &mut out)
            }
            _ => walk(value, part, &mut path, &mut out),
        }
        path.pop();
    }
    out
}

fn walk_metadata(
    metadata: &Map<String, Value>,
    set: Option<&Value>,
    restore_labels: &[&str],
    path: &mut Path,
    out: &mut Vec<Path>,
) {
    for (key, value) in metadata
        .iter()
        .filter(|(key, _)| !NOT_OWNED.contains(&key.as_str()))
    {
        path.push(Step::Field(key.clone()));
        let part = set.and_then(|s| s.get(format!("f:{key}")));
        let (Value::Object(labels), "labels") = (value, key.as_str()) else {
            walk(value, part, path, out);
            path.pop();
            continue;
        };
        for (label, value) in labels
            .iter()
            .filter(|(label, _)| !restore_labels.contains(&label.as_str()))
        {
            path.push(Step::Field(label.clone()));
            walk(
                value,
                part.and_then(|s| s.get(format!("f:{label}"))),
                path,
                out,
            );
            path.pop();
        }
        path.pop();
    }
}

fn walk(value: &Value, set: Option<&Value>, path: &mut Path, out: &mut Vec<Path>) {
    let is_nothing = match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    if is_nothing {
        return;
    }
    let Some(Value::Object(set)) = set else {
        unowned_leaves(value, path, out);
        return;
    };
    // An empty set stands for the whole value.
    if set.is_empty() {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                path.push(Step::Field(key.clone()));
                walk(value, set.get(&format!("f:{key}")), path, out);
                path.pop();
            }
        }
        Value::Array(list) => {
            for (at, element) in list.iter().enumerate() {
                path.push(Step::Element(at));
                if !owns_value(set, element) {
                    walk(element, element_set(set, element), path, out);
                }
                path.pop();
            }
        }
        _ => out.push(path.clone()),
    }
}

/// Names the value itself, or the fields in it when it is an object: those may be in a table of defaults.
fn unowned_leaves(value: &Value, path: &mut Path, out: &mut Vec<Path>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                path.push(Step::Field(key.clone()));
                unowned_leaves(value, path, out);
                path.pop();
            }
        }
        Value::Null => {}
        _ => out.push(path.clone()),
    }
}

/// Whether an element of a list of plain values is in the set, as `v:<json>`.
fn owns_value(set: &Map<String, Value>, element: &Value) -> bool {
    if element.is_object() {
        return false;
    }
    set.keys()
        .filter_map(|k| k.strip_prefix("v:"))
        .any(|text| serde_json::from_str::<Value>(text).is_ok_and(|v| v == *element))
}

/// The set of the element of a list whose keys are those of a `k:<json>` entry.
fn element_set<'a>(set: &'a Map<String, Value>, element: &Value) -> Option<&'a Value> {
    set.iter()
        .filter_map(|(key, inner)| Some((key.strip_prefix("k:")?, inner)))
        .find(|(text, _)| {
            let Ok(Value::Object(keys)) = serde_json::from_str::<Value>(text) else {
                return false;
            };
            !keys.is_empty() && keys.iter().all(|(k, v)| element.get(k) == Some(v))
        })
        .map(|(_, inner)| inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn paths(body: Value, set: Value) -> Vec<String> {
        let item = ItemTree::new(body).unwrap();
        unowned(&item, &set, &["ours"])
            .iter()
            .map(|path| {
                path.iter()
                    .map(|step| match step {
                        Step::Field(f) => f.clone(),
                        Step::Element(n) => n.to_string(),
                    })
                    .collect::<Vec<_>>()
                    .join("/")
            })
            .collect()
    }

    #[test]
    fn coverage() {
        let ports = json!({".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:protocol": {}}});
        for (body, set, expected) in [
            (
                json!({"data": {"a": "1"}}),
                json!({"f:data": {".": {}, "f:a": {}}}),
                &[][..],
            ),
            (
                json!({"data": {"a": "1", "b": "2"}}),
                json!({"f:data": {".": {}, "f:a": {}}}),
                &["data/b"],
            ),
            (json!({"data": {"a": "1"}}), json!({"f:data": {}}), &[]),
            (json!({"data": {"a": "1"}}), json!({}), &["data/a"]),
            (json!({"data": null, "x": {}, "l": []}), json!({}), &[]),
            (
                json!({"metadata": {"name": "n", "namespace": "s", "labels": {"ours": "1"}}}),
                json!({}),
                &[],
            ),
            (
                json!({"metadata": {"labels": {"ours": "1", "app": "x"}}}),
                json!({}),
                &["metadata/labels/app"],
            ),
            (
                json!({"metadata": {"finalizers": ["f"]}}),
                json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"f\"": {}}}}),
                &[],
            ),
            (
                json!({"metadata": {"finalizers": ["f", "g"]}}),
                json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"f\"": {}}}}),
                &["metadata/finalizers/1"],
            ),
            (
                json!({"spec": {"ports": [{"port": 80, "protocol": "TCP"}]}}),
                json!({"f:spec": {"f:ports": ports}}),
                &[],
            ),
            (
                json!({"spec": {"ports": [{"port": 80, "protocol": "TCP", "nodePort": 1}, {"port": 81, "protocol": "TCP"}]}}),
                json!({"f:spec": {"f:ports": ports}}),
                &[
                    "spec/ports/0/nodePort",
                    "spec/ports/1/port",
                    "spec/ports/1/protocol",
                ],
            ),
            (
                json!({"spec": {"list": [1, 2]}}),
                json!({"f:spec": {"f:list": {}}}),
                &[],
            ),
        ] {
            assert_eq!(paths(body.clone(), set.clone()), expected, "{body} {set}");
        }
    }
}
