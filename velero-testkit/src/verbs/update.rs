//! `update`, and the end that every change of an existing object shares.

use std::sync::Arc;

use serde_json::Value;

use crate::admission;
use crate::convert;
use crate::effects;
use crate::objects::{self, clear_meta, meta, set_meta};
use crate::registry::Resource;
use crate::reply::Reply;
use crate::server::Inner;
use crate::status::{ApiError, Cause};
use crate::store::{State, Stored, fits};
use crate::verbs::{Request, drop_finalized, prepare, read};

/// Who changes an object, and by which door.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writer<'a> {
    pub(crate) manager: String,
    pub(crate) subresource: Option<&'a str>,
    pub(crate) dry_run: bool,
    /// managedFields worked out already (server-side apply).
    pub(crate) managed: Option<Value>,
    /// A whole object was sent: another uid in it is a failed precondition, not a forbidden change.
    pub(crate) whole: bool,
}

pub(crate) fn update(
    inner: &Arc<Inner>,
    request: &Request,
    subresource: Option<&str>,
) -> Result<Reply, ApiError> {
    let resource = &request.resource;
    let mut tree = prepare::parse_object(request)?;
    let name = meta(&tree, "name").to_owned();
    if name.is_empty() {
        let cause = Cause::required("metadata.name", "name is required");
        return Err(ApiError::invalid(
            &resource.kind,
            &resource.group,
            "",
            &[cause],
        ));
    }
    if name != request.name() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            request.name()
        )));
    }
    let given = meta(&tree, "namespace");
    if !given.is_empty() && Some(given) != request.namespace() {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let warnings = prepare::shape(resource, &mut tree, request.query.field_validation)?;
    let tree = convert::to_storage(resource, tree);
    let writer = Writer {
        manager: request.manager(),
        subresource,
        dry_run: request.query.dry_run,
        managed: None,
        whole: true,
    };
    let mut state = inner.lock();
    let Some(live) = state.get(&resource.table, &request.key()) else {
        return Err(request.not_found());
    };
    if resource.custom.is_some() && meta(&tree, "resourceVersion").is_empty() {
        let cause = Cause::invalid(
            "metadata.resourceVersion",
            &Value::from(0),
            "must be specified for an update",
        );
        return Err(ApiError::invalid(
            &resource.kind,
            &resource.group,
            &name,
            &[cause],
        ));
    }
    let stored = commit_update(inner, &mut state, resource, &live, tree, &writer)?;
    drop(state);
    Ok(read::object_reply(request, 200, &stored).with_warnings(warnings))
}

/// Puts a changed object in place of `live`: checks versions, keeps what clients cannot change, counts generations,
/// records owners of fields, and removes the object when its last finalizer is gone.
pub(crate) fn commit_update(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    live: &Arc<Stored>,
    mut tree: Value,
    writer: &Writer<'_>,
) -> Result<Arc<Stored>, ApiError> {
    let old = live.full(resource);
    preconditions(resource, live, &tree, writer.whole)?;
    fixed_metadata(resource, &old, &tree)?;
    carry_over(&old, &mut tree);
    let tree = fields_by_door(resource, &old, tree, writer.subresource);
    let mut tree = crate::fields::on_update(inner, resource, &old, tree, writer);
    admission::on_update(state, resource, &old, &mut tree, writer.subresource)?;
    count_generation(resource, &old, &mut tree, writer.subresource);
    validate(resource, &old, &tree, writer.subresource)?;
    if writer.dry_run {
        return Ok(Arc::new(Stored::new(resource, &tree, live.rv)));
    }
    if unchanged(&old, &tree) {
        return Ok(live.clone());
    }
    fits(&tree)?;
    let stored = state.put(resource, tree);
    effects::updated(inner, state, resource, live, &stored);
    if let Some(last) = drop_finalized(inner, state, resource, &stored.key) {
        return Ok(last);
    }
    Ok(state.get(&resource.table, &stored.key).unwrap_or(stored))
}

fn preconditions(
    resource: &Resource,
    live: &Stored,
    tree: &Value,
    whole: bool,
) -> Result<(), ApiError> {
    let name = live.name();
    let uid = meta(tree, "uid");
    if whole && !uid.is_empty() && uid != live.uid.as_ref() {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            live.uid
        );
        return Err(ApiError::conflict(
            &resource.plural,
            &resource.group,
            name,
            &why,
        ));
    }
    let version = meta(tree, "resourceVersion");
    if !version.is_empty() && version != "0" && version != live.rv.to_string() {
        return Err(ApiError::stale(&resource.plural, &resource.group, name));
    }
    Ok(())
}

/// Refuses what nobody may change.
fn fixed_metadata(resource: &Resource, old: &Value, tree: &Value) -> Result<(), ApiError> {
    let mut causes = Vec::new();
    let (uid, deletion) = (
        &tree["metadata"]["uid"],
        &tree["metadata"]["deletionTimestamp"],
    );
    if uid.as_str().is_some_and(|u| !u.is_empty()) && *uid != old["metadata"]["uid"] {
        causes.push(Cause::invalid("metadata.uid", uid, "field is immutable"));
    }
    if old["metadata"]["deletionTimestamp"].is_null() && deletion.is_string() {
        causes.push(Cause::invalid(
            "metadata.deletionTimestamp",
            deletion,
            "field is immutable",
        ));
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(
        &resource.kind,
        &resource.group,
        meta(old, "name"),
        &causes,
    ))
}

