//! Flags about the data of volumes, and flags of the peer whose part does not exist here yet.
//!
//! Those of backups go into the spec, where the same rule as for any other Backup decides and refuses what cannot be done
//! by the name of its field. Those of restores that have no field which could be refused are refused here.

use anyhow::{Result, bail};
use velero_core::GoDuration;
use velero_core::api::{BackupSpec, RestoreSpec};

use super::values::{self, NameRecord, Names, TriState};

/// Flags of backups.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct BackupDataArgs {
    /// Whether to take snapshots of persistent volumes
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    snapshot_volumes: Option<TriState>,
    /// Whether to move the data of snapshots to the backup storage location
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    snapshot_move_data: Option<TriState>,
    /// Whether to back the files of all pod volumes up, unless a pod opts out
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    default_volumes_to_fs_backup: Option<TriState>,
    /// How long a CSI snapshot may take to become ready
    #[arg(long, value_name = "DURATION", value_parser = values::timeout)]
    csi_snapshot_timeout: Option<GoDuration>,
    /// Data mover to use; the built-in one without it
    #[arg(long, value_name = "NAME")]
    data_mover: Option<String>,
    /// Volume snapshot locations to use, one for each provider
    #[arg(long, value_name = "NAMES")]
    volume_snapshot_locations: Vec<NameRecord>,
    /// Files of a volume that are uploaded at the same time; the server decides without it
    #[arg(long, value_name = "COUNT", value_parser = values::count)]
    parallel_files_upload: Option<i64>,
}

impl BackupDataArgs {
    /// The volume snapshot locations that are named.
    pub(super) fn snapshot_locations(&self) -> Vec<String> {
        let records = self.volume_snapshot_locations.iter();
        records.flat_map(|record| record.0.clone()).collect()
    }

    /// Puts the flags into a spec, where the same rule as for any other Backup says what cannot be done.
    pub(super) fn apply(&self, spec: &mut BackupSpec) {
        let state = |flag: Option<TriState>| flag.and_then(|state| state.0);
        spec.snapshot_volumes = state(self.snapshot_volumes);
        spec.snapshot_move_data = state(self.snapshot_move_data);
        spec.default_volumes_to_fs_backup = state(self.default_volumes_to_fs_backup);
        spec.csi_snapshot_timeout = self.csi_snapshot_timeout.unwrap_or_default();
        spec.data_mover = self.data_mover.clone().unwrap_or_default();
        spec.volume_snapshot_locations = self.snapshot_locations();
        // Zero leaves it to the server.
        if let Some(count) = self.parallel_files_upload.filter(|count| *count > 0) {
            let uploader = spec.uploader_config.get_or_insert_default();
            uploader.parallel_files_upload = count;
        }
    }
}

/// Flags of restores.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct RestoreDataArgs {
    /// What becomes of objects that are in the cluster already: none leaves them as they are, update changes them
    #[arg(long, value_name = "POLICY", value_parser = policy)]
    existing_resource_policy: Option<String>,
    /// Whether runs of zeros become holes in restored files
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    write_sparse_files: Option<TriState>,
    #[arg(long, hide = true, allow_negative_numbers = true)]
    parallel_files_download: Option<i64>,
    #[arg(long, hide = true)]
    resource_modifier_configmap: Option<String>,
    #[arg(long, hide = true)]
    status_include_resources: Option<Names>,
    #[arg(long, hide = true)]
    status_exclude_resources: Option<Names>,
}

impl RestoreDataArgs {
    /// Puts the flags into a spec.
    ///
    /// # Errors
    /// When a flag asks for something that does not exist yet.
    pub(super) fn apply(&self, spec: &mut RestoreSpec) -> Result<()> {
        if self.parallel_files_download.is_some_and(|count| count < 0) {
            bail!("--parallel-files-download cannot be negative");
        }
        refuse(&[
            (
                "--parallel-files-download",
                self.parallel_files_download.is_some_and(|count| count > 0),
            ),
            (
                "--resource-modifier-configmap",
                is_given(&self.resource_modifier_configmap),
            ),
            (
                "--status-include-resources",
                self.status_include_resources.is_some(),
            ),
            (
                "--status-exclude-resources",
                self.status_exclude_resources.is_some(),
            ),
        ])?;
        spec.existing_resource_policy = self.existing_resource_policy.clone().unwrap_or_default();
        if let Some(sparse) = self.write_sparse_files.and_then(|state| state.0) {
            let uploader = spec.uploader_config.get_or_insert_default();
            uploader.write_sparse_files = Some(sparse);
        }
        Ok(())
    }
}

/// Refuses the flags that were given.
pub(super) fn refuse(flags: &[(&str, bool)]) -> Result<()> {
    let given: Vec<&str> = flags
        .iter()
        .filter(|(_, given)| *given)
        .map(|(name, _)| *name)
        .collect();
    if !given.is_empty() {
        bail!("not supported yet: {}", given.join(", "));
    }
    Ok(())
}

/// Whether a flag asks for something: the peer's default is empty.
pub(super) fn is_given(flag: &Option<String>) -> bool {
    flag.as_ref().is_some_and(|text| !text.is_empty())
}

fn policy(text: &str) -> Result<String, String> {
    match text {
        "" | "none" | "update" => Ok(text.to_owned()),
        _ => Err("it must be none or update".to_owned()),
    }
}
