//! `velero restore get`.

use anyhow::Result;
use velero_core::api::Restore;

use super::super::exit::Exit;
use super::super::objects::Objects;
use super::super::output::{self, Format};
use super::super::select::{ListArgs, OutputArgs};
use super::super::{Environment, ages};

/// Columns of the table.
pub(super) const HEADINGS: &[&str] = &[
    "name",
    "backup",
    "status",
    "started",
    "completed",
    "errors",
    "warnings",
    "created",
    "selector",
];

/// Flags of `restore get`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct GetRestore {
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl GetRestore {
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let objects = Objects::new(environment.client().await?, &environment.namespace());
        let restores: Vec<Restore> = self.list.fetch(&objects).await?;
        if self.output.output == Format::Table {
            output::print_table(&self.output.columns.table(HEADINGS, &restores, restore_row));
        } else {
            let values = restores
                .iter()
                .map(serde_json::to_value)
                .collect::<Result<Vec<_>, _>>()?;
            output::print_objects("Restore", &values, self.output.output)?;
        }
        Ok(Exit::Success)
    }
}

/// The cells of one restore.
pub(super) fn restore_row(restore: &Restore) -> Vec<String> {
    let status = &restore.status;
    let deleting = if restore.metadata.deletion_timestamp.is_some() {
        " (Deleting)"
    } else {
        ""
    };
    let selector = restore
        .spec
        .label_selector
        .as_ref()
        .and_then(|selector| velero_core::Selector::try_from(selector).ok());
    vec![
        restore.metadata.name.clone().unwrap_or_default(),
        restore.spec.backup_name.clone(),
        format!("{}{deleting}", restore.phase()),
        ages::local(status.start_timestamp.as_ref(), "<nil>"),
        ages::local(status.completion_timestamp.as_ref(), "<nil>"),
        status.errors.to_string(),
        status.warnings.to_string(),
        ages::local(restore.metadata.creation_timestamp.as_ref(), "<nil>"),
        selector
            .filter(|selector| !selector.is_empty())
            .map_or_else(|| "<none>".to_owned(), |selector| selector.to_string()),
    ]
}
