//! Which kinds are listed, in which order, and how.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use velero_core::{ApiResource, Catalog, GroupResource, Selector};

use crate::BackupRequest;

/// Kinds that are served from two groups and hold the same objects. Mirrors upstream's `pkg/backup/item_collector.go`.
const COHABITING: [(&str, [&str; 2]); 5] = [
    ("deployments", ["extensions", "apps"]),
    ("daemonsets", ["extensions", "apps"]),
    ("replicasets", ["extensions", "apps"]),
    ("networkpolicies", ["extensions", "networking.k8s.io"]),
    ("events", ["", "events.k8s.io"]),
];

/// One kind of a backup.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    pub(crate) resource: ApiResource,
    pub(crate) gr: GroupResource,
    /// The namespaces whose objects are wanted, in list order; `None` when it is all but some.
    pub(crate) names: Option<Vec<String>>,
    /// Labels that the API server filters by.
    pub(crate) selector: Selector,
}

impl Kind {
    pub(crate) fn is_namespaces(&self) -> bool {
        self.gr.is("", "namespaces")
    }
}

/// The kinds of a backup in their order, and those that are served but not read, with the rule.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) not_read: Vec<(ApiResource, String)>,
    /// Versions of groups of which the API server does not know what they serve, as a resource `*` each, and why.
    pub(crate) unknown: Vec<(ApiResource, String)>,
}

/// Lays out the kinds of a backup: groups in discovery order with `extensions` last; pods, claims and volumes before
/// the rest of the core group; Namespace objects at the very end when they depend on what else is found.
///
/// Each kind is read in its preferred version, or in every version that is served when `all_versions`; of the kinds
/// that hold the same objects in two groups only the first is read, in one version.
pub(crate) fn plan(request: &BackupRequest, all_versions: bool) -> Plan {
    let mut out = Plan::default();
    let mut taken = HashMap::new();
    for resource in in_order(request, all_versions) {
        let kind = kind(request, resource);
        let rule = why_not(request, resource)
            .or_else(|| kind.is_none().then(|| NO_NAMESPACE.to_owned()))
            .or_else(|| same_as(resource, &mut taken));
        match (rule, kind) {
            (None, Some(kind)) => out.kinds.push(kind),
            (rule, _) => out
                .not_read
                .push((resource.clone(), rule.unwrap_or_default())),
        }
    }
    out.unknown = unknown(request.catalog());
    if request.namespaces_come_last()
        && let Some(at) = out.kinds.iter().position(Kind::is_namespaces)
    {
        let namespaces = out.kinds.remove(at);
        out.kinds.push(namespaces);
    }
    out
}

const NO_NAMESPACE: &str = "no namespace is included";

fn unknown(catalog: &Catalog) -> Vec<(ApiResource, String)> {
    let failures = catalog.failures().iter();
    let all = failures.map(|failure| {
        let resource = ApiResource {
            group: failure.group().to_owned(),
            version: failure.version().to_owned(),
            plural: "*".to_owned(),
            ..ApiResource::default()
        };
        let (name, cause) = (&failure.group_version, &failure.message);
        (resource, format!("group {name} is unavailable: {cause}"))
    });
    all.collect()
}

fn in_order(request: &BackupRequest, all_versions: bool) -> Vec<&ApiResource> {
    let catalog = request.catalog();
    let resources: Vec<&ApiResource> = if all_versions {
        catalog.resources().iter().collect()
    } else {
        catalog.preferred().collect()
    };
    let mut groups: HashMap<&str, usize> = HashMap::new();
    let mut versions: HashMap<(&str, &str), usize> = HashMap::new();
    let mut ranked: Vec<_> = resources
        .into_iter()
        .map(|resource| {
            let next = groups.len();
            let group = *groups.entry(&resource.group).or_insert(next);
            let next = if all_versions { versions.len() } else { 0 };
            let version = *versions
                .entry((&resource.group, &resource.version))
                .or_insert(next);
            let last = resource.group == "extensions";
            ((last, group, version, rank(resource)), resource)
        })
        .collect();
    ranked.sort_by_key(|(key, _)| *key);
    ranked.into_iter().map(|(_, resource)| resource).collect()
}

fn rank(resource: &ApiResource) -> usize {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => 0,
        ("", "persistentvolumeclaims") => 1,
        ("", "persistentvolumes") => 2,
        _ => 3,
    }
}

fn why_not(request: &BackupRequest, resource: &ApiResource) -> Option<String> {
    if !resource.verbs.has("list") {
        Some("it cannot be listed".to_owned())
    } else if !resource.verbs.can_back_up() {
        Some("its objects cannot be created and deleted one by one".to_owned())
    } else {
        request.scope().why_not(resource).map(str::to_owned)
    }
}

