//! The restore actions that come with the engine.
//!
//! Names, selectors and effects are those of upstream's `pkg/restore/actions`, as others refer to them.

mod add_pvc_from_pod;
mod admission_webhook;
mod api_service;
mod bindings;
mod change_image_name;
mod change_storage_class;
mod config;
mod crd_preserve_fields;
mod init_restore_hook;
mod job;
mod pod;
mod pod_volume_restore;
mod pvc;
mod secret;
mod service;
mod service_account;

use std::sync::Arc;

use velero_core::action::RestoreItemAction;

pub use add_pvc_from_pod::AddPvcFromPod;
pub use admission_webhook::AdmissionWebhook;
pub use api_service::ApiServiceAction;
pub use bindings::{ClusterRoleBindings, RoleBindings};
pub use change_image_name::ChangeImageName;
pub use change_storage_class::ChangeStorageClass;
pub use config::{ActionConfig, ImageChange};
pub use crd_preserve_fields::CrdPreserveFields;
pub use init_restore_hook::InitRestoreHook;
pub use job::JobAction;
pub use pod::PodAction;
pub use pod_volume_restore::PodVolumeRestoreAction;
pub use pvc::PvcAction;
pub use secret::SecretAction;
pub use service::ServiceAction;
pub use service_account::ServiceAccountAction;

/// The actions of this module that need no configuration, in the order in which they run: by name.
pub fn built_in() -> Vec<Arc<dyn RestoreItemAction>> {
    configured(&ActionConfig::default(), InitRestoreHook::default())
}

/// The actions of this module, in the order in which they run: by name. Those that are left without a configuration have
/// nothing to do and are left out.
pub fn configured(
    config: &ActionConfig,
    init_hooks: InitRestoreHook,
) -> Vec<Arc<dyn RestoreItemAction>> {
    let mut actions: Vec<Arc<dyn RestoreItemAction>> = vec![
        Arc::new(AddPvcFromPod),
        Arc::new(AdmissionWebhook),
        Arc::new(ApiServiceAction),
        Arc::new(ClusterRoleBindings),
        Arc::new(CrdPreserveFields),
        Arc::new(init_hooks),
        Arc::new(JobAction),
        Arc::new(PodAction),
        Arc::new(PodVolumeRestoreAction),
        Arc::new(PvcAction),
        Arc::new(RoleBindings),
        Arc::new(SecretAction),
        Arc::new(ServiceAction),
        Arc::new(ServiceAccountAction),
    ];
    if !config.images.is_empty() {
        actions.push(Arc::new(ChangeImageName::new(config.images.clone())));
    }
    if !config.storage_classes.is_empty() {
        let classes = config.storage_classes.clone();
        actions.push(Arc::new(ChangeStorageClass::new(classes)));
    }
    actions.sort_by(|a, b| a.name().cmp(b.name()));
    actions
}

/// Names of all actions of this module, sorted; with those that do nothing without a configuration.
pub fn built_in_names() -> Vec<String> {
    let mut names = vec![
        config::IMAGE_NAME.to_owned(),
        config::STORAGE_CLASS.to_owned(),
    ];
    names.extend(built_in().iter().map(|action| action.name().to_owned()));
    names.sort();
    names
}

/// Whether an action does no more than free an object of the cluster that it was in. What other actions change is
/// wanted: an object that is still as it was backed up is not as it is to be then.
pub(crate) fn only_resets(action: &str) -> bool {
    matches!(
        action,
        "velero.io/add-pvc-from-pod"
            | "velero.io/admission-webhook-configuration"
            | "velero.io/apiservice"
            | "velero.io/crd-preserve-fields"
            | "velero.io/job"
            | "velero.io/pod"
            | "velero.io/pod-volume-restore"
            | "velero.io/pvc"
            | "velero.io/secret"
            | "velero.io/service"
            | "velero.io/service-account"
    )
}

#[cfg(test)]
mod tests;
