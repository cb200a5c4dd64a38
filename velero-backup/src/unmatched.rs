//! What a backup asks for and the cluster does not have: a misspelt name must not look like success.
//!
//! The peer is silent here and ends `Completed`; so do we, with warnings. One case is an error: an include may mean a kind
//! of a group that the API server knows and that did not say what it serves. Then objects that were asked for by name
//! are not in the backup, and nobody knows how many.

use velero_core::filter::{NamespaceFilter, Pattern, ResourceFilterSpec};
use velero_core::result::{Record, Severity};
use velero_core::{Catalog, DiscoveryFailure, ItemHead, Selector};

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

/// The entries of the include lists, with the names of their fields.
fn included(filters: &ResourceFilterSpec) -> impl Iterator<Item = (&'static str, &str)> {
    [
        ("includedResources", &filters.included_resources),
        (
            "includedClusterScopedResources",
            &filters.included_cluster_scoped,
        ),
        (
            "includedNamespaceScopedResources",
            &filters.included_namespace_scoped,
        ),
    ]
    .into_iter()
    .flat_map(|(field, names)| names.iter().map(move |name| (field, name.as_str())))
}

/// A warning for each include that stands for no kind of the cluster that can be backed up.
pub(crate) fn resources(filters: &ResourceFilterSpec, catalog: &Catalog) -> Vec<Record> {
    let fault = |name: &str| {
        let pattern = Pattern::new(name);
        if name == "*" || pattern.is_broken() {
            return None;
        }
        if pattern.is_glob() {
            let mut kinds = catalog.preferred().filter(|r| r.verbs.can_back_up());
            let found = kinds.any(|r| pattern.matches(&r.group_resource().to_string()));
            return (!found)
                .then_some("it matches no resource of the cluster that can be backed up");
        }
        match catalog.resolve(name) {
            Some(resource) if resource.verbs.can_back_up() => None,
            Some(_) => Some(
                "its objects cannot be listed, read, created and deleted one by one, and are not in the backup",
            ),
            // It may be of a group that did not answer, which is an error of its own.
            None if catalog
                .failures()
                .iter()
                .any(|failure| may_mean(name, failure.group(), catalog)) =>
            {
                None
            }
            None => Some("the cluster serves no such resource"),
        }
    };
    included(filters)
        .filter_map(|(field, name)| Some(format!("{field} {name:?}: {}", fault(name)?)))
        .map(|message| Record::run(Severity::Warning, message))
        .collect()
}

