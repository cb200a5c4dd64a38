//! Types of custom resources, from `openAPIV3Schema`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{ANY, Field, ListKind, Root, Schema, Struct, Ty, TypeId, builtin};

/// Builds the types of a custom resource; without a schema everything is kept as it is.
pub(crate) fn from_openapi(schema: Option<&Value>) -> Root {
    let mut types: Vec<Ty> = Vec::new();
    types.push(Ty::Any);
    let metadata = copy_metadata(&mut types);
    let mut root = match schema {
        Some(schema) => structure(&mut types, schema),
        None => Struct {
            open: true,
            ..Struct::default()
        },
    };
    let string = push(&mut types, Ty::Str);
    root.fields
        .insert("apiVersion".into(), Field::plain(string));
    root.fields.insert("kind".into(), Field::plain(string));
    root.fields
        .insert("metadata".into(), Field::plain(metadata));
    let id = push(&mut types, Ty::Struct(root));
    Root {
        schema: Arc::new(Schema {
            types,
            names: BTreeMap::new(),
            go: false,
        }),
        id,
    }
}

fn push(types: &mut Vec<Ty>, ty: Ty) -> TypeId {
    types.push(ty);
    types.len() - 1
}

/// Copies `meta.v1.ObjectMeta` and what it refers to out of the built-in table.
fn copy_metadata(types: &mut Vec<Ty>) -> TypeId {
    let table = builtin();
    match table.named("meta.v1.ObjectMeta") {
        Some(id) => copy(types, table, id),
        None => ANY,
    }
}

fn copy(types: &mut Vec<Ty>, from: &Schema, id: TypeId) -> TypeId {
    if id == ANY {
        return ANY;
    }
    let ty = match from.ty(id).clone() {
        Ty::Struct(mut s) => {
            for field in s.fields.values_mut() {
                field.ty = copy(types, from, field.ty);
            }
            Ty::Struct(s)
        }
        Ty::Map { elem, atomic } => Ty::Map {
            elem: copy(types, from, elem),
            atomic,
        },
        Ty::List { elem, kind } => Ty::List {
            elem: copy(types, from, elem),
            kind,
        },
        scalar => scalar,
    };
    push(types, ty)
}

fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn structure(types: &mut Vec<Ty>, schema: &Value) -> Struct {
    let mut fields = BTreeMap::new();
    for (name, sub) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let mut field = Field::plain(convert(types, sub));
        field.default = sub.get("default").cloned();
        field.nullable = flag(sub, "nullable");
        fields.insert(Box::from(name.as_str()), field);
    }
    Struct {
        name: Box::default(),
        fields,
        atomic: text(schema, "x-kubernetes-map-type") == "atomic",
        open: flag(schema, "x-kubernetes-preserve-unknown-fields"),
        embedded: flag(schema, "x-kubernetes-embedded-resource"),
        ..Struct::default()
    }
}

fn convert(types: &mut Vec<Ty>, schema: &Value) -> TypeId {
    if flag(schema, "x-kubernetes-int-or-string") {
        return push(types, Ty::IntOrString);
    }
    let ty = match text(schema, "type") {
        "string" => Ty::Str,
        "integer" => Ty::Int,
        "number" => Ty::Num,
        "boolean" => Ty::Bool,
        "array" => {
            let elem = schema
                .get("items")
                .map_or(ANY, |items| convert(types, items));
            let kind = match text(schema, "x-kubernetes-list-type") {
                "set" => ListKind::Set,
                "map" => {
                    let keys = schema
                        .get("x-kubernetes-list-map-keys")
                        .and_then(Value::as_array);
                    ListKind::Map(
                        keys.into_iter()
                            .flatten()
                            .filter_map(Value::as_str)
                            .map(Box::from)
                            .collect(),
                    )
                }
                _ => ListKind::Atomic,
            };
            Ty::List { elem, kind }
        }
        "object" => match schema.get("additionalProperties") {
            Some(Value::Bool(false)) | None => Ty::Struct(structure(types, schema)),
            Some(Value::Bool(true)) => Ty::Map {
                elem: ANY,
                atomic: text(schema, "x-kubernetes-map-type") == "atomic",
            },
            Some(elem) => {
                let elem = convert(types, elem);
                Ty::Map {
                    elem,
                    atomic: text(schema, "x-kubernetes-map-type") == "atomic",
                }
            }
        },
        _ => return ANY,
    };
    push(types, ty)
}
