//! Looking for the objects that a backup does not have, list by list.

use std::collections::HashSet;
use std::sync::Arc;

use velero_cluster::{ListOptions, ListScope};
use velero_core::result::chain;
use velero_core::{ApiResource, GroupResource, RawItem};

use super::family::Family;
use super::found::{Found, Search};
use super::look::{Look, excluded};
use super::newer::newer_kinds;
use super::scope::{KindScope, Scope, order};
use crate::Error;
use crate::homes::Homes;
use crate::index::is_crd;

/// Sizes of an answer at which pages get smaller, and at which an answer is given up.
const PAGE_BYTES: (usize, usize) = (4 << 20, 8 << 20);

impl Found {
    /// Leaves of what is to be deleted only what `is_planned`, given kind, namespace and name. The rest has come since a
    /// plan was made that a restore goes on with.
    pub(crate) fn keep(&mut self, is_planned: impl Fn(&str, &str, &str) -> bool) {
        self.unwanted.retain(|one| {
            let resource = one.resource.group_resource().to_string();
            let (namespace, name) = (&*one.namespace, &*one.name);
            let is_planned = is_planned(&resource, namespace, name);
            if !is_planned {
                tracing::info!(
                    resource,
                    namespace,
                    name,
                    "not in the backup, and not deleted: it has come since the plan was made"
                );
            }
            is_planned
        });
    }
}

/// Tells all objects that the backup does not have: those that would be deleted, and those that stay and why.
///
/// # Errors
/// When the request does not say what the backup has looked at.
pub(crate) async fn find(search: &Search<'_>) -> Result<Found, Error> {
    let backed_up = search.request.mirrored()?;
    let own = search.request.own_namespace();
    let homes = Homes::find(search.cluster, search.catalog, own).await;
    let mut notes = Vec::new();
    let homes = homes.unwrap_or_else(|error| {
        notes.push(format!(
            "where else Velero is installed cannot be seen, its objects outside of namespace {own} count as any others: {}",
            chain(&error)
        ));
        Homes::of(own)
    });
    let newer = newer_kinds(search, backed_up).await.unwrap_or_else(|why| {
        notes.push(why);
        HashSet::new()
    });
    let (request, index) = (search.request, search.run.index());
    let mut finder = Finder {
        scope: Scope::new(request, index, search.catalog, &homes, newer)?,
        search,
        homes: &homes,
        found: Found::default(),
        claims: HashSet::new(),
        bound: Vec::new(),
        emptied: HashSet::new(),
        held: HashSet::new(),
        is_narrow: false,
        unlisted: Vec::new(),
        unknown: Vec::new(),
        family: Family::default(),
    };
    for note in notes {
        finder.note(note).await;
    }
    let (definitions, others): (Vec<_>, Vec<_>) = order(search.request, search.catalog)
        .into_iter()
        .partition(|resource| is_crd(&resource.group_resource()));
    for resource in others {
        finder.kind(resource).await;
    }
    finder.keep_owners().await;
    finder.namespaces().await;
    for resource in definitions {
        finder.kind(resource).await;
    }
    finder.tell_unwanted().await;
    finder.tell_unknown().await;
    Ok(finder.found)
}

pub(super) struct Finder<'a> {
    pub(super) search: &'a Search<'a>,
    pub(super) scope: Scope<'a>,
    pub(super) homes: &'a Homes,
    pub(super) found: Found,
    /// Claims that are to be deleted.
    pub(super) claims: HashSet<(String, String)>,
    /// Volumes that are to be deleted with their claims: their uids, and the claims.
    pub(super) bound: Vec<(Box<str>, (String, String))>,
    /// Kinds of which no object would be left in the whole cluster.
    pub(super) emptied: HashSet<GroupResource>,
    /// Namespaces in which something stays that is not the cluster's own.
    pub(super) held: HashSet<String>,
    /// Whether kinds of namespaced objects are left out.
    pub(super) is_narrow: bool,
    /// Kinds that nobody looks at.
    pub(super) unlisted: Vec<ApiResource>,
    pub(super) unknown: Vec<String>,
    pub(super) family: Family,
}

impl Finder<'_> {
    async fn kind(&mut self, resource: ApiResource) {
        if self.search.cancel.is_cancelled() {
            return;
        }
        match self.scope.kind(&resource) {
            KindScope::In => {}
            KindScope::Never => {
                self.unlisted.push(resource);
                return;
            }
            KindScope::Out => {
                self.is_narrow |= resource.namespaced;
                return;
            }
            KindScope::Unknown => {
                self.is_narrow |= resource.namespaced;
                self.unknown.push(resource.group_resource().to_string());
                return;
            }
        }
        let resource = Arc::new(resource);
        let lists = self.scope.lists(&resource);
        let is_whole = !resource.namespaced || lists == [ListScope::all()];
        let mut all_go = true;
        for list in lists {
            match self.list(&resource, list).await {
                Ok(go) => all_go &= go,
                Err(error) => {
                    all_go = false;
                    self.cannot_list(&resource, &error).await;
                }
            }
        }
        if is_whole && all_go {
            self.emptied.insert(resource.group_resource());
        }
    }

    async fn cannot_list(&mut self, resource: &ApiResource, error: &velero_cluster::Error) {
        self.is_narrow |= resource.namespaced;
        let message = format!(
            "{} cannot be listed, so that none is deleted that the backup does not have: {}",
            resource.group_resource(),
            chain(error)
        );
        self.note(message).await;
    }

    /// Goes through a list; says whether no object of it would be left.
    async fn list(
        &mut self,
        resource: &Arc<ApiResource>,
        scope: ListScope,
    ) -> Result<bool, velero_cluster::Error> {
        let options = ListOptions::default().page_bytes(PAGE_BYTES.0, PAGE_BYTES.1);
        let mut pages = self.search.cluster.pages(resource, scope, options);
        let (mut all_go, mut restarted) = (true, false);
        while let Some(page) = pages.next().await? {
            if self.search.cancel.is_cancelled() {
                return Ok(false);
            }
            restarted |= page.restarted;
            all_go &= page.bad.is_empty();
            all_go &= self.page(resource, page.items, restarted).await;
        }
        Ok(all_go)
    }

    async fn page(
        &mut self,
        resource: &Arc<ApiResource>,
        items: Vec<RawItem>,
        restarted: bool,
    ) -> bool {
        let mut all_go = true;
        let mut candidates = Vec::new();
        for raw in items {
            let is_known = restarted
                && self
                    .found
                    .unwanted
                    .iter()
                    .any(|one| *one.uid == *raw.head().uid);
            if is_known {
                continue;
            }
            let (namespace, name) = (raw.head().namespace.clone(), raw.head().name.clone());
            let is_backed_up = self
                .scope
                .has(&resource.group_resource(), &namespace, &name);
            self.family.note(raw.head(), is_backed_up);
            match self.look(resource, raw, is_backed_up) {
                Look::Goes(candidate) => candidates.push(*candidate),
                Look::Kept => {
                    all_go = false;
                    self.held.insert(namespace);
                }
                Look::Stays(reason) => {
                    all_go = false;
                    let item = excluded(resource, &namespace, &name, &reason);
                    self.tell(item).await;
                }
            }
        }
        for is_refused in self.try_out(resource, candidates).await {
            all_go &= !is_refused;
        }
        all_go
    }
}
