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

/// The action that is left out where backups hold every version of a kind.
const CRD_VERSION: &str = "velero.io/crd-remap-version";

/// Names of the actions that every backup runs, in the order in which they run.
pub fn built_in_names(all_api_versions: bool) -> Vec<&'static str> {
    let all = [
        CRD_VERSION,
        "velero.io/pod",
        "velero.io/pv",
        "velero.io/service-account",
    ];
    let runs = |name: &&str| !all_api_versions || *name != CRD_VERSION;
    all.into_iter().filter(runs).collect()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_actions() {
        for all_api_versions in [false, true] {
            let actions = built_in(all_api_versions, &Arc::default());
            let names: Vec<&str> = actions.iter().map(|action| action.name()).collect();
            assert_eq!(built_in_names(all_api_versions), names);
        }
    }
}
