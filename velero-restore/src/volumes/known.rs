//! What the documents beside an archive tell of the volumes in it.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde_json::Value;
use velero_core::api::PodVolumeBackup;
use velero_core::artifact::{BackupItemOperation, VolumeInfo};
use velero_core::names::annotations;
use velero_core::volume::NativeSnapshot;

use crate::index::Facts;

/// What a backup tells of its volumes: the documents that lie beside its archive.
///
/// Each of them may be missing. Volume information exists since release 1.13 and tells all; of older backups the other
/// lists are all there is.
#[derive(Debug, Clone, Default)]
pub struct BackupVolumes {
    /// `<backup>-volumeinfo.json.gz`.
    pub infos: Vec<VolumeInfo>,
    /// `<backup>-volumesnapshots.json.gz`: native snapshots. Without its record no volume is made of a snapshot.
    pub snapshots: Vec<NativeSnapshot>,
    /// `<backup>-podvolumebackups.json.gz`.
    pub pod_volumes: Vec<PodVolumeBackup>,
    /// `<backup>-csi-volumesnapshots.json.gz`: VolumeSnapshots, written up to release 1.16.
    pub csi_snapshots: Vec<Value>,
    /// `<backup>-itemoperations.json.gz`.
    pub operations: Vec<BackupItemOperation>,
}

/// How the data of a volume was taken into a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Method {
    /// A snapshot through the API of a storage system.
    Native,
    /// Its files were copied out of a pod.
    PodVolume,
    /// A snapshot of a CSI driver.
    Csi,
    /// A snapshot of a CSI driver whose data was moved into a repository.
    Moved,
    /// A method that this version does not know.
    Other(String),
}

impl Method {
    fn of(info: &VolumeInfo) -> Option<Self> {
        Some(match info.backup_method.as_str() {
            "" => return None,
            "NativeSnapshot" => Self::Native,
            "PodVolumeBackup" => Self::PodVolume,
            "CSISnapshot" if info.snapshot_data_moved => Self::Moved,
            "CSISnapshot" => Self::Csi,
            other => Self::Other(other.to_owned()),
        })
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "NativeSnapshot",
            Self::PodVolume => "PodVolumeBackup",
            Self::Csi => "CSISnapshot",
            Self::Moved => "CSISnapshot with moved data",
            Self::Other(name) => name,
        })
    }
}

/// A claim of the archive by namespace and name.
type Claim = (String, String);

/// What a backup tells of its volumes, to be looked up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    infos: HashMap<String, VolumeInfo>,
    snapshots: HashMap<String, NativeSnapshot>,
    /// Claims whose volumes have no entry in the volume information, by what other documents tell.
    copied: HashSet<Claim>,
    snapshotted: HashSet<Claim>,
    moved: HashSet<Claim>,
    /// Claims by what an entry without the name of a volume tells.
    told: HashMap<Claim, Method>,
    /// Pods by namespace and name, with files of volumes that belong to no claim, and the method that has them.
    pod_files: HashMap<Claim, String>,
}

impl Known {
    pub(crate) fn add(&mut self, volumes: BackupVolumes) {
        for info in volumes.infos {
            self.add_info(info);
        }
        for snapshot in volumes.snapshots {
            let volume = snapshot.spec.persistent_volume_name.clone();
            self.snapshots.entry(volume).or_insert(snapshot);
        }
        for copy in &volumes.pod_volumes {
            self.add_copy(copy);
        }
        for snapshot in &volumes.csi_snapshots {
            let text = |at: &str| snapshot.pointer(at).and_then(Value::as_str);
            let claim = text("/spec/source/persistentVolumeClaimName");
            if let (Some(namespace), Some(claim)) = (text("/metadata/namespace"), claim) {
                let claim = (namespace.to_owned(), claim.to_owned());
                self.snapshotted.insert(claim);
            }
        }
        for operation in &volumes.operations {
            let id = &operation.spec.resource_identifier;
            if moves_data(operation) {
                self.moved.insert((id.namespace.clone(), id.name.clone()));
            }
        }
    }

