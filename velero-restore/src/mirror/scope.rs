//! Which objects of a cluster a backup would have, were they what it was made of.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use velero_cluster::ListScope;
use velero_core::api::BackupSpec;
use velero_core::filter::{
    IncludesExcludes, NamespaceFilter, Pattern, ResourceFilterSpec, ScopeFilter,
};
use velero_core::names::{GROUP, labels};
use velero_core::{ApiResource, Catalog, GroupResource, SelectorSet};

use super::{BackedUp, KindRead};
use crate::filters::{Filters, is_never_restored};
use crate::homes::Homes;
use crate::index::{ArchiveIndex, is_crd};
use crate::plan::is_csi_snapshot;
use crate::{Error, RestoreRequest};

/// Groups that show objects of Kubernetes in another coat: namespaces as projects, roles once more.
const OTHER_COATS: [&str; 2] = ["project.openshift.io", "authorization.openshift.io"];

/// Namespaces in which each cluster keeps what it runs by; they are mirrored by name only.
const OF_THE_CLUSTER: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];
/// Namespaces up to which each gets a list of its own.
const FEW: usize = 10;
/// Groups whose kinds older clusters served as `extensions` as well.
const FORMERLY_EXTENSIONS: [&str; 3] = ["apps", "networking.k8s.io", "policy"];

/// What is to be done about the objects of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KindScope {
    /// Those that the backup lacks are not wanted.
    In,
    /// Restore or backup leaves the kind out.
    Out,
    /// No restore and no backup has it: work orders, traces, what Velero keeps for itself.
    Never,
    /// Nobody knows whether the backup would have them.
    Unknown,
}

