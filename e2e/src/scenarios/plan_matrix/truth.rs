//! What a restore has done to the cluster itself, whatever it says of it.

use std::collections::BTreeMap;

use anyhow::Result;
use kube::Client;
use serde_json::{Map, Value};

use super::agreement::{Outcomes, RECREATE, key};
use super::round::Round;
use crate::state;

/// Fields by which an object changes without having been written to.
const BOOKKEEPING: [&str; 4] = ["managedFields", "resourceVersion", "generation", "uid"];
/// Kinds that nobody but the restore writes to in a round.
const CALM: [&str; 9] = [
    "ConfigMap",
    "Secret",
    "Role",
    "RoleBinding",
    "ClusterRoleBinding",
    "StorageClass",
    "PriorityClass",
    "LimitRange",
    "NetworkPolicy",
];

/// All objects of a cluster at one time, by group, kind, namespace and name.
pub(super) struct Seen(BTreeMap<String, Value>);

impl Seen {
    pub(super) async fn read(client: &Client) -> Result<Self> {
        let objects = state::read(client).await?;
        let keyed = objects.into_iter().map(|object| {
            let kind = format!(
                "{}/{}",
                state::text(&object, "/apiVersion"),
                state::text(&object, "/kind")
            );
            let namespace = state::text(&object, "/metadata/namespace");
            (place(&kind, namespace, state::name(&object)), object)
        });
        Ok(Self(keyed.collect()))
    }

    fn of(&self, item: &Value) -> Option<&Value> {
        let text = |field: &str| item[field].as_str().unwrap_or_default();
        self.0
            .get(&place(text("kind"), text("namespace"), text("name")))
    }
}

/// `apps/Deployment shop/web` of `apps/v1/Deployment`: the version does not matter.
fn place(kind: &str, namespace: &str, name: &str) -> String {
    let parts: Vec<&str> = kind.split('/').collect();
    let (group, kind) = match parts[..] {
        [group, _, kind] => (group, kind),
        [_, kind] => ("", kind),
        _ => ("", kind),
    };
    format!("{group}/{kind} {namespace}/{name}")
}

/// Where the cluster is not what the restore says that it has made of it.
pub(super) fn faults(
    round: &Round,
    plan: &[Value],
    outcomes: &Outcomes,
    (before, after): (&Seen, &Seen),
) -> Vec<String> {
    let mut faults = Vec::new();
    for item in plan {
        let is_alone = plan.iter().filter(|other| key(other) == key(item)).count() == 1;
        let verdict = item["verdict"].as_str().unwrap_or_default();
        // Of items that come to one name the others are left out.
        if verdict == "excluded" && !is_alone {
            continue;
        }
        let action = outcomes.action(item);
        let (was, is) = (before.of(item), after.of(item));
        let fault = match (action, verdict) {
            ("created", _) => made(round, item, was, is),
            ("updated", _) => updated(round, item, is),
            ("deleted", _) => is.map(|_| "is still there".to_owned()),
            // A kind of which nobody reads the objects, or one that came with the restore.
            (_, "create") => is.is_none().then(|| "is not there".to_owned()),
            (_, "update" | "delete") => None,
            _ => untouched(round, item, was, is),
        };
        if let Some(fault) = fault {
            faults.push(format!(
                "{} is {action:?} by the restore's own word, and {fault}",
                key(item)
            ));
        }
    }
    faults
}

/// What is wrong with an object that is said to be created.
fn made(round: &Round, item: &Value, was: Option<&Value>, is: Option<&Value>) -> Option<String> {
    let Some(is) = is else {
        return Some("is not there".to_owned());
    };
    let uid = |object: &Value| object["metadata"]["uid"].clone();
    let reason = item["reason"].as_str().unwrap_or_default();
    if let Some(was) = was {
        if !reason.starts_with(RECREATE) {
            return Some("was there before".to_owned());
        }
        if uid(was) == uid(is) {
            return Some("is the one that was there before".to_owned());
        }
    }
    lacks(round, item, is)
}

