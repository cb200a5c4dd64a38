//! A backup, resolved once against a cluster.

use std::sync::Arc;

use velero_core::api::{Backup, BackupSpec};
use velero_core::filter::{
    NamespaceFilter, ResourceFilterSpec, ScopeFilter, validate_namespace_lists,
};
use velero_core::hook::BackupHookRules;
use velero_core::names::labels;
use velero_core::policy::ResourcePolicies;
use velero_core::result::{Record, Severity};
use velero_core::{ApiResource, Catalog, GroupResource, ItemHead, RawItem, SelectorSet};

use crate::coverage::Rule;
use crate::inputs::{bad_timeout, unread_policy};
use crate::namespaces::Objects;
use crate::{LiveNamespaces, RequestInputs, unmatched, unsupported};

const ARGOCD_MANAGED_BY: &str = "argocd.argoproj.io/managed-by";

/// A [`Backup`] whose filters are compiled against what a cluster serves and which namespaces it has.
#[derive(Debug, Clone)]
pub struct BackupRequest {
    backup: Arc<Backup>,
    catalog: Catalog,
    namespaces: NamespaceFilter,
    scope: ScopeFilter,
    selectors: SelectorSet,
    hooks: BackupHookRules,
    policies: Option<Arc<ResourcePolicies>>,
    records: Vec<Record>,
    /// How many namespaces the cluster had.
    live: usize,
    objects: Option<Objects>,
}

/// The namespaces that a backup leaves out.
struct Excluded {
    /// Those that hide themselves by their label.
    labelled: Vec<String>,
    /// The names and patterns of the spec, without those that controllers have added.
    by_user: Vec<String>,
    /// All.
    all: Vec<String>,
}

impl Excluded {
    fn of(backup: &Backup, live: &[ItemHead]) -> Self {
        let listed = &backup.spec.excluded_namespaces;
        let labelled: Vec<String> = live
            .iter()
            .filter(|ns| excluded_label(ns))
            .map(|ns| ns.name.clone())
            .collect();
        let by_user = listed.iter().filter(|name| !labelled.contains(name));
        let more = labelled.iter().filter(|name| !listed.contains(name));
        Self {
            by_user: by_user.cloned().collect(),
            all: listed.iter().chain(more).cloned().collect(),
            labelled,
        }
    }
}

/// Checks a spec; gives its selectors and hooks, or everything that is wrong with it.
fn checked(
    backup: &Backup,
    catalog: &Catalog,
    filters: &ResourceFilterSpec,
    excluded: &Excluded,
    inputs: &RequestInputs,
) -> Result<(SelectorSet, BackupHookRules), Vec<String>> {
    let spec = &backup.spec;
    let included = &spec.included_namespaces;
    let mut faults = filters.validate();
    faults.extend(validate_namespace_lists(included, &excluded.by_user));
    for name in excluded.labelled.iter().filter(|n| included.contains(n)) {
        faults.push(format!(
            "namespaces: {name:?} is included, but its label {}=true keeps it out",
            labels::EXCLUDE_FROM_BACKUP
        ));
    }
    let any_of = Some(spec.or_label_selectors.as_slice()).filter(|list| !list.is_empty());
    let selectors =
        SelectorSet::from_spec(spec.label_selector.as_ref(), any_of).unwrap_or_else(|error| {
            faults.push(velero_core::result::chain(&error));
            SelectorSet::default()
        });
    let hooks = BackupHookRules::compile(&spec.hooks, catalog).unwrap_or_else(|wrong| {
        faults.extend(wrong);
        BackupHookRules::default()
    });
    faults.extend(inputs.policy_faults(backup, filters));
    faults.extend(unsupported::refused(backup, inputs));
    faults.extend(negative_times(spec));
    if faults.is_empty() {
        Ok((selectors, hooks))
    } else {
        Err(faults)
    }
}

/// Names each time that is negative: a backup would have expired before it is made, operations before they begin.
fn negative_times(spec: &BackupSpec) -> Vec<String> {
    let times = [
        ("ttl", spec.ttl, "720h"),
        ("csiSnapshotTimeout", spec.csi_snapshot_timeout, "10m"),
        ("itemOperationTimeout", spec.item_operation_timeout, "4h"),
    ];
    times
        .into_iter()
        .filter(|(_, time, _)| time.is_negative())
        .map(|(field, time, right)| {
            format!("spec.{field}: {time} is negative; a duration such as {right} is needed")
        })
        .collect()
}

