//! What a backup asks for and the cluster does not have: a misspelt name must not look like success.
//!
//! The peer is silent here and ends `Completed`; so do we, with warnings. One case is an error: an include may mean a kind
//! of a group that the API server knows and that did not say what it serves. Then objects that were asked for by name
//! are not in the backup, and nobody knows how many.

use velero_core::filter::{NamespaceFilter, Pattern, ResourceFilterSpec};
use velero_core::result::{Record, Severity};
use velero_core::{ApiResource, Catalog, DiscoveryFailure, ItemHead, Selector};

use crate::BackupRequest;
use crate::coverage::Totals;
use crate::prepare::{SNAPSHOT_CONTENTS, SNAPSHOTS};

/// One record for each group that could not be discovered: an error when an include may mean one of its kinds, else a
/// warning, as in the peer.
pub(crate) fn groups(filters: &ResourceFilterSpec, catalog: &Catalog) -> Vec<Record> {
    let record = |failure: &DiscoveryFailure| {
        let (name, cause) = (&failure.group_version, &failure.message);
        let what = format!("the resources of {name} are not in the backup");
        let asked: Vec<String> = included(filters)
            .filter(|(_, name)| may_mean(name, failure.group(), catalog))
            .map(|(field, name)| format!("{field} {name:?}"))
            .collect();
        match asked.as_slice() {
            [] => Record::run(Severity::Warning, format!("{what}: {cause}")),
            asked => {
                let asked = asked.join(", ");
                Record::run(
                    Severity::Error,
                    format!("{what}, and {asked} may mean one of them: {cause}"),
                )
            }
        }
    };
    catalog.failures().iter().map(record).collect()
}

/// Whether an include can mean a kind of a group whose kinds are not known. `*` means none in particular.
fn may_mean(name: &str, group: &str, catalog: &Catalog) -> bool {
    if name == "*" {
        return false;
    }
    let pattern = Pattern::new(name);
    if pattern.is_glob() {
        return pattern.matches(&format!("x.{group}")) || name.ends_with(&format!(".{group}"));
    }
    let known = catalog.resolve(name).is_some();
    !known
        && name
            .to_lowercase()
            .split_once('.')
            .is_none_or(|(_, part)| group.starts_with(part))
}

/// An include list and an exclude list of the same kinds, each with the name of its field.
struct Pair<'a> {
    includes: (&'static str, &'a [String]),
    excludes: (&'static str, &'a [String]),
}

fn pairs(filters: &ResourceFilterSpec) -> [Pair<'_>; 3] {
    [
        Pair {
            includes: ("includedResources", &filters.included_resources),
            excludes: ("excludedResources", &filters.excluded_resources),
        },
        Pair {
            includes: (
                "includedClusterScopedResources",
                &filters.included_cluster_scoped,
            ),
            excludes: (
                "excludedClusterScopedResources",
                &filters.excluded_cluster_scoped,
            ),
        },
        Pair {
            includes: (
                "includedNamespaceScopedResources",
                &filters.included_namespace_scoped,
            ),
            excludes: (
                "excludedNamespaceScopedResources",
                &filters.excluded_namespace_scoped,
            ),
        },
    ]
}

/// The entries of the include lists, with the names of their fields.
fn included(filters: &ResourceFilterSpec) -> impl Iterator<Item = (&'static str, &str)> {
    pairs(filters).into_iter().flat_map(|pair| {
        let (field, names) = pair.includes;
        names.iter().map(move |name| (field, name.as_str()))
    })
}

/// A warning for each include that stands for no kind of the cluster that can be backed up, or for none that the excludes
/// leave, and for each exclude that stands for no kind.
pub(crate) fn resources(filters: &ResourceFilterSpec, catalog: &Catalog) -> Vec<Record> {
    let mut messages = Vec::new();
    for pair in pairs(filters) {
        let (field, names) = pair.includes;
        for name in names {
            let fault = include_fault(name, catalog).map(str::to_owned);
            let fault = fault.or_else(|| taken_back(name, &pair, catalog));
            messages.extend(fault.map(|fault| format!("{field} {name:?}: {fault}")));
        }
        let (field, names) = pair.excludes;
        for name in names {
            let fault = exclude_fault(name, catalog);
            messages.extend(fault.map(|fault| format!("{field} {name:?}: {fault}")));
        }
    }
    messages
        .into_iter()
        .map(|message| Record::run(Severity::Warning, message))
        .collect()
}

