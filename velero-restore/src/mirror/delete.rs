//! Deleting what a plan lists.

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use velero_cluster::{DeleteOptions, ErrorKind};
use velero_core::result::{Record, Severity, chain};

use super::Unwanted;
use super::find::digest_of;
use super::gone::await_gone;
use crate::apply::Run;
use crate::result::ItemAction;

/// How often an object whose bookkeeping changes again and again is tried to be deleted.
const TRIES: usize = 10;

/// Deletes objects, kind by kind in their order, and waits until they are gone. What goes wrong is recorded.
///
/// An object is deleted as it was seen only: of this uid and version. One whose status or bookkeeping has changed since
/// is looked at again.
pub(crate) async fn delete(run: &Run, unwanted: Vec<Unwanted>) {
    if unwanted.is_empty() {
        return;
    }
    tracing::info!(
        objects = unwanted.len(),
        "deleting objects that the backup does not have"
    );
    let mut waiting = Vec::new();
    for kind in unwanted.chunk_by(|a, b| a.resource == b.resource) {
        if run.is_cancelled() {
            return;
        }
        let mut left = kind.iter();
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
                    fail(run, one, &message);
                    finish(run, one, ItemAction::Failed);
                }
            }
        }
    }
    await_gone(run, waiting).await;
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
