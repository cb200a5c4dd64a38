//! ConfigMaps that a Backup or a Restore names.

use std::collections::BTreeMap;

use serde::Deserialize;
use velero_cluster::Cluster;
use velero_core::GroupResource;
use velero_core::result::chain;

use super::RunError;

#[derive(Deserialize)]
struct ConfigMap {
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
}

/// A ConfigMap that a custom resource names.
pub(super) struct Named<'a> {
    /// What it holds, as messages begin: `policy`.
    pub(super) what: &'a str,
    /// Who names it: `backup`.
    pub(super) by: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

impl Named<'_> {
    /// Reads its data.
    ///
    /// # Errors
    /// [`RunError::Validation`] when there is no such ConfigMap or it may not be read; [`RunError::Cluster`] when the API
    /// server does not answer.
    pub(super) async fn data(
        &self,
        cluster: &Cluster,
    ) -> Result<BTreeMap<String, String>, RunError> {
        let catalog = cluster.catalog();
        let Some(resource) = catalog.get(&GroupResource::core("configmaps")) else {
            return Err(self.fault("the cluster serves no ConfigMaps"));
        };
        let item = match cluster.get(resource, self.namespace, self.name).await {
            Ok(Some(item)) => item,
            Ok(None) => {
                let why = format!(
                    "it does not exist; create it in the {}'s namespace",
                    self.by
                );
                return Err(self.fault(&why));
            }
            Err(error) if error.is_retryable() => return Err(RunError::Cluster(error)),
            Err(error) => {
                return Err(self.fault(&format!("it cannot be read: {}", chain(&error))));
            }
        };
        let map: ConfigMap = serde_json::from_slice(item.json())
            .map_err(|error| self.fault(&format!("it is no ConfigMap: {error}")))?;
        Ok(map.data.unwrap_or_default())
    }

    fn fault(&self, reason: &str) -> RunError {
        let Self {
            what,
            namespace,
            name,
            ..
        } = self;
        RunError::Validation(vec![format!(
            "{what} ConfigMap {namespace}/{name}: {reason}"
        )])
    }
}
