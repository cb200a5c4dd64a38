//! Walks over objects along their types: what differs, which fields there are, merging and removing
//! (Go: structured-merge-diff `typed/compare.go`, `tofieldset.go`, `merge.go`, `remove.go`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::set::Set;
use crate::schema::{ListKind, Schema, Ty, TypeId};

/// What a change did.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) added: Set,
    pub(crate) removed: Set,
    pub(crate) modified: Set,
}

/// How a value is taken apart.
enum Form<'a> {
    Leaf,
    Map,
    List(&'a ListKind),
}

fn form<'a>(
    schema: &'a Schema,
    id: TypeId,
    value: Option<&Value>,
    other: Option<&Value>,
) -> Form<'a> {
    let shape = value
        .filter(|v| !v.is_null())
        .or(other)
        .unwrap_or(&Value::Null);
    match (schema.ty(id), shape) {
        (Ty::Struct(_) | Ty::Map { .. }, Value::Object(_) | Value::Null)
            if !schema.atomic_map(id) =>
        {
            Form::Map
        }
        (Ty::List { kind, .. }, Value::Array(_) | Value::Null) if *kind != ListKind::Atomic => {
            Form::List(kind)
        }
        (Ty::Any, Value::Object(_)) => Form::Map,
        _ => Form::Leaf,
    }
}

fn map(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The path element of a list item.
pub(crate) fn item_element(
    schema: &Schema,
    item: TypeId,
    kind: &ListKind,
    value: &Value,
) -> String {
    match kind {
        ListKind::Map(keys) => {
            let mut map = Map::new();
            for key in keys {
                let found = value.get(key.as_ref()).filter(|v| !v.is_null()).cloned();
                if let Some(found) = found.or_else(|| key_default(schema, item, key)) {
                    map.insert(key.to_string(), found);
                }
            }
            format!("k:{}", Value::Object(map))
        }
        _ => format!("v:{value}"),
    }
}

/// What stands for a key that an item leaves out.
fn key_default(schema: &Schema, item: TypeId, key: &str) -> Option<Value> {
    if schema.go {
        return (key == "protocol").then(|| "TCP".into());
    }
    match schema.ty(item) {
        Ty::Struct(s) => s.fields.get(key).and_then(|f| f.default.clone()),
        _ => None,
    }
}

/// Compares two objects.
pub(crate) fn compare(schema: &Schema, id: TypeId, old: &Value, new: &Value) -> Comparison {
    let mut walker = Comparer {
        schema,
        path: Vec::new(),
        out: Comparison::default(),
    };
    walker.compare(id, Some(old), Some(new));
    walker.out
}

struct Comparer<'a> {
    schema: &'a Schema,
    path: Vec<String>,
    out: Comparison,
}

