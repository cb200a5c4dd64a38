//! Volumes within a run.

use velero_core::result::{About, Record, Severity, chain};
use velero_core::{ApiResource, GroupResource, ResourceIdentifier};

use super::facts::PersistentVolume;
use crate::prepared::Prepared;
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
            self.read_claim(key, &items).await;
        }
        for record in self.volumes.protect(&items).await {
            self.note_fault(record);
        }
    }

    /// As [`Run::protect`], for items that are ready.
    pub(crate) async fn protect_ready<'a>(
        &mut self,
        ids: impl Iterator<Item = &'a ResourceIdentifier>,
    ) {
        // A run cannot lend its items while it changes.
        let ready = std::mem::take(&mut self.ready);
        self.protect(ids.filter_map(|id| ready.get(id))).await;
        self.ready = ready;
    }

    /// Notes what went wrong with data: who needs the item is not whole, either.
    fn note_fault(&mut self, record: Record) {
        if let (
            Severity::Error,
            About::Item {
                resource,
                namespace,
                name,
            },
        ) = (record.severity, &record.about)
        {
            self.mark_broken(ResourceIdentifier {
                group_resource: resource.as_str().into(),
                namespace: namespace.clone(),
                name: name.clone(),
            });
        }
        self.out.record(record);
    }

    /// Reads a claim that is not in the backup, but whose data may be.
    async fn read_claim(&mut self, key: (String, String), items: &[&Prepared]) {
        let kind = GroupResource::core("persistentvolumeclaims");
        let Some(resource) = self.request.catalog().get(&kind).cloned() else {
            return;
        };
        match self.cluster.get(&resource, &key.0, &key.1).await {
            Ok(Some(claim)) => {
                let here = items.iter().find(|item| is_volume_of(item, &key));
                let volume = match here {
                    Some(item) => Some(item.original.clone()),
                    None => self.volume_behind(&claim).await,
                };
                self.volumes.learn(key, &claim, volume.as_ref());
            }
            Ok(None) => {}
            Err(error) => {
                let message = format!(
                    "the claim cannot be read, so what becomes of its data is decided without it: {}",
                    chain(&error)
                );
                self.note_fault(Record::item(Severity::Error, &kind, key.0, key.1, message));
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

/// Whether an item is the PersistentVolume that a claim has.
fn is_volume_of(item: &Prepared, claim: &(String, String)) -> bool {
    item.resource.plural == "persistentvolumes"
        && PersistentVolume::read(&item.original)
            .is_some_and(|volume| volume.claim.as_ref() == Some(claim))
}
