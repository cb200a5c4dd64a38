//! The namespaces that a cluster has.

use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use velero_cluster::{Cluster, Error, ErrorKind, ListOptions, ListScope};
use velero_core::filter::Pattern;
use velero_core::{ApiResource, GroupResource, ItemHead};

/// Namespaces that are read at the same time.
const CONCURRENCY: usize = 8;

/// The namespaces of a cluster.
///
/// Where the credentials do not allow to list them, and `included` names some without patterns, those are read one by
/// one; one that may not even be read is taken to exist.
///
/// # Errors
/// When they cannot be read.
pub async fn live_namespaces(
    cluster: &Cluster,
    options: &ListOptions,
    included: &[String],
) -> Result<Vec<ItemHead>, Error> {
    let gr = GroupResource::core("namespaces");
    let catalog = cluster.catalog();
    let resource = catalog.get(&gr).ok_or(Error::Unserved { resource: gr })?;
    let named = !included.is_empty()
        && included
            .iter()
            .all(|name| name != "*" && !Pattern::new(name.as_str()).is_glob());
    match list(cluster, resource, options).await {
        Err(error) if named && error.kind() == ErrorKind::Forbidden => {
            // Boxed: the compiler does not see that unboxed ones may move between threads.
            let mut reads = Vec::new();
            for name in included.iter().filter(|name| !name.is_empty()) {
                reads.push(read(cluster, resource, name).boxed());
            }
            let heads: Vec<Option<ItemHead>> = stream::iter(reads)
                .buffered(CONCURRENCY)
                .try_collect()
                .await?;
            Ok(heads.into_iter().flatten().collect())
        }
        outcome => outcome,
    }
}

async fn list(
    cluster: &Cluster,
    resource: &ApiResource,
    options: &ListOptions,
) -> Result<Vec<ItemHead>, Error> {
    let mut pages = cluster.pages(resource, ListScope::all(), options.clone());
    let mut heads = Vec::new();
    while let Some(page) = pages.next().await? {
        if page.restarted {
            heads.clear();
        }
        heads.extend(page.items.iter().map(|item| item.head().clone()));
    }
    Ok(heads)
}

async fn read(
    cluster: &Cluster,
    resource: &ApiResource,
    name: &str,
) -> Result<Option<ItemHead>, Error> {
    match cluster.get(resource, "", name).await {
        Ok(item) => Ok(item.map(|item| item.head().clone())),
        Err(error) if error.kind() == ErrorKind::Forbidden => Ok(Some(ItemHead {
            name: name.to_owned(),
            phase: "Active".to_owned(),
            ..ItemHead::default()
        })),
        Err(error) => Err(error),
    }
}
