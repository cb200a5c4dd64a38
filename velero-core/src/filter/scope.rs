//! Which kinds a backup collects, and which objects that actions ask for it keeps.

use super::lists::set;
use super::{IncludesExcludes, NamespaceFilter, Pattern};
use crate::{ApiResource, Catalog, GroupResource};

/// CSI snapshot kinds that a backup never collects by itself; only actions bring them in. Controllers write them into
/// the exclude lists of every backup they have seen, where they say nothing about what the user filters.
const SNAPSHOTS: &str = "volumesnapshots.snapshot.storage.k8s.io";
const SNAPSHOT_CONTENTS: &str = "volumesnapshotcontents.snapshot.storage.k8s.io";

/// The resource filter fields of a `BackupSpec`, both families.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceFilterSpec {
    /// `includedResources`, old family.
    pub included_resources: Vec<String>,
    /// `excludedResources`, old family.
    pub excluded_resources: Vec<String>,
    /// `includeClusterResources`, old family.
    pub include_cluster_resources: Option<bool>,
    /// `includedClusterScopedResources`.
    pub included_cluster_scoped: Vec<String>,
    /// `excludedClusterScopedResources`.
    pub excluded_cluster_scoped: Vec<String>,
    /// `includedNamespaceScopedResources`.
    pub included_namespace_scoped: Vec<String>,
    /// `excludedNamespaceScopedResources`.
    pub excluded_namespace_scoped: Vec<String>,
}

impl ResourceFilterSpec {
    /// Whether a field of the old family is set.
    pub fn uses_old(&self) -> bool {
        self.include_cluster_resources.is_some()
            || !self.included_resources.is_empty()
            || !self.excluded_resources.is_empty()
    }

    fn uses_new(&self) -> bool {
        let by_user = |list: &[String], auto: &str| list.iter().any(|name| name != auto);
        !self.included_cluster_scoped.is_empty()
            || !self.included_namespace_scoped.is_empty()
            || by_user(&self.excluded_cluster_scoped, SNAPSHOT_CONTENTS)
            || by_user(&self.excluded_namespace_scoped, SNAPSHOTS)
    }

    /// Whether no list and no switch is set, but for what controllers put on the exclude lists by themselves.
    pub fn is_empty(&self) -> bool {
        !self.uses_old() && !self.uses_new()
    }

    /// Gives one message for each fault in the lists; empty when they are sound.
    pub fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.uses_old() && self.uses_new() {
            faults.push(
                "includedResources, excludedResources and includeClusterResources cannot be used together with the \
                 cluster-scoped and namespace-scoped lists; use one family"
                    .to_owned(),
            );
        }
        faults.extend(super::validate_lists(
            "resources",
            &self.included_resources,
            &self.excluded_resources,
        ));
        for (what, includes, excludes) in [
            (
                "cluster-scoped resources",
                &self.included_cluster_scoped,
                &self.excluded_cluster_scoped,
            ),
            (
                "namespace-scoped resources",
                &self.included_namespace_scoped,
                &self.excluded_namespace_scoped,
            ),
        ] {
            faults.extend(validate_scoped_lists(what, includes, excludes));
        }
        faults
    }
}

/// Checks an include/exclude pair of one scope, where `*` may be excluded; gives one message for each fault.
///
/// `what` names the pair in the messages: `cluster-scoped resources`.
pub fn validate_scoped_lists(what: &str, includes: &[String], excludes: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    let (includes, excludes) = (set(includes), set(excludes));
    for (side, list) in [("included", &includes), ("excluded", &excludes)] {
        if list.len() > 1 && list.contains("*") {
            faults.push(format!("{side} {what}: \"*\" must stand alone"));
        }
    }
    if !includes.is_empty() && excludes.contains("*") {
        faults.push(format!(
            "{what}: nothing can be included while \"*\" is excluded"
        ));
    }
    for both in includes.intersection(&excludes) {
        faults.push(format!(
            "{what}: {both:?} is both included and excluded; keep one"
        ));
    }
    faults
}

/// Decides by kind and scope what a backup takes. Mirrors upstream's scope rules in
/// `pkg/util/collections/includes_excludes.go`, but a backup without any filter takes the whole cluster.
#[derive(Debug, Clone)]
pub struct ScopeFilter {
    mode: Mode,
    namespaces_everything: bool,
    notes: Vec<String>,
}

#[derive(Debug, Clone)]
enum Mode {
    Whole(IncludesExcludes),
    Old {
        lists: IncludesExcludes,
        cluster: Option<bool>,
    },
    New {
        cluster: IncludesExcludes,
        namespaced: IncludesExcludes,
    },
}

impl ScopeFilter {
    /// Compiles the lists against what the cluster serves. `unfiltered` says whether the rest of the backup filters
    /// nothing: with lists that are empty too it takes the whole cluster.
    pub fn compile(
        spec: &ResourceFilterSpec,
        catalog: &Catalog,
        namespaces: &NamespaceFilter,
        unfiltered: bool,
    ) -> Self {
        let mut resolver = Resolver {
            catalog,
            notes: Vec::new(),
        };
        let mode = if spec.uses_old() {
            let auto = [SNAPSHOTS, SNAPSHOT_CONTENTS];
            Mode::Old {
                lists: resolver.lists(
                    "resources",
                    [&spec.included_resources, &spec.excluded_resources],
                    &auto,
                    None,
                ),
                cluster: spec.include_cluster_resources,
            }
        } else if spec.is_empty() && unfiltered {
            let auto = [SNAPSHOTS, SNAPSHOT_CONTENTS];
            Mode::Whole(IncludesExcludes::new(Vec::<String>::new(), auto))
        } else {
            Mode::New {
                cluster: resolver.lists(
                    "cluster-scoped resources",
                    [&spec.included_cluster_scoped, &spec.excluded_cluster_scoped],
                    &[SNAPSHOT_CONTENTS],
                    Some(false),
                ),
                namespaced: resolver.lists(
                    "namespace-scoped resources",
                    [
                        &spec.included_namespace_scoped,
                        &spec.excluded_namespace_scoped,
                    ],
                    &[SNAPSHOTS],
                    Some(true),
                ),
            }
        };
        Self {
            mode,
            namespaces_everything: namespaces.includes_everything(),
            notes: resolver.notes,
        }
    }

