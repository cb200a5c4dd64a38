//! What a restore goes by beside its spec: ConfigMaps of Velero's namespace.

use velero_cluster::Cluster;
use velero_core::api::Restore;
use velero_core::modifier::{CONFIG_MAP_KIND, ResourceModifiers};
use velero_core::names::{DEFAULT_NAMESPACE, labels};
use velero_core::result::chain;
use velero_core::{GroupResource, Selector};
use velero_restore::actions::ActionConfig;
use velero_restore::{RestoreRequest, VersionPriorities, modifier_config_map};

use super::RunError;
use super::config_maps::Named;

/// What a restore goes by beside its spec. The default is nothing.
#[derive(Debug, Clone, Default)]
pub struct RestoreInputs {
    /// The rules that change objects; must be there when the spec names a ConfigMap with some.
    pub modifiers: Option<ResourceModifiers>,
    /// What built-in actions change.
    pub actions: ActionConfig,
    /// In which versions objects are wanted. Where versions may be chosen and this is absent, the run reads the ConfigMap
    /// in the restore's namespace.
    pub versions: Option<VersionPriorities>,
}

impl RestoreInputs {
    /// Reads the resource modifiers that a restore names, and the configuration of built-in actions, from its namespace.
    ///
    /// # Errors
    /// [`RunError::Validation`] with all that is wrong with them; [`RunError::Cluster`] when the API server does not answer.
    pub async fn read(cluster: &Cluster, restore: &Restore) -> Result<Self, RunError> {
        let mut faults = Vec::new();
        let modifiers = match read_modifiers(cluster, restore).await {
            Err(RunError::Validation(more)) => {
                faults.extend(more);
                None
            }
            other => other?,
        };
        let actions = match read_action_config(cluster, namespace_of(restore)).await {
            Err(RunError::Validation(more)) => {
                faults.extend(more);
                ActionConfig::default()
            }
            Err(RunError::Cluster(error)) if !error.is_retryable() => {
                faults.push(unreadable(restore, &error));
                ActionConfig::default()
            }
            other => other?,
        };
        match faults.is_empty() {
            true => Ok(Self {
                modifiers,
                actions,
                versions: None,
            }),
            false => Err(RunError::Validation(faults)),
        }
    }

    /// Gives all of it to a request.
    pub fn apply(self, mut request: RestoreRequest) -> RestoreRequest {
        if let Some(modifiers) = self.modifiers {
            request = request.modifiers(modifiers);
        }
        if let Some(versions) = self.versions {
            request = request.version_priorities(versions);
        }
        request.configure_actions(self.actions)
    }
}

fn unreadable(restore: &Restore, error: &velero_cluster::Error) -> String {
    format!(
        "the ConfigMaps of actions in namespace {:?} cannot be listed: {}",
        namespace_of(restore),
        chain(error)
    )
}

/// Where the ConfigMaps of a restore are.
pub(super) fn namespace_of(restore: &Restore) -> &str {
    let namespace = restore.metadata.namespace.as_deref();
    // An empty one would stand for all.
    namespace
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or(DEFAULT_NAMESPACE)
}

/// Reads the resource modifiers that a restore names, from the ConfigMap in its namespace; `None` when it names none.
///
/// # Errors
/// [`RunError::Validation`] when there is no such ConfigMap, it may not be read, or its content is at fault;
/// [`RunError::Cluster`] when the API server does not answer.
pub async fn read_modifiers(
    cluster: &Cluster,
    restore: &Restore,
) -> Result<Option<ResourceModifiers>, RunError> {
    // A reference to anything else, or to nothing, is a fault of the spec.
    let named = restore.spec.resource_modifier.as_ref();
    let is_map = named.is_some_and(|named| named.kind.eq_ignore_ascii_case(CONFIG_MAP_KIND));
    let name = modifier_config_map(restore).filter(|name| is_map && !name.is_empty());
    let Some(name) = name else {
        return Ok(None);
    };
    let namespace = namespace_of(restore);
    let named = Named {
        what: "resource modifier",
        by: "restore",
        namespace,
        name,
    };
    let data = named.data(cluster).await?;
    ResourceModifiers::from_config_map(namespace, name, &data)
        .map(Some)
        .map_err(RunError::Validation)
}

/// Reads the configuration of built-in actions from the ConfigMaps of a namespace, in one list.
///
/// # Errors
/// [`RunError::Validation`] when several are meant for one action; [`RunError::Cluster`] when they cannot be listed.
pub async fn read_action_config(
    cluster: &Cluster,
    namespace: &str,
) -> Result<ActionConfig, RunError> {
    let catalog = cluster.catalog();
    let Some(resource) = catalog.get(&GroupResource::core("configmaps")) else {
        return Ok(ActionConfig::default());
    };
    let fault = |error: &(dyn std::error::Error + 'static)| {
        RunError::Validation(vec![format!(
            "configuration of actions in namespace {namespace:?}: {}",
            chain(error)
        )])
    };
    let labelled: Selector = labels::PLUGIN_CONFIG
        .parse()
        .map_err(|error: velero_core::Error| fault(&error))?;
    let maps = cluster
        .list_trees(resource, Some(namespace), &labelled)
        .await
        .map_err(RunError::Cluster)?;
    ActionConfig::from_config_maps(&maps).map_err(|error| fault(&error))
}

/// Reads in which versions objects are wanted, from the ConfigMap of a restore's namespace; nothing without it.
///
/// # Errors
/// [`RunError::Versions`] when the API server cannot be asked for it.
pub async fn read_versions(
    cluster: &Cluster,
    restore: &Restore,
) -> Result<VersionPriorities, RunError> {
    VersionPriorities::read(&cluster.reader(), namespace_of(restore))
        .await
        .map_err(RunError::Versions)
}
