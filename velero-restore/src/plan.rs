//! What a restore is going to do: a pure function of index, request and discovery.

mod left_out;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use velero_core::plan::{ExclusionReason, ItemId, RestorePlan, Wave};
use velero_core::result::{Record, Severity};
use velero_core::{Catalog, GroupResource};

use crate::filters::{Filters, is_data_upload, is_never_restored};
use crate::index::{ArchiveIndex, Facts, IndexedItem, is_crd};
use crate::request::RestoreRequest;
use crate::unmatched;
use crate::unserved;
use crate::validate::{BRING_DEFINITIONS, BRING_SERVICE_ACCOUNTS};

pub(crate) use left_out::{LeftOut, LeftOuts, brought, selected_faults};

/// Plans a restore. Does no IO; the same input gives the same plan.
///
/// CustomResourceDefinitions come first, and the kinds they bring count as served. A definition that a selected custom
/// resource needs comes along even where filters do not select it, and so does the ServiceAccount that a selected pod
/// names; what excludes them by kind or scope stops them.
pub fn plan(index: &ArchiveIndex, request: &RestoreRequest, catalog: &Catalog) -> RestorePlan {
    let all = catalog.extended_with(
        index
            .definitions()
            .iter()
            .flat_map(|(_, brings)| brings.iter().cloned()),
    );
    let mut planner = Planner {
        index,
        request,
        filters: request.filters(&all),
        out: RestorePlan::default(),
    };
    let mut selected = planner.select();
    let definitions = planner.definitions(&mut selected, catalog);
    planner.accounts(&mut selected);
    let served = catalog.extended_with(
        index
            .definitions()
            .iter()
            .filter(|(id, _)| definitions.contains(id))
            .flat_map(|(_, brings)| brings.iter().cloned()),
    );
    planner.drop_unserved(&mut selected, &served);
    planner.drop_same_targets(&mut selected);
    planner.record_faults();
    planner.waves(selected, &all);
    let mut plan = planner.out;
    plan.records.extend(unmatched::names(index, request, &all));
    plan.records
        .extend(unmatched::everything(index, request, &plan));
    plan
}

type Selected = BTreeMap<GroupResource, Vec<ItemId>>;

struct Planner<'a> {
    index: &'a ArchiveIndex,
    request: &'a RestoreRequest,
    filters: Filters,
    out: RestorePlan,
}

