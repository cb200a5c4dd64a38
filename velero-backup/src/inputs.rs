//! What a backup is resolved with, beside the cluster.

use velero_core::GoDuration;
use velero_core::api::Backup;
use velero_core::filter::ResourceFilterSpec;
use velero_core::names::annotations::POD_VOLUME_TIMEOUT;
use velero_core::policy::{CONFIG_MAP_KIND, ResourcePolicies, VolumeActionKind};
use velero_core::result::{Record, Severity};

/// What a [`BackupRequest`](crate::BackupRequest) needs to know beside the backup and the cluster.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct RequestInputs {
    /// The policies that `spec.resourcePolicy` names: whoever resolves the backup has read them.
    pub policies: Option<ResourcePolicies>,
    /// Whether something takes native snapshots of volumes. Without it a backup that asks for them is refused.
    pub volume_snapshots: bool,
    /// Whether something copies the files of pod volumes. Without it a backup that asks for that is refused.
    pub pod_volumes: bool,
}

impl RequestInputs {
    /// Sets the policies.
    #[must_use]
    pub fn policies(mut self, policies: Option<ResourcePolicies>) -> Self {
        self.policies = policies;
        self
    }

    /// What is wrong about the policies of a backup.
    pub(crate) fn policy_faults(
        &self,
        backup: &Backup,
        filters: &ResourceFilterSpec,
    ) -> Vec<String> {
        let Some(policies) = &self.policies else {
            let asked = policy_config_map(backup);
            return asked
                .map(|name| {
                    format!("spec.resourcePolicy: the policies of ConfigMap {name:?} were not read")
                })
                .into_iter()
                .collect();
        };
        let mut faults = Vec::new();
        if policies.include_exclude.is_some() && filters.uses_old() {
            faults.push(
                "the resource policies have includeExcludePolicy, which cannot be used together with includedResources, excludedResources \
                 and includeClusterResources; use the cluster-scoped and namespace-scoped lists"
                    .to_owned(),
            );
        }
        for (at, policy) in policies.volume_policies.iter().enumerate() {
            let what = match policy.action.kind {
                VolumeActionKind::Snapshot if !self.volume_snapshots => "volume snapshots",
                VolumeActionKind::FsBackup if !self.pod_volumes => "file system backups",
                _ => continue,
            };
            faults.push(format!(
                "resource policies: volumePolicies[{at}].action.type: {:?}: {what} cannot be made by this version; use \"skip\" or \"custom\"",
                policy.action.kind.as_str()
            ));
        }
        faults
    }
}

/// The name of the ConfigMap that holds the policies of a backup, in the backup's own namespace.
///
/// A reference of another kind names nothing: the peer does not read it either.
pub fn policy_config_map(backup: &Backup) -> Option<&str> {
    let reference = backup.spec.resource_policy.as_ref()?;
    reference
        .kind
        .eq_ignore_ascii_case(CONFIG_MAP_KIND)
        .then_some(reference.name.as_str())
}

/// Tells of a reference to policies that is not read.
pub(crate) fn unread_policy(backup: &Backup) -> Option<Record> {
    let reference = backup.spec.resource_policy.as_ref()?;
    policy_config_map(backup).is_none().then(|| {
        Record::run(
            Severity::Warning,
            format!(
                "spec.resourcePolicy: kind {:?} is not read, so the backup runs without policies; only {CONFIG_MAP_KIND} is",
                reference.kind
            ),
        )
    })
}

/// Tells of a timeout for pod volumes that is none.
pub(crate) fn bad_timeout(backup: &Backup) -> Option<Record> {
    let text = backup
        .metadata
        .annotations
        .as_ref()?
        .get(POD_VOLUME_TIMEOUT)?;
    let error = text.parse::<GoDuration>().err()?;
    Some(Record::run(
        Severity::Error,
        format!("annotation {POD_VOLUME_TIMEOUT}: {error}; the default counts"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn faults(
        reference: Value,
        filters: ResourceFilterSpec,
        policies: Option<&str>,
    ) -> Vec<String> {
        let backup: Backup = serde_json::from_value(
            json!({"metadata": {"name": "b"}, "spec": {"resourcePolicy": reference}}),
        )
        .unwrap();
        let policies =
            policies.map(|text| ResourcePolicies::parse(&format!("version: v1\n{text}")).unwrap());
        RequestInputs::default()
            .policies(policies)
            .policy_faults(&backup, &filters)
    }

    #[test]
    fn what_policies_must_not_be() {
        let map = json!({"kind": "ConfigMap", "name": "p"});
        let new = ResourceFilterSpec::default();
        let old = ResourceFilterSpec {
            include_cluster_resources: Some(false),
            ..ResourceFilterSpec::default()
        };
        let lists = "includeExcludePolicy: {excludedNamespaceScopedResources: [secrets]}";
        let skip = "volumePolicies: [{action: {type: skip}}, {action: {type: custom}}]";
        for (reference, filters, policies, expected) in [
            (json!(null), &new, None, None),
            (
                map.clone(),
                &new,
                None,
                Some("spec.resourcePolicy: the policies of ConfigMap \"p\" were not read"),
            ),
            (json!({"kind": "Secret", "name": "p"}), &new, None, None),
            (map.clone(), &new, Some(skip), None),
            (map.clone(), &new, Some(lists), None),
            (
                map.clone(),
                &old,
                Some(lists),
                Some("the resource policies have includeExcludePolicy"),
            ),
            (map.clone(), &old, Some(skip), None),
            (
                map.clone(),
                &new,
                Some("volumePolicies: [{action: {type: skip}}, {action: {type: snapshot}}]"),
                Some(
                    "resource policies: volumePolicies[1].action.type: \"snapshot\": volume snapshots cannot",
                ),
            ),
            (
                map,
                &new,
                Some("volumePolicies: [{action: {type: fs-backup}}]"),
                Some(
                    "resource policies: volumePolicies[0].action.type: \"fs-backup\": file system backups cannot",
                ),
            ),
        ] {
            let found = faults(reference, filters.clone(), policies);
            match expected {
                None => assert!(found.is_empty(), "{found:?}"),
                Some(start) => {
                    assert!(found.len() == 1 && found[0].starts_with(start), "{found:?}")
                }
            }
        }
    }

    #[test]
    fn references_of_other_kinds_are_told_of() {
        for (kind, name, warns) in [
            ("configmap", Some("p"), false),
            ("ConfigMap", Some("p"), false),
            ("Secret", None, true),
        ] {
            let backup: Backup = serde_json::from_value(
                json!({"metadata": {}, "spec": {"resourcePolicy": {"kind": kind, "name": "p"}}}),
            )
            .unwrap();
            assert_eq!(policy_config_map(&backup), name);
            assert_eq!(unread_policy(&backup).is_some(), warns);
        }
    }
}
