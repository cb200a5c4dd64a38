//! Strategic merge patches (Go: apimachinery `pkg/util/strategicpatch/patch.go`).

use serde_json::{Map, Value};

use crate::schema::{Field, Schema, Ty, TypeId};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Merges `patch` into `original`, an object of type `id`.
pub(crate) fn merge(
    schema: &Schema,
    id: TypeId,
    original: Value,
    patch: Value,
) -> Result<Value, String> {
    let (Value::Object(original), Value::Object(patch)) = (original, patch) else {
        return Err("a strategic merge patch and its object must be JSON objects".into());
    };
    Ok(Value::Object(objects(schema, id, original, patch)?))
}

fn field<'a>(schema: &'a Schema, id: TypeId, key: &str) -> Option<&'a Field> {
    match schema.ty(id) {
        Ty::Struct(s) => s.fields.get(key),
        _ => None,
    }
}

type Object = Map<String, Value>;

fn objects(
    schema: &Schema,
    id: TypeId,
    mut original: Object,
    mut patch: Object,
) -> Result<Object, String> {
    match patch.remove(PATCH).as_ref().map(|v| v.as_str()) {
        None | Some(Some("merge")) => {}
        Some(Some("replace")) => return Ok(patch),
        Some(Some("delete")) => return Ok(Object::new()),
        Some(other) => {
            return Err(format!(
                "unknown patch type {other:?} in $patch: want replace, merge or delete"
            ));
        }
    }
    if let Some(keys) = patch.remove(RETAIN) {
        let keys: Vec<&str> = keys
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        original.retain(|key, _| keys.contains(&key.as_str()));
    }
    let orders: Vec<(String, Value)> = patch
        .iter()
        .filter_map(|(k, v)| k.strip_prefix(ORDER).map(|key| (key.to_owned(), v.clone())))
        .collect();
    let before: Map<String, Value> = orders
        .iter()
        .filter_map(|(k, _)| original.get(k).map(|v| (k.clone(), v.clone())))
        .collect();
    for (key, value) in patch {
        if key.starts_with(ORDER) {
            continue;
        }
        if let Some(target) = key.strip_prefix(DELETE_FROM) {
            delete_scalars(&mut original, target, &value);
            continue;
        }
        merge_key(schema, id, &mut original, key, value)?;
    }
    for (key, order) in orders {
        let merge_key = field(schema, id, &key)
            .and_then(|f| f.merge_key.clone())
            .unwrap_or_default();
        let old = before
            .get(&key)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        if let (Some(Value::Array(list)), Value::Array(order)) = (original.get_mut(&key), order) {
            *list = reorder(std::mem::take(list), &order, &old, &merge_key);
        }
    }
    Ok(original)
}

fn delete_scalars(original: &mut Object, target: &str, gone: &Value) {
    if let (Some(Value::Array(list)), Value::Array(gone)) = (original.get_mut(target), gone) {
        list.retain(|item| !gone.contains(item));
    }
}

fn merge_key(
    schema: &Schema,
    id: TypeId,
    original: &mut Object,
    key: String,
    value: Value,
) -> Result<(), String> {
    if value.is_null() {
        original.remove(&key);
        return Ok(());
    }
    let child = schema.child(id, &key);
    let strategy = field(schema, id, &key).and_then(|f| f.merge_key.as_deref());
    let merged = match (original.remove(&key), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            Value::Object(objects(schema, child, old, new)?)
        }
        (_, Value::Object(new)) => Value::Object(objects(schema, child, Object::new(), new)?),
        (old, Value::Array(new)) => {
            let old = match old {
                Some(Value::Array(old)) => old,
                _ => Vec::new(),
            };
            match strategy {
                Some(merge_key) => {
                    Value::Array(lists(schema, schema.item(child), old, new, merge_key)?)
                }
                None => Value::Array(new),
            }
        }
        (_, other) => other,
    };
    original.insert(key, merged);
    Ok(())
}

fn lists(
    schema: &Schema,
    item: TypeId,
    mut old: Vec<Value>,
    new: Vec<Value>,
    key: &str,
) -> Result<Vec<Value>, String> {
    if key.is_empty() {
        for value in new {
            if !old.contains(&value) {
                old.push(value);
            }
        }
        return Ok(old);
    }
    if new.iter().any(|v| v[PATCH] == "replace") {
        return Ok(new.into_iter().filter(|v| v[PATCH] != "replace").collect());
    }
    for value in new {
        let Value::Object(mut value) = value else {
            return Err(format!(
                "a list merged by {key} holds an item that is no object"
            ));
        };
        let Some(id) = value.get(key).cloned() else {
            return Err(format!(
                "map: {} does not contain declared merge key: {key}",
                Value::Object(value)
            ));
        };
        let found = old.iter().position(|o| o[key] == id);
        if value.get(PATCH).is_some_and(|p| p == "delete") {
            old.retain(|o| o[key] != id);
            continue;
        }
        match found.and_then(|i| old.get_mut(i)) {
            Some(slot) => {
                let current = std::mem::take(slot);
                let Value::Object(current) = current else {
                    return Err(format!(
                        "a list merged by {key} holds an item that is no object"
                    ));
                };
                *slot = Value::Object(objects(schema, item, current, value)?);
            }
            None => {
                value.remove(PATCH);
                let fresh = objects(schema, item, Object::new(), value)?;
                old.push(Value::Object(fresh));
            }
        }
    }
    Ok(old)
}

/// Puts the items named in `order` into that order; others keep their place relative to what stood after them.
fn reorder(list: Vec<Value>, order: &[Value], old: &[Value], key: &str) -> Vec<Value> {
    let id = |v: &Value| {
        if key.is_empty() {
            v.clone()
        } else {
            v[key].clone()
        }
    };
    let rank = |v: &Value| order.iter().position(|o| id(o) == id(v));
    let place = |v: &Value| old.iter().position(|o| id(o) == id(v));
    let (mut named, others): (Vec<Value>, Vec<Value>) =
        list.into_iter().partition(|v| rank(v).is_some());
    named.sort_by_key(|v| rank(v));
    for other in others {
        let at = place(&other);
        let index = named
            .iter()
            .position(|n| matches!((at, place(n)), (Some(a), Some(b)) if b > a));
        named.insert(index.unwrap_or(named.len()), other);
    }
    named
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::builtin;

    fn check(original: Value, patch: Value, want: Value) {
        let schema = builtin();
        let id = schema.named("core.v1.PodSpec").unwrap();
        assert_eq!(merge(schema, id, original, patch).unwrap(), want);
    }

    #[test]
    fn lists_merge_by_key() {
        check(
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}),
            json!({"containers": [{"name": "b", "image": "2"}, {"name": "c", "image": "3"}]}),
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c", "image": "3"}]}),
        );
    }

    #[test]
    fn directives() {
        let two = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        check(
            two.clone(),
            json!({"containers": [{"name": "a", "$patch": "delete"}]}),
            json!({"containers": [{"name": "b"}]}),
        );
        check(
            two.clone(),
            json!({"containers": [{"$patch": "replace"}, {"name": "c"}]}),
            json!({"containers": [{"name": "c"}]}),
        );
        check(
            two.clone(),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "image": "x"}]}),
            json!({"containers": [{"name": "b", "image": "x"}, {"name": "a"}]}),
        );
        check(
            json!({"nodeName": "x", "tolerations": [1]}),
            json!({"nodeName": null}),
            json!({"tolerations": [1]}),
        );
        check(
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}),
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}),
        );
    }
}
