//! Additional items: what actions ask for, found before the items that asked.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use velero_core::result::{Record, Severity, chain};
use velero_core::{ApiResource, RawItem, ResourceIdentifier};

use crate::Error;
use crate::blocks::Member;
use crate::prepared::Prepared;
use crate::request::may_be_stored;
use crate::run::Run;

/// How many steps from item to item are followed. Real chains have two or three.
pub(crate) const MAX_DEPTH: usize = 32;

type Read = (
    ResourceIdentifier,
    Arc<ApiResource>,
    Result<Option<RawItem>, velero_cluster::Error>,
);

/// An additional item and who asks for it.
pub(crate) struct Wanted {
    pub(crate) id: ResourceIdentifier,
    pub(crate) must_include: bool,
    /// The words for who asks.
    pub(crate) by: String,
}

impl Run<'_> {
    /// Finds additional items, those of the additional items and so on, and runs their actions; gives which they are.
    ///
    /// Items that are stored or ready already, or that the filters leave out, are not among them.
    pub(crate) async fn follow(
        &mut self,
        mut wanted: Vec<Wanted>,
    ) -> Result<Vec<ResourceIdentifier>, Error> {
        let mut found = Vec::new();
        for _ in 0..MAX_DEPTH {
            if wanted.is_empty() {
                return Ok(found);
            }
            let items = self.find(wanted).await?;
            self.know_bindings(&items).await?;
            let prepared = self.prepare_all(items).await;
            self.tell_of_hooks(&prepared);
            wanted = prepared.iter().flat_map(wanted_by).collect();
            for item in prepared {
                self.count_one(&item.resource, item.original.head());
                found.push(item.id());
                self.ready.insert(item.id(), item);
            }
        }
        for left in wanted {
            self.settle(
                Severity::Error,
                left.id,
                format!(
                    "additional item of {} after {MAX_DEPTH} steps; not followed any further",
                    left.by
                ),
            );
        }
        Ok(found)
    }

    /// Reads the definitions of custom resources. One that does not exist belongs to an aggregated API.
    pub(crate) async fn read_definitions(
        &mut self,
        resource: &Arc<ApiResource>,
        ids: &[ResourceIdentifier],
    ) -> Vec<Member> {
        let unseen = ids
            .iter()
            .filter(|id| !self.is_seen(resource, id))
            .map(|id| (id.clone(), Arc::clone(resource)))
            .collect();
        let mut items = Vec::new();
        for (id, resource, result) in self.read(unseen).await {
            match result {
                Ok(Some(item)) if may_be_stored(item.head()) => {
                    items.push(self.member(resource, item).uncounted());
                }
                Ok(_) => {}
                Err(error) => self.problem(
                    Severity::Error,
                    &id,
                    format!("the definition is not in the backup: {}", chain(&error)),
                ),
            }
        }
        items
    }

    /// Finds items by name, whatever the filters say; each comes with the words for who asks for it.
    pub(crate) async fn find_named(
        &mut self,
        wanted: Vec<(ResourceIdentifier, String)>,
    ) -> Result<Vec<Member>, Error> {
        let wanted = wanted
            .into_iter()
            .map(|(id, by)| Wanted {
                id,
                must_include: true,
                by,
            })
            .collect();
        self.find(wanted).await
    }

    /// Finds items by name, in lists that were read or by reading each. They are not counted.
    pub(crate) async fn find(&mut self, wanted: Vec<Wanted>) -> Result<Vec<Member>, Error> {
        let mut asked: HashSet<ResourceIdentifier> = HashSet::new();
        let mut slots: Vec<(Wanted, Arc<ApiResource>, Option<RawItem>)> = Vec::new();
        let mut must = HashSet::new();
        for want in wanted {
            let Some(resource) = self.is_to_be_found(&want) else {
                continue;
            };
            if want.must_include {
                must.insert(want.id.clone());
            }
            if asked.insert(want.id.clone()) {
                let held = self.held(&want.id).await?;
                slots.push((want, resource, held));
            }
        }
        let mut read = self.read_missing(&slots).await;
        let mut out = Vec::new();
        for (want, resource, held) in slots {
            let Some(item) = held.or_else(|| read.remove(&want.id)) else {
                continue;
            };
            let head = item.head();
            if head.deleting || (!must.contains(&want.id) && !may_be_stored(head)) {
                self.settled.insert(want.id);
                continue;
            }
            out.push(self.member(resource, item).uncounted());
        }
        Ok(out)
    }

    /// Reads the items that no list has brought, and tells of those that cannot be had.
    async fn read_missing(
        &mut self,
        slots: &[(Wanted, Arc<ApiResource>, Option<RawItem>)],
    ) -> HashMap<ResourceIdentifier, RawItem> {
        let missing = || slots.iter().filter(|(_, _, held)| held.is_none());
        let ids = missing()
            .map(|(want, resource, _)| (want.id.clone(), Arc::clone(resource)))
            .collect();
        let mut found = HashMap::new();
        // What is read keeps its order.
        for ((want, ..), (id, _, result)) in missing().zip(self.read(ids).await) {
            let by = &want.by;
            match result {
                Ok(Some(item)) => {
                    found.insert(id, item);
                }
                Ok(None) => self.settle(
                    Severity::Warning,
                    id,
                    format!("additional item of {by}: it does not exist"),
                ),
                Err(error) => self.settle(
                    Severity::Error,
                    id,
                    format!("additional item of {by}: {}", chain(&error)),
                ),
            }
        }
        found
    }

    /// Whether an additional item is still to be found and may be stored, as far as its name tells.
    fn is_to_be_found(&mut self, want: &Wanted) -> Option<Arc<ApiResource>> {
        let id = &want.id;
        if self.ready.contains_key(id) || self.settled.contains(id) {
            return None;
        }
        let Some(resource) = self.request.catalog().get(&id.group_resource).cloned() else {
            self.settle(
                Severity::Warning,
                id.clone(),
                format!(
                    "additional item of {}: the cluster does not serve its kind",
                    want.by
                ),
            );
            return None;
        };
        if resource.namespaced == id.namespace.is_empty() {
            let fault = if resource.namespaced {
                "it needs a namespace"
            } else {
                "it can have no namespace"
            };
            self.settle(
                Severity::Error,
                id.clone(),
                format!("additional item of {}: {fault}", want.by),
            );
            return None;
        }
        let wanted = !self.is_seen(&resource, id)
            && (want.must_include || self.request.takes_related(&resource, &id.namespace));
        wanted.then(|| Arc::new(resource))
    }

    fn is_seen(&self, resource: &ApiResource, id: &ResourceIdentifier) -> bool {
        self.seen.contains(
            &resource.api_version(),
            &resource.kind,
            &id.namespace,
            &id.name,
        )
    }

    /// Reads items one by one, several at a time; the order stays.
    pub(crate) async fn read(
        &mut self,
        ids: Vec<(ResourceIdentifier, Arc<ApiResource>)>,
    ) -> Vec<Read> {
        let cluster = self.cluster;
        let read = |(id, resource): (ResourceIdentifier, Arc<ApiResource>)| async move {
            let result = cluster.get(&resource, &id.namespace, &id.name).await;
            (id, resource, result)
        };
        stream::iter(ids.into_iter().map(read))
            .buffered(self.options.concurrency.max(1))
            .collect()
            .await
    }

    /// Notes that something went wrong at an item.
    pub(crate) fn mark_broken(&mut self, id: ResourceIdentifier) {
        let cause = id.to_string();
        self.broken.entry(id).or_default().insert(cause);
    }

    fn settle(&mut self, severity: Severity, id: ResourceIdentifier, message: String) {
        self.problem(severity, &id, message);
        if severity == Severity::Error {
            self.mark_broken(id.clone());
        }
        self.settled.insert(id);
    }

    /// Tells of hooks that do not run, because their pods are stored outside of their blocks.
    fn tell_of_hooks(&mut self, items: &[Prepared]) {
        if self.finalizing {
            return;
        }
        for item in items {
            if item.pod.as_ref().is_some_and(|pod| pod.has_hooks()) {
                self.problem(
                    Severity::Warning,
                    &item.id(),
                    "its hooks do not run: it is stored as an additional item, outside of its block"
                        .to_owned(),
                );
            }
        }
    }

    /// Tells at an item what is missing of it in the backup: additional items that went wrong, or theirs.
    ///
    /// The peer leaves such an item out of the archive; here it is stored, and this says that it is not whole.
    pub(crate) fn tell_of_missing(&mut self, mut item: Prepared) -> Prepared {
        let failed = item.records.iter().any(|r| r.severity == Severity::Error);
        if self.broken.is_empty() && !failed {
            return item;
        }
        let mut causes = BTreeSet::new();
        if !item.skip {
            let broken = item.additional.iter().filter_map(|id| self.broken.get(id));
            causes.extend(broken.flatten().cloned());
        }
        let id = item.id();
        causes.remove(&id.to_string());
        if !causes.is_empty() {
            let all: Vec<&str> = causes.iter().map(String::as_str).collect();
            let message = format!(
                "it is in the backup, but not whole: there were errors at {}",
                all.join(", ")
            );
            item.records.push(Record::item(
                Severity::Warning,
                &id.group_resource,
                id.namespace.as_str(),
                id.name.as_str(),
                message,
            ));
        }
        if failed {
            causes.insert(id.to_string());
        }
        if !causes.is_empty() {
            self.broken.entry(id).or_default().extend(causes);
        }
        item
    }

    fn problem(&mut self, severity: Severity, id: &ResourceIdentifier, message: String) {
        self.out.record(Record::item(
            severity,
            &id.group_resource,
            id.namespace.as_str(),
            id.name.as_str(),
            message,
        ));
    }
}

pub(crate) fn wanted_by(item: &Prepared) -> Vec<Wanted> {
    if item.skip {
        return Vec::new();
    }
    let by = || {
        let head = item.original.head();
        format!("{} {}", item.resource.plural, head.key().path())
    };
    item.additional
        .iter()
        .map(|id| Wanted {
            id: id.clone(),
            must_include: item.must_include,
            by: by(),
        })
        .collect()
}
