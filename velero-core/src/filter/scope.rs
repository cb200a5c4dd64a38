//! Which kinds a backup collects, and which objects that actions ask for it keeps.

use super::{IncludesExcludes, Pattern};
use crate::{ApiResource, Catalog, GroupResource};

/// CSI snapshot kinds that a backup never collects by itself; only actions bring them in.
const AUTO_EXCLUDED: [&str; 2] = [
    "volumesnapshots.snapshot.storage.k8s.io",
    "volumesnapshotcontents.snapshot.storage.k8s.io",
];

/// The namespaces of a backup: its lists, and whether they leave nothing out.
#[derive(Debug, Clone, Default)]
pub struct NamespaceFilter {
    lists: IncludesExcludes,
    everything: bool,
    nothing: bool,
    missing: Vec<String>,
}

impl NamespaceFilter {
    /// Resolves the lists of a `Backup` against the namespaces that exist.
    ///
    /// Patterns are expanded once here when an include or exclude holds a wildcard and no include is `*`; an
    /// expansion that finds nothing selects no namespaced object at all. Mirrors upstream's
    /// `pkg/util/wildcard/expand.go`.
    pub fn resolve(includes: &[String], excludes: &[String], live: &[String]) -> Self {
        let star = includes.iter().any(|i| i == "*");
        let wild = |names: &[String]| names.iter().any(|n| Pattern::new(n.as_str()).is_glob());
        let (mut resolved, mut resolved_excludes) = (includes.to_vec(), excludes.to_vec());
        let expand = !star && !includes.is_empty() && (wild(includes) || wild(excludes));
        if expand {
            resolved = expand_names(includes, live);
            resolved_excludes = expand_names(excludes, live);
            resolved.retain(|n| !resolved_excludes.contains(n));
        }
        let nothing = expand && resolved.is_empty();
        let mut sorted = resolved.clone();
        sorted.sort();
        let everything = resolved_excludes.is_empty()
            && (resolved.is_empty() || resolved == ["*"] || (!live.is_empty() && sorted == live));
        let missing = resolved
            .iter()
            .filter(|n| *n != "*" && !live.contains(n))
            .cloned()
            .collect();
        Self {
            lists: IncludesExcludes::new(resolved, resolved_excludes),
            everything: everything && !nothing,
            nothing,
            missing,
        }
    }

    /// Whether objects of `namespace` are taken.
    pub fn should_include(&self, namespace: &str) -> bool {
        !self.nothing && self.lists.should_include(namespace)
    }

    /// Whether no namespace is left out.
    pub fn includes_everything(&self) -> bool {
        self.everything
    }

    /// Included names that do not exist in the cluster.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// The included names when they are all literal and there are no excludes to apply to `*`.
    pub fn names(&self) -> Option<Vec<String>> {
        if self.nothing {
            return Some(Vec::new());
        }
        if self.lists.includes().next().is_none() || self.lists.includes_star() {
            return None;
        }
        Some(
            self.lists
                .includes()
                .map(|p| p.as_str().to_owned())
                .filter(|n| self.should_include(n))
                .collect(),
        )
    }
}

fn expand_names(patterns: &[String], live: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for text in patterns {
        let pattern = Pattern::new(text.as_str());
        if pattern.is_glob() {
            out.extend(live.iter().filter(|n| pattern.matches(n)).cloned());
        } else {
            out.push(text.clone());
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    out.retain(|n| seen.insert(n.clone()));
    out
}

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
    fn uses_old(&self) -> bool {
        self.include_cluster_resources.is_some()
            || !self.included_resources.is_empty()
            || !self.excluded_resources.is_empty()
    }

    fn uses_new(&self) -> bool {
        [
            &self.included_cluster_scoped,
            &self.excluded_cluster_scoped,
            &self.included_namespace_scoped,
            &self.excluded_namespace_scoped,
        ]
        .iter()
        .any(|list| !list.is_empty())
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
            faults.extend(validate_scoped(what, includes, excludes));
        }
        faults
    }
}

