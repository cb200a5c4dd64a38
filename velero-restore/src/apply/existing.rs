//! Objects that are in the cluster already.

use serde_json::Value;
use velero_cluster::{PatchKind, WriteOptions};
use velero_core::result::chain;
use velero_core::{ApiResource, ItemTree, RawItem};

use super::create::is_default_account;
use super::item::Work;
use super::run::Run;
use crate::compare::{belongs_to_velero, is_made_by_clusters, same};
use crate::merge_account::merge_patch;
use crate::reset::set_namespace;
use crate::result::ItemAction;
use crate::update_patch::{label_patch, update_patch};

/// Why an equal object is skipped.
const UNCHANGED: &str = "it is in the cluster, as it is in the backup";

impl Run {
    /// Deals with an object of the cluster that an item comes to. `refused` is why it could not be created, where that
    /// was tried.
    pub(super) async fn existing(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        wanted: &ItemTree,
        live: RawItem,
        refused: Option<velero_cluster::Error>,
    ) {
        work.exists = true;
        let live = match live.tree() {
            Ok(live) => live,
            Err(error) => {
                return work.fail(format!(
                    "is in the cluster and cannot be compared: {}",
                    chain(&error)
                ));
            }
        };
        if live.at("/metadata/deletionTimestamp").is_some() {
            work.exists = false;
            return work.leave("not restored: the object in the cluster is being deleted");
        }
        // Either what would be created, or what was backed up: addresses, bindings and nodes are part of the latter only.
        let as_it_was = |work: &mut Work<'_>| !work.remade && Self::same_as_backed_up(work, &live);
        if same(&live, wanted) || as_it_was(work) {
            work.keep(UNCHANGED);
            return self.relabel(work, resource, &live, wanted).await;
        }
        if is_made_by_clusters(&live) {
            return work.keep("it is in the cluster, which makes its own");
        }
        if live.api_version() == "v1" && live.kind() == "ServiceAccount" {
            return self.merge_account(work, resource, &live, wanted).await;
        }
        let because = match refused.filter(|e| e.kind() != velero_cluster::ErrorKind::AlreadyExists)
        {
            Some(error) => format!(" (creating it was refused: {})", chain(&error)),
            None => String::new(),
        };
        if self.request.updates_existing() {
            return self.update(work, resource, &live, wanted, &because).await;
        }
        work.leave(format!(
            "not restored: the object in the cluster differs from the one in the backup{because}"
        ));
    }

    /// Makes an object of the cluster what the backup has, as the policy `update` asks for.
    async fn update(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        live: &ItemTree,
        wanted: &ItemTree,
        because: &str,
    ) {
        if belongs_to_velero(live, self.request.own_namespace()) {
            return work.leave(
                "not updated: it differs from the one in the backup, and belongs to Velero itself",
            );
        }
        if let Some(claim) = holder(live, wanted) {
            return work.leave(format!(
                "not updated: the volume in the cluster is bound to another claim, {claim}"
            ));
        }
        let archived = work.archived();
        let owners = archived
            .as_deref()
            .map_or(&[][..], |a| a.array_at("/metadata/managedFields"));
        let Some(patch) = update_patch(live, wanted, owners) else {
            return work.set(ItemAction::Updated);
        };
        match self.merge_into(work, resource, live, &patch).await {
            Ok(()) => work.set(ItemAction::Updated),
            Err(error) => {
                work.leave(format!(
                    "cannot be updated to what the backup has: {}{because}",
                    chain(&error)
                ));
                self.relabel(work, resource, live, wanted).await;
            }
        }
    }

    /// Writes the labels of this restore on an object that stays as it is otherwise, where the policy is `update`.
    async fn relabel(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        live: &ItemTree,
        wanted: &ItemTree,
    ) {
        if !self.request.updates_existing()
            || is_made_by_clusters(live)
            || is_default_account(live)
            || belongs_to_velero(live, self.request.own_namespace())
        {
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
