//! Linking objects to the new uids of their owners, where a restore is asked for it.
//!
//! An owner that is there when its dependent is created goes with the object, which costs nothing. One that comes later
//! (pods come before Jobs) is linked by one patch, after the last wave: the exception from one write an object. No patch
//! is needed where a controller of Kubernetes takes the object back by itself ([`is_adopted`]). An owner that the restore
//! does not bring is looked for in the cluster, once for each owner. A reference to an owner that is not there is left
//! out, as the garbage collector would delete the object.
//!
//! Kept are the uids of owners, and a record for each object whose owner comes later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tracing::Instrument as _;
use velero_cluster::{ErrorKind, PatchKind, WriteOptions};
use velero_core::plan::ItemId;
use velero_core::result::{Record, Severity, chain};
use velero_core::{GroupResource, ItemTree, RawItem};

use super::item::{RESTORE_LABELS, Work};
use super::run::{Run, Stage};
use crate::compare::belongs_to_velero;
use crate::index::IndexedItem;
use crate::provided::is_provided;
use crate::relink::{Reference, is_adopted, linked, refers_to, rename_in_managed_fields, united};
use crate::result::OwnerCounts;

/// Tries to link an object while others write to it.
const TRIES: usize = 5;

/// An owner that the restore does not bring: resource, namespace and name.
type Elsewhere = (GroupResource, String, String);
/// Its uid; `None` where it is not there.
type Looked = Arc<OnceCell<Option<String>>>;

/// The owners of a run.
#[derive(Debug, Default)]
pub(super) struct Owners {
    uids: Mutex<HashMap<ItemId, Box<str>>>,
    elsewhere: Mutex<HashMap<Elsewhere, Looked>>,
    late: Mutex<Vec<Late>>,
    counts: Mutex<OwnerCounts>,
}

/// An object whose owner comes later.
#[derive(Debug)]
struct Late {
    item: ItemId,
    /// Name in the cluster, where it differs from the archive's.
    name: Option<Box<str>>,
    uid: Box<str>,
    /// The version that has the references which this run has written; `None` where there may be others.
    version: Option<Box<str>>,
}

/// Where an owner is.
enum Found {
    /// There.
    Uid(String),
    /// It comes later.
    Later,
    /// Its controller links the object.
    ByController,
    /// Nowhere.
    No,
}

impl Owners {
    fn uid(&self, id: ItemId) -> Option<String> {
        let uids = self.uids.lock().unwrap_or_else(PoisonError::into_inner);
        uids.get(&id).map(|uid| uid.to_string())
    }

    fn push(&self, late: Late) {
        let mut all = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(late);
    }

