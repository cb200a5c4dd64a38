//! Which objects a command is about.

use anyhow::{Result, bail};
use velero_core::Selector;
use velero_core::api::VeleroKind;

use super::objects::Objects;
use super::output::Format;
use super::table::Table;
use super::values::{Names, strict_selector};

/// Names, or a selector of the full grammar; names win.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ListArgs {
    /// Names; all objects without them
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Show objects with these labels only
    #[arg(
        short = 'l',
        long,
        value_name = "SELECTOR",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) selector: String,
}

impl ListArgs {
    /// Reads the objects. The first name that does not exist is an error.
    pub(crate) async fn fetch<K: VeleroKind>(&self, objects: &Objects<K>) -> Result<Vec<K>> {
        if self.names.is_empty() {
            return objects.list(&self.selector).await;
        }
        let mut found = Vec::new();
        for name in &self.names {
            found.push(objects.get(name).await?);
        }
        Ok(found)
    }
}

/// Names, all, or a selector: exactly one of them.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct SelectArgs {
    /// Names
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Take every object
    #[arg(long)]
    pub(crate) all: bool,
    /// Take objects with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = strict_selector)]
    pub(crate) selector: Option<Selector>,
}

/// What [`SelectArgs::fetch`] found.
#[derive(Debug)]
pub(crate) struct Selected<K> {
    pub(crate) objects: Vec<K>,
    /// One message for each name that could not be read.
    pub(crate) missing: Vec<String>,
}

impl SelectArgs {
    /// Checks that names, `--all` and `--selector` are not mixed and not all absent, and that the selector says something.
    ///
    /// # Errors
    /// When they are.
    pub(crate) fn check(&self) -> Result<()> {
        let given = [!self.names.is_empty(), self.all, self.selector.is_some()];
        if given.iter().filter(|given| **given).count() != 1 {
            bail!("exactly one of names, --all and --selector is needed");
        }
        if self.selector.as_ref().is_some_and(Selector::is_empty) {
            bail!("--selector \"\" would take everything; --all says that");
        }
        Ok(())
    }

    /// Reads the objects and the names that are missing.
    pub(crate) async fn fetch<K: VeleroKind>(&self, objects: &Objects<K>) -> Result<Selected<K>> {
        let mut selected = Selected {
            objects: Vec::new(),
            missing: Vec::new(),
        };
        if self.names.is_empty() {
            let selector = self
                .selector
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            selected.objects = objects.list(&selector).await?;
            return Ok(selected);
        }
        for name in &self.names {
            match objects.get(name).await {
                Ok(object) => selected.objects.push(object),
                Err(error) => selected.missing.push(error.to_string()),
            }
        }
        Ok(selected)
    }
}

/// How `get` prints.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OutputArgs {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) columns: ColumnArgs,
}

/// How `create` prints; without `--output` it creates.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct CreateOutputArgs {
    /// Print the object in this form and send nothing
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Format>,
    #[command(flatten)]
    pub(crate) columns: ColumnArgs,
}

/// Columns of labels.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ColumnArgs {
    /// Labels to show in columns of their own, separated by commas
    #[arg(short = 'L', long, value_name = "LABELS")]
    pub(crate) label_columns: Option<Names>,
    /// Show all labels in the last column
    #[arg(long)]
    pub(crate) show_labels: bool,
}

impl ColumnArgs {
    /// A table of the kind's own columns and those of the labels.
    pub(crate) fn table<K: VeleroKind>(
        &self,
        headings: &[&str],
        objects: &[K],
        cells: impl Fn(&K) -> Vec<String>,
    ) -> Table {
        let columns = self.label_columns.clone().unwrap_or_default().0;
        let mut all: Vec<String> = headings
            .iter()
            .map(|heading| (*heading).to_owned())
            .collect();
        all.extend(
            columns
                .iter()
                .map(|label| label.rsplit('/').next().unwrap_or_default().to_owned()),
        );
        if self.show_labels {
            all.push("labels".to_owned());
        }
        let mut table = Table::new(all);
        for object in objects {
            let labels = object.meta().labels.clone().unwrap_or_default();
            let mut row = cells(object);
            row.extend(
                columns
                    .iter()
                    .map(|label| labels.get(label).cloned().unwrap_or_default()),
            );
            if self.show_labels {
                row.push(label_text(&labels));
            }
            table.row(row);
        }
        table
    }
}

fn label_text(labels: &std::collections::BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return "<none>".to_owned();
    }
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}
