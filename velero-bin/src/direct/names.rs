//! Objects of an archive as users name them, without a cluster to ask.

use anyhow::{Result, bail};
use serde_json::Value;
use velero_core::archive::ItemPath;

/// An object that a user asks for: `RESOURCE/NAME` or `RESOURCE/NAMESPACE/NAME`; `GROUP/VERSION/KIND`, as listings of
/// backups have it, can stand for the resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    resource: Resource,
    namespace: Option<String>,
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Resource {
    /// As users write it, in lower case.
    Named(String),
    /// `apps/v1` and `Deployment`.
    Kind { api_version: String, kind: String },
}

/// Short names and kinds that differ from the plural by more than an "s".
const SHORT: &[(&str, &str)] = &[
    ("cm", "configmaps"),
    ("crd", "customresourcedefinitions"),
    ("crds", "customresourcedefinitions"),
    ("cj", "cronjobs"),
    ("deploy", "deployments"),
    ("ds", "daemonsets"),
    ("endpoint", "endpoints"),
    ("ep", "endpoints"),
    ("ev", "events"),
    ("hpa", "horizontalpodautoscalers"),
    ("ing", "ingresses"),
    ("limits", "limitranges"),
    ("netpol", "networkpolicies"),
    ("no", "nodes"),
    ("ns", "namespaces"),
    ("pc", "priorityclasses"),
    ("pdb", "poddisruptionbudgets"),
    ("po", "pods"),
    ("pv", "persistentvolumes"),
    ("pvc", "persistentvolumeclaims"),
    ("quota", "resourcequotas"),
    ("rc", "replicationcontrollers"),
    ("rs", "replicasets"),
    ("sa", "serviceaccounts"),
    ("sc", "storageclasses"),
    ("sts", "statefulsets"),
    ("svc", "services"),
];

impl Wanted {
    /// Reads what a user has written.
    ///
    /// # Errors
    /// When it has not two or three parts.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        if let Some(found) = Self::listed(&parts) {
            return Ok(found);
        }
        let (resource, namespace, name) = match parts.as_slice() {
            [resource, name] => (resource, None, name),
            [resource, namespace, name] => (resource, Some((*namespace).to_owned()), name),
            _ => bail!(
                "{text:?} names no object: RESOURCE/NAME or RESOURCE/NAMESPACE/NAME is needed, such as deployments/shop/web"
            ),
        };
        if resource.is_empty() || name.is_empty() {
            bail!("{text:?} names no object: neither resource nor name may be empty");
        }
        Ok(Self {
            resource: Resource::Named(resource.to_lowercase()),
            namespace,
            name: (*name).to_owned(),
        })
    }

    /// Reads `v1/Secret/shop/key`, `apps/v1/Deployment/web` and the like.
    fn listed(parts: &[&str]) -> Option<Self> {
        let (version, rest) = match parts {
            [version, rest @ ..] if is_version(version) => ((*version).to_owned(), rest),
            [group, version, rest @ ..] if is_version(version) => {
                (format!("{group}/{version}"), rest)
            }
            _ => return None,
        };
        let (kind, namespace, name) = match rest {
            [kind, name] => (kind, None, name),
            [kind, namespace, name] => (kind, Some((*namespace).to_owned()), name),
            _ => return None,
        };
        let is_kind = kind.starts_with(|c: char| c.is_ascii_uppercase());
        (is_kind && !name.is_empty()).then(|| Self {
            resource: Resource::Kind {
                api_version: version,
                kind: (*kind).to_owned(),
            },
            namespace,
            name: (*name).to_owned(),
        })
    }

    /// Whether the content of an entry that [`Wanted::matches`] is of the kind that is meant.
    pub(super) fn matches_content(&self, json: &[u8]) -> bool {
        let Resource::Kind { api_version, kind } = &self.resource else {
            return true;
        };
        serde_json::from_slice::<Value>(json)
            .is_ok_and(|object| object["apiVersion"] == **api_version && object["kind"] == **kind)
    }

    /// Whether an entry is meant: by plural, singular, kind or short name, with or without the group.
    pub(super) fn matches(&self, path: &ItemPath) -> bool {
        path.name == self.name
            && self
                .namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == path.namespace)
            && self.matches_resource(&path.group_resource.group, &path.group_resource.resource)
    }

    fn matches_resource(&self, group: &str, resource: &str) -> bool {
        let named = match &self.resource {
            Resource::Named(named) => named,
            Resource::Kind { api_version, .. } => {
                return group == api_version.split_once('/').map_or("", |(group, _)| group);
            }
        };
        let (wanted, wanted_group) = match named.split_once('.') {
            Some((wanted, group)) => (wanted, Some(group)),
            None => (named.as_str(), None),
        };
        let groups_match = wanted_group
            .is_none_or(|wanted| group == wanted || group.starts_with(&format!("{wanted}.")));
        let plural = SHORT
            .iter()
            .find(|(short, _)| *short == wanted)
            .map_or(wanted, |(_, plural)| plural);
        groups_match && (resource == plural || is_singular_of(plural, resource))
    }
}

