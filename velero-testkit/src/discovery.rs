//! What the server says about its resources.

use serde_json::{Value, json};

use crate::registry::{Registry, Resource};
use crate::status::ApiError;

/// The Kubernetes version that the server claims to be.
pub(crate) const VERSION: &str = "v1.36.3";

/// `/version`
pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35", "gitVersion": VERSION,
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "go1.26", "compiler": "gc", "platform": "linux/amd64",
    })
}

/// The media type of aggregated discovery.
pub(crate) const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Whether a client asks for aggregated discovery in the form that the server has.
pub(crate) fn wants_aggregated(accept: &str) -> bool {
    accept.split(',').map(str::trim).any(|part| {
        part.starts_with("application/json")
            && part.contains("as=APIGroupDiscoveryList")
            && part.split(';').any(|p| p.trim() == "v=v2")
    })
}

/// Groups with their versions, in order.
fn groups(registry: &Registry) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for resource in registry.all() {
        match groups
            .iter_mut()
            .find(|(group, _)| *group == resource.group)
        {
            Some((_, versions)) if versions.contains(&resource.version) => {}
            Some((_, versions)) => versions.push(resource.version.clone()),
            None => groups.push((resource.group.clone(), vec![resource.version.clone()])),
        }
    }
    groups
}

fn verbs(letters: &str) -> Vec<&'static str> {
    let all = [
        ('c', "create"),
        ('d', "delete"),
        ('D', "deletecollection"),
        ('g', "get"),
        ('l', "list"),
        ('p', "patch"),
        ('u', "update"),
        ('w', "watch"),
    ];
    all.iter()
        .filter(|(letter, _)| letters.contains(*letter))
        .map(|(_, verb)| *verb)
        .collect()
}

fn group_value(group: &str, versions: &[String]) -> Value {
    let list: Vec<Value> = versions
        .iter()
        .map(|v| json!({"groupVersion": format!("{group}/{v}"), "version": v}))
        .collect();
    json!({"name": group, "versions": list, "preferredVersion": list.first()})
}

/// `/api`
pub(crate) fn core_versions() -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
    })
}

/// `/apis`
pub(crate) fn group_list(registry: &Registry) -> Value {
    let list: Vec<Value> = groups(registry)
        .iter()
        .filter(|(g, _)| !g.is_empty())
        .map(|(g, v)| group_value(g, v))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list})
}

/// `/apis/GROUP`
pub(crate) fn group(registry: &Registry, name: &str) -> Result<Value, ApiError> {
    let found = groups(registry)
        .into_iter()
        .find(|(g, _)| g == name && !name.is_empty());
    let (group, versions) = found.ok_or_else(ApiError::no_such_path)?;
    let mut value = group_value(&group, &versions);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    Ok(value)
}

/// `/api/v1` and `/apis/GROUP/VERSION`
pub(crate) fn resources(
    registry: &Registry,
    group: &str,
    version: &str,
) -> Result<Value, ApiError> {
    if !registry.serves(group, version) {
        return Err(ApiError::no_such_path());
    }
    let mut list = Vec::new();
    for resource in registry
        .all()
        .iter()
        .filter(|r| r.group == group && r.version == version)
    {
        list.push(resource_value(resource));
        for sub in &resource.subresources {
            let mut value = json!({
                "name": format!("{}/{}", resource.plural, sub.name), "singularName": "",
                "namespaced": resource.namespaced, "kind": sub.kind, "verbs": verbs(&sub.verbs),
            });
            if !sub.version.is_empty() {
                value["group"] = sub.group.clone().into();
                value["version"] = sub.version.clone().into();
            }
            list.push(value);
        }
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    Ok(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list}),
    )
}

fn resource_value(resource: &Resource) -> Value {
    let mut value = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": verbs(&resource.verbs),
    });
    if !resource.short.is_empty() {
        value["shortNames"] = json!(resource.short);
    }
    if !resource.categories.is_empty() {
        value["categories"] = json!(resource.categories);
    }
    value
}

/// `/api` and `/apis` in one document each; `core` chooses which.
pub(crate) fn aggregated(registry: &Registry, core: bool) -> Value {
    let mut items = Vec::new();
    for (group, versions) in groups(registry)
        .into_iter()
        .filter(|(g, _)| g.is_empty() == core)
    {
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| {
                let resources = registry
                    .all()
                    .iter()
                    .filter(|r| r.group == group && r.version == *version);
                let list: Vec<Value> = resources.map(|r| aggregated_resource(r)).collect();
                json!({"version": version, "resources": list, "freshness": "Current"})
            })
            .collect();
        let metadata = if group.is_empty() {
            json!({})
        } else {
            json!({"name": group})
        };
        items.push(json!({"metadata": metadata, "versions": versions}));
    }
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_resource(resource: &Resource) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut value = json!({
        "resource": resource.plural, "singularResource": resource.singular,
        "responseKind": kind(&resource.group, &resource.version, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "verbs": verbs(&resource.verbs),
    });
    if !resource.short.is_empty() {
        value["shortNames"] = json!(resource.short);
    }
    if !resource.categories.is_empty() {
        value["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        let list: Vec<Value> = resource
            .subresources
            .iter()
            .map(|s| {
                let own = s.version.is_empty();
                let (group, version) =
                    if own { (&resource.group, &resource.version) } else { (&s.group, &s.version) };
                json!({"subresource": s.name, "responseKind": kind(group, version, &s.kind), "verbs": verbs(&s.verbs)})
            })
            .collect();
        value["subresources"] = list.into();
    }
    value
}
