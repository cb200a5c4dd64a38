//! Who owns which field: `metadata.managedFields` and server-side apply
//! (Go: apimachinery `pkg/util/managedfields`, structured-merge-diff `merge/update.go`).

mod entries;
mod set;
mod walk;

use serde_json::{Value, json};

use self::entries::Entry;
use self::set::Set;
use crate::objects::{clear_meta, meta, set_meta};
use crate::registry::Resource;
use crate::schema::{Root, zero};
use crate::server::Inner;
use crate::status::{ApiError, Cause};
use crate::verbs::{CreateOptions, Writer};

/// Fields that nobody owns.
fn unowned() -> &'static Set {
    static PATHS: std::sync::OnceLock<Set> = std::sync::OnceLock::new();
    PATHS.get_or_init(|| {
        Set::of(&[
            &["apiVersion"],
            &["kind"],
            &["metadata"],
            &["metadata", "name"],
            &["metadata", "namespace"],
            &["metadata", "creationTimestamp"],
            &["metadata", "selfLink"],
            &["metadata", "uid"],
            &["metadata", "clusterName"],
            &["metadata", "generation"],
            &["metadata", "managedFields"],
            &["metadata", "resourceVersion"],
        ])
    })
}

/// Fields that a write through this door resets, and that its manager therefore does not own.
fn reset(resource: &Resource, subresource: Option<&str>) -> Set {
    match subresource {
        None if resource.status => Set::of(&[&["status"]]),
        Some("status") if resource.custom.is_some() => Set::of(&[&["spec"], &["metadata"]]),
        Some("status") => match resource.plural.as_str() {
            "pods" => Set::of(&[
                &["spec"],
                &["metadata", "deletionTimestamp"],
                &["metadata", "ownerReferences"],
            ]),
            "deployments" => Set::of(&[&["spec"], &["metadata", "labels"]]),
            _ => Set::of(&[&["spec"]]),
        },
        _ => Set::default(),
    }
}

/// An object of a kind without any field.
fn blank(root: &Root) -> Value {
    if root.schema.go {
        zero(&root.schema, root.id)
    } else {
        json!({})
    }
}

/// Whether managedFields are given in the form that clears them.
fn clears(list: Option<&Value>) -> bool {
    match list.and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => true,
        Some([Value::Object(one)]) => one.is_empty(),
        _ => false,
    }
}

fn store(tree: &mut Value, entries: Vec<Entry>) {
    if entries.is_empty() {
        clear_meta(tree, "managedFields");
    } else {
        set_meta(tree, "managedFields", entries::encode(entries));
    }
}

/// A change seen by the owners of fields.
struct Change<'a> {
    root: &'a Root,
    resource: &'a Resource,
    reset: Set,
}

impl Change<'_> {
    /// Takes from every manager what a change took; `own` is left as it is.
    fn settle(
        &self,
        old: &Value,
        new: &Value,
        entries: &mut Vec<Entry>,
        own: Option<&Entry>,
        force: bool,
    ) -> Result<walk::Comparison, Vec<(Entry, Set)>> {
        let found = walk::compare(&self.root.schema, self.root.id, old, new);
        let touched = found
            .modified
            .union(&found.added)
            .without_trees(&self.reset);
        let removed = found.removed.without_trees(&self.reset);
        entries.retain(|e| self.knows(&e.api_version));
        let others = |e: &&mut Entry| own.is_none_or(|own| !e.same_manager(own));
        let conflicts: Vec<(Entry, Set)> = entries
            .iter()
            .filter(|e| own.is_none_or(|own| !e.same_manager(own)))
            .map(|e| (e.clone(), e.set.intersection(&touched)))
            .filter(|(_, set)| !set.is_empty())
            .collect();
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        for entry in entries.iter_mut().filter(others) {
            entry.set = entry.set.difference(&touched).difference(&removed);
        }
        entries.retain(|e| !e.set.is_empty());
        Ok(found)
    }

    /// Whether objects can be seen in a version; entries of versions that are gone are dropped.
    fn knows(&self, api_version: &str) -> bool {
        self.resource.custom.is_some()
            || api_version == self.resource.api_version()
            || matches!(api_version, "v1" | "events.k8s.io/v1") && self.resource.plural == "events"
            || api_version == "autoscaling/v1" && self.resource.group == "autoscaling"
    }

    /// Records an update.
    fn update(
        &self,
        old: &Value,
        new: &Value,
        mut entries: Vec<Entry>,
        mut own: Entry,
    ) -> Vec<Entry> {
        let Ok(found) = self.settle(old, new, &mut entries, None, true) else {
            return entries;
        };
        let touched = found
            .modified
            .union(&found.added)
            .without_trees(&self.reset);
        own.set = touched.difference(unowned());
        if own.set.is_empty() {
            return entries;
        }
        match entries.iter_mut().find(|e| e.same_manager(&own)) {
            Some(entry) => {
                entry.set = entry.set.union(&own.set);
                entry.time = own.time;
            }
            None => entries.push(own),
        }
        entries::cap(entries)
    }
}

