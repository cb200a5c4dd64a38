//! Compares two states of a cluster, object by object and field by field.
//!
//! What may differ is a list of field paths with reasons, [`ALLOWED`]; anything else is a [`Difference`]. The list has
//! no wildcards over fields of specs or data. Identities go by name: a uid that a server gave, the name of a volume that
//! was provisioned, the address of a pod are equal in two clusters when they belong to the same thing.
//!
//! ```
//! use serde_json::json;
//! use velero_testkit::compare::{ALLOWED, compare};
//!
//! let object = |uid: &str, color: &str| json!({"apiVersion": "v1", "kind": "ConfigMap",
//!     "metadata": {"name": "settings", "namespace": "shop", "uid": uid}, "data": {"color": color}});
//! assert!(compare(&[object("a", "red")], &[object("b", "red")], ALLOWED).is_empty());
//!
//! let found = compare(&[object("a", "red")], &[object("b", "blue")], ALLOWED);
//! assert_eq!(found[0].to_string(), r#"v1/ConfigMap shop/settings: data.color: "red" became "blue""#);
//! ```

mod allowed;
mod names;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use names::{named, text};

pub use allowed::{ALLOWED, AllowedDifference};

/// One thing that differs although it may not.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Difference {
    /// An object is gone.
    Missing {
        /// `apps/v1/Deployment shop/web`.
        object: String,
    },
    /// An object has come that was not there.
    Unexpected {
        /// `apps/v1/Deployment shop/web`.
        object: String,
    },
    /// A field differs.
    Changed {
        /// `apps/v1/Deployment shop/web`.
        object: String,
        /// Way to the field, joined by dots.
        path: String,
        /// Value before; `None` when the field is new.
        before: Option<Value>,
        /// Value after; `None` when the field is gone.
        after: Option<Value>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { object } => write!(f, "{object}: missing"),
            Self::Unexpected { object } => write!(f, "{object}: was not there before"),
            Self::Changed {
                object,
                path,
                before,
                after,
            } => {
                write!(f, "{object}: {path}: ")?;
                match (before, after) {
                    (Some(before), Some(after)) => {
                        write!(f, "{} became {}", short(before), short(after))
                    }
                    (Some(before), None) => write!(f, "{} is gone", short(before)),
                    (None, Some(after)) => write!(f, "{} is new", short(after)),
                    (None, None) => Ok(()),
                }
            }
        }
    }
}

/// Values of any size in a line of moderate length.
fn short(value: &Value) -> String {
    const LONGEST: usize = 120;
    let mut text = value.to_string();
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push_str("...");
    }
    text
}

/// Compares two states; the order of the objects, and of their managedFields, does not matter.
///
/// A state should be whole: what an object refers to is named only when it is there.
///
/// Of objects with the same type, namespace and name the last one counts.
pub fn compare(
    before: &[Value],
    after: &[Value],
    allowed: &[AllowedDifference],
) -> Vec<Difference> {
    let (before, after) = (named(before), named(after));
    let (before, after) = (by_key(&before), by_key(&after));
    let mut found = Vec::new();
    for (key, old) in &before {
        let object = key.to_string();
        let Some(new) = after.get(key) else {
            found.push(Difference::Missing { object });
            continue;
        };
        let (old, new) = (
            canonical(old, &key.kind, allowed),
            canonical(new, &key.kind, allowed),
        );
        diff(&object, &mut Vec::new(), Some(&old), Some(&new), &mut found);
    }
    found.extend(
        after
            .keys()
            .filter(|key| !before.contains_key(key))
            .map(|key| Difference::Unexpected {
                object: key.to_string(),
            }),
    );
    found
}

/// The entries of `allowed` without which more would differ, in their order.
///
/// An entry that is never among them is one too many.
pub fn needed<'a>(
    before: &[Value],
    after: &[Value],
    allowed: &'a [AllowedDifference],
) -> Vec<&'a AllowedDifference> {
    let with_all = compare(before, after, allowed).len();
    let is_needed = |at: &usize| {
        let mut others = allowed.to_vec();
        others.remove(*at);
        compare(before, after, &others).len() > with_all
    };
    (0..allowed.len())
        .filter(is_needed)
        .map(|at| &allowed[at])
        .collect()
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} ", self.api_version, self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

fn by_key(objects: &[Value]) -> BTreeMap<Key, &Value> {
    objects
        .iter()
        .map(|object| {
            let key = Key {
                api_version: text(object, "/apiVersion").to_owned(),
                kind: text(object, "/kind").to_owned(),
                namespace: text(object, "/metadata/namespace").to_owned(),
                name: text(object, "/metadata/name").to_owned(),
            };
            (key, object)
        })
        .collect()
}

/// The object without what may differ, and with its managedFields in a fixed order.
fn canonical(object: &Value, kind: &str, allowed: &[AllowedDifference]) -> Value {
    let mut object = object.clone();
    for entry in allowed.iter().filter(|entry| entry.is_about(kind)) {
        prune(&mut object, entry.path);
    }
    if let Some(Value::Array(entries)) = object.pointer_mut("/metadata/managedFields") {
        // What owned nothing but what may differ is an entry no more.
        entries.retain(|entry| {
            entry["fieldsV1"]
                .as_object()
                .is_some_and(|fields| !fields.is_empty())
        });
        entries.sort_by_cached_key(|entry| {
            ["manager", "operation", "subresource", "apiVersion"]
                .map(|field| entry[field].as_str().unwrap_or_default().to_owned())
        });
        if entries.is_empty() {
            prune(&mut object, &["metadata", "managedFields"]);
        }
    }
    object
}

/// Takes the field at `path` out, and objects and lists that hold nothing any more because of it.
///
/// Returns whether `value` itself is to be taken out.
fn prune(value: &mut Value, path: &[&str]) -> bool {
    let Some((step, rest)) = path.split_first() else {
        return true;
    };
    match value {
        Value::Object(fields) => {
            let before = fields.len();
            for field in step.split('|') {
                if fields
                    .get_mut(field)
                    .is_some_and(|value| prune(value, rest))
                {
                    fields.remove(field);
                }
            }
            fields.is_empty() && before > 0
        }
        Value::Array(elements) => {
            let Some(wanted) = step
                .strip_prefix('[')
                .and_then(|step| step.strip_suffix(']'))
            else {
                return false;
            };
            let before = elements.len();
            elements.retain_mut(|element| !(selects(wanted, element) && prune(element, rest)));
            elements.is_empty() && before > 0
        }
        _ => false,
    }
}

fn selects(wanted: &str, element: &Value) -> bool {
    wanted.is_empty()
        || wanted.split_once('=').is_some_and(|(field, values)| {
            element[field]
                .as_str()
                .is_some_and(|value| values.split('|').any(|wanted| wanted == value))
        })
}

fn diff(
    object: &str,
    path: &mut Vec<String>,
    before: Option<&Value>,
    after: Option<&Value>,
    found: &mut Vec<Difference>,
) {
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let added = new.keys().filter(|field| !old.contains_key(*field));
            for field in old.keys().chain(added) {
                path.push(field.clone());
                diff(object, path, old.get(field), new.get(field), found);
                path.pop();
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for at in 0..old.len().max(new.len()) {
                path.push(format!("[{at}]"));
                diff(object, path, old.get(at), new.get(at), found);
                path.pop();
            }
        }
        (old, new) if old == new => {}
        (old, new) => found.push(Difference::Changed {
            object: object.to_owned(),
            path: path.join("."),
            before: old.cloned(),
            after: new.cloned(),
        }),
    }
}

#[cfg(test)]
mod tests;
