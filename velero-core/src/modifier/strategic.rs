//! Strategic merge patches (Go: apimachinery `pkg/util/strategicpatch/patch.go`).
//!
//! Three outcomes are other than there, where what a patch asks for would be lost: directives below a field that the
//! object has not got are carried out instead of being left in the object, `$patch: replace` there gives its content
//! instead of nothing, and fields that the kind has not got are an error instead of being dropped by the API server.

mod lists;

use serde_json::{Map, Value};

use super::shapes::{Field, Shape, Shapes};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

type Object = Map<String, Value>;
type Outcome<T> = Result<T, Trouble>;

/// What is wrong with a patch, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    path: String,
    text: String,
}

impl Trouble {
    fn new(text: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            text: text.into(),
        }
    }

    /// The same, seen from the mapping that holds `key`.
    fn under(mut self, key: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("{key}{dot}{}", self.path);
        self
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.text)
    }
}

/// What a directive says of the mapping that it stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Directive {
    Replace,
    Delete,
}

fn directive(patch: &Object) -> Outcome<Option<Directive>> {
    match patch.get(PATCH).map(|value| (value, value.as_str())) {
        None => Ok(None),
        Some((_, Some("replace"))) => Ok(Some(Directive::Replace)),
        Some((_, Some("delete"))) => Ok(Some(Directive::Delete)),
        Some((other, _)) => Err(Trouble::new(format!(
            "{other} is no directive; write replace or delete"
        ))
        .under(PATCH)),
    }
}

/// Merges patches into objects, by what is known of their kind.
#[derive(Clone, Copy)]
pub(super) struct Merger<'a> {
    shapes: &'a Shapes,
}

impl<'a> Merger<'a> {
    pub(super) fn new(shapes: &'a Shapes) -> Self {
        Self { shapes }
    }

    /// Merges `patch` into a mapping of that shape.
    pub(super) fn merge(
        self,
        shape: &'a Shape,
        mut original: Object,
        patch: &Object,
    ) -> Outcome<Object> {
        match directive(patch)? {
            Some(Directive::Delete) => return Ok(Object::new()),
            Some(Directive::Replace) => return self.fresh_object(shape, patch),
            None => {}
        }
        retain(&mut original, patch)?;
        let ordered = self.set_orders(shape, &mut original, patch)?;
        for (key, value) in patch {
            if key == RETAIN || key.starts_with(ORDER) || ordered.contains(&key.as_str()) {
                continue;
            }
            match key.strip_prefix(DELETE_FROM) {
                Some(list) => self.delete_plain(shape, &mut original, list, value),
                None => self.merge_field(shape, &mut original, key, value),
            }
            .map_err(|trouble| trouble.under(key))?;
        }
        Ok(original)
    }

    fn field(self, shape: &'a Shape, key: &str) -> Outcome<(&'a Shape, Option<&'a Field>)> {
        self.shapes
            .field(shape, key)
            .map_err(|of| Trouble::new(format!("a {of} has no such field")))
    }

    fn merge_field(
        self,
        shape: &'a Shape,
        original: &mut Object,
        key: &str,
        value: &Value,
    ) -> Outcome<()> {
        if value.is_null() {
            original.remove(key);
            return Ok(());
        }
        let (child, field) = self.field(shape, key)?;
        fits(child, value)?;
        let replaced = field.is_some_and(|field| field.replaced);
        let merge_key = field.and_then(|field| field.merge_key);
        let merged = match (original.remove(key), value, merge_key) {
            (Some(Value::Object(old)), Value::Object(new), _) if !replaced => {
                Some(Value::Object(self.merge(child, old, new)?))
            }
            (Some(Value::Array(old)), Value::Array(new), Some(merge_key)) => Some(Value::Array(
                self.merge_lists(element(child), old, new, merge_key)?,
            )),
            (_, value, _) => self.fresh(child, value)?,
        };
        if let Some(merged) = merged {
            original.insert(key.to_owned(), merged);
        }
        Ok(())
    }

