//! Looking for the objects that a backup does not have, list by list.

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc;
use velero_cluster::{Cluster, DeleteOptions, ErrorKind, ListOptions, ListScope};
use velero_core::plan::{ItemVerdict, LiveObject, Verdict};
use velero_core::result::{Record, Severity, chain};
use velero_core::{ApiResource, CancellationToken, Catalog, GroupResource, ItemTree, RawItem};

use super::family::Family;
use super::scope::{KindScope, Scope, is_veleros, order};
use super::stays::{defines, goes_with_it, holder, stays};
use crate::apply::digest;
use crate::index::{ArchiveIndex, is_crd};
use crate::verify::{Finding, content};
use crate::{Error, RestoreRequest};

/// Sizes of an answer at which pages get smaller, and at which an answer is given up.
const PAGE_BYTES: (usize, usize) = (4 << 20, 8 << 20);
/// Deletions that are tried out at the same time; the cluster's limiter decides how many calls go out.
const AT_ONCE: usize = 32;
/// Kinds that a note names.
const NAMED: usize = 20;

/// What is looked through.
pub(crate) struct Search<'a> {
    /// A cluster that writes nothing.
    pub(crate) cluster: &'a Cluster,
    pub(crate) request: &'a RestoreRequest,
    pub(crate) index: &'a ArchiveIndex,
    /// What the cluster serves.
    pub(crate) catalog: &'a Catalog,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) findings: mpsc::Sender<Finding>,
}

/// An object that is to be deleted.
#[derive(Debug, Clone)]
pub(crate) struct Unwanted {
    pub(super) resource: Arc<ApiResource>,
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) uid: Box<str>,
    pub(super) version: Box<str>,
    /// A digest of what it says.
    pub(super) content: Box<str>,
    /// Whether it may be there for some time after its deletion.
    pub(super) is_slow: bool,
}

/// What a search has found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// What is to be deleted, in this order.
    pub(crate) unwanted: Vec<Unwanted>,
    /// Where nobody has looked, and why.
    pub(crate) notes: Vec<Record>,
}

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
    let mut finder = Finder {
        scope: Scope::new(search.request, search.index, search.catalog)?,
        search,
        found: Found::default(),
        claims: HashSet::new(),
        emptied: HashSet::new(),
        held: HashSet::new(),
        is_narrow: false,
        unknown: Vec::new(),
        family: Family::default(),
    };
    let (definitions, others): (Vec<_>, Vec<_>) = order(search.request, search.catalog)
        .into_iter()
        .partition(|resource| is_crd(&resource.group_resource()));
    for resource in others {
        finder.kind(resource).await;
    }
    finder.namespaces().await;
    for resource in definitions {
        finder.kind(resource).await;
    }
    finder.tell_unknown().await;
    finder.keep_owners();
    Ok(finder.found)
}

struct Finder<'a> {
    search: &'a Search<'a>,
    scope: Scope<'a>,
    found: Found,
    /// Claims that are to be deleted.
    claims: HashSet<(String, String)>,
    /// Kinds of which no object would be left in the whole cluster.
    emptied: HashSet<GroupResource>,
    /// Namespaces in which something stays that is not the cluster's own.
    held: HashSet<String>,
    /// Whether kinds of namespaced objects are left out.
    is_narrow: bool,
    unknown: Vec<String>,
    family: Family,
}

/// An object that would be deleted, and why.
struct Candidate {
    raw: RawItem,
    tree: ItemTree,
    reason: String,
}

/// What becomes of an object.
enum Look {
    /// The backup has it, or it is not in scope.
    Kept,
    /// The backup does not have it, and it stays for this reason.
    Stays(String),
    Goes(Box<Candidate>),
}

