//! `velero backup create`.

use anyhow::{Result, bail};
use velero_core::GoDuration;
use velero_core::api::{Backup, BackupPhase, BackupStorageLocation};

use super::super::exit::Exit;
use super::super::filters::{BackupFilterArgs, MetadataArgs};
use super::super::objects::Objects;
use super::super::output::{self, Format};
use super::super::select::CreateOutputArgs;
use super::super::{Environment, console, data_flags, names, wait};

/// Flags of `backup create`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct CreateBackup {
    /// Name of the backup
    name: Option<String>,
    #[command(flatten)]
    filters: BackupFilterArgs,
    #[command(flatten)]
    metadata: MetadataArgs,
    /// Backup storage location to write to; without it the default one
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    storage_location: String,
    #[arg(long, hide = true)]
    from_schedule: Option<String>,
    /// How long asynchronous operations of one item may take
    #[arg(long, value_name = "DURATION")]
    item_operation_timeout: Option<GoDuration>,
    /// Wait until the backup has ended
    #[arg(short, long)]
    wait: bool,
    #[command(flatten)]
    output: CreateOutputArgs,
}

impl CreateBackup {
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let backup = self.backup(&environment.namespace())?;
        let name = backup.metadata.name.clone().unwrap_or_default();
        let client = environment.client().await?;
        if !self.storage_location.is_empty() {
            let locations: Objects<BackupStorageLocation> =
                Objects::new(client.clone(), &environment.namespace());
            locations.get(&self.storage_location).await?;
        }
        if let Some(format) = self.output.output {
            return self.print(&backup, format);
        }
        let backups = Objects::new(client, &environment.namespace());
        backups.create(&backup).await?;
        console::line(format_args!(
            "Backup request {name:?} submitted successfully."
        ));
        if !self.wait {
            console::line(format_args!(
                "Run `velero backup describe {name}` or `velero backup logs {name}` for more details."
            ));
            return Ok(Exit::Success);
        }
        console::line(
            "Waiting for backup to complete. You may safely press ctrl-c to stop waiting - your backup will continue in the background.",
        );
        let ended = wait::until(&backups, &name, |backup: &Backup| {
            backup.phase().is_terminal()
        })
        .await?;
        if *ended.phase() == BackupPhase::FailedValidation {
            bail!(
                "backup {name:?} was refused: {}",
                ended.status.validation_errors.join("; ")
            );
        }
        console::line(format_args!(
            "Backup completed with status: {}. You may check for more information using the commands `velero backup describe {name}` and `velero backup logs {name}`.",
            ended.phase()
        ));
        Ok(ended.phase().into())
    }

    fn backup(&self, namespace: &str) -> Result<Backup> {
        data_flags::refuse(&[("--from-schedule", data_flags::is_given(&self.from_schedule))])?;
        let mut spec = self.filters.spec()?;
        let Some(name) = self.name.as_deref().filter(|name| !name.is_empty()) else {
            bail!("a backup name is required");
        };
        names::check("backup", name)?;
        spec.storage_location = self.storage_location.clone();
        spec.item_operation_timeout = self.item_operation_timeout.unwrap_or_default();
        let mut backup = Backup::new(namespace, name, spec);
        self.metadata.apply(&mut backup.metadata);
        Ok(backup)
    }

    fn print(&self, backup: &Backup, format: Format) -> Result<Exit> {
        if format == Format::Table {
            let now = jiff::Timestamp::now();
            let table =
                self.output
                    .columns
                    .table(super::HEADINGS, std::slice::from_ref(backup), |b| {
                        super::backup_row(b, now)
                    });
            output::print_table(&table);
        } else {
            console::out(output::encode(&serde_json::to_value(backup)?, format)?);
        }
        Ok(Exit::Success)
    }
}
