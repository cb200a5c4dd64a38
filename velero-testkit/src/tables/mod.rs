//! The other forms in which objects are sent: `Table` for people, `PartialObjectMetadata` for controllers.

mod builtin;
mod columns;
mod jsonpath;

use serde_json::{Value, json};

use crate::reply::Reply;
use crate::store::Stored;
use crate::verbs::{Page, Request, list_metadata};

/// A form asked for by the `Accept` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Table,
    Metadata,
}

/// The form that a client prefers; nothing for plain JSON.
pub(crate) fn wanted(accept: &str) -> Option<Form> {
    for part in accept.split(',') {
        let mut parameters = part.split(';').map(str::trim);
        if parameters.next() != Some("application/json") {
            continue;
        }
        let parameters: Vec<&str> = parameters.collect();
        let form = parameters.iter().find_map(|p| p.strip_prefix("as="))?;
        let current = parameters.contains(&"v=v1");
        match form {
            "Table" if current => return Some(Form::Table),
            "PartialObjectMetadata" | "PartialObjectMetadataList" if current => {
                return Some(Form::Metadata);
            }
            _ => {}
        }
    }
    None
}

fn partial(object: &Stored, request: &Request) -> Value {
    let tree = object.full(&request.resource);
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": tree["metadata"]})
}

/// One object.
pub(crate) fn object(request: &Request, form: Form, code: u16, object: &Stored) -> Reply {
    let mut out = Vec::new();
    write_object(request, form, object, &mut out);
    Reply::bytes(code, out)
}

/// Appends one object.
pub(crate) fn write_object(request: &Request, form: Form, object: &Stored, out: &mut Vec<u8>) {
    let value = match form {
        Form::Metadata => partial(object, request),
        Form::Table => table(
            request,
            &[object],
            json!({"resourceVersion": object.rv.to_string()}),
        ),
    };
    out.extend_from_slice(&serde_json::to_vec(&value).unwrap_or_default());
}

/// A list.
pub(crate) fn list(request: &Request, form: Form, page: &Page) -> Reply {
    let metadata = list_metadata(page);
    let value = match form {
        Form::Metadata => {
            let items: Vec<Value> = page.items.iter().map(|o| partial(o, request)).collect();
            json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                "items": items,
            })
        }
        Form::Table => {
            let objects: Vec<&Stored> = page.items.iter().map(AsRef::as_ref).collect();
            table(request, &objects, metadata)
        }
    };
    Reply::json(200, &value)
}

fn table(request: &Request, objects: &[&Stored], metadata: Value) -> Value {
    let resource = &request.resource;
    let columns = columns::of(resource);
    let include = request
        .query
        .raw
        .iter()
        .find(|(k, _)| k == "includeObject")
        .map(|(_, v)| v.as_str());
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let tree = crate::convert::from_storage(resource, object.full(resource));
            let cells: Vec<Value> = columns.iter().map(|c| c.cell(&tree, request.now)).collect();
            let mut row = json!({"cells": cells});
            match include {
                Some("None") => {}
                Some("Object") => row["object"] = tree,
                _ => row["object"] = partial(object, request),
            }
            row
        })
        .collect();
    let definitions: Vec<Value> = columns
        .iter()
        .map(|c| {
            let format = if c.name == "Name" { "name" } else { "" };
            json!({"name": c.name, "type": c.kind, "format": format, "description": "", "priority": c.priority})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions, "rows": rows,
    })
}