/// Whether a name may be of a group that did not answer, which is told of by itself.
fn may_be_hidden(name: &str, catalog: &Catalog) -> bool {
    let mut failures = catalog.failures().iter();
    failures.any(|failure| may_mean(name, failure.group(), catalog))
}

fn include_fault(name: &str, catalog: &Catalog) -> Option<&'static str> {
    let pattern = Pattern::new(name);
    if name == "*" || pattern.is_broken() {
        return None;
    }
    if pattern.is_glob() {
        return kinds_of(name, catalog)
            .is_empty()
            .then_some("it matches no resource of the cluster that can be backed up");
    }
    match catalog.resolve(name) {
        Some(resource) if resource.verbs.can_back_up() => None,
        Some(_) => Some(
            "its objects cannot be listed, read, created and deleted one by one, and are not in the backup",
        ),
        None if may_be_hidden(name, catalog) => None,
        None => Some("the cluster serves no such resource"),
    }
}

/// What is wrong with an exclude; nothing with those that controllers write.
fn exclude_fault(name: &str, catalog: &Catalog) -> Option<&'static str> {
    let pattern = Pattern::new(name);
    let auto = [SNAPSHOTS, SNAPSHOT_CONTENTS].contains(&name);
    if auto || name == "*" || pattern.is_broken() || may_be_hidden(name, catalog) {
        return None;
    }
    if pattern.is_glob() {
        let mut kinds = catalog.preferred();
        let found = kinds.any(|r| pattern.matches(&r.group_resource().to_string()));
        return (!found).then_some("it matches no resource of the cluster");
    }
    catalog
        .resolve(name)
        .is_none()
        .then_some("the cluster serves no such resource")
}

/// The kinds that can be backed up and that a name stands for. `*` stands for none in particular.
fn kinds_of(name: &str, catalog: &Catalog) -> Vec<String> {
    let pattern = Pattern::new(name);
    if name == "*" || pattern.is_broken() {
        return Vec::new();
    }
    let found: Vec<_> = if pattern.is_glob() {
        let matches = |r: &&ApiResource| pattern.matches(&r.group_resource().to_string());
        catalog.preferred().filter(matches).collect()
    } else {
        catalog.resolve(name).into_iter().collect()
    };
    let able = found.into_iter().filter(|r| r.verbs.can_back_up());
    able.map(|r| r.group_resource().to_string()).collect()
}

/// Tells of an include of which the excludes, however they are written, leave nothing.
fn taken_back(name: &str, pair: &Pair<'_>, catalog: &Catalog) -> Option<String> {
    let mut left = kinds_of(name, catalog);
    if left.is_empty() {
        return None;
    }
    let (field, excludes) = pair.excludes;
    let mut by = Vec::new();
    for exclude in excludes {
        let before = left.len();
        let out = kinds_of(exclude, catalog);
        left.retain(|kind| !out.contains(kind));
        if left.len() < before {
            by.push(format!("{exclude:?}"));
        }
    }
    left.is_empty()
        .then(|| format!("nothing is left of it by {field} {}", by.join(", ")))
}

/// A warning for each pattern that matches no namespace, for each exclude that is none, and one when the excludes leave
/// nothing of the includes. Includes that do not exist are told elsewhere.
pub(crate) fn namespaces(
    includes: &[String],
    excludes: &[String],
    filter: &NamespaceFilter,
    live: &[ItemHead],
) -> Vec<Record> {
    let unmatched = |name: &&String| {
        let pattern = Pattern::new(name.as_str());
        pattern.is_glob() && !live.iter().any(|ns| pattern.matches(&ns.name))
    };
    let mut messages: Vec<String> = includes
        .iter()
        .filter(unmatched)
        .map(|name| format!("includedNamespaces {name:?}: no namespace of the cluster matches"))
        .collect();
    let unmatched_includes = !messages.is_empty();
    // With includes that are all names the namespaces may be known by these alone, and the excludes say little.
    let listed = |name: &String| name == "*" || Pattern::new(name.as_str()).is_glob();
    if includes.is_empty() || includes.iter().any(listed) {
        let faults = excludes.iter().filter_map(|name| {
            let fault = exclude_of_none(name, live)?;
            Some(format!("excludedNamespaces {name:?}: {fault}"))
        });
        messages.extend(faults);
    }
    let taken = live.iter().any(|ns| filter.should_include(&ns.name));
    if !unmatched_includes && filter.missing().is_empty() && !taken && !live.is_empty() {
        let lists = [
            list("includedNamespaces", includes, &["*"]),
            list("excludedNamespaces", excludes, &[]),
        ];
        let lists: Vec<String> = lists.into_iter().flatten().collect();
        messages.push(format!(
            "no namespace of the cluster is left by {}",
            lists.join(", ")
        ));
    }
    messages
        .into_iter()
        .map(|message| Record::run(Severity::Warning, message))
        .collect()
}