    /// What in the lists has no effect, or another one than it seems: one message each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether objects of this kind are listed and stored on their own account.
    pub fn collects(&self, resource: &ApiResource) -> bool {
        self.why_not(resource).is_none()
    }

    /// The rule by which objects of this kind are not listed; `None` when they are.
    pub fn why_not(&self, resource: &ApiResource) -> Option<&'static str> {
        const LISTS: &str = "resource filters";
        const SCOPE: &str = "cluster-scoped kinds are not included";
        let gr = resource.group_resource();
        let name = gr.to_string();
        let is_namespaces = gr.is("", "namespaces");
        let unless = |takes: bool, rule: &'static str| (!takes).then_some(rule);
        match &self.mode {
            Mode::Whole(lists) => unless(lists.should_include(&name), LISTS),
            Mode::Old { lists, cluster } => {
                let scope = resource.namespaced
                    || match cluster {
                        Some(wanted) => *wanted,
                        None => self.namespaces_everything || is_namespaces,
                    };
                unless(lists.should_include(&name), LISTS).or(unless(scope, SCOPE))
            }
            Mode::New { namespaced, .. } if resource.namespaced => {
                unless(takes_namespaced(namespaced, &name), LISTS)
            }
            Mode::New { cluster, .. } => unless(!cluster.excludes_name(&name), LISTS)
                .or(unless(is_namespaces || cluster.includes_name(&name), SCOPE)),
        }
    }

    /// Whether an object that an action asks for is kept, by its kind. Namespace objects always are.
    pub fn keeps_related(&self, gr: &GroupResource, namespaced: bool) -> bool {
        if gr.is("", "namespaces") {
            return true;
        }
        let name = gr.to_string();
        match &self.mode {
            Mode::Whole(lists) => lists.should_include(&name),
            Mode::Old {
                cluster: Some(false),
                ..
            } if !namespaced => false,
            Mode::Old {
                lists,
                cluster: Some(true),
            } if !namespaced => !lists.excludes_name(&name),
            Mode::Old { lists, .. } => lists.should_include(&name),
            Mode::New {
                namespaced: lists, ..
            } if namespaced => takes_namespaced(lists, &name),
            Mode::New { cluster, .. } => !cluster.excludes_name(&name),
        }
    }
}

/// In the new family a `*` among the excludes does leave every namespaced kind out.
fn takes_namespaced(lists: &IncludesExcludes, name: &str) -> bool {
    !lists.excludes_name(name) && lists.should_include(name)
}

/// Turns names as users write them into those of the cluster.
struct Resolver<'a> {
    catalog: &'a Catalog,
    notes: Vec<String>,
}

impl Resolver<'_> {
    /// Compiles an include and an exclude list; `auto` are kinds that are excluded in any case. An include that is
    /// written just like one of them is dropped, which can leave the list empty, as in the peer.
    fn lists(
        &mut self,
        what: &str,
        [includes, excludes]: [&[String]; 2],
        auto: &[&str],
        namespaced: Option<bool>,
    ) -> IncludesExcludes {
        let mut side = |side: &str, list: &[String]| -> Vec<String> {
            list.iter()
                .filter(|name| !auto.contains(&name.as_str()))
                .filter_map(|name| self.resolve(&format!("{side} {what}"), name, namespaced))
                .collect()
        };
        let includes = side("included", includes);
        let mut excludes = side("excluded", excludes);
        if namespaced.is_none() {
            // Only the new family can exclude everything.
            excludes.retain(|name| name != "*");
        }
        excludes.extend(auto.iter().map(|name| (*name).to_owned()));
        let lists = IncludesExcludes::new(includes, excludes);
        for pattern in lists.broken() {
            self.notes.push(format!(
                "{what}: the pattern {:?} cannot be read; it and the names sorted after it match nothing",
                pattern.as_str()
            ));
        }
        lists
    }

    /// The name of a kind in the cluster. A name that the cluster does not know stays as it is; one of the other scope
    /// is dropped.
    fn resolve(&mut self, list: &str, name: &str, namespaced: Option<bool>) -> Option<String> {
        if name == "*" || Pattern::new(name).is_glob() {
            return Some(name.to_owned());
        }
        // A kind that cannot be backed up is as good as unknown.
        let known = self.catalog.resolve(name);
        let Some(resource) = known.filter(|r| r.verbs.can_back_up()) else {
            return Some(name.to_owned());
        };
        if namespaced.is_some_and(|wanted| wanted != resource.namespaced) {
            let scope = if resource.namespaced {
                "namespace-scoped"
            } else {
                "cluster-scoped"
            };
            self.notes.push(format!(
                "{list}: {name:?} is {scope} and has no effect here; it belongs in the list of {scope} resources"
            ));
            return None;
        }
        Some(resource.group_resource().to_string())
    }
}

#[cfg(test)]
mod tests;
