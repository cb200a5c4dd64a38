//! Flags about how the engine of a direct restore runs.

use std::path::PathBuf;

use anyhow::{Result, bail};
use velero_core::GoDuration;
use velero_restore::RestoreOptions;

use crate::cli::Environment;

/// Flags of `direct restore` and `direct plan` about how the engine runs.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct RestoreEngineArgs {
    /// How long to wait for namespaces and volumes that are being deleted to be gone; 10m without it
    #[arg(long, value_name = "DURATION")]
    terminating_resource_timeout: Option<GoDuration>,
    /// How long to wait for CustomResourceDefinitions to be served and for the new volumes of claims; 10m without it
    #[arg(long, value_name = "DURATION")]
    resource_timeout: Option<GoDuration>,
    /// Folder of the temporary file that holds the items of a backup too large for memory; the system's without it
    #[arg(long, value_name = "FOLDER")]
    spool_dir: Option<PathBuf>,
}

impl RestoreEngineArgs {
    /// How the engine runs by these flags and those of all commands.
    pub(super) fn options(&self, environment: &Environment) -> Result<RestoreOptions> {
        let all_versions = environment.features().all_api_versions();
        let mut options = RestoreOptions::default().api_group_versions(all_versions);
        if let Some(timeout) = self.terminating_resource_timeout {
            options = options.terminating_timeout(timeout.to_std());
        }
        if let Some(timeout) = self.resource_timeout {
            if timeout.is_negative() || timeout.is_zero() {
                bail!(
                    "--resource-timeout \"{timeout}\" must be a duration above zero, such as 10m"
                );
            }
            options = options.resource_timeout(timeout.to_std());
        }
        if let Some(folder) = &self.spool_dir {
            if !folder.is_dir() {
                bail!("--spool-dir {folder:?} is no folder; it must be there");
            }
            options = options.spool_dir(folder);
        }
        Ok(options)
    }
}
