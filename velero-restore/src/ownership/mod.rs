//! Who owns which field of a restored object, in as few calls as possible.
//!
//! An object whose fields all belong to one manager is created in the name of that manager: the API server then
//! writes the same managedFields that the archive has. Any other object is created first, and its managedFields are
//! set by one merge patch that names the uid and resourceVersion it was created with.

mod defaults;
mod fields;
mod patch;

use serde_json::{Map, Value, json};
use velero_core::ItemTree;

pub(crate) use patch::{after_conflict, patch_body};

/// The manager of what nobody else owns.
pub(crate) const OWN_MANAGER: &str = "velero-server";

/// How an object is created so that its fields belong to whom they belonged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ownership {
    /// One call, in the name of this manager.
    Create(String),
    /// One call, then a patch that sets these entries.
    CreateThenPatch(Vec<Value>),
}

/// Decides for an object whose status is not restored, and takes its managedFields away.
///
/// Fields that the API server fills in by itself and that nobody owns are taken away too, as sending them would make
/// the creating manager their owner. `restore_labels` are the labels that the restore itself has added.
pub(crate) fn decide(item: &mut ItemTree, restore_labels: &[&str]) -> Ownership {
    let entries = match item.metadata_mut().remove("managedFields") {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    };
    let mut kept: Vec<Value> = Vec::with_capacity(entries.len());
    let mut foreign_status = false;
    for entry in entries {
        if !is_status(&entry) {
            kept.push(entry);
        } else if let Some(rest) = without_status(entry) {
            foreign_status = true;
            kept.push(rest);
        }
    }
    match kept.as_slice() {
        [] => Ownership::Create(OWN_MANAGER.to_owned()),
        [only] if !foreign_status => match sole_manager(item, only, restore_labels) {
            Some(manager) => Ownership::Create(manager),
            None => Ownership::CreateThenPatch(kept),
        },
        _ => Ownership::CreateThenPatch(kept),
    }
}

/// Decides for an object whose status is written by a second call: also in whose name that is done.
///
/// Entries of the status count then. Where they and the object's cannot be left by these two calls a patch sets all.
pub(crate) fn decide_with_status(
    item: &mut ItemTree,
    restore_labels: &[&str],
    status: &Value,
) -> (Ownership, String) {
    let mut alone = item.clone();
    let ownership = decide(&mut alone, restore_labels);
    let entries = match item.metadata_mut().remove("managedFields") {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    };
    let of_status: Vec<&Value> = entries.iter().filter(|entry| is_status(entry)).collect();
    let manager = match of_status.as_slice() {
        [] => Some(OWN_MANAGER.to_owned()),
        [only] => sole_status_manager(item.api_version(), only, status),
        _ => None,
    };
    match (ownership, manager) {
        (Ownership::Create(creator), Some(manager)) => {
            *item = alone;
            (Ownership::Create(creator), manager)
        }
        _ => (Ownership::CreateThenPatch(entries), OWN_MANAGER.to_owned()),
    }
}

/// Whether an entry is of the status subresource.
pub(crate) fn is_status(entry: &Value) -> bool {
    entry.get("subresource").and_then(Value::as_str) == Some("status")
}

/// What an entry of the status subresource owns outside of the status; a Deployment's revision annotation is such.
fn without_status(mut entry: Value) -> Option<Value> {
    let fields = entry.get_mut("fieldsV1")?.as_object_mut()?;
    fields.remove("f:status");
    (!fields.is_empty()).then_some(entry)
}

/// The manager, if it may create the object: it has updated (not applied) it, in the version that is sent, and every
/// field that is sent belongs to it.
fn sole_manager(item: &mut ItemTree, entry: &Value, restore_labels: &[&str]) -> Option<String> {
    let manager = updater(item.api_version(), entry)?;
    let subresource = entry.get("subresource").and_then(Value::as_str);
    if subresource.is_some_and(|name| !name.is_empty()) {
        return None;
    }
    let empty = Value::Object(Map::new());
    let set = entry.get("fieldsV1").unwrap_or(&empty);
    let mut unowned = fields::unowned(item, set, restore_labels);
    unowned.retain(|field| !defaults::is_kept(item, field));
    if !unowned
        .iter()
        .all(|field| defaults::is_dropped(item, field))
    {
        return None;
    }
    defaults::drop_fields(item, &unowned);
    Some(manager)
}

