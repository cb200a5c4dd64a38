//! One object as the server keeps it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::registry::Resource;

/// An object: its JSON bytes, and beside them what lists and the garbage collector ask for.
#[derive(Debug)]
pub(crate) struct Stored {
    /// `namespace/name`, or `name` where there is no namespace.
    pub(crate) key: Arc<str>,
    pub(crate) rv: u64,
    pub(crate) uid: Box<str>,
    pub(crate) labels: Box<[(Box<str>, Box<str>)]>,
    pub(crate) owners: Box<[Box<str>]>,
    pub(crate) deleting: bool,
    /// JSON without `apiVersion`, and for built-in kinds without `kind`, as items of a list are written.
    pub(crate) raw: Bytes,
    /// Whether `kind` is part of `raw`.
    custom: bool,
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl Stored {
    pub(crate) fn new(resource: &Resource, tree: &Value, rv: u64) -> Self {
        let metadata = &tree["metadata"];
        let namespace = metadata["namespace"]
            .as_str()
            .filter(|_| resource.namespaced);
        let labels = metadata["labels"].as_object().into_iter().flatten();
        let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
        Self {
            key: super::key(namespace, text(&metadata["name"])).into(),
            rv,
            uid: text(&metadata["uid"]).into(),
            labels: labels
                .map(|(k, v)| (Box::from(k.as_str()), Box::from(text(v))))
                .collect(),
            owners: owners.map(|o| Box::from(text(&o["uid"]))).collect(),
            deleting: metadata["deletionTimestamp"].is_string(),
            raw: encode(tree, resource.custom.is_some()),
            custom: resource.custom.is_some(),
        }
    }

    /// Namespace, empty where there is none, and name.
    pub(crate) fn identity(&self) -> (&str, &str) {
        self.key.split_once('/').unwrap_or(("", &self.key))
    }

    pub(crate) fn name(&self) -> &str {
        self.identity().1
    }

    /// The parsed object without `apiVersion` (and without `kind` for built-in kinds).
    pub(crate) fn tree(&self) -> Value {
        serde_json::from_slice(&self.raw).unwrap_or_default()
    }

    /// The parsed object with `apiVersion` and `kind` of `resource`.
    pub(crate) fn full(&self, resource: &Resource) -> Value {
        let mut tree = self.tree();
        tree["apiVersion"] = resource.api_version().into();
        tree["kind"] = resource.kind.clone().into();
        tree
    }

    /// Appends the object as it stands alone.
    pub(crate) fn write_full(&self, resource: &Resource, out: &mut Vec<u8>) {
        if self.custom {
            out.extend_from_slice(b"{\"apiVersion\":\"");
        } else {
            out.extend_from_slice(b"{\"kind\":\"");
            out.extend_from_slice(resource.kind.as_bytes());
            out.extend_from_slice(b"\",\"apiVersion\":\"");
        }
        out.extend_from_slice(resource.api_version().as_bytes());
        out.extend_from_slice(b"\",");
        out.extend_from_slice(&self.raw[1..]);
    }

    /// Appends the object as an item of a list: built-in kinds carry no `apiVersion` and `kind` there.
    pub(crate) fn write_item(&self, resource: &Resource, out: &mut Vec<u8>) {
        if self.custom {
            self.write_full(resource, out)
        } else {
            out.extend_from_slice(&self.raw)
        }
    }
}

/// Writes `metadata` first for built-in kinds, as the server's Go types do; custom resources keep sorted keys.
fn encode(tree: &Value, custom: bool) -> Bytes {
    let mut out = Vec::with_capacity(512);
    out.push(b'{');
    let Some(map) = tree.as_object() else {
        return Bytes::from_static(b"{}");
    };
    let metadata = map.iter().filter(|(k, _)| !custom && *k == "metadata");
    let rest = map.iter().filter(|(k, _)| match k.as_str() {
        "apiVersion" => false,
        "kind" | "metadata" => custom,
        _ => true,
    });
    for (key, value) in metadata.chain(rest) {
        if out.len() > 1 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(
            serde_json::to_string(key)
                .unwrap_or_default()
                .trim_matches('"')
                .as_bytes(),
        );
        out.extend_from_slice(b"\":");
        if serde_json::to_writer(&mut out, value).is_err() {
            out.extend_from_slice(b"null");
        }
    }
    out.push(b'}');
    Bytes::from(out)
}