impl BackupRequest {
    /// Compiles a backup. `live` are the namespaces of the cluster.
    ///
    /// # Errors
    /// Everything that is wrong with the backup, one line each: the content of `status.validationErrors`.
    pub fn resolve(
        backup: &Backup,
        catalog: &Catalog,
        live: &[ItemHead],
    ) -> Result<Self, Vec<String>> {
        Self::resolve_with(backup, catalog, live, &RequestInputs::default())
    }

    /// Compiles a backup with its resource policies.
    ///
    /// # Errors
    /// As [`BackupRequest::resolve`].
    pub fn resolve_with(
        backup: &Backup,
        catalog: &Catalog,
        live: &[ItemHead],
        inputs: &RequestInputs,
    ) -> Result<Self, Vec<String>> {
        let mut filters = resource_filters(backup);
        let excluded = Excluded::of(backup, live);
        let (selectors, hooks) = checked(backup, catalog, &filters, &excluded, inputs)?;
        let policy = inputs.policies.as_ref();
        if let Some(policy) = policy.and_then(|p| p.include_exclude.as_ref()) {
            policy.merge_into(&mut filters, catalog);
        }
        let included = &backup.spec.included_namespaces;
        let mut names: Vec<String> = live.iter().map(|ns| ns.name.clone()).collect();
        names.sort();
        let namespaces = NamespaceFilter::resolve(included, &excluded.all, &names);
        // Namespaces that hide themselves are no filter of the user's.
        let chosen = NamespaceFilter::resolve(included, &excluded.by_user, &names);
        let unfiltered = chosen.includes_everything()
            && !chosen.takes_nothing()
            && selectors.matches_everything();
        let scope = ScopeFilter::compile(&filters, catalog, &namespaces, unfiltered);
        let mut records = unmatched::groups(&filters, catalog);
        records.extend(first_records(catalog, &namespaces, &scope, live));
        records.extend(unmatched::resources(&filters, catalog));
        records.extend(unmatched::namespaces(
            included,
            &excluded.all,
            &namespaces,
            live,
        ));
        records.extend(unmatched::selectors(selectors.alternatives()));
        let notes = hooks.notes().iter();
        records.extend(notes.map(|note| Record::run(Severity::Warning, note.as_str())));
        records.extend(unread_policy(backup));
        records.extend(bad_timeout(backup));
        Ok(Self {
            backup: Arc::new(backup.clone()),
            catalog: catalog.clone(),
            namespaces,
            scope,
            selectors,
            hooks,
            policies: inputs.policies.clone().map(Arc::new),
            records,
            live: live.len(),
            objects: None,
        })
    }

    /// Keeps the Namespace objects that the request was resolved with, for a run that begins soon.
    pub(crate) fn with_objects(mut self, live: &LiveNamespaces) -> Self {
        self.objects = live.objects();
        self
    }

    /// The Namespace objects as the request was resolved with them, as long as they are recent.
    pub(crate) fn recent_objects(&self) -> Option<Arc<[RawItem]>> {
        self.objects.as_ref().and_then(Objects::recent)
    }

    /// The backup as it was given.
    pub fn backup(&self) -> &Backup {
        &self.backup
    }

    /// What the cluster serves.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The namespaces that are taken.
    pub fn namespaces(&self) -> &NamespaceFilter {
        &self.namespaces
    }

    /// The kinds that are taken.
    pub fn scope(&self) -> &ScopeFilter {
        &self.scope
    }

    /// The labels that are taken.
    pub fn selectors(&self) -> &SelectorSet {
        &self.selectors
    }

    /// The hooks of the spec.
    pub fn hooks(&self) -> &BackupHookRules {
        &self.hooks
    }

    /// What is worth telling before the run: groups that could not be discovered, included namespaces and kinds that do not
    /// exist, filters and hooks without effect.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The resource policies of the backup.
    pub fn policies(&self) -> Option<&ResourcePolicies> {
        self.policies.as_deref()
    }

    pub(crate) fn shared_backup(&self) -> Arc<Backup> {
        Arc::clone(&self.backup)
    }

    /// How many namespaces the cluster had.
    pub(crate) fn live_namespaces(&self) -> usize {
        self.live
    }

    /// The rule that keeps out an object found by listing its kind; `None` when it is taken. Namespace objects have
    /// rules of their own.
    pub(crate) fn why_not(&self, head: &ItemHead) -> Option<Rule> {
        if !head.namespace.is_empty() && !self.namespaces.should_include(&head.namespace) {
            Some(Rule::Namespace)
        } else if !self.selectors.matches(&head.labels) {
            Some(Rule::LabelSelector)
        } else {
            why_not_stored(head)
        }
    }

