//! Containers that wait for the data of volumes.

use async_trait::async_trait;
use serde_json::Value;
use velero_core::action::{
    ActionContext, ActionError, Effects, ResourceSelector, RestoreInput, RestoreItemAction,
    RestoreOutcome, text,
};
use velero_core::api::Restore;

/// Names of init containers that wait for the data of volumes, the older one last.
pub(super) const WAITING: [&str; 2] = ["restore-wait", "restic-wait"];

/// `velero.io/pod-volume-restore`: the container of an earlier restore that waits for the data of its volumes goes.
///
/// It waits for a mark of that one restore, so that a pod that was backed up with it would never start again. Mirrors the
/// first part of `PodVolumeRestoreAction` in upstream's `pkg/restore/actions/pod_volume_restore_action.go`.
#[derive(Debug, Clone, Copy, Default)]
pub struct PodVolumeRestoreAction;

#[async_trait]
impl RestoreItemAction for PodVolumeRestoreAction {
    fn name(&self) -> &str {
        "velero.io/pod-volume-restore"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["pods"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let mut item = input.item;
        let mut is_empty = false;
        if let Some(Value::Array(containers)) = item.at_mut("/spec/initContainers") {
            containers.retain(|container| !WAITING.contains(&text(container, "name")));
            is_empty = containers.is_empty();
        }
        if is_empty {
            item.remove("/spec", "initContainers");
        }
        Ok(RestoreOutcome::create(item))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}
