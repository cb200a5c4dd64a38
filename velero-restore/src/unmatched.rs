//! What a restore asks for and the backup does not hold: a misspelt name must not look like success.
//!
//! The peer is silent here and ends `Completed`; so do we, with warnings.

use std::collections::BTreeSet;

use velero_core::filter::Pattern;
use velero_core::plan::{ExclusionReason, RestorePlan};
use velero_core::result::{Record, Severity};
use velero_core::{Catalog, Selector};

use crate::filters::NEVER_RESTORED;
use crate::index::ArchiveIndex;
use crate::nearest::nearest;
use crate::request::RestoreRequest;

/// One warning for each name of a filter or a mapping that stands for nothing. `all` is what the cluster serves and
/// what definitions of the archive bring.
pub(crate) fn names(index: &ArchiveIndex, request: &RestoreRequest, all: &Catalog) -> Vec<Record> {
    if index.is_empty() {
        return Vec::new();
    }
    let spec = request.spec();
    let namespaces = namespaces(index);
    let mut messages = Vec::new();
    for name in named(&spec.included_namespaces) {
        let pattern = Pattern::new(name.as_str());
        if !namespaces.iter().any(|held| pattern.matches(held)) {
            let what = if pattern.is_glob() {
                "no namespace of the backup matches"
            } else {
                "the backup holds no such namespace"
            };
            messages.push(format!("includedNamespaces {name:?}: {what}"));
        }
    }
    // Namespaces to leave out are often the same list for all backups, so that those are in no need of a word.
    let known = known(index, all);
    // The operator writes the kinds that are never restored into the list.
    let excluded = named(&spec.excluded_resources).filter(|name| !is_of_operator(name));
    let resources = named(&spec.included_resources)
        .map(|name| ("includedResources", name))
        .chain(excluded.map(|name| ("excludedResources", name)));
    for (field, name) in resources {
        let pattern = Pattern::new(all.resolve_or_keep(name).to_string());
        if !known.iter().any(|resource| pattern.matches(resource)) {
            messages.push(format!(
                "{field} {name:?}: neither the backup nor the cluster knows such a resource"
            ));
        }
    }
    messages.extend(rules(request, all, &known));
    for (source, target) in &spec.namespace_mapping {
        if !namespaces.contains(source.as_str()) {
            messages.push(format!(
                "namespaceMapping {source:?} to {target:?}: the backup holds no namespace {source:?}"
            ));
        }
    }
    messages
        .into_iter()
        .map(|message| Record::run(Severity::Warning, message))
        .collect()
}

/// The resources that the archive or the cluster has.
fn known(index: &ArchiveIndex, all: &Catalog) -> BTreeSet<String> {
    let held = index.resources().iter().map(ToString::to_string);
    let faults = index
        .faults()
        .iter()
        .map(|fault| fault.resource.to_string());
    let served = all
        .resources()
        .iter()
        .map(|resource| resource.group_resource().to_string());
    held.chain(faults).chain(served).collect()
}

/// What is to be said of rules of modifiers that can be for no object. They take plural names with the group only.
fn rules(request: &RestoreRequest, all: &Catalog, known: &BTreeSet<String>) -> Vec<String> {
    let lost = request
        .modifier_rules()
        .map_or_else(Vec::new, |rules| rules.without_resource(known));
    lost.into_iter().map(|(at, name)| {
        let meant = match all.resolve(name) {
            Some(resource) => Some(resource.group_resource().to_string()),
            None => nearest(name, known.iter().map(String::as_str)).map(str::to_owned),
        };
        let hint = meant.map_or_else(String::new, |meant| format!("; {meant:?} is the nearest name"));
        format!(
            "resourceModifierRules[{at}].conditions.groupResource {name:?}: the rule changes nothing, as neither the \
             backup nor the cluster has a resource of this plural name and group{hint}"
        )
    })
    .collect()
}

/// A warning when the archive holds items and the plan has none of them.
pub(crate) fn everything(
    index: &ArchiveIndex,
    request: &RestoreRequest,
    plan: &RestorePlan,
) -> Option<Record> {
    let items = index.len();
    if !plan.is_empty() || !plan.unserved.is_empty() || items == 0 {
        return None;
    }
    let reasons: BTreeSet<ExclusionReason> =
        plan.excluded.keys().map(|(_, reason)| *reason).collect();
    let filters: BTreeSet<String> = reasons
        .into_iter()
        .flat_map(|reason| filters(reason, request))
        .collect();
    let why = if filters.is_empty() {
        "all are of kinds, or in states, that are never restored".to_owned()
    } else {
        let filters: Vec<String> = filters.into_iter().collect();
        format!("none is selected by {}", filters.join(", "))
    };
    let message = format!(
        "nothing is restored ({} in the backup): {why}",
        count_of(items)
    );
    Some(Record::run(Severity::Warning, message))
}

fn count_of(items: usize) -> String {
    format!("{items} item{}", if items == 1 { "" } else { "s" })
}

/// The filters that leave items out for a reason, with their values.
fn filters(reason: ExclusionReason, request: &RestoreRequest) -> Vec<String> {
    let spec = request.spec();
    let list = |field: &str, names: Vec<&String>| {
        let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
        (!names.is_empty()).then(|| format!("{field} {}", names.join(", ")))
    };
    let namespaces = || {
        list("includedNamespaces", selecting(&spec.included_namespaces))
            .into_iter()
            .chain(list(
                "excludedNamespaces",
                named(&spec.excluded_namespaces).collect(),
            ))
    };
    match reason {
        ExclusionReason::Resource => {
            let excluded = named(&spec.excluded_resources).filter(|name| !is_of_operator(name));
            list("includedResources", selecting(&spec.included_resources))
                .into_iter()
                .chain(list("excludedResources", excluded.collect()))
                .collect()
        }
        ExclusionReason::Namespace => namespaces().collect(),
        ExclusionReason::ClusterScope => match spec.include_cluster_resources {
            Some(include) => vec![format!("includeClusterResources {include}")],
            None => namespaces().collect(),
        },
        ExclusionReason::Labels => {
            let field = if spec.label_selector.is_some() {
                "labelSelector"
            } else {
                "orLabelSelectors"
            };
            let any: Vec<String> = request
                .selectors()
                .alternatives()
                .iter()
                .map(Selector::to_string)
                .collect();
            vec![format!("{field} {:?}", any.join(" or "))]
        }
        _ => Vec::new(),
    }
}

/// The entries of a list that name something.
fn named(names: &[String]) -> impl Iterator<Item = &String> {
    names.iter().filter(|name| !name.is_empty() && *name != "*")
}

/// The entries of an include list that narrow it: an empty one selects nothing.
fn selecting(names: &[String]) -> Vec<&String> {
    names.iter().filter(|name| *name != "*").collect()
}

/// Whether the operator itself puts the name of a resource into the excludes.
fn is_of_operator(name: &str) -> bool {
    NEVER_RESTORED.contains(&name)
}

/// Namespaces that have items, or are items themselves.
fn namespaces(index: &ArchiveIndex) -> BTreeSet<&str> {
    let items = index
        .items_of(&"namespaces".into())
        .into_iter()
        .filter_map(|id| index.item(id))
        .map(|item| item.name);
    let faults = index.faults().iter().map(|fault| {
        if fault.resource.is("", "namespaces") {
            fault.name.as_str()
        } else {
            fault.namespace.as_str()
        }
    });
    index
        .namespaces()
        .chain(items)
        .chain(faults)
        .filter(|name| !name.is_empty())
        .collect()
}