    /// Whether an object that an action asks for is taken, as far as its name tells.
    pub(crate) fn takes_related(&self, resource: &ApiResource, namespace: &str) -> bool {
        (namespace.is_empty() || self.namespaces.should_include(namespace))
            && self
                .scope
                .keeps_related(&resource.group_resource(), resource.namespaced)
    }

    /// Whether Namespace objects can only be judged after everything else.
    pub(crate) fn namespaces_come_last(&self) -> bool {
        self.namespaces.includes_everything() && !self.selectors.matches_everything()
    }

    /// The rule that keeps out a Namespace object; `None` when it is stored. `has_content` says whether a selected
    /// object lies in it.
    ///
    /// Mirrors upstream's namespace tracking in `pkg/backup/item_collector.go`.
    pub(crate) fn why_not_namespace(&self, head: &ItemHead, has_content: bool) -> Option<Rule> {
        let has_selector = !self.selectors.matches_everything();
        let active = head.phase == "Active";
        let accepted = self.namespaces.should_include(&head.name);
        let by_label = active && has_selector && self.selectors.matches(&head.labels);
        let by_name = active && accepted && !self.namespaces_come_last();
        if by_label || by_name || (has_content && accepted) {
            why_not_stored(head)
        } else if !accepted {
            Some(Rule::Namespace)
        } else {
            why_not_stored(head).or(Some(Rule::LabelSelector))
        }
    }
}

/// Whether nothing in the object itself keeps it out.
pub(crate) fn may_be_stored(head: &ItemHead) -> bool {
    why_not_stored(head).is_none()
}

fn why_not_stored(head: &ItemHead) -> Option<Rule> {
    if excluded_label(head) {
        Some(Rule::ExcludeLabel)
    } else {
        head.deleting.then_some(Rule::Deleting)
    }
}

/// Whether the object asks to be left out.
pub(crate) fn excluded_label(head: &ItemHead) -> bool {
    head.labels
        .get(labels::EXCLUDE_FROM_BACKUP)
        .is_some_and(|v| v == "true")
}

fn resource_filters(backup: &Backup) -> ResourceFilterSpec {
    let spec = &backup.spec;
    ResourceFilterSpec {
        included_resources: spec.included_resources.clone(),
        excluded_resources: spec.excluded_resources.clone(),
        include_cluster_resources: spec.include_cluster_resources,
        included_cluster_scoped: spec.included_cluster_scoped_resources.clone(),
        excluded_cluster_scoped: spec.excluded_cluster_scoped_resources.clone(),
        included_namespace_scoped: spec.included_namespace_scoped_resources.clone(),
        excluded_namespace_scoped: spec.excluded_namespace_scoped_resources.clone(),
    }
}

