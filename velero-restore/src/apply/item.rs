//! One item, from the archive into the cluster. Mirrors `restoreItem` in upstream's `pkg/restore/restore.go`.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use velero_core::plan::ItemId;
use velero_core::result::{Record, Severity, chain};
use velero_core::{GroupResource, ItemTree};

use super::rehearse::Draft;
use super::run::{Run, Stage};
use super::states::{Claim, Ticket};
use crate::index::{IndexedItem, is_crd};
use crate::reset::{label, reset, set_namespace};
use crate::result::ItemAction;
use crate::volumes::{VolumeFate, fate, prepare_claim, prepare_volume};

/// How an item came out, for those who asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ItemEnd {
    /// Whether the object exists in the cluster.
    pub(super) exists: bool,
    /// Whether there were records about it or about items it asked for.
    pub(super) records: bool,
}

/// What is being worked on: records about it, and what has become of it.
pub(super) struct Work<'a> {
    pub(super) run: &'a Run,
    pub(super) stage: &'a Stage,
    pub(super) item: IndexedItem<'a>,
    /// Namespace in the cluster, empty for cluster-scoped items.
    pub(super) namespace: &'a str,
    /// The bytes of the archive, which parse.
    bytes: Bytes,
    /// The tree of these bytes, where somebody has asked for it.
    archived: Option<Arc<ItemTree>>,
    /// Whether it is to be another than it was, beyond what its old cluster gave it.
    pub(super) remade: bool,
    /// The status that the archive has.
    pub(super) status: Option<Value>,
    pub(super) action: Option<ItemAction>,
    /// Why nothing is done with it, where that is so.
    pub(super) skipped: &'static str,
    /// Name in the cluster, where it differs from the archive's.
    pub(super) name: Option<String>,
    pub(super) exists: bool,
    pub(super) records: bool,
    /// Whether the object of the cluster differs and was left as it was.
    pub(super) left: bool,
    pub(super) errors: bool,
    /// What is known where the run only looks.
    pub(super) draft: Draft,
}

impl Work<'_> {
    /// The item as the archive has it.
    pub(super) fn archived(&mut self) -> Option<Arc<ItemTree>> {
        if self.archived.is_none() {
            self.archived = ItemTree::parse(&self.bytes).ok().map(Arc::new);
        }
        self.archived.clone()
    }

    pub(super) fn warn(&mut self, message: impl std::fmt::Display) {
        self.say(Severity::Warning, &message);
    }

    /// Warns that the object of the cluster, which is not what the archive has, was left as it was.
    pub(super) fn leave(&mut self, message: impl std::fmt::Display) {
        self.left = true;
        self.warn(message);
    }

    pub(super) fn fail(&mut self, message: impl std::fmt::Display) {
        self.errors = true;
        self.say(Severity::Error, &message);
    }

    fn say(&mut self, severity: Severity, message: &dyn std::fmt::Display) {
        self.records = true;
        if self.run.rehearsal.is_some() {
            return self.draft.reasons.push(message.to_string());
        }
        self.run.record(Record::item(
            severity,
            self.item.resource,
            self.namespace,
            self.item.name,
            message,
        ));
    }

    /// Notes how the item came out.
    fn finish(self, planned: bool) -> ItemEnd {
        let otherwise = if self.records {
            ItemAction::Failed
        } else {
            ItemAction::Skipped
        };
        let action = self.action.unwrap_or(otherwise);
        let kind = format!("{}/{}", self.item.api_version, self.item.kind);
        let name = self.name.as_deref().unwrap_or(self.item.name);
        if action == ItemAction::Skipped {
            let resource = self.item.resource.to_string();
            tracing::info!(
                resource,
                namespace = self.namespace,
                name,
                "skipped: {}",
                self.skipped
            );
        }
        if action == ItemAction::Failed && self.left && !self.errors {
            self.run.count_left();
        }
        self.run
            .finish_item(planned, Some((&kind, self.namespace, name, action)));
        ItemEnd {
            exists: self.exists,
            records: self.records,
        }
    }

    /// Says why nothing is done with the item. Records about it count for more.
    pub(super) fn skip(&mut self, why: &'static str) {
        self.skipped = why;
    }

    /// Says that the object is in the cluster already, and why it stays as it is.
    pub(super) fn keep(&mut self, why: &'static str) {
        self.skip(why);
        self.set(ItemAction::Skipped);
    }

    pub(super) fn set(&mut self, action: ItemAction) {
        self.action = Some(action);
        self.exists = true;
    }
}

impl Run {
    /// Restores an item of the plan whose bytes are at hand.
    pub(crate) async fn restore_planned(
        self: &Arc<Self>,
        stage: &Arc<Stage>,
        id: ItemId,
        bytes: Bytes,
    ) {
        self.restore(stage, id, Some(bytes), true).await;
    }

