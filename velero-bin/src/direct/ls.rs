//! `velero direct ls`.

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use velero_core::api::{Backup, BackupPhase};
use velero_core::result::ResourceList;
use velero_persistence::{BackupFile, BackupStore};

use super::store::StoreArgs;
use crate::cli::output::{self, Format};
use crate::cli::table::Table;
use crate::cli::{Exit, ages, console, names};
use crate::report;
use crate::runs::volumes_without_data;

/// Flags of `direct ls`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DirectLs {
    /// Backup whose objects are listed; without it the backups are
    name: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl DirectLs {
    pub(super) async fn run(self) -> Result<Exit> {
        if let Some(name) = &self.name {
            names::check("backup", name)?;
        }
        let store = self.store.open_for_reading().await?;
        match &self.name {
            Some(name) => self.objects(&store, name).await?,
            None => self.backups(&store).await?,
        }
        Ok(Exit::Success)
    }

    async fn backups(&self, store: &BackupStore) -> Result<()> {
        let mut found = Vec::new();
        for name in store.list_backups().await? {
            if !store.backup_exists(&name).await? {
                continue;
            }
            let bytes = store.get_metadata(&name).await?;
            match serde_json::from_slice::<Value>(&bytes) {
                Ok(value) => found.push((name, value)),
                Err(error) => console::note(format_args!(
                    "warning: the metadata of backup {name:?} is damaged: {error}"
                )),
            }
        }
        if self.output != Format::Table {
            let values: Vec<Value> = found.into_iter().map(|(_, value)| value).collect();
            return output::print_objects("Backup", &values, self.output);
        }
        let mut table = Table::new([
            "name", "status", "errors", "warnings", "created", "expires", "items",
        ]);
        let now = jiff::Timestamp::now();
        for (name, value) in found {
            let backup: Backup = serde_json::from_value(value)
                .with_context(|| format!("the metadata of backup {name:?} is damaged"))?;
            let status = &backup.status;
            table.row(vec![
                name,
                backup.phase().to_string(),
                status.errors.to_string(),
                status.warnings.to_string(),
                ages::local(status.start_timestamp.as_ref(), "<nil>"),
                ages::relative(status.expiration.as_ref().map(|time| time.0), now),
                status
                    .progress
                    .as_ref()
                    .map_or_else(String::new, |progress| progress.items_backed_up.to_string()),
            ]);
        }
        output::print_table(&table);
        Ok(())
    }

    async fn objects(&self, store: &BackupStore, name: &str) -> Result<()> {
        if !store.backup_exists(name).await? {
            bail!(
                "there is no backup {name:?} in {}",
                store.store().describe()
            );
        }
        let list: Option<ResourceList> = store.get_json(&BackupFile::ResourceList.of(name)).await?;
        let Some(list) = list else {
            return Err(no_objects(store, name).await);
        };
        match volumes_without_data(store, name, &list).await {
            Ok(found) => report::without_data(&found)
                .into_iter()
                .for_each(console::note),
            Err(error) => console::note(format_args!("warning: {}", error.chain())),
        }
        if self.output != Format::Table {
            console::out(output::encode(&json!(list), self.output)?);
            return Ok(());
        }
        let mut table = Table::new(["kind", "namespace", "name"]);
        for kind in list.kinds() {
            let mut entries = list.entries(kind);
            entries.sort_unstable();
            for entry in entries {
                let (namespace, object) = entry.split_once('/').unwrap_or(("", entry));
                table.row(vec![
                    kind.to_owned(),
                    namespace.to_owned(),
                    object.to_owned(),
                ]);
            }
        }
        output::print_table(&table);
        Ok(())
    }
}

/// Why a backup has no list of its objects.
async fn no_objects(store: &BackupStore, name: &str) -> anyhow::Error {
    let metadata = store.get_metadata(name).await.ok();
    let backup = metadata.and_then(|bytes| serde_json::from_slice::<Backup>(&bytes).ok());
    match backup.filter(|backup| *backup.phase() == BackupPhase::Failed) {
        Some(backup) => anyhow!(
            "backup {name:?} has failed and holds no objects: {}; `velero direct logs {name}` shows its log",
            backup.status.failure_reason
        ),
        None => anyhow!("backup {name:?} has no list of its objects"),
    }
}