/// What both a restore and its backup select.
pub(super) struct Scope<'a> {
    request: &'a RestoreRequest,
    index: &'a ArchiveIndex,
    backed_up: &'a BackedUp,
    filters: Filters,
    taken: ScopeFilter,
    selectors: SelectorSet,
    /// Kinds that the restore includes by name.
    named: BTreeSet<String>,
    /// Kinds that came after the backup.
    newer: HashSet<GroupResource>,
    /// Namespaces of the cluster, with those of the archive that come to them.
    namespaces: BTreeMap<String, Vec<String>>,
    /// Namespaces of the cluster that the restore includes by name and of which the archive has nothing.
    new_namespaces: Vec<String>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(
        request: &'a RestoreRequest,
        index: &'a ArchiveIndex,
        catalog: &Catalog,
        homes: &Homes,
        newer: HashSet<GroupResource>,
    ) -> Result<Self, Error> {
        let backed_up = request.mirrored()?;
        let (spec, wanted) = (&backed_up.backup().spec, request.spec());
        let or_selectors = Some(spec.or_label_selectors.as_slice());
        let selectors = SelectorSet::from_spec(spec.label_selector.as_ref(), or_selectors)
            .map_err(|error| Error::Invalid {
                messages: vec![format!("the backup's selectors cannot be read: {error}")],
            })?;
        let is_plain = |name: &&String| !Pattern::new(name.as_str()).is_glob();
        let named = wanted.included_resources.iter().filter(is_plain);
        let mut scope = Self {
            filters: request.filters(catalog),
            taken: taken(spec, catalog, &selectors, backed_up.tells()),
            named: named
                .map(|name| catalog.resolve_or_keep(name).to_string())
                .collect(),
            newer,
            namespaces: BTreeMap::new(),
            new_namespaces: Vec::new(),
            selectors,
            request,
            index,
            backed_up,
        };
        scope.find_namespaces(spec, homes);
        Ok(scope)
    }

    /// Namespaces that the archive has, and those that are included by name, as far as both select them.
    fn find_namespaces(&mut self, spec: &BackupSpec, homes: &Homes) {
        let of_backup = IncludesExcludes::new(
            spec.included_namespaces
                .iter()
                .filter(|name| !name.is_empty()),
            spec.excluded_namespaces
                .iter()
                .filter(|name| !name.is_empty()),
        );
        let named: BTreeSet<&str> = self
            .request
            .spec()
            .included_namespaces
            .iter()
            .map(String::as_str)
            .filter(|name| !name.is_empty() && !Pattern::new(*name).is_glob())
            .collect();
        let objects = self.index.items_of(&GroupResource::core("namespaces"));
        let objects = objects.iter().filter_map(|id| self.index.item(*id));
        let mut archived: BTreeSet<&str> = objects.map(|item| item.name).collect();
        archived.extend(self.index.namespaces().filter(|name| !name.is_empty()));
        for source in archived.union(&named) {
            let target = self.request.target_namespace(source);
            let is_kept =
                homes.has(target) || OF_THE_CLUSTER.contains(&target) && !named.contains(source);
            if is_kept
                || !self.filters.namespaces.should_include(source)
                || !of_backup.should_include(source)
            {
                continue;
            }
            let sources = self.namespaces.entry(target.to_owned()).or_default();
            sources.push((*source).to_owned());
            if !archived.contains(source)
                && !OF_THE_CLUSTER.contains(&target)
                && target != "default"
            {
                self.new_namespaces.push(target.to_owned());
            }
        }
        let namespaces = &self.namespaces;
        let is_new = |target: &String| {
            namespaces
                .get(target)
                .is_some_and(|sources| sources.len() == 1)
        };
        self.new_namespaces.retain(is_new);
    }

    /// What is to be done about the objects of a kind.
    pub(super) fn kind(&self, resource: &ApiResource) -> KindScope {
        let gr = resource.group_resource();
        let is_kept = is_never_restored(&gr)
            || is_csi_snapshot(&gr)
            || is_veleros(&resource.group)
            || OTHER_COATS.contains(&resource.group.as_str());
        if !resource.verbs.can_back_up() || is_kept {
            return KindScope::Never;
        }
        let is_reached = match resource.namespaced {
            true => !self.namespaces.is_empty(),
            false => self.filters.collects_cluster_scope(),
        };
        if !is_reached || !self.filters.resources.should_include(&gr.to_string()) {
            return KindScope::Out;
        }
        let read = self.backed_up.kind(&gr);
        if read == Some(KindRead::Not) || read.is_none() && !self.taken.collects(resource) {
            return KindScope::Out;
        }
        let is_read = match read {
            Some(KindRead::Whole) => true,
            Some(KindRead::Partly) => return KindScope::Unknown,
            Some(_) => false,
            // It tells of each kind that there was.
            None if self.backed_up.tells() => self.newer.contains(&gr),
            None => self.index.resources().contains(&gr),
        };
        // Labels change: an object that the backup has left out by them may be one that it would take now.
        let is_sure = is_read && self.selectors.matches_everything();
        match is_sure || self.named.contains(&gr.to_string()) {
            true => KindScope::In,
            false => KindScope::Unknown,
        }
    }

    /// The lists that show all objects of a kind that may be in scope.
    pub(super) fn lists(&self, resource: &ApiResource) -> Vec<ListScope> {
        let is_everywhere = self.filters.namespaces.includes_everything();
        match resource.namespaced && !is_everywhere && self.namespaces.len() <= FEW {
            true => self.namespaces.keys().map(ListScope::namespace).collect(),
            false => vec![ListScope::all()],
        }
    }

    /// Whether an object of a kind in scope is in scope itself.
    pub(super) fn takes(&self, namespace: &str, has: &BTreeMap<String, String>) -> bool {
        (namespace.is_empty() || self.namespaces.contains_key(namespace))
            && self.request.selectors().matches(has)
            && self.selectors.matches(has)
            && has.get(labels::EXCLUDE_FROM_BACKUP).map(String::as_str) != Some("true")
    }

    /// Whether the archive has an object, be it one that cannot be read or is not restored.
    pub(super) fn has(&self, resource: &GroupResource, namespace: &str, name: &str) -> bool {
        let cluster_scope = [String::new()];
        let sources = match namespace {
            "" => &cluster_scope[..],
            target => self.namespaces.get(target).map_or(&[][..], Vec::as_slice),
        };
        let formerly = FORMERLY_EXTENSIONS
            .contains(&resource.group.as_str())
            .then(|| GroupResource::new("extensions", resource.resource.as_str()));
        let mut twins = std::iter::once(resource).chain(formerly.as_ref());
        twins.any(|resource| {
            let is_fault = |source: &String| {
                let mut faults = self.index.faults().iter();
                faults.any(|f| f.resource == *resource && f.namespace == *source && f.name == name)
            };
            let mut sources = sources.iter();
            sources
                .any(|source| self.index.find(resource, source, name).is_some() || is_fault(source))
        })
    }

    /// Namespaces that are not wanted themselves, provided that nothing in them stays.
    pub(super) fn new_namespaces(&self) -> &[String] {
        &self.new_namespaces
    }

    /// Whether Namespace objects are in scope.
    pub(super) fn takes_namespaces(&self, resource: &ApiResource) -> bool {
        let name = resource.group_resource().to_string();
        self.request.spec().include_cluster_resources != Some(false)
            && self.filters.resources.should_include(&name)
            && self.taken.collects(resource)
            && self.selectors.matches_everything()
            && self.request.selectors().matches_everything()
            && [None, Some(KindRead::Whole)]
                .contains(&self.backed_up.kind(&resource.group_resource()))
    }
}