    fn count(&self, note: impl FnOnce(&mut OwnerCounts)) {
        note(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What became of the references.
    pub(super) fn counts(&self) -> OwnerCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    /// Remembers the uid of an object that owns others.
    pub(super) fn note_owner(&self, id: ItemId, live: &RawItem) {
        if self.options.relink_owners && self.index.owners().has(id) {
            let mut uids = self
                .owners
                .uids
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            uids.insert(id, live.head().uid.as_str().into());
        }
    }

    /// Remembers an object that was created before one of its owners.
    pub(super) fn note_late(&self, work: &Work<'_>, live: &RawItem) {
        if let Some(linked) = work.late_owners {
            let head = live.head();
            // Who else is named there was put there by an action.
            let is_ours = head.owners.len() == linked;
            self.owners.push(Late {
                item: work.item.id,
                name: (head.name != work.item.name).then(|| head.name.as_str().into()),
                uid: head.uid.as_str().into(),
                version: is_ours.then(|| head.resource_version.as_str().into()),
            });
        }
    }

    /// Remembers an object of the cluster that lacks owners, if it is the restore's to link: it has created the object in
    /// an earlier try, or may change it.
    pub(super) fn note_dependent(&self, work: &mut Work<'_>, live: &ItemTree) {
        if !self.options.relink_owners
            || is_provided(live)
            || belongs_to_velero(live, self.request.own_namespace())
        {
            return;
        }
        let label = live
            .at("/metadata/labels")
            .and_then(|l| l.get(RESTORE_LABELS[1]));
        let is_ours = label.and_then(Value::as_str) == Some(self.request.restore_label());
        if !(is_ours || self.request.updates_existing()) {
            return;
        }
        let Some(archived) = work.archived() else {
            return;
        };
        let mut references = archived.array_at("/metadata/ownerReferences").iter();
        let lacks = references.any(|reference| {
            Reference::of(reference)
                .is_some_and(|owner| !refers_to(live, &owner) && !is_adopted(live, &owner))
        });
        if lacks {
            self.owners.push(Late {
                item: work.item.id,
                name: None,
                uid: live.str_at("/metadata/uid").into(),
                version: None,
            });
        }
    }

    /// Gives an object that is to be created the owners that are there.
    pub(super) async fn link_owners(
        &self,
        work: &mut Work<'_>,
        item: &mut ItemTree,
        references: &[Value],
    ) {
        let (mut all, mut late, mut dropped) = (Vec::new(), false, 0);
        for reference in references {
            let Some(owner) = Reference::of(reference) else {
                continue;
            };
            match self
                .find_owner(work.stage, &work.item, item, &owner, false)
                .await
            {
                Found::Uid(uid) => {
                    rename_in_managed_fields(item, owner.uid, &uid);
                    all.push(linked(reference, &uid));
                }
                Found::Later => late = true,
                Found::ByController => self.owners.count(|counts| counts.left += 1),
                Found::No => dropped += 1,
            }
        }
        if late {
            work.late_owners = Some(all.len());
        } else {
            self.owners.count(|counts| counts.dropped += dropped);
        }
        self.owners
            .count(|counts| counts.linked += all.len() as u64);
        let has = item.array_at("/metadata/ownerReferences").to_vec();
        if let Some(all) = united(&has, all) {
            item.metadata_mut()
                .insert("ownerReferences".into(), all.into());
        }
    }

    /// Looks for an owner; `at_end` says that nothing comes later.
    async fn find_owner(
        &self,
        stage: &Stage,
        item: &IndexedItem<'_>,
        tree: &ItemTree,
        owner: &Reference<'_>,
        at_end: bool,
    ) -> Found {
        let archived = self.index.owners().find(owner.uid);
        let archived = archived.and_then(|id| self.index.item(id)).filter(|found| {
            found.kind == owner.kind
                && found.name == owner.name
                && (found.namespace.is_empty() || found.namespace == item.namespace)
        });
        if let Some(found) = archived {
            if let Some(uid) = self.owners.uid(found.id) {
                return Found::Uid(uid);
            }
            if !at_end && !self.states.is_done(found.id) && self.comes(stage, &found) {
                return if is_adopted(tree, owner) {
                    Found::ByController
                } else {
                    Found::Later
                };
            }
        }
        if is_adopted(tree, owner) {
            return Found::ByController;
        }
        match self.look_elsewhere(stage, item, owner).await {
            Some(uid) => Found::Uid(uid),
            None => Found::No,
        }
    }

    /// Whether the filters take an item.
    fn comes(&self, stage: &Stage, item: &IndexedItem<'_>) -> bool {
        item.facts.has(crate::Facts::LABELS_MATCH)
            && stage.filters.keeps_related(item.resource, item.namespace)
    }

    /// The uid of an owner that the restore does not bring.
    async fn look_elsewhere(
        &self,
        stage: &Stage,
        item: &IndexedItem<'_>,
        owner: &Reference<'_>,
    ) -> Option<String> {
        let resource = stage.catalog.by_kind(owner.api_version, owner.kind)?;
        let namespace = match (resource.namespaced, item.namespace) {
            (false, _) => "",
            (true, "") => return None,
            (true, source) => self.request.target_namespace(source),
        };
        let key = (
            resource.group_resource(),
            namespace.to_owned(),
            owner.name.to_owned(),
        );
        let cell = {
            let mut all = self
                .owners
                .elsewhere
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(key).or_default())
        };
        let look = async {
            match self.cluster.get(resource, namespace, owner.name).await {
                Ok(found) => found
                    .filter(|live| !live.head().deleting)
                    .map(|live| live.head().uid.clone()),
                Err(error) => {
                    let message = format!("cannot be looked for as an owner: {}", chain(&error));
                    let resource = &resource.group_resource();
                    self.record(Record::item(
                        Severity::Warning,
                        resource,
                        namespace,
                        owner.name,
                        message,
                    ));
                    None
                }
            }
        };
        cell.get_or_init(|| look).await.clone()
    }

    /// Links the objects whose owners came later. The waves are over.
    pub(super) async fn link_late_owners(self: &Arc<Self>, stage: &Arc<Stage>) {
        let late = {
            let mut all = self
                .owners
                .late
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *all)
        };
        let mut tasks = JoinSet::new();
        for one in late {
            if self.is_cancelled() {
                break;
            }
            while tasks.len() >= self.items_in_flight() {
                tasks.join_next().await;
            }
            let (run, stage) = (Arc::clone(self), Arc::clone(stage));
            tasks.spawn(async move { run.link_late(&stage, one).await }.in_current_span());
        }
        while tasks.join_next().await.is_some() {}
        let counts = self.owners.counts();
        if self.options.relink_owners {
            tracing::info!(
                linked = counts.linked,
                later = counts.linked_later,
                by_controllers = counts.left,
                not_there = counts.dropped,
                "owners of restored objects"
            );
        }
    }

