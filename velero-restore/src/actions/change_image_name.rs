//! Images that come from another registry in the cluster that is restored into.

use async_trait::async_trait;
use serde_json::Value;
use velero_core::ItemTree;
use velero_core::action::{
    ActionContext, ActionError, Effects, ResourceSelector, RestoreInput, RestoreItemAction,
    RestoreOutcome,
};
use velero_core::api::Restore;

use super::ImageChange;

/// `velero.io/change-image-name`: images of pods, and of workloads that make some, get other names.
///
/// Mirrors upstream's `pkg/restore/actions/change_image_name_action.go`, where the order of the changes is that of a Go
/// map: here it is theirs.
#[derive(Debug, Clone, Default)]
pub struct ChangeImageName {
    changes: Vec<ImageChange>,
}

impl ChangeImageName {
    /// Makes the first of these changes that applies to an image's name.
    pub fn new(changes: Vec<ImageChange>) -> Self {
        Self { changes }
    }

    /// The new name of an image, where there is one.
    fn changed(&self, image: &str) -> Option<String> {
        let applies = |change: &&ImageChange| !change.old.is_empty() && image.contains(&change.old);
        let change = self.changes.iter().find(applies)?;
        Some(image.replace(&change.old, &change.new))
    }
}

#[async_trait]
impl RestoreItemAction for ChangeImageName {
    fn name(&self) -> &str {
        "velero.io/change-image-name"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources([
            "deployments",
            "statefulsets",
            "daemonsets",
            "replicasets",
            "replicationcontrollers",
            "jobs",
            "cronjobs",
            "pods",
        ])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let mut item = input.item;
        let (kind, name) = (item.kind().to_owned(), item.name().to_owned());
        for containers in ["containers", "initContainers"] {
            let at = format!("{}/{containers}", pod_spec_of(&item));
            let Some(Value::Array(containers)) = item.at_mut(&at) else {
                continue;
            };
            for image in containers.iter_mut().filter_map(|c| c.get_mut("image")) {
                let Some(new) = image.as_str().and_then(|old| self.changed(old)) else {
                    continue;
                };
                tracing::info!(kind, name, image = %image, new, "the image gets another name");
                *image = Value::String(new);
            }
        }
        Ok(RestoreOutcome::create(item))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}

/// Where the spec of the pods lies.
fn pod_spec_of(item: &ItemTree) -> &'static str {
    match item.kind() {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    }
}
