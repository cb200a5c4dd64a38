//! The resource policies of a backup.

use velero_backup::policy_config_map;
use velero_cluster::Cluster;
use velero_core::api::Backup;
use velero_core::policy::ResourcePolicies;

use super::RunError;
use super::config_maps::Named;

/// Reads the policies that a backup names, from the ConfigMap in its namespace; `None` when it names none.
///
/// # Errors
/// [`RunError::Validation`] when there is no such ConfigMap, it may not be read, or its content is at fault;
/// [`RunError::Cluster`] when the API server does not answer.
pub async fn read_policies(
    cluster: &Cluster,
    backup: &Backup,
) -> Result<Option<ResourcePolicies>, RunError> {
    let Some(name) = policy_config_map(backup) else {
        return Ok(None);
    };
    let namespace = backup.metadata.namespace.as_deref().unwrap_or_default();
    let named = Named {
        what: "policy",
        by: "backup",
        namespace,
        name,
    };
    let data = named.data(cluster).await?;
    ResourcePolicies::from_config_map(namespace, name, &data)
        .map(Some)
        .map_err(RunError::Validation)
}