impl Planner<'_> {
    /// Applies the filters of the collection pass.
    fn select(&mut self) -> Selected {
        let mut selected = Selected::new();
        for resource in self.index.resources() {
            let mut kept = Vec::new();
            for item in self
                .index
                .items_of(resource)
                .into_iter()
                .filter_map(|id| self.index.item(id))
            {
                match self.exclusion(&item) {
                    None => kept.push(item.id),
                    Some(reason) => {
                        *self
                            .out
                            .excluded
                            .entry((resource.clone(), reason))
                            .or_default() += 1
                    }
                }
            }
            if !kept.is_empty() {
                selected.insert(resource.clone(), kept);
            }
        }
        selected
    }

    fn exclusion(&mut self, item: &IndexedItem<'_>) -> Option<ExclusionReason> {
        let reason = exclusion(&self.filters, item);
        if reason == Some(ExclusionReason::NeverRestored) && is_csi_snapshot(item.resource) {
            let message = "snapshots of CSI drivers are not restored by this version";
            if self.request.restores_volumes() {
                self.note(Severity::Warning, item, message);
            }
        }
        reason
    }

    /// The definitions that are restored: the selected ones, and those that a selected custom resource needs.
    fn definitions(&mut self, selected: &mut Selected, catalog: &Catalog) -> BTreeSet<ItemId> {
        let mut restored: BTreeSet<ItemId> = selected
            .iter()
            .filter(|(resource, _)| is_crd(resource))
            .flat_map(|(_, ids)| ids.iter().copied())
            .collect();
        if !self.request.brings(BRING_DEFINITIONS) {
            return restored;
        }
        for (id, brings) in self.index.definitions() {
            let wanted = brings.iter().any(|r| {
                let gr = r.group_resource();
                selected.contains_key(&gr) && catalog.get(&gr).is_none()
            });
            if wanted && !restored.contains(id) && self.bring(selected, *id) {
                restored.insert(*id);
            }
        }
        restored
    }

    /// Takes the ServiceAccounts along that selected pods name: without them they cannot be created.
    fn accounts(&mut self, selected: &mut Selected) {
        let pods = GroupResource::core("pods");
        if !self.request.brings(BRING_SERVICE_ACCOUNTS)
            || !self.filters.resources.should_include(&pods.to_string())
        {
            return;
        }
        let accounts = GroupResource::core("serviceaccounts");
        for (namespace, name) in self.index.accounts() {
            let Some(id) = self.index.find(&accounts, namespace, name) else {
                continue;
            };
            let there = selected.get(&accounts);
            if there.is_none_or(|ids| ids.binary_search(&id).is_err()) {
                self.bring(selected, id);
            }
        }
    }

    /// Adds an item that filters have left out; `false` where they say that it is not to come.
    fn bring(&mut self, selected: &mut Selected, id: ItemId) -> bool {
        let Some(item) = self.index.item(id) else {
            return false;
        };
        if !self.filters.brings(item.resource, item.namespace) {
            return false;
        }
        if let Some(reason) = filtered(&self.filters, &item) {
            let slot = (item.resource.clone(), reason);
            if let Some(count) = self.out.excluded.get_mut(&slot) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.out.excluded.remove(&slot);
                }
            }
        }
        let list = selected.entry(item.resource.clone()).or_default();
        list.push(id);
        list.sort_unstable();
        true
    }

    fn drop_unserved(&mut self, selected: &mut Selected, served: &Catalog) {
        let rules = self.request.modifier_rules();
        for (resource, ids) in selected.iter_mut() {
            if rules.is_some_and(|rules| rules.changes_kind(resource)) {
                // What the rules leave as it is fails when it is created.
                continue;
            }
            ids.retain(|id| {
                let Some(item) = self.index.item(*id) else {
                    return false;
                };
                if served.by_kind(item.api_version, item.kind).is_some() {
                    return true;
                }
                if is_data_upload(resource) {
                    // No action can be there that wants it.
                    let slot = (resource.clone(), ExclusionReason::NeverRestored);
                    *self.out.excluded.entry(slot).or_default() += 1;
                    return false;
                }
                let message = unserved::message(&item, served);
                self.note(Severity::Error, &item, &message);
                *self.out.unserved.entry(resource.clone()).or_default() += 1;
                false
            });
        }
        selected.retain(|_, ids| !ids.is_empty());
    }

    /// Leaves out items whose target another item has already, which only happens when namespaces are merged.
    fn drop_same_targets(&mut self, selected: &mut Selected) {
        let mapping = &self.request.spec().namespace_mapping;
        if mapping.is_empty() {
            return;
        }
        let (index, request) = (self.index, self.request);
        for (resource, ids) in selected.iter_mut() {
            let mut taken: HashSet<(&str, &str)> = HashSet::new();
            ids.retain(|id| {
                let Some(item) = index.item(*id) else {
                    return false;
                };
                let mapped = target_of(request, &item);
                if taken.insert(mapped) {
                    return true;
                }
                *self
                    .out
                    .excluded
                    .entry((resource.clone(), ExclusionReason::SameTarget))
                    .or_default() += 1;
                if !resource.is("", "namespaces") {
                    let message = format!(
                        "not restored: another item is restored as {}/{} by the namespace mapping",
                        mapped.0, mapped.1
                    );
                    self.out.records.push(Record::item(
                        Severity::Warning,
                        resource,
                        mapped.0,
                        mapped.1,
                        message,
                    ));
                }
                false
            });
        }
    }

    fn record_faults(&mut self) {
        for fault in selected_faults(self.index, &self.filters) {
            let namespace = self.request.target_namespace(&fault.namespace);
            let message = format!("cannot be decoded: {}", fault.message);
            self.out.records.push(Record::item(
                Severity::Error,
                &fault.resource,
                namespace,
                &fault.name,
                message,
            ));
        }
    }

    fn waves(&mut self, mut selected: Selected, all: &Catalog) {
        let sequence = self
            .request
            .sequence()
            .sequence(self.index.resources(), all);
        let (first, rest): (Vec<_>, Vec<_>) = sequence.into_iter().partition(is_crd);
        for resource in first.into_iter().chain(rest) {
            let Some(items) = selected.remove(&resource) else {
                continue;
            };
            self.out.waves.push(Wave { resource, items });
        }
        let mut sources: BTreeMap<String, String> = BTreeMap::new();
        for wave in &self.out.waves {
            for item in wave
                .items
                .iter()
                .filter_map(|id| self.index.item(*id))
                .filter(|item| !item.namespace.is_empty() && !is_data_upload(item.resource))
            {
                let target = self.request.target_namespace(item.namespace);
                match sources.get_mut(target) {
                    // The namespace that keeps its name gives the labels, else the first one.
                    Some(source) if item.namespace == target && source != target => {
                        *source = target.to_owned()
                    }
                    Some(_) => {}
                    None => {
                        sources.insert(target.to_owned(), item.namespace.to_owned());
                    }
                }
            }
        }
        self.out.namespaces = sources;
    }

    fn note(&mut self, severity: Severity, item: &IndexedItem<'_>, message: &str) {
        let namespace = self.request.target_namespace(item.namespace);
        self.out.records.push(Record::item(
            severity,
            item.resource,
            namespace,
            item.name,
            message,
        ));
    }
}

