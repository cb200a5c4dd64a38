//! The built-in resources, `kinds.txt`.
//!
//! One line each: group (`-`: core), version, plural, singular, kind, scope (`N` or `C`), short names, categories, verbs
//! (`c`reate `d`elete `D`eletecollection `g`et `l`ist `p`atch `u`pdate `w`atch), subresources
//! (`name:verbs[:group/version/Kind]`), `gen` where the server counts generations. From the discovery documents of the
//! k8s.io/kubernetes module.

use std::sync::Arc;

use crate::registry::{Resource, Subresource};
use crate::schema::{Root, builtin};

const TABLE: &str = include_str!("kinds.txt");

/// Kinds whose type lives in another package than their group suggests.
fn type_name(group: &str, version: &str, kind: &str) -> String {
    let package = match group.split('.').next().unwrap_or_default() {
        "" => "core",
        other => other,
    };
    format!("{package}.{version}.{kind}")
}

fn list(text: &str) -> Vec<String> {
    if text == "-" {
        Vec::new()
    } else {
        text.split(',').map(str::to_owned).collect()
    }
}

fn subresource(text: &str, kind: &str) -> Subresource {
    let mut parts = text.split(':');
    let name = parts.next().unwrap_or_default().to_owned();
    let verbs = parts.next().unwrap_or_default().to_owned();
    let mut gvk = parts.next().unwrap_or_default().split('/');
    let group = gvk.next().unwrap_or_default().to_owned();
    let version = gvk.next().unwrap_or_default().to_owned();
    let kind = gvk.next().unwrap_or(kind).to_owned();
    Subresource {
        name,
        verbs,
        group,
        version,
        kind,
    }
}

fn resource(line: &str) -> Option<Resource> {
    let words: Vec<&str> = line.split(' ').collect();
    let [
        group,
        version,
        plural,
        singular,
        kind,
        scope,
        short,
        categories,
        verbs,
        subs,
        generation,
    ] = words.as_slice()
    else {
        return None;
    };
    let group = if *group == "-" { "" } else { group };
    let subresources: Vec<Subresource> = if *subs == "-" {
        Vec::new()
    } else {
        subs.split(';').map(|s| subresource(s, kind)).collect()
    };
    let schema = builtin();
    let root = schema
        .named(&type_name(group, version, kind))
        .map(|id| Root {
            schema: Arc::clone(schema),
            id,
        });
    let mut resource = Resource::new(group, version, plural, kind);
    resource.singular = (*singular).to_owned();
    resource.namespaced = *scope == "N";
    resource.short = list(short);
    resource.categories = list(categories);
    resource.verbs = (*verbs).to_owned();
    resource.status = subresources.iter().any(|s| s.name == "status");
    resource.subresources = subresources;
    resource.generation = *generation == "gen";
    resource.root = root;
    if group == "events.k8s.io" {
        resource.table = "events".into();
    }
    Some(resource)
}

/// Every built-in resource, in the order in which discovery names the groups.
pub(crate) fn all() -> Vec<Arc<Resource>> {
    TABLE.lines().filter_map(resource).map(Arc::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_type() {
        let all = all();
        assert_eq!(all.len(), TABLE.lines().count());
        for resource in all {
            assert!(
                resource.root.is_some(),
                "{}/{} {}",
                resource.group,
                resource.version,
                resource.kind
            );
        }
    }
}
