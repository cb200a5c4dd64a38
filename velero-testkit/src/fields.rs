//! Who owns which field: `metadata.managedFields` and server-side apply.

use serde_json::Value;

use crate::registry::Resource;
use crate::server::Inner;
use crate::status::ApiError;
use crate::verbs::{CreateOptions, Writer};

/// Records the fields of a new object.
pub(crate) fn on_create(
    _inner: &Inner,
    _resource: &Resource,
    tree: &mut Value,
    options: &CreateOptions,
) {
    if let Some(managed) = &options.managed {
        crate::objects::set_meta(tree, "managedFields", managed.clone());
    }
}

/// Records the fields that a change touched.
pub(crate) fn on_update(
    _inner: &Inner,
    _resource: &Resource,
    _old: &Value,
    mut tree: Value,
    writer: &Writer<'_>,
) -> Value {
    if let Some(managed) = &writer.managed {
        crate::objects::set_meta(&mut tree, "managedFields", managed.clone());
    }
    tree
}

/// Applies a configuration to an object.
pub(crate) fn apply(
    _inner: &Inner,
    _resource: &Resource,
    old: &Value,
    applied: Value,
    _manager: &str,
    _force: bool,
    _subresource: Option<&str>,
) -> Result<(Value, Value), ApiError> {
    let mut tree = old.clone();
    json_patch::merge(&mut tree, &applied);
    Ok((tree, Value::Array(Vec::new())))
}

/// The record of a first apply.
pub(crate) fn applied_entry(
    _inner: &Inner,
    _resource: &Resource,
    _applied: &Value,
    _manager: &str,
) -> Value {
    Value::Array(Vec::new())
}
