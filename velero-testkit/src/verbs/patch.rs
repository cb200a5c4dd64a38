//! `patch`: JSON, merge, strategic merge, and server-side apply.

use std::sync::Arc;

use serde_json::Value;

use crate::convert;
use crate::objects::meta;
use crate::reply::Reply;
use crate::server::Inner;
use crate::status::{ApiError, Cause};
use crate::store::State;
use crate::strategic;
use crate::verbs::{CreateOptions, Request, Writer, commit_update, create_tree, prepare, read};

const ACCEPTED: [&str; 5] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/apply-patch+cbor",
];

pub(crate) fn patch(
    inner: &Arc<Inner>,
    request: &Request,
    subresource: Option<&str>,
) -> Result<Reply, ApiError> {
    let kind = request
        .content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned();
    if kind == "application/apply-patch+yaml" {
        return apply(inner, request, subresource);
    }
    if request.query.force {
        let cause = Cause::forbidden("force", "may not be specified for non-apply patch");
        return Err(ApiError::invalid(
            "PatchOptions",
            "meta.k8s.io",
            "",
            &[cause],
        ));
    }
    let resource = &request.resource;
    let mut state = inner.lock();
    let live = state
        .get(&resource.table, &request.key())
        .ok_or_else(|| request.not_found())?;
    let before = convert::from_storage(resource, live.full(resource));
    let mut tree = changed(request, &kind, before)?;
    prepare::check_kind(&mut tree, &resource.api_version(), &resource.kind)?;
    check_name(request, &tree)?;
    let warnings = prepare::shape(resource, &mut tree, request.query.field_validation)?;
    let tree = convert::to_storage(resource, tree);
    let writer = Writer {
        manager: request.manager(),
        subresource,
        dry_run: request.query.dry_run,
        managed: None,
        whole: false,
    };
    let stored = commit_update(inner, &mut state, resource, &live, tree, &writer)?;
    drop(state);
    Ok(read::object_reply(request, 200, &stored).with_warnings(warnings))
}

fn check_name(request: &Request, tree: &Value) -> Result<(), ApiError> {
    let name = meta(tree, "name");
    if name == request.name() {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "the name of the object ({name}) does not match the name on the URL ({})",
        request.name()
    )))
}

fn rejected(why: &str) -> ApiError {
    ApiError::new(
        422,
        "Invalid",
        format!("the server rejected our request due to an error in our request: {why}"),
    )
}

/// Applies the patch of a request to an object.
fn changed(request: &Request, kind: &str, mut tree: Value) -> Result<Value, ApiError> {
    let body: Value = match kind {
        "application/json-patch+json"
        | "application/merge-patch+json"
        | "application/strategic-merge-patch+json" => serde_json::from_slice(&request.body)
            .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?,
        other => return Err(ApiError::unsupported_media_type(other, &ACCEPTED)),
    };
    match kind {
        "application/json-patch+json" => {
            let operations: json_patch::Patch = serde_json::from_value(body)
                .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
            json_patch::patch(&mut tree, &operations).map_err(|e| rejected(&e.to_string()))?;
        }
        "application/merge-patch+json" => json_patch::merge(&mut tree, &body),
        _ => {
            if request.resource.custom.is_some() {
                let accepted = [ACCEPTED[0], ACCEPTED[1], ACCEPTED[3]];
                return Err(ApiError::unsupported_media_type(kind, &accepted));
            }
            let Some(root) = &request.resource.root else {
                return Err(ApiError::internal("kind without a type"));
            };
            tree = strategic::merge(&root.schema, root.id, tree, body)
                .map_err(ApiError::bad_request)?;
        }
    }
    Ok(tree)
}

/// Server-side apply.
fn apply(
    inner: &Arc<Inner>,
    request: &Request,
    subresource: Option<&str>,
) -> Result<Reply, ApiError> {
    let resource = &request.resource;
    let Some(manager) = request.query.field_manager.clone() else {
        let cause = Cause::required("fieldManager", "is required for apply patch");
        return Err(ApiError::invalid(
            "PatchOptions",
            "meta.k8s.io",
            "",
            &[cause],
        ));
    };
    let applied = applied_object(request)?;
    let mut state = inner.lock();
    let Some(live) = state.get(&resource.table, &request.key()) else {
        return create_applied(inner, &mut state, request, applied, &manager, subresource);
    };
    let old = live.full(resource);
    let version = meta(&applied, "resourceVersion").to_owned();
    let (mut tree, managed) = crate::fields::apply(
        inner,
        resource,
        &old,
        applied,
        &manager,
        request.query.force,
        subresource,
    )?;
    if !version.is_empty() {
        crate::objects::set_meta(&mut tree, "resourceVersion", version);
    }
    let warnings = prepare::shape(resource, &mut tree, request.query.field_validation)?;
    let writer = Writer {
        manager,
        subresource,
        dry_run: request.query.dry_run,
        managed: Some(managed),
        whole: false,
    };
    let stored = commit_update(inner, &mut state, resource, &live, tree, &writer)?;
    drop(state);
    Ok(read::object_reply(request, 200, &stored).with_warnings(warnings))
}

/// The configuration in the body of an apply, checked, in the version in which objects are kept.
fn applied_object(request: &Request) -> Result<Value, ApiError> {
    let resource = &request.resource;
    let mut applied = prepare::yaml(&request.body)?;
    for key in ["apiVersion", "kind"] {
        if applied[key].as_str().is_none_or(str::is_empty) {
            return Err(ApiError::bad_request(format!(
                "error decoding apply patch: {key} is missing"
            )));
        }
    }
    prepare::check_kind(&mut applied, &resource.api_version(), &resource.kind)?;
    let managed = applied["metadata"].get("managedFields");
    if managed.is_some_and(|m| !m.is_null()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    if meta(&applied, "name").is_empty() {
        crate::objects::set_meta(&mut applied, "name", request.name());
    }
    check_name(request, &applied)?;
    if let Some(namespace) = request.namespace() {
        crate::objects::set_meta(&mut applied, "namespace", namespace);
    }
    Ok(convert::to_storage(resource, applied))
}

fn create_applied(
    inner: &Arc<Inner>,
    state: &mut State,
    request: &Request,
    applied: Value,
    manager: &str,
    subresource: Option<&str>,
) -> Result<Reply, ApiError> {
    if subresource.is_some() {
        return Err(request.not_found());
    }
    let resource = &request.resource;
    if !meta(&applied, "uid").is_empty() {
        return Err(ApiError::conflict(
            &resource.plural,
            &resource.group,
            request.name(),
            "uid mismatch: the provided object specified uid and no existing object was found",
        ));
    }
    let mut tree = applied.clone();
    let warnings = prepare::shape(resource, &mut tree, request.query.field_validation)?;
    let managed = crate::fields::applied_entry(inner, resource, &applied, manager);
    let options = CreateOptions {
        manager: manager.to_owned(),
        dry_run: request.query.dry_run,
        managed: Some(managed),
        ..CreateOptions::default()
    };
    let stored = create_tree(inner, state, resource, request.namespace(), tree, &options)?;
    Ok(read::object_reply(request, 201, &stored).with_warnings(warnings))
}
