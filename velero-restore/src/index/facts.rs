//! What an index remembers of an item's content.

use serde::Deserialize;
use velero_core::names::{annotations, labels};
use velero_core::{GroupResource, RawItem};

/// Facts about an item, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts(u16);

impl Facts {
    /// The labels match the request's selectors.
    pub const LABELS_MATCH: Self = Self(1);
    /// A pod or job that has run to its end.
    pub const COMPLETED: Self = Self(1 << 1);
    /// A mirror pod, made by a kubelet from a file.
    pub const MIRROR_POD: Self = Self(1 << 2);
    /// A PersistentVolume whose reclaim policy is `Delete`.
    pub const RECLAIM_DELETE: Self = Self(1 << 3);
    /// The object was being deleted when it was backed up.
    pub const DELETING: Self = Self(1 << 4);
    /// A later entry of the archive has the same path.
    pub(crate) const REPLACED: Self = Self(1 << 5);
    /// A claim whose data is in the snapshot of a CSI driver.
    pub const CSI_SNAPSHOT: Self = Self(1 << 6);
    /// A claim whose data was moved into a repository.
    pub const DATA_UPLOAD: Self = Self(1 << 7);

    /// Whether all of `facts` hold.
    pub fn has(self, facts: Self) -> bool {
        self.0 & facts.0 == facts.0
    }

    pub(crate) fn set(&mut self, facts: Self, hold: bool) {
        if hold {
            self.0 |= facts.0;
        }
    }
}

/// Reads the facts that the content of an item tells.
pub(crate) fn facts_of(resource: &GroupResource, item: &RawItem, labels_match: bool) -> Facts {
    let mut facts = Facts::default();
    facts.set(Facts::LABELS_MATCH, labels_match);
    facts.set(Facts::DELETING, item.head().deleting);
    match (resource.group.as_str(), resource.resource.as_str()) {
        ("", "pods") => {
            facts.set(
                Facts::COMPLETED,
                matches!(item.head().phase.as_str(), "Succeeded" | "Failed"),
            );
            facts.set(
                Facts::MIRROR_POD,
                item.annotations()
                    .contains_key("kubernetes.io/config.mirror"),
            );
        }
        ("batch", "jobs") => facts.set(
            Facts::COMPLETED,
            part::<Job>(item)
                .status
                .completion_time
                .is_some_and(|t| !t.is_empty()),
        ),
        ("", "persistentvolumes") => {
            facts.set(
                Facts::RECLAIM_DELETE,
                part::<Volume>(item)
                    .spec
                    .persistent_volume_reclaim_policy
                    .as_deref()
                    == Some("Delete"),
            );
        }
        ("", "persistentvolumeclaims") => {
            let told = item.annotations();
            facts.set(
                Facts::CSI_SNAPSHOT,
                told.contains_key(annotations::VOLUME_SNAPSHOT_NAME),
            );
            facts.set(
                Facts::DATA_UPLOAD,
                told.contains_key(annotations::DATA_UPLOAD_NAME),
            );
        }
        _ => {}
    }
    facts
}

/// The ServiceAccount that a pod names. The one called `default` is in every namespace.
pub(crate) fn account_of(pod: &RawItem) -> Option<String> {
    let name = part::<Pod>(pod).spec.service_account_name;
    name.filter(|name| !name.is_empty() && name != "default")
}

/// The claim whose data a DataUpload has moved: namespace, name, and the label of the backup that it is of.
pub(crate) fn moved_by(upload: &RawItem) -> Option<(String, String, String)> {
    let spec = part::<Upload>(upload).spec;
    let backup = upload.head().labels.get(labels::BACKUP_NAME)?.clone();
    let claim = spec.source_pvc?;
    (!claim.is_empty()).then_some((spec.source_namespace?, claim, backup))
}

