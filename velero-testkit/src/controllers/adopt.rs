//! Workloads take over objects that nobody controls, as after a restore, which leaves owners out.

use std::sync::Arc;

use serde_json::Value;

use super::{controlled_by, save};
use crate::registry::Resource;
use crate::selector::LabelSelector;
use crate::server::Inner;
use crate::store::{State, Stored, prefix};

/// Makes a workload the controller of all objects of a table that its selector matches and that have none.
pub(super) fn adopt(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Resource,
    live: &Stored,
    table: &str,
) {
    let Some(selector) = selector_of(&live.tree()) else {
        return;
    };
    let Some(adopted) = state.registry.by_table(table) else {
        return;
    };
    let range = prefix(Some(live.identity().0));
    let orphans: Vec<Arc<Stored>> = state
        .range(table, &range)
        .filter(|object| !object.deleting && fits(resource, live, object))
        .filter(|object| selector.matches(&object.labels))
        .cloned()
        .collect();
    for orphan in orphans {
        let mut tree = orphan.full(&adopted);
        let mut owners = owners(&tree);
        owners.extend(
            controlled_by(resource, live)
                .as_array()
                .cloned()
                .unwrap_or_default(),
        );
        tree["metadata"]["ownerReferences"] = owners.into();
        save(inner, state, &adopted, &orphan, tree);
    }
}

/// The selector of a workload; one that is empty or does not parse takes over nothing.
fn selector_of(tree: &Value) -> Option<LabelSelector> {
    let selector = &tree["spec"]["selector"];
    let mut parts = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        parts.push(format!("{key}={}", value.as_str()?));
    }
    for expression in selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let key = expression["key"].as_str()?;
        let values: Vec<&str> = expression["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        parts.push(match expression["operator"].as_str()? {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    LabelSelector::parse(Some(&parts.join(",")))
        .ok()
        .filter(|selector| !selector.is_empty())
}

/// Whether an object has no controller, and one of a StatefulSet a name that the set would give.
fn fits(resource: &Resource, live: &Stored, object: &Stored) -> bool {
    let controlled = owners(&object.tree())
        .iter()
        .any(|owner| owner["controller"] == Value::Bool(true));
    let named = resource.plural != "statefulsets"
        || object
            .name()
            .rsplit_once('-')
            .is_some_and(|(set, _)| set == live.name());
    !controlled && named
}

fn owners(tree: &Value) -> Vec<Value> {
    tree["metadata"]["ownerReferences"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}
