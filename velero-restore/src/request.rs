//! What a restore is asked to do, checked once.

use std::sync::Arc;

use velero_core::api::{Restore, RestoreSpec};
use velero_core::artifact::VolumeInfo;
use velero_core::filter::IncludesExcludes;
use velero_core::hook::RestoreHookRules;
use velero_core::modifier::ResourceModifiers;
use velero_core::names::{DEFAULT_NAMESPACE, valid_label_name};
use velero_core::{Catalog, SelectorSet};

use crate::actions::{ActionConfig, InitRestoreHook};
use crate::filters::Filters;
use crate::validate::{label_faults, modifier_config_map, selectors_of, switch_of, validate};
use crate::volumes::{BackupVolumes, Known};
use crate::{BackedUp, Error, ExistingPolicy, Priorities, RELINK_OWNERS, VersionPriorities};

/// A [`Restore`] whose spec has been checked, and what else a run needs to know.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    restore: Arc<Restore>,
    selectors: SelectorSet,
    volumes: Arc<Known>,
    priorities: Priorities,
    action_config: ActionConfig,
    init_hooks: InitRestoreHook,
    exec_hooks: RestoreHookRules,
    wished_versions: VersionPriorities,
    modifiers: Option<Arc<ResourceModifiers>>,
    backed_up: Option<Arc<BackedUp>>,
    backup_label: String,
    restore_label: String,
}

impl RestoreRequest {
    /// Checks a restore.
    ///
    /// # Errors
    /// When the spec has faults: all of them are in [`Error::Invalid`].
    pub fn resolve(restore: Restore) -> Result<Self, Error> {
        let mut messages = validate(&restore);
        messages.extend(label_faults(&restore));
        let selectors = selectors_of(&restore.spec);
        let init_hooks = InitRestoreHook::compile(&restore.spec.hooks);
        let exec_hooks = RestoreHookRules::compile(&restore.spec.hooks);
        let (Ok(selectors), Ok(init_hooks), Ok(exec_hooks), true) =
            (selectors, init_hooks, exec_hooks, messages.is_empty())
        else {
            return Err(Error::Invalid { messages });
        };
        Ok(Self {
            selectors,
            volumes: Arc::default(),
            priorities: Priorities::default(),
            action_config: ActionConfig::default(),
            init_hooks,
            exec_hooks,
            wished_versions: VersionPriorities::default(),
            modifiers: None,
            backed_up: None,
            backup_label: valid_label_name(&restore.spec.backup_name),
            restore_label: valid_label_name(restore.metadata.name.as_deref().unwrap_or_default()),
            restore: Arc::new(restore),
        })
    }

    /// Says how the backup's volumes were backed up: the content of `<backup>-volumeinfo.json.gz`.
    #[must_use]
    pub fn volume_infos(self, infos: impl IntoIterator<Item = VolumeInfo>) -> Self {
        self.volumes(BackupVolumes {
            infos: infos.into_iter().collect(),
            ..BackupVolumes::default()
        })
    }

    /// Says what else the backup tells of its volumes. What is given twice counts once.
    #[must_use]
    pub fn volumes(mut self, volumes: BackupVolumes) -> Self {
        Arc::make_mut(&mut self.volumes).add(volumes);
        self
    }

    /// Sets the order of kinds.
    #[must_use]
    pub fn priorities(mut self, priorities: Priorities) -> Self {
        self.priorities = priorities;
        self
    }

    /// Gives the rules that change objects before they are created: those of the ConfigMap that
    /// [`modifier_config_map`] names, or any others.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use velero_core::api::Restore;
    /// use velero_core::modifier::ResourceModifiers;
    /// use velero_restore::RestoreRequest;
    ///
    /// let mut restore = Restore::default();
    /// restore.metadata.name = Some("demo".into());
    /// restore.spec.backup_name = "shop".into();
    /// let rules = ResourceModifiers::parse(
    ///     "version: v1
    /// resourceModifierRules:
    /// - conditions:
    ///     groupResource: persistentvolumeclaims
    ///   patches:
    ///   - operation: add
    ///     path: /spec/storageClassName
    ///     value: premium
    /// ",
    /// )
    /// .map_err(|faults| faults.join("; "))?;
    /// let request = RestoreRequest::resolve(restore)?.modifiers(rules);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Namespaces that are made for the objects in them stay as the backup has them. A rule that fails for an object is
    /// an error of the result; the object is restored without it.
    #[must_use]
    pub fn modifiers(mut self, rules: ResourceModifiers) -> Self {
        self.modifiers = Some(Arc::new(rules));
        self
    }

