//! What a restore is made of.

use anyhow::{Result, bail};
use velero_core::api::{Backup, BackupPhase, RestoreSpec};

use super::super::values::TriState;

/// Flags that name a backup or schedule.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct SourceArgs {
    /// Backup to restore from
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) from_backup: String,
    /// Schedule whose newest completed backup is restored
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) from_schedule: String,
    /// With --from-schedule: take backups that ended PartiallyFailed too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_partially_failed: Option<TriState>,
}

impl SourceArgs {
    /// Makes sure of exactly one source.
    ///
    /// # Errors
    /// When there are none or two.
    pub(super) fn check(&self) -> Result<()> {
        if self.from_backup.is_empty() == self.from_schedule.is_empty() {
            bail!("either a backup or schedule must be specified, but not both");
        }
        Ok(())
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.from_backup.is_empty() && self.from_schedule.is_empty()
    }

    /// Name of the backup or schedule.
    pub(super) fn name(&self) -> &str {
        match self.from_schedule.is_empty() {
            true => &self.from_backup,
            false => &self.from_schedule,
        }
    }

    /// Whether backups that ended `PartiallyFailed` are taken, too.
    pub(super) fn takes_partial(&self) -> bool {
        self.allow_partially_failed.and_then(|state| state.0) == Some(true)
    }

    /// Writes the source into a spec.
    pub(super) fn apply(&self, spec: &mut RestoreSpec) {
        spec.backup_name = self.from_backup.clone();
        spec.schedule_name = self.from_schedule.clone();
    }
}

/// The newest of backups that is complete, or `PartiallyFailed` where that is good enough.
pub(super) fn newest(backups: &[Backup], takes_partial: bool) -> Option<String> {
    let is_usable = |backup: &&Backup| {
        *backup.phase() == BackupPhase::Completed
            || takes_partial && *backup.phase() == BackupPhase::PartiallyFailed
    };
    backups
        .iter()
        .filter(is_usable)
        .filter(|backup| backup.status.start_timestamp.is_some())
        .max_by_key(|backup| backup.status.start_timestamp.as_ref().map(|time| time.0))
        .and_then(|backup| backup.metadata.name.clone())
}
