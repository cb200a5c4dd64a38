//! The Pod that this process runs in.

use std::env;

use velero_persistence::ProcessId;

/// The variable by which a Pod is told its name.
const POD_NAME: &str = "POD_NAME";

/// The variable that every Pod has.
const IN_POD: &str = "KUBERNETES_SERVICE_HOST";

/// The Pod's name, where the process was told it.
pub(super) fn told_name() -> Option<String> {
    env::var(POD_NAME).ok().filter(|name| !name.is_empty())
}

/// The Pod's name: as the process was told, or that of the host, which a Pod without the host's network is.
pub(super) fn name() -> Option<String> {
    let host = || env::var_os(IN_POD).map(|_| ProcessId::current().host);
    told_name().or_else(host)
}
