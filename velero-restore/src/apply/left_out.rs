//! What the plan has left out, named: no item of the archive is dropped without a trace.

use velero_core::Catalog;
use velero_core::plan::{ExclusionReason, RestorePlan};

use super::run::Run;
use crate::index::IndexedItem;
use crate::plan::{LeftOut, LeftOuts, selected_faults};
use crate::result::ItemAction;

impl Run {
    /// Names the items in no wave that were selected, after all others: what has run to its end, in the log; mirror pods,
    /// in the list as skipped, as with the peer; what the cluster does not serve as failed. Entries that are no objects are
    /// counted as failed. The catalogue is the one that the plan was made with.
    pub(crate) fn note_left_out(&self, plan: &RestorePlan, catalog: &Catalog) {
        // Nobody has come to the rest of a run that was cancelled; it is not left out.
        if self.is_cancelled() {
            return;
        }
        let left_outs = LeftOuts::new(&self.index, &self.request, catalog, plan);
        for item in self.index.items() {
            if self.states.is_touched(item.id) {
                continue;
            }
            let target = left_outs.target(&item);
            match left_outs.of(&item) {
                LeftOut::Excluded(ExclusionReason::MirrorPod) => self.list_skipped(&item, target),
                LeftOut::Excluded(
                    reason @ (ExclusionReason::Completed | ExclusionReason::SameTarget),
                ) => log(&item, target, reason),
                LeftOut::Excluded(_) => {}
                LeftOut::Unserved(_) => {
                    let kind = format!("{}/{}", item.api_version, item.kind);
                    self.list_failed(&kind, target);
                }
            }
        }
        // Their records name them.
        let faults = selected_faults(&self.index, left_outs.filters()).count();
        (0..faults).for_each(|_| self.count_failed());
    }

    /// Enters a mirror pod into the list. It counts as left out, not as skipped.
    fn list_skipped(&self, item: &IndexedItem<'_>, (namespace, name): (&str, &str)) {
        log(item, (namespace, name), ExclusionReason::MirrorPod);
        let kind = format!("{}/{}", item.api_version, item.kind);
        let entry = format!("{namespace}/{name}({})", ItemAction::Skipped);
        self.tally().resource_list.add(&kind, &entry);
    }

    fn list_failed(&self, kind: &str, (namespace, name): (&str, &str)) {
        self.finish_item(false, Some((kind, namespace, name, ItemAction::Failed)));
    }
}

fn log(item: &IndexedItem<'_>, (namespace, name): (&str, &str), reason: ExclusionReason) {
    let resource = item.resource.to_string();
    tracing::info!(resource, namespace, name, "left out: {reason}");
}
