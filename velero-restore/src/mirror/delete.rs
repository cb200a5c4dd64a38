//! Deleting what a plan lists.

use std::collections::HashMap;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use velero_cluster::{DeleteOptions, ErrorKind};
use velero_core::result::{Record, Severity, chain};

use super::Unwanted;
use super::contents::contents;
use super::gone::await_gone;
use super::trial::digest_of;
use crate::apply::Run;
use crate::index::is_crd;
use crate::result::ItemAction;

/// How often an object whose bookkeeping changes again and again is tried to be deleted.
const TRIES: usize = 10;

/// Deletes objects, kind by kind in their order, and waits until they are gone. What goes wrong is recorded.
///
/// An object is deleted as it was seen only: of this uid and version. One whose status or bookkeeping has changed since
/// is looked at again. Where items could not be restored, `errors` of them, nothing is deleted. What holds other objects
/// (namespaces, definitions, volumes) stays when something could not be deleted, or when anything is in it by now.
pub(crate) async fn delete(run: &Run, unwanted: Vec<Unwanted>, errors: usize) {
    if unwanted.is_empty() {
        return;
    }
    if errors > 0 {
        let objects = unwanted.len();
        return run.record(Record::run(
            Severity::Error,
            format!(
                "none of the {objects} objects is deleted that the backup does not have, as its items were not restored \
                 without errors ({errors})"
            ),
        ));
    }
    tracing::info!(
        objects = unwanted.len(),
        "deleting objects that the backup does not have"
    );
    let mut waiting = Vec::new();
    let mut failed = false;
    for kind in unwanted.chunk_by(|a, b| a.resource == b.resource) {
        if run.is_cancelled() {
            return;
        }
        let held = match kind.first() {
            Some(one) if holds_others(one) => {
                await_gone(run, std::mem::take(&mut waiting)).await;
                held(run, kind, failed).await
            }
            _ => HashMap::new(),
        };
        for (one, why) in kind
            .iter()
            .filter_map(|one| Some((one, held.get(&one.uid)?)))
        {
            fail(run, one, why);
            finish(run, one, ItemAction::Failed);
        }
        let mut left = kind.iter().filter(|one| !held.contains_key(&one.uid));
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < run.items_in_flight()
                && let Some(one) = left.next()
            {
                under_way.push(deletion(run, one));
            }
            let Some((one, outcome)) = under_way.next().await else {
                break;
            };
            match outcome {
                Ok(()) => {
                    finish(run, one, ItemAction::Deleted);
                    if one.is_slow {
                        waiting.push(one);
                    }
                }
                Err(message) => {
                    failed = true;
                    fail(run, one, &message);
                    finish(run, one, ItemAction::Failed);
                }
            }
        }
    }
    await_gone(run, waiting).await;
}

/// Whether other objects go with an object of this kind.
fn holds_others(one: &Unwanted) -> bool {
    let gr = one.resource.group_resource();
    gr.is("", "namespaces") || gr.is("", "persistentvolumes") || is_crd(&gr)
}

/// Why objects that hold others are not deleted, by their uids.
async fn held(run: &Run, kind: &[Unwanted], failed: bool) -> HashMap<Box<str>, String> {
    let mut all = HashMap::new();
    for one in kind {
        let why = match failed {
            true => Some("something that was to be deleted before it is still there".to_owned()),
            false => contents(run, one).await,
        };
        if let Some(why) = why {
            all.insert(one.uid.clone(), format!("not deleted: {why}"));
        }
    }
    all
}

fn deletion<'a>(
    run: &'a Run,
    one: &'a Unwanted,
) -> BoxFuture<'a, (&'a Unwanted, Result<(), String>)> {
    async move { (one, delete_one(run, one).await) }.boxed()
}

async fn delete_one(run: &Run, one: &Unwanted) -> Result<(), String> {
    let (resource, namespace, name) = (&one.resource, &*one.namespace, &*one.name);
    let mut version = one.version.to_string();
    for _ in 0..TRIES {
        if run.is_cancelled() {
            return Err("not deleted: the restore was cancelled".to_owned());
        }
        let options = DeleteOptions::default()
            .uid(&*one.uid)
            .resource_version(version)
            .propagation("Background");
        match run
            .cluster()
            .delete(resource, namespace, name, &options)
            .await
        {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => return Err(chain(&error)),
        }
        let live = run.cluster().get(resource, namespace, name).await;
        let live =
            live.map_err(|error| format!("cannot be deleted, nor read: {}", chain(&error)))?;
        let Some(live) = live else {
            return Ok(());
        };
        let head = live.head();
        if head.uid != *one.uid {
            return Err(
                "not deleted: another object of its name is there since the plan was made"
                    .to_owned(),
            );
        }
        if head.deleting {
            return Ok(());
        }
        let content = live.tree().map(digest_of).unwrap_or_default();
        if content != *one.content {
            return Err("not deleted: it has changed since the plan was made".to_owned());
        }
        if !head.owners.is_empty() {
            return Err("not deleted: it has an owner by now, who decides about it".to_owned());
        }
        version = head.resource_version.clone();
    }
    Err(format!(
        "not deleted: others have changed it {TRIES} times meanwhile"
    ))
}

pub(super) fn fail(run: &Run, one: &Unwanted, message: &str) {
    let resource = one.resource.group_resource();
    let (namespace, name) = (&*one.namespace, &*one.name);
    run.record(Record::item(
        Severity::Error,
        &resource,
        namespace,
        name,
        message,
    ));
}

fn finish(run: &Run, one: &Unwanted, action: ItemAction) {
    let kind = format!("{}/{}", one.resource.api_version(), one.resource.kind);
    let (namespace, name) = (&*one.namespace, &*one.name);
    if action == ItemAction::Deleted {
        let resource = one.resource.group_resource().to_string();
        tracing::info!(
            resource,
            namespace,
            name,
            "deleted: the backup does not have it"
        );
    }
    run.finish_item(false, Some((&kind, namespace, name, action)));
}
