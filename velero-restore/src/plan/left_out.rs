//! Why items are in no wave of a plan, one by one. A plan itself only counts them.

use velero_core::plan::{ExclusionReason, RestorePlan};
use velero_core::{ApiResource, Catalog};

use super::{exclusion, target_of};
use crate::filters::{Filters, is_data_upload, is_never_restored};
use crate::index::{ArchiveIndex, Fault, IndexedItem, is_crd};
use crate::request::RestoreRequest;
use crate::unserved;

/// Why an item is in no wave.
pub(crate) enum LeftOut {
    /// It is not to be restored.
    Excluded(ExclusionReason),
    /// The cluster does not serve its kind, or not in its version.
    Unserved(String),
}

/// Tells why items are in no wave of a plan.
pub(crate) struct LeftOuts<'a> {
    request: &'a RestoreRequest,
    filters: Filters,
    served: Catalog,
}

impl<'a> LeftOuts<'a> {
    /// For the plan that was made of these.
    pub(crate) fn new(
        index: &ArchiveIndex,
        request: &'a RestoreRequest,
        catalog: &Catalog,
        plan: &RestorePlan,
    ) -> Self {
        let definitions = index.definitions().iter();
        let all = catalog.extended_with(definitions.flat_map(|(_, brings)| brings.iter().cloned()));
        Self {
            request,
            filters: request.filters(&all),
            served: catalog.extended_with(brought(index, plan)),
        }
    }

    /// What is selected.
    pub(crate) fn filters(&self) -> &Filters {
        &self.filters
    }

    /// Where an item would have gone: namespace and name.
    pub(crate) fn target<'b>(&self, item: &IndexedItem<'b>) -> (&'b str, &'b str)
    where
        'a: 'b,
    {
        target_of(self.request, item)
    }

    /// Why an item is left out that is in no wave.
    pub(crate) fn of(&self, item: &IndexedItem<'_>) -> LeftOut {
        if let Some(reason) = exclusion(&self.filters, item) {
            return LeftOut::Excluded(reason);
        }
        if is_data_upload(item.resource) {
            return LeftOut::Excluded(ExclusionReason::NeverRestored);
        }
        let rules = self.request.modifier_rules();
        if rules.is_some_and(|rules| rules.changes_kind(item.resource)) {
            return LeftOut::Excluded(ExclusionReason::SameTarget);
        }
        match self.served.by_kind(item.api_version, item.kind) {
            Some(_) => LeftOut::Excluded(ExclusionReason::SameTarget),
            None => LeftOut::Unserved(unserved::message(item, &self.served)),
        }
    }
}

/// The resources that definitions of a plan bring.
pub(crate) fn brought(index: &ArchiveIndex, plan: &RestorePlan) -> Vec<ApiResource> {
    let planned: Vec<_> = plan
        .waves
        .iter()
        .filter(|wave| is_crd(&wave.resource))
        .flat_map(|wave| wave.items.iter().copied())
        .collect();
    index
        .definitions()
        .iter()
        .filter(|(id, _)| planned.contains(id))
        .flat_map(|(_, brings)| brings.iter().cloned())
        .collect()
}

/// The entries of an archive that are no objects and would have been restored.
pub(crate) fn selected_faults<'a>(
    index: &'a ArchiveIndex,
    filters: &'a Filters,
) -> impl Iterator<Item = &'a Fault> {
    index.faults().iter().filter(|fault| {
        let in_scope = if fault.namespace.is_empty() {
            filters.collects_cluster_scope()
        } else {
            filters.namespaces.should_include(&fault.namespace)
        };
        in_scope
            && filters
                .resources
                .should_include(&fault.resource.to_string())
            && !is_never_restored(&fault.resource)
    })
}