fn updater(inner: &Inner, resource: &Resource, manager: &str, subresource: Option<&str>) -> Entry {
    Entry {
        manager: manager.to_owned(),
        apply: false,
        api_version: resource.api_version(),
        subresource: subresource.unwrap_or_default().to_owned(),
        time: Some(crate::clock::seconds(inner.now())),
        set: Set::default(),
    }
}

/// Records the fields of a new object. Entries in the body count only for fields that the body does not have.
pub(crate) fn on_create(
    inner: &Inner,
    resource: &Resource,
    tree: &mut Value,
    options: &CreateOptions,
) {
    if let Some(managed) = &options.managed {
        set_meta(tree, "managedFields", managed.clone());
        return;
    }
    let Some(root) = &resource.root else { return };
    let given = entries::decode(&tree["metadata"]["managedFields"]).unwrap_or_default();
    clear_meta(tree, "managedFields");
    let change = Change {
        root,
        resource,
        reset: reset(resource, None),
    };
    let own = updater(inner, resource, &options.manager, None);
    let entries = change.update(&blank(root), tree, given, own);
    store(tree, entries);
}

/// Records the fields that a change touched.
pub(crate) fn on_update(
    inner: &Inner,
    resource: &Resource,
    old: &Value,
    mut tree: Value,
    writer: &Writer<'_>,
) -> Value {
    if let Some(managed) = &writer.managed {
        set_meta(&mut tree, "managedFields", managed.clone());
        return tree;
    }
    let Some(root) = &resource.root else {
        return tree;
    };
    let live = old["metadata"]
        .get("managedFields")
        .and_then(entries::decode)
        .unwrap_or_default();
    let given = tree["metadata"].get("managedFields").cloned();
    clear_meta(&mut tree, "managedFields");
    let entries = if writer.subresource.is_some() {
        live
    } else if clears(given.as_ref()) {
        return tree;
    } else {
        match given
            .as_ref()
            .and_then(entries::decode)
            .filter(|list| !list.is_empty())
        {
            Some(entries) => entries,
            None => live,
        }
    };
    if entries.is_empty() {
        return tree;
    }
    let mut before = old.clone();
    clear_meta(&mut before, "managedFields");
    let change = Change {
        root,
        resource,
        reset: reset(resource, writer.subresource),
    };
    let own = updater(inner, resource, &writer.manager, writer.subresource);
    let entries = change.update(&before, &tree, entries, own);
    store(&mut tree, entries);
    tree
}

