//! `velero plugin get`.

use anyhow::Result;
use velero_core::GoDuration;
use velero_core::api::PluginInfo;

use super::exit::Exit;
use super::table::Table;
use super::{Environment, output, status, values};

/// How plugins are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PluginFormat {
    /// Columns.
    Table,
}

/// Flags of `plugin get`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct GetPlugin {
    /// How long to wait for the server's answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = values::timeout)]
    timeout: GoDuration,
    /// Form of the output; there is one
    #[arg(short, long, value_enum, default_value = "table")]
    output: PluginFormat,
}

impl GetPlugin {
    /// Asks the server for its plugins and built-in actions.
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        let PluginFormat::Table = self.output;
        let status = status::ask(environment, self.timeout.to_std()).await?;
        output::print_table(&table(status.plugins));
        Ok(Exit::Success)
    }
}

fn table(mut plugins: Vec<PluginInfo>) -> Table {
    plugins.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
    let mut table = Table::new(["name", "kind"]);
    for plugin in plugins {
        table.row(vec![plugin.name, plugin.kind]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_sorted_by_kind_and_name() {
        let plugin = |name: &str, kind: &str| PluginInfo {
            name: name.to_owned(),
            kind: kind.to_owned(),
        };
        let table = table(vec![
            plugin("velero.io/pod", "RestoreItemAction"),
            plugin("velero.io/pv", "BackupItemAction"),
            plugin("velero.io/crd", "BackupItemAction"),
        ]);
        assert_eq!(
            table.render(),
            "NAME            KIND\n\
             velero.io/crd   BackupItemAction\n\
             velero.io/pv    BackupItemAction\n\
             velero.io/pod   RestoreItemAction\n"
        );
    }
}
