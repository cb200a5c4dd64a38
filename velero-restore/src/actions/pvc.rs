//! What binds a claim to the cluster it was made in.

use async_trait::async_trait;
use velero_core::action::{
    ActionContext, ActionError, Effects, ResourceSelector, RestoreInput, RestoreItemAction,
    RestoreOutcome,
};
use velero_core::api::Restore;
use velero_core::names::annotations;
use velero_core::{GroupResource, ResourceIdentifier};

const DROPPED: [&str; 7] = [
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/selected-node",
    annotations::VOLUME_SNAPSHOT_NAME,
    annotations::DATA_UPLOAD_NAME,
];

/// `velero.io/pvc`: annotations of binding, provisioning and snapshots go; the volume of a bound claim is restored
/// before the claim.
#[derive(Debug, Clone, Copy, Default)]
pub struct PvcAction;

#[async_trait]
impl RestoreItemAction for PvcAction {
    fn name(&self) -> &str {
        "velero.io/pvc"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["persistentvolumeclaims"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let mut item = input.item;
        item.remove_annotations(&DROPPED);
        let volume = input.archived.str_at("/spec/volumeName");
        let bound = input.archived.str_at("/status/phase") == "Bound" && !volume.is_empty();
        let volume = bound
            .then(|| ResourceIdentifier::cluster(GroupResource::core("persistentvolumes"), volume));
        Ok(RestoreOutcome::create(item).with(volume))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}