fn part<T: Default + for<'de> Deserialize<'de>>(item: &RawItem) -> T {
    serde_json::from_slice(item.json()).unwrap_or_default()
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Pod {
    spec: PodSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    service_account_name: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Upload {
    spec: UploadSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct UploadSpec {
    source_namespace: Option<String>,
    #[serde(rename = "sourcePVC")]
    source_pvc: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Job {
    status: JobStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct JobStatus {
    completion_time: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Volume {
    spec: VolumeSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct VolumeSpec {
    persistent_volume_reclaim_policy: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn data_uploads_name_the_claim_and_the_backup() {
        let own = json!({"velero.io/backup-name": "b1"});
        for (labels, spec, expected) in [
            (
                own.clone(),
                json!({"sourceNamespace": "shop", "sourcePVC": "data"}),
                Some("shop/data of b1"),
            ),
            (
                json!({}),
                json!({"sourceNamespace": "shop", "sourcePVC": "data"}),
                None,
            ),
            (
                own.clone(),
                json!({"sourceNamespace": "shop", "sourcePVC": ""}),
                None,
            ),
            (own.clone(), json!({"sourcePVC": "data"}), None),
            (own, json!({"csiSnapshot": {"driver": "d"}}), None),
        ] {
            let item = json!({"apiVersion": "velero.io/v2alpha1", "kind": "DataUpload",
                "metadata": {"name": "d", "labels": labels}, "spec": spec});
            let item = RawItem::parse(item.to_string().into()).unwrap();
            let found =
                moved_by(&item).map(|(ns, claim, backup)| format!("{ns}/{claim} of {backup}"));
            assert_eq!(found.as_deref(), expected, "{spec}");
        }
    }

    #[test]
    fn facts() {
        for (resource, mut item, expected) in [
            (
                "pods",
                json!({"kind":"Pod","status":{"phase":"Succeeded"}}),
                Facts::COMPLETED,
            ),
            (
                "pods",
                json!({"kind":"Pod","status":{"phase":"Failed"}}),
                Facts::COMPLETED,
            ),
            (
                "pods",
                json!({"kind":"Pod","status":{"phase":"Running"}}),
                Facts::default(),
            ),
            (
                "pods",
                json!({"kind":"Pod","metadata":{"annotations":{"kubernetes.io/config.mirror":"x"}}}),
                Facts::MIRROR_POD,
            ),
            (
                "jobs.batch",
                json!({"kind":"Job","status":{"completionTime":"2026-01-01T00:00:00Z"}}),
                Facts::COMPLETED,
            ),
            (
                "jobs.batch",
                json!({"kind":"Job","status":{"completionTime":""}}),
                Facts::default(),
            ),
            (
                "jobs.batch",
                json!({"kind":"Job","status":{"completionTime":null}}),
                Facts::default(),
            ),
            (
                "cronjobs.batch",
                json!({"kind":"CronJob","status":{"completionTime":"x"}}),
                Facts::default(),
            ),
            (
                "persistentvolumes",
                json!({"kind":"PersistentVolume","spec":{"persistentVolumeReclaimPolicy":"Delete"}}),
                Facts::RECLAIM_DELETE,
            ),
            (
                "persistentvolumes",
                json!({"kind":"PersistentVolume","spec":{"persistentVolumeReclaimPolicy":"Retain"}}),
                Facts::default(),
            ),
            (
                "persistentvolumeclaims",
                json!({"kind":"PersistentVolumeClaim","metadata":{"annotations":{"velero.io/volume-snapshot-name":"s"}}}),
                Facts::CSI_SNAPSHOT,
            ),
            (
                "persistentvolumeclaims",
                json!({"kind":"PersistentVolumeClaim","metadata":{"annotations":{"velero.io/data-upload-name":"v/d"}}}),
                Facts::DATA_UPLOAD,
            ),
            (
                "configmaps",
                json!({"kind":"ConfigMap","metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"}}),
                Facts::DELETING,
            ),
        ] {
            item["apiVersion"] = json!("v1");
            item["metadata"]["name"] = json!("x");
            let item = RawItem::parse(item.to_string().into()).unwrap();
            assert_eq!(
                facts_of(&GroupResource::from(resource), &item, false),
                expected,
                "{resource} {:?}",
                item.json()
            );
        }
    }
}
