//! JSON merge patches (RFC 7396), the form in which custom resources are changed.

use serde::Serialize;
use serde_json::{Map, Value};

/// Applies a merge patch: objects are merged, `null` removes, everything else replaces.
pub fn apply(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, change) in patch {
        if change.is_null() {
            target.remove(key);
        } else {
            apply(target.entry(key.as_str()).or_insert(Value::Null), change);
        }
    }
}

/// Gives the merge patch that turns one state of an object into another; an empty object when they do not differ.
///
/// ```
/// use velero_core::api::{Backup, BackupPhase, merge};
///
/// let old = Backup::default();
/// let mut new = old.clone();
/// new.status.phase = Some(BackupPhase::InProgress);
/// assert_eq!(merge::diff(&old, &new)?, serde_json::json!({"status": {"phase": "InProgress"}}));
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// # Errors
///
/// When a type refuses to be serialised.
pub fn diff<T: Serialize + ?Sized>(old: &T, new: &T) -> serde_json::Result<Value> {
    let (old, new) = (serde_json::to_value(old)?, serde_json::to_value(new)?);
    Ok(changes(&old, &new).unwrap_or_else(|| Value::Object(Map::new())))
}

fn changes(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return Some(new.clone());
    };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, new) in new {
        match old.get(key) {
            Some(old) => {
                if let Some(change) = changes(old, new) {
                    patch.insert(key.clone(), change);
                }
            }
            None => {
                patch.insert(key.clone(), new.clone());
            }
        }
    }
    Some(Value::Object(patch))
}