/// Why an item is left out in the collection pass, if so.
fn exclusion(filters: &Filters, item: &IndexedItem<'_>) -> Option<ExclusionReason> {
    if is_never_restored(item.resource) {
        return Some(ExclusionReason::NeverRestored);
    }
    if is_data_upload(item.resource) {
        return None;
    }
    if let Some(reason) = filtered(filters, item) {
        return Some(reason);
    }
    if is_csi_snapshot(item.resource) {
        return Some(ExclusionReason::NeverRestored);
    }
    finished(item)
}

fn filtered(filters: &Filters, item: &IndexedItem<'_>) -> Option<ExclusionReason> {
    if !filters.resources.should_include(&item.resource.to_string()) {
        return Some(ExclusionReason::Resource);
    }
    if item.namespace.is_empty() {
        if !filters.collects_cluster_scope() {
            return Some(ExclusionReason::ClusterScope);
        }
    } else if !filters.namespaces.should_include(item.namespace) {
        return Some(ExclusionReason::Namespace);
    }
    (!item.facts.has(Facts::LABELS_MATCH)).then_some(ExclusionReason::Labels)
}

/// Target namespace and name; of a namespace, the name that it gets.
fn target_of<'a>(request: &'a RestoreRequest, item: &IndexedItem<'a>) -> (&'a str, &'a str) {
    if item.resource.is("", "namespaces") {
        return ("", request.target_namespace(item.name));
    }
    (request.target_namespace(item.namespace), item.name)
}

/// Why an item is of no use any more, if so.
pub(crate) fn finished(item: &IndexedItem<'_>) -> Option<ExclusionReason> {
    if item.facts.has(Facts::COMPLETED) {
        return Some(ExclusionReason::Completed);
    }
    item.facts
        .has(Facts::MIRROR_POD)
        .then_some(ExclusionReason::MirrorPod)
}

/// Objects that only make sense together with the data mover or the snapshot controller.
pub(crate) fn is_csi_snapshot(resource: &GroupResource) -> bool {
    resource.group == "snapshot.storage.k8s.io"
        && matches!(
            resource.resource.as_str(),
            "volumesnapshots" | "volumesnapshotcontents"
        )
}
