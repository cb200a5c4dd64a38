//! Flags about the data of volumes, and those that say how a restore treats objects.
//!
//! They go into the spec, where the same rule as for any other Backup or Restore decides, and refuses what cannot be done
//! by the name of its field.

use velero_core::GoDuration;
use velero_core::api::{
    BackupSpec, ObjectMeta, RestoreSpec, RestoreStatusSpec, TypedLocalObjectReference,
};
use velero_core::modifier::CONFIG_MAP_KIND;
use velero_restore::{EXISTING_RESOURCE_POLICY, MIRROR_NEEDS_PLAN, RELINK_OWNERS};

use super::console;
use super::values::{self, NameRecord, Names, TriState};

/// The policies for existing objects that are no values of the spec.
const RECREATE: &str = "recreate";
const MIRROR: &str = "mirror";

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
    /// What becomes of objects that are in the cluster already: none leaves them as they are, update changes them,
    /// recreate also deletes and creates anew what cannot be changed, mirror also deletes what the backup does not have, by
    /// a plan alone
    #[arg(long, value_name = "POLICY", value_parser = policy)]
    existing_resource_policy: Option<String>,
    /// Whether objects get the owners again that they had, where these are there; without them the garbage collector
    /// does not know what belongs together
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    relink_owners: Option<TriState>,
    /// Whether runs of zeros become holes in restored files
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    write_sparse_files: Option<TriState>,
    /// Files of a volume that are downloaded at the same time; the server decides without it
    #[arg(long, value_name = "COUNT", value_parser = values::count)]
    parallel_files_download: Option<i64>,
    /// ConfigMap in the restore's namespace that holds resource modifiers
    #[arg(long, value_name = "NAME")]
    resource_modifier_configmap: Option<String>,
    /// Resources whose status is restored too, such as deployments.apps, or * for all; none without it
    #[arg(long, value_name = "RESOURCES")]
    status_include_resources: Option<Names>,
    /// With --status-include-resources: resources whose status is not restored
    #[arg(long, value_name = "RESOURCES")]
    status_exclude_resources: Option<Names>,
    /// How long asynchronous operations of one item may take
    #[arg(long, value_name = "DURATION", value_parser = values::timeout)]
    item_operation_timeout: Option<GoDuration>,
}

impl RestoreDataArgs {
    /// Puts the flags into a spec.
    pub(super) fn apply(&self, spec: &mut RestoreSpec) {
        spec.existing_resource_policy = match self.existing_resource_policy.as_deref() {
            // All that the peer knows of it; the rest is an annotation.
            Some(RECREATE | MIRROR) => "update".to_owned(),
            policy => policy.unwrap_or_default().to_owned(),
        };
        if let Some(sparse) = self.write_sparse_files.and_then(|state| state.0) {
            let uploader = spec.uploader_config.get_or_insert_default();
            uploader.write_sparse_files = Some(sparse);
        }
        // Zero leaves it to the server.
        if let Some(count) = self.parallel_files_download.filter(|count| *count > 0) {
            let uploader = spec.uploader_config.get_or_insert_default();
            uploader.parallel_files_download = count;
        }
        spec.resource_modifier = self.resource_modifier();
        spec.restore_status = self.restore_status();
        spec.item_operation_timeout = self.item_operation_timeout.unwrap_or_default();
    }

    /// The reference to resource modifiers, in the form in which the peer's command line writes it.
    fn resource_modifier(&self) -> Option<TypedLocalObjectReference> {
        let name = self.resource_modifier_configmap.as_ref();
        name.filter(|name| !name.is_empty())
            .map(|name| TypedLocalObjectReference {
                api_group: Some(String::new()),
                kind: CONFIG_MAP_KIND.to_owned(),
                name: name.clone(),
            })
    }

    /// As the peer's command line has it, what is left out counts beside what is taken only.
    fn restore_status(&self) -> Option<RestoreStatusSpec> {
        let named = |names: &Option<Names>| -> Vec<String> {
            let names = names.iter().flat_map(|names| names.0.iter());
            names.filter(|name| !name.is_empty()).cloned().collect()
        };
        let included_resources = named(&self.status_include_resources);
        let excluded_resources = named(&self.status_exclude_resources);
        if included_resources.is_empty() {
            if !excluded_resources.is_empty() {
                console::note(
                    "warning: --status-exclude-resources has no effect without --status-include-resources; no status is restored",
                );
            }
            return None;
        }
        Some(RestoreStatusSpec {
            included_resources,
            excluded_resources,
        })
    }

    /// Refuses to delete objects where no plan lists them.
    ///
    /// # Errors
    /// When the policy is `mirror`.
    pub(crate) fn refuse_mirror(&self) -> anyhow::Result<()> {
        match self.existing_resource_policy.as_deref() {
            Some(MIRROR) => Err(anyhow::anyhow!(MIRROR_NEEDS_PLAN)),
            _ => Ok(()),
        }
    }

    /// Writes what has no field in the spec into the annotations of a Restore.
    pub(crate) fn annotate(&self, metadata: &mut ObjectMeta) {
        let mut said = Vec::new();
        if let Some(policy @ (RECREATE | MIRROR)) = self.existing_resource_policy.as_deref() {
            said.push((EXISTING_RESOURCE_POLICY, policy));
        }
        if let Some(relink) = self.relink_owners.and_then(|state| state.0) {
            said.push((RELINK_OWNERS, if relink { "true" } else { "false" }));
        }
        for (key, value) in said {
            let annotations = metadata.annotations.get_or_insert_default();
            annotations.insert(key.to_owned(), value.to_owned());
        }
    }
}

fn policy(text: &str) -> Result<String, String> {
    match text {
        "" | "none" | "update" | RECREATE | MIRROR => Ok(text.to_owned()),
        _ => Err("it must be none, update, recreate or mirror".to_owned()),
    }
}
