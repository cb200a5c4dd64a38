//! `create`.

use std::sync::Arc;

use serde_json::Value;

use crate::admission;
use crate::effects;
use crate::objects::{self, clear_meta, meta, set_meta};
use crate::registry::Resource;
use crate::reply::Reply;
use crate::server::Inner;
use crate::status::{ApiError, Cause};
use crate::store::{State, Stored, fits};
use crate::verbs::{Request, prepare, read};

/// How an object is created.
#[derive(Debug, Clone, Default)]
pub(crate) struct CreateOptions {
    pub(crate) manager: String,
    pub(crate) dry_run: bool,
    /// Keeps status, uid and times of the object given: for test data.
    pub(crate) seed: bool,
    /// The fields are recorded as applied (server-side apply of a new object).
    pub(crate) managed: Option<Value>,
}

/// Tries of a generated name before giving up, as the real server.
const NAME_TRIES: usize = 8;

pub(crate) fn create(inner: &Arc<Inner>, request: &Request) -> Result<Reply, ApiError> {
    let resource = &request.resource;
    if resource.namespaced && request.path.namespace.is_none() {
        return Err(ApiError::method_not_allowed());
    }
    let mut tree = prepare::parse_object(request)?;
    let given = meta(&tree, "namespace");
    if resource.namespaced && !given.is_empty() && Some(given) != request.namespace() {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let warnings = prepare::shape(resource, &mut tree, request.query.field_validation)?;
    let options = CreateOptions {
        manager: request.manager(),
        dry_run: request.query.dry_run,
        ..CreateOptions::default()
    };
    let mut state = inner.lock();
    let stored = create_tree(
        inner,
        &mut state,
        resource,
        request.namespace(),
        tree,
        &options,
    )?;
    drop(state);
    Ok(read::object_reply(request, 201, &stored).with_warnings(warnings))
}

/// Creates an object that is already in the form of its kind.
pub(crate) fn create_tree(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    namespace: Option<&str>,
    mut tree: Value,
    options: &CreateOptions,
) -> Result<Arc<Stored>, ApiError> {
    place(resource, namespace, &mut tree);
    let generated = name(state, resource, &mut tree)?;
    if let Some(namespace) = namespace {
        admission::namespace(state, resource, namespace, meta(&tree, "name"))?;
    }
    if !options.seed {
        crate::fields::on_create(inner, resource, &mut tree, options);
        if resource.status {
            reset_status(resource, &mut tree);
        }
    }
    stamp(inner, state, resource, &mut tree, options.seed);
    admission::on_create(inner, state, resource, &mut tree, options.seed)?;
    validate(resource, &tree)?;
    if !options.seed && !options.dry_run {
        fits(&tree)?;
    }
    settle_name(state, resource, &mut tree, generated)?;
    if !options.seed && !meta(&tree, "resourceVersion").is_empty() {
        return Err(ApiError::new(
            500,
            "",
            "resourceVersion should not be set on objects to be created",
        ));
    }
    if options.dry_run {
        return Ok(Arc::new(Stored::new(resource, &tree, state.rv)));
    }
    let stored = state.put(resource, tree);
    effects::created(inner, state, resource, &stored);
    Ok(stored)
}

/// Sets the namespace that the path has.
fn place(resource: &Resource, namespace: Option<&str>, tree: &mut Value) {
    if !tree["metadata"].is_object() {
        tree["metadata"] = Value::Object(serde_json::Map::new());
    }
    match namespace.filter(|_| resource.namespaced) {
        Some(namespace) => set_meta(tree, "namespace", namespace),
        None => clear_meta(tree, "namespace"),
    }
}

/// Generates the name where only `generateName` is given; says whether it did.
fn name(state: &mut State, resource: &Resource, tree: &mut Value) -> Result<bool, ApiError> {
    if !meta(tree, "name").is_empty() {
        return Ok(false);
    }
    let base = meta(tree, "generateName").to_owned();
    if base.is_empty() {
        let cause = Cause::required("metadata.name", "name or generateName is required");
        return Err(ApiError::invalid(
            &resource.kind,
            &resource.group,
            "",
            &[cause],
        ));
    }
    let base: String = base.chars().take(58).collect();
    set_meta(tree, "name", format!("{base}{}", state.ids.suffix()));
    Ok(true)
}

/// Looks for a free name; a generated one is drawn again.
fn settle_name(
    state: &mut State,
    resource: &Resource,
    tree: &mut Value,
    generated: bool,
) -> Result<(), ApiError> {
    let namespace = Some(meta(tree, "namespace").to_owned()).filter(|ns| !ns.is_empty());
    for _ in 0..NAME_TRIES {
        let key = crate::store::key(namespace.as_deref(), meta(tree, "name"));
        if state.get(&resource.table, &key).is_none() {
            return Ok(());
        }
        if !generated {
            break;
        }
        let base: String = meta(tree, "generateName").chars().take(58).collect();
        set_meta(tree, "name", format!("{base}{}", state.ids.suffix()));
    }
    Err(ApiError::already_exists(
        &resource.plural,
        &resource.group,
        meta(tree, "name"),
    ))
}

/// Sets what only the server sets.
fn stamp(inner: &Inner, state: &mut State, resource: &Resource, tree: &mut Value, seed: bool) {
    if !seed || meta(tree, "uid").is_empty() {
        let uid = state.ids.uid();
        set_meta(tree, "uid", uid);
    }
    if !seed || meta(tree, "creationTimestamp").is_empty() {
        set_meta(
            tree,
            "creationTimestamp",
            crate::clock::seconds(inner.now()),
        );
    }
    if !seed {
        clear_meta(tree, "deletionTimestamp");
        clear_meta(tree, "deletionGracePeriodSeconds");
    }
    clear_meta(tree, "selfLink");
    clear_meta(tree, "generation");
    if resource.generation {
        set_meta(tree, "generation", 1);
    }
    for key in [
        "labels",
        "annotations",
        "ownerReferences",
        "finalizers",
        "managedFields",
        "generateName",
    ] {
        let empty = match &tree["metadata"][key] {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        if empty {
            clear_meta(tree, key);
        }
    }
}

/// Takes the status of a new object away, or puts the one there that a new object has.
fn reset_status(resource: &Resource, tree: &mut Value) {
    objects::remove(tree, "status");
    let Some(root) = &resource.root else { return };
    if root.schema.go {
        tree["status"] = crate::schema::zero(&root.schema, root.schema.child(root.id, "status"));
    }
}

fn validate(resource: &Resource, tree: &Value) -> Result<(), ApiError> {
    let name = meta(tree, "name");
    let mut causes = objects::name_causes(resource, name);
    causes.extend(objects::metadata_causes(tree));
    causes.extend(crate::validate::object(resource, tree));
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
