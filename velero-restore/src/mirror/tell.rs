//! Telling what a search has found.

use velero_core::plan::{ItemVerdict, Verdict};
use velero_core::result::{Record, Severity};

use super::find::Finder;
use super::found::Unwanted;
use crate::verify::Finding;

/// Kinds that a note names.
const NAMED: usize = 20;

impl Finder<'_> {
    /// Takes off the list what owns objects of the backup: the garbage collector would delete these as well. What holds
    /// such an owner stays with it: its definition, its namespace, and the volume of a claim.
    pub(super) async fn keep_owners(&mut self) {
        let owners = self.family.owners_of_backed_up();
        let (kept, unwanted): (Vec<_>, Vec<_>) = std::mem::take(&mut self.found.unwanted)
            .into_iter()
            .partition(|one| owners.contains(&*one.uid));
        self.found.unwanted = unwanted;
        for one in kept {
            self.emptied.remove(&one.resource.group_resource());
            self.held.insert(one.namespace.to_string());
            let claim = (one.namespace.to_string(), one.name.to_string());
            let is_claim = one
                .resource
                .group_resource()
                .is("", "persistentvolumeclaims");
            let bound = self
                .bound
                .iter()
                .filter(|(_, bound)| is_claim && *bound == claim);
            let volumes: Vec<_> = bound.map(|(uid, _)| uid.clone()).collect();
            let why = "it is not deleted: it owns objects that the backup has, and they would be deleted with it";
            self.block(one, why).await;
            for volume in volumes {
                self.keep_volume(&volume).await;
            }
        }
    }

    /// Takes a volume off the list whose claim stays.
    async fn keep_volume(&mut self, uid: &str) {
        let mut unwanted = self.found.unwanted.iter();
        if let Some(at) = unwanted.position(|one| *one.uid == *uid) {
            let volume = self.found.unwanted.remove(at);
            self.emptied.remove(&volume.resource.group_resource());
            self.block(volume, "it is not deleted: its claim stays")
                .await;
        }
    }

    /// Tells what is to be deleted.
    pub(super) async fn tell_unwanted(&mut self) {
        for one in &self.found.unwanted {
            self.tell(deleted(one)).await;
        }
    }

    /// Says of which kinds nothing is deleted.
    pub(super) async fn tell_unknown(&mut self) {
        let more = self.unknown.len().saturating_sub(NAMED);
        let names: Vec<&str> = self
            .unknown
            .iter()
            .take(NAMED)
            .map(String::as_str)
            .collect();
        if names.is_empty() {
            return;
        }
        let others = match more {
            0 => String::new(),
            more => format!(" and {more} more kinds"),
        };
        let message = format!(
            "nothing is deleted of {}{others}, as nobody knows what the backup lacks of them: it has not read them to the end, has \
             none and does not say that it has looked, or has left some out by their labels, which may be others now; the \
             restore may include kinds by name, but for those that were not read to the end",
            names.join(", ")
        );
        self.note(message).await;
    }

    pub(super) async fn note(&mut self, message: String) {
        let record = Record::run(Severity::Warning, message);
        self.found.notes.push(record.clone());
        let _ = self.search.findings.send(Finding::Note(record)).await;
    }

    /// Tells a finding; nobody taking it any more ends the run elsewhere.
    pub(super) async fn tell(&self, item: ItemVerdict) {
        let _ = self
            .search
            .findings
            .send(Finding::Item(Box::new(item)))
            .await;
    }
}

fn deleted(one: &Unwanted) -> ItemVerdict {
    ItemVerdict {
        verdict: Verdict::Delete,
        reason: format!("the backup does not have it{}", one.goes_with_it),
        ..one.found()
    }
}
