//! The actions that every backup runs. Mirrors upstream's `pkg/backup/actions`.

mod pod;
mod pvc;
mod service_account;

use std::sync::Arc;

use velero_core::action::BackupItemAction;

pub use pod::PodAction;
pub use pvc::PersistentVolumeClaimAction;
pub use service_account::ServiceAccountAction;

/// The actions of one run, in the order in which they run.
pub(crate) fn built_in() -> Vec<Arc<dyn BackupItemAction>> {
    vec![
        Arc::new(PodAction),
        Arc::new(PersistentVolumeClaimAction),
        Arc::new(ServiceAccountAction::default()),
    ]
}
