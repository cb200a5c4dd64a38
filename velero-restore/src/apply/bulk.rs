//! Kinds whose objects are in the cluster already: they are read by lists, not one by one.
//!
//! Every item is created at first, and one that is in the cluster is read then. The first ones of a wave are sent alone;
//! when several of a kind in a row turn out to be there ([`RestoreOptions::list_existing_after`]), the rest of the wave is
//! compared with pages of a list:
//!
//! - the items are put in the order in which API servers list objects, so that each page answers for a window of them;
//! - what the page shows is compared with it, without a call; what it does not show is created as before;
//! - a page is done with before the next one is asked for, so that no more than one is in memory.
//!
//! A wave with one namespace lists that one. Otherwise the kind is listed as a whole, unless the first page tells that
//! the cluster has over [`MANY`] times as many objects as are to be restored; then, or when the list fails, each namespace
//! with enough items has a list of its own. What no list has answered for goes the way of single items, so that a list
//! that fails, or comes in another order, costs calls and nothing else.
//!
//! [`RestoreOptions::list_existing_after`]: crate::RestoreOptions::list_existing_after

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use velero_cluster::{ListOptions, ListScope};
use velero_core::plan::ItemId;
use velero_core::result::chain;
use velero_core::{ApiResource, GroupResource, ItemTree, RawItem, Selector};

use super::run::Run;
use super::waves::Crew;
use crate::Error;

/// Objects of the cluster for each item to be restored beyond which the list of a whole kind does not pay.
const MANY: u64 = 4;
/// Sizes of an answer at which pages get smaller, and at which an answer is given up.
const PAGE_BYTES: (usize, usize) = (4 << 20, 8 << 20);

/// How many objects of each kind were met in a row, and what the page under way has shown.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    in_a_row: Mutex<HashMap<GroupResource, usize>>,
    listed: Mutex<HashMap<ItemId, RawItem>>,
}

impl Bulk {
    /// Notes that an object to be created was there.
    pub(super) fn met(&self, resource: &GroupResource) {
        let mut counts = self.in_a_row.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(resource) {
            Some(count) => *count += 1,
            None => {
                counts.insert(resource.clone(), 1);
            }
        }
    }

    /// Notes that an object was not there.
    pub(super) fn missed(&self, resource: &GroupResource) {
        let mut counts = self.in_a_row.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(resource) {
            *count = 0;
        }
    }

    fn row(&self, resource: &GroupResource) -> usize {
        let counts = self.in_a_row.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(resource).copied().unwrap_or_default()
    }

    /// The object of the cluster that a list has shown for an item, as long as it can stand for what would be written.
    pub(super) fn take(&self, id: ItemId, item: &ItemTree) -> Option<RawItem> {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let live = listed.remove(&id)?;
        drop(listed);
        let head = live.head();
        let fits = head.name == item.name()
            && head.namespace == item.namespace()
            && head.kind == item.kind()
            && head.api_version == item.api_version();
        fits.then_some(live)
    }

    fn put(&self, id: ItemId, live: RawItem) {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.insert(id, live);
    }

    fn clear(&self) {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.clear();
    }
}

impl Run {
    /// Whether the rest of a wave, so many items, is to be compared with a list. A wave that an earlier attempt may have
    /// begun is compared as a whole, with a list of what this restore has created.
    pub(super) fn lists_rest(&self, resource: &GroupResource, all: usize, left: usize) -> bool {
        if self.ledger.resumes() {
            return left == all && !resource.is("", "namespaces");
        }
        let after = self.options.list_existing_after;
        after > 0 && left >= after && self.bulk.row(resource) >= after
    }

    /// Whether the items of a wave before this one are to be answered for first, as there are enough of them to tell
    /// whether the rest is listed, and the rest is large enough for that.
    pub(super) fn asks_first(&self, at: usize, all: usize) -> bool {
        let after = self.options.list_existing_after;
        after > 0 && at == after && all - at >= after && !self.ledger.resumes()
    }

    /// Restores the rest of a wave, page by page of what the cluster has.
    pub(super) async fn apply_listed(
        self: &Arc<Self>,
        crew: &mut Crew<'_>,
        items: &[ItemId],
    ) -> Result<(), Error> {
        let mut rest = items.to_vec();
        if let Some(resource) = self.listed_as(crew, items) {
            // Most archives have this order, so that nothing moves.
            rest.sort_by(|a, b| self.in_list_order(*a, *b));
            let spread = self.target_of(&rest, 0) != self.target_of(&rest, rest.len() - 1);
            let ours = match self.ledger.resumes() {
                true => self.own_objects(),
                false => Selector::default(),
            };
            if !self.ledger.resumes() {
                tracing::info!(
                    resource = %resource.group_resource(),
                    items = rest.len(),
                    "objects are in the cluster already, the rest is compared with a list"
                );
            }
            if spread || !resource.namespaced {
                let most = MANY.saturating_mul(rest.len() as u64);
                let scope = ListScope::all().labels(ours.clone());
                rest = self.join(crew, &resource, scope, rest, most).await?;
            }
            if resource.namespaced {
                rest = self.join_namespaces(crew, &resource, &ours, rest).await?;
            }
        }
        for id in rest {
            if self.is_cancelled() {
                break;
            }
            crew.take(id).await?;
        }
        Ok(())
    }

    /// The resource to list for items of a wave; `None` where it cannot be listed.
    fn listed_as(&self, crew: &Crew<'_>, items: &[ItemId]) -> Option<ApiResource> {
        let first = self.index.item(*items.first()?)?;
        let found = crew.stage.catalog.by_kind(first.api_version, first.kind)?;
        found.verbs.has("list").then(|| found.clone())
    }

