//! Waiting until deleted objects are gone.

use std::collections::HashSet;

use tokio::time::Instant;
use velero_cluster::{ListOptions, ListScope};
use velero_core::RawItem;
use velero_core::result::chain;

use super::Unwanted;
use super::delete::fail;
use crate::apply::{FIRST_PAUSE, Run};

/// Objects of a kind up to which each is looked at by itself.
const FEW: usize = 16;

/// Waits until objects are gone; one that is still there at the deadline is an error that names what holds it.
pub(super) async fn await_gone(run: &Run, mut waiting: Vec<&Unwanted>) {
    let limit = run.options().terminating_timeout;
    let deadline = Instant::now() + limit;
    let (mut pause, mut told) = (FIRST_PAUSE, false);
    waiting.sort_by_key(|one| one.resource.group_resource());
    loop {
        waiting = still_there(run, waiting).await;
        let Some(first) = waiting.first() else {
            return;
        };
        if !told {
            let more = match waiting.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let what = place(first);
            run.tell_wait(&format!(
                "{what}{more} to be gone, which the backup does not have, for up to {}s",
                limit.as_secs()
            ));
            told = true;
        }
        if !run.pause(deadline, pause).await {
            break;
        }
        pause = (pause * 2).min(run.options().poll_interval);
    }
    for one in waiting {
        let message = match run.is_cancelled() {
            true => "was deleted; cancelled while waiting for it to be gone".to_owned(),
            false => {
                let held = held(run, one).await;
                format!(
                    "was deleted, and is still there after {}s{held}",
                    limit.as_secs()
                )
            }
        };
        fail(run, one, &message);
    }
}

async fn still_there<'a>(run: &Run, waiting: Vec<&'a Unwanted>) -> Vec<&'a Unwanted> {
    let mut left = Vec::new();
    for kind in waiting.chunk_by(|a, b| a.resource == b.resource) {
        match kind.len() <= FEW {
            true => {
                for one in kind {
                    if read(run, one)
                        .await
                        .is_none_or(|live| is_it(one, live.as_ref()))
                    {
                        left.push(*one);
                    }
                }
            }
            false => left.extend(listed(run, kind).await),
        }
    }
    left
}

/// The objects of one kind that a list shows; all of them where it fails.
async fn listed<'a>(run: &Run, kind: &[&'a Unwanted]) -> Vec<&'a Unwanted> {
    let Some(first) = kind.first() else {
        return Vec::new();
    };
    let mut namespaces = kind.iter().map(|one| &*one.namespace);
    let scope =
        match !first.namespace.is_empty() && namespaces.all(|other| *other == *first.namespace) {
            true => ListScope::namespace(&*first.namespace),
            false => ListScope::all(),
        };
    let options = ListOptions::default().metadata_only();
    let mut pages = run.cluster().pages(&first.resource, scope, options);
    let mut there: HashSet<String> = HashSet::new();
    let wanted: HashSet<&str> = kind.iter().map(|one| &*one.uid).collect();
    loop {
        match pages.next().await {
            Ok(Some(page)) => {
                let uids = page.items.iter().map(|item| item.head().uid.clone());
                there.extend(uids.filter(|uid| wanted.contains(uid.as_str())));
            }
            Ok(None) => break,
            Err(error) => {
                let error = chain(&error);
                tracing::info!(
                    error,
                    "deleted objects cannot be listed, they may be there still"
                );
                return kind.to_vec();
            }
        }
    }
    let is_there = |one: &&&Unwanted| there.contains(&*one.uid);
    kind.iter().filter(is_there).copied().collect()
}

/// The object of this name; `None` when it cannot be read.
async fn read(run: &Run, one: &Unwanted) -> Option<Option<RawItem>> {
    let (namespace, name) = (&*one.namespace, &*one.name);
    run.cluster().get(&one.resource, namespace, name).await.ok()
}

fn is_it(one: &Unwanted, live: Option<&RawItem>) -> bool {
    live.is_some_and(|live| live.head().uid == *one.uid)
}

/// What holds an object.
async fn held(run: &Run, one: &Unwanted) -> String {
    let live = read(run, one).await.flatten();
    let tree = live.and_then(|live| live.tree().ok());
    let finalizers = tree.iter().flat_map(|tree| {
        let own = tree.array_at("/metadata/finalizers");
        own.iter().chain(tree.array_at("/spec/finalizers"))
    });
    let names: Vec<&str> = finalizers.filter_map(|name| name.as_str()).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(", held by {}", names.join(", ")),
    }
}

fn place(one: &Unwanted) -> String {
    let resource = one.resource.group_resource();
    match &*one.namespace {
        "" => format!("{resource} {}", one.name),
        namespace => format!("{resource} {namespace}/{}", one.name),
    }
}
