//! The objects that synchronisation makes of documents in a store.

use serde_json::{Value, json};
use velero_core::api::{
    Backup, BackupPhase, Document, PodVolumeBackup, Schedule, VeleroKind as _, merge,
};
use velero_core::names::{labels, valid_label_name};

/// Makes the Backup to create from the metadata in a store; fields that are not known stay.
///
/// Namespace, location and its label become those of this cluster. An owner stays unless it is a Schedule that does
/// not exist here under its uid. What the API server of the other cluster kept about the object goes.
pub(super) fn backup_object(
    metadata: &Document<Backup>,
    phase: Option<BackupPhase>,
    namespace: &str,
    location: &str,
    schedules: &[Schedule],
) -> Value {
    let mut object = metadata.value().clone();
    let mut changes = json!({
        "apiVersion": Backup::API_VERSION,
        "kind": Backup::KIND,
        "metadata": server_fields_cleared(namespace),
        "spec": {"storageLocation": location},
    });
    changes["metadata"]["labels"] = json!({labels::STORAGE_LOCATION: valid_label_name(location)});
    if let Some(phase) = phase {
        changes["status"] = json!({"phase": phase});
    }
    if let Some(Value::Array(owners)) = object.pointer_mut("/metadata/ownerReferences") {
        owners.retain(|owner| {
            owner["kind"] != "Schedule"
                || schedules.iter().any(|schedule| is_owner(owner, schedule))
        });
        if owners.is_empty() {
            changes["metadata"]["ownerReferences"] = Value::Null;
        }
    }
    merge::apply(&mut object, &changes);
    object
}

/// Makes a PodVolumeBackup to create from an entry of a backup's list.
pub(super) fn pod_volume_object(
    entry: &Value,
    backup: &Backup,
    namespace: &str,
    location: &str,
) -> Option<Value> {
    entry["metadata"]["name"].as_str()?;
    let mut object = entry.clone();
    let uid = backup.metadata.uid.clone().unwrap_or_default();
    let mut changes = json!({
        "apiVersion": PodVolumeBackup::API_VERSION,
        "kind": PodVolumeBackup::KIND,
        "metadata": server_fields_cleared(namespace),
        "spec": {"backupStorageLocation": location},
    });
    changes["metadata"]["labels"] = json!({labels::BACKUP_UID: uid});
    if let Some(Value::Array(owners)) = object.pointer_mut("/metadata/ownerReferences") {
        for owner in owners
            .iter_mut()
            .filter(|owner| owner["kind"] == Backup::KIND)
        {
            owner["uid"] = json!(uid);
        }
    }
    merge::apply(&mut object, &changes);
    Some(object)
}

fn is_owner(owner: &Value, schedule: &Schedule) -> bool {
    owner["name"].as_str() == schedule.metadata.name.as_deref()
        && owner["uid"].as_str() == schedule.metadata.uid.as_deref()
}

/// A patch of metadata that takes out what only the API server that held the object knows. A managedFields list of
/// another cluster would name owners of fields that never wrote here, and finalizers would wait for controllers that
/// may not run here.
fn server_fields_cleared(namespace: &str) -> Value {
    json!({
        "namespace": namespace,
        "uid": null,
        "resourceVersion": null,
        "generation": null,
        "creationTimestamp": null,
        "managedFields": null,
        "selfLink": null,
        "finalizers": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(value: Value) -> Document<Backup> {
        Document::from_value(value).unwrap()
    }

    #[test]
    fn a_backup_moves_to_this_cluster() {
        let schedule: Schedule = serde_json::from_value(
            json!({"metadata": {"name": "daily", "uid": "here"}, "spec": {}}),
        )
        .unwrap();
        let metadata = document(json!({
            "kind": "Backup", "apiVersion": "velero.io/v1",
            "metadata": {
                "name": "b", "namespace": "elsewhere", "uid": "old", "resourceVersion": "7", "generation": 3,
                "labels": {"a": "b"}, "managedFields": [{}],
                "ownerReferences": [
                    {"kind": "Schedule", "name": "daily", "uid": "here"},
                    {"kind": "Schedule", "name": "daily", "uid": "there"},
                    {"kind": "Team", "name": "x", "uid": "y"},
                ],
            },
            "spec": {"storageLocation": "old", "ttl": "1h0m0s", "novelty": 1},
            "status": {"phase": "Finalizing", "errors": 2},
        }));
        let object = backup_object(
            &metadata,
            Some(BackupPhase::PartiallyFailed),
            "velero",
            "main",
            &[schedule],
        );
        assert_eq!(
            object,
            json!({
                "kind": "Backup", "apiVersion": "velero.io/v1",
                "metadata": {
                    "name": "b", "namespace": "velero",
                    "labels": {"a": "b", "velero.io/storage-location": "main"},
                    "ownerReferences": [
                        {"kind": "Schedule", "name": "daily", "uid": "here"},
                        {"kind": "Team", "name": "x", "uid": "y"},
                    ],
                },
                "spec": {"storageLocation": "main", "ttl": "1h0m0s", "novelty": 1},
                "status": {"phase": "PartiallyFailed", "errors": 2},
            })
        );
    }

    #[test]
    fn owners_that_are_not_here_go() {
        let metadata = document(json!({
            "metadata": {"name": "b", "ownerReferences": [{"kind": "Schedule", "name": "daily", "uid": "there"}]},
        }));
        let object = backup_object(&metadata, None, "velero", &"l".repeat(64), &[]);
        assert!(object["metadata"].get("ownerReferences").is_none());
        assert_eq!(
            object["metadata"]["labels"]["velero.io/storage-location"]
                .as_str()
                .unwrap()
                .len(),
            63
        );
        assert_eq!(
            object["spec"]["storageLocation"].as_str().unwrap().len(),
            64
        );
    }

    #[test]
    fn pod_volume_backups_follow_their_backup() {
        let mut backup = Backup::default();
        backup.metadata.uid = Some("new".into());
        let entry = json!({
            "metadata": {"name": "p", "namespace": "x", "uid": "1", "labels": {"velero.io/backup-uid": "old"},
                "ownerReferences": [{"kind": "Backup", "name": "b", "uid": "old"}]},
            "spec": {"backupStorageLocation": "old", "volume": "data"}, "status": {"phase": "Completed"},
        });
        let object = pod_volume_object(&entry, &backup, "velero", "main").unwrap();
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "new");
        assert_eq!(object["metadata"]["labels"]["velero.io/backup-uid"], "new");
        assert_eq!(
            object["spec"],
            json!({"backupStorageLocation": "main", "volume": "data"})
        );
        assert_eq!(
            pod_volume_object(&json!({}), &backup, "velero", "main"),
            None
        );
    }
}
