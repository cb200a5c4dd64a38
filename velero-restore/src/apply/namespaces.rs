//! Namespaces: each is made sure of once in a run.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{Notify, OnceCell};
use tokio::time::Instant;
use velero_cluster::{ErrorKind, WriteOptions};
use velero_core::plan::ItemVerdict;
use velero_core::result::{Record, chain};
use velero_core::{ApiResource, GroupResource, ItemTree, RawItem};

use super::run::{Run, Stage};
use crate::ownership::{self, Ownership};
use crate::reset::reset;
use crate::result::ItemAction;

type Ensured = Result<bool, String>;

/// The namespaces of a run, by name in the cluster.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    cells: Mutex<HashMap<String, Arc<Cell>>>,
}

/// What is known of one namespace.
#[derive(Debug, Default)]
struct Cell {
    ensured: OnceCell<Ensured>,
    /// Whether it was seen to be deleted, before what came of it is known.
    going: AtomicBool,
    noticed: Notify,
    /// How it differs from what a new one would be, where it does.
    differs: OnceLock<Box<ItemVerdict>>,
}

impl Cell {
    /// Notes that the namespace is being deleted; `true` the first time.
    fn notice(&self) -> bool {
        let first = !self.going.swap(true, Ordering::AcqRel);
        self.noticed.notify_waiters();
        first
    }
}

impl Namespaces {
    fn cell(&self, name: &str) -> Arc<Cell> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.get(name) {
            return Arc::clone(cell);
        }
        Arc::clone(cells.entry(name.to_owned()).or_default())
    }

    /// Notes that a namespace is there and differs; what was noted first stays.
    pub(super) fn differs(&self, name: &str, found: ItemVerdict) {
        let _ = self.cell(name).differs.set(Box::new(found));
    }

    /// How a namespace that is there differs.
    pub(super) fn difference(&self, name: &str) -> Option<ItemVerdict> {
        let cell = self.cell(name);
        cell.differs.get().map(|found| ItemVerdict::clone(found))
    }
}

/// Namespaces that every cluster has: looking first spares a call.
pub(super) const ALWAYS_THERE: [&str; 4] =
    ["default", "kube-system", "kube-public", "kube-node-lease"];

impl Run {
    /// Makes sure that a namespace exists, once in a run; later callers get the first one's answer.
    ///
    /// `Ok(true)` when this run has created it. `source` is the namespace of the archive whose labels, annotations and
    /// spec a new one gets, unless the plan says otherwise.
    pub(super) async fn ensure_namespace(
        &self,
        stage: &Stage,
        target: &str,
        source: &str,
    ) -> Ensured {
        let cell = self.namespaces.cell(target);
        let source = self.planned.get(target).map_or(source, String::as_str);
        let ensure = || async {
            if self.rehearsal.is_some() {
                return self.rehearse_namespace(stage, target, source).await;
            }
            let ensured = self.find_or_create(stage, target, source).await;
            if ensured == Ok(true) {
                self.finish_item(
                    false,
                    Some(("v1/Namespace", "", target, ItemAction::Created)),
                );
            }
            ensured
        };
        cell.ensured.get_or_init(ensure).await.clone()
    }

    /// As [`Run::ensure_namespace`], but does not wait for a namespace that is being deleted: `None` for that one.
    pub(super) async fn try_namespace(
        &self,
        stage: &Stage,
        target: &str,
        source: &str,
    ) -> Option<Ensured> {
        let cell = self.namespaces.cell(target);
        if let Some(ensured) = cell.ensured.get() {
            return Some(ensured.clone());
        }
        let mut noticed = pin!(cell.noticed.notified());
        noticed.as_mut().enable();
        if cell.going.load(Ordering::Acquire) {
            return None;
        }
        tokio::select! {
            biased;
            ensured = self.ensure_namespace(stage, target, source) => Some(ensured),
            () = noticed => None,
        }
    }

