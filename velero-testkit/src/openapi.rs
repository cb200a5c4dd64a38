//! OpenAPI v3 documents, made from the table of types and from the schemas of custom resources.
//!
//! Enough for kubectl to validate on the server side and to explain fields; there are no descriptions.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::registry::{Registry, Resource};
use crate::reply::Reply;
use crate::schema::{ListKind, Schema, Ty, TypeId};
use crate::status::ApiError;

fn document_path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

/// `/openapi/v3`
pub(crate) fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for resource in registry.all() {
        let path = document_path(&resource.group, &resource.version);
        let url = format!("/openapi/v3/{path}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// `/openapi/v2`: a document without definitions. Without bytes it is also valid in protobuf.
pub(crate) fn version_two(accept: &str) -> Reply {
    const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    if accept.contains("proto-openapi.spec.v2") {
        return Reply::bytes(200, Vec::new()).with_content_type(PROTOBUF);
    }
    let info = json!({"title": "Kubernetes", "version": crate::discovery::VERSION});
    Reply::json(
        200,
        &json!({"swagger": "2.0", "info": info, "paths": {}, "definitions": {}}),
    )
}

/// `/openapi/v3/apis/GROUP/VERSION`
pub(crate) fn document(registry: &Registry, path: &str) -> Result<Value, ApiError> {
    let found: Vec<&Resource> = registry
        .all()
        .iter()
        .filter(|r| document_path(&r.group, &r.version) == path)
        .map(AsRef::as_ref)
        .collect();
    if found.is_empty() {
        return Err(ApiError::no_such_path());
    }
    let mut paths = Map::new();
    let mut schemas = Schemas::default();
    for resource in found {
        operations(resource, &mut paths);
        schemas.resource(resource);
    }
    Ok(json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": crate::discovery::VERSION},
        "paths": paths, "components": {"schemas": schemas.done},
    }))
}

fn query(name: &str, kind: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
}

fn operations(resource: &Resource, paths: &mut Map<String, Value>) {
    let gvk = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    let base = if resource.group.is_empty() {
        "/api".to_owned()
    } else {
        format!("/apis/{}", resource.group)
    };
    let base = format!("{base}/{}", resource.version);
    let base = if resource.namespaced {
        format!("{base}/namespaces/{{namespace}}")
    } else {
        base
    };
    let collection = format!("{base}/{}", resource.plural);
    let write = vec![
        query("dryRun", "string"),
        query("fieldManager", "string"),
        query("fieldValidation", "string"),
    ];
    let mut patch = write.clone();
    patch.push(query("force", "boolean"));
    let operation = |action: &str, parameters: Vec<Value>| {
        json!({
            "x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk, "parameters": parameters,
            "responses": {"200": {"description": "OK"}},
        })
    };
    let mut list = Map::new();
    if resource.verbs.contains('l') {
        list.insert(
            "get".into(),
            operation("list", vec![query("labelSelector", "string")]),
        );
    }
    list.insert("post".into(), operation("post", write.clone()));
    paths.insert(collection.clone(), Value::Object(list));
    if resource.verbs.contains('g') {
        let single = json!({
            "get": operation("get", Vec::new()), "put": operation("put", write), "patch": operation("patch", patch),
            "delete": operation("delete", vec![query("dryRun", "string")]),
        });
        paths.insert(format!("{collection}/{{name}}"), single);
    }
}

#[derive(Default)]
struct Schemas {
    done: Map<String, Value>,
    seen: BTreeSet<String>,
}

/// The name of a built-in type in a document.
fn full_name(short: &str) -> String {
    match short.split('.').next() {
        Some("meta") => format!("io.k8s.apimachinery.pkg.apis.{short}"),
        Some("apiextensions") => format!("io.k8s.apiextensions-apiserver.pkg.apis.{short}"),
        Some("apiregistration") => format!("io.k8s.kube-aggregator.pkg.apis.{short}"),
        _ => format!("io.k8s.api.{short}"),
    }
}

impl Schemas {
    fn resource(&mut self, resource: &Resource) {
        let gvk =
            json!([{"group": resource.group, "version": resource.version, "kind": resource.kind}]);
        if let Some(custom) = &resource.custom {
            let mut reversed: Vec<&str> = resource.group.split('.').collect();
            reversed.reverse();
            let name = format!(
                "{}.{}.{}",
                reversed.join("."),
                resource.version,
                resource.kind
            );
            let mut schema = custom
                .openapi
                .clone()
                .unwrap_or_else(|| json!({"type": "object"}));
            let table = crate::schema::builtin();
            if let Some(id) = table.named("meta.v1.ObjectMeta") {
                let metadata = self.reference(table, id);
                if schema.is_object() {
                    schema["properties"]["metadata"] = metadata;
                    schema["properties"]["apiVersion"] = json!({"type": "string"});
                    schema["properties"]["kind"] = json!({"type": "string"});
                }
            }
            schema["x-kubernetes-group-version-kind"] = gvk;
            self.done.insert(name, schema);
            return;
        }
        let Some(root) = &resource.root else { return };
        self.reference(&root.schema, root.id);
        if let Ty::Struct(s) = root.schema.ty(root.id)
            && let Some(schema) = self.done.get_mut(&full_name(&s.name))
        {
            schema["x-kubernetes-group-version-kind"] = gvk;
        }
    }

    /// A type as it stands inside another one.
    fn reference(&mut self, schema: &Schema, id: TypeId) -> Value {
        match schema.ty(id) {
            Ty::Any => json!({}),
            Ty::Str => json!({"type": "string"}),
            Ty::Bytes => json!({"type": "string", "format": "byte"}),
            Ty::Int => json!({"type": "integer"}),
            Ty::Num => json!({"type": "number"}),
            Ty::Bool => json!({"type": "boolean"}),
            Ty::Quantity => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            Ty::IntOrString => {
                json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"})
            }
            Ty::Time | Ty::MicroTime => json!({"type": "string", "format": "date-time"}),
            Ty::Map { elem, .. } => {
                json!({"type": "object", "additionalProperties": self.reference(schema, *elem)})
            }
            Ty::List { elem, kind } => {
                let mut list = json!({"type": "array", "items": self.reference(schema, *elem)});
                match kind {
                    ListKind::Atomic => list["x-kubernetes-list-type"] = "atomic".into(),
                    ListKind::Set => list["x-kubernetes-list-type"] = "set".into(),
                    ListKind::Map(keys) => {
                        list["x-kubernetes-list-type"] = "map".into();
                        list["x-kubernetes-list-map-keys"] =
                            keys.iter().map(AsRef::as_ref).collect::<Vec<_>>().into();
                    }
                }
                list
            }
            Ty::Struct(s) => {
                let name = full_name(&s.name);
                if self.seen.insert(name.clone()) {
                    let mut properties = Map::new();
                    for (key, field) in &s.fields {
                        let mut property = self.reference(schema, field.ty);
                        if let Some(merge_key) = &field.merge_key {
                            property["x-kubernetes-patch-strategy"] = "merge".into();
                            if !merge_key.is_empty() {
                                property["x-kubernetes-patch-merge-key"] =
                                    merge_key.as_ref().into();
                            }
                        }
                        properties.insert(key.to_string(), property);
                    }
                    let mut object = json!({"type": "object", "properties": properties});
                    if s.atomic {
                        object["x-kubernetes-map-type"] = "atomic".into();
                    }
                    self.done.insert(name.clone(), object);
                }
                json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}]})
            }
        }
    }
}