impl Comparer<'_> {
    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, Some(_)) => self.out.added.insert(&self.path),
            (Some(_), None) => self.out.removed.insert(&self.path),
            (Some(old), Some(new)) if old != new => self.out.modified.insert(&self.path),
            _ => {}
        }
    }

    fn descend(&mut self, element: String, id: TypeId, old: Option<&Value>, new: Option<&Value>) {
        self.path.push(element);
        self.compare(id, old, new);
        self.path.pop();
    }

    fn compare(&mut self, id: TypeId, old: Option<&Value>, new: Option<&Value>) {
        let schema = self.schema;
        match form(schema, id, new, old) {
            Form::Leaf => return self.leaf(old, new),
            Form::Map => {
                let (before, after) = (map(old), map(new));
                if before.is_none_or(Map::is_empty) && after.is_none_or(Map::is_empty) {
                    return self.leaf(old, new);
                }
                let keys: BTreeSet<&String> = before
                    .into_iter()
                    .chain(after)
                    .flat_map(Map::keys)
                    .collect();
                for key in keys {
                    let child = schema.child(id, key);
                    let one = before.and_then(|m| m.get(key));
                    let two = after.and_then(|m| m.get(key));
                    self.descend(format!("f:{key}"), child, one, two);
                }
            }
            Form::List(kind) => {
                let (before, after) = (list(old), list(new));
                if before.is_empty() && after.is_empty() {
                    return self.leaf(old, new);
                }
                self.items(schema.item(id), kind, before, after);
            }
        }
        match (old, new) {
            (None, Some(_)) => self.out.added.insert(&self.path),
            (Some(_), None) => self.out.removed.insert(&self.path),
            _ => {}
        }
    }

    fn items(&mut self, item: TypeId, kind: &ListKind, before: &[Value], after: &[Value]) {
        let mut elements: BTreeMap<String, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for value in before {
            elements
                .entry(item_element(self.schema, item, kind, value))
                .or_default()
                .0
                .push(value);
        }
        for value in after {
            elements
                .entry(item_element(self.schema, item, kind, value))
                .or_default()
                .1
                .push(value);
        }
        for (element, (old, new)) in elements {
            let mut path = self.path.clone();
            path.push(element.clone());
            match (old.as_slice(), new.as_slice()) {
                ([] | [_], [] | [_]) => {
                    self.descend(element, item, old.first().copied(), new.first().copied());
                }
                ([_, _, ..], [_, _, ..]) => {
                    if old != new {
                        self.out.modified.insert(&path);
                    }
                }
                ([_, _, ..], rest) => {
                    if let Some(first) = rest.first() {
                        self.descend(element, item, None, Some(first));
                    }
                    self.out.removed.insert(&path);
                }
                (rest, _) => {
                    if let Some(first) = rest.first() {
                        self.descend(element, item, Some(first), None);
                    }
                    self.out.added.insert(&path);
                }
            }
        }
    }
}

/// Every field of an object.
pub(crate) fn field_set(schema: &Schema, id: TypeId, value: &Value) -> Set {
    let mut set = Set::default();
    collect(schema, id, value, &mut set);
    set
}

fn collect(schema: &Schema, id: TypeId, value: &Value, set: &mut Set) {
    match form(schema, id, Some(value), None) {
        Form::Leaf => set.member = true,
        Form::Map => {
            for (key, child) in map(Some(value)).into_iter().flatten() {
                let mut inner = Set::default();
                collect(schema, schema.child(id, key), child, &mut inner);
                let empty = child.is_null() || child.as_object().is_some_and(Map::is_empty);
                inner.member |= empty || !schema.declares(id, key);
                if !inner.is_empty() {
                    set.children.insert(format!("f:{key}"), inner);
                }
            }
        }
        Form::List(kind) => {
            for child in list(Some(value)) {
                let item = schema.item(id);
                let mut inner = Set {
                    member: true,
                    ..Set::default()
                };
                collect(schema, item, child, &mut inner);
                set.children
                    .insert(item_element(schema, item, kind, child), inner);
            }
        }
    }
}

/// Merges a configuration into an object, as server-side apply does.
pub(crate) fn merge(
    schema: &Schema,
    id: TypeId,
    old: Option<&Value>,
    new: Option<&Value>,
) -> Option<Value> {
    let (Some(before), Some(after)) = (old, new) else {
        return new.or(old).cloned();
    };
    match form(schema, id, new, old) {
        Form::Leaf => Some(after.clone()),
        Form::Map => {
            let mut out = map(old).cloned().unwrap_or_default();
            for (key, value) in map(new).into_iter().flatten() {
                let merged = merge(schema, schema.child(id, key), out.get(key), Some(value));
                if let Some(merged) = merged {
                    out.insert(key.clone(), merged);
                }
            }
            if out.is_empty() {
                Some(after.clone())
            } else {
                Some(Value::Object(out))
            }
        }
        Form::List(kind) => {
            let merged = merge_items(schema, schema.item(id), kind, list(old), list(new));
            if merged.is_empty() {
                Some(after.clone())
            } else {
                Some(Value::Array(merged))
            }
        }
    }
    .or_else(|| Some(before.clone()))
}