fn exclude_of_none(name: &str, live: &[ItemHead]) -> Option<&'static str> {
    let pattern = Pattern::new(name);
    if name.is_empty() || name == "*" || pattern.is_broken() {
        None
    } else if pattern.is_glob() {
        let found = live.iter().any(|ns| pattern.matches(&ns.name));
        (!found).then_some("no namespace of the cluster matches")
    } else {
        let found = live.iter().any(|ns| ns.name == name);
        (!found).then_some("the cluster has no such namespace")
    }
}

/// A warning for each alternative of the label selectors that takes everything, beside others.
pub(crate) fn selectors(alternatives: &[Selector]) -> Vec<Record> {
    let empty = |(_, selector): &(usize, &Selector)| alternatives.len() > 1 && selector.is_empty();
    let told = alternatives
        .iter()
        .enumerate()
        .filter(empty)
        .map(|(at, _)| {
            let why = "it is empty and takes everything; the others have no effect";
            Record::run(Severity::Warning, format!("orLabelSelectors[{at}]: {why}"))
        });
    told.collect()
}

/// A warning at the end of a run in which nothing has failed and nothing, or nothing but Namespace objects, was chosen.
pub(crate) fn everything(request: &BackupRequest, totals: &Totals) -> Option<Record> {
    let by_label = !request.selectors().matches_everything();
    let only_namespaces = totals.namespaces > 0 && totals.kinds > 0 && by_label;
    if totals.stored > 0 || !totals.whole || (totals.namespaces > 0 && !only_namespaces) {
        return None;
    }
    let what = if only_namespaces {
        "nothing but Namespace objects is in the backup"
    } else {
        "nothing is in the backup"
    };
    let filters = asked(request);
    let mut message = if filters.is_empty() {
        format!("{what}: the cluster has no objects that can be backed up")
    } else {
        format!("{what}: none is selected by {}", filters.join(", "))
    };
    let left = totals.left_out.to_string();
    if !left.is_empty() {
        message += &format!(" (left out by {left})");
    }
    Some(Record::run(Severity::Warning, message))
}

/// The filters of a backup as its author wrote them.
fn asked(request: &BackupRequest) -> Vec<String> {
    let spec = &request.backup().spec;
    let auto = [SNAPSHOTS, SNAPSHOT_CONTENTS];
    let mut out: Vec<String> = [
        list("includedNamespaces", &spec.included_namespaces, &["*"]),
        list("excludedNamespaces", &spec.excluded_namespaces, &[]),
        list("includedResources", &spec.included_resources, &["*"]),
        list("excludedResources", &spec.excluded_resources, &auto),
        list(
            "includedClusterScopedResources",
            &spec.included_cluster_scoped_resources,
            &[],
        ),
        list(
            "excludedClusterScopedResources",
            &spec.excluded_cluster_scoped_resources,
            &auto,
        ),
        list(
            "includedNamespaceScopedResources",
            &spec.included_namespace_scoped_resources,
            &["*"],
        ),
        list(
            "excludedNamespaceScopedResources",
            &spec.excluded_namespace_scoped_resources,
            &auto,
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    out.extend(
        spec.include_cluster_resources
            .map(|include| format!("includeClusterResources {include}")),
    );
    let policy = request.policies().and_then(|p| p.include_exclude.as_ref());
    out.extend(policy.map(|_| "includeExcludePolicy of the resource policies".to_owned()));
    let alternatives = request.selectors().alternatives();
    if !request.selectors().matches_everything() {
        let field = match spec.label_selector {
            Some(_) => "labelSelector",
            None => "orLabelSelectors",
        };
        let any: Vec<String> = alternatives.iter().map(Selector::to_string).collect();
        out.push(format!("{field} {:?}", any.join(" or ")));
    }
    out
}

/// A list as `field "a", "b"`, without what means nothing; `None` when nothing is left.
fn list(field: &str, names: &[String], without: &[&str]) -> Option<String> {
    let names: Vec<String> = names
        .iter()
        .filter(|name| !without.contains(&name.as_str()))
        .map(|name| format!("{name:?}"))
        .collect();
    (!names.is_empty()).then(|| format!("{field} {}", names.join(", ")))
}

#[cfg(test)]
mod tests;
