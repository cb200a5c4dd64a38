//! Creating an object.

use bytes::Bytes;
use serde_json::Value;
use velero_cluster::{ErrorKind, PatchKind, WriteOptions};
use velero_core::result::{Severity, chain};
use velero_core::{ApiResource, ItemTree, RawItem};

use super::existing::After;
use super::item::{RESTORE_LABELS, Work};
use super::run::Run;
use super::status::{StatusWrite, wants_status};
use crate::ownership::{self, Ownership, after_conflict, is_status, patch_body};
use crate::result::ItemAction;

/// Tries to set managedFields while others write to the object.
const PATCH_TRIES: usize = 5;
/// What is said of an object that went meanwhile.
const GONE: &str = "was deleted before its managed fields were set";

/// What is to be done about an object once it is created.
pub(super) struct Rest {
    pub(super) ownership: Ownership,
    pub(super) status: Option<StatusWrite>,
}

impl Rest {
    /// In whose name the object is created.
    pub(super) fn manager(&self) -> &str {
        match &self.ownership {
            Ownership::Create(manager) => manager,
            Ownership::CreateThenPatch(_) => ownership::OWN_MANAGER,
        }
    }
}

impl Run {
    /// Creates the object, or deals with one that is there.
    pub(super) async fn write(&self, work: &mut Work<'_>, mut item: ItemTree) {
        if self.rehearsal.is_some() {
            return self.rehearse(work, item).await;
        }
        let stage = work.stage;
        let Some(resource) = stage.catalog.by_kind(item.api_version(), item.kind()) else {
            return work.fail(format!(
                "the cluster does not serve {} {}",
                item.api_version(),
                item.kind()
            ));
        };
        let listed = self.bulk.take(work.item.id, &item);
        if listed.is_none()
            && is_default_account(&item)
            && let Some(live) = self.await_default_account(work, resource).await
        {
            self.bulk.met(work.item.resource);
            // Accounts are merged, whatever the policy.
            self.existing(work, resource, &item, live, None).await;
            return;
        }
        let rest = rest_of(work, resource, &mut item);
        if let Some(live) = listed {
            if self.is_made_before(work, &live, &item) {
                return self.created_before(work, resource, live, rest).await;
            }
            let pod = self.pod_made_before(work, &live);
            match self.existing(work, resource, &item, live, None).await {
                After::Done => {
                    if let Some(pod) = pod {
                        self.hooks.pod_created(&pod);
                    }
                    return;
                }
                After::Replace(live, is_valid) => {
                    return self
                        .replace(work, resource, &item, *live, rest, is_valid)
                        .await;
                }
                After::Gone => work.exists = false,
            }
        }
        let options = WriteOptions::default().field_manager(rest.manager());
        let body = json_of(&item);
        let object = (item.name(), body);
        match self.create(work, resource, object, &options).await {
            Ok(live) => {
                self.bulk.missed(work.item.resource);
                self.created(work, resource, live, rest).await;
            }
            Err(error) => self.not_created(work, resource, &item, rest, error).await,
        }
    }

    pub(super) async fn created(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        mut live: RawItem,
        rest: Rest,
    ) {
        work.set(ItemAction::Created);
        if work.item.resource.is("", "pods") {
            self.hooks.pod_created(&live);
        }
        self.note_owner(work.item.id, &live);
        self.note_late(work, &live);
        if live.head().name != work.item.name {
            work.name = Some(live.head().name.clone());
        }
        let mut has_status = true;
        if let Some(write) = &rest.status {
            (live, has_status) = match self.write_status(work, resource, live, write).await {
                Ok(live) => (live, true),
                Err(live) => (live, false),
            };
        }
        if let Ownership::CreateThenPatch(mut entries) = rest.ownership {
            entries.retain(|entry| has_status || !is_status(entry));
            self.patch_managed_fields(work, resource, live, entries)
                .await;
        }
    }

    async fn not_created(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        wanted: &ItemTree,
        rest: Rest,
        error: velero_cluster::Error,
    ) {
        if !self.says_why(work, &error) {
            return;
        }
        if self.waits_for_webhook(work, &error) {
            return;
        }
        let live = match self.read_refused(work, resource, wanted, &error).await {
            Ok(Some(live)) => live,
            Ok(None) => return work.fail(chain(&error)),
            Err(message) => return work.fail(message),
        };
        if error.maybe_done() && self.is_made_now(&live) {
            // The first try was carried out, only its answer was lost.
            return self.created(work, resource, live, rest).await;
        }
        if self.is_made_before(work, &live, wanted) {
            return self.created_before(work, resource, live, rest).await;
        }
        let pod = self.pod_made_before(work, &live);
        let after = self
            .existing(work, resource, wanted, live, Some(error))
            .await;
        if let After::Replace(live, is_valid) = after {
            self.replace(work, resource, wanted, *live, rest, is_valid)
                .await;
        } else if let Some(pod) = pod {
            self.hooks.pod_created(&pod);
        }
    }

