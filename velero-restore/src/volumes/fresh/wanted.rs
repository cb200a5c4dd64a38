//! Which claims get new volumes, and what these are to have.

use std::collections::{BTreeMap, HashSet};

use velero_core::ResourceIdentifier;
use velero_core::artifact::VolumeInfo;

/// What the new volume of a restored claim is to have of the one that it replaces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct NewVolume {
    /// Namespace of the claim in the cluster.
    pub namespace: String,
    /// Name of the claim.
    pub claim: String,
    /// Reclaim policy, such as `Retain`; empty when the backup does not tell it.
    pub reclaim_policy: String,
    /// Labels, without those that say where the old disk lay or which restore had made the old volume.
    pub labels: BTreeMap<String, String>,
}

impl NewVolume {
    /// The new volumes of a restore, sorted by claim: `infos` is the volume information of the backup, `created` holds
    /// the claims that the restore has created, `mapping` is `spec.namespaceMapping`.
    ///
    /// Only volumes of the methods `PodVolumeBackup` and `CSISnapshot` are replaced.
    pub fn all_of<'a>(
        infos: impl IntoIterator<Item = &'a VolumeInfo>,
        created: &[ResourceIdentifier],
        mapping: &BTreeMap<String, String>,
    ) -> Vec<Self> {
        let created: HashSet<(&str, &str)> = created
            .iter()
            .map(|claim| (claim.namespace.as_str(), claim.name.as_str()))
            .collect();
        let mut found: BTreeMap<(&str, &str), &VolumeInfo> = BTreeMap::new();
        for info in infos {
            let source = info.pvc_namespace.as_str();
            let target = mapping.get(source).map_or(source, String::as_str);
            let claim = (target, info.pvc_name.as_str());
            let is_replaced = matches!(
                info.backup_method.as_str(),
                "PodVolumeBackup" | "CSISnapshot"
            );
            if !is_replaced || info.pv_info.is_none() || !created.contains(&claim) {
                continue;
            }
            // Of namespaces that are merged the one that keeps its name counts, then the first.
            let known = found.entry(claim).or_insert(info);
            let keeps_name = |info: &VolumeInfo| info.pvc_namespace == target;
            let rank = |info: &VolumeInfo| (!keeps_name(info), info.pvc_namespace.clone());
            if rank(info) < rank(known) {
                *known = info;
            }
        }
        let volumes = found.into_iter().map(|(claim, info)| Self::of(claim, info));
        volumes.collect()
    }

    fn of((namespace, claim): (&str, &str), info: &VolumeInfo) -> Self {
        let facts = info.pv_info.clone().unwrap_or_default();
        let mut labels = facts.labels.unwrap_or_default();
        labels.retain(|key, _| is_carried_over(key));
        Self {
            namespace: namespace.to_owned(),
            claim: claim.to_owned(),
            reclaim_policy: facts.reclaim_policy,
            labels,
        }
    }
}

/// Whether a label of the old volume is true of the new one as well.
fn is_carried_over(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else {
        return true;
    };
    let tells_place =
        domain.starts_with("topology.") || domain == "failure-domain.beta.kubernetes.io";
    !tells_place && domain != "velero.io"
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use velero_core::GroupResource;

    use super::*;

    fn info(namespace: &str, claim: &str, method: &str, facts: Value) -> VolumeInfo {
        let mut info = json!({"pvName": format!("pv-{claim}"), "pvcName": claim, "pvcNamespace": namespace, "backupMethod": method});
        if !facts.is_null() {
            info["pvInfo"] = facts;
        }
        serde_json::from_value(info).unwrap()
    }

    fn created(claims: &[(&str, &str)]) -> Vec<ResourceIdentifier> {
        let claim = |(namespace, name): &(&str, &str)| {
            let resource = GroupResource::core("persistentvolumeclaims");
            ResourceIdentifier::namespaced(resource, *namespace, *name)
        };
        claims.iter().map(claim).collect()
    }

    fn names(volumes: &[NewVolume]) -> Vec<String> {
        let name = |v: &NewVolume| format!("{}/{} {}", v.namespace, v.claim, v.reclaim_policy);
        volumes.iter().map(name).collect()
    }

    #[test]
    fn claims_that_were_created_and_whose_volumes_are_replaced() {
        let facts = |policy: &str| json!({"reclaimPolicy": policy, "labels": null});
        let infos = [
            info("shop", "files", "PodVolumeBackup", facts("Retain")),
            info("shop", "snap", "CSISnapshot", facts("Delete")),
            info("shop", "native", "NativeSnapshot", facts("Retain")),
            info("shop", "skipped", "", facts("Retain")),
            info("shop", "untold", "CSISnapshot", Value::Null),
            info("shop", "there", "CSISnapshot", facts("Retain")),
            info("bank", "files", "CSISnapshot", facts("Retain")),
        ];
        let all = ["files", "snap", "native", "skipped", "untold"];
        for (target, mapping, expected) in [
            (
                "shop",
                vec![],
                vec!["shop/files Retain", "shop/snap Delete"],
            ),
            (
                "copy",
                vec![("shop", "copy")],
                vec!["copy/files Retain", "copy/snap Delete"],
            ),
            ("shop", vec![("shop", "copy")], vec![]),
        ] {
            let mapping = mapping
                .iter()
                .map(|(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned()));
            let claims: Vec<(&str, &str)> = all.iter().map(|name| (target, *name)).collect();
            let found = NewVolume::all_of(&infos, &created(&claims), &mapping.collect());
            assert_eq!(names(&found), expected, "{target}");
        }
    }

    #[test]
    fn of_merged_namespaces_the_one_that_keeps_its_name_counts() {
        let facts = |policy: &str| json!({"reclaimPolicy": policy, "labels": {}});
        let (a, b, own) = (
            info("a", "data", "CSISnapshot", facts("Delete")),
            info("b", "data", "CSISnapshot", facts("Recycle")),
            info("one", "data", "CSISnapshot", facts("Retain")),
        );
        let mapping =
            [("a", "one"), ("b", "one")].map(|(from, to)| (from.to_owned(), to.to_owned()));
        let claims = created(&[("one", "data")]);
        for (infos, expected) in [
            (vec![&b, &a, &own], "one/data Retain"),
            (vec![&own, &a, &b], "one/data Retain"),
            (vec![&b, &a], "one/data Delete"),
        ] {
            let found = NewVolume::all_of(infos.clone(), &claims, &mapping.clone().into());
            assert_eq!(names(&found), [expected], "{infos:?}");
        }
    }

    #[test]
    fn labels_that_are_true_of_the_new_volume() {
        for (key, expected) in [
            ("team", true),
            ("example.com/tier", true),
            ("topology.kubernetes.io/zone", false),
            ("topology.ebs.csi.aws.com/zone", false),
            ("failure-domain.beta.kubernetes.io/region", false),
            ("velero.io/restore-name", false),
            ("velero.io/dynamic-pv-restore", false),
        ] {
            let facts = json!({"reclaimPolicy": "Retain", "labels": {key: "x"}});
            let infos = [info("shop", "data", "CSISnapshot", facts)];
            let found = NewVolume::all_of(&infos, &created(&[("shop", "data")]), &BTreeMap::new());
            assert_eq!(found[0].labels.contains_key(key), expected, "{key}");
        }
    }
}
