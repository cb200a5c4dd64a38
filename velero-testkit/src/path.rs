//! What a URL path means.

/// Subresources of a Namespace: `/api/v1/namespaces/x/status` is no resource inside `x`.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// A path under `/api/v1/...` or `/apis/GROUP/VERSION/...` that names a resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) resource: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Resource(ResourcePath),
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/GROUP`
    Group(String),
    /// `/api/v1` and `/apis/GROUP/VERSION`
    GroupVersion(String, String),
    Version,
    Health,
    OpenApiV2,
    OpenApiIndex,
    OpenApi(String),
    Unknown,
}

/// Takes a path apart.
pub(crate) fn parse(path: &str) -> Target {
    let decoded: Vec<String> = path
        .trim_matches('/')
        .split('/')
        .map(|p| {
            percent_encoding::percent_decode_str(p)
                .decode_utf8_lossy()
                .into_owned()
        })
        .collect();
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["version"] => Target::Version,
        ["healthz" | "livez" | "readyz", ..] => Target::Health,
        ["openapi", "v2"] => Target::OpenApiV2,
        ["openapi", "v3"] => Target::OpenApiIndex,
        ["openapi", "v3", rest @ ..] => Target::OpenApi(rest.join("/")),
        ["api"] => Target::CoreVersions,
        ["apis"] => Target::Groups,
        ["apis", group] => Target::Group((*group).to_owned()),
        ["api", version] => Target::GroupVersion(String::new(), (*version).to_owned()),
        ["apis", group, version] => {
            Target::GroupVersion((*group).to_owned(), (*version).to_owned())
        }
        ["api", version, rest @ ..] => resource("", version, rest),
        ["apis", group, version, rest @ ..] => resource(group, version, rest),
        _ => Target::Unknown,
    }
}

fn resource(group: &str, version: &str, rest: &[&str]) -> Target {
    let mut path = ResourcePath {
        group: group.into(),
        version: version.into(),
        ..ResourcePath::default()
    };
    let own = |s: &str| Some(s.to_owned());
    match rest {
        ["namespaces", name, sub] if group.is_empty() && NAMESPACE_SUBRESOURCES.contains(sub) => {
            path.resource = "namespaces".into();
            path.name = own(name);
            path.subresource = own(sub);
        }
        ["namespaces", namespace, resource, tail @ ..] => {
            path.namespace = own(namespace);
            path.resource = (*resource).into();
            path.name = tail.first().and_then(|s| own(s));
            path.subresource = join_rest(tail);
        }
        [resource, tail @ ..] => {
            path.resource = (*resource).into();
            path.name = tail.first().and_then(|s| own(s));
            path.subresource = join_rest(tail);
        }
        [] => return Target::Unknown,
    }
    if path.resource.is_empty() || path.name.as_deref() == Some("") {
        return Target::Unknown;
    }
    Target::Resource(path)
}

fn join_rest(tail: &[&str]) -> Option<String> {
    (tail.len() > 1).then(|| tail[1..].join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, ns: Option<&str>, resource: &str, name: Option<&str>, sub: Option<&str>) {
        let Target::Resource(got) = parse(path) else {
            panic!("{path} is no resource path")
        };
        let want = (ns, resource, name, sub);
        let have = (
            got.namespace.as_deref(),
            got.resource.as_str(),
            got.name.as_deref(),
            got.subresource.as_deref(),
        );
        assert_eq!(have, want, "{path}");
    }

    #[test]
    fn resource_paths() {
        check("/api/v1/pods", None, "pods", None, None);
        check("/api/v1/namespaces", None, "namespaces", None, None);
        check("/api/v1/namespaces/a", None, "namespaces", Some("a"), None);
        check(
            "/api/v1/namespaces/a/status",
            None,
            "namespaces",
            Some("a"),
            Some("status"),
        );
        check(
            "/api/v1/namespaces/a/finalize",
            None,
            "namespaces",
            Some("a"),
            Some("finalize"),
        );
        check("/api/v1/namespaces/a/pods", Some("a"), "pods", None, None);
        check(
            "/api/v1/namespaces/a/pods/b/exec",
            Some("a"),
            "pods",
            Some("b"),
            Some("exec"),
        );
        check(
            "/apis/apps/v1/namespaces/a/deployments/b/status",
            Some("a"),
            "deployments",
            Some("b"),
            Some("status"),
        );
        check(
            "/apis/x.io/v1/clusterthings/system%3Anode",
            None,
            "clusterthings",
            Some("system:node"),
            None,
        );
    }

    #[test]
    fn other_paths() {
        assert_eq!(parse("/apis"), Target::Groups);
        assert_eq!(
            parse("/api/v1/"),
            Target::GroupVersion(String::new(), "v1".into())
        );
        assert_eq!(
            parse("/openapi/v3/apis/apps/v1"),
            Target::OpenApi("apis/apps/v1".into())
        );
        assert_eq!(parse("/metrics"), Target::Unknown);
    }
}
