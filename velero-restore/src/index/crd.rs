//! The resources that a CustomResourceDefinition of an archive brings.

use serde::Deserialize;
use velero_core::{ApiResource, GroupResource, RawItem};

use crate::versions::rank;

/// Whether a resource is CustomResourceDefinitions.
pub(crate) fn is_crd(resource: &GroupResource) -> bool {
    resource.is("apiextensions.k8s.io", "customresourcedefinitions")
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Definition {
    spec: Spec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec {
    group: String,
    scope: String,
    names: Names,
    version: String,
    versions: Vec<Version>,
    subresources: Option<Subresources>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Names {
    plural: String,
    singular: String,
    kind: String,
    short_names: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Version {
    name: String,
    served: bool,
    subresources: Option<Subresources>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Subresources {
    status: Option<serde_json::Value>,
}

/// Reads the resources in all served versions; the one of the highest version priority is the preferred one.
pub(crate) fn resources_of(item: &RawItem) -> Vec<ApiResource> {
    let Ok(Definition { spec }) = serde_json::from_slice::<Definition>(item.json()) else {
        return Vec::new();
    };
    let Spec {
        group,
        scope,
        names,
        version,
        mut versions,
        subresources,
    } = spec;
    if versions.is_empty() && !version.is_empty() {
        versions.push(Version {
            name: version,
            served: true,
            subresources: None,
        });
    }
    versions.retain(|v| v.served);
    let best = versions.iter().map(|v| rank(&v.name)).max();
    let has_status = |v: &Version| {
        v.subresources
            .as_ref()
            .or(subresources.as_ref())
            .is_some_and(|s| s.status.is_some())
    };
    versions
        .iter()
        .map(|v| ApiResource {
            group: group.clone(),
            version: v.name.clone(),
            kind: names.kind.clone(),
            plural: names.plural.clone(),
            singular: if names.singular.is_empty() {
                names.kind.to_lowercase()
            } else {
                names.singular.clone()
            },
            short_names: names.short_names.clone().unwrap_or_default(),
            namespaced: scope == "Namespaced",
            verbs: [
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ]
            .into_iter()
            .collect(),
            has_status: has_status(v),
            preferred: Some(rank(&v.name)) == best,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn served_versions_become_resources() {
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "books.library.example.com"},
            "spec": {"group": "library.example.com", "scope": "Namespaced", "names": {"plural": "books", "kind": "Book", "shortNames": ["bk"]},
                "versions": [{"name": "v1", "served": true, "subresources": {"status": {}}}, {"name": "v2beta1", "served": true}, {"name": "v3", "served": false}]}
        });
        let found = resources_of(&RawItem::parse(crd.to_string().into()).unwrap());
        let seen: Vec<_> = found
            .iter()
            .map(|r| (r.version.as_str(), r.preferred, r.has_status, r.namespaced))
            .collect();
        assert_eq!(
            seen,
            [("v1", true, true, true), ("v2beta1", false, false, true)]
        );
        assert_eq!(
            (found[0].singular.as_str(), found[0].short_names[0].as_str()),
            ("book", "bk")
        );
    }

    #[test]
    fn the_older_form_has_one_version() {
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1beta1", "kind": "CustomResourceDefinition", "metadata": {"name": "a.b"},
            "spec": {"group": "b", "scope": "Cluster", "version": "v1", "names": {"plural": "as", "kind": "A"}, "subresources": {"status": {}}}
        });
        let found = resources_of(&RawItem::parse(crd.to_string().into()).unwrap());
        assert_eq!(
            (found.len(), found[0].namespaced, found[0].has_status),
            (1, false, true)
        );
    }
}
