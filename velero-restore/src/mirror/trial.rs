//! Deletions that the API server is asked to try out.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt as _, StreamExt as _};
use velero_cluster::{Cluster, DeleteOptions, ErrorKind};
use velero_core::plan::{ItemVerdict, LiveObject, Verdict};
use velero_core::result::{Record, Severity, chain};
use velero_core::{ApiResource, ItemTree};

use super::find::Finder;
use super::found::Unwanted;
use super::look::{Candidate, named};
use crate::apply::digest;
use crate::index::is_crd;
use crate::verify::content;

/// Deletions that are tried out at the same time; the cluster's limiter decides how many calls go out.
const AT_ONCE: usize = 32;

impl Finder<'_> {
    /// Asks the API server whether it would delete objects and keeps those that it would; what is refused now is told, and
    /// is an error then. Gives for each whether it is refused.
    pub(super) async fn try_out(
        &mut self,
        resource: &Arc<ApiResource>,
        candidates: Vec<Candidate>,
    ) -> Vec<bool> {
        let cluster = self.search.cluster;
        let mut left = candidates.into_iter();
        let mut under_way = FuturesOrdered::new();
        let mut refused = Vec::new();
        loop {
            while under_way.len() < AT_ONCE
                && let Some(candidate) = left.next()
            {
                under_way.push_back(trial(cluster, resource, candidate));
            }
            let Some((candidate, tried)) = under_way.next().await else {
                break;
            };
            match tried {
                Ok(false) => {}
                Ok(true) => {
                    refused.push(false);
                    self.keep(resource, candidate);
                }
                // It has just become another one.
                Err(error) if error.kind() == ErrorKind::Conflict => refused.push(true),
                Err(error) => {
                    refused.push(true);
                    self.held.insert(candidate.raw.head().namespace.clone());
                    let why = format!("it cannot be deleted: {}", chain(&error));
                    self.block(unwanted(resource, candidate), &why).await;
                }
            }
        }
        refused
    }

    /// Keeps an object that is to be deleted.
    fn keep(&mut self, resource: &Arc<ApiResource>, candidate: Candidate) {
        let head = candidate.raw.head();
        if resource.group_resource().is("", "persistentvolumeclaims") {
            let claim = (head.namespace.clone(), head.name.clone());
            self.claims.insert(claim);
        }
        self.found.unwanted.push(unwanted(resource, candidate));
    }

    /// Tells that an object stays which the backup does not have: an error of the restore, too.
    pub(super) async fn block(&mut self, one: Unwanted, why: &str) {
        let item = ItemVerdict {
            verdict: Verdict::Blocked,
            error: true,
            reason: format!("the backup does not have it{}; {why}", one.goes_with_it),
            ..one.found()
        };
        self.found.notes.push(Record::item(
            Severity::Error,
            one.resource.group_resource(),
            &*one.namespace,
            &*one.name,
            format!("the backup does not have it, and {why}"),
        ));
        self.tell(item).await;
    }
}

impl Unwanted {
    /// What is told of it, its verdict aside.
    pub(super) fn found(&self) -> ItemVerdict {
        ItemVerdict {
            live: Some(LiveObject {
                uid: self.uid.to_string(),
                resource_version: self.version.to_string(),
                content: self.content.to_string(),
            }),
            ..named(&self.resource, &self.namespace, &self.name)
        }
    }
}

fn unwanted(resource: &Arc<ApiResource>, candidate: Candidate) -> Unwanted {
    let (head, gr) = (candidate.raw.head(), resource.group_resource());
    let is_slow = gr.is("", "pods")
        || gr.is("", "namespaces")
        || is_crd(&gr)
        || !candidate.tree.array_at("/metadata/finalizers").is_empty();
    Unwanted {
        resource: Arc::clone(resource),
        namespace: head.namespace.as_str().into(),
        name: head.name.as_str().into(),
        uid: head.uid.as_str().into(),
        version: head.resource_version.as_str().into(),
        content: digest_of(candidate.tree).into(),
        goes_with_it: candidate.goes_with_it,
        is_slow,
    }
}

/// Asks the API server whether it would delete an object.
fn trial<'a>(
    cluster: &'a Cluster,
    resource: &'a ApiResource,
    candidate: Candidate,
) -> BoxFuture<'a, (Candidate, Result<bool, velero_cluster::Error>)> {
    async move {
        let head = candidate.raw.head();
        let options = DeleteOptions::default()
            .uid(head.uid.as_str())
            .propagation("Background");
        let tried = cluster
            .delete(resource, &head.namespace, &head.name, &options)
            .await;
        (candidate, tried)
    }
    .boxed()
}

/// A digest of what an object says; its status and its bookkeeping aside.
pub(super) fn digest_of(tree: ItemTree) -> String {
    content(tree)
        .map(|value| digest(&value))
        .unwrap_or_default()
}