/// Items of both lists: shared ones in the order of the configuration, others where they stood.
fn merge_items(
    schema: &Schema,
    item: TypeId,
    kind: &ListKind,
    old: &[Value],
    new: &[Value],
) -> Vec<Value> {
    let element = |v: &Value| item_element(schema, item, kind, v);
    let left: Vec<(String, &Value)> = old.iter().map(|v| (element(v), v)).collect();
    let right: Vec<(String, &Value)> = new.iter().map(|v| (element(v), v)).collect();
    let in_left = |e: &str| left.iter().find(|(l, _)| l == e).map(|(_, v)| *v);
    let in_right = |e: &str| right.iter().any(|(r, _)| r == e);
    let mut shared = right
        .iter()
        .map(|(e, _)| e.as_str())
        .filter(|e| in_left(e).is_some());
    let mut next = shared.next();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut out = Vec::new();
    let (mut l, mut r) = (0, 0);
    let take = |e: &str, value: &Value, out: &mut Vec<Value>| {
        out.extend(merge(schema, item, in_left(e), Some(value)));
    };
    while l < left.len() || r < right.len() {
        if let (Some((le, _)), Some((re, value))) = (left.get(l), right.get(r)) {
            if le == re {
                done.insert(re);
                take(re, value, &mut out);
                l += 1;
                r += 1;
                next = shared.next();
                continue;
            }
            if in_right(le) && next.is_some_and(|n| n != le) {
                l += 1;
                continue;
            }
        }
        if let Some((le, value)) = left.get(l) {
            if !in_right(le) {
                out.push((*value).clone());
                l += 1;
                continue;
            } else if done.contains(le.as_str()) {
                l += 1;
            }
        }
        if let Some((re, value)) = right.get(r) {
            done.insert(re);
            take(re, value, &mut out);
            r += 1;
            if next == Some(re.as_str()) {
                next = shared.next();
            }
        }
    }
    out
}

/// An object without the fields of a set; nothing when no field is left.
pub(crate) fn remove(schema: &Schema, id: TypeId, value: &Value, gone: &Set) -> Option<Value> {
    let shape_ok = matches!(value, Value::Object(_) | Value::Array(_));
    match form(schema, id, Some(value), None) {
        Form::Leaf if shape_ok => None,
        Form::Leaf => Some(value.clone()),
        Form::Map => {
            let mut out = Map::new();
            for (key, child) in map(Some(value)).into_iter().flatten() {
                let element = format!("f:{key}");
                if gone.has(&element) {
                    continue;
                }
                let kept = match gone.children.get(&element) {
                    Some(below) => {
                        remove(schema, schema.child(id, key), child, below).unwrap_or(Value::Null)
                    }
                    None => child.clone(),
                };
                out.insert(key.clone(), kept);
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
        Form::List(kind) => {
            let item = schema.item(id);
            let mut out = Vec::new();
            for child in list(Some(value)) {
                let element = item_element(schema, item, kind, child);
                if gone.has(&element) {
                    continue;
                }
                match gone.children.get(&element) {
                    Some(below) => {
                        out.push(remove(schema, item, child, below).unwrap_or(Value::Null))
                    }
                    None => out.push(child.clone()),
                }
            }
            (!out.is_empty()).then_some(Value::Array(out))
        }
    }
}

/// Makes every declared field on the way to a path a path of the set itself.
pub(crate) fn with_parents(schema: &Schema, id: TypeId, set: &Set) -> Set {
    let mut out = Set {
        member: set.member,
        ..Set::default()
    };
    for (element, child) in &set.children {
        let (kind, rest) = element.split_once(':').unwrap_or(("f", element));
        let inner = if kind == "f" {
            schema.child(id, rest)
        } else {
            schema.item(id)
        };
        let mut next = with_parents(schema, inner, child);
        if kind == "f" && !child.children.is_empty() && schema.declares(id, rest) {
            next.member = true;
        }
        out.children.insert(element.clone(), next);
    }
    out
}
