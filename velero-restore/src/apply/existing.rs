//! Objects that are in the cluster already.

use serde_json::Value;
use velero_cluster::{ErrorKind, PatchKind, WriteOptions};
use velero_core::result::chain;
use velero_core::{ApiResource, ItemTree, RawItem};

use super::item::Work;
use super::replace::never_replaced;
use super::run::Run;
use crate::compare::{is_headless, same};
use crate::merge_account::merge_patch;
use crate::provided::{PROVIDED, Provided, is_provided, provided};
use crate::reset::set_namespace;
use crate::result::ItemAction;
use crate::update_patch::{label_patch, update_patch};

/// Why an equal object is skipped.
const UNCHANGED: &str = "it is in the cluster, as it is in the backup";

/// What is left to be done about an item whose object is in the cluster.
#[derive(Debug)]
pub(super) enum After {
    /// Nothing.
    Done,
    /// The object cannot be changed: it is to be deleted and created anew. Whether the API server has said that it would
    /// take the new one.
    Replace(Box<RawItem>, bool),
    /// The object has gone since a list has shown it.
    Gone,
}

impl Run {
    /// Deals with an object of the cluster that an item comes to. `refused` is why it could not be created, where that
    /// was tried.
    pub(super) async fn existing(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        wanted: &ItemTree,
        raw: RawItem,
        refused: Option<velero_cluster::Error>,
    ) -> After {
        work.exists = true;
        let live = match raw.tree() {
            Ok(live) => live,
            Err(error) => {
                work.fail(format!(
                    "is in the cluster and cannot be compared: {}",
                    chain(&error)
                ));
                return After::Done;
            }
        };
        if live.at("/metadata/deletionTimestamp").is_some() {
            work.exists = false;
            if !work.waits_for_going() {
                work.leave("not restored: the object in the cluster is being deleted");
            }
            return After::Done;
        }
        self.note_owner(work.item.id, &raw);
        self.note_dependent(work, &live);
        if Self::is_as_wanted(work, &live, wanted) {
            work.keep(UNCHANGED);
            self.relabel(work, resource, &live, wanted).await;
            return After::Done;
        }
        match provided(&live, wanted) {
            Provided::Same => {
                work.keep(PROVIDED);
                return After::Done;
            }
            Provided::Changed => {
                work.leave(format!(
                    "{}; the cluster provides it, and no restore changes it",
                    differs(work, &live)
                ));
                return After::Done;
            }
            Provided::Account | Provided::No => {}
        }
        // A mirror leaves nothing on an account that is not the cluster's.
        let is_merged = !self.request.mirrors() || is_provided(&live);
        let is_changed = self.request.updates_existing();
        let is_left = is_changed && self.homes().await.has(live.namespace());
        if is_merged && !is_left && live.api_version() == "v1" && live.kind() == "ServiceAccount" {
            self.merge_account(work, resource, &live, wanted).await;
            return After::Done;
        }
        if is_changed {
            return self
                .update(work, resource, raw, &live, wanted, refused)
                .await;
        }
        let differs = differs(work, &live);
        work.leave(format!("{differs}{}", because(refused.as_ref())));
        After::Done
    }

    /// Makes an object of the cluster what the backup has, as the policies `update` and `recreate` ask for.
    async fn update(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        raw: RawItem,
        live: &ItemTree,
        wanted: &ItemTree,
        refused: Option<velero_cluster::Error>,
    ) -> After {
        if self.homes().await.own(live) {
            work.leave(
                "not updated: it differs from the one in the backup, and belongs to Velero itself",
            );
            return After::Done;
        }
        if let Some(claim) = holder(live, wanted) {
            work.leave(format!(
                "not updated: the volume in the cluster is bound to another claim, {claim}"
            ));
            return After::Done;
        }
        let archived = work.archived();
        let owners = archived
            .as_deref()
            .map_or(&[][..], |a| a.array_at("/metadata/managedFields"));
        let Some(patch) = update_patch(live, wanted, owners) else {
            work.set(ItemAction::Updated);
            return After::Done;
        };
        let (is_invalid, cause) = match unchangeable(live, wanted) {
            Some(cause) => (true, cause.to_owned()),
            None => match self.merge_into(work, resource, live, &patch).await {
                Ok(()) => {
                    work.set(ItemAction::Updated);
                    return After::Done;
                }
                Err(error) if error.kind() == ErrorKind::NotFound && refused.is_none() => {
                    return After::Gone;
                }
                Err(error) => (is_about_fields(&error), chain(&error)),
            },
        };
        let mut why = because(refused.as_ref());
        let is_valid = refused.map(|e| e.kind() == ErrorKind::AlreadyExists);
        if self.request.recreates_existing() && is_invalid && is_valid != Some(false) {
            match never_replaced(live) {
                None => return After::Replace(Box::new(raw), is_valid == Some(true)),
                Some(reason) => why = format!("; it is not created anew, as {reason}"),
            }
        }
        work.leave(format!(
            "cannot be updated to what the backup has: {cause}{why}"
        ));
        self.relabel(work, resource, live, wanted).await;
        After::Done
    }

