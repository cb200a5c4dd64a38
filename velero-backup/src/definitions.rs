//! Definitions of the custom resources that are in an archive.

use std::sync::Arc;

use velero_core::{GroupResource, ResourceIdentifier};

use crate::Error;
use crate::run::{CHUNK, Run};

impl Run<'_> {
    /// Stores the definitions of the custom resources that are in the archive, where their kind is not stored anyway.
    pub(crate) async fn definitions(&mut self) -> Result<(), Error> {
        let gr = GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions");
        let Some(resource) = self.request.catalog().get(&gr).cloned().map(Arc::new) else {
            return Ok(());
        };
        if self.kind_of.contains_key(&gr) || !self.request.takes_related(&resource, "") {
            return Ok(());
        }
        let wanted: Vec<ResourceIdentifier> = std::mem::take(&mut self.out.stored_resources)
            .into_iter()
            .filter(|stored| !is_built_in_group(&stored.group))
            .map(|stored| ResourceIdentifier::cluster(gr.clone(), stored.to_string()))
            .collect();
        for some in wanted.chunks(CHUNK) {
            let definitions = self.read_definitions(&resource, some).await;
            self.work_and_lay(definitions).await?;
        }
        self.progress.update(self.out.counts);
        Ok(())
    }
}

/// Groups that every API server serves by itself. Others can come from a CustomResourceDefinition.
pub(crate) fn is_built_in_group(group: &str) -> bool {
    const WITH_SUFFIX: [&str; 14] = [
        "admissionregistration",
        "apiextensions",
        "apiregistration",
        "authentication",
        "authorization",
        "certificates",
        "coordination",
        "discovery",
        "events",
        "flowcontrol.apiserver",
        "networking",
        "node",
        "rbac.authorization",
        "scheduling",
    ];
    matches!(
        group,
        "" | "apps"
            | "batch"
            | "autoscaling"
            | "policy"
            | "extensions"
            | "storage.k8s.io"
            | "resource.k8s.io"
    ) || group
        .strip_suffix(".k8s.io")
        .is_some_and(|prefix| WITH_SUFFIX.contains(&prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_come_from_definitions() {
        for (group, built_in) in [
            ("", true),
            ("apps", true),
            ("rbac.authorization.k8s.io", true),
            ("networking.k8s.io", true),
            ("gateway.networking.k8s.io", false),
            ("snapshot.storage.k8s.io", false),
            ("example.com", false),
            ("velero.io", false),
        ] {
            assert_eq!(is_built_in_group(group), built_in, "{group}");
        }
    }
}
