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

/// A [`Step`] that has not been written down yet: most fields have an owner.
#[derive(Clone, Copy)]
enum At<'a> {
    Field(&'a str),
    Element(usize),
}

/// A walk through an object beside a set of field names.
#[derive(Default)]
struct Walk<'a> {
    path: Vec<At<'a>>,
    key: String,
    out: Vec<Path>,
}

/// The paths of all values that are sent but are not in `set`, which has the form of `fieldsV1`.
///
/// Nulls and empty objects and lists are no values. Of a list only the elements that are not in the set are named.
pub(crate) fn unowned(item: &ItemTree, set: &Value, restore_labels: &[&str]) -> Vec<Path> {
    let mut walk = Walk::default();
    let Some(object) = item.as_value().as_object() else {
        return Vec::new();
    };
    let set = set.as_object();
    for (key, value) in object
        .iter()
        .filter(|(key, _)| *key != "apiVersion" && *key != "kind")
    {
        let part = walk.part(set, key);
        match (key.as_str(), value) {
            ("metadata", Value::Object(metadata)) => {
                walk.path.push(At::Field(key));
                walk.metadata(metadata, part.and_then(Value::as_object), restore_labels);
                walk.path.pop();
            }
            _ => walk.field(key, value, part),
        }
    }
    walk.out
}

impl<'a> Walk<'a> {
    /// What the set says about a field.
    fn part<'s>(&mut self, set: Option<&'s Map<String, Value>>, field: &str) -> Option<&'s Value> {
        self.key.clear();
        self.key.push_str("f:");
        self.key.push_str(field);
        set?.get(&self.key)
    }

    fn metadata(
        &mut self,
        metadata: &'a Map<String, Value>,
        set: Option<&Map<String, Value>>,
        restore_labels: &[&str],
    ) {
        for (key, value) in metadata
            .iter()
            .filter(|(key, _)| !NOT_OWNED.contains(&key.as_str()))
        {
            let part = self.part(set, key);
            let (Value::Object(labels), "labels") = (value, key.as_str()) else {
                self.field(key, value, part);
                continue;
            };
            self.path.push(At::Field(key));
            for (label, value) in labels
                .iter()
                .filter(|(label, _)| !restore_labels.contains(&label.as_str()))
            {
                let part = self.part(part.and_then(Value::as_object), label);
                self.field(label, value, part);
            }
            self.path.pop();
        }
    }

    fn field(&mut self, key: &'a str, value: &'a Value, set: Option<&Value>) {
        self.path.push(At::Field(key));
        self.value(value, set);
        self.path.pop();
    }

    fn value(&mut self, value: &'a Value, set: Option<&Value>) {
        if is_nothing(value) {
            return;
        }
        let Some(Value::Object(set)) = set else {
            return self.unowned_leaves(value);
        };
        // An empty set stands for the whole value.
        if set.is_empty() {
            return;
        }
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let part = self.part(Some(set), key);
                    self.field(key, value, part);
                }
            }
            Value::Array(list) => {
                for (at, element) in list
                    .iter()
                    .enumerate()
                    .filter(|(_, element)| !owns_value(set, element))
                {
                    self.path.push(At::Element(at));
                    self.value(element, element_set(set, element));
                    self.path.pop();
                }
            }
            _ => self.note(),
        }
    }

    /// Names the value itself, or the fields in it when it is an object: those may be in a table of defaults.
    fn unowned_leaves(&mut self, value: &'a Value) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    self.path.push(At::Field(key));
                    self.unowned_leaves(value);
                    self.path.pop();
                }
            }
            Value::Null => {}
            _ => self.note(),
        }
    }

    fn note(&mut self) {
        let steps = self.path.iter().map(|at| match at {
            At::Field(field) => Step::Field((*field).to_owned()),
            At::Element(n) => Step::Element(*n),
        });
        self.out.push(steps.collect());
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
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