/// Whether a text is the version of an API: `v1`, `v2beta1`.
fn is_version(text: &str) -> bool {
    text.strip_prefix('v')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether `word` becomes `plural` by the rules of English that Kubernetes follows.
fn is_singular_of(word: &str, plural: &str) -> bool {
    let with_ies = word.strip_suffix('y').map(|stem| format!("{stem}ies"));
    plural == format!("{word}s")
        || plural == format!("{word}es")
        || with_ies.as_deref() == Some(plural)
}

#[cfg(test)]
mod tests {
    use super::*;
    use velero_core::GroupResource;

    #[test]
    fn objects_are_found_by_all_their_names() {
        for (text, resource, namespace, expected) in [
            (
                "deployments.apps/shop/web",
                "deployments.apps",
                "shop",
                true,
            ),
            ("deployments/web", "deployments.apps", "shop", true),
            ("deploy/web", "deployments.apps", "shop", true),
            ("Deployment/shop/web", "deployments.apps", "shop", true),
            ("deployment.apps/shop/web", "deployments.apps", "shop", true),
            ("deploy/other/web", "deployments.apps", "shop", false),
            (
                "deployments.extensions/web",
                "deployments.apps",
                "shop",
                false,
            ),
            (
                "networkpolicy.networking/web",
                "networkpolicies.networking.k8s.io",
                "shop",
                true,
            ),
            ("ingress/web", "ingresses.networking.k8s.io", "shop", true),
            ("pv/web", "persistentvolumes", "", true),
            ("pods/api", "pods", "shop", false),
        ] {
            let path = ItemPath::new(GroupResource::from(resource), namespace, "web");
            assert_eq!(
                Wanted::parse(text).unwrap().matches(&path),
                expected,
                "{text}"
            );
        }
        let deployment = ItemPath::new(GroupResource::from("deployments.apps"), "shop", "web");
        let content = br#"{"apiVersion": "apps/v1", "kind": "Deployment"}"#;
        for (text, expected) in [
            ("apps/v1/Deployment/shop/web", true),
            ("apps/v1/Deployment/web", true),
            ("apps/v1/Deployment/other/web", false),
            ("apps/v1beta1/Deployment/shop/web", false),
            ("apps/v1/StatefulSet/shop/web", false),
            ("v1/Deployment/shop/web", false),
        ] {
            let wanted = Wanted::parse(text).unwrap();
            assert_eq!(
                wanted.matches(&deployment) && wanted.matches_content(content),
                expected,
                "{text}"
            );
        }
        for text in ["pods", "a/b/c/d", "/x", "pods/", "v1/Pod/a/b/c"] {
            assert!(Wanted::parse(text).is_err(), "{text}");
        }
    }
}