    /// Says what the backup has looked at, which the policy [`ExistingPolicy::Mirror`] goes by.
    #[must_use]
    pub fn backed_up(mut self, backed_up: BackedUp) -> Self {
        self.backed_up = Some(Arc::new(backed_up));
        self
    }

    /// Says what built-in actions are to change.
    #[must_use]
    pub fn configure_actions(mut self, config: ActionConfig) -> Self {
        self.action_config = config;
        self
    }

    /// Says in which versions objects are wanted, where [`RestoreOptions::api_group_versions`] lets versions be chosen.
    ///
    /// [`RestoreOptions::api_group_versions`]: crate::RestoreOptions::api_group_versions
    #[must_use]
    pub fn version_priorities(mut self, wishes: VersionPriorities) -> Self {
        self.wished_versions = wishes;
        self
    }

    /// The restore.
    pub fn restore(&self) -> &Arc<Restore> {
        &self.restore
    }

    /// The label selectors, for [`ArchiveIndex::read`](crate::ArchiveIndex::read).
    pub fn selectors(&self) -> &SelectorSet {
        &self.selectors
    }

    /// Where objects of a namespace of the archive go.
    pub fn target_namespace<'a>(&'a self, source: &'a str) -> &'a str {
        self.spec()
            .namespace_mapping
            .get(source)
            .map_or(source, String::as_str)
    }

    /// How a volume was backed up, by the name of its PersistentVolume.
    pub fn volume_info(&self, volume: &str) -> Option<&VolumeInfo> {
        self.volumes.info(volume)
    }

    /// What is known of the volumes of the backup.
    pub(crate) fn known_volumes(&self) -> &Known {
        &self.volumes
    }

    pub(crate) fn spec(&self) -> &RestoreSpec {
        &self.restore.spec
    }

    pub(crate) fn sequence(&self) -> &Priorities {
        &self.priorities
    }

    pub(crate) fn modifier_rules(&self) -> Option<&ResourceModifiers> {
        self.modifiers.as_deref()
    }

