//! Checks of a Restore before anything is done.

use velero_core::SelectorSet;
use velero_core::api::{Restore, RestoreSpec};
use velero_core::filter::{validate_lists, validate_namespace_lists};
use velero_core::hook::RestoreHookRules;
use velero_core::modifier::CONFIG_MAP_KIND;
use velero_core::names::{is_namespace_name, valid_label_name};

use crate::actions::InitRestoreHook;
use crate::filters::NEVER_RESTORED;
use crate::globs;
use crate::policy::{ExistingPolicy, RELINK_OWNERS, policy_faults};

/// Annotation of a Restore that says `false` where custom resources are not to bring a definition that filters leave out.
pub const BRING_DEFINITIONS: &str = "x.velero.io/bring-definitions";
/// Annotation of a Restore that says `false` where pods are not to bring a ServiceAccount that filters leave out.
pub const BRING_SERVICE_ACCOUNTS: &str = "x.velero.io/bring-service-accounts";

/// Checks the spec of a restore; gives one message for each fault. A schedule is resolved to a backup before.
///
/// Mirrors `validateAndComplete` in upstream's `pkg/controller/restore_controller.go`.
pub fn validate(restore: &Restore) -> Vec<String> {
    let spec = &restore.spec;
    let mut faults = Vec::new();
    for name in NEVER_RESTORED {
        if spec.included_resources.iter().any(|r| r == name) {
            faults.push(format!(
                "includedResources: {name:?} is never restored; leave it out"
            ));
        }
    }
    faults.extend(validate_lists(
        "resources",
        &spec.included_resources,
        &spec.excluded_resources,
    ));
    faults.extend(validate_namespace_lists(
        &spec.included_namespaces,
        &spec.excluded_namespaces,
    ));
    if let Err(error) = selectors_of(spec) {
        faults.push(error.to_string());
    }
    if spec.backup_name.is_empty() {
        let what = if spec.schedule_name.is_empty() {
            "name the backup to restore"
        } else {
            "the schedule has not been resolved to one"
        };
        faults.push(format!("backupName is empty: {what}"));
    }
    faults.extend(mapping_faults(spec));
    let init = InitRestoreHook::compile(&spec.hooks).err();
    let exec = RestoreHookRules::compile(&spec.hooks).err();
    for fault in init.into_iter().chain(exec).flatten() {
        // Both look at the selectors.
        if !faults.contains(&fault) {
            faults.push(fault);
        }
    }
    match spec.existing_resource_policy.as_str() {
        "" | "none" | "update" => {}
        other => faults.push(format!(
            "existingResourcePolicy {other:?} is not known; \"none\" and \"update\" are"
        )),
    }
    faults.extend(modifier_faults(spec));
    faults.extend(switch_faults(restore));
    faults.extend(policy_faults(restore));
    let policy = ExistingPolicy::of(restore);
    if matches!(policy, ExistingPolicy::Recreate | ExistingPolicy::Mirror) {
        faults.extend(globs::of_restore(spec));
    }
    faults
}

fn mapping_faults(spec: &RestoreSpec) -> Vec<String> {
    let mut faults = Vec::new();
    for (source, target) in &spec.namespace_mapping {
        if source.is_empty() || target.is_empty() {
            faults.push(format!(
                "namespaceMapping {source:?} to {target:?}: both names must be given"
            ));
        } else if !is_namespace_name(target) {
            faults.push(format!(
                "namespaceMapping {source:?} to {target:?}: {target:?} is no namespace name; at most 63 lower-case letters, \
                 digits and '-' are, beginning and ending with a letter or digit"
            ));
        }
    }
    faults
}

fn switch_faults(restore: &Restore) -> Vec<String> {
    let mut faults = Vec::new();
    for switch in [BRING_DEFINITIONS, BRING_SERVICE_ACCOUNTS, RELINK_OWNERS] {
        if let Some(value) = switch_of(restore, switch).filter(|v| !["true", "false"].contains(v)) {
            faults.push(format!(
                "annotation {switch}: {value:?} is neither \"true\" nor \"false\""
            ));
        }
    }
    faults
}

/// What an annotation says that switches something.
pub(crate) fn switch_of<'a>(restore: &'a Restore, switch: &str) -> Option<&'a str> {
    let annotations = restore.metadata.annotations.as_ref()?;
    annotations.get(switch).map(String::as_str)
}

/// The ConfigMap, in the namespace of the restore, with the resource modifiers that a restore names.
pub fn modifier_config_map(restore: &Restore) -> Option<&str> {
    let named = restore.spec.resource_modifier.as_ref()?;
    Some(named.name.as_str())
}

/// The peer takes no notice of a reference to anything but a ConfigMap, and restores without the rules.
fn modifier_faults(spec: &RestoreSpec) -> Vec<String> {
    let mut faults = Vec::new();
    if let Some(named) = &spec.resource_modifier {
        if !named.kind.eq_ignore_ascii_case(CONFIG_MAP_KIND) {
            faults.push(format!(
                "resourceModifier.kind {:?} is not known; rules are in a ConfigMap",
                named.kind
            ));
        }
        if named.name.is_empty() {
            faults.push("resourceModifier.name is empty: name the ConfigMap with the rules".into());
        }
    }
    faults
}

/// Every restored object carries the names of backup and restore as labels; names of custom resources always can be.
pub(crate) fn label_faults(restore: &Restore) -> Vec<String> {
    let name = restore.metadata.name.as_deref().unwrap_or_default();
    let named = [
        ("metadata.name", name),
        ("backupName", restore.spec.backup_name.as_str()),
    ];
    let wrong = named
        .into_iter()
        .filter(|(_, value)| !value.is_empty() && !is_label_value(&valid_label_name(value)));
    wrong
        .map(|(field, value)| {
            format!(
                "{field} {value:?} cannot be the value of a label; letters, digits, '-', '_' and '.' can, with a letter or \
                 digit at both ends"
            )
        })
        .collect()
}

fn is_label_value(value: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    value
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && edge(value.chars().next())
        && edge(value.chars().next_back())
}

pub(crate) fn selectors_of(spec: &RestoreSpec) -> Result<SelectorSet, velero_core::Error> {
    SelectorSet::from_spec(
        spec.label_selector.as_ref(),
        Some(spec.or_label_selectors.as_slice()),
    )
}