/// Applies a configuration to an object: the merged object, and who owns its fields then.
pub(crate) fn apply(
    inner: &Inner,
    resource: &Resource,
    old: &Value,
    applied: Value,
    manager: &str,
    force: bool,
    subresource: Option<&str>,
) -> Result<(Value, Value), ApiError> {
    let Some(root) = &resource.root else {
        return Err(ApiError::internal("kind without a type"));
    };
    let (schema, id) = (&root.schema, root.id);
    let change = Change {
        root,
        resource,
        reset: reset(resource, subresource),
    };
    let mut live = old.clone();
    clear_meta(&mut live, "managedFields");
    let mut entries = entries::decode(&old["metadata"]["managedFields"]).unwrap_or_default();
    if entries.is_empty() {
        let own = updater(inner, resource, "before-first-apply", None);
        entries = change.update(&blank(root), &live, entries, own);
    }
    let mut own = Entry {
        apply: true,
        ..updater(inner, resource, manager, subresource)
    };
    own.set = walk::field_set(schema, id, &applied)
        .without_trees(&change.reset)
        .difference(unowned());
    let merged = walk::merge(schema, id, Some(&live), Some(&applied)).unwrap_or_default();
    let last = entries
        .iter()
        .position(|e| e.same_manager(&own))
        .map(|i| entries.remove(i));
    entries.push(own.clone());
    let tree = match &last {
        Some(last) => prune(root, merged, &entries, &last.set),
        None => merged,
    };
    change
        .settle(&live, &tree, &mut entries, Some(&own), force)
        .map_err(|conflicts| conflict(&conflicts))?;
    if let Some(last) = last.filter(|last| last.set == own.set && tree == live)
        && let Some(entry) = entries.iter_mut().find(|e| e.same_manager(&own))
    {
        entry.time = last.time;
    }
    Ok((tree, entries::encode(entries)))
}

/// Removes what the manager applied before, does not apply now, and nobody else owns.
fn prune(root: &Root, merged: Value, entries: &[Entry], last: &Set) -> Value {
    let (schema, id) = (&root.schema, root.id);
    let full = |set: &Set| walk::with_parents(schema, id, set);
    let all = full(&walk::field_set(schema, id, &merged));
    let owned = entries
        .iter()
        .fold(Set::default(), |sum, e| sum.union(&e.set));
    let last = full(last);
    let without = |gone: &Set| walk::remove(schema, id, &merged, gone).unwrap_or_else(|| json!({}));
    let first = without(&last);
    let left = full(&walk::field_set(schema, id, &first));
    let second = without(&all.difference(&left).difference(&full(&owned)));
    let left = full(&walk::field_set(schema, id, &second));
    without(&all.difference(&left).intersection(&last))
}

fn conflict(conflicts: &[(Entry, Set)]) -> ApiError {
    let mut causes = Vec::new();
    for (entry, set) in conflicts {
        for field in set.paths() {
            let message = format!("conflict with {}", entry.describe());
            causes.push(Cause {
                reason: "FieldManagerConflict",
                message,
                field,
            });
        }
    }
    let message = match causes.as_slice() {
        [one] => format!(
            "Apply failed with 1 conflict: {}: {}",
            one.message, one.field
        ),
        many => {
            let mut sorted: Vec<&(Entry, Set)> = conflicts.iter().collect();
            sorted.sort_by_key(|(entry, _)| entry.manager.clone());
            let mut lines = Vec::new();
            for (entry, set) in sorted {
                lines.push(format!("conflicts with {}:", entry.describe()));
                lines.extend(set.paths().iter().map(|p| format!("- {p}")));
            }
            format!(
                "Apply failed with {} conflicts: {}",
                many.len(),
                lines.join("\n")
            )
        }
    };
    ApiError::apply_conflict(message, &causes)
}

/// The record of a first apply.
pub(crate) fn applied_entry(
    inner: &Inner,
    resource: &Resource,
    applied: &Value,
    manager: &str,
) -> Value {
    let Some(root) = &resource.root else {
        return json!([]);
    };
    let mut own = Entry {
        apply: true,
        ..updater(inner, resource, manager, None)
    };
    let set = walk::field_set(&root.schema, root.id, applied);
    own.set = set
        .without_trees(&reset(resource, None))
        .difference(unowned());
    tracing::trace!(name = meta(applied, "name"), manager, "first apply");
    if own.set.is_empty() {
        json!([])
    } else {
        entries::encode(vec![own])
    }
}
