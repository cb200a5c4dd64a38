//! Volumes within a run.

use velero_core::result::{Record, Severity, chain};
use velero_core::{ApiResource, GroupResource};

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
        for key in self.volumes.unknown_claims(&items) {
            self.read_claim(key).await;
        }
        for record in self.volumes.protect(&items).await {
            self.out.record(record);
        }
    }

    /// Reads a claim that is not in the backup, but whose files may be.
    async fn read_claim(&mut self, key: (String, String)) {
        let kind = GroupResource::core("persistentvolumeclaims");
        let Some(resource) = self.request.catalog().get(&kind).cloned() else {
            return;
        };
        match self.cluster.get(&resource, &key.0, &key.1).await {
            Ok(Some(claim)) => {
                let volume = self.volume_behind(&claim).await;
                self.volumes.learn(key, &claim, volume.as_ref());
            }
            Ok(None) => {}
            Err(error) => {
                let message = format!(
                    "the claim cannot be read, so its files are copied by what the pod says alone: {}",
                    chain(&error)
                );
                self.out
                    .record(Record::item(Severity::Error, &kind, key.0, key.1, message));
            }
        }
    }

    /// Waits for the copies of files that were begun after the first `from`.
    pub(crate) async fn wait_for_copies(&mut self, from: usize) {
        for record in self.volumes.wait(from).await {
            self.out.record(record);
        }
    }
}
