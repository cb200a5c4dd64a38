//! Owner references of objects that are restored together with their owners.

use serde_json::Value;
use velero_core::ItemTree;

/// One owner reference, as the archive has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reference<'a> {
    pub(crate) api_version: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
    pub(crate) uid: &'a str,
}

impl<'a> Reference<'a> {
    /// Reads a reference; `None` where it names nothing.
    pub(crate) fn of(value: &'a Value) -> Option<Self> {
        let text = |field: &str| value.get(field).and_then(Value::as_str);
        Some(Self {
            api_version: text("apiVersion")?,
            kind: text("kind")?,
            name: text("name")?,
            uid: text("uid")?,
        })
    }
}

/// Owners and what they own, as `group/kind`, where the controller of the owner takes an object back by itself: it looks
/// for objects that its selector matches and that nobody controls.
const ADOPTED: &[(&str, &[&str])] = &[
    (
        "/Pod",
        &[
            "apps/DaemonSet",
            "apps/ReplicaSet",
            "apps/StatefulSet",
            "/ReplicationController",
        ],
    ),
    ("apps/ReplicaSet", &["apps/Deployment"]),
    (
        "apps/ControllerRevision",
        &["apps/DaemonSet", "apps/StatefulSet"],
    ),
    ("/PersistentVolumeClaim", &["apps/StatefulSet"]),
];

/// Whether a controller of Kubernetes links an object to its owner by itself.
pub(crate) fn is_adopted(item: &ItemTree, owner: &Reference<'_>) -> bool {
    let named = |version: &str, kind: &str| {
        let group = version.split_once('/').map_or("", |(group, _)| group);
        format!("{group}/{kind}")
    };
    let dependent = named(item.api_version(), item.kind());
    let owner = named(owner.api_version, owner.kind);
    ADOPTED
        .iter()
        .any(|(kind, owners)| *kind == dependent && owners.contains(&owner.as_str()))
}

/// The reference with the uid that its owner has now.
pub(crate) fn linked(reference: &Value, uid: &str) -> Value {
    let mut linked = reference.clone();
    linked["uid"] = Value::from(uid);
    linked
}

/// The references of an object with more of them; `None` where it has them all. An object has one controller at most:
/// the one that it has stays.
pub(crate) fn united(live: &[Value], more: Vec<Value>) -> Option<Vec<Value>> {
    let controls = |reference: &Value| reference.get("controller") == Some(&Value::Bool(true));
    let mut out = live.to_vec();
    for reference in more {
        let is_there = out.iter().any(|has| has.get("uid") == reference.get("uid"));
        if is_there || (controls(&reference) && out.iter().any(controls)) {
            continue;
        }
        out.push(reference);
    }
    (out.len() > live.len()).then_some(out)
}

/// Whether an object has a reference to an owner of this type and name.
pub(crate) fn refers_to(live: &ItemTree, owner: &Reference<'_>) -> bool {
    let references = live.array_at("/metadata/ownerReferences").iter();
    references
        .filter_map(Reference::of)
        .any(|has| has.kind == owner.kind && has.name == owner.name)
}

/// Lets the managedFields of an object name an owner's new uid where they name its old one, so that whoever owned the
/// reference owns it again.
pub(crate) fn rename_in_managed_fields(item: &mut ItemTree, old: &str, new: &str) {
    let Some(Value::Array(entries)) = item.at_mut("/metadata/managedFields") else {
        return;
    };
    let key = |uid: &str| format!("k:{}", serde_json::json!({"uid": uid}));
    let (old, new) = (key(old), key(new));
    for entry in entries {
        let owned = entry.pointer_mut("/fieldsV1/f:metadata/f:ownerReferences");
        if let Some(Value::Object(owned)) = owned
            && let Some(fields) = owned.remove(&old)
        {
            owned.insert(new.clone(), fields);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tree(value: Value) -> ItemTree {
        ItemTree::new(value).unwrap()
    }

    #[test]
    fn what_controllers_take_back() {
        for (dependent, owner, expected) in [
            (("v1", "Pod"), ("apps/v1", "ReplicaSet"), true),
            (("v1", "Pod"), ("apps/v1beta2", "StatefulSet"), true),
            (("v1", "Pod"), ("v1", "ReplicationController"), true),
            (("v1", "Pod"), ("batch/v1", "Job"), false),
            (("v1", "Pod"), ("example.com/v1", "ReplicaSet"), false),
            (("apps/v1", "ReplicaSet"), ("apps/v1", "Deployment"), true),
            (("v1", "ConfigMap"), ("apps/v1", "Deployment"), false),
            (("batch/v1", "Job"), ("batch/v1", "CronJob"), false),
        ] {
            let item = tree(json!({"apiVersion": dependent.0, "kind": dependent.1}));
            let owner = json!({"apiVersion": owner.0, "kind": owner.1, "name": "o", "uid": "u"});
            let reference = Reference::of(&owner).unwrap();
            assert_eq!(
                is_adopted(&item, &reference),
                expected,
                "{dependent:?} {owner}"
            );
        }
    }

    #[test]
    fn one_controller_at_most() {
        let owner = |uid: &str, controller: bool| json!({"uid": uid, "controller": controller});
        for (live, more, expected) in [
            (
                json!([]),
                vec![owner("a", true)],
                Some(json!([owner("a", true)])),
            ),
            (json!([owner("a", true)]), vec![owner("a", true)], None),
            (json!([owner("a", true)]), vec![owner("b", true)], None),
            (
                json!([owner("a", true)]),
                vec![owner("b", false)],
                Some(json!([owner("a", true), owner("b", false)])),
            ),
            (json!([owner("a", true)]), Vec::new(), None),
        ] {
            let got = united(live.as_array().unwrap(), more).map(Value::from);
            assert_eq!(got, expected, "{live}");
        }
    }

    #[test]
    fn owners_of_the_reference_own_it_again() {
        let mut item = tree(json!({"metadata": {"managedFields": [
            {"manager": "a", "fieldsV1": {"f:metadata": {"f:ownerReferences": {".": {}, "k:{\"uid\":\"old\"}": {}}}}},
            {"manager": "b", "fieldsV1": {"f:data": {}}},
        ]}}));
        rename_in_managed_fields(&mut item, "old", "new");
        assert_eq!(
            item.at("/metadata/managedFields/0/fieldsV1/f:metadata/f:ownerReferences"),
            Some(&json!({".": {}, "k:{\"uid\":\"new\"}": {}}))
        );
    }
}