    /// Lists the namespaces with enough items, one after another; gives the items that no list has answered for.
    async fn join_namespaces(
        self: &Arc<Self>,
        crew: &mut Crew<'_>,
        resource: &ApiResource,
        ours: &Selector,
        items: Vec<ItemId>,
    ) -> Result<Vec<ItemId>, Error> {
        let least = match self.ledger.resumes() {
            true => 1,
            false => self.options.list_existing_after,
        };
        let mut left = Vec::new();
        let mut at = 0;
        while at < items.len() {
            let namespace = self.target_of(&items, at);
            let same = |id: &&ItemId| self.target_of(std::slice::from_ref(*id), 0) == namespace;
            let end = at + items[at..].iter().take_while(same).count().max(1);
            let part = items[at..end].to_vec();
            if part.len() < least {
                left.extend(part);
            } else {
                let scope = ListScope::namespace(namespace).labels(ours.clone());
                left.extend(self.join(crew, resource, scope, part, u64::MAX).await?);
            }
            at = end;
        }
        Ok(left)
    }

    /// Restores items, which are in the order of the list, page by page; gives those that the list has not answered for,
    /// because it failed or tells with its first page of over `most` other objects.
    async fn join(
        self: &Arc<Self>,
        crew: &mut Crew<'_>,
        resource: &ApiResource,
        scope: ListScope,
        mut items: Vec<ItemId>,
        most: u64,
    ) -> Result<Vec<ItemId>, Error> {
        let options = ListOptions::default().page_bytes(PAGE_BYTES.0, PAGE_BYTES.1);
        let mut pages = self.cluster.pages(resource, scope, options);
        let mut at = 0;
        while at < items.len() && !self.is_cancelled() {
            let page = match pages.next().await {
                Ok(Some(page)) => page,
                // What is left comes after all that the cluster has.
                Ok(None) => {
                    for id in &items[at..] {
                        if self.is_cancelled() {
                            break;
                        }
                        crew.take(*id).await?;
                    }
                    at = items.len();
                    break;
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::info!(error, "the list failed, objects are read one by one");
                    break;
                }
            };
            if at == 0 && page.remaining.unwrap_or_default() > most {
                tracing::info!("the cluster has many more such objects, they are not listed");
                break;
            }
            let end = at + self.show(&items[at..], page.items);
            for id in &items[at..end] {
                if self.is_cancelled() {
                    break;
                }
                crew.take(*id).await?;
            }
            crew.finish().await;
            self.bulk.clear();
            at = end;
        }
        Ok(items.split_off(at))
    }

    /// Keeps what a page shows of the items that it answers for; gives how many these are.
    fn show(&self, items: &[ItemId], page: Vec<RawItem>) -> usize {
        let Some(last) = page.last() else {
            return 0;
        };
        let last = (last.head().namespace.clone(), last.head().name.clone());
        let last = (last.0.as_str(), last.1.as_str());
        let end = items.partition_point(|id| {
            let target = self.target(*id);
            target.is_none_or(|target| list_order(target, last) != Ordering::Greater)
        });
        let mut found: HashMap<(String, String), RawItem> = page
            .into_iter()
            // What is being deleted may be gone by now.
            .filter(|live| !live.head().deleting)
            .map(|live| {
                let head = live.head();
                ((head.namespace.clone(), head.name.clone()), live)
            })
            .collect();
        for id in &items[..end] {
            let key = self
                .target(*id)
                .map(|(ns, name)| (ns.to_owned(), name.to_owned()));
            if let Some(live) = key.and_then(|key| found.remove(&key)) {
                self.bulk.put(*id, live);
            }
        }
        end
    }

    /// Namespace in the cluster, and name.
    fn target(&self, id: ItemId) -> Option<(&str, &str)> {
        let item = self.index.item(id)?;
        let namespace = match item.namespace {
            "" => "",
            source => self.request.target_namespace(source),
        };
        Some((namespace, item.name))
    }

    fn target_of(&self, items: &[ItemId], at: usize) -> &str {
        let target = items.get(at).and_then(|id| self.target(*id));
        target.map_or("", |(namespace, _)| namespace)
    }

    fn in_list_order(&self, a: ItemId, b: ItemId) -> Ordering {
        match (self.target(a), self.target(b)) {
            (Some(a), Some(b)) => list_order(a, b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        }
    }
}

/// The order in which API servers list objects: that of their keys in etcd, `namespace/name`.
fn list_order(a: (&str, &str), b: (&str, &str)) -> Ordering {
    fn key<'a>((namespace, name): (&'a str, &'a str)) -> impl Iterator<Item = u8> + 'a {
        namespace.bytes().chain([b'/']).chain(name.bytes())
    }
    key(a).cmp(key(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_compared_as_etcd_does() {
        for (a, b, expected) in [
            (("a", "z"), ("b", "a"), Ordering::Less),
            // '-' comes before '/'.
            (("a-b", "z"), ("a", "a"), Ordering::Less),
            (("a", "x"), ("a", "x"), Ordering::Equal),
            (("a", "x.y"), ("a", "x-y"), Ordering::Greater),
            (("", "b"), ("", "a"), Ordering::Greater),
        ] {
            assert_eq!(list_order(a, b), expected, "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_row_ends_with_an_object_that_was_not_there() {
        let bulk = Bulk::default();
        let (maps, pods) = (
            GroupResource::core("configmaps"),
            GroupResource::core("pods"),
        );
        bulk.met(&maps);
        bulk.met(&maps);
        bulk.missed(&pods);
        assert_eq!((bulk.row(&maps), bulk.row(&pods)), (2, 0));
        bulk.missed(&maps);
        assert_eq!(bulk.row(&maps), 0);
    }
}