fn validate_scoped(what: &str, includes: &[String], excludes: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    for (side, list) in [("included", includes), ("excluded", excludes)] {
        if list.len() > 1 && list.iter().any(|i| i == "*") {
            faults.push(format!("{side} {what}: \"*\" must stand alone"));
        }
    }
    if !includes.is_empty() && excludes.iter().any(|e| e == "*") {
        faults.push(format!(
            "{what}: nothing can be included while \"*\" is excluded"
        ));
    }
    for both in includes.iter().filter(|i| excludes.contains(i)) {
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
    /// Compiles the lists against what the cluster serves. `has_selector` says whether objects are also chosen by label.
    pub fn compile(
        spec: &ResourceFilterSpec,
        catalog: &Catalog,
        namespaces: &NamespaceFilter,
        has_selector: bool,
    ) -> Self {
        let everything = namespaces.includes_everything();
        let mode = if spec.uses_old() {
            Mode::Old {
                lists: lists(
                    resolve(catalog, &spec.included_resources, None),
                    resolve(catalog, &spec.excluded_resources, None),
                ),
                cluster: spec.include_cluster_resources,
            }
        } else if !spec.uses_new() && everything && !has_selector {
            Mode::Whole(lists(Vec::new(), Vec::new()))
        } else {
            let side = |includes: &[String], excludes: &[String], namespaced: bool| {
                lists(
                    resolve(catalog, includes, Some(namespaced)),
                    resolve(catalog, excludes, Some(namespaced)),
                )
            };
            Mode::New {
                cluster: side(
                    &spec.included_cluster_scoped,
                    &spec.excluded_cluster_scoped,
                    false,
                ),
                namespaced: side(
                    &spec.included_namespace_scoped,
                    &spec.excluded_namespace_scoped,
                    true,
                ),
            }
        };
        Self {
            mode,
            namespaces_everything: everything,
        }
    }

    /// Whether objects of this kind are listed and stored on their own account.
    pub fn collects(&self, resource: &ApiResource) -> bool {
        let gr = resource.group_resource();
        let name = gr.to_string();
        let is_namespaces = gr.is("", "namespaces");
        match &self.mode {
            Mode::Whole(lists) => lists.should_include(&name),
            Mode::Old { lists, cluster } if !resource.namespaced => {
                lists.should_include(&name)
                    && match cluster {
                        Some(wanted) => *wanted,
                        None => self.namespaces_everything || is_namespaces,
                    }
            }
            Mode::Old { lists, .. } => lists.should_include(&name),
            Mode::New { namespaced, .. } if resource.namespaced => {
                takes_namespaced(namespaced, &name)
            }
            Mode::New { cluster, .. } => {
                let included = cluster.includes().any(|p| p.matches(&name));
                !cluster.excludes().any(|p| p.matches(&name)) && (included || is_namespaces)
            }
        }
    }

    /// Whether an object that an action asks for is kept, by its kind.
    pub fn keeps_related(&self, gr: &GroupResource, namespaced: bool) -> bool {
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
            } if !namespaced => {
                IncludesExcludes::new(Vec::<String>::new(), lists.excludes().map(|p| p.as_str()))
                    .should_include(&name)
            }
            Mode::Old { lists, .. } => lists.should_include(&name),
            Mode::New {
                namespaced: lists, ..
            } if namespaced => takes_namespaced(lists, &name),
            Mode::New { cluster, .. } => !cluster.excludes().any(|p| p.matches(&name)),
        }
    }
}

/// The names of a list as the cluster serves them; with a scope, without those of the other scope.
fn resolve(catalog: &Catalog, list: &[String], namespaced: Option<bool>) -> Vec<String> {
    let mut names = list.to_vec();
    if let Some(namespaced) = namespaced {
        names.retain(|name| {
            catalog
                .resolve(name)
                .is_none_or(|resource| resource.namespaced == namespaced)
        });
    }
    catalog.resolve_all(&names)
}

/// The lists with the kinds of CSI snapshots moved from the includes to the excludes.
fn lists(mut includes: Vec<String>, mut excludes: Vec<String>) -> IncludesExcludes {
    includes.retain(|name| !AUTO_EXCLUDED.contains(&name.as_str()));
    excludes.extend(AUTO_EXCLUDED.map(str::to_owned));
    IncludesExcludes::new(includes, excludes)
}

