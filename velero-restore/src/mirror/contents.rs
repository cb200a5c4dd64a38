//! What lies in a namespace, or is of a definition's kind, right before it is deleted.

use velero_cluster::{ListOptions, ListScope};
use velero_core::result::chain;
use velero_core::{ApiResource, RawItem};

use super::Unwanted;
use super::spaces::is_trace;
use crate::apply::Run;
use crate::index::is_crd;
use crate::provided::is_provided;

/// What would be deleted with an object, in words; `None` where nothing is in it.
///
/// What is being deleted, what has an owner, and what the cluster itself puts there does not count. A list that fails
/// counts: nobody knows then.
pub(super) async fn contents(run: &Run, one: &Unwanted) -> Option<String> {
    let gr = one.resource.group_resource();
    let catalog = run.cluster().catalog();
    let is_listed =
        |resource: &&ApiResource| resource.verbs.has("list") && resource.verbs.has("delete");
    if is_crd(&gr) {
        let defined = catalog
            .preferred()
            .filter(is_listed)
            .find(|resource| resource.group_resource().to_string() == *one.name);
        return look(run, defined?, ListScope::all()).await;
    }
    if !gr.is("", "namespaces") {
        return None;
    }
    for resource in catalog.preferred().filter(is_listed) {
        let gr = resource.group_resource();
        let passes = is_trace(resource) || gr.is("", "endpoints");
        if !resource.namespaced || passes {
            continue;
        }
        if let Some(found) = look(run, resource, ListScope::namespace(&*one.name)).await {
            return Some(found);
        }
    }
    None
}

async fn look(run: &Run, resource: &ApiResource, scope: ListScope) -> Option<String> {
    let gr = resource.group_resource();
    let mut pages = run.cluster().pages(resource, scope, ListOptions::default());
    loop {
        match pages.next().await {
            Ok(Some(page)) => {
                if let Some(bad) = page.bad.first() {
                    return Some(format!("it holds {gr} that cannot be read: {}", bad.reason));
                }
                if let Some(item) = page.items.iter().find(|item| counts(item)) {
                    let head = item.head();
                    return Some(format!(
                        "it holds {gr} {}, which is not to be deleted",
                        head.name
                    ));
                }
            }
            Ok(None) => return None,
            Err(error) => {
                return Some(format!(
                    "what it holds of {gr} cannot be listed: {}",
                    chain(&error)
                ));
            }
        }
    }
}

fn counts(item: &RawItem) -> bool {
    let head = item.head();
    !head.deleting && head.owners.is_empty() && item.tree().is_ok_and(|tree| !is_provided(&tree))
}
