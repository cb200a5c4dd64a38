//! The restore actions that come with the engine.
//!
//! Names, selectors and effects are those of upstream's `pkg/restore/actions`, as others refer to them.

mod add_pvc_from_pod;
mod admission_webhook;
mod api_service;
mod bindings;
mod crd_preserve_fields;
mod job;
mod pod;
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
pub use crd_preserve_fields::CrdPreserveFields;
pub use job::JobAction;
pub use pod::PodAction;
pub use pvc::PvcAction;
pub use secret::SecretAction;
pub use service::ServiceAction;
pub use service_account::ServiceAccountAction;

/// All actions of this module, in the order in which they run: by name.
pub fn built_in() -> Vec<Arc<dyn RestoreItemAction>> {
    vec![
        Arc::new(AddPvcFromPod),
        Arc::new(AdmissionWebhook),
        Arc::new(ApiServiceAction),
        Arc::new(ClusterRoleBindings),
        Arc::new(CrdPreserveFields),
        Arc::new(JobAction),
        Arc::new(PodAction),
        Arc::new(PvcAction),
        Arc::new(RoleBindings),
        Arc::new(SecretAction),
        Arc::new(ServiceAction),
        Arc::new(ServiceAccountAction),
    ]
}

#[cfg(test)]
mod tests;