    fn add_info(&mut self, info: VolumeInfo) {
        if !info.pv_name.is_empty() {
            self.infos.insert(info.pv_name.clone(), info);
            return;
        }
        let Some(method) = Method::of(&info) else {
            return;
        };
        if !info.pvc_name.is_empty() {
            self.told
                .insert((info.pvc_namespace, info.pvc_name), method);
            return;
        }
        let text = |field: &str| {
            let found = info.other.get("pvbInfo").and_then(|pvb| pvb.get(field));
            found.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let pod = (text("podNamespace"), text("podName"));
        self.pod_files.insert(pod, method.to_string());
    }

    fn add_copy(&mut self, copy: &PodVolumeBackup) {
        let pod = &copy.spec.pod;
        let namespace = pod.namespace.clone().unwrap_or_default();
        let annotations = copy.metadata.annotations.as_ref();
        match annotations.and_then(|all| all.get(annotations::PVC_NAME)) {
            Some(claim) if !claim.is_empty() => {
                self.copied.insert((namespace, claim.clone()));
            }
            _ => {
                let pod = (namespace, pod.name.clone().unwrap_or_default());
                self.pod_files.insert(pod, Method::PodVolume.to_string());
            }
        }
    }

    /// The volume information of all PersistentVolumes, in no order.
    pub(crate) fn infos(&self) -> impl Iterator<Item = &VolumeInfo> {
        self.infos.values()
    }

    /// The volume information of a PersistentVolume.
    pub(crate) fn info(&self, volume: &str) -> Option<&VolumeInfo> {
        self.infos.get(volume)
    }

    /// The record of the native snapshot of a PersistentVolume.
    pub(crate) fn snapshot(&self, volume: &str) -> Option<&NativeSnapshot> {
        self.snapshots.get(volume)
    }

    /// The method that has the files of a pod's volumes which belong to no claim.
    pub(crate) fn pod_files(&self, namespace: &str, name: &str) -> Option<&str> {
        let key = (namespace.to_owned(), name.to_owned());
        self.pod_files.get(&key).map(String::as_str)
    }

    /// By which method the data of a volume was backed up, if it was. The volume information of it comes first, then
    /// what else names data: the first that does, in upstream's order.
    pub(crate) fn method(
        &self,
        volume: &str,
        claim: Option<(&str, &str)>,
        claim_facts: Facts,
    ) -> Option<Method> {
        if let Some(method) = self.infos.get(volume).and_then(Method::of) {
            return Some(method);
        }
        if self.snapshots.contains_key(volume) {
            return Some(Method::Native);
        }
        let (namespace, name) = claim?;
        let claim = (namespace.to_owned(), name.to_owned());
        if self.copied.contains(&claim) {
            return Some(Method::PodVolume);
        }
        if let Some(method) = self.told.get(&claim) {
            return Some(method.clone());
        }
        if self.moved.contains(&claim) || claim_facts.has(Facts::DATA_UPLOAD) {
            return Some(Method::Moved);
        }
        let snapshotted = self.snapshotted.contains(&claim) || claim_facts.has(Facts::CSI_SNAPSHOT);
        snapshotted.then_some(Method::Csi)
    }
}

/// Whether an operation of a backup moves the data of a claim into a repository.
fn moves_data(operation: &BackupItemOperation) -> bool {
    let spec = &operation.spec;
    let uploads = || {
        let mut items = spec.post_operation_items.iter().flatten();
        items.any(|item| item.group_resource.is("velero.io", "datauploads"))
    };
    spec.resource_identifier
        .group_resource
        .is("", "persistentvolumeclaims")
        && (spec.operation_id.starts_with("du-") || uploads())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn known(documents: Value) -> Known {
        let mut known = Known::default();
        let list = |name: &str| documents.get(name).cloned().unwrap_or_else(|| json!([]));
        known.add(BackupVolumes {
            infos: serde_json::from_value(list("infos")).unwrap(),
            snapshots: serde_json::from_value(list("native")).unwrap(),
            pod_volumes: serde_json::from_value(list("copies")).unwrap(),
            csi_snapshots: serde_json::from_value(list("csi")).unwrap(),
            operations: serde_json::from_value(list("operations")).unwrap(),
        });
        known
    }

    fn copy(claim: &str) -> Value {
        json!([{"metadata": {"annotations": {"velero.io/pvc-name": claim}},
            "spec": {"pod": {"namespace": "shop", "name": "web"}, "volume": "v"}}])
    }

    fn operation(resource: &str, id: &str, after: Value) -> Value {
        json!([{"spec": {"backupName": "b", "backupUID": "u", "backupItemAction": "a", "operationID": id,
            "postOperationItems": after,
            "resourceIdentifier": {"Group": "", "Resource": resource, "Namespace": "shop", "Name": "data"}}}])
    }

    fn csi(namespace: &str, source: Value) -> Value {
        json!([{"metadata": {"namespace": namespace, "name": "s"}, "spec": {"source": source}}])
    }

    fn info(method: &str) -> Value {
        json!([{"pvName": "pv1", "backupMethod": method}])
    }

    #[test]
    fn data_is_known_by_whatever_names_it() {
        let upload = json!([{"Group": "velero.io", "Resource": "datauploads", "Namespace": "v", "Name": "d"}]);
        let native = json!([{"spec": {"persistentVolumeName": "pv1"}}]);
        let other = json!([{"spec": {"persistentVolumeName": "pv2"}}]);
        let claim = json!({"persistentVolumeClaimName": "data"});
        let elsewhere = json!([{"pvcNamespace": "shop", "pvcName": "data", "backupMethod": "CSISnapshot", "snapshotDataMoved": true}]);
        for (documents, expected) in [
            (json!({}), None),
            (
                json!({"infos": info("NativeSnapshot")}),
                Some(Method::Native),
            ),
            (
                json!({"infos": info("PodVolumeBackup")}),
                Some(Method::PodVolume),
            ),
            (json!({"infos": info("CSISnapshot")}), Some(Method::Csi)),
            (
                json!({"infos": info("Novelty")}),
                Some(Method::Other("Novelty".into())),
            ),
            (json!({"infos": info("")}), None),
            (
                json!({"infos": info(""), "copies": copy("data")}),
                Some(Method::PodVolume),
            ),
            (
                json!({"infos": info("CSISnapshot"), "native": native}),
                Some(Method::Csi),
            ),
            (json!({"infos": elsewhere}), Some(Method::Moved)),
            (
                json!({"native": native, "copies": copy("data")}),
                Some(Method::Native),
            ),
            (json!({"native": other}), None),
            (
                json!({"copies": copy("data"), "csi": csi("shop", claim.clone())}),
                Some(Method::PodVolume),
            ),
            (json!({"copies": copy("other")}), None),
            (json!({"copies": copy("")}), None),
            (
                json!({"csi": csi("shop", claim.clone())}),
                Some(Method::Csi),
            ),
            (json!({"csi": csi("bank", claim)}), None),
            (json!({"csi": csi("shop", json!({}))}), None),
            (
                json!({"operations": operation("persistentvolumeclaims", "du-1.2", Value::Null)}),
                Some(Method::Moved),
            ),
            (
                json!({"operations": operation("persistentvolumeclaims", "x", upload.clone())}),
                Some(Method::Moved),
            ),
            (
                json!({"operations": operation("persistentvolumeclaims", "x", Value::Null)}),
                None,
            ),
            (
                json!({"operations": operation("pods", "du-1.2", upload)}),
                None,
            ),
        ] {
            let known = known(documents.clone());
            let found = known.method("pv1", Some(("shop", "data")), Facts::default());
            assert_eq!(found, expected, "{documents}");
        }
    }

    #[test]
    fn a_volume_without_a_claim_is_known_by_its_name_alone() {
        let claim = json!({"persistentVolumeClaimName": ""});
        let known = known(json!({"copies": copy(""), "csi": csi("", claim)}));
        assert_eq!(known.method("pv1", None, Facts::default()), None);
        assert_eq!(known.pod_files("shop", "web"), Some("PodVolumeBackup"));
        assert_eq!(known.pod_files("shop", "api"), None);
    }

    #[test]
    fn annotations_of_a_claim_tell_too() {
        for (fact, expected) in [
            (Facts::CSI_SNAPSHOT, Method::Csi),
            (Facts::DATA_UPLOAD, Method::Moved),
        ] {
            let found = Known::default().method("pv1", Some(("shop", "data")), fact);
            assert_eq!(found, Some(expected));
        }
    }
}
