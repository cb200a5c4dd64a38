//! Objects that every cluster makes and keeps by itself.
//!
//! Such an object of the archive tells about its own cluster: the other one has made its own, and a difference is no
//! news. What counts as one is a closed table, [`TABLE`]: by kind, namespace and name, and by the mark that the maker
//! leaves. A row says which fields the maker writes; whatever else the archive has may be a user's, so it is compared,
//! and a difference there is told. No restore changes or deletes an object of the table.

mod rules;
mod table;

use serde_json::{Map, Value};
use velero_core::ItemTree;
use velero_core::names::labels;

use crate::compare::comparable;
use table::{Marker, Name, Row, Rule, TABLE};

/// Why an object of the table is skipped.
pub(crate) const PROVIDED: &str = "provided by the cluster";

/// What the table says about an object of the cluster that differs from the archive's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provided {
    /// It is not in the table.
    No,
    /// The cluster provides it, and has all that a user could have set.
    Same,
    /// The cluster provides it; what a user could have set differs.
    Changed,
    /// An account that the cluster provides, which is merged like any other.
    Account,
}

/// Compares what a user could have set on an object that the cluster provides.
pub(crate) fn provided(live: &ItemTree, wanted: &ItemTree) -> Provided {
    let Some(row) = row_of(live) else {
        return Provided::No;
    };
    let has_all = match row.rule {
        Rule::Account => return Provided::Account,
        Rule::Fields => true,
        Rule::Rules => rules::grants(live, wanted),
        Rule::Subjects => rules::binds(live, wanted),
    };
    let (Some(has), Some(wants)) = (rest(live, row), rest(wanted, row)) else {
        return Provided::Changed;
    };
    if has_all && within(&has, &wants) {
        Provided::Same
    } else {
        Provided::Changed
    }
}

/// Whether an object of the archive is one of which each cluster has its own, and nothing was set on it besides: there is
/// nothing to restore, whether the cluster has one of that name or not.
pub(crate) fn is_of_its_cluster(item: &ItemTree) -> bool {
    let Some(row) = row_of(item).filter(|row| row.local) else {
        return false;
    };
    let Some(mut rest) = rest(item, row) else {
        return false;
    };
    let metadata = rest.remove("metadata");
    rest.is_empty()
        && metadata.is_some_and(|metadata| {
            let mut names = metadata.as_object().into_iter().flat_map(Map::keys);
            names.all(|key| key == "name" || key == "namespace")
        })
}

/// Whether the cluster provides an object.
pub(crate) fn is_provided(item: &ItemTree) -> bool {
    row_of(item).is_some()
}

fn row_of(item: &ItemTree) -> Option<&'static Row> {
    let (group, kind) = (group_of(item.api_version()), item.kind());
    TABLE.iter().find(|row| {
        row.group == group
            && row.kinds.contains(&kind)
            && is_named(&row.namespace, item.namespace())
            && is_named(&row.name, item.name())
            && row.markers.iter().all(|marker| is_marked(item, marker))
    })
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

fn is_named(wanted: &Name, name: &str) -> bool {
    match wanted {
        Name::Any => true,
        Name::None => name.is_empty(),
        Name::Is(one) => *one == name,
        Name::OneOf(all) => all.contains(&name),
    }
}

fn is_marked(item: &ItemTree, marker: &Marker) -> bool {
    let at = |map: &str, key: &str| item.at(map)?.get(key)?.as_str();
    match marker {
        Marker::Label(key) => at("/metadata/labels", key).is_some(),
        Marker::LabelIs(key, value) => at("/metadata/labels", key) == Some(value),
        Marker::AnnotationIs(key, value) => at("/metadata/annotations", key) == Some(value),
    }
}

/// What an object says besides the fields that its maker writes, its type and the labels of a restore.
fn rest(item: &ItemTree, row: &Row) -> Option<Map<String, Value>> {
    let mut item = item.clone();
    item.remove_labels(&[labels::BACKUP_NAME, labels::RESTORE_NAME]);
    for path in row.own.iter().chain(row.rule.own()) {
        if let Some((field, parents)) = path.split_last() {
            let parent = parents
                .iter()
                .try_fold(item.as_value_mut(), |at, key| at.get_mut(*key));
            if let Some(Value::Object(parent)) = parent {
                parent.remove(*field);
            }
        }
    }
    let Some(Value::Object(mut rest)) = comparable(item) else {
        return None;
    };
    rest.remove("apiVersion");
    rest.remove("kind");
    Some(rest)
}

/// Whether an object has what another wants: the same, but for labels and annotations that only it has.
fn within(has: &Map<String, Value>, wants: &Map<String, Value>) -> bool {
    let mut has = has.clone();
    for field in ["labels", "annotations"] {
        let wanted = wants.get("metadata").and_then(|m| m.get(field));
        let Some(Value::Object(metadata)) = has.get_mut("metadata") else {
            continue;
        };
        let Some(Value::Object(map)) = metadata.get_mut(field) else {
            continue;
        };
        map.retain(|key, _| wanted.is_some_and(|wanted| wanted.get(key).is_some()));
        if map.is_empty() {
            metadata.remove(field);
        }
    }
    has == *wants
}

#[cfg(test)]
mod tests;