    /// Whether the API server has said why it creates no object; where not, that is an error of the item.
    pub(super) fn says_why(&self, work: &mut Work<'_>, error: &velero_cluster::Error) -> bool {
        if matches!(
            error.kind(),
            ErrorKind::Unreachable
                | ErrorKind::Untrusted
                | ErrorKind::Timeout
                | ErrorKind::Cancelled
                | ErrorKind::Unauthorized
        ) {
            work.fail(chain(error));
            return false;
        }
        if error.kind() == ErrorKind::AlreadyExists {
            self.bulk.met(work.item.resource);
        }
        true
    }

    /// Reads an object whose creation was refused. Whatever the API server complains about: one that is there is not
    /// created again. The error is a message with both causes.
    pub(super) async fn read_refused(
        &self,
        work: &Work<'_>,
        resource: &ApiResource,
        wanted: &ItemTree,
        error: &velero_cluster::Error,
    ) -> Result<Option<RawItem>, String> {
        let read = self.cluster.get(resource, work.namespace, wanted.name());
        read.await.map_err(|second| {
            format!(
                "{}; it cannot be read either: {}",
                chain(error),
                chain(&second)
            )
        })
    }

    pub(super) async fn patch_managed_fields(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        live: RawItem,
        archived: Vec<Value>,
    ) {
        let set = self.set_managed_fields(resource, work.namespace, live, archived);
        match set.await {
            Ok(()) => {}
            Err((Severity::Warning, message)) => work.warn(message),
            Err((Severity::Error, message)) => work.fail(message),
        }
    }

    /// Sets the managedFields of an object that was just created.
    ///
    /// The error says how bad it is: an object that others delete or keep changing meanwhile is worth a warning.
    pub(super) async fn set_managed_fields(
        &self,
        resource: &ApiResource,
        namespace: &str,
        mut live: RawItem,
        archived: Vec<Value>,
    ) -> Result<(), (Severity, String)> {
        let failed = |error: &velero_cluster::Error| {
            let message = format!("its managed fields cannot be set: {}", chain(error));
            (Severity::Error, message)
        };
        let mut entries = archived.clone();
        for _ in 0..PATCH_TRIES {
            let head = live.head();
            let body = patch_body(&head.uid, &head.resource_version, &entries).to_string();
            let options = WriteOptions::default();
            let patched = self
                .cluster
                .patch(
                    resource,
                    namespace,
                    &head.name,
                    PatchKind::Merge,
                    None,
                    body.into(),
                    &options,
                )
                .await;
            match patched {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err((Severity::Warning, format!("{GONE}: {}", chain(&error))));
                }
                Err(error) => return Err(failed(&error)),
            }
            let uid = live.head().uid.clone();
            live = match self
                .cluster
                .get(resource, namespace, &live.head().name)
                .await
            {
                Ok(Some(now)) if now.head().uid == uid => now,
                Ok(_) => return Err((Severity::Warning, GONE.to_owned())),
                Err(error) => return Err(failed(&error)),
            };
            if let Ok(tree) = live.tree() {
                entries = after_conflict(&tree, &archived);
            }
        }
        Err((
            Severity::Warning,
            format!(
                "its managed fields are not set: others changed it {PATCH_TRIES} times meanwhile"
            ),
        ))
    }
}

/// Decides in whose names the object and its status are written. Where a kind has no status of its own to write, the
/// status goes with the object.
pub(super) fn rest_of(work: &mut Work<'_>, resource: &ApiResource, item: &mut ItemTree) -> Rest {
    let wanted = wants_status(&work.stage.filters, work.item.resource, item);
    match work.status.take().filter(|_| wanted) {
        Some(status) if resource.has_status => {
            let (ownership, manager) =
                ownership::decide_with_status(item, &RESTORE_LABELS, &status);
            let status = Some(StatusWrite { status, manager });
            Rest { ownership, status }
        }
        status => {
            if let (Some(status), Some(object)) = (status, item.as_value_mut().as_object_mut()) {
                object.insert("status".into(), status);
            }
            Rest {
                ownership: ownership::decide(item, &RESTORE_LABELS),
                status: None,
            }
        }
    }
}

/// The object as it is sent.
pub(super) fn json_of(item: &ItemTree) -> Bytes {
    // Keys of a tree are text and its numbers are finite, so that it always has a JSON form.
    serde_json::to_vec(item.as_value())
        .unwrap_or_default()
        .into()
}

/// Kubernetes puts this account into each namespace a moment after it was created.
pub(super) fn is_default_account(item: &ItemTree) -> bool {
    item.api_version() == "v1" && item.kind() == "ServiceAccount" && item.name() == "default"
}
