//! Where an item lies in an archive.

use std::fmt;

use crate::{Error, GroupResource};

/// Below which version folder an entry lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum VersionDir {
    /// None: the path that every reader knows.
    Unversioned,
    /// `<version>-preferredversion`.
    Preferred(String),
    /// `<version>`.
    Other(String),
}

/// The path of one entry, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ItemPath {
    /// Resource.
    pub group_resource: GroupResource,
    /// Version folder.
    pub version: VersionDir,
    /// Namespace, empty for cluster-scoped items.
    pub namespace: String,
    /// Name.
    pub name: String,
}

const PREFERRED_SUFFIX: &str = "-preferredversion";

impl ItemPath {
    /// The unversioned path of an item.
    pub fn new(
        group_resource: GroupResource,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            group_resource,
            version: VersionDir::Unversioned,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The same item below another version folder.
    #[must_use]
    pub fn with_version(&self, version: VersionDir) -> Self {
        Self {
            version,
            ..self.clone()
        }
    }

    /// Takes a path apart. `Ok(None)` for entries that are no items, such as `metadata/version`.
    ///
    /// # Errors
    /// When the path could leave the folder that it is unpacked into, or lies below `resources/` in no known form.
    pub fn parse(path: &str) -> Result<Option<Self>, Error> {
        check_safe(path)?;
        let Some(rest) = path.strip_prefix("resources/") else {
            return Ok(None);
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let unknown = || Error::archive(format!("has an entry {path:?} that is no item path"));
        let file = |name: &str| {
            name.strip_suffix(".json")
                .filter(|n| !n.is_empty())
                .map(str::to_owned)
        };
        let (resource, version, scope) = match parts.as_slice() {
            [resource, scope @ ("cluster" | "namespaces"), tail @ ..] => {
                (*resource, VersionDir::Unversioned, (*scope, tail))
            }
            [
                resource,
                version,
                scope @ ("cluster" | "namespaces"),
                tail @ ..,
            ] => (*resource, version_dir(version), (*scope, tail)),
            _ => return Err(unknown()),
        };
        let (namespace, name) = match scope {
            ("cluster", [name]) => ("", file(name)),
            ("namespaces", [namespace, name]) if !namespace.is_empty() => (*namespace, file(name)),
            _ => return Err(unknown()),
        };
        let group_resource = GroupResource::from(resource);
        let is_whole =
            !group_resource.resource.is_empty() && group_resource.to_string() == resource;
        if !is_whole
            || matches!(&version, VersionDir::Preferred(v) | VersionDir::Other(v) if v.is_empty())
        {
            return Err(unknown());
        }
        Ok(Some(Self {
            group_resource,
            version,
            namespace: namespace.to_owned(),
            name: name.ok_or_else(unknown)?,
        }))
    }
}

fn version_dir(dir: &str) -> VersionDir {
    match dir.strip_suffix(PREFERRED_SUFFIX) {
        Some(version) => VersionDir::Preferred(version.to_owned()),
        None => VersionDir::Other(dir.to_owned()),
    }
}

pub(super) fn check_safe(path: &str) -> Result<(), Error> {
    if path.starts_with('/') || path.contains('\\') {
        return Err(Error::archive(format!(
            "has an absolute entry {path:?}; entries must be relative"
        )));
    }
    if path
        .split('/')
        .any(|part| part == ".." || part.contains('\0'))
    {
        return Err(Error::archive(format!(
            "has an entry {path:?} that leaves its folder"
        )));
    }
    Ok(())
}

impl fmt::Display for ItemPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "resources/{}/", self.group_resource)?;
        match &self.version {
            VersionDir::Unversioned => {}
            VersionDir::Preferred(version) => write!(f, "{version}{PREFERRED_SUFFIX}/")?,
            VersionDir::Other(version) => write!(f, "{version}/")?,
        }
        if self.namespace.is_empty() {
            write!(f, "cluster/{}.json", self.name)
        } else {
            write!(f, "namespaces/{}/{}.json", self.namespace, self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_round_trip() {
        for text in [
            "resources/pods/namespaces/shop/web.json",
            "resources/pods/v1-preferredversion/namespaces/shop/web.json",
            "resources/ingresses.networking.k8s.io/v1beta1/namespaces/shop/web.json",
            "resources/clusterroles.rbac.authorization.k8s.io/cluster/system:node.json",
            "resources/persistentvolumes/v1-preferredversion/cluster/pv.json",
        ] {
            assert_eq!(ItemPath::parse(text).unwrap().unwrap().to_string(), text);
        }
        assert_eq!(ItemPath::parse("metadata/version").unwrap(), None);
    }

    #[test]
    fn unsafe_and_unknown_paths_are_errors() {
        for text in [
            "/resources/pods/cluster/a.json",
            "resources/../x",
            "resources/pods",
            "resources/pods/cluster/a.txt",
            "resources/pods/x/y/z.json",
            "resources/pods/cluster/.json",
            "resources/pods/namespaces//a.json",
            "resources//cluster/a.json",
            "resources/./cluster/a.json",
            "resources/.apps/cluster/a.json",
            "resources/pods//cluster/a.json",
            "resources/pods/-preferredversion/cluster/a.json",
        ] {
            assert!(ItemPath::parse(text).is_err(), "{text}");
        }
    }
}
