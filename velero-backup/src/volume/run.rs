//! Volumes within a run.

use velero_core::ApiResource;

use crate::invoke::Prepared;
use crate::run::Run;

/// Whether objects of a resource have to do with volumes.
pub(crate) fn concerns(resource: &ApiResource) -> bool {
    resource.group.is_empty()
        && matches!(
            resource.plural.as_str(),
            "pods" | "persistentvolumeclaims" | "persistentvolumes"
        )
}

impl Run<'_> {
    /// Does what is to be done for the volumes of items that are about to be stored, in the order in which they lie.
    ///
    /// Nothing is done when items are stored once more: their data is in the backup already.
    pub(crate) async fn protect<'a>(&mut self, items: impl IntoIterator<Item = &'a Prepared>) {
        if self.finalizing {
            return;
        }
        let items: Vec<&Prepared> = items
            .into_iter()
            .filter(|item| concerns(&item.resource))
            .collect();
        if items.is_empty() {
            return;
        }
        for record in self.volumes.protect(&items).await {
            self.out.record(record);
        }
    }

    /// Waits for the copies of files that were begun after the first `from`.
    pub(crate) async fn wait_for_copies(&mut self, from: usize) {
        for record in self.volumes.wait(from).await {
            self.out.record(record);
        }
    }
}