/// A warning for each pattern that matches no namespace, and one when the excludes leave nothing of the includes. Names
/// that do not exist are told elsewhere.
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
    let taken = live.iter().any(|ns| filter.should_include(&ns.name));
    if messages.is_empty() && filter.missing().is_empty() && !taken && !live.is_empty() {
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
mod tests {
    use super::*;
    use velero_core::ApiResource;

    fn catalog(down: &[&str]) -> Catalog {
        let resource = |group: &str, plural: &str, verbs: &[&str]| ApiResource {
            group: group.into(),
            version: "v1".into(),
            kind: plural.trim_end_matches('s').into(),
            plural: plural.into(),
            singular: plural.trim_end_matches('s').into(),
            verbs: verbs.iter().copied().collect(),
            preferred: true,
            ..ApiResource::default()
        };
        let failures = down.iter().map(|group_version| DiscoveryFailure {
            group_version: (*group_version).to_owned(),
            message: "it is down".to_owned(),
        });
        let all = ["list", "create", "get", "delete"];
        Catalog::new(
            vec![
                resource("", "pods", &all),
                resource("apps", "deployments", &all),
                resource("metrics.k8s.io", "podmetrics", &["list", "get"]),
            ],
            failures.collect(),
        )
    }

    fn including(names: &[&str]) -> ResourceFilterSpec {
        ResourceFilterSpec {
            included_resources: names.iter().map(|name| (*name).to_owned()).collect(),
            ..ResourceFilterSpec::default()
        }
    }

    fn lines(records: &[Record]) -> Vec<String> {
        records.iter().map(Record::line).collect()
    }

    #[test]
    fn groups_that_are_asked_for_are_errors() {
        let catalog = catalog(&["books.io/v1"]);
        for (names, asked) in [
            (&[][..], None),
            (&["*"], None),
            (&["pods", "deploy*", "deployments.apps"], None),
            (&["novels.other.io", "*.other.io"], None),
            // A bare name that nobody is known to serve may be of that group.
            (&["pods", "novels"], Some("\"novels\"")),
            (&["novels.books.io"], Some("\"novels.books.io\"")),
            (&["Novel.books"], Some("\"Novel.books\"")),
            (&["*.books.io"], Some("\"*.books.io\"")),
            (
                &["novel*.books.io", "*.io"],
                Some("\"novel*.books.io\", includedResources \"*.io\""),
            ),
        ] {
            let found = lines(&groups(&including(names), &catalog));
            let what = "the resources of books.io/v1 are not in the backup";
            let expected = match asked {
                None => format!("message: /{what}: it is down"),
                Some(asked) => format!(
                    "error: /{what}, and includedResources {asked} may mean one of them: it is down"
                ),
            };
            assert_eq!(found, [expected], "{names:?}");
            // No second word about a name that such an error is about.
            assert!(asked.is_none() || resources(&including(&["novels"]), &catalog).is_empty());
        }
    }

    #[test]
    fn includes_that_stand_for_nothing_are_warnings() {
        let unknown = "the cluster serves no such resource";
        let fixed = "its objects cannot be listed, read, created and deleted one by one, and are not in the backup";
        let glob = "it matches no resource of the cluster that can be backed up";
        for (name, expected) in [
            ("pods", None),
            ("Pod", None),
            ("deployments.apps", None),
            ("*", None),
            ("dep*", None),
            ("[", None),
            ("unicorns", Some(unknown)),
            ("pods.apps", Some(unknown)),
            ("", Some(unknown)),
            ("podmetrics", Some(fixed)),
            ("*.books.io", Some(glob)),
            ("podm*", Some(glob)),
        ] {
            let found = lines(&resources(&including(&[name]), &catalog(&[])));
            let expected =
                expected.map(|why| format!("message: /includedResources {name:?}: {why}"));
            assert_eq!(found, Vec::from_iter(expected), "{name}");
        }
        let new = ResourceFilterSpec {
            included_cluster_scoped: vec!["a".into()],
            included_namespace_scoped: vec!["b".into()],
            ..ResourceFilterSpec::default()
        };
        assert_eq!(
            lines(&resources(&new, &catalog(&[]))),
            [
                format!("message: /includedClusterScopedResources \"a\": {unknown}"),
                format!("message: /includedNamespaceScopedResources \"b\": {unknown}")
            ]
        );
    }

    #[test]
    fn namespaces_that_are_none() {
        let strings = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let live = ["bank", "shop"].map(|name| ItemHead {
            name: name.into(),
            ..ItemHead::default()
        });
        for (includes, excludes, expected) in [
            (&[][..], &[][..], &[][..]),
            (&["*"], &["bank"], &[]),
            (&["shop", "b*"], &[], &[]),
            (
                &["x-*", "shop", "y?"],
                &[],
                &[
                    "includedNamespaces \"x-*\": no ",
                    "includedNamespaces \"y?\": no ",
                ],
            ),
            // Told elsewhere.
            (&["gone"], &[], &[]),
            (&[""], &[], &[]),
            (
                &["shop"],
                &["sh*"],
                &[
                    "no namespace of the cluster is left by includedNamespaces \"shop\", excludedNamespaces \"sh*\"",
                ],
            ),
            (
                &["*"],
                &["?*"],
                &["no namespace of the cluster is left by excludedNamespaces \"?*\""],
            ),
        ] {
            let (includes, excludes) = (strings(includes), strings(excludes));
            let filter =
                NamespaceFilter::resolve(&includes, &excludes, &strings(&["bank", "shop"]));
            let found = namespaces(&includes, &excludes, &filter, &live);
            assert_eq!(found.len(), expected.len(), "{includes:?} {found:?}");
            for (record, start) in found.iter().zip(expected) {
                assert!(record.message.starts_with(start), "{record:?} {start}");
            }
        }
    }
}
