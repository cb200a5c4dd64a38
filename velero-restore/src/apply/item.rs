//! One item, from the archive into the cluster. Mirrors `restoreItem` in upstream's `pkg/restore/restore.go`.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use velero_core::ItemTree;
use velero_core::plan::ItemId;
use velero_core::result::{Record, Severity, chain};

use super::later::Delay;
use super::rehearse::Draft;
use super::run::{Run, Stage};
use super::states::{Claim, Ticket};
use crate::filters::is_data_upload;
use crate::index::{IndexedItem, is_crd};
use crate::provided::{PROVIDED, is_of_its_cluster};
use crate::reset::{label, reset, set_namespace};
use crate::result::ItemAction;

/// How an item came out, for those who asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ItemEnd {
    /// Whether the object exists in the cluster.
    pub(super) exists: bool,
    /// Whether there were records about it or about items it asked for.
    pub(super) records: bool,
    /// Whether nothing has come of it yet, as it is taken up once more later.
    pub(super) put_off: bool,
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
    /// How many owners it is created with, where others come later.
    pub(super) late_owners: Option<usize>,
    /// The status that the archive has.
    pub(super) status: Option<Value>,
    pub(super) action: Option<ItemAction>,
    /// Why nothing is done with it, where that is so.
    pub(super) skipped: &'static str,
    /// Name in the cluster, where it differs from the archive's.
    pub(super) name: Option<String>,
    pub(super) exists: bool,
    pub(super) records: bool,
    pub(super) delay: Delay,
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
            put_off: false,
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
        let may_put_off = self.later.is_open();
        let end = self
            .restore(stage, id, Some(bytes), true, may_put_off)
            .await;
        if end.put_off {
            self.later.add(id);
        }
    }

    /// Restores an item unless somebody has done so or is at it; waits for the latter.
    pub(super) fn restore<'a>(
        self: &'a Arc<Self>,
        stage: &'a Arc<Stage>,
        id: ItemId,
        bytes: Option<Bytes>,
        planned: bool,
        may_put_off: bool,
    ) -> Pin<Box<dyn Future<Output = ItemEnd> + Send + 'a>> {
        let done = |exists| ItemEnd {
            exists,
            ..ItemEnd::default()
        };
        Box::pin(async move {
            loop {
                match self.states.claim(id) {
                    Claim::Done(exists) => {
                        if planned {
                            self.finish_item(true, None);
                        }
                        return done(exists);
                    }
                    Claim::Running => {
                        if let Some(exists) = self.states.finished(id).await {
                            return done(exists);
                        }
                    }
                    Claim::Mine(mut ticket) => {
                        ticket.may_put_off = may_put_off;
                        return self.restore_mine(stage, id, bytes, planned, ticket).await;
                    }
                }
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
            late_owners: None,
            status: None,
            action: None,
            skipped: "nothing is left to be done",
            name: None,
            exists: false,
            records: false,
            delay: Delay::new(ticket.may_put_off),
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
        if work.delay.is() {
            ticket.give_back();
            return ItemEnd {
                records: work.records,
                put_off: true,
                ..ItemEnd::default()
            };
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
        let ensured = match ticket.may_put_off {
            true => self.try_namespace(stage, target, item.name).await,
            false => Some(self.ensure_namespace(stage, target, item.name).await),
        };
        let Some(ensured) = ensured else {
            ticket.give_back();
            return ItemEnd {
                put_off: true,
                ..ItemEnd::default()
            };
        };
        self.tell_namespace(item, &ensured).await;
        if ensured == Ok(false) {
            self.warn_of_space(target);
        }
        let failed = ("v1/Namespace", "", target, ItemAction::Failed);
        let is_failed = ensured.is_err() && self.rehearsal.is_none();
        if planned || is_failed {
            self.finish_item(planned, is_failed.then_some(failed));
        }
        match ensured {
            Ok(_) => {
                ticket.set_exists();
                ItemEnd {
                    exists: true,
                    ..ItemEnd::default()
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
                    records: true,
                    ..ItemEnd::default()
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
        let is_upload = is_data_upload(work.item.resource);
        if !is_upload && !work.enter_namespace(self, stage).await {
            return;
        }
        if is_of_its_cluster(&item) {
            return work.skip(PROVIDED);
        }
        work.status = item.remove("", "status").filter(|status| !status.is_null());
        let owners = match self.options.relink_owners {
            true => item.array_at("/metadata/ownerReferences").to_vec(),
            false => Vec::new(),
        };
        if reset(&mut item).is_none() {
            return work.fail("cannot be restored: it has no metadata");
        }
        if work.item.resource.is("", "persistentvolumes") {
            item = match self.settle_volume(work, item).await {
                Some(item) => item,
                None => return,
            };
        }
        let Some(mut item) = self.run_actions(stage, work, item).await else {
            return;
        };
        if is_upload {
            return work.skip("it is for actions alone, which bring its data back");
        }
        let lost = self.settle_claim(work, &mut item);
        self.modify(work, &mut item);
        set_namespace(&mut item, work.namespace);
        label(
            &mut item,
            self.request.backup_label(),
            self.request.restore_label(),
        );
        self.settle_name(work, &mut item);
        if !owners.is_empty() {
            self.link_owners(work, &mut item, &owners).await;
        }
        let volume = self.volume_of_moved(work, &item);
        self.write_when_gone(work, item).await;
        if work.action == Some(ItemAction::Created) {
            self.record_lost_data(work, lost);
            if let Some(volume) = volume {
                self.warn_of_taken_volume(work, &volume).await;
            }
        }
        if work.exists && is_crd(work.item.resource) && self.rehearsal.is_none() {
            self.await_definition(work).await;
        }
    }
}

/// The labels that a restore adds.
pub(super) const RESTORE_LABELS: [&str; 2] = [
    velero_core::names::labels::BACKUP_NAME,
    velero_core::names::labels::RESTORE_NAME,
];