fn updated(round: &Round, item: &Value, is: Option<&Value>) -> Option<String> {
    match is {
        None => Some("is not there".to_owned()),
        Some(is) => lacks(round, item, is),
    }
}

/// What an object lacks of that which was backed up.
fn lacks(round: &Round, item: &Value, is: &Value) -> Option<String> {
    let name = item["name"].as_str().unwrap_or_default();
    let kind = item["kind"].as_str().unwrap_or_default();
    let target = item["namespace"].as_str().unwrap_or_default();
    let backed_up = round.situations.iter().find(|situation| {
        let object = &situation.object;
        let version = format!(
            "{}/{}",
            state::text(object, "/apiVersion"),
            state::text(object, "/kind")
        );
        version == kind
            && state::name(object) == name
            && round.target(state::text(object, "/metadata/namespace")) == target
    })?;
    let mut wanted = backed_up.object.clone();
    if let Some(metadata) = wanted["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    // What clients write the API server puts elsewhere.
    if let Some(fields) = wanted.as_object_mut() {
        fields.remove("stringData");
        fields.remove("status");
    }
    // Accounts that a binding names go where their namespace goes.
    let subjects = wanted.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten() {
        let namespace = state::text(subject, "/namespace").to_owned();
        if !namespace.is_empty() {
            subject["namespace"] = round.target(&namespace).into();
        }
    }
    missing(&wanted, is, "").map(|path| format!("is not as it was backed up: {path}"))
}

/// The first field of a wanted value that another one does not have.
fn missing(wanted: &Value, is: &Value, path: &str) -> Option<String> {
    match (wanted, is) {
        (Value::Object(wanted), Value::Object(is)) => wanted.iter().find_map(|(field, value)| {
            let path = format!("{path}.{field}");
            match is.get(field) {
                Some(is) => missing(value, is, &path),
                None if is_empty(value) => None,
                None => Some(format!("{path} is gone")),
            }
        }),
        (Value::Array(wanted), Value::Array(is)) if wanted.len() == is.len() => wanted
            .iter()
            .zip(is)
            .enumerate()
            .find_map(|(at, (wanted, is))| missing(wanted, is, &format!("{path}[{at}]"))),
        (wanted, is) if wanted == is || is_empty(wanted) && is_empty(is) => None,
        (wanted, is) => Some(format!("{path} is {is}, not {wanted}")),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        _ => false,
    }
}

/// What has become of an object that is said to be left as it was.
fn untouched(
    round: &Round,
    item: &Value,
    was: Option<&Value>,
    is: Option<&Value>,
) -> Option<String> {
    let (Some(was), Some(is)) = (was, is) else {
        return match (was, is) {
            (Some(_), None) if !round.goes(item["namespace"].as_str().unwrap_or_default()) => {
                Some("is gone".to_owned())
            }
            (None, Some(is)) if !every_namespace_has(is) => {
                Some("was not there before, and is there".to_owned())
            }
            _ => None,
        };
    };
    let is_calm = CALM.contains(&state::text(is, "/kind"));
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    if is_calm && round.leaves() && version(was) != version(is) {
        return Some(format!(
            "has gone from version {} to {}",
            version(was),
            version(is)
        ));
    }
    (plain(was) != plain(is)).then(|| format!("was {}, and is {}", plain(was), plain(is)))
}

/// Whether the cluster puts such an object into each new namespace.
fn every_namespace_has(object: &Value) -> bool {
    matches!(
        (state::text(object, "/kind"), state::name(object)),
        ("ServiceAccount", "default") | ("ConfigMap", "kube-root-ca.crt")
    )
}

/// An object without its status, its bookkeeping, and the labels of a restore.
fn plain(object: &Value) -> Value {
    let mut plain = object.clone();
    if let Some(fields) = plain.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = plain["metadata"].as_object_mut() {
        for field in BOOKKEEPING {
            metadata.remove(field);
        }
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.retain(|key, _| !key.starts_with("velero.io/"));
        }
        metadata.retain(|_, value| *value != Value::Object(Map::new()));
    }
    plain
}
