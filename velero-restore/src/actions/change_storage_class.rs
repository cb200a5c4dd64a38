//! StorageClasses that have another name in the cluster that is restored into.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use velero_core::action::{
    ActionContext, ActionError, ClusterReader, Effects, ResourceSelector, RestoreInput,
    RestoreItemAction, RestoreOutcome,
};
use velero_core::api::Restore;
use velero_core::{GroupResource, ResourceIdentifier};

/// `velero.io/change-storage-class`: volumes, claims and templates of claims get another StorageClass, which must exist.
///
/// A class is looked up once in the life of an action, not at each item. Mirrors upstream's
/// `pkg/restore/actions/change_storageclass_action.go`.
#[derive(Debug, Default)]
pub struct ChangeStorageClass {
    classes: BTreeMap<String, String>,
    /// Classes that were found in the cluster.
    found: Mutex<BTreeSet<String>>,
}

impl ChangeStorageClass {
    /// Changes classes by name: old to new.
    pub fn new(classes: BTreeMap<String, String>) -> Self {
        Self {
            classes,
            found: Mutex::default(),
        }
    }

    /// Gives a class its new name. Absent and empty names stay.
    async fn change(
        &self,
        class: Option<&mut Value>,
        cluster: &dyn ClusterReader,
    ) -> Result<(), ActionError> {
        let Some(class) = class else { return Ok(()) };
        let old = class.as_str().filter(|old| !old.is_empty());
        let Some((old, new)) = old.and_then(|old| self.classes.get_key_value(old)) else {
            return Ok(());
        };
        self.check(old, new, cluster).await?;
        *class = Value::String(new.clone());
        Ok(())
    }

    async fn check(
        &self,
        old: &str,
        new: &str,
        cluster: &dyn ClusterReader,
    ) -> Result<(), ActionError> {
        let found = || self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found().contains(new) {
            return Ok(());
        }
        let classes = GroupResource::new("storage.k8s.io", "storageclasses");
        if cluster
            .get(&ResourceIdentifier::cluster(classes, new))
            .await?
            .is_none()
        {
            return Err(ActionError::new(format_args!(
                "storage class {new:?}, which takes the place of {old:?}, is not in the cluster"
            )));
        }
        found().insert(new.to_owned());
        Ok(())
    }
}

#[async_trait]
impl RestoreItemAction for ChangeStorageClass {
    fn name(&self) -> &str {
        "velero.io/change-storage-class"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources([
            "persistentvolumeclaims",
            "persistentvolumes",
            "statefulsets",
        ])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        cx: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let mut item = input.item;
        if item.kind() == "StatefulSet" {
            if let Some(Value::Array(templates)) = item.at_mut("/spec/volumeClaimTemplates") {
                for template in templates {
                    let class = template.pointer_mut("/spec/storageClassName");
                    self.change(class, cx.cluster).await?;
                }
            }
        } else {
            let class = item.at_mut("/spec/storageClassName");
            self.change(class, cx.cluster).await?;
        }
        Ok(RestoreOutcome::create(item))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}
