//! Whether roles and bindings of a cluster hold at least what those of an archive do.

use serde_json::Value;
use velero_core::ItemTree;

/// Whether a role grants all that another one grants. The rules of an aggregated role are written by a controller, out
/// of the roles that it has.
pub(super) fn grants(live: &ItemTree, wanted: &ItemTree) -> bool {
    if wanted.at("/aggregationRule").is_some() {
        return true;
    }
    let has = live.array_at("/rules");
    wanted
        .array_at("/rules")
        .iter()
        .all(|rule| is_granted(has, rule))
}

/// Whether a binding is for all that another one is for. What it refers to is compared elsewhere.
pub(super) fn binds(live: &ItemTree, wanted: &ItemTree) -> bool {
    let has = live.array_at("/subjects");
    wanted.array_at("/subjects").iter().all(|s| has.contains(s))
}

/// Whether several rules together grant what one does, verb by verb and object by object.
fn is_granted(rules: &[Value], rule: &Value) -> bool {
    let urls = list(rule, "nonResourceURLs");
    list(rule, "verbs").iter().all(|verb| {
        let with_verb = || rules.iter().filter(|r| covers(&list(r, "verbs"), verb));
        let urls_are = urls.iter().all(|url| {
            with_verb().any(|r| {
                list(r, "nonResourceURLs")
                    .iter()
                    .any(|has| covers_url(has, url))
            })
        });
        let names = list(rule, "resourceNames");
        let resources_are = list(rule, "apiGroups").iter().all(|group| {
            list(rule, "resources").iter().all(|resource| {
                let is_free = |name: Option<&str>| {
                    with_verb().any(|r| {
                        let named = list(r, "resourceNames");
                        covers(&list(r, "apiGroups"), group)
                            && covers_resource(&list(r, "resources"), resource)
                            && (named.is_empty() || name.is_some_and(|name| named.contains(&name)))
                    })
                };
                if names.is_empty() {
                    is_free(None)
                } else {
                    names.iter().all(|name| is_free(Some(name)))
                }
            })
        });
        urls_are && resources_are
    })
}

fn list<'a>(rule: &'a Value, field: &str) -> Vec<&'a str> {
    let values = rule.get(field).and_then(Value::as_array);
    values
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn covers(has: &[&str], wanted: &str) -> bool {
    has.iter().any(|one| *one == "*" || *one == wanted)
}

fn covers_resource(has: &[&str], wanted: &str) -> bool {
    let any_with_part = wanted.split_once('/').map(|(_, part)| format!("*/{part}"));
    covers(has, wanted) || any_with_part.is_some_and(|any| has.contains(&any.as_str()))
}

fn covers_url(has: &str, wanted: &str) -> bool {
    has == wanted
        || has
            .strip_suffix('*')
            .is_some_and(|prefix| wanted.starts_with(prefix))
}