/// The manager of a status, if it may write it: all of the status belongs to it, and nothing else does.
fn sole_status_manager(api_version: &str, entry: &Value, status: &Value) -> Option<String> {
    let manager = updater(api_version, entry)?;
    let set = entry.get("fieldsV1")?;
    let only_status = set.as_object()?.keys().all(|key| key == "f:status");
    let body = ItemTree::new(json!({"status": status})).ok()?;
    (only_status && fields::unowned(&body, set, &[]).is_empty()).then_some(manager)
}

/// The manager of an entry, if a write in its name gives such an entry again: it has updated (not applied) the object, in
/// the version that is sent.
fn updater(api_version: &str, entry: &Value) -> Option<String> {
    let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
    let manager = text("manager");
    // The API server takes at most 128 printable characters as a field manager.
    let fits = !manager.is_empty()
        && manager.len() <= 128
        && manager.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    (fits && text("operation") == "Update" && text("apiVersion") == api_version)
        .then(|| manager.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [&str; 2] = ["velero.io/backup-name", "velero.io/restore-name"];

    fn item(kind: (&str, &str), mut body: Value, managed: Value) -> ItemTree {
        body["apiVersion"] = json!(kind.0);
        body["kind"] = json!(kind.1);
        body["metadata"]["name"] = json!("x");
        body["metadata"]["namespace"] = json!("shop");
        body["metadata"]["labels"]["velero.io/backup-name"] = json!("b");
        body["metadata"]["managedFields"] = managed;
        ItemTree::new(body).unwrap()
    }

    fn entry(
        manager: &str,
        operation: &str,
        version: &str,
        subresource: Option<&str>,
        fields: Value,
    ) -> Value {
        let mut entry = json!({"manager": manager, "operation": operation, "apiVersion": version, "fieldsType": "FieldsV1",
            "fieldsV1": fields, "time": "2026-01-01T00:00:00Z"});
        if let Some(subresource) = subresource {
            entry["subresource"] = json!(subresource);
        }
        entry
    }

    fn decided(mut item: ItemTree) -> (Ownership, ItemTree) {
        let ownership = decide(&mut item, &LABELS);
        assert!(item.at("/metadata/managedFields").is_none());
        (ownership, item)
    }

    #[test]
    fn without_entries_the_object_is_ours() {
        for managed in [
            json!(null),
            json!([]),
            json!([entry(
                "k",
                "Update",
                "v1",
                Some("status"),
                json!({"f:status": {"f:a": {}}})
            )]),
        ] {
            let (ownership, _) = decided(item(
                ("v1", "ConfigMap"),
                json!({"data": {"k": "v"}}),
                managed,
            ));
            assert_eq!(ownership, Ownership::Create("velero-server".into()));
        }
    }

    #[test]
    fn one_manager_of_everything_creates() {
        let fields = json!({"f:data": {".": {}, "f:k": {}}, "f:metadata": {"f:labels": {".": {}, "f:app": {}}}});
        let body = json!({"data": {"k": "v"}, "metadata": {"labels": {"app": "web"}}});
        for (entries, one_call) in [
            (
                json!([entry("kubectl", "Update", "v1", None, fields.clone())]),
                true,
            ),
            (
                json!([entry("kubectl", "Apply", "v1", None, fields.clone())]),
                false,
            ),
            (
                json!([entry("kubectl", "Update", "v1beta1", None, fields.clone())]),
                false,
            ),
            (
                json!([entry(
                    "kubectl",
                    "Update",
                    "v1",
                    Some("scale"),
                    fields.clone()
                )]),
                false,
            ),
            (
                json!([entry("", "Update", "v1", None, fields.clone())]),
                false,
            ),
            (
                json!([entry(
                    &"m".repeat(129),
                    "Update",
                    "v1",
                    None,
                    fields.clone()
                )]),
                false,
            ),
            (
                json!([entry(
                    "kubectl",
                    "Update",
                    "v1",
                    None,
                    json!({"f:data": {".": {}}})
                )]),
                false,
            ),
            (
                json!([
                    entry("a", "Update", "v1", None, fields.clone()),
                    entry("b", "Update", "v1", None, json!({"f:x": {}}))
                ]),
                false,
            ),
            (
                json!([
                    entry("kubectl", "Update", "v1", None, fields.clone()),
                    entry(
                        "kcm",
                        "Update",
                        "v1",
                        Some("status"),
                        json!({"f:status": {}})
                    )
                ]),
                true,
            ),
            (
                json!([
                    entry("kubectl", "Update", "v1", None, fields.clone()),
                    entry(
                        "kcm",
                        "Update",
                        "v1",
                        Some("status"),
                        json!({"f:status": {}, "f:metadata": {"f:annotations": {"f:r": {}}}})
                    )
                ]),
                false,
            ),
        ] {
            let (ownership, _) = decided(item(("v1", "ConfigMap"), body.clone(), entries.clone()));
            assert_eq!(
                ownership == Ownership::Create("kubectl".into()),
                one_call,
                "{entries}"
            );
        }
    }

    #[test]
    fn status_is_cut_out_of_what_is_patched() {
        let managed = json!([entry(
            "kcm",
            "Update",
            "apps/v1",
            Some("status"),
            json!({"f:status": {}, "f:metadata": {"f:annotations": {"f:r": {}}}})
        )]);
        let (ownership, _) = decided(item(("apps/v1", "Deployment"), json!({}), managed));
        let Ownership::CreateThenPatch(entries) = ownership else {
            panic!("{ownership:?}")
        };
        assert_eq!(
            entries[0]["fieldsV1"],
            json!({"f:metadata": {"f:annotations": {"f:r": {}}}})
        );
    }

    #[test]
    fn a_status_with_one_owner_is_written_in_its_name() {
        let main = || entry("kubectl", "Update", "v1", None, json!({"f:data": {}}));
        let of = |operation, fields| entry("kubelet", operation, "v1", Some("status"), fields);
        let all = || json!({"f:status": {"f:phase": {}}});
        for (entries, creator, manager) in [
            (json!([main(), of("Update", all())]), "kubectl", "kubelet"),
            (json!([main()]), "kubectl", "velero-server"),
            (json!([]), "velero-server", "velero-server"),
            // A part of the status, something beside it, an Apply, two owners: a patch says it.
            (
                json!([main(), of("Update", json!({"f:status": {"f:x": {}}}))]),
                "",
                "",
            ),
            (
                json!([
                    main(),
                    of(
                        "Update",
                        json!({"f:status": {"f:phase": {}}, "f:metadata": {}})
                    )
                ]),
                "",
                "",
            ),
            (json!([main(), of("Apply", all())]), "", ""),
            (
                json!([main(), of("Update", all()), of("Apply", all())]),
                "",
                "",
            ),
        ] {
            let body = json!({"data": {"k": "v"}});
            let mut item = item(("v1", "ConfigMap"), body, entries.clone());
            let status = json!({"phase": "Running"});
            let (ownership, who) = decide_with_status(&mut item, &LABELS, &status);
            assert!(item.at("/metadata/managedFields").is_none());
            if creator.is_empty() {
                let all = entries.as_array().cloned().unwrap_or_default();
                assert_eq!(ownership, Ownership::CreateThenPatch(all), "{entries}");
            } else {
                let expected = (Ownership::Create(creator.to_owned()), manager.to_owned());
                assert_eq!((ownership, who), expected, "{entries}");
            }
        }
    }

    #[test]
    fn services_lose_what_the_server_chooses() {
        let fields = json!({"f:spec": {"f:type": {}, "f:internalTrafficPolicy": {}, "f:sessionAffinity": {}, "f:selector": {},
            "f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}}}}});
        let spec = json!({"type": "NodePort", "internalTrafficPolicy": "Cluster", "sessionAffinity": "None", "selector": {"a": "b"},
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]});
        let managed = json!([entry("kubectl", "Update", "v1", None, fields)]);
        let (ownership, sent) = decided(item(
            ("v1", "Service"),
            json!({"spec": spec.clone()}),
            managed.clone(),
        ));
        assert_eq!(ownership, Ownership::Create("kubectl".into()));
        assert!(sent.at("/spec/ipFamilies").is_none() && sent.at("/spec/ipFamilyPolicy").is_none());
        let mut with_port = spec;
        with_port["ports"][0]["nodePort"] = json!(30000);
        let (ownership, sent) =
            decided(item(("v1", "Service"), json!({"spec": with_port}), managed));
        assert!(matches!(ownership, Ownership::CreateThenPatch(_)));
        assert_eq!(
            sent.at("/spec/ipFamilies"),
            Some(&json!(["IPv4"])),
            "nothing is dropped when it does not spare a call"
        );
    }
}
