//! What goes into a backup, or into the template of a schedule.

use anyhow::Result;
use kube::Client;
use velero_core::GoDuration;
use velero_core::api::{BackupSpec, BackupStorageLocation, VolumeSnapshotLocation};

use super::super::filters::BackupFilterArgs;
use super::super::objects::Objects;
use super::super::values;

/// Flags that `backup create` and `schedule create` share.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct ContentArgs {
    #[command(flatten)]
    filters: BackupFilterArgs,
    /// Backup storage location to write to; without it the default one
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    storage_location: String,
    /// How long asynchronous operations of one item may take
    #[arg(long, value_name = "DURATION", value_parser = values::timeout)]
    item_operation_timeout: Option<GoDuration>,
}

impl ContentArgs {
    /// The spec that the flags ask for.
    ///
    /// # Errors
    /// When flags exclude each other or a list is not valid.
    pub(in crate::cli) fn spec(&self) -> Result<BackupSpec> {
        let mut spec = self.filters.spec()?;
        spec.storage_location = self.storage_location.clone();
        spec.item_operation_timeout = self.item_operation_timeout.unwrap_or_default();
        Ok(spec)
    }
}

/// Checks that the locations that a spec names exist.
///
/// # Errors
/// When one does not, or cannot be read.
pub(in crate::cli) async fn check_locations(
    spec: &BackupSpec,
    client: &Client,
    namespace: &str,
) -> Result<()> {
    if !spec.storage_location.is_empty() {
        let locations: Objects<BackupStorageLocation> = Objects::new(client.clone(), namespace);
        locations.get(&spec.storage_location).await?;
    }
    let locations: Objects<VolumeSnapshotLocation> = Objects::new(client.clone(), namespace);
    for name in &spec.volume_snapshot_locations {
        locations.get(name).await?;
    }
    Ok(())
}