/// Whether the objects of a kind are read already, under another group or in another version.
fn same_as(
    resource: &ApiResource,
    taken: &mut HashMap<&'static str, GroupResource>,
) -> Option<String> {
    let (plural, _) = COHABITING.iter().find(|(plural, groups)| {
        *plural == resource.plural && groups.contains(&resource.group.as_str())
    })?;
    match taken.entry(plural) {
        Entry::Occupied(first) => Some(format!("its objects are those of {}", first.get())),
        Entry::Vacant(free) => {
            free.insert(resource.group_resource());
            None
        }
    }
}

/// How a kind is read; `None` when no namespace of it is wanted.
fn kind(request: &BackupRequest, resource: &ApiResource) -> Option<Kind> {
    let gr = resource.group_resource();
    let names = request.namespaces().names().filter(|_| resource.namespaced);
    if names.is_some_and(<[String]>::is_empty) {
        return None;
    }
    // Several alternatives are matched here: one list instead of one per alternative.
    let selector = match request.selectors().alternatives() {
        [one] if !gr.is("", "namespaces") => one.clone(),
        _ => Selector::default(),
    };
    Some(Kind {
        resource: resource.clone(),
        gr,
        names: names.map(<[String]>::to_vec),
        selector,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use velero_core::{DiscoveryFailure, ItemHead};

    fn resource(group: &str, plural: &str, namespaced: bool, verbs: &[&str]) -> ApiResource {
        ApiResource {
            group: group.into(),
            version: "v1".into(),
            kind: plural.into(),
            plural: plural.into(),
            namespaced,
            verbs: verbs.iter().copied().collect(),
            preferred: true,
            ..ApiResource::default()
        }
    }

    const ALL: [&str; 4] = ["list", "create", "get", "delete"];

    fn planned(
        mut resources: Vec<ApiResource>,
        spec: serde_json::Value,
        all_versions: bool,
    ) -> Plan {
        let metrics = resource("metrics.k8s.io", "nodemetrics", false, &["list", "get"]);
        let reviews = resource("", "reviews", false, &["create"]);
        resources.extend([metrics, reviews]);
        let backup =
            serde_json::from_value(serde_json::json!({"metadata": {"name": "b"}, "spec": spec}))
                .unwrap();
        let live = ["a", "b"].map(|n| ItemHead {
            name: n.into(),
            phase: "Active".into(),
            ..ItemHead::default()
        });
        let catalog = Catalog::new(resources, Vec::new());
        plan(
            &BackupRequest::resolve(&backup, &catalog, &live).unwrap(),
            all_versions,
        )
    }

    fn kinds(groups: &[(&str, &str, bool)], spec: serde_json::Value) -> Vec<Kind> {
        let resources = groups
            .iter()
            .map(|(g, p, n)| resource(g, p, *n, &ALL))
            .collect();
        planned(resources, spec, false).kinds
    }

    fn names(kinds: &[Kind]) -> Vec<String> {
        kinds.iter().map(|k| k.gr.to_string()).collect()
    }

    #[test]
    fn order_and_cohabitation() {
        let groups = [
            ("", "configmaps", true),
            ("", "events", true),
            ("", "persistentvolumes", false),
            ("", "persistentvolumeclaims", true),
            ("", "pods", true),
            ("extensions", "deployments", true),
            ("extensions", "ingresses", true),
            ("apps", "deployments", true),
            ("events.k8s.io", "events", true),
            ("example.com", "deployments", true),
        ];
        assert_eq!(
            names(&kinds(&groups, serde_json::json!({}))),
            [
                "pods",
                "persistentvolumeclaims",
                "persistentvolumes",
                "configmaps",
                "events",
                "deployments.apps",
                "deployments.example.com",
                "ingresses.extensions"
            ]
        );
        let only_old = serde_json::json!({"includedResources": ["deployments.extensions"]});
        assert_eq!(names(&kinds(&groups, only_old)), ["deployments.extensions"]);
    }

    #[test]
    fn every_version_can_be_read() {
        let versions = [
            ("", "v1", "configmaps", true),
            ("", "v1", "pods", true),
            ("extensions", "v1beta1", "deployments", true),
            ("apps", "v1", "deployments", true),
            ("apps", "v1", "statefulsets", true),
            ("apps", "v1beta1", "deployments", false),
            ("apps", "v1beta1", "statefulsets", false),
            ("autoscaling", "v2", "hpas", true),
            ("autoscaling", "v1", "hpas", false),
            ("autoscaling", "v1", "olds", true),
        ];
        let resources = || {
            let made = versions.map(|(group, version, plural, preferred)| ApiResource {
                version: version.into(),
                preferred,
                ..resource(group, plural, true, &ALL)
            });
            made.to_vec()
        };
        for (all, expected) in [
            (
                false,
                "v1/pods v1/configmaps v1/deployments v1/statefulsets v2/hpas v1/olds",
            ),
            (
                true,
                "v1/pods v1/configmaps v1/deployments v1/statefulsets v1beta1/statefulsets v2/hpas v1/hpas v1/olds",
            ),
        ] {
            let plan = planned(resources(), serde_json::json!({}), all);
            let found: Vec<String> = plan
                .kinds
                .iter()
                .map(|k| format!("{}/{}", k.resource.version, k.resource.plural))
                .collect();
            assert_eq!(found.join(" "), expected);
        }
    }

    #[test]
    fn what_is_not_read_has_a_rule() {
        let groups = [
            ("", "pods", true),
            ("", "namespaces", false),
            ("", "nodes", false),
            ("apps", "deployments", true),
            ("extensions", "deployments", true),
        ];
        for (spec, expected) in [
            (
                serde_json::json!({}),
                "nodemetrics: its objects cannot be created and deleted one by one, reviews: it cannot be listed, \
                 deployments: its objects are those of deployments.apps",
            ),
            (
                serde_json::json!({"includedNamespaces": ["a"], "excludedNamespaceScopedResources": ["pods"]}),
                "pods: resource filters, nodes: cluster-scoped kinds are not included, \
                 deployments: its objects are those of deployments.apps",
            ),
            (
                serde_json::json!({"includedNamespaces": ["x-*"], "includeClusterResources": true, "includedResources": ["pods", "nodes"]}),
                "pods: no namespace is included, namespaces: resource filters, deployments: resource filters",
            ),
        ] {
            let resources = groups
                .iter()
                .map(|(g, p, n)| resource(g, p, *n, &ALL))
                .collect();
            let found: Vec<String> = planned(resources, spec, false)
                .not_read
                .into_iter()
                .map(|(resource, rule)| format!("{}: {rule}", resource.plural))
                .collect();
            for part in expected.split(", ") {
                assert!(found.contains(&part.to_owned()), "{part} in {found:?}");
            }
        }
    }

    #[test]
    fn groups_that_did_not_answer_are_there() {
        let failure = DiscoveryFailure {
            group_version: "example.com/v1".into(),
            message: "it is down".into(),
        };
        let catalog = Catalog::new(vec![resource("", "pods", true, &ALL)], vec![failure]);
        let backup =
            serde_json::from_value(serde_json::json!({"metadata": {"name": "b"}})).unwrap();
        let request = BackupRequest::resolve(&backup, &catalog, &[]).unwrap();
        let plan = plan(&request, false);
        let found: Vec<String> = plan
            .unknown
            .iter()
            .map(|(r, cause)| format!("{} {}: {cause}", r.group_resource(), r.version))
            .collect();
        assert_eq!(
            found,
            ["*.example.com v1: group example.com/v1 is unavailable: it is down"]
        );
        assert_eq!(names(&plan.kinds), ["pods"]);
    }

    #[test]
    fn lists_follow_the_namespaces() {
        let groups = [("", "pods", true), ("", "namespaces", false)];
        for (spec, pods) in [
            (serde_json::json!({}), Some(None)),
            (
                serde_json::json!({"includedNamespaces": ["a"]}),
                Some(Some(vec!["a"])),
            ),
            (
                serde_json::json!({"includedNamespaces": ["b", "x", "a"]}),
                Some(Some(vec!["a", "b"])),
            ),
            (
                serde_json::json!({"includedNamespaces": ["?"], "excludedNamespaces": ["b*"]}),
                Some(Some(vec!["a"])),
            ),
            (serde_json::json!({"excludedNamespaces": ["b"]}), Some(None)),
            (serde_json::json!({"includedNamespaces": ["z-*"]}), None),
            (serde_json::json!({"includedNamespaces": [""]}), None),
        ] {
            let kinds = kinds(&groups, spec.clone());
            let found = kinds.iter().find(|k| k.gr.is("", "pods"));
            let names = found.map(|k| {
                k.names
                    .as_ref()
                    .map(|n| n.iter().map(String::as_str).collect())
            });
            assert_eq!(names, pods, "{spec}");
            let namespaces = kinds.iter().find(|k| k.is_namespaces()).unwrap();
            assert_eq!(namespaces.names, None, "{spec}");
        }
    }

    #[test]
    fn selectors_go_to_the_api_server_when_there_is_one() {
        let groups = [("", "namespaces", false), ("", "pods", true)];
        let one = kinds(
            &groups,
            serde_json::json!({"labelSelector": {"matchLabels": {"a": "b"}}}),
        );
        assert_eq!(names(&one), ["pods", "namespaces"]);
        assert_eq!(
            (one[0].selector.to_string(), one[1].selector.is_empty()),
            ("a=b".to_owned(), true)
        );
        let two = kinds(
            &groups,
            serde_json::json!({"orLabelSelectors": [{"matchLabels": {"a": "b"}}, {"matchLabels": {"c": "d"}}]}),
        );
        assert!(two.iter().all(|k| k.selector.is_empty()));
    }
}
