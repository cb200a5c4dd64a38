//! Reads for item actions.

use async_trait::async_trait;
use velero_core::action::{ActionError, ClusterReader};
use velero_core::{ApiResource, Catalog, GroupResource, ItemTree, ResourceIdentifier, Selector};

use crate::{Cluster, Error};

/// A [`ClusterReader`] that asks the API server each time, over the catalogue as it was when the reader was made.
#[derive(Debug, Clone)]
pub struct Reader {
    cluster: Cluster,
    catalog: Catalog,
}

impl Reader {
    pub(crate) fn new(cluster: Cluster) -> Self {
        let catalog = cluster.catalog();
        Self { cluster, catalog }
    }

    fn resource(&self, gr: &GroupResource) -> Result<&ApiResource, ActionError> {
        self.catalog.get(gr).ok_or_else(|| {
            failed(Error::Unserved {
                resource: gr.clone(),
            })
        })
    }
}

fn failed(error: Error) -> ActionError {
    ActionError::with_source("the cluster cannot be read", error)
}

#[async_trait]
impl ClusterReader for Reader {
    async fn get(&self, id: &ResourceIdentifier) -> Result<Option<ItemTree>, ActionError> {
        let resource = self.resource(&id.group_resource)?;
        let item = self
            .cluster
            .get(resource, &id.namespace, &id.name)
            .await
            .map_err(failed)?;
        item.map(|item| item.tree().map_err(ActionError::from))
            .transpose()
    }

    async fn get_version(
        &self,
        id: &ResourceIdentifier,
        version: &str,
    ) -> Result<Option<ItemTree>, ActionError> {
        let resource = self
            .catalog
            .get_version(&id.group_resource, version)
            .ok_or_else(|| {
                failed(Error::Unserved {
                    resource: id.group_resource.clone(),
                })
            })?;
        let item = self
            .cluster
            .get(resource, &id.namespace, &id.name)
            .await
            .map_err(failed)?;
        item.map(|item| item.tree().map_err(ActionError::from))
            .transpose()
    }

    async fn list(
        &self,
        resource: &GroupResource,
        namespace: &str,
        selector: &Selector,
    ) -> Result<Vec<ItemTree>, ActionError> {
        let resource = self.resource(resource)?;
        let namespace = Some(namespace).filter(|n| !n.is_empty());
        self.cluster
            .list_trees(resource, namespace, selector)
            .await
            .map_err(failed)
    }

    fn catalog(&self) -> &Catalog {
        &self.catalog
    }
}
