//! Kinds that came after a backup.

use std::collections::HashSet;

use velero_cluster::{ListOptions, ListScope};
use velero_core::result::chain;
use velero_core::{ApiResource, GroupResource, ItemTree, Timestamp};

use super::BackedUp;
use super::found::Search;
use crate::index::is_crd;

/// Kinds that the backup does not name although it names all that there were, and whose definitions are younger than it,
/// in the cluster that it was made of. In another cluster nobody knows what such kinds are there for. The error says what
/// cannot be seen.
pub(super) async fn newer_kinds(
    search: &Search<'_>,
    backed_up: &BackedUp,
) -> Result<HashSet<GroupResource>, String> {
    let is_new = |resource: &&ApiResource| {
        let gr = resource.group_resource();
        backed_up.tells() && backed_up.kind(&gr).is_none()
    };
    let new: Vec<GroupResource> = search
        .catalog
        .preferred()
        .filter(is_new)
        .map(ApiResource::group_resource)
        .collect();
    let mut definitions = search.catalog.preferred();
    let definitions = definitions.find(|resource| is_crd(&resource.group_resource()));
    let (Some(definitions), Some(began), false) = (definitions, backed_up.began(), new.is_empty())
    else {
        return Ok(HashSet::new());
    };
    let unseen = |what: &str, error: &velero_cluster::Error| {
        format!(
            "{what} cannot be listed, so that nothing is deleted of kinds that came after the backup: {}",
            chain(error)
        )
    };
    if !is_of_cluster(search)
        .await
        .map_err(|e| unseen("namespaces", &e))?
    {
        return Ok(HashSet::new());
    }
    let options = ListOptions::default().metadata_only();
    let mut pages = search.cluster.pages(definitions, ListScope::all(), options);
    let mut younger = HashSet::new();
    loop {
        let page = pages.next().await;
        let page = page.map_err(|error| unseen("definitions", &error))?;
        let Some(page) = page else {
            break;
        };
        let names = page.items.iter().filter(|item| {
            let tree = item.tree();
            tree.is_ok_and(|tree| is_younger(&tree, began))
        });
        younger.extend(names.map(|item| item.head().name.clone()));
    }
    let is_younger = |gr: &GroupResource| younger.contains(&gr.to_string());
    Ok(new.into_iter().filter(is_younger).collect())
}

fn is_younger(live: &ItemTree, began: Timestamp) -> bool {
    let created = live.str_at("/metadata/creationTimestamp");
    created
        .parse::<Timestamp>()
        .is_ok_and(|created| created >= began)
}

/// Whether the backup was made of this cluster: a namespace of the archive is there, by its uid.
async fn is_of_cluster(search: &Search<'_>) -> Result<bool, velero_cluster::Error> {
    let gr = GroupResource::core("namespaces");
    let Some(resource) = search.catalog.get(&gr) else {
        return Ok(false);
    };
    let options = ListOptions::default().metadata_only();
    let mut pages = search.cluster.pages(resource, ListScope::all(), options);
    let mut uids: HashSet<String> = HashSet::new();
    while let Some(page) = pages.next().await? {
        uids.extend(page.items.iter().map(|item| item.head().uid.clone()));
    }
    let index = search.run.index();
    for id in index.items_of(&gr) {
        let Some(item) = index.item(id) else {
            continue;
        };
        let bytes = search.run.load(item.location).await;
        let tree = bytes.ok().and_then(|bytes| ItemTree::parse(&bytes).ok());
        if tree.is_some_and(|tree| uids.contains(tree.str_at("/metadata/uid"))) {
            return Ok(true);
        }
    }
    Ok(false)
}
