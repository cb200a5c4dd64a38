//! What a restore of direct mode goes by beside its spec: files, or ConfigMaps of Velero's namespace.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use velero_cluster::{Cluster, ErrorKind};
use velero_core::ItemTree;
use velero_core::api::Restore;
use velero_core::modifier::ResourceModifiers;
use velero_restore::Priorities;
use velero_restore::actions::ActionConfig;

use crate::cli::console;
use crate::runs::{RestoreInputs, RunError, read_action_config, read_modifiers};

/// Flags about what a restore goes by beside its spec.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct RestoreInputArgs {
    /// File that holds resource modifiers; instead of a ConfigMap in the cluster
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "resource_modifier_configmap"
    )]
    resource_modifier_file: Option<PathBuf>,
    /// File with the ConfigMaps that say what built-in actions change; instead of those in Velero's namespace
    #[arg(long, value_name = "FILE")]
    action_config_file: Option<PathBuf>,
    /// Kinds to restore first, in this order, separated by commas; what follows a "-" is restored last
    #[arg(long, value_name = "RESOURCES", value_parser = priorities)]
    restore_resource_priorities: Option<Priorities>,
}

fn priorities(text: &str) -> Result<Priorities, String> {
    text.parse()
        .map_err(|error: velero_restore::Error| error.to_string())
}

impl RestoreInputArgs {
    /// The order of kinds.
    pub(super) fn priorities(&self) -> Priorities {
        self.restore_resource_priorities.clone().unwrap_or_default()
    }

    /// Reads files and ConfigMaps.
    ///
    /// # Errors
    /// When one of them is missing, cannot be read, or is at fault.
    pub(super) async fn read(&self, cluster: &Cluster, restore: &Restore) -> Result<RestoreInputs> {
        let modifiers = match &self.resource_modifier_file {
            Some(file) => Some(modifiers_of(file)?),
            None => read_modifiers(cluster, restore).await?,
        };
        let actions = match &self.action_config_file {
            Some(file) => actions_of(file)?,
            None => actions_in(cluster, restore).await?,
        };
        Ok(RestoreInputs {
            modifiers,
            actions,
            versions: None,
        })
    }
}

fn modifiers_of(file: &Path) -> Result<ResourceModifiers> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read resource modifier file {}", file.display()))?;
    match ResourceModifiers::parse(&text) {
        Ok(modifiers) => Ok(modifiers),
        Err(faults) => bail!(
            "resource modifier file {}: {}",
            file.display(),
            faults.join("; ")
        ),
    }
}

/// The configuration in Velero's namespace. Whoever may not look into it goes without, and is told.
async fn actions_in(cluster: &Cluster, restore: &Restore) -> Result<ActionConfig> {
    let namespace = restore.metadata.namespace.as_deref().unwrap_or_default();
    match read_action_config(cluster, namespace).await {
        Err(RunError::Cluster(error)) if error.kind() == ErrorKind::Forbidden => {
            console::note(format_args!(
                "ConfigMaps of namespace {namespace:?} may not be listed; none changes what built-in actions do \
                 (--action-config-file reads them from a file)"
            ));
            Ok(ActionConfig::default())
        }
        other => Ok(other?),
    }
}

fn actions_of(file: &Path) -> Result<ActionConfig> {
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read action config file {shown}"))?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| {
        let text = error.without_snippet().to_string();
        let line: Vec<&str> = text.split_whitespace().collect();
        anyhow::anyhow!(
            "action config file {shown}: it is no yaml: {}",
            line.join(" ")
        )
    })?;
    let mut maps = Vec::new();
    for document in documents.into_iter().flat_map(unlisted) {
        let name = document.pointer("/metadata/name").cloned();
        let name = name
            .as_ref()
            .and_then(Value::as_str)
            .unwrap_or("without a name");
        if document.get("kind").and_then(Value::as_str) != Some("ConfigMap") {
            bail!("action config file {shown}: the object {name:?} is no ConfigMap");
        }
        let map = ItemTree::new(document.clone())?;
        let alone = ActionConfig::from_config_maps(std::slice::from_ref(&map))?;
        if alone == ActionConfig::default() {
            bail!(
                "action config file {shown}: ConfigMap {name:?} changes nothing; it must have the labels velero.io/plugin-config \
                 and velero.io/change-storage-class or velero.io/change-image-name with the value RestoreItemAction, and data"
            );
        }
        maps.push(map);
    }
    ActionConfig::from_config_maps(&maps).with_context(|| format!("action config file {shown}"))
}

/// The objects of a list, as kubectl prints several, or the one object.
fn unlisted(mut document: Value) -> Vec<Value> {
    match document.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => vec![document],
    }
}
