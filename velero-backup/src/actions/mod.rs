//! The actions that every backup runs. Mirrors upstream's `pkg/backup/actions`.

mod bindings;
mod crd_version;
mod pod;
mod pvc;
mod service_account;

use std::sync::Arc;

use velero_core::action::BackupItemAction;

pub(crate) use bindings::KnownBindings;
pub use crd_version::CrdVersionAction;
pub use pod::PodAction;
pub use pvc::PersistentVolumeClaimAction;
pub use service_account::ServiceAccountAction;

/// The actions of one run, in the order in which they run; that of their names, as in the peer.
pub(crate) fn built_in(
    all_api_versions: bool,
    bindings: &Arc<KnownBindings>,
) -> Vec<Arc<dyn BackupItemAction>> {
    let mut actions: Vec<Arc<dyn BackupItemAction>> = vec![
        Arc::new(PodAction),
        Arc::new(PersistentVolumeClaimAction),
        Arc::new(ServiceAccountAction::over(bindings)),
    ];
    if !all_api_versions {
        actions.insert(0, Arc::new(CrdVersionAction));
    }
    actions
}
