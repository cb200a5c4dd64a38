//! Which kinds are listed, in which order, and how.

use std::collections::HashSet;

use velero_core::{ApiResource, GroupResource, Selector};

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
    /// Namespaces to list one by one; `None` stands for one list of everything.
    pub(crate) scopes: Vec<Option<String>>,
    /// Namespaces to list one by one when the list of everything is forbidden.
    pub(crate) fallback: Vec<String>,
    /// Labels that the API server filters by.
    pub(crate) selector: Selector,
}

impl Kind {
    pub(crate) fn is_namespaces(&self) -> bool {
        self.gr.is("", "namespaces")
    }
}

/// Lays out the kinds of a backup: groups in discovery order with `extensions` last; pods, claims and volumes before
/// the rest of the core group; Namespace objects at the very end when they depend on what else is found.
pub(crate) fn plan(request: &BackupRequest) -> Vec<Kind> {
    let mut groups: Vec<&str> = Vec::new();
    let mut ranked = Vec::new();
    for resource in request.catalog().preferred() {
        let group = groups
            .iter()
            .position(|g| *g == resource.group)
            .unwrap_or_else(|| {
                groups.push(&resource.group);
                groups.len() - 1
            });
        if resource.verbs.can_back_up() && request.scope().collects(resource) {
            ranked.push((
                (resource.group == "extensions", group, rank(resource)),
                resource,
            ));
        }
    }
    ranked.sort_by_key(|(key, _)| *key);
    let mut taken = HashSet::new();
    let mut kinds: Vec<Kind> = ranked
        .into_iter()
        .map(|(_, resource)| resource)
        .filter(|resource| is_first_of_its_kind(resource, &mut taken))
        .filter_map(|resource| kind(request, resource))
        .collect();
    if request.namespaces_come_last()
        && let Some(at) = kinds.iter().position(Kind::is_namespaces)
    {
        let namespaces = kinds.remove(at);
        kinds.push(namespaces);
    }
    kinds
}

fn rank(resource: &ApiResource) -> usize {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => 0,
        ("", "persistentvolumeclaims") => 1,
        ("", "persistentvolumes") => 2,
        _ => 3,
    }
}

fn is_first_of_its_kind(resource: &ApiResource, taken: &mut HashSet<&'static str>) -> bool {
    let pair = COHABITING.iter().find(|(plural, groups)| {
        *plural == resource.plural && groups.contains(&resource.group.as_str())
    });
    pair.is_none_or(|(plural, _)| taken.insert(plural))
}

fn kind(request: &BackupRequest, resource: &ApiResource) -> Option<Kind> {
    let gr = resource.group_resource();
    let names = request.namespaces().names().filter(|_| resource.namespaced);
    let (scopes, fallback) = match names {
        None => (vec![None], Vec::new()),
        Some(names) => match names.as_slice() {
            [] => return None,
            [_] => (names.into_iter().map(Some).collect(), Vec::new()),
            _ => (vec![None], names),
        },
    };
    // Several alternatives are matched here: one list instead of one per alternative.
    let selector = match request.selectors().alternatives() {
        [one] if !gr.is("", "namespaces") => one.clone(),
        _ => Selector::default(),
    };
    Some(Kind {
        resource: resource.clone(),
        gr,
        scopes,
        fallback,
        selector,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use velero_core::{Catalog, ItemHead};

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

    fn planned(groups: &[(&str, &str, bool)], spec: serde_json::Value) -> Vec<Kind> {
        let all = ["list", "create", "get", "delete"];
        let mut resources: Vec<_> = groups
            .iter()
            .map(|(g, p, n)| resource(g, p, *n, &all))
            .collect();
        resources.push(resource(
            "metrics.k8s.io",
            "nodemetrics",
            false,
            &["list", "get"],
        ));
        let backup =
            serde_json::from_value(serde_json::json!({"metadata": {"name": "b"}, "spec": spec}))
                .unwrap();
        let live = ["a", "b"].map(|n| ItemHead {
            name: n.into(),
            phase: "Active".into(),
            ..ItemHead::default()
        });
        plan(&BackupRequest::resolve(&backup, &Catalog::new(resources, Vec::new()), &live).unwrap())
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
            names(&planned(&groups, serde_json::json!({}))),
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
        assert_eq!(
            names(&planned(&groups, only_old)),
            ["deployments.extensions"]
        );
    }

    #[test]
    fn lists_follow_the_namespaces() {
        let groups = [("", "pods", true), ("", "namespaces", false)];
        let kinds = |spec| planned(&groups, spec);
        let one = kinds(serde_json::json!({"includedNamespaces": ["a"]}));
        assert_eq!(
            (one[0].scopes.clone(), one[1].scopes.clone()),
            (vec![Some("a".to_owned())], vec![None])
        );
        let two = kinds(serde_json::json!({"includedNamespaces": ["a", "x"]}));
        assert_eq!(
            (two[0].scopes.clone(), two[0].fallback.len()),
            (vec![None], 2)
        );
        assert_eq!(
            names(&kinds(serde_json::json!({"includedNamespaces": ["z-*"]}))),
            ["namespaces"]
        );
    }

    #[test]
    fn selectors_go_to_the_api_server_when_there_is_one() {
        let groups = [("", "namespaces", false), ("", "pods", true)];
        let one = planned(
            &groups,
            serde_json::json!({"labelSelector": {"matchLabels": {"a": "b"}}}),
        );
        assert_eq!(names(&one), ["pods", "namespaces"]);
        assert_eq!(
            (one[0].selector.to_string(), one[1].selector.is_empty()),
            ("a=b".to_owned(), true)
        );
        let two = planned(
            &groups,
            serde_json::json!({"orLabelSelectors": [{"matchLabels": {"a": "b"}}, {"matchLabels": {"c": "d"}}]}),
        );
        assert!(two.iter().all(|k| k.selector.is_empty()));
    }
}
