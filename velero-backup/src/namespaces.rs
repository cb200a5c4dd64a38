//! The namespaces that a cluster has.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;
use velero_cluster::{Cluster, Error, ErrorKind, ListOptions, ListScope};
use velero_core::filter::Pattern;
use velero_core::{ApiResource, GroupResource, ItemHead, RawItem};

/// Namespaces that are read at the same time.
const CONCURRENCY: usize = 8;

/// Bytes of Namespace objects that are kept for the run, about 10,000 objects. Of more than that only the heads are, and
/// the run lists them again.
const KEPT_BYTES: usize = 12 << 20;

/// How long Namespace objects that were read to resolve a backup are good enough to be stored.
const RECENT: Duration = Duration::from_secs(60);

/// The namespaces of a cluster at one moment, for all steps of one backup: what fills in its spec, what resolves its
/// filters, and the run, which stores the objects as they are here when it begins within a minute.
///
/// Clones share the data.
#[derive(Debug, Clone, Default)]
pub struct LiveNamespaces {
    heads: Arc<[ItemHead]>,
    objects: Option<Objects>,
}

/// All Namespace objects of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    items: Arc<[RawItem]>,
    at: Instant,
}

impl Objects {
    /// The objects, unless they were read too long ago.
    pub(crate) fn recent(&self) -> Option<Arc<[RawItem]>> {
        (self.at.elapsed() < RECENT).then(|| Arc::clone(&self.items))
    }
}

impl LiveNamespaces {
    /// What filters look at, in the API server's order, each namespace once.
    pub fn heads(&self) -> &[ItemHead] {
        &self.heads
    }

    pub(crate) fn objects(&self) -> Option<Objects> {
        self.objects.clone()
    }
}

/// Namespaces that are known by other means. A run lists them again for their objects.
impl From<Vec<ItemHead>> for LiveNamespaces {
    fn from(heads: Vec<ItemHead>) -> Self {
        Self {
            heads: heads.into(),
            objects: None,
        }
    }
}

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
) -> Result<LiveNamespaces, Error> {
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
            Ok(heads.into_iter().flatten().collect::<Vec<_>>().into())
        }
        outcome => outcome,
    }
}

async fn list(
    cluster: &Cluster,
    resource: &ApiResource,
    options: &ListOptions,
) -> Result<LiveNamespaces, Error> {
    let at = Instant::now();
    let mut pages = cluster.pages(resource, ListScope::all(), options.clone());
    let (mut heads, mut items, mut known) = (Vec::new(), Vec::new(), HashSet::new());
    let (mut bytes, mut whole) = (0, true);
    while let Some(page) = pages.next().await? {
        if page.restarted {
            (heads, items, known) = (Vec::new(), Vec::new(), HashSet::new());
            (bytes, whole) = (0, true);
        }
        // The run tells of elements that are no objects.
        whole &= page.bad.is_empty();
        for item in page.items {
            if !known.insert(item.head().name.clone()) {
                continue;
            }
            bytes += item.json().len();
            heads.push(item.head().clone());
            if bytes <= KEPT_BYTES {
                items.push(item);
            }
        }
    }
    let objects = (whole && items.len() == heads.len()).then(|| Objects {
        items: items.into(),
        at,
    });
    Ok(LiveNamespaces {
        heads: heads.into(),
        objects,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn objects_grow_old() {
        let objects = Objects {
            items: Arc::new([]),
            at: Instant::now(),
        };
        tokio::time::advance(RECENT - Duration::from_millis(1)).await;
        assert!(objects.recent().is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(objects.recent().is_none());
    }
}
