//! Brings an object into the form in which the server keeps it: unknown fields dropped, Go zero values dropped or added,
//! quantities canonical.

use serde_json::{Map, Number, Value};

use super::{ANY, Field, Schema, Struct, Ty, TypeId, quantity};

/// What was found while an object was brought into form.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    /// Paths of fields that no type declares.
    pub(crate) unknown: Vec<String>,
    /// Values of the wrong type, as Go's decoder words it.
    pub(crate) mismatches: Vec<String>,
}

/// Normalises `value` in place.
pub(crate) fn normalise(schema: &Schema, id: TypeId, value: &mut Value, problems: &mut Problems) {
    Walker { schema, problems }.walk(id, value, &Path::Root, "");
}

/// Fills the defaults of a custom resource's schema.
pub(crate) fn apply_defaults(schema: &Schema, id: TypeId, value: &mut Value) {
    match (schema.ty(id), value) {
        (Ty::Struct(s), Value::Object(map)) => {
            for (name, field) in &s.fields {
                if let Some(default) = &field.default {
                    let absent = match map.get(name.as_ref()) {
                        None => true,
                        Some(Value::Null) => !field.nullable,
                        Some(_) => false,
                    };
                    if absent {
                        map.insert(name.to_string(), default.clone());
                    }
                }
                if let Some(child) = map.get_mut(name.as_ref()) {
                    apply_defaults(schema, field.ty, child);
                }
            }
        }
        (Ty::Map { elem, .. }, Value::Object(map)) => {
            map.values_mut()
                .for_each(|child| apply_defaults(schema, *elem, child));
        }
        (Ty::List { elem, .. }, Value::Array(items)) => {
            items
                .iter_mut()
                .for_each(|child| apply_defaults(schema, *elem, child));
        }
        _ => {}
    }
}

/// The zero value of a built-in type as Go writes it: only what `omitempty` does not hide.
pub(crate) fn zero(schema: &Schema, id: TypeId) -> Value {
    match schema.ty(id) {
        Ty::Struct(s) => {
            let mut map = Map::new();
            for (name, field) in &s.fields {
                if let Some(value) = zero_field(schema, field) {
                    map.insert(name.to_string(), value);
                }
            }
            Value::Object(map)
        }
        Ty::Str => Value::String(String::new()),
        Ty::Int | Ty::Num | Ty::IntOrString => Value::Number(Number::from(0)),
        Ty::Bool => Value::Bool(false),
        Ty::Quantity => Value::String("0".into()),
        Ty::Any | Ty::Time | Ty::MicroTime | Ty::Bytes | Ty::Map { .. } | Ty::List { .. } => {
            Value::Null
        }
    }
}

