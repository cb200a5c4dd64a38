//! `velero restore plan`.

use anyhow::{Context as _, Result, bail};
use jiff::Zoned;
use kube::Client;
use tempfile::TempDir;
use velero_core::api::{Backup, Restore};
use velero_core::names::labels;
use velero_restore::{Priorities, RestoreOptions};

use super::super::download::{Downloader, TimeoutArgs, TlsArgs};
use super::super::exit::Exit;
use super::super::filters::{MetadataArgs, RestoreFilterArgs};
use super::super::objects::Objects;
use super::super::output::Format;
use super::super::{Environment, cluster, names};
use super::fetched::fetch_backup;
use super::source::{SourceArgs, newest};
use crate::direct::{Look, look};
use crate::runs::{RestoreInputs, prepare_direct_restore};

/// Flags of `restore plan`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct PlanRestore {
    /// Name of a restore in the cluster, whose spec is taken; with --from-backup or --from-schedule the name that the
    /// restore would have
    name: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    filters: RestoreFilterArgs,
    #[command(flatten)]
    metadata: MetadataArgs,
    /// Kinds that the server restores first, in this order, separated by commas, if it has flags of its own; what follows
    /// a "-" is restored last
    #[arg(long, value_name = "RESOURCES")]
    restore_resource_priorities: Option<String>,
    #[command(flatten)]
    timeout: TimeoutArgs,
    #[command(flatten)]
    tls: TlsArgs,
    /// Form of the output; json has one line for each item, and is what direct restore --plan-file reads
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl PlanRestore {
    /// Exits as the restore would, by what is known now: with 2 where an item would be an error.
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let priorities = self.priorities()?;
        let client = environment.client().await?;
        let mut restore = self.restore(environment, &client).await?;
        let backups: Objects<Backup> = Objects::new(client.clone(), &environment.namespace());
        choose_backup(&mut restore, &backups, self.source.takes_partial()).await?;
        let backup = backups.get(&restore.spec.backup_name).await?;
        let downloads = Downloader::new(
            environment,
            client.clone(),
            &self.tls,
            &backup.spec.storage_location,
        )
        .await?;
        let folder = TempDir::new().context("cannot make a temporary folder for the archive")?;
        let timeout = self.timeout.timeout.to_std();
        let store = fetch_backup(&downloads, client, &backup, folder.path(), timeout).await?;
        prepare_direct_restore(&mut restore, jiff::Timestamp::now());
        let cluster = cluster(&environment.global).await?;
        let inputs = RestoreInputs::read(&cluster, &restore).await?;
        let all_versions = environment.features().all_api_versions();
        look(Look {
            cluster,
            store,
            restore,
            inputs,
            options: RestoreOptions::default().api_group_versions(all_versions),
            priorities,
            output: self.output,
        })
        .await
    }

    fn priorities(&self) -> Result<Priorities> {
        let text = self.restore_resource_priorities.as_deref();
        Ok(text.map(str::parse).transpose()?.unwrap_or_default())
    }

    /// The restore that is meant: one of the cluster, or that of the flags.
    async fn restore(&self, environment: &Environment, client: &Client) -> Result<Restore> {
        let namespace = environment.namespace();
        let mut spec = self.filters.spec()?;
        if let Some(name) = self.name.as_ref().filter(|_| self.source.is_empty()) {
            let mut asked = Restore::new(&namespace, name, spec);
            self.metadata.apply(&mut asked.metadata);
            self.filters.data.annotate(&mut asked.metadata);
            let plain = Restore::new(&namespace, name, RestoreFilterArgs::default().spec()?);
            if asked != plain {
                bail!(
                    "the spec of restore {name:?} is taken as it is; filters and the like go with --from-backup or --from-schedule"
                );
            }
            let mut restore: Restore = Objects::new(client.clone(), &namespace).get(name).await?;
            restore.status = Default::default();
            return Ok(restore);
        }
        self.source.check()?;
        let made = || names::restore_name(self.source.name(), &Zoned::now());
        let name = self
            .name
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(made);
        names::check("restore", &name)?;
        self.source.apply(&mut spec);
        let mut restore = Restore::new(namespace, name, spec);
        self.metadata.apply(&mut restore.metadata);
        self.filters.data.annotate(&mut restore.metadata);
        Ok(restore)
    }
}

/// Chooses the backup of a schedule, as the operator would.
async fn choose_backup(
    restore: &mut Restore,
    backups: &Objects<Backup>,
    takes_partial: bool,
) -> Result<()> {
    let spec = &mut restore.spec;
    if !spec.backup_name.is_empty() {
        return Ok(());
    }
    let schedule = &spec.schedule_name;
    let found = backups
        .list(&format!("{}={schedule}", labels::SCHEDULE_NAME))
        .await?;
    match newest(&found, takes_partial) {
        Some(name) => spec.backup_name = name,
        None => bail!("no completed backups found for the schedule {schedule:?}"),
    }
    Ok(())
}