    pub(super) async fn find_or_create(
        &self,
        stage: &Stage,
        target: &str,
        source: &str,
    ) -> Ensured {
        let resource = stage
            .catalog
            .get(&GroupResource::core("namespaces"))
            .ok_or_else(|| "the cluster serves no namespaces".to_owned())?;
        let deadline = Instant::now() + self.options.terminating_timeout;
        let mut body = self.namespace_body(target, source).await?;
        let (options, owners) = match ownership::decide(&mut body, &[]) {
            Ownership::Create(manager) => (WriteOptions::default().field_manager(manager), None),
            Ownership::CreateThenPatch(owners) => (WriteOptions::default(), Some(owners)),
        };
        let wanted = body;
        let body = Bytes::from(wanted.as_value().to_string());
        let mut look = ALWAYS_THERE.contains(&target);
        loop {
            if look && let Some(live) = self.usable(resource, target, deadline).await? {
                self.note_space(target, &live, &wanted);
                return Ok(self.namespace_made_before(resource, &wanted, owners).await);
            }
            match self
                .cluster
                .create(resource, "", target, body.clone(), &options)
                .await
            {
                Ok(live) => {
                    if let Some(owners) = owners.filter(|_| self.rehearsal.is_none()) {
                        self.give_namespace_to(resource, live, owners).await;
                    }
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists && error.maybe_done() => {
                    return Ok(true);
                }
                Err(error)
                    if error.kind() == ErrorKind::AlreadyExists
                        && (!look || Instant::now() < deadline) =>
                {
                    look = true
                }
                // Who may not make namespaces can still have been given this one.
                Err(error) if error.kind() == ErrorKind::Forbidden && !look => {
                    let refusal = not_created(target, &error);
                    let live = self.usable(resource, target, deadline).await;
                    let live = live.map_err(|also| format!("{refusal}; nor looked at: {also}"))?;
                    self.note_space(target, &live.ok_or(refusal)?, &wanted);
                    return Ok(self.namespace_made_before(resource, &wanted, owners).await);
                }
                Err(error) => return Err(not_created(target, &error)),
            }
        }
    }

    /// A namespace, if it exists; one that is being deleted is waited for until it is gone.
    async fn usable(
        &self,
        resource: &ApiResource,
        target: &str,
        deadline: Instant,
    ) -> Result<Option<RawItem>, String> {
        loop {
            let live = self
                .cluster
                .get(resource, "", target)
                .await
                .map_err(|e| chain(&e))?;
            match live {
                None => return Ok(None),
                Some(live) if !is_terminating(&live) => return Ok(Some(live)),
                Some(_) if self.namespaces.cell(target).notice() => {
                    let limit = self.options.terminating_timeout.as_secs();
                    self.tell_wait(&format!(
                        "namespace {target} to be gone, which is being deleted, for up to {limit}s"
                    ));
                }
                Some(_) => {}
            }
            if !self.pause(deadline, self.options.poll_interval).await {
                return Err(if self.is_cancelled() {
                    format!("cancelled while waiting for namespace {target} to be gone")
                } else {
                    let waited = self.options.terminating_timeout.as_secs();
                    format!("namespace {target} is still being deleted after {waited}s")
                });
            }
        }
    }

    /// Sets who owns the fields of a new namespace; it can be used whether that works or not.
    pub(super) async fn give_namespace_to(
        &self,
        resource: &ApiResource,
        live: RawItem,
        owners: Vec<Value>,
    ) {
        let name = live.head().name.clone();
        let set = self.set_managed_fields(resource, "", live, owners);
        if let Err((severity, message)) = set.await {
            let namespaces = &GroupResource::core("namespaces");
            self.record(Record::item(severity, namespaces, "", &name, message));
        }
    }

    async fn namespace_body(&self, target: &str, source: &str) -> Result<ItemTree, String> {
        let mut body = match self.archived_namespace(source).await {
            Some(archived) => archived,
            None => ItemTree::new(json!({"apiVersion": "v1", "kind": "Namespace"}))
                .map_err(|e| chain(&e))?,
        };
        body.metadata_mut()
            .insert("name".into(), Value::from(target));
        body.remove_labels(&["kubernetes.io/metadata.name"]);
        Ok(body)
    }

    /// The namespace as the archive has it; `None` when it is not there or no object.
    async fn archived_namespace(&self, source: &str) -> Option<ItemTree> {
        let id = self
            .index
            .find(&GroupResource::core("namespaces"), "", source)?;
        let bytes = self.load(self.index.item(id)?.location).await.ok()?;
        let mut tree = ItemTree::parse(&bytes).ok()?;
        reset(&mut tree)?;
        Some(tree)
    }
}

fn not_created(target: &str, error: &velero_cluster::Error) -> String {
    format!("namespace {target} cannot be created: {}", chain(error))
}

fn is_terminating(namespace: &RawItem) -> bool {
    namespace.head().deleting || namespace.head().phase == "Terminating"
}
