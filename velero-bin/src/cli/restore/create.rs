//! `velero restore create`.

use anyhow::{Result, bail};
use jiff::Zoned;
use velero_core::api::{Backup, Restore, RestorePhase};
use velero_core::names::labels;

use super::super::exit::Exit;
use super::super::filters::{MetadataArgs, RestoreFilterArgs};
use super::super::objects::Objects;
use super::super::output::{self, Format};
use super::super::select::CreateOutputArgs;
use super::super::{Environment, console, names, wait};
use super::source::{SourceArgs, newest};

/// Flags of `restore create`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct CreateRestore {
    /// Name of the restore; without it the name of the backup or schedule and the time
    name: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    filters: RestoreFilterArgs,
    #[command(flatten)]
    metadata: MetadataArgs,
    /// Wait until the restore has ended
    #[arg(short, long)]
    wait: bool,
    #[command(flatten)]
    output: CreateOutputArgs,
}

impl CreateRestore {
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let mut restore = self.restore(&environment.namespace())?;
        let name = restore.metadata.name.clone().unwrap_or_default();
        let client = environment.client().await?;
        let backups: Objects<Backup> = Objects::new(client.clone(), &environment.namespace());
        self.find_source(&backups, &mut restore).await?;
        if let Some(format) = self.output.output {
            return self.print(&restore, format);
        }
        let restores = Objects::new(client, &environment.namespace());
        restores.create(&restore).await?;
        console::line(format_args!(
            "Restore request {name:?} submitted successfully."
        ));
        if !self.wait {
            console::line(format_args!(
                "Run `velero restore describe {name}` or `velero restore logs {name}` for more details."
            ));
            return Ok(Exit::Success);
        }
        console::line(
            "Waiting for restore to complete. You may safely press ctrl-c to stop waiting - your restore will continue in the background.",
        );
        let ended = wait::until(&restores, &name, |restore: &Restore| {
            restore.phase().is_terminal()
        })
        .await?;
        if *ended.phase() == RestorePhase::FailedValidation {
            bail!(
                "restore {name:?} was refused: {}",
                ended.status.validation_errors.join("; ")
            );
        }
        console::line(format_args!(
            "Restore completed with status: {}. You may check for more information using the commands `velero restore describe {name}` and `velero restore logs {name}`.",
            ended.phase()
        ));
        Ok(ended.phase().into())
    }

    fn restore(&self, namespace: &str) -> Result<Restore> {
        self.source.check()?;
        self.filters.data.refuse_mirror()?;
        let mut spec = self.filters.spec()?;
        let source = self.source.name();
        let name = self
            .name
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| names::restore_name(source, &Zoned::now()));
        names::check("restore", &name)?;
        self.source.apply(&mut spec);
        spec.uploader_config.get_or_insert_default();
        let mut restore = Restore::new(namespace, name, spec);
        self.metadata.apply(&mut restore.metadata);
        self.filters.data.annotate(&mut restore.metadata);
        Ok(restore)
    }

    /// Checks that there is something to restore; with `--allow-partially-failed` chooses the backup of the schedule.
    async fn find_source(&self, backups: &Objects<Backup>, restore: &mut Restore) -> Result<()> {
        let SourceArgs {
            from_backup,
            from_schedule: schedule,
            ..
        } = &self.source;
        if !from_backup.is_empty() {
            return backups.get(from_backup).await.map(drop);
        }
        let found = backups
            .list(&format!("{}={schedule}", labels::SCHEDULE_NAME))
            .await?;
        if found.is_empty() {
            bail!("no backups found for the schedule {schedule:?}");
        }
        if self.source.takes_partial()
            && let Some(newest) = newest(&found, true)
        {
            restore.spec.backup_name = newest;
            restore.spec.schedule_name.clear();
        }
        Ok(())
    }

    fn print(&self, restore: &Restore, format: Format) -> Result<Exit> {
        if format == Format::Table {
            output::print_table(&self.output.columns.table(
                super::HEADINGS,
                std::slice::from_ref(restore),
                super::restore_row,
            ));
        } else {
            console::out(output::encode(&serde_json::to_value(restore)?, format)?);
        }
        Ok(Exit::Success)
    }
}
