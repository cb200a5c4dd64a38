//! The resource policies of a backup.

use std::collections::BTreeMap;

use serde::Deserialize;
use velero_backup::policy_config_map;
use velero_cluster::Cluster;
use velero_core::GroupResource;
use velero_core::api::Backup;
use velero_core::policy::ResourcePolicies;
use velero_core::result::chain;

use super::RunError;

#[derive(Deserialize)]
struct ConfigMap {
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
}

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
    let fault = |reason: &str| {
        RunError::Validation(vec![format!(
            "policy ConfigMap {namespace}/{name}: {reason}"
        )])
    };
    let catalog = cluster.catalog();
    let Some(resource) = catalog.get(&GroupResource::core("configmaps")) else {
        return Err(fault("the cluster serves no ConfigMaps"));
    };
    let item = match cluster.get(resource, namespace, name).await {
        Ok(Some(item)) => item,
        Ok(None) => {
            return Err(fault(
                "it does not exist; create it in the backup's namespace",
            ));
        }
        Err(error) if error.is_retryable() => return Err(RunError::Cluster(error)),
        Err(error) => return Err(fault(&format!("it cannot be read: {}", chain(&error)))),
    };
    let map: ConfigMap = serde_json::from_slice(item.json())
        .map_err(|error| fault(&format!("it is no ConfigMap: {error}")))?;
    ResourcePolicies::from_config_map(namespace, name, &map.data.unwrap_or_default())
        .map(Some)
        .map_err(RunError::Validation)
}