    async fn link_late(&self, stage: &Stage, late: Late) {
        let Some(item) = self.index.item(late.item) else {
            return;
        };
        let namespace = match item.namespace {
            "" => "",
            source => self.request.target_namespace(source),
        };
        match self.try_link(stage, &item, namespace, &late).await {
            Ok(true) => self.owners.count(|counts| counts.linked_later += 1),
            Ok(false) => {}
            Err(message) => self.record(Record::item(
                Severity::Error,
                item.resource,
                namespace,
                late.name.as_deref().unwrap_or(item.name),
                format!("its owners cannot be set: {message}"),
            )),
        }
    }

    /// Sets the owners of an object; `false` where there is nothing to set.
    async fn try_link(
        &self,
        stage: &Stage,
        item: &IndexedItem<'_>,
        namespace: &str,
        late: &Late,
    ) -> Result<bool, String> {
        let bytes = self.load(item.location).await.map_err(|e| e.chain())?;
        let tree = ItemTree::parse(&bytes).map_err(|e| chain(&e))?;
        let owners = self.owners_now(stage, item, &tree).await;
        let kind = stage.catalog.by_kind(item.api_version, item.kind);
        let (Some(resource), false) = (kind, owners.is_empty()) else {
            return Ok(false);
        };
        let name = late.name.as_deref().unwrap_or(item.name);
        let mut version = late.version.clone();
        let mut wanted = Some(owners.clone());
        for _ in 0..TRIES {
            if version.is_none() {
                let found = self.cluster.get(resource, namespace, name).await;
                let Some(live) = found
                    .map_err(|e| chain(&e))?
                    .filter(|live| live.head().uid == *late.uid && !live.head().deleting)
                else {
                    // It has gone meanwhile, and needs no owner.
                    return Ok(false);
                };
                let tree = live.tree().map_err(|e| chain(&e))?;
                wanted = united(tree.array_at("/metadata/ownerReferences"), owners.clone());
                version = Some(live.head().resource_version.as_str().into());
            }
            let (Some(at), Some(all)) = (version.take(), &wanted) else {
                return Ok(false);
            };
            let body = json!({"metadata": {"uid": late.uid, "resourceVersion": at, "ownerReferences": all}});
            let (options, body) = (WriteOptions::default(), body.to_string().into());
            let kind = PatchKind::Merge;
            let patched = self
                .cluster
                .patch(resource, namespace, name, kind, None, body, &options);
            match patched.await {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(chain(&error)),
            }
        }
        Err(format!("others changed it {TRIES} times meanwhile"))
    }

    /// The owners of an object that are there now.
    async fn owners_now(
        &self,
        stage: &Stage,
        item: &IndexedItem<'_>,
        tree: &ItemTree,
    ) -> Vec<Value> {
        let mut all = Vec::new();
        for reference in tree.array_at("/metadata/ownerReferences") {
            let Some(owner) = Reference::of(reference) else {
                continue;
            };
            match self.find_owner(stage, item, tree, &owner, true).await {
                Found::Uid(uid) => all.push(linked(reference, &uid)),
                Found::ByController | Found::Later => {}
                Found::No => self.owners.count(|counts| counts.dropped += 1),
            }
        }
        all
    }
}
