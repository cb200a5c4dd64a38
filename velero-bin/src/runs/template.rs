//! Backups made from the template of a Schedule.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use velero_core::api::{Backup, ObjectMeta, Schedule, VeleroKind as _};
use velero_core::names::labels;
use velero_core::policy::CONFIG_MAP_KIND;

/// The Backup that a Schedule stands for. Mirrors `FromSchedule` in upstream's `pkg/builder/backup_builder.go`.
///
/// Labels are those of the template or, where it has none, of the Schedule, and the Schedule's name; annotations are the
/// Schedule's.
pub(crate) fn from_template(namespace: &str, name: &str, schedule: &Schedule) -> Backup {
    let mut spec = schedule.spec.template.clone();
    if let Some(policy) = &mut spec.resource_policy {
        policy.kind = CONFIG_MAP_KIND.to_owned();
        policy.api_group = None;
    }
    let source = schedule.metadata.name.clone().unwrap_or_default();
    let template = spec.metadata.labels.clone();
    let mut labels = match template.is_empty() {
        true => schedule.metadata.labels.clone().unwrap_or_default(),
        false => template,
    };
    labels.insert(labels::SCHEDULE_NAME.to_owned(), source.clone());
    let owner = OwnerReference {
        api_version: Schedule::API_VERSION.to_owned(),
        kind: Schedule::KIND.to_owned(),
        name: source,
        uid: schedule.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        ..OwnerReference::default()
    };
    let owned = schedule.spec.use_owner_references_in_backup == Some(true);
    let mut backup = Backup::new(namespace, name, spec);
    backup.metadata = ObjectMeta {
        labels: Some(labels),
        annotations: schedule.metadata.annotations.clone(),
        owner_references: owned.then(|| vec![owner]),
        ..backup.metadata
    };
    backup
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn made(schedule: Value) -> Value {
        let schedule: Schedule = serde_json::from_value(schedule).unwrap();
        serde_json::to_value(from_template("velero", "b", &schedule)).unwrap()
    }

    #[test]
    fn the_template_is_the_spec() {
        let made = made(json!({
            "metadata": {"name": "nightly", "uid": "u", "labels": {"of": "schedule"}, "annotations": {"note": "x"}},
            "spec": {
                "schedule": "@daily", "paused": true, "useOwnerReferencesInBackup": true,
                "template": {"includedNamespaces": ["shop"], "ttl": "1h0m0s", "storageLocation": "s",
                    "resourcePolicy": {"apiGroup": "", "kind": "ConfigMap", "name": "p"}},
            },
        }));
        assert_eq!(
            made["metadata"],
            json!({
                "name": "b", "namespace": "velero",
                "labels": {"of": "schedule", "velero.io/schedule-name": "nightly"}, "annotations": {"note": "x"},
                "ownerReferences": [{"apiVersion": "velero.io/v1", "kind": "Schedule", "name": "nightly", "uid": "u", "controller": true}],
            })
        );
        let spec = &made["spec"];
        assert_eq!(spec["includedNamespaces"], json!(["shop"]));
        assert_eq!(
            (&spec["ttl"], &spec["storageLocation"]),
            (&json!("1h0m0s"), &json!("s"))
        );
        assert_eq!(
            spec["resourcePolicy"],
            json!({"kind": "configmap", "name": "p"})
        );
    }

    #[test]
    fn labels_of_the_template_stand_in_for_those_of_the_schedule() {
        let made = made(json!({
            "metadata": {"name": "nightly", "labels": {"of": "schedule"}},
            "spec": {"template": {"metadata": {"labels": {"of": "template"}}}},
        }));
        assert_eq!(
            made["metadata"]["labels"],
            json!({"of": "template", "velero.io/schedule-name": "nightly"})
        );
        assert_eq!(made["metadata"].get("ownerReferences"), None);
        assert_eq!(
            made["spec"]["metadata"],
            json!({"labels": {"of": "template"}})
        );
    }
}