    /// An error when the spec names rules and there are none: without them other objects would be restored.
    pub(crate) fn check_modifiers(&self) -> Result<(), Error> {
        match modifier_config_map(&self.restore) {
            Some(name) if self.modifiers.is_none() => Err(Error::Invalid {
                messages: vec![format!(
                    "resourceModifier {name:?}: the rules of this ConfigMap have not been given to the restore"
                )],
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn action_config(&self) -> &ActionConfig {
        &self.action_config
    }

    pub(crate) fn init_hooks(&self) -> &InitRestoreHook {
        &self.init_hooks
    }

    pub(crate) fn exec_hooks(&self) -> &RestoreHookRules {
        &self.exec_hooks
    }

    pub(crate) fn wished_versions(&self) -> &VersionPriorities {
        &self.wished_versions
    }

    /// Whether something that is not selected comes along; `switch` is the annotation that can say no.
    pub(crate) fn brings(&self, switch: &str) -> bool {
        switch_of(&self.restore, switch) != Some("false")
    }

    pub(crate) fn backup_label(&self) -> &str {
        &self.backup_label
    }

    pub(crate) fn restore_label(&self) -> &str {
        &self.restore_label
    }

    /// Whether objects that are in the cluster and differ become what the backup has.
    pub(crate) fn updates_existing(&self) -> bool {
        ExistingPolicy::of(&self.restore) != ExistingPolicy::Leave
    }

    /// Whether those of them that cannot be changed are deleted and created anew.
    pub(crate) fn recreates_existing(&self) -> bool {
        let policy = ExistingPolicy::of(&self.restore);
        matches!(policy, ExistingPolicy::Recreate | ExistingPolicy::Mirror)
    }

    /// Whether objects are deleted that the backup does not have.
    pub(crate) fn mirrors(&self) -> bool {
        ExistingPolicy::of(&self.restore) == ExistingPolicy::Mirror
    }

    /// What the backup has looked at.
    ///
    /// # Errors
    /// When nobody has said so, or it does not tell.
    pub(crate) fn mirrored(&self) -> Result<&BackedUp, Error> {
        let invalid = |message: String| Error::Invalid {
            messages: vec![message],
        };
        let Some(backed_up) = &self.backed_up else {
            return Err(invalid(
                "existing resource policy \"mirror\": what the backup has looked at has not been given to the restore".to_owned(),
            ));
        };
        backed_up
            .fault()
            .map_or(Ok(backed_up), |fault| Err(invalid(fault)))
    }

    /// Whether objects get the owners again that they had.
    pub(crate) fn relinks_owners(&self) -> bool {
        switch_of(&self.restore, RELINK_OWNERS) == Some("true")
    }

    /// The namespace of the Restore, and of Velero.
    pub(crate) fn own_namespace(&self) -> &str {
        let namespace = self.restore.metadata.namespace.as_deref();
        namespace.unwrap_or(DEFAULT_NAMESPACE)
    }

    /// Whether data of volumes is wanted.
    pub(crate) fn restores_volumes(&self) -> bool {
        self.spec().restore_pvs != Some(false)
    }

    pub(crate) fn filters(&self, catalog: &Catalog) -> Filters {
        let spec = self.spec();
        Filters {
            resources: IncludesExcludes::new(
                catalog.resolve_all(&spec.included_resources),
                catalog.resolve_all(&spec.excluded_resources),
            ),
            namespaces: IncludesExcludes::new(
                spec.included_namespaces
                    .iter()
                    .filter(|n| !n.is_empty())
                    .cloned(),
                spec.excluded_namespaces
                    .iter()
                    .filter(|n| !n.is_empty())
                    .cloned(),
            ),
            cluster: spec.include_cluster_resources,
            status: spec.restore_status.as_ref().map(|status| {
                IncludesExcludes::new(
                    catalog.resolve_all(&status.included_resources),
                    catalog.resolve_all(&status.excluded_resources),
                )
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BRING_DEFINITIONS, BRING_SERVICE_ACCOUNTS};
    use serde_json::{Value, json};

    fn restore(spec: Value) -> Restore {
        serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": spec})).unwrap()
    }

    #[test]
    fn faults_are_collected_and_name_the_field() {
        for (spec, wanted) in [
            (json!({"backupName": "b"}), &[][..]),
            (
                json!({"backupName": "b", "hooks": {}, "uploaderConfig": {}, "existingResourcePolicy": "none", "itemOperationTimeout": "4h0m0s"}),
                &[],
            ),
            (json!({"backupName": "b", "scheduleName": "s"}), &[]),
            (json!({}), &["backupName"]),
            (json!({"scheduleName": "s"}), &["schedule"]),
            (
                json!({"backupName": "b", "includedResources": ["nodes"], "excludedResources": ["nodes"]}),
                &["never restored", "both included and excluded"],
            ),
            (
                json!({"backupName": "b", "includedNamespaces": ["*", "a"], "excludedNamespaces": ["*"]}),
                &["must stand alone", "leave nothing", "both included"],
            ),
            (
                json!({"backupName": "b", "labelSelector": {"matchLabels": {"a": "b"}}, "orLabelSelectors": [{"matchLabels": {"a": "b"}}]}),
                &["exclude each other"],
            ),
            (
                json!({"backupName": "b", "existingResourcePolicy": "replace"}),
                &["existingResourcePolicy"],
            ),
            (
                json!({"backupName": "b", "namespaceMapping": {"a": ""}}),
                &["namespaceMapping"],
            ),
            (
                json!({"backupName": "b", "namespaceMapping": {"a": "Bad_NS", "b": "good-1"}}),
                &["namespaceMapping \"a\" to \"Bad_NS\": \"Bad_NS\" is no namespace name"],
            ),
            (
                json!({"backupName": "b", "existingResourcePolicy": "update", "restoreStatus": {}}),
                &[],
            ),
            (
                json!({"backupName": "b", "hooks": {"resources": [
                    {"name": "ok", "postHooks": [{"init": {"initContainers": [{"name": "n", "image": "i", "command": ["c"]}]}}]},
                    {"name": "selector", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}},
                    {"name": "init", "postHooks": [{}, {"init": {"initContainers": [{"name": "n", "command": []}, {}]}}]},
                ]}}),
                &[
                    "hooks.resources[1].labelSelector: ",
                    "hooks.resources[2].postHooks[1].init.initContainers[0]: it has no image, no command",
                    "initContainers[1]: it has no name, no image, no command; name, image and command must be given",
                ],
            ),
            (
                json!({"backupName": "b", "resourceModifier": {"kind": "ConfigMap", "name": "m"}}),
                &[],
            ),
            (
                json!({"backupName": "b", "resourceModifier": {"kind": "configmap", "name": "m"}}),
                &[],
            ),
            (
                json!({"backupName": "b", "resourceModifier": {"kind": "Secret", "name": ""}}),
                &[
                    "resourceModifier.kind \"Secret\" is not known",
                    "resourceModifier.name is empty",
                ],
            ),
            (
                json!({"backupName": "b",
                    "uploaderConfig": {"writeSparseFiles": true, "parallelFilesDownload": 2},
                    "hooks": {"resources": [{"name": "h", "postHooks": [{"exec": {"command": []}}, {"exec": {"command": ["x"]}}]}]}}),
                &["hooks.resources[0].postHooks[0].exec.command: it is empty"],
            ),
        ] {
            let faults = validate(&restore(spec.clone()));
            assert_eq!(faults.len(), wanted.len(), "{spec}: {faults:?}");
            for (fault, want) in faults.iter().zip(wanted) {
                assert!(
                    fault.contains(want),
                    "{spec}: {fault:?} does not hold {want:?}"
                );
            }
            assert_eq!(
                RestoreRequest::resolve(restore(spec)).is_ok(),
                wanted.is_empty()
            );
        }
    }

    #[test]
    fn switches_are_true_or_false() {
        for (value, brings) in [("true", Some(true)), ("false", Some(false)), ("no", None)] {
            let mut restore = restore(json!({"backupName": "b"}));
            let switch = (BRING_DEFINITIONS.to_owned(), value.to_owned());
            restore.metadata.annotations = Some([switch].into());
            let request = RestoreRequest::resolve(restore);
            match (request, brings) {
                (Ok(request), Some(brings)) => {
                    assert_eq!(request.brings(BRING_DEFINITIONS), brings);
                    assert!(request.brings(BRING_SERVICE_ACCOUNTS));
                }
                (Err(error), None) => assert_eq!(
                    error.to_string(),
                    "the restore is not valid: annotation x.velero.io/bring-definitions: \"no\" is neither \"true\" nor \"false\""
                ),
                (request, _) => panic!("{value}: {request:?}"),
            }
        }
    }

    #[test]
    fn names_must_fit_in_labels() {
        let error = RestoreRequest::resolve(restore(json!({"backupName": "a/b"}))).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("backupName \"a/b\" cannot be the value of a label"),
            "{error}"
        );
    }

    #[test]
    fn long_names_are_shortened_for_labels() {
        let name = "x".repeat(70);
        let request = RestoreRequest::resolve(restore(
            json!({"backupName": name, "namespaceMapping": {"a": "b"}}),
        ))
        .unwrap();
        assert_eq!(
            (request.backup_label().len(), request.restore_label()),
            (63, "r")
        );
        assert_eq!(
            (request.target_namespace("a"), request.target_namespace("c")),
            ("b", "c")
        );
    }
}