/// In the new family a `*` among the excludes does leave every namespaced kind out.
fn takes_namespaced(lists: &IncludesExcludes, name: &str) -> bool {
    lists.should_include(name) && !lists.excludes().any(|p| p.as_str() == "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(group: &str, plural: &str, namespaced: bool) -> ApiResource {
        ApiResource {
            group: group.into(),
            version: "v1".into(),
            kind: plural.trim_end_matches('s').into(),
            plural: plural.into(),
            namespaced,
            preferred: true,
            ..ApiResource::default()
        }
    }

    fn catalog() -> Catalog {
        Catalog::new(
            vec![
                resource("", "pods", true),
                resource("", "namespaces", false),
                resource("", "persistentvolumes", false),
                resource("storage.k8s.io", "storageclasses", false),
                resource("snapshot.storage.k8s.io", "volumesnapshots", true),
            ],
            Vec::new(),
        )
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    fn collected(spec: &ResourceFilterSpec, includes: &[&str], has_selector: bool) -> Vec<String> {
        let live = names(&["default", "shop"]);
        let namespaces = NamespaceFilter::resolve(&names(includes), &[], &live);
        let filter = ScopeFilter::compile(spec, &catalog(), &namespaces, has_selector);
        catalog()
            .preferred()
            .filter(|r| filter.collects(r))
            .map(|r| r.plural.clone())
            .collect()
    }

    #[test]
    fn kinds_collected_by_filters() {
        let none = ResourceFilterSpec::default();
        let old = |cluster| ResourceFilterSpec {
            include_cluster_resources: cluster,
            included_resources: names(&["*"]),
            ..Default::default()
        };
        let star_cluster = ResourceFilterSpec {
            included_cluster_scoped: names(&["*"]),
            ..Default::default()
        };
        let cluster_only = ResourceFilterSpec {
            included_cluster_scoped: names(&["pv"]),
            excluded_namespace_scoped: names(&["*"]),
            ..Default::default()
        };
        let star_but_one = ResourceFilterSpec {
            excluded_cluster_scoped: names(&["persistentvolumes"]),
            ..star_cluster.clone()
        };
        let some_namespaced = ResourceFilterSpec {
            included_namespace_scoped: names(&["pods"]),
            ..Default::default()
        };
        let without_unknown = ResourceFilterSpec {
            excluded_resources: names(&["unicorns"]),
            ..Default::default()
        };
        let with_snapshots = ResourceFilterSpec {
            included_resources: names(&["pods", "volumesnapshots.snapshot.storage.k8s.io"]),
            ..Default::default()
        };
        let whole = &["pods", "namespaces", "persistentvolumes", "storageclasses"][..];
        for (spec, includes, selector, expected) in [
            (&none, &["*"][..], false, whole),
            (&none, &["*"], true, &["pods", "namespaces"]),
            (&none, &["shop"], false, &["pods", "namespaces"]),
            (&none, &["default", "shop"], false, whole),
            (&old(None), &["*"], false, whole),
            (&old(None), &["shop"], false, &["pods", "namespaces"]),
            (&old(Some(true)), &["shop"], false, whole),
            (&old(Some(false)), &["*"], false, &["pods"]),
            (&star_cluster, &["shop"], false, whole),
            (
                &star_but_one,
                &["shop"],
                false,
                &["pods", "namespaces", "storageclasses"],
            ),
            (&some_namespaced, &["*"], false, &["pods", "namespaces"]),
            (&without_unknown, &["*"], false, whole),
            (&with_snapshots, &["*"], false, &["pods"]),
            (&cluster_only, &["*"], false, &["namespaces"]),
        ] {
            assert_eq!(
                collected(spec, includes, selector),
                expected,
                "{spec:?} {includes:?} {selector}"
            );
        }
    }

    #[test]
    fn related_objects_by_filters() {
        let live = names(&["shop"]);
        let namespaces = NamespaceFilter::resolve(&names(&["shop", "x"]), &[], &live);
        assert_eq!(namespaces.missing(), ["x"]);
        let pv = GroupResource::core("persistentvolumes");
        for (spec, expected) in [
            (ResourceFilterSpec::default(), true),
            (
                ResourceFilterSpec {
                    include_cluster_resources: Some(false),
                    ..Default::default()
                },
                false,
            ),
            (
                ResourceFilterSpec {
                    included_resources: names(&["pods"]),
                    ..Default::default()
                },
                false,
            ),
            (
                ResourceFilterSpec {
                    included_resources: names(&["pods"]),
                    include_cluster_resources: Some(true),
                    ..Default::default()
                },
                true,
            ),
            (
                ResourceFilterSpec {
                    excluded_cluster_scoped: names(&["persistentvolumes"]),
                    ..Default::default()
                },
                false,
            ),
            (
                ResourceFilterSpec {
                    included_cluster_scoped: names(&["storageclasses"]),
                    ..Default::default()
                },
                true,
            ),
        ] {
            let filter = ScopeFilter::compile(&spec, &catalog(), &namespaces, false);
            assert_eq!(filter.keeps_related(&pv, false), expected, "{spec:?}");
        }
    }

    #[test]
    fn namespace_patterns_expand_against_the_cluster() {
        let live = names(&["default", "team-a", "team-b"]);
        let filter = |i: &[&str], e: &[&str]| NamespaceFilter::resolve(&names(i), &names(e), &live);
        assert_eq!(
            filter(&["team-*"], &["team-b"]).names(),
            Some(names(&["team-a"]))
        );
        let none = filter(&["x-*"], &[]);
        assert!(
            !none.should_include("default")
                && none.names() == Some(Vec::new())
                && !none.includes_everything()
        );
        assert!(
            filter(&["*"], &["team-*"]).should_include("default")
                && !filter(&["*"], &["team-*"]).should_include("team-a")
        );
        assert!(filter(&[], &[]).includes_everything() && filter(&[], &[]).names().is_none());
        // "No namespace": nothing is taken, and the name counts as one that does not exist.
        let blank = filter(&[""], &[]);
        assert!(!blank.should_include("default") && !blank.includes_everything());
        assert_eq!(blank.missing(), [""]);
    }
}
