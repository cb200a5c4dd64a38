//! The namespaces in which Velero lives.

use std::collections::BTreeSet;

use velero_cluster::{Cluster, Error, ListOptions, ListScope};
use velero_core::names::GROUP;
use velero_core::{Catalog, GroupResource, ItemTree};

use crate::compare::belongs_to_velero;

/// The namespace of the restore, and all others that have storage locations: another Velero may be installed there.
#[derive(Debug, Clone)]
pub(crate) struct Homes {
    names: BTreeSet<String>,
}

impl Homes {
    /// Only the namespace of the restore.
    pub(crate) fn of(own: &str) -> Self {
        Self {
            names: [own.to_owned()].into(),
        }
    }

    /// Asks the cluster with one list.
    ///
    /// # Errors
    /// When the storage locations cannot be listed.
    pub(crate) async fn find(
        cluster: &Cluster,
        catalog: &Catalog,
        own: &str,
    ) -> Result<Self, Error> {
        let mut homes = Self::of(own);
        let locations = GroupResource::new(GROUP, "backupstoragelocations");
        let Some(resource) = catalog.get(&locations) else {
            return Ok(homes);
        };
        let options = ListOptions::default().metadata_only();
        let mut pages = cluster.pages(resource, ListScope::all(), options);
        while let Some(page) = pages.next().await? {
            let names = page.items.iter().map(|item| item.head().namespace.clone());
            homes.names.extend(names);
        }
        Ok(homes)
    }

    /// Whether a namespace is one of them.
    pub(crate) fn has(&self, namespace: &str) -> bool {
        self.names.contains(namespace)
    }

    /// Whether an object is a part of a Velero that lives in one of them.
    pub(crate) fn own(&self, live: &ItemTree) -> bool {
        self.names.iter().any(|own| belongs_to_velero(live, own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_home_counts() {
        let mut homes = Homes::of("velero");
        homes.names.insert("backup".to_owned());
        for (namespace, expected) in [("velero", true), ("backup", true), ("shop", false)] {
            let map = ItemTree::new(json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"namespace": namespace, "name": "m"}}))
            .unwrap();
            assert_eq!(
                (homes.own(&map), homes.has(namespace)),
                (expected, expected)
            );
        }
    }
}