fn first_records(
    catalog: &Catalog,
    namespaces: &NamespaceFilter,
    scope: &ScopeFilter,
    live: &[ItemHead],
) -> Vec<Record> {
    let mut records = Vec::new();
    for note in scope.notes() {
        records.push(Record::run(Severity::Warning, note.as_str()));
    }
    // Without the Namespace objects nothing of a missing namespace is missing in the archive.
    let objects = catalog.get(&GroupResource::core("namespaces"));
    let severity = if objects.is_some_and(|resource| scope.collects(resource)) {
        Severity::Error
    } else {
        Severity::Warning
    };
    for name in namespaces.missing() {
        records.push(Record::item(
            severity,
            "namespaces",
            "",
            name.as_str(),
            "the included namespace does not exist",
        ));
    }
    let argocd: Vec<&str> = live
        .iter()
        .filter(|ns| {
            ns.labels
                .get(ARGOCD_MANAGED_BY)
                .is_some_and(|v| !v.is_empty())
                && namespaces.should_include(&ns.name)
        })
        .map(|ns| ns.name.as_str())
        .collect();
    if !argocd.is_empty() {
        let message = format!(
            "Argo CD manages these namespaces and may undo a restore of them: {}",
            argocd.join(", ")
        );
        records.push(Record::run(Severity::Warning, message));
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn backup(spec: Value) -> Backup {
        serde_json::from_value(
            json!({"metadata": {"name": "b", "namespace": "velero"}, "spec": spec}),
        )
        .unwrap()
    }

    fn catalog() -> Catalog {
        let resource = |plural: &str, namespaced| ApiResource {
            version: "v1".into(),
            kind: plural.trim_end_matches('s').into(),
            plural: plural.into(),
            namespaced,
            preferred: true,
            ..ApiResource::default()
        };
        Catalog::new(
            vec![
                resource("pods", true),
                resource("namespaces", false),
                resource("nodes", false),
            ],
            Vec::new(),
        )
    }

    fn namespace(name: &str, labels: &[(&str, &str)]) -> ItemHead {
        ItemHead {
            name: name.into(),
            phase: "Active".into(),
            labels: labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            ..ItemHead::default()
        }
    }

    #[test]
    fn every_fault_is_told() {
        let live = [namespace(
            "hidden",
            &[("velero.io/exclude-from-backup", "true")],
        )];
        let spec = json!({
            "includedNamespaces": ["hidden", "Bad"], "includedResources": ["pods"], "includedClusterScopedResources": ["nodes"],
            "labelSelector": {"matchLabels": {"a": "b"}}, "orLabelSelectors": [{"matchLabels": {"a": "b"}}], "snapshotVolumes": true
        });
        let faults = BackupRequest::resolve(&backup(spec), &catalog(), &live).unwrap_err();
        assert_eq!(faults.len(), 5, "{faults:#?}");
    }

    #[test]
    fn lists_that_a_controller_has_filled_do_not_count_as_filters() {
        let spec = json!({
            "includedNamespaces": ["*"],
            "excludedClusterScopedResources": ["volumesnapshotcontents.snapshot.storage.k8s.io"],
            "excludedNamespaceScopedResources": ["volumesnapshots.snapshot.storage.k8s.io"]
        });
        let catalog = catalog();
        let request =
            BackupRequest::resolve(&backup(spec), &catalog, &[namespace("a", &[])]).unwrap();
        assert!(catalog.preferred().all(|r| request.scope().collects(r)));
    }

    #[test]
    fn namespaces_that_are_hidden_missing_or_managed() {
        let live = [
            namespace("a", &[(ARGOCD_MANAGED_BY, "x")]),
            namespace("hidden", &[("velero.io/exclude-from-backup", "true")]),
            namespace("shown", &[("velero.io/exclude-from-backup", "false")]),
        ];
        let all = BackupRequest::resolve(&backup(json!({})), &catalog(), &live).unwrap();
        assert!(
            !all.namespaces().should_include("hidden") && all.namespaces().should_include("shown")
        );
        assert_eq!(all.records().len(), 1);
        let some = BackupRequest::resolve(
            &backup(json!({"includedNamespaces": ["shown", "gone"]})),
            &catalog(),
            &live,
        )
        .unwrap();
        assert_eq!(some.records()[0].severity, Severity::Error);
    }

    #[test]
    fn namespace_objects() {
        let selector = json!({"labelSelector": {"matchLabels": {"app": "x"}}});
        let with = |mut spec: Value, more: Value| {
            spec.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            spec
        };
        let live = [namespace("a", &[]), namespace("b", &[("app", "x")])];
        for (spec, name, content, expected) in [
            (json!({}), "a", false, true),
            (selector.clone(), "a", false, false),
            (selector.clone(), "a", true, true),
            (selector.clone(), "b", false, true),
            (
                with(selector.clone(), json!({"includedNamespaces": ["a"]})),
                "a",
                false,
                true,
            ),
            (
                with(selector.clone(), json!({"excludedNamespaces": ["b"]})),
                "b",
                false,
                true,
            ),
            (
                with(selector, json!({"excludedNamespaces": ["b"]})),
                "a",
                false,
                true,
            ),
            (json!({"excludedNamespaces": ["a"]}), "a", true, false),
            (json!({"includedNamespaces": ["x-*"]}), "a", true, false),
        ] {
            let request = BackupRequest::resolve(&backup(spec.clone()), &catalog(), &live).unwrap();
            let head = live.iter().find(|n| n.name == name).unwrap();
            assert_eq!(
                request.why_not_namespace(head, content).is_none(),
                expected,
                "{spec} {name} {content}"
            );
        }
        let ending = ItemHead {
            phase: "Terminating".into(),
            deleting: true,
            ..namespace("a", &[])
        };
        let request = BackupRequest::resolve(&backup(json!({})), &catalog(), &live).unwrap();
        assert_eq!(
            request.why_not_namespace(&ending, true),
            Some(Rule::Deleting)
        );
    }
}
