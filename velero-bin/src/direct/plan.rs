//! `velero direct plan`.

use anyhow::Result;
use velero_core::api::Restore;

use super::engine_args::RestoreEngineArgs;
use super::inputs::RestoreInputArgs;
use super::look::{Look, look};
use super::restore::free_name;
use super::store::StoreArgs;
use crate::cli::filters::{MetadataArgs, RestoreFilterArgs};
use crate::cli::output::Format;
use crate::cli::{self, Environment, Exit, names};
use crate::runs::prepare_direct_restore;

/// Flags of `direct plan`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DirectPlan {
    /// Name of the backup
    name: String,
    #[command(flatten)]
    store: StoreArgs,
    /// Name that the restore would have; without it the name of the backup and the time
    #[arg(long, value_name = "NAME")]
    restore_name: Option<String>,
    #[command(flatten)]
    engine: RestoreEngineArgs,
    #[command(flatten)]
    inputs: RestoreInputArgs,
    #[command(flatten)]
    filters: RestoreFilterArgs,
    #[command(flatten)]
    metadata: MetadataArgs,
    /// Form of the output; json has one line for each item, and is what direct restore --plan-file reads
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl DirectPlan {
    /// Exits as the restore would, by what is known now: with 2 where an item would be an error.
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        names::check("backup", &self.name)?;
        if let Some(name) = &self.restore_name {
            names::check("restore", name)?;
        }
        let mut spec = self.filters.spec()?;
        spec.backup_name = self.name.clone();
        let store = self.store.open_for_reading().await?;
        let cluster = cli::cluster(&environment.global).await?;
        let name = self.restore_name.as_deref().unwrap_or_default();
        let mut restore = Restore::new(environment.namespace(), name, spec);
        self.metadata.apply(&mut restore.metadata);
        self.filters.data.annotate(&mut restore.metadata);
        if self.restore_name.is_none() {
            restore.metadata.name = Some(free_name(&store, &restore).await?);
        }
        prepare_direct_restore(&mut restore, jiff::Timestamp::now());
        let inputs = self.inputs.read(&cluster, &restore).await?;
        let options = self.engine.options(environment)?;

        look(Look {
            cluster,
            store,
            restore,
            inputs,
            options,
            priorities: self.inputs.priorities(),
            output: self.output,
        })
        .await
    }
}
