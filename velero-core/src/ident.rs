//! How resources and items are named.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A resource in its group, written `deployments.apps`, or `pods` for the core group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct GroupResource {
    /// API group, empty for the core group.
    pub group: String,
    /// Plural name in lower case.
    pub resource: String,
}

impl GroupResource {
    /// Names `resource` of `group` (empty for the core group).
    pub fn new(group: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            resource: resource.into(),
        }
    }

    /// Names a resource of the core group.
    pub fn core(resource: impl Into<String>) -> Self {
        Self::new("", resource)
    }

    /// Whether this is `resource` of `group`.
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.group == group && self.resource == resource
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

impl From<&str> for GroupResource {
    fn from(text: &str) -> Self {
        match text.split_once('.') {
            Some((resource, group)) => Self::new(group, resource),
            None => Self::core(text),
        }
    }
}

impl From<String> for GroupResource {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<GroupResource> for String {
    fn from(gr: GroupResource) -> Self {
        gr.to_string()
    }
}

impl FromStr for GroupResource {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(text))
    }
}

/// One object by resource, namespace and name: what actions ask for as additional items.
///
/// Serialises with the capitalised keys that Velero's item operations have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceIdentifier {
    /// The resource.
    pub group_resource: GroupResource,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ResourceIdentifier {
    /// Identifies an object of a namespaced resource.
    pub fn namespaced(
        group_resource: GroupResource,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            group_resource,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// Identifies an object of a cluster-scoped resource.
    pub fn cluster(group_resource: GroupResource, name: impl Into<String>) -> Self {
        Self {
            group_resource,
            namespace: String::new(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ResourceIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.group_resource)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireIdentifier {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

impl Serialize for ResourceIdentifier {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        WireIdentifier {
            group: self.group_resource.group.clone(),
            resource: self.group_resource.resource.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ResourceIdentifier {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = WireIdentifier::deserialize(deserializer)?;
        Ok(Self {
            group_resource: GroupResource::new(wire.group, wire.resource),
            namespace: wire.namespace,
            name: wire.name,
        })
    }
}

/// What makes an item one and the same within a run: `apiVersion/Kind`, namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemKey {
    /// `apps/v1/Deployment`, `v1/Pod`.
    pub api_version_kind: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ItemKey {
    /// Makes the key of an object.
    pub fn new(
        api_version: &str,
        kind: &str,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            api_version_kind: format!("{api_version}/{kind}"),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// `namespace/name`, or the name alone for cluster-scoped objects.
    pub fn path(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_resources_round_trip_through_text() {
        for text in [
            "pods",
            "deployments.apps",
            "volumesnapshots.snapshot.storage.k8s.io",
        ] {
            assert_eq!(GroupResource::from(text).to_string(), text);
        }
    }

    #[test]
    fn identifiers_have_capitalised_keys() {
        let id = ResourceIdentifier::namespaced(GroupResource::core("pods"), "shop", "web");
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(
            json,
            r#"{"Group":"","Resource":"pods","Namespace":"shop","Name":"web"}"#
        );
        assert_eq!(
            serde_json::from_str::<ResourceIdentifier>(&json).unwrap(),
            id
        );
    }
}