impl Finder<'_> {
    async fn kind(&mut self, resource: ApiResource) {
        if self.search.cancel.is_cancelled() {
            return;
        }
        match self.scope.kind(&resource) {
            KindScope::In => {}
            KindScope::Never => return,
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
                    let item = ItemVerdict {
                        verdict: Verdict::Excluded,
                        reason: format!("not in the backup; it stays: {reason}"),
                        ..named(resource, &namespace, &name)
                    };
                    self.tell(item).await;
                }
            }
        }
        for is_refused in self.try_out(resource, candidates).await {
            all_go &= !is_refused;
        }
        all_go
    }

    /// What becomes of an object of a list.
    fn look(&mut self, resource: &ApiResource, raw: RawItem, is_backed_up: bool) -> Look {
        let (head, gr) = (raw.head(), resource.group_resource());
        if is_backed_up || !self.scope.takes(&head.namespace, &head.labels) {
            return Look::Kept;
        }
        let own = self.search.request.own_namespace();
        let tree = match raw.tree() {
            Ok(tree) => tree,
            Err(error) => return Look::Stays(chain(&error)),
        };
        if let Some(why) = stays(&tree, own) {
            if !why.is_of_others() {
                self.held.insert(head.namespace.clone());
            }
            return Look::Stays(why.to_string());
        }
        if let Some(why) = self.is_held(&gr, &tree) {
            self.held.insert(head.namespace.clone());
            return Look::Stays(why);
        }
        let reason = format!("the backup does not have it{}", goes_with_it(&tree));
        Look::Goes(Box::new(Candidate { raw, tree, reason }))
    }

    /// Why an object stays, as far as others are concerned.
    fn is_held(&self, gr: &GroupResource, tree: &ItemTree) -> Option<String> {
        let (namespace, name) = (tree.namespace(), tree.name());
        if gr.is("", "endpoints")
            && self
                .scope
                .has(&GroupResource::core("services"), namespace, name)
        {
            return Some("its Service decides about it".to_owned());
        }
        if let Some((namespace, name)) = holder(tree) {
            let claim = (namespace.to_owned(), name.to_owned());
            let stays = !self.claims.contains(&claim);
            return stays.then(|| format!("it is bound to claim {namespace}/{name}, which stays"));
        }
        if is_crd(gr) {
            let defined = defines(tree);
            let stays = !self.emptied.contains(&defined);
            return stays.then(|| {
                format!("objects of its kind {defined} stay, or may, and would be deleted with it")
            });
        }
        None
    }

    /// Asks the API server whether it would delete objects, tells what it says, and keeps them all: what is refused now
    /// is an error then. Gives for each whether it is refused.
    async fn try_out(
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
            let is_refused = match tried {
                Ok(false) => continue,
                Ok(true) => None,
                // It has just become another one.
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    refused.push(true);
                    continue;
                }
                Err(error) => Some(chain(&error)),
            };
            refused.push(is_refused.is_some());
            let item = self.unwanted(resource, candidate, is_refused);
            let _ = self
                .search
                .findings
                .send(Finding::Item(Box::new(item)))
                .await;
        }
        refused
    }

    /// Keeps an object that is to be deleted; gives what is told of it.
    fn unwanted(
        &mut self,
        resource: &Arc<ApiResource>,
        candidate: Candidate,
        refused: Option<String>,
    ) -> ItemVerdict {
        let Candidate { raw, tree, reason } = candidate;
        let head = raw.head();
        let is_claim = resource.group_resource().is("", "persistentvolumeclaims");
        if is_claim && refused.is_none() {
            let claim = (head.namespace.clone(), head.name.clone());
            self.claims.insert(claim);
        }
        if refused.is_some() {
            self.held.insert(head.namespace.clone());
        }
        let is_slow = resource.group_resource().is("", "pods")
            || resource.group_resource().is("", "namespaces")
            || is_crd(&resource.group_resource())
            || !tree.array_at("/metadata/finalizers").is_empty();
        let content = digest_of(tree);
        if refused.is_none() {
            self.found.unwanted.push(Unwanted {
                resource: Arc::clone(resource),
                namespace: head.namespace.as_str().into(),
                name: head.name.as_str().into(),
                uid: head.uid.as_str().into(),
                version: head.resource_version.as_str().into(),
                content: content.as_str().into(),
                is_slow,
            });
        } else {
            self.found.notes.push(Record::item(
                Severity::Error,
                resource.group_resource(),
                &head.namespace,
                &head.name,
                format!(
                    "the backup does not have it, and it cannot be deleted: {}",
                    refused.as_deref().unwrap_or_default()
                ),
            ));
        }
        let (verdict, error) = match refused {
            None => (Verdict::Delete, false),
            Some(_) => (Verdict::Blocked, true),
        };
        let reason = match refused {
            None => reason,
            Some(why) => format!("{reason}; it cannot be deleted: {why}"),
        };
        ItemVerdict {
            verdict,
            error,
            reason,
            live: Some(LiveObject {
                uid: head.uid.clone(),
                resource_version: head.resource_version.clone(),
                content,
            }),
            ..named(resource, &head.namespace, &head.name)
        }
    }

    /// Looks at namespaces of which the backup has nothing and that the restore includes by name.
    async fn namespaces(&mut self) {
        let gr = GroupResource::core("namespaces");
        let Some(resource) = self.search.catalog.get(&gr).cloned().map(Arc::new) else {
            return;
        };
        if self.is_narrow || !self.scope.takes_namespaces(&resource) {
            return;
        }
        for name in self.scope.new_namespaces().to_vec() {
            if self.held.contains(&name) || self.search.cancel.is_cancelled() {
                continue;
            }
            if self.has_veleros(&name).await {
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

    /// Whether a namespace has, or may have, custom resources of Velero.
    async fn has_veleros(&self, namespace: &str) -> bool {
        let is_veleros = |r: &&ApiResource| is_veleros(&r.group) && r.namespaced;
        for resource in self.search.catalog.preferred().filter(is_veleros) {
            if !resource.verbs.has("list") {
                continue;
            }
            let scope = ListScope::namespace(namespace);
            let options = ListOptions::default().page_size(1).metadata_only();
            let page = self
                .search
                .cluster
                .pages(resource, scope, options)
                .next()
                .await;
            if !matches!(page, Ok(Some(page)) if page.items.is_empty()) {
                return true;
            }
        }
        false
    }

    async fn namespace(&mut self, resource: &Arc<ApiResource>, live: RawItem) {
        let Ok(tree) = live.tree() else {
            return;
        };
        if stays(&tree, self.search.request.own_namespace()).is_some() {
            return;
        }
        let reason = format!("the backup does not have it{}", goes_with_it(&tree));
        let candidate = Candidate {
            raw: live,
            tree,
            reason,
        };
        self.try_out(resource, vec![candidate]).await;
    }

    async fn tell_unknown(&mut self) {
        let more = self.unknown.len().saturating_sub(NAMED);
        let names: Vec<&str> = self
            .unknown
            .iter()
            .take(NAMED)
            .map(String::as_str)
            .collect();
        if names.is_empty() {
            return;
        }
        let others = match more {
            0 => String::new(),
            more => format!(" and {more} more kinds"),
        };
        let message = format!(
            "nothing is deleted of {}{others}, as nobody knows what the backup lacks of them: it has not read them to the end, or \
             has none and does not say that it has looked; the restore may include them by name",
            names.join(", ")
        );
        self.note(message).await;
    }

    /// Takes off the list what owns objects of the backup: the garbage collector would delete these as well.
    fn keep_owners(&mut self) {
        let owners = self.family.owners_of_backed_up();
        let (kept, unwanted): (Vec<_>, Vec<_>) = std::mem::take(&mut self.found.unwanted)
            .into_iter()
            .partition(|one| owners.contains(&*one.uid));
        self.found.unwanted = unwanted;
        for one in kept {
            self.found.notes.push(Record::item(
                Severity::Error,
                one.resource.group_resource(),
                &*one.namespace,
                &*one.name,
                "not deleted: it owns objects that the backup has, and they would be deleted with it",
            ));
        }
    }

    async fn note(&mut self, message: String) {
        let record = Record::run(Severity::Warning, message);
        self.found.notes.push(record.clone());
        let _ = self.search.findings.send(Finding::Note(record)).await;
    }

    /// Tells a finding; nobody taking it any more ends the run elsewhere.
    async fn tell(&self, item: ItemVerdict) {
        let _ = self
            .search
            .findings
            .send(Finding::Item(Box::new(item)))
            .await;
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

fn named(resource: &ApiResource, namespace: &str, name: &str) -> ItemVerdict {
    ItemVerdict {
        resource: resource.group_resource().to_string(),
        kind: format!("{}/{}", resource.api_version(), resource.kind),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..ItemVerdict::default()
    }
}
