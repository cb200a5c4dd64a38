//! What an API server serves, as plain data: the outcome of discovery and the look-ups over it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::GroupResource;

/// Verbs that a resource supports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verbs(Vec<String>);

impl Verbs {
    /// Whether `verb` is supported.
    pub fn has(&self, verb: &str) -> bool {
        self.0.iter().any(|v| v == verb)
    }

    /// Whether objects of the resource can be backed up: `list`, `create`, `get` and `delete` are all supported.
    ///
    /// Matches the predicate in upstream's `pkg/discovery/helper.go`.
    pub fn can_back_up(&self) -> bool {
        ["list", "create", "get", "delete"]
            .iter()
            .all(|verb| self.has(verb))
    }
}

impl<S: Into<String>> FromIterator<S> for Verbs {
    fn from_iter<I: IntoIterator<Item = S>>(iter: I) -> Self {
        Self(iter.into_iter().map(Into::into).collect())
    }
}

/// One resource in one version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiResource {
    /// API group, empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Plural name.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Whether its objects lie in namespaces.
    pub namespaced: bool,
    /// Supported verbs.
    pub verbs: Verbs,
    /// Whether there is a `status` subresource.
    pub has_status: bool,
    /// Whether this version is the group's preferred one for the resource.
    pub preferred: bool,
}

impl ApiResource {
    /// The group and resource.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.group.as_str(), self.plural.as_str())
    }

    /// `apps/v1`, `v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The URL path of the collection, or of one object, under the API server's root.
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if let Some(namespace) = namespace.filter(|n| !n.is_empty() && self.namespaced) {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        path.push('/');
        path.push_str(&self.plural);
        if let Some(name) = name {
            path.push('/');
            path.push_str(&escape_segment(name));
        }
        path
    }
}

/// Escapes what may stand in object names (RBAC names hold `:` and even `%`) but not in a path segment.
fn escape_segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'@' => {
                out.push(byte as char)
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// A group whose resources could not be discovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryFailure {
    /// `group/version`.
    pub group_version: String,
    /// Why.
    pub message: String,
}

impl DiscoveryFailure {
    /// The group, empty for the core group.
    pub fn group(&self) -> &str {
        self.group_version
            .split_once('/')
            .map_or("", |(group, _)| group)
    }

    /// The version.
    pub fn version(&self) -> &str {
        self.group_version
            .split_once('/')
            .map_or(self.group_version.as_str(), |(_, version)| version)
    }
}

/// The resources of a cluster in discovery order, preferred versions and others. Cloning shares the data.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    resources: Vec<ApiResource>,
    failures: Vec<DiscoveryFailure>,
    /// Preferred version by `resource.group`, plural names only.
    by_group_resource: HashMap<GroupResource, usize>,
    /// First match of a bare name: plural, singular, short name or kind, all in lower case.
    by_name: HashMap<String, usize>,
    by_kind: HashMap<(String, String), usize>,
}

impl Catalog {
    /// Indexes discovered resources; their order is kept.
    pub fn new(resources: Vec<ApiResource>, failures: Vec<DiscoveryFailure>) -> Self {
        let mut inner = Inner {
            failures,
            ..Inner::default()
        };
        for (at, r) in resources.iter().enumerate() {
            let gr = r.group_resource();
            let slot = inner.by_group_resource.entry(gr).or_insert(at);
            if r.preferred && !resources[*slot].preferred {
                *slot = at;
            }
            inner
                .by_kind
                .entry((r.api_version(), r.kind.clone()))
                .or_insert(at);
        }
        for name_of in [
            |r: &ApiResource| vec![r.plural.clone()],
            |r| vec![r.singular.clone()],
            |r| r.short_names.clone(),
            |r| vec![r.kind.to_lowercase()],
        ] as [fn(&ApiResource) -> Vec<String>; 4]
        {
            for (at, r) in resources.iter().enumerate() {
                for name in name_of(r).into_iter().filter(|n| !n.is_empty()) {
                    inner.by_name.entry(name).or_insert(at);
                }
            }
        }
        inner.resources = resources;
        Self {
            inner: Arc::new(inner),
        }
    }

    /// All resources in discovery order, every version.
    pub fn resources(&self) -> &[ApiResource] {
        &self.inner.resources
    }

    /// The preferred version of each resource, in discovery order.
    pub fn preferred(&self) -> impl Iterator<Item = &ApiResource> {
        self.inner
            .resources
            .iter()
            .enumerate()
            .filter(|(at, r)| self.inner.by_group_resource.get(&r.group_resource()) == Some(at))
            .map(|(_, r)| r)
    }

    /// Groups that could not be discovered.
    pub fn failures(&self) -> &[DiscoveryFailure] {
        &self.inner.failures
    }

    /// The preferred version of a resource by its exact group and plural name.
    pub fn get(&self, gr: &GroupResource) -> Option<&ApiResource> {
        self.inner
            .by_group_resource
            .get(gr)
            .map(|at| &self.inner.resources[*at])
    }

    /// The resource in one version.
    pub fn get_version(&self, gr: &GroupResource, version: &str) -> Option<&ApiResource> {
        self.inner
            .resources
            .iter()
            .find(|r| r.group == gr.group && r.plural == gr.resource && r.version == version)
    }

