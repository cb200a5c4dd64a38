//! Finding out what an API server serves.

use std::collections::{HashMap, HashSet};

use futures::stream::{self, StreamExt as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use velero_core::{ApiResource, Catalog, DiscoveryFailure};

use crate::call::{Call, Caller};
use crate::{Error, Target};

/// The aggregated form in its two versions, else the old one.
const ACCEPT_AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// Calls under way for groups of an API server that knows no aggregated discovery.
const LEGACY_CONCURRENCY: usize = 8;

/// One version of a group and what it serves; `None` when that could not be found out.
struct GroupVersion {
    group: String,
    version: String,
    preferred: bool,
    resources: Result<Vec<ApiResource>, String>,
}

/// Asks for everything that is served.
///
/// A group that cannot be read becomes a [`DiscoveryFailure`]; only a failure of the two roots is an error.
pub(crate) async fn discover(caller: &Caller) -> Result<Catalog, Error> {
    let (core, groups) = futures::try_join!(root(caller, "/api"), root(caller, "/apis"))?;
    let mut versions = expand(caller, core).await;
    versions.extend(expand(caller, groups).await);
    Ok(assemble(versions))
}

enum Root {
    Aggregated(Vec<GroupVersion>),
    Legacy(Vec<(String, String, bool)>),
}

async fn root(caller: &Caller, path: &str) -> Result<Root, Error> {
    let mut call = call(path);
    call.accept = ACCEPT_AGGREGATED;
    let body = caller.whole(&call).await?;
    let kind: WireKind = parse(&body, &call.target)?;
    match kind.kind.as_str() {
        "APIGroupDiscoveryList" => parse::<WireAggregated>(&body, &call.target)
            .map(|doc| Root::Aggregated(doc.into_versions())),
        "APIGroupList" => {
            parse::<WireGroups>(&body, &call.target).map(|doc| Root::Legacy(doc.into_versions()))
        }
        "APIVersions" => parse::<WireVersions>(&body, &call.target).map(|doc| {
            Root::Legacy(
                doc.versions
                    .into_iter()
                    .enumerate()
                    .map(|(at, v)| (String::new(), v, at == 0))
                    .collect(),
            )
        }),
        other => Err(Error::Answer {
            target: call.target,
            reason: format!("it is a {other:?}, no discovery document"),
        }),
    }
}

async fn expand(caller: &Caller, root: Root) -> Vec<GroupVersion> {
    let legacy = match root {
        Root::Aggregated(versions) => return versions,
        Root::Legacy(legacy) => legacy,
    };
    stream::iter(legacy)
        .map(|(group, version, preferred)| async move {
            let path = if group.is_empty() {
                format!("/api/{version}")
            } else {
                format!("/apis/{group}/{version}")
            };
            let call = call(&path);
            let resources = match caller.whole(&call).await {
                Ok(body) => parse::<WireResources>(&body, &call.target)
                    .map(|doc| doc.into_resources(&group, &version)),
                Err(error) => Err(error),
            };
            GroupVersion {
                group,
                version,
                preferred,
                resources: resources.map_err(|e| velero_core::result::chain(&e)),
            }
        })
        .buffered(LEGACY_CONCURRENCY)
        .collect()
        .await
}

fn call(path: &str) -> Call {
    let target = Target {
        verb: "discover",
        resource: path.to_owned(),
        ..Target::default()
    };
    Call::read(target, path.to_owned())
}

fn parse<T: DeserializeOwned>(body: &[u8], target: &Target) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|e| Error::Answer {
        target: target.clone(),
        reason: e.to_string(),
    })
}