    /// Writes the labels of this restore on an object that stays as it is otherwise, where the policy is `update`.
    async fn relabel(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        live: &ItemTree,
        wanted: &ItemTree,
    ) {
        if !self.request.updates_existing() || is_provided(live) || self.homes().await.own(live) {
            return;
        }
        let Some(patch) = label_patch(live, wanted) else {
            return;
        };
        if let Err(error) = self.merge_into(work, resource, live, &patch).await {
            work.fail(format!(
                "the labels of the restore cannot be written: {}",
                chain(&error)
            ));
        }
    }

    async fn merge_into(
        &self,
        work: &Work<'_>,
        resource: &ApiResource,
        live: &ItemTree,
        patch: &Value,
    ) -> Result<(), velero_cluster::Error> {
        let options = WriteOptions::default();
        self.cluster
            .patch(
                resource,
                work.namespace,
                live.name(),
                PatchKind::Merge,
                None,
                patch.to_string().into(),
                &options,
            )
            .await
            .map(|_| ())
    }

    /// Whether a live object is either what would be created, or what was backed up: addresses, bindings and nodes are part
    /// of the latter only.
    pub(super) fn is_as_wanted(work: &mut Work<'_>, live: &ItemTree, wanted: &ItemTree) -> bool {
        same(live, wanted) || (!work.remade && Self::same_as_backed_up(work, live))
    }

    /// Whether a live object is still what was backed up, its namespace aside.
    fn same_as_backed_up(work: &mut Work<'_>, live: &ItemTree) -> bool {
        let Some(archived) = work.archived() else {
            return false;
        };
        let mut item = (*archived).clone();
        if let Some(rules) = work.run.request.modifier_rules() {
            // An object that is as it was backed up is not as the rules want it; what they fail at is recorded already.
            rules.apply(work.item.resource, &mut item);
        }
        set_namespace(&mut item, work.namespace);
        same(live, &item)
    }

    async fn merge_account(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        live: &ItemTree,
        wanted: &ItemTree,
    ) {
        let Some(patch) = merge_patch(live, wanted) else {
            return work.keep("the account in the cluster has all of it");
        };
        match self.merge_into(work, resource, live, &patch).await {
            Ok(()) => work.set(ItemAction::Updated),
            Err(error) => {
                work.leave(format!(
                    "cannot be merged into the account in the cluster: {}",
                    chain(&error)
                ));
                self.relabel(work, resource, live, wanted).await;
            }
        }
    }
}

/// Why an object is left as it is, with its name where the restore gives the item another than the archive has.
fn differs(work: &Work<'_>, live: &ItemTree) -> String {
    let name = match live.name() == work.item.name {
        true => String::new(),
        false => format!(" {:?}", live.name()),
    };
    format!("not restored: the object{name} in the cluster differs from the one in the backup")
}

/// Why an object could not be created, where that says more than that there is one.
fn because(refused: Option<&velero_cluster::Error>) -> String {
    match refused.filter(|error| error.kind() != ErrorKind::AlreadyExists) {
        Some(error) => format!(" (creating it was refused: {})", chain(error)),
        None => String::new(),
    }
}

/// Why no patch can make an object what is wanted, where the API server is not to be asked: it takes the one patch without
/// a change, and breaks off at the other where the address families differ too.
fn unchangeable(live: &ItemTree, wanted: &ItemTree) -> Option<&'static str> {
    let has_address =
        |item: &ItemTree| item.str_at("/spec/type") != "ExternalName" && !is_headless(item);
    let is_service = live.api_version() == "v1" && live.kind() == "Service";
    if is_service && is_headless(live) && has_address(wanted) {
        return Some("a headless service cannot be given an address");
    }
    if is_service && has_address(live) && is_headless(wanted) {
        return Some("a service that has an address cannot become headless");
    }
    None
}

/// The claim that a bound volume would be taken from.
fn holder(live: &ItemTree, wanted: &ItemTree) -> Option<String> {
    let claim = |item: &ItemTree| {
        let at = |field: &str| item.str_at(&format!("/spec/claimRef/{field}")).to_owned();
        (at("namespace"), at("name"))
    };
    let bound = live.kind() == "PersistentVolume" && live.str_at("/status/phase") == "Bound";
    let (namespace, name) = claim(live);
    (bound && claim(live) != claim(wanted)).then(|| format!("{namespace}/{name}"))
}
/// Whether the API server itself refuses a change as one of a field that cannot change. What a policy or a webhook
/// refuses protects the object, and must not lead to its deletion.
fn is_about_fields(error: &velero_cluster::Error) -> bool {
    let of_admission = |message: &str| {
        message.contains("admission webhook") || message.contains("ValidatingAdmissionPolicy")
    };
    error.kind() == ErrorKind::Invalid
        && error
            .call()
            .is_some_and(|call| call.code == 422 && !of_admission(&call.message))
}
