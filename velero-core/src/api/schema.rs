//! Schemas of fields whose type is Kubernetes' own, or narrower than its Rust type tells.
//!
//! Written out here because the ones that come with `k8s-openapi` carry references, long texts, and bounds that the CRDs do not have.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// Stands for `default` in schemas where the API server shall fill a value in; plain `default` is how Rust types tell theirs.
pub(super) const KEPT_DEFAULT: &str = "x-kept-default";

/// A Go `int`: no format, unlike `int64`.
pub(super) fn integer(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer"})
}

/// A point in time that may be null.
pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time", "nullable": true})
}

/// Bytes in base64.
pub(super) fn bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "byte"})
}

/// Containers, which are handed on without a look at their fields.
pub(super) fn containers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// A selector of objects by labels.
pub(super) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    from_value(label_selector_value())
}

/// Several selectors of objects by labels.
pub(super) fn label_selectors(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": label_selector_value()})
}

fn label_selector_value() -> Value {
    json!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchExpressions": {
                "description": "Conditions on labels; all of them must hold.",
                "type": "array",
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {"description": "Key of the label.", "type": "string"},
                        "operator": {"description": "In, NotIn, Exists or DoesNotExist.", "type": "string"},
                        "values": {
                            "description": "Values for In and NotIn; empty for the other operators.",
                            "type": "array",
                            "x-kubernetes-list-type": "atomic",
                            "items": {"type": "string"},
                        },
                    },
                },
            },
            "matchLabels": {
                "description": "Labels with the values they must have.",
                "type": "object",
                "additionalProperties": {"type": "string"},
            },
        },
    })
}

/// A key of a secret in the same namespace.
pub(super) fn secret_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "required": ["key"],
        "properties": {
            "key": {"description": "Key inside the secret.", "type": "string"},
            "name": {"description": "Name of the secret.", "type": "string", KEPT_DEFAULT: ""},
            "optional": {"description": "Whether the secret or the key may be missing.", "type": "boolean"},
        },
    })
}

/// An object of a given kind in the same namespace.
pub(super) fn typed_local_reference(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "required": ["kind", "name"],
        "properties": {
            "apiGroup": {"description": "API group of the kind; empty for the core group.", "type": "string"},
            "kind": {"description": "Kind of the object.", "type": "string"},
            "name": {"description": "Name of the object.", "type": "string"},
        },
    })
}

/// Any object, or a part of it.
pub(super) fn object_reference(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "apiVersion": {"description": "API group and version.", "type": "string"},
            "fieldPath": {"description": "Path of a part of the object.", "type": "string"},
            "kind": {"description": "Kind of the object.", "type": "string"},
            "name": {"description": "Name of the object.", "type": "string"},
            "namespace": {"description": "Namespace of the object.", "type": "string"},
            "resourceVersion": {"description": "Version of the object that is meant.", "type": "string"},
            "uid": {"description": "UID of the object.", "type": "string"},
        },
    })
}

fn from_value(value: Value) -> Schema {
    match value {
        Value::Object(map) => map.into(),
        _ => Schema::default(),
    }
}
