//! Items as full trees, for what touches their content.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{Error, ItemKey};

/// One object as a JSON tree: what actions read and change.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemTree(Value);

impl ItemTree {
    /// Parses a JSON object.
    ///
    /// # Errors
    /// When the bytes are no JSON object.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let value = serde_json::from_slice(json).map_err(|source| Error::Item {
            what: "an item".into(),
            reason: "its json does not parse".into(),
            source: Some(Box::new(source)),
        })?;
        Self::new(value)
    }

    /// Takes a value that must be an object.
    ///
    /// # Errors
    /// When the value is anything else.
    pub fn new(value: Value) -> Result<Self, Error> {
        if value.is_object() {
            Ok(Self(value))
        } else {
            Err(Error::item("an item", "it is no json object"))
        }
    }

    /// The whole tree.
    pub fn as_value(&self) -> &Value {
        &self.0
    }

    /// The whole tree, to be changed. It stays an object: writing anything else makes later accessors answer empty.
    pub fn as_value_mut(&mut self) -> &mut Value {
        &mut self.0
    }

    /// Gives up the tree.
    pub fn into_value(self) -> Value {
        self.0
    }

    /// The value at a JSON pointer such as `/spec/volumeName`.
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        self.0.pointer(pointer)
    }

    /// The value at a JSON pointer, to be changed.
    pub fn at_mut(&mut self, pointer: &str) -> Option<&mut Value> {
        self.0.pointer_mut(pointer)
    }

    /// The text at a JSON pointer, empty where there is none.
    pub fn str_at(&self, pointer: &str) -> &str {
        self.at(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The array at a JSON pointer, empty where there is none.
    pub fn array_at(&self, pointer: &str) -> &[Value] {
        self.at(pointer)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// Removes the field `field` of the object at `pointer` (empty for the top) and gives it back.
    pub fn remove(&mut self, pointer: &str, field: &str) -> Option<Value> {
        self.0.pointer_mut(pointer)?.as_object_mut()?.remove(field)
    }

    /// The object at the top-level field `field`, made where it is missing or no object.
    pub fn object_mut(&mut self, field: &str) -> &mut Map<String, Value> {
        object_in(&mut self.0, field)
    }

    /// `apiVersion`.
    pub fn api_version(&self) -> &str {
        self.str_at("/apiVersion")
    }

    /// `kind`.
    pub fn kind(&self) -> &str {
        self.str_at("/kind")
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.str_at("/metadata/name")
    }

    /// `metadata.namespace`, empty for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        self.str_at("/metadata/namespace")
    }

    /// The key of this object within a run.
    pub fn key(&self) -> ItemKey {
        ItemKey::new(
            self.api_version(),
            self.kind(),
            self.namespace(),
            self.name(),
        )
    }

    /// The metadata object, made where missing.
    pub fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        self.object_mut("metadata")
    }

    /// The labels; values that are no strings are left out.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.string_map("/metadata/labels")
    }

    /// The annotations; values that are no strings are left out.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.string_map("/metadata/annotations")
    }

    /// One annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.at("/metadata/annotations")?.get(key)?.as_str()
    }

    /// Sets a label.
    pub fn set_label(&mut self, key: &str, value: impl Into<String>) {
        object_in_map(self.metadata_mut(), "labels")
            .insert(key.to_owned(), Value::String(value.into()));
    }

    /// Sets an annotation.
    pub fn set_annotation(&mut self, key: &str, value: impl Into<String>) {
        object_in_map(self.metadata_mut(), "annotations")
            .insert(key.to_owned(), Value::String(value.into()));
    }

    /// Removes annotations; an annotations object left empty goes too.
    pub fn remove_annotations(&mut self, keys: &[&str]) {
        self.remove_metadata_keys("annotations", keys);
    }

    /// Removes labels; a labels object left empty goes too.
    pub fn remove_labels(&mut self, keys: &[&str]) {
        self.remove_metadata_keys("labels", keys);
    }

    fn remove_metadata_keys(&mut self, field: &str, keys: &[&str]) {
        let metadata = self.metadata_mut();
        let Some(map) = metadata.get_mut(field).and_then(Value::as_object_mut) else {
            return;
        };
        for key in keys {
            map.remove(*key);
        }
        if map.is_empty() {
            metadata.remove(field);
        }
    }

    fn string_map(&self, pointer: &str) -> BTreeMap<String, String> {
        let Some(map) = self.at(pointer).and_then(Value::as_object) else {
            return BTreeMap::new();
        };
        map.iter()
            .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
            .collect()
    }
}

fn object_in<'a>(value: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => object_in_map(map, field),
        // The branch above has just made it an object.
        _ => unreachable!(),
    }
}

fn object_in_map<'a>(map: &'a mut Map<String, Value>, field: &str) -> &'a mut Map<String, Value> {
    let slot = map
        .entry(field.to_owned())
        .or_insert_with(|| Value::Object(Map::new()));
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(inner) => inner,
        // The branch above has just made it an object.
        _ => unreachable!(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metadata_edits_make_what_is_missing() {
        let mut tree = ItemTree::new(json!({"kind": "A"})).unwrap();
        tree.set_label("l", "1");
        tree.set_annotation("a", "2");
        assert_eq!(
            tree.as_value(),
            &json!({"kind":"A","metadata":{"labels":{"l":"1"},"annotations":{"a":"2"}}})
        );
        tree.remove_annotations(&["a", "b"]);
        tree.remove_labels(&["l"]);
        assert_eq!(tree.as_value(), &json!({"kind":"A","metadata":{}}));
    }

    #[test]
    fn only_objects_are_items() {
        assert!(ItemTree::parse(b"[1]").is_err());
        assert!(ItemTree::parse(b"nope").is_err());
    }
}
