//! Resources that are views of others: `events.k8s.io` shows the core group's events.

use serde_json::{Value, json};

use crate::objects::remove;
use crate::registry::Resource;

/// (core field, events.k8s.io field)
const FIELDS: [(&str, &str); 6] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("source", "deprecatedSource"),
];
const COUNT: (&str, &str) = ("count", "deprecatedCount");

/// Whether objects of this resource are kept in another form.
pub(crate) fn needed(resource: &Resource) -> bool {
    resource.group == "events.k8s.io"
}

/// From the form of a resource to the one that is kept.
pub(crate) fn to_storage(resource: &Resource, mut tree: Value) -> Value {
    if needed(resource) {
        for (core, view) in FIELDS.iter().chain([&COUNT]) {
            if let Some(value) = remove(&mut tree, view) {
                tree[*core] = value;
            }
        }
        for key in ["involvedObject", "source"] {
            if tree[key].is_null() {
                tree[key] = json!({});
            }
        }
    }
    tree
}

/// From the form that is kept to the one of a resource.
pub(crate) fn from_storage(resource: &Resource, mut tree: Value) -> Value {
    if needed(resource) {
        for (core, view) in FIELDS.iter().chain([&COUNT]) {
            if let Some(value) = remove(&mut tree, core) {
                tree[*view] = value;
            }
        }
    }
    tree
}
