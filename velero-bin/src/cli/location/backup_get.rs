//! `velero backup-location get`.

use anyhow::Result;
use jiff::Timestamp;
use velero_core::api::BackupStorageLocation;

use super::super::exit::Exit;
use super::super::listed::{GetObjects, Listed};
use super::super::{Environment, ages};

/// Flags of `backup-location get`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct GetBackupLocation {
    #[command(flatten)]
    get: GetObjects<BackupStorageLocation>,
    /// Show the default one only
    #[arg(long)]
    default: bool,
}

impl GetBackupLocation {
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let default_only = self.default;
        let rule = |mut locations: Vec<BackupStorageLocation>| {
            if default_only {
                locations.retain(|location| location.spec.default);
                locations.truncate(1);
            }
            locations
        };
        self.get.print(environment, rule).await
    }
}

impl Listed for BackupStorageLocation {
    const NOUN: &'static str = "backup storage location";
    const HEADINGS: &'static [&'static str] = &[
        "name",
        "provider",
        "bucket/prefix",
        "phase",
        "last validated",
        "access mode",
        "default",
    ];

    fn cells(&self, _now: Timestamp) -> Vec<String> {
        let (spec, status) = (&self.spec, &self.status);
        let storage = &spec.object_storage;
        let folder = match storage.prefix.as_str() {
            "" => storage.bucket.clone(),
            prefix => format!("{}/{prefix}", storage.bucket),
        };
        let phase = status.phase.as_ref().map(ToString::to_string);
        let mode = spec.access_mode.as_ref().map(ToString::to_string);
        vec![
            self.metadata.name.clone().unwrap_or_default(),
            spec.provider.clone(),
            folder,
            phase.unwrap_or_else(|| "Unknown".to_owned()),
            ages::local(status.last_validation_time.as_ref(), "Unknown"),
            mode.unwrap_or_else(|| "ReadWrite".to_owned()),
            if spec.default { "true" } else { "" }.to_owned(),
        ]
    }
}
