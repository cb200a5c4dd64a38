//! The include/exclude lists of a policy.

use crate::Catalog;
use crate::filter::{Pattern, ResourceFilterSpec};

/// Resource filters that a policy puts behind those of the spec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IncludeExcludePolicy {
    /// Cluster-scoped resources to take.
    pub included_cluster_scoped: Vec<String>,
    /// Cluster-scoped resources to leave out.
    pub excluded_cluster_scoped: Vec<String>,
    /// Namespaced resources to take.
    pub included_namespace_scoped: Vec<String>,
    /// Namespaced resources to leave out.
    pub excluded_namespace_scoped: Vec<String>,
}

impl IncludeExcludePolicy {
    /// Adds the lists to the filters of a spec.
    ///
    /// An entry is added only where the filters say nothing about its resource yet, so the spec wins: an included `*`
    /// keeps every exclude of the policy out. Namespaced includes narrow a spec that names none. Entries whose resource
    /// has the other scope are left out. Mirrors `CombineWithPolicy` in upstream's
    /// `pkg/util/collections/includes_excludes.go`.
    pub fn merge_into(&self, filters: &mut ResourceFilterSpec, catalog: &Catalog) {
        let namespaced = Side {
            catalog,
            namespaced: true,
        };
        let (includes, excludes) = (
            &mut filters.included_namespace_scoped,
            &mut filters.excluded_namespace_scoped,
        );
        namespaced.add(&self.excluded_namespace_scoped, excludes, includes);
        namespaced.add(&self.included_namespace_scoped, includes, excludes);
        let cluster = Side {
            catalog,
            namespaced: false,
        };
        let (includes, excludes) = (
            &mut filters.included_cluster_scoped,
            &mut filters.excluded_cluster_scoped,
        );
        cluster.add(&self.excluded_cluster_scoped, excludes, includes);
        cluster.add(&self.included_cluster_scoped, includes, excludes);
    }
}

/// The resources of one scope.
struct Side<'a> {
    catalog: &'a Catalog,
    namespaced: bool,
}

impl Side<'_> {
    fn add(&self, entries: &[String], to: &mut Vec<String>, other: &[String]) {
        for entry in entries {
            let Some(name) = self.resolved(entry) else {
                continue;
            };
            let known = |list: &[String]| {
                list.iter()
                    .filter_map(|listed| self.resolved(listed))
                    .any(|listed| Pattern::new(listed).matches(&name))
            };
            if !known(to) && !known(other) {
                to.push(name);
            }
        }
    }

    /// The full name of a resource; nothing when it has the other scope. Globs and unknown names stay as they are.
    fn resolved(&self, name: &str) -> Option<String> {
        match self.catalog.resolve(name) {
            Some(resource) if resource.namespaced != self.namespaced => None,
            Some(resource) => Some(resource.group_resource().to_string()),
            None => Some(name.to_owned()),
        }
    }
}
