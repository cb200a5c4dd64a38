//! Reviews, `scale`, `token`, `binding`, `log`: requests that answer without keeping an object of their own kind.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::objects::meta;
use crate::reply::Reply;
use crate::server::Inner;
use crate::status::ApiError;
use crate::verbs::{Request, Writer, commit_update, prepare};

/// Answers an access review: everything is allowed.
pub(crate) fn review(request: &Request) -> Result<Reply, ApiError> {
    let resource = &request.resource;
    let mut tree = prepare::parse_object(request)?;
    let user = json!({"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]});
    tree["status"] = match resource.plural.as_str() {
        "selfsubjectrulesreviews" => json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": false,
        }),
        "tokenreviews" => json!({"authenticated": true, "user": user}),
        "selfsubjectreviews" => json!({"userInfo": user}),
        _ => json!({"allowed": true, "reason": "the in-process server allows everything"}),
    };
    if !tree["metadata"].is_object() {
        tree["metadata"] = json!({});
    }
    Ok(Reply::json(201, &tree))
}

/// Issues a token for a ServiceAccount; nothing checks it.
pub(crate) fn token(inner: &Arc<Inner>, request: &Request) -> Result<Reply, ApiError> {
    let mut state = inner.lock();
    state
        .get(&request.resource.table, &request.key())
        .ok_or_else(|| request.not_found())?;
    let token = state.ids.uid();
    drop(state);
    let mut tree = prepare::parse_as(
        request,
        "authentication.k8s.io/v1",
        "authentication.v1.TokenRequest",
    )?;
    let seconds = tree["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
    let until = inner
        .now()
        .checked_add(jiff::SignedDuration::from_secs(seconds))
        .unwrap_or_else(|_| inner.now());
    tree["status"] = json!({"token": token, "expirationTimestamp": crate::clock::seconds(until)});
    tree["metadata"] = json!({"name": request.name(), "namespace": request.namespace()});
    Ok(Reply::json(201, &tree))
}

/// Places a pod on a node.
pub(crate) fn bind(inner: &Arc<Inner>, request: &Request) -> Result<Reply, ApiError> {
    let tree = prepare::parse_as(request, "v1", "core.v1.Binding")?;
    let node = tree["target"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let mut state = inner.lock();
    let live = state
        .get(&request.resource.table, &request.key())
        .ok_or_else(|| request.not_found())?;
    let mut pod = live.full(&request.resource);
    if pod["spec"]["nodeName"]
        .as_str()
        .is_some_and(|n| !n.is_empty())
    {
        let why = format!(
            "pod {} is already assigned to node {}",
            live.name(),
            pod["spec"]["nodeName"]
        );
        return Err(ApiError::conflict("pods/binding", "", live.name(), &why));
    }
    pod["spec"]["nodeName"] = node.into();
    if !request.query.dry_run {
        state.put(&request.resource, pod);
    }
    Ok(Reply::json(
        201,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    ))
}

/// The log of a container: refused as far as an API server does it by itself, and then for want of a kubelet.
pub(crate) fn log(inner: &Arc<Inner>, request: &Request) -> Result<Reply, ApiError> {
    let live = inner
        .lock()
        .get(&request.resource.table, &request.key())
        .ok_or_else(|| request.not_found())?;
    let spec = live.tree()["spec"].clone();
    let container = container_of(request, &spec)?;
    if spec["nodeName"].as_str().is_none_or(str::is_empty) {
        // There is nobody to ask yet.
        return Ok(Reply::bytes(204, Vec::new()));
    }
    Err(ApiError::internal(format!(
        "container {container} of pod {} has no log: nothing runs behind this API server",
        live.name()
    )))
}

/// The container that a request means; of several it has to name one.
fn container_of(request: &Request, spec: &Value) -> Result<String, ApiError> {
    let names = |list: &str| {
        let containers = spec[list].as_array().into_iter().flatten();
        let names = containers.filter_map(|c| c["name"].as_str().map(str::to_owned));
        names.collect::<Vec<_>>()
    };
    let own = names("containers");
    let all = [
        names("initContainers"),
        own.clone(),
        names("ephemeralContainers"),
    ]
    .concat();
    let mut raw = request.query.raw.iter();
    let asked = raw.find(|(key, value)| key == "container" && !value.is_empty());
    let pod = request.name();
    match (asked, own.as_slice()) {
        (Some((_, name)), _) if all.contains(name) => Ok(name.clone()),
        (Some((_, name)), _) => Err(ApiError::bad_request(format!(
            "container {name} is not valid for pod {pod}"
        ))),
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(ApiError::bad_request(format!(
            "a container name must be specified for pod {pod}, choose one of: [{}]",
            all.join(" ")
        ))),
    }
}

fn pointer(path: &str) -> String {
    path.split('.')
        .filter(|p| !p.is_empty())
        .fold(String::new(), |all, part| format!("{all}/{part}"))
}

/// Reads and writes the number of replicas.
pub(crate) fn scale(inner: &Arc<Inner>, request: &Request, verb: &str) -> Result<Reply, ApiError> {
    let resource = &request.resource;
    let mut state = inner.lock();
    let live = state
        .get(&resource.table, &request.key())
        .ok_or_else(|| request.not_found())?;
    let tree = live.full(resource);
    let custom = resource.custom.as_ref().and_then(|c| c.scale.as_ref());
    let path =
        |key: &str, default: &str| pointer(custom.and_then(|s| s[key].as_str()).unwrap_or(default));
    let spec_path = path("specReplicasPath", ".spec.replicas");
    let status_path = path("statusReplicasPath", ".status.replicas");
    let current = scale_of(&tree, &spec_path, &status_path);
    if verb == "get" {
        return Ok(Reply::json(200, &current));
    }
    let wanted = wanted_scale(request, verb, current)?;
    let Some(replicas) = wanted["spec"]["replicas"]
        .as_i64()
        .or(Some(0))
        .filter(|n| *n >= 0)
    else {
        return Err(ApiError::bad_request("spec.replicas must not be negative"));
    };
    let mut next = tree;
    if let Some(slot) = next.pointer_mut(&spec_path) {
        *slot = replicas.into();
    } else if let Some(spec) = next.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("replicas".into(), replicas.into());
    }
    let version = meta(&wanted, "resourceVersion");
    if !version.is_empty() {
        crate::objects::set_meta(&mut next, "resourceVersion", version);
    }
    let writer = Writer {
        manager: request.manager(),
        subresource: Some("scale"),
        dry_run: request.query.dry_run,
        managed: None,
        whole: false,
    };
    let stored = commit_update(inner, &mut state, resource, &live, next, &writer)?;
    Ok(Reply::json(
        200,
        &scale_of(&stored.full(resource), &spec_path, &status_path),
    ))
}

/// The `Scale` that a request wants instead of the present one.
fn wanted_scale(request: &Request, verb: &str, current: Value) -> Result<Value, ApiError> {
    if verb == "update" {
        return prepare::parse_as(request, "autoscaling/v1", "autoscaling.v1.Scale");
    }
    let undecodable =
        |e: serde_json::Error| ApiError::bad_request(format!("error decoding patch: {e}"));
    let patch: Value = serde_json::from_slice(&request.body).map_err(undecodable)?;
    let mut next = current;
    if request.content_type.starts_with("application/json-patch") {
        let operations: json_patch::Patch = serde_json::from_value(patch).map_err(undecodable)?;
        json_patch::patch(&mut next, &operations)
            .map_err(|e| ApiError::bad_request(e.to_string()))?;
    } else {
        json_patch::merge(&mut next, &patch);
    }
    Ok(next)
}

fn scale_of(tree: &Value, spec_path: &str, status_path: &str) -> Value {
    let metadata = &tree["metadata"];
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {},
        "status": {"replicas": tree.pointer(status_path).and_then(Value::as_i64).unwrap_or(0)},
    });
    if let Some(replicas) = tree
        .pointer(spec_path)
        .and_then(Value::as_i64)
        .filter(|n| *n != 0)
    {
        scale["spec"]["replicas"] = replicas.into();
    }
    scale
}