/// Marks, for each resource, its preferred version: that of the group, else the first one that has it.
fn assemble(versions: Vec<GroupVersion>) -> Catalog {
    let mut in_preferred = HashSet::new();
    let mut first: HashMap<(String, String), String> = HashMap::new();
    for version in &versions {
        for r in version.resources.iter().flatten() {
            let key = (r.group.clone(), r.plural.clone());
            if version.preferred {
                in_preferred.insert(key.clone());
            }
            first.entry(key).or_insert_with(|| r.version.clone());
        }
    }
    let (mut resources, mut failures) = (Vec::new(), Vec::new());
    for version in versions {
        match version.resources {
            Ok(list) => resources.extend(list.into_iter().map(|mut r| {
                let key = (r.group.clone(), r.plural.clone());
                r.preferred = if in_preferred.contains(&key) {
                    version.preferred
                } else {
                    first.get(&key) == Some(&r.version)
                };
                r
            })),
            Err(message) => {
                let group_version = if version.group.is_empty() {
                    version.version
                } else {
                    format!("{}/{}", version.group, version.version)
                };
                failures.push(DiscoveryFailure {
                    group_version,
                    message,
                });
            }
        }
    }
    Catalog::new(resources, failures)
}

#[derive(Deserialize)]
struct WireKind {
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
struct WireVersions {
    #[serde(default)]
    versions: Vec<String>,
}

#[derive(Deserialize)]
struct WireGroups {
    #[serde(default)]
    groups: Vec<WireGroup>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireGroup {
    name: String,
    #[serde(default)]
    versions: Vec<WireGroupVersion>,
    #[serde(default)]
    preferred_version: Option<WireGroupVersion>,
}

#[derive(Deserialize, PartialEq)]
struct WireGroupVersion {
    version: String,
}

impl WireGroups {
    fn into_versions(self) -> Vec<(String, String, bool)> {
        let mut out = Vec::new();
        for group in self.groups {
            let preferred = group.preferred_version.or_else(|| {
                group.versions.first().map(|v| WireGroupVersion {
                    version: v.version.clone(),
                })
            });
            for v in group.versions {
                let is_preferred = preferred.as_ref() == Some(&v);
                out.push((group.name.clone(), v.version, is_preferred));
            }
        }
        out
    }
}

#[derive(Deserialize)]
struct WireResources {
    #[serde(default)]
    resources: Vec<WireResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct WireResource {
    name: String,
    singular_name: String,
    namespaced: bool,
    kind: String,
    verbs: Option<Vec<String>>,
    short_names: Option<Vec<String>>,
}

impl WireResources {
    fn into_resources(self, group: &str, version: &str) -> Vec<ApiResource> {
        let with_status: HashSet<String> = self
            .resources
            .iter()
            .filter_map(|r| r.name.strip_suffix("/status"))
            .map(str::to_owned)
            .collect();
        self.resources
            .into_iter()
            .filter(|r| !r.name.contains('/'))
            .map(|r| ApiResource {
                group: group.to_owned(),
                version: version.to_owned(),
                kind: r.kind,
                has_status: with_status.contains(&r.name),
                plural: r.name,
                singular: r.singular_name,
                short_names: r.short_names.unwrap_or_default(),
                namespaced: r.namespaced,
                verbs: r.verbs.unwrap_or_default().into_iter().collect(),
                preferred: false,
            })
            .collect()
    }
}

#[derive(Deserialize)]
struct WireAggregated {
    #[serde(default)]
    items: Vec<WireAggregatedGroup>,
}

#[derive(Deserialize)]
struct WireAggregatedGroup {
    #[serde(default)]
    metadata: WireName,
    #[serde(default)]
    versions: Vec<WireAggregatedVersion>,
}

#[derive(Deserialize, Default)]
struct WireName {
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct WireAggregatedVersion {
    version: String,
    #[serde(default)]
    resources: Vec<WireAggregatedResource>,
    #[serde(default)]
    freshness: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireAggregatedResource {
    resource: String,
    response_kind: Option<WireResponseKind>,
    scope: String,
    singular_resource: Option<String>,
    verbs: Option<Vec<String>>,
    short_names: Option<Vec<String>>,
    subresources: Option<Vec<WireSubresource>>,
}

#[derive(Deserialize, Default)]
struct WireResponseKind {
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
struct WireSubresource {
    subresource: String,
}

impl WireAggregated {
    fn into_versions(self) -> Vec<GroupVersion> {
        let mut out = Vec::new();
        for group in self.items {
            let name = group.metadata.name.unwrap_or_default();
            for (at, version) in group.versions.into_iter().enumerate() {
                // A stale version is what the API server remembers of an aggregated server that does not answer now.
                let resources = match version.freshness.as_deref() {
                    Some("Stale") => Err("the server behind it does not answer".to_owned()),
                    _ => Ok(version
                        .resources
                        .into_iter()
                        .filter_map(|r| r.into_resource(&name, &version.version))
                        .collect()),
                };
                out.push(GroupVersion {
                    group: name.clone(),
                    version: version.version,
                    preferred: at == 0,
                    resources,
                });
            }
        }
        out
    }
}

impl WireAggregatedResource {
    /// A resource without a kind serves subresources only.
    fn into_resource(self, group: &str, version: &str) -> Option<ApiResource> {
        let kind = self
            .response_kind
            .map(|k| k.kind)
            .filter(|k| !k.is_empty())?;
        Some(ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind,
            has_status: self
                .subresources
                .iter()
                .flatten()
                .any(|s| s.subresource == "status"),
            plural: self.resource,
            singular: self.singular_resource.unwrap_or_default(),
            short_names: self.short_names.unwrap_or_default(),
            namespaced: self.scope == "Namespaced",
            verbs: self.verbs.unwrap_or_default().into_iter().collect(),
            preferred: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregated_documents() {
        let text = r#"{"kind":"APIGroupDiscoveryList","items":[
          {"metadata":{"name":"autoscaling"},"versions":[
            {"version":"v2","resources":[{"resource":"hpas","responseKind":{"group":"","version":"","kind":"HPA"},"scope":"Namespaced",
              "singularResource":"hpa","verbs":["list","get"],"shortNames":["h"],"subresources":[{"subresource":"status"}]}]},
            {"version":"v1","resources":[{"resource":"hpas","responseKind":{"kind":"HPA"},"scope":"Namespaced"},
                                          {"resource":"olds","responseKind":{"kind":"Old"},"scope":"Cluster"},
                                          {"resource":"virtual","scope":"Cluster","subresources":[{"subresource":"x"}]}]}]},
          {"metadata":{"name":"metrics"},"versions":[{"version":"v1","freshness":"Stale","resources":[{"resource":"x"}]}]}]}"#;
        let catalog = assemble(
            serde_json::from_str::<WireAggregated>(text)
                .unwrap()
                .into_versions(),
        );
        let seen: Vec<_> = catalog
            .resources()
            .iter()
            .map(|r| {
                (
                    r.plural.as_str(),
                    r.version.as_str(),
                    r.preferred,
                    r.has_status,
                    r.namespaced,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("hpas", "v2", true, true, true),
                ("hpas", "v1", false, false, true),
                ("olds", "v1", true, false, false)
            ]
        );
        assert_eq!(catalog.failures()[0].group_version, "metrics/v1");
    }

    #[test]
    fn legacy_documents() {
        let groups = r#"{"kind":"APIGroupList","groups":[{"name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"},
            {"groupVersion":"apps/v1beta1","version":"v1beta1"}],"preferredVersion":{"groupVersion":"apps/v1","version":"v1"}}]}"#;
        let versions = serde_json::from_str::<WireGroups>(groups)
            .unwrap()
            .into_versions();
        assert_eq!(versions[0], ("apps".into(), "v1".into(), true));
        assert!(!versions[1].2);
        let list = r#"{"kind":"APIResourceList","resources":[{"name":"deployments","singularName":"deployment","namespaced":true,
            "kind":"Deployment","verbs":["list"],"shortNames":["deploy"]},{"name":"deployments/status","kind":"Deployment","namespaced":true}]}"#;
        let resources = serde_json::from_str::<WireResources>(list)
            .unwrap()
            .into_resources("apps", "v1");
        assert_eq!(resources.len(), 1);
        assert!(resources[0].has_status && resources[0].verbs.has("list"));
    }
}
