//! Namespaces of which the backup has nothing.

use std::sync::Arc;

use velero_cluster::{ListOptions, ListScope};
use velero_core::result::chain;
use velero_core::{ApiResource, GroupResource, RawItem};

use super::find::Finder;
use super::look::{Candidate, excluded};
use super::stays::{goes_with_it, stays};

impl Finder<'_> {
    /// Looks at namespaces of which the backup has nothing and that the restore includes by name.
    pub(super) async fn namespaces(&mut self) {
        let gr = GroupResource::core("namespaces");
        let Some(resource) = self.search.catalog.get(&gr).cloned().map(Arc::new) else {
            return;
        };
        if self.is_narrow || !self.scope.takes_namespaces(&resource) {
            return;
        }
        for name in self.scope.new_namespaces().to_vec() {
            if self.search.cancel.is_cancelled() {
                return;
            }
            let why = match self.held.contains(&name) {
                true => Some("something in it stays".to_owned()),
                false => self.holds_unlisted(&name).await,
            };
            if let Some(why) = why {
                self.tell(excluded(&resource, "", &name, &why)).await;
                continue;
            }
            let live = match self.search.cluster.get(&resource, "", &name).await {
                Ok(Some(live)) if live.head().phase != "Terminating" => live,
                Ok(_) => continue,
                Err(error) => {
                    self.note(format!(
                        "namespace {name} cannot be read: {}",
                        chain(&error)
                    ))
                    .await;
                    continue;
                }
            };
            if !self.scope.has(&gr, "", &name) {
                self.namespace(&resource, live).await;
            }
        }
    }

    /// What a namespace has, or may have, of kinds that no backup has and that would be deleted with it: snapshots of
    /// volumes, custom resources of Velero.
    async fn holds_unlisted(&self, namespace: &str) -> Option<String> {
        let counts = |resource: &&ApiResource| {
            let verbs = &resource.verbs;
            resource.namespaced && verbs.has("list") && verbs.has("delete") && !is_trace(resource)
        };
        for resource in self.unlisted.iter().filter(counts) {
            let gr = resource.group_resource();
            let options = ListOptions::default().page_size(1).metadata_only();
            let scope = ListScope::namespace(namespace);
            let mut pages = self.search.cluster.pages(resource, scope, options);
            match pages.next().await {
                Ok(None) => {}
                Ok(Some(page)) => {
                    if let Some(item) = page.items.first() {
                        return Some(format!("it holds {gr} {}", item.head().name));
                    }
                }
                Err(error) => {
                    return Some(format!(
                        "what it holds of {gr} cannot be listed: {}",
                        chain(&error)
                    ));
                }
            }
        }
        None
    }

    async fn namespace(&mut self, resource: &Arc<ApiResource>, live: RawItem) {
        let Ok(tree) = live.tree() else {
            return;
        };
        if stays(&tree, self.homes).is_some() {
            return;
        }
        let goes_with_it = goes_with_it(&tree);
        let candidate = Candidate {
            raw: live,
            tree,
            goes_with_it,
        };
        self.try_out(resource, vec![candidate]).await;
    }
}

/// Whether objects of a kind only tell what has happened.
pub(super) fn is_trace(resource: &ApiResource) -> bool {
    resource.plural == "events"
}