    /// Restores an item unless somebody has done so or is at it; waits for the latter.
    pub(super) fn restore<'a>(
        self: &'a Arc<Self>,
        stage: &'a Arc<Stage>,
        id: ItemId,
        bytes: Option<Bytes>,
        planned: bool,
    ) -> Pin<Box<dyn Future<Output = ItemEnd> + Send + 'a>> {
        Box::pin(async move {
            match self.states.claim(id) {
                Claim::Done(exists) => {
                    if planned {
                        self.finish_item(true, None);
                    }
                    ItemEnd {
                        exists,
                        records: false,
                    }
                }
                Claim::Running => ItemEnd {
                    exists: self.states.finished(id).await,
                    records: false,
                },
                Claim::Mine(ticket) => self.restore_mine(stage, id, bytes, planned, ticket).await,
            }
        })
    }

    async fn restore_mine(
        self: &Arc<Self>,
        stage: &Arc<Stage>,
        id: ItemId,
        bytes: Option<Bytes>,
        planned: bool,
        mut ticket: Ticket<'_>,
    ) -> ItemEnd {
        let Some(item) = self.index.item(id) else {
            return ItemEnd::default();
        };
        if item.resource.is("", "namespaces") {
            return self
                .restore_namespace(stage, &item, planned, &mut ticket)
                .await;
        }
        let namespace = if item.namespace.is_empty() {
            ""
        } else {
            self.request.target_namespace(item.namespace)
        };
        let mut work = Work {
            run: self,
            stage,
            item,
            namespace,
            bytes: Bytes::new(),
            archived: None,
            remade: false,
            status: None,
            action: None,
            skipped: "nothing is left to be done",
            name: None,
            exists: false,
            records: false,
            left: false,
            errors: false,
            draft: Draft::default(),
        };
        match self.tree_of(&item, bytes).await {
            Ok((tree, bytes)) => {
                work.bytes = bytes;
                self.restore_tree(stage, &mut work, tree).await;
            }
            Err(message) => work.fail(message),
        }
        if work.exists {
            ticket.set_exists();
        }
        if self.rehearsal.is_some() {
            self.finish_item(planned, None);
            return self.tell_verdict(work).await;
        }
        work.finish(planned)
    }

    async fn tree_of(
        &self,
        item: &IndexedItem<'_>,
        bytes: Option<Bytes>,
    ) -> Result<(ItemTree, Bytes), String> {
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => self.load(item.location).await.map_err(|e| e.chain())?,
        };
        ItemTree::parse(&bytes)
            .map(|tree| (tree, bytes))
            .map_err(|e| chain(&e))
    }

    async fn restore_namespace(
        &self,
        stage: &Stage,
        item: &IndexedItem<'_>,
        planned: bool,
        ticket: &mut Ticket<'_>,
    ) -> ItemEnd {
        let target = self.request.target_namespace(item.name);
        let ensured = self.ensure_namespace(stage, target, item.name).await;
        self.tell_namespace(item, &ensured).await;
        if planned {
            self.finish_item(true, None);
        }
        match ensured {
            Ok(_) => {
                ticket.set_exists();
                ItemEnd {
                    exists: true,
                    records: false,
                }
            }
            Err(message) => {
                if self.rehearsal.is_none() {
                    self.record(Record::item(
                        Severity::Error,
                        item.resource,
                        "",
                        target,
                        message,
                    ));
                }
                ItemEnd {
                    exists: false,
                    records: true,
                }
            }
        }
    }

    async fn restore_tree(
        self: &Arc<Self>,
        stage: &Arc<Stage>,
        work: &mut Work<'_>,
        mut item: ItemTree,
    ) {
        if !work.namespace.is_empty()
            && let Err(message) = self
                .ensure_namespace(stage, work.namespace, work.item.namespace)
                .await
        {
            return work.fail(message);
        }
        if is_made_in_every_namespace(&work.item) {
            return work.skip("every cluster makes its own");
        }
        let is_volume = work.item.resource.is("", "persistentvolumes");
        if is_volume && fate(work.item.name, &self.index, &self.request).is_provisioned() {
            return work.skip("its claim gets a new volume");
        }
        work.status = item.remove("", "status").filter(|status| !status.is_null());
        if reset(&mut item).is_none() {
            return work.fail("cannot be restored: it has no metadata");
        }
        if is_volume {
            work.remade = prepare_volume(&mut item, &self.request);
        }
        let Some(mut item) = self.run_actions(stage, work, item).await else {
            return;
        };
        let lost = self.prepare_claim(work, &mut item);
        self.modify(work, &mut item);
        set_namespace(&mut item, work.namespace);
        label(
            &mut item,
            self.request.backup_label(),
            self.request.restore_label(),
        );
        self.write(work, item).await;
        if work.action == Some(ItemAction::Created) {
            self.record_lost_data(work, lost);
        }
        if work.exists && is_crd(work.item.resource) && self.rehearsal.is_none() {
            self.await_definition(work).await;
        }
    }

    /// Frees a claim of its binding; gives the method of the backup that has data which does not come back.
    fn prepare_claim(&self, work: &mut Work<'_>, item: &mut ItemTree) -> Option<String> {
        if !work.item.resource.is("", "persistentvolumeclaims") {
            return None;
        }
        let volume = work
            .archived()
            .map(|archived| archived.str_at("/spec/volumeName").to_owned())
            .unwrap_or_default();
        if volume.is_empty() {
            return None;
        }
        let fate = fate(&volume, &self.index, &self.request);
        prepare_claim(item, &fate);
        match fate {
            VolumeFate::DataLost(method) => Some(method),
            _ => None,
        }
    }

    fn record_lost_data(&self, work: &mut Work<'_>, lost: Option<String>) {
        if let Some(method) = lost {
            work.fail(format!("the claim was created without its data: it was backed up by {method}, which this version cannot restore"));
        }
        if work.item.resource.is("", "pods") && self.request.restores_volumes() {
            let key = (work.item.namespace.to_owned(), work.item.name.to_owned());
            if let Some(method) = self.pod_files.get(&key) {
                work.fail(format!("volumes of the pod have lost their data: it was backed up by {method}, which this version cannot restore"));
            }
        }
    }
}

/// Kubernetes puts this into each namespace, with the cluster's own content.
fn is_made_in_every_namespace(item: &IndexedItem<'_>) -> bool {
    *item.resource == GroupResource::core("configmaps") && item.name == "kube-root-ca.crt"
}

/// The labels that a restore adds.
pub(super) const RESTORE_LABELS: [&str; 2] = [
    velero_core::names::labels::BACKUP_NAME,
    velero_core::names::labels::RESTORE_NAME,
];