/// Whether a group is one of Velero's own.
fn is_veleros(group: &str) -> bool {
    let parent = group.strip_suffix(GROUP);
    parent.is_some_and(|parent| parent.is_empty() || parent.ends_with('.'))
}

/// The kinds that a backup takes. Of a backup that does not tell, only those that its filters name: the peer's takes
/// cluster-scoped kinds without being asked only where something refers to them.
fn taken(
    spec: &BackupSpec,
    catalog: &Catalog,
    selectors: &SelectorSet,
    tells: bool,
) -> ScopeFilter {
    let filters = ResourceFilterSpec {
        included_resources: spec.included_resources.clone(),
        excluded_resources: spec.excluded_resources.clone(),
        include_cluster_resources: spec.include_cluster_resources,
        included_cluster_scoped: spec.included_cluster_scoped_resources.clone(),
        excluded_cluster_scoped: spec.excluded_cluster_scoped_resources.clone(),
        included_namespace_scoped: spec.included_namespace_scoped_resources.clone(),
        excluded_namespace_scoped: spec.excluded_namespace_scoped_resources.clone(),
    };
    let is_all = |name: &String| name.is_empty() || name == "*";
    let everywhere =
        spec.included_namespaces.iter().all(is_all) && spec.excluded_namespaces.is_empty();
    let namespaces = match everywhere {
        true => NamespaceFilter::resolve(&[], &[], &[]),
        false => NamespaceFilter::default(),
    };
    let unfiltered = tells && everywhere && selectors.matches_everything();
    ScopeFilter::compile(&filters, catalog, &namespaces, unfiltered)
}

/// The kinds of a cluster in the order in which their objects are deleted, the reverse of that of a restore; without
/// namespaces, and with definitions last.
pub(super) fn order(request: &RestoreRequest, catalog: &Catalog) -> Vec<ApiResource> {
    let served: Vec<GroupResource> = catalog
        .preferred()
        .map(ApiResource::group_resource)
        .collect();
    let sequence = request.sequence().sequence(&served, catalog);
    let (first, rest): (Vec<_>, Vec<_>) = sequence.into_iter().partition(is_crd);
    let reversed = rest.into_iter().rev().chain(first);
    reversed
        .filter(|resource| !resource.is("", "namespaces"))
        .filter_map(|resource| catalog.get(&resource).cloned())
        .collect()
}
