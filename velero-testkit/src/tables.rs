//! The other forms in which objects are sent: `Table` for people, `PartialObjectMetadata` for controllers.

use serde_json::{Value, json};

use crate::reply::Reply;
use crate::store::Stored;
use crate::verbs::Request;

/// A form asked for by the `Accept` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Table,
    Metadata,
}

/// The form that a client prefers; nothing for plain JSON.
pub(crate) fn wanted(accept: &str) -> Option<Form> {
    for part in accept.split(',') {
        let part = part.trim();
        if !part.starts_with("application/json") {
            continue;
        }
        if part.contains("as=Table")
            && part.contains("v=v1;") | part.ends_with("v=v1") | part.contains("v=v1")
        {
            if part.contains("v=v1beta1") {
                continue;
            }
            return Some(Form::Table);
        }
        if part.contains("as=PartialObjectMetadata") {
            return Some(Form::Metadata);
        }
        return None;
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
pub(crate) fn list(request: &Request, form: Form, page: &crate::verbs::Page) -> Reply {
    let metadata = crate::verbs::list_metadata(page);
    let value = match form {
        Form::Metadata => {
            let items: Vec<Value> = page.items.iter().map(|o| partial(o, request)).collect();
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items})
        }
        Form::Table => {
            let objects: Vec<&Stored> = page.items.iter().map(AsRef::as_ref).collect();
            table(request, &objects, metadata)
        }
    };
    Reply::json(200, &value)
}

fn table(request: &Request, objects: &[&Stored], metadata: Value) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|o| json!({"cells": [o.name()], "object": partial(o, request)}))
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": [{"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}],
        "rows": rows,
    })
}
