//! Where the files of the checkout are.

use std::env;
use std::path::PathBuf;

/// Root of the checkout: `$VELERO_WORKSPACE`, which `cargo xtask` sets, else the one that this was built in. What was built
/// in one checkout may run in another.
pub fn workspace() -> PathBuf {
    match env::var_os("VELERO_WORKSPACE").filter(|root| !root.is_empty()) {
        Some(root) => root.into(),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")),
    }
}

/// Root of this package.
pub(crate) fn package_folder() -> PathBuf {
    workspace().join("e2e")
}