    /// The resource that serves `kind` of `api_version`.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&ApiResource> {
        self.inner
            .by_kind
            .get(&(api_version.to_owned(), kind.to_owned()))
            .map(|at| &self.inner.resources[*at])
    }

    /// Resolves a name as a user writes it: plural, singular, short name or kind in any case, alone or followed
    /// by `.group`; a group may be cut short, as in `vs.snapshot` or `hpa.auto`. Of several that fit, the first in
    /// discovery order is meant.
    pub fn resolve(&self, name: &str) -> Option<&ApiResource> {
        let name = name.to_lowercase();
        if let Some(found) = self.get(&GroupResource::from(name.as_str())) {
            return Some(found);
        }
        let Some((resource, group)) = name.split_once('.') else {
            let at = *self.inner.by_name.get(&name)?;
            return self.get(&self.inner.resources[at].group_resource());
        };
        let named = |r: &&ApiResource| {
            r.plural == resource
                || r.singular == resource
                || r.kind.to_lowercase() == resource
                || r.short_names.iter().any(|s| s == resource)
        };
        let candidates: Vec<&ApiResource> = self.preferred().filter(named).collect();
        let with_group = |fits: &dyn Fn(&str) -> bool| {
            let mut found = candidates.iter().copied();
            found.find(|r| fits(&r.group))
        };
        with_group(&|of| of == group).or_else(|| with_group(&|of| of.starts_with(group)))
    }

    /// The group-resource that a user's name stands for; unresolvable names are kept as written.
    pub fn resolve_or_keep(&self, name: &str) -> GroupResource {
        self.resolve(name)
            .map_or_else(|| GroupResource::from(name), ApiResource::group_resource)
    }

    /// The entries of a filter as group-resources; globs and names that nobody serves stay as written.
    pub fn resolve_all(&self, names: &[String]) -> Vec<String> {
        let text = |name: &String| self.resolve_or_keep(name).to_string();
        names.iter().map(text).collect()
    }

    /// This catalogue with more resources served, as after creating CustomResourceDefinitions.
    pub fn extended_with(&self, more: impl IntoIterator<Item = ApiResource>) -> Self {
        let mut resources = self.inner.resources.clone();
        for r in more {
            if self.get_version(&r.group_resource(), &r.version).is_none() {
                resources.push(r);
            }
        }
        Self::new(resources, self.inner.failures.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(
        group: &str,
        version: &str,
        plural: &str,
        kind: &str,
        short: &[&str],
        preferred: bool,
    ) -> ApiResource {
        ApiResource {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            plural: plural.into(),
            singular: kind.to_lowercase(),
            short_names: short.iter().map(|s| (*s).to_owned()).collect(),
            namespaced: true,
            preferred,
            ..ApiResource::default()
        }
    }

    fn catalog() -> Catalog {
        Catalog::new(
            vec![
                resource("", "v1", "pods", "Pod", &["po"], true),
                resource("", "v1", "events", "Event", &["ev"], true),
                resource(
                    "apps",
                    "v1beta1",
                    "deployments",
                    "Deployment",
                    &["deploy"],
                    false,
                ),
                resource("apps", "v1", "deployments", "Deployment", &["deploy"], true),
                resource("events.k8s.io", "v1", "events", "Event", &["ev"], true),
                resource(
                    "snapshot.storage.k8s.io",
                    "v1",
                    "volumesnapshots",
                    "VolumeSnapshot",
                    &["vs"],
                    true,
                ),
            ],
            Vec::new(),
        )
    }

    #[test]
    fn names_resolve_as_users_write_them() {
        for (name, expected) in [
            ("pods", Some("pods")),
            ("po", Some("pods")),
            ("Pod", Some("pods")),
            ("Deployments", Some("deployments.apps")),
            ("deploy.apps", Some("deployments.apps")),
            ("events", Some("events")),
            ("ev.events.k8s.io", Some("events.events.k8s.io")),
            (
                "volumesnapshot.snapshot.storage.k8s.io",
                Some("volumesnapshots.snapshot.storage.k8s.io"),
            ),
            (
                "vs.snapshot",
                Some("volumesnapshots.snapshot.storage.k8s.io"),
            ),
            ("pod", Some("pods")),
            ("PODS", Some("pods")),
            ("deployment.apps", Some("deployments.apps")),
            ("Deployment.apps", Some("deployments.apps")),
            ("deployments.ap", Some("deployments.apps")),
            (
                "volumesnapshots.snap",
                Some("volumesnapshots.snapshot.storage.k8s.io"),
            ),
            ("events.events.k8s.io", Some("events.events.k8s.io")),
            ("events.e", Some("events.events.k8s.io")),
            ("unicorns", None),
            ("pods.apps", None),
            ("pods.v1", None),
            ("deployments.v1.apps", None),
            ("pods/log", None),
            ("", None),
        ] {
            let found = catalog()
                .resolve(name)
                .map(|r| r.group_resource().to_string());
            assert_eq!(found.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn the_preferred_version_is_found() {
        assert_eq!(catalog().resolve("deploy").unwrap().version, "v1");
        assert_eq!(catalog().preferred().count(), 5);
        let names = ["a.b.c", "*", "*.apps", "deploy", "ev.events.k8s.io", "[x"];
        assert_eq!(
            catalog().resolve_all(&names.map(str::to_owned)),
            [
                "a.b.c",
                "*",
                "*.apps",
                "deployments.apps",
                "events.events.k8s.io",
                "[x"
            ]
        );
    }

    #[test]
    fn paths() {
        let r = resource("apps", "v1", "deployments", "Deployment", &[], true);
        assert_eq!(
            r.path(Some("n"), Some("a:b%c")),
            "/apis/apps/v1/namespaces/n/deployments/a:b%25c"
        );
        assert_eq!(
            resource("", "v1", "pods", "Pod", &[], true).path(None, None),
            "/api/v1/pods"
        );
    }
}