/// What Go writes for a field that is not set; nothing when it is left out.
fn zero_field(schema: &Schema, field: &Field) -> Option<Value> {
    if field.omit_zero {
        return None;
    }
    if field.pointer {
        return (!field.omit_empty).then_some(Value::Null);
    }
    match schema.ty(field.ty) {
        Ty::Struct(_) => Some(zero(schema, field.ty)),
        Ty::Quantity | Ty::IntOrString => Some(zero(schema, field.ty)),
        Ty::Time | Ty::MicroTime => Some(Value::Null),
        _ if field.omit_empty => None,
        _ => Some(zero(schema, field.ty)),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

struct Walker<'a> {
    schema: &'a Schema,
    problems: &'a mut Problems,
}

/// A path as Go's decoder names it.
fn without_indexes(path: &str) -> String {
    path.split('[')
        .map(|part| part.split_once(']').map_or(part, |(_, rest)| rest))
        .collect()
}

/// Where a walk is; written out only when there is something to say.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, key) => f.write_str(key),
            Self::Field(parent, key) => write!(f, "{parent}.{key}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

impl Walker<'_> {
    fn walk(&mut self, id: TypeId, value: &mut Value, path: &Path<'_>, owner: &str) {
        if id == ANY || value.is_null() {
            return;
        }
        let schema = self.schema;
        match (schema.ty(id), &mut *value) {
            (Ty::Struct(s), Value::Object(map)) => self.structure(s, map, path),
            (Ty::Map { elem, .. }, Value::Object(map)) => {
                for (key, child) in map.iter_mut() {
                    self.walk(*elem, child, &Path::Field(path, key), owner);
                    if schema.go && child.is_null() {
                        *child = zero(schema, *elem);
                    }
                }
            }
            (Ty::List { elem, .. }, Value::Array(items)) => {
                for (index, child) in items.iter_mut().enumerate() {
                    if schema.go && child.is_null() {
                        *child = zero(schema, *elem);
                    }
                    self.walk(*elem, child, &Path::Item(path, index), owner);
                }
            }
            (Ty::Quantity, _) => self.quantity(value, path, owner),
            (Ty::Time, Value::String(text)) => {
                if let Ok(at) = text.parse::<jiff::Timestamp>() {
                    *text = crate::clock::seconds(at);
                }
            }
            (Ty::Struct(_) | Ty::Map { .. } | Ty::List { .. } | Ty::Time | Ty::MicroTime, _) => {
                if !matches!((schema.ty(id), &*value), (Ty::MicroTime, Value::String(_))) {
                    self.mismatch(id, value, path, owner);
                }
            }
            (Ty::Str | Ty::Bytes, Value::String(_))
            | (Ty::Num, Value::Number(_))
            | (Ty::Bool, Value::Bool(_))
            | (Ty::IntOrString, Value::String(_) | Value::Number(_)) => {}
            (Ty::Int, Value::Number(n)) => {
                if n.as_i64().is_none() {
                    match n.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15) {
                        #[allow(clippy::cast_possible_truncation)]
                        Some(whole) => *value = Value::from(whole as i64),
                        None => self.mismatch(id, value, path, owner),
                    }
                }
            }
            _ => self.mismatch(id, value, path, owner),
        }
    }

    fn quantity(&mut self, value: &mut Value, path: &Path<'_>, owner: &str) {
        let text = match &*value {
            Value::String(s) => s.clone(),
            Value::Number(n) => n.to_string(),
            _ => return self.mismatch(ANY, value, path, owner),
        };
        match quantity::canonical(text.trim()) {
            Some(canonical) => *value = Value::String(canonical),
            None => self.problems.mismatches.push(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'".into(),
            ),
        }
    }

    fn mismatch(&mut self, id: TypeId, value: &Value, path: &Path<'_>, owner: &str) {
        let want = match self.schema.ty(id) {
            Ty::Struct(s) => s
                .name
                .rsplit_once('.')
                .map_or("object", |(_, n)| n)
                .to_owned(),
            Ty::Map { .. } => "map".into(),
            Ty::List { .. } => "list".into(),
            Ty::Int => "int32".into(),
            Ty::Num => "float64".into(),
            Ty::Bool => "bool".into(),
            _ => "string".into(),
        };
        let path = without_indexes(&path.to_string());
        self.problems.mismatches.push(format!(
            "json: cannot unmarshal {} into Go struct field {owner}.{path} of type {want}",
            type_name(value)
        ));
    }

    fn structure(&mut self, s: &Struct, map: &mut Map<String, Value>, path: &Path<'_>) {
        let owner = s.name.rsplit_once('.').map_or("", |(_, n)| n);
        if s.embedded {
            self.embedded(map, path);
        }
        let mut drop: Vec<String> = Vec::new();
        for (key, child) in map.iter_mut() {
            let Some(field) = s.fields.get(key.as_str()) else {
                let kept = s.open
                    || (s.embedded && matches!(key.as_str(), "apiVersion" | "kind" | "metadata"));
                if !kept {
                    self.problems
                        .unknown
                        .push(Path::Field(path, key).to_string());
                    drop.push(key.clone());
                }
                continue;
            };
            self.walk(field.ty, child, &Path::Field(path, key), owner);
            let hidden = if self.schema.go {
                self.hidden(field, child)
            } else {
                child.is_null() && !field.nullable && field.default.is_some()
            };
            if hidden {
                drop.push(key.clone());
            }
        }
        for key in drop {
            map.remove(&key);
        }
        if self.schema.go {
            for (name, field) in &s.fields {
                if !map.contains_key(name.as_ref())
                    && let Some(value) = zero_field(self.schema, field)
                {
                    map.insert(name.to_string(), value);
                }
            }
        }
    }

    /// Whether Go leaves this value out; `null` in a place that cannot be null becomes absent, then zero.
    fn hidden(&self, field: &Field, child: &Value) -> bool {
        if field.pointer {
            return child.is_null() && field.omit_empty;
        }
        match self.schema.ty(field.ty) {
            Ty::Struct(_) => child.is_null() || (field.omit_zero && is_empty(child)),
            Ty::Time | Ty::MicroTime => child.is_null() && (field.omit_zero || field.omit_empty),
            Ty::Quantity | Ty::IntOrString => child.is_null(),
            Ty::Str | Ty::Int | Ty::Num | Ty::Bool => {
                child.is_null() || (field.omit_empty && is_empty(child))
            }
            _ => field.omit_empty && is_empty(child),
        }
    }

    fn embedded(&mut self, map: &mut Map<String, Value>, path: &Path<'_>) {
        for key in ["apiVersion", "kind"] {
            if map
                .get(key)
                .and_then(Value::as_str)
                .is_none_or(str::is_empty)
                && !map.is_empty()
            {
                self.problems.mismatches.push(format!(
                    "{}: Required value: must not be empty",
                    Path::Field(path, key)
                ));
            }
        }
    }
}