/// Metadata that a client cannot change.
fn carry_over(old: &Value, tree: &mut Value) {
    for key in [
        "uid",
        "creationTimestamp",
        "resourceVersion",
        "generation",
        "deletionTimestamp",
        "name",
        "namespace",
    ] {
        match old["metadata"].get(key) {
            Some(value) => set_meta(tree, key, value.clone()),
            None => clear_meta(tree, key),
        }
    }
    if tree["metadata"]["deletionGracePeriodSeconds"].is_null() {
        match old["metadata"].get("deletionGracePeriodSeconds") {
            Some(value) => set_meta(tree, "deletionGracePeriodSeconds", value.clone()),
            None => clear_meta(tree, "deletionGracePeriodSeconds"),
        }
    }
    clear_meta(tree, "selfLink");
    for key in ["labels", "annotations", "ownerReferences", "finalizers"] {
        let empty = match &tree["metadata"][key] {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        if empty {
            clear_meta(tree, key);
        }
    }
}

/// Keeps of a change only what the door lets through: the main resource never changes `status`, `/status` nothing else.
fn fields_by_door(
    resource: &Resource,
    old: &Value,
    mut tree: Value,
    subresource: Option<&str>,
) -> Value {
    let keep = |tree: &mut Value, key: &str| match old.get(key) {
        Some(value) => tree[key] = value.clone(),
        None => drop(objects::remove(tree, key)),
    };
    match subresource {
        None => {
            if resource.status {
                keep(&mut tree, "status");
            }
            if resource.is("", "namespaces") {
                keep(&mut tree, "spec");
            }
            tree
        }
        Some("status" | "approval") => status_by_door(resource, old, &tree),
        Some("finalize") => {
            let mut next = old.clone();
            match tree["spec"].get("finalizers") {
                Some(list) if list.as_array().is_some_and(|l| !l.is_empty()) => {
                    next["spec"]["finalizers"] = list.clone();
                }
                _ => {
                    if let Some(spec) = next.get_mut("spec").and_then(Value::as_object_mut) {
                        spec.remove("finalizers");
                    }
                }
            }
            next
        }
        Some(_) => {
            keep(&mut tree, "status");
            tree
        }
    }
}

/// What of a change `/status` lets through.
fn status_by_door(resource: &Resource, old: &Value, tree: &Value) -> Value {
    let mut next = old.clone();
    match tree.get("status") {
        Some(status) => next["status"] = status.clone(),
        None => drop(objects::remove(&mut next, "status")),
    }
    // Metadata of built-in kinds travels with their status (not their finalizers and owners); custom resources keep
    // theirs, only managedFields are the client's.
    let built_in: &[&str] = if resource.custom.is_none() {
        &["labels", "annotations"]
    } else {
        &[]
    };
    for key in built_in.iter().chain(&["managedFields"]) {
        match tree["metadata"].get(*key) {
            Some(value) => set_meta(&mut next, key, value.clone()),
            None => clear_meta(&mut next, key),
        }
    }
    next
}

fn without(tree: &Value, keys: &[&str]) -> Value {
    let mut copy = tree.clone();
    if let Some(map) = copy.as_object_mut() {
        keys.iter().for_each(|key| drop(map.remove(*key)));
    }
    copy
}

fn count_generation(resource: &Resource, old: &Value, tree: &mut Value, subresource: Option<&str>) {
    if !resource.generation || matches!(subresource, Some("status" | "approval")) {
        return;
    }
    let ignored: &[&str] = if resource.status {
        &["metadata", "status"]
    } else {
        &["metadata"]
    };
    if without(old, ignored) != without(tree, ignored) {
        let next = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        set_meta(tree, "generation", next);
    }
}

fn unchanged(old: &Value, tree: &Value) -> bool {
    let plain = |v: &Value| {
        let mut copy = v.clone();
        for entry in copy["metadata"]["managedFields"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            objects::remove(entry, "time");
        }
        copy
    };
    plain(old) == plain(tree)
}

fn validate(
    resource: &Resource,
    old: &Value,
    tree: &Value,
    subresource: Option<&str>,
) -> Result<(), ApiError> {
    let mut causes = objects::metadata_causes(tree);
    if !matches!(subresource, Some("status" | "approval" | "finalize")) {
        causes.extend(crate::validate::object(resource, tree));
        causes.extend(crate::validate::change(resource, old, tree));
    }
    if old["metadata"]["deletionTimestamp"].is_string() {
        let list = |v: &Value| -> Vec<String> {
            let items = v["metadata"]["finalizers"].as_array().into_iter().flatten();
            items.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let before = list(old);
        let added: Vec<String> = list(tree)
            .into_iter()
            .filter(|f| !before.contains(f))
            .collect();
        if !added.is_empty() {
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
            );
            causes.push(Cause::forbidden("metadata.finalizers", &why));
        }
    }
    let name = meta(tree, "name");
    if causes.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(
            &resource.kind,
            &resource.group,
            name,
            &causes,
        ))
    }
}