    /// What a patch gives where the object has nothing: nulls and directives are left out.
    fn fresh(self, shape: &'a Shape, value: &Value) -> Outcome<Option<Value>> {
        match value {
            Value::Object(map) if directive(map)? == Some(Directive::Delete) => Ok(None),
            Value::Object(map) => self.fresh_object(shape, map).map(Value::Object).map(Some),
            Value::Array(list) => {
                let mut out = Vec::new();
                for (at, value) in list.iter().enumerate() {
                    // Elements with a directive are about others, which there are none of.
                    let made = match value {
                        Value::Object(map) if directive(map)?.is_some() => Ok(None),
                        _ => self.fresh(element(shape), value),
                    };
                    out.extend(made.map_err(|trouble| trouble.under(&format!("[{at}]")))?);
                }
                Ok(Some(Value::Array(out)))
            }
            other => Ok(Some(other.clone())),
        }
    }

    fn fresh_object(self, shape: &'a Shape, patch: &Object) -> Outcome<Object> {
        let mut out = Object::new();
        for (key, value) in patch {
            if value.is_null() || is_directive(key) {
                continue;
            }
            let made = self.field(shape, key).and_then(|(child, _)| {
                fits(child, value)?;
                self.fresh(child, value)
            });
            if let Some(made) = made.map_err(|trouble| trouble.under(key))? {
                out.insert(key.clone(), made);
            }
        }
        Ok(out)
    }

    /// Carries out `$deleteFromPrimitiveList`.
    fn delete_plain(
        self,
        shape: &'a Shape,
        original: &mut Object,
        key: &str,
        gone: &Value,
    ) -> Outcome<()> {
        let (child, _) = self.field(shape, key)?;
        let Value::Array(gone) = gone else {
            return Err(Trouble::new(
                "it must be a list of the values that are removed",
            ));
        };
        fits(child, &Value::Array(Vec::new()))?;
        let Some(Value::Array(old)) = original.get_mut(key) else {
            return Ok(());
        };
        if old
            .iter()
            .chain(gone)
            .any(|v| v.is_object() || v.is_array())
        {
            return Err(Trouble::new(format!(
                "{key} is no list of plain values; put its elements under {key}, each with \"{PATCH}: delete\""
            )));
        }
        old.retain(|value| !gone.contains(value));
        Ok(())
    }
}

fn is_directive(key: &str) -> bool {
    key == PATCH || key == RETAIN || key.starts_with(ORDER) || key.starts_with(DELETE_FROM)
}

/// The shape of the elements of a list.
fn element(shape: &Shape) -> &Shape {
    match shape {
        Shape::List(element) => element,
        _ => &Shape::Any,
    }
}

/// Whether the kind can have such a value there.
fn fits(shape: &Shape, value: &Value) -> Outcome<()> {
    let wanted = match shape {
        Shape::Any => return Ok(()),
        Shape::Plain if value.is_object() || value.is_array() => "a plain value",
        Shape::Fields(_) | Shape::Map(_) if !value.is_object() => "a mapping",
        Shape::List(_) if !value.is_array() => "a list",
        _ => return Ok(()),
    };
    Err(Trouble::new(format!("it must be {wanted}")))
}

/// Carries out `$retainKeys`.
fn retain(original: &mut Object, patch: &Object) -> Outcome<()> {
    let Some(keys) = patch.get(RETAIN) else {
        return Ok(());
    };
    let bad = |text: String| Trouble::new(text).under(RETAIN);
    let Value::Array(keys) = keys else {
        return Err(bad("it must be a list of the fields that stay".to_owned()));
    };
    let stays = |key: &str| keys.iter().any(|kept| kept.as_str() == Some(key));
    for (key, value) in patch {
        if !value.is_null() && !is_directive(key) && !stays(key) {
            return Err(bad(format!("{key} is set beside it and must be in it")));
        }
    }
    original.retain(|key, _| stays(key));
    Ok(())
}
