//! One request: counted, perhaps spoiled, carried out.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, header, request::Parts};
use hyper::upgrade::OnUpgrade;

use super::Inner;
use crate::calls::Call;
use crate::discovery;
use crate::exec;
use crate::faults::{Drawn, FaultAction, error_of};
use crate::openapi;
use crate::path::{self, ResourcePath, Target};
use crate::protobuf;
use crate::query::Query;
use crate::reply::{BoxError, JSON, Reply, ReplyBody, cut, error_response, full};
use crate::status::ApiError;
use crate::verbs::{self, Request};

fn text(headers: &HeaderMap, name: header::HeaderName) -> String {
    let values: Vec<&str> = headers
        .get_all(name)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    values.join(",")
}

/// Answers a request; the body may have been refused already.
pub(crate) async fn handle(
    inner: &Arc<Inner>,
    mut parts: Parts,
    body: Result<Bytes, ApiError>,
) -> Result<Response<ReplyBody>, BoxError> {
    let target = path::parse(parts.uri.path());
    let query_text = parts.uri.query().unwrap_or_default();
    let query = Query::parse(query_text);
    let call = describe(
        inner,
        &parts,
        &target,
        query.as_ref().ok(),
        query_text,
        body.as_deref().unwrap_or_default(),
    );
    let drawn = if inner.faults.is_empty() {
        None
    } else {
        inner.faults.draw(&call)
    };
    let number = inner.calls.started(call.clone());
    if let Some(drawn) = drawn.as_ref().filter(|d| !d.after)
        && let Some(early) = spoil_before(drawn, &call).await
    {
        inner
            .calls
            .answered(number, early.as_ref().map_or(0, |r| r.status().as_u16()));
        return early;
    }
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let response = match (query, upgrade) {
        (Ok(query), Some(upgrade)) if wants_exec(&target) => {
            exec_response(inner, &parts, &target, query, upgrade)
        }
        (Ok(query), _) => body
            .and_then(|body| answer(inner, &parts, target, query, body))
            .map(Reply::into_response),
        (Err(error), _) => Err(error),
    };
    let response = response.unwrap_or_else(|error| error_response(&error));
    let response = match drawn {
        Some(drawn) => spoil_after(&drawn, &call, response).await,
        None => Ok(response),
    };
    inner
        .calls
        .answered(number, response.as_ref().map_or(0, |r| r.status().as_u16()));
    response
}

fn describe(
    inner: &Inner,
    parts: &Parts,
    target: &Target,
    query: Option<&Query>,
    query_text: &str,
    body: &[u8],
) -> Call {
    let agent = Some(text(&parts.headers, header::USER_AGENT)).filter(|a| !a.is_empty());
    let mut call = Call {
        verb: parts.method.as_str().to_lowercase(),
        resource: parts.uri.path().to_owned(),
        user_agent: agent,
        query: query_text.to_owned(),
        field_manager: query.and_then(|q| q.field_manager.clone()),
        dry_run: query.is_some_and(|q| q.dry_run),
        ..Call::default()
    };
    if let Target::Resource(path) = target {
        let fallback = Query::default();
        let content_type = text(&parts.headers, header::CONTENT_TYPE);
        call.verb = verbs::verb(
            &parts.method,
            path,
            query.unwrap_or(&fallback),
            &content_type,
        )
        .to_owned();
        call.resource = match &path.subresource {
            Some(sub) => format!("{}/{sub}", path.resource),
            None => path.resource.clone(),
        };
        call.group.clone_from(&path.group);
        call.version.clone_from(&path.version);
        call.namespace.clone_from(&path.namespace);
        call.name.clone_from(&path.name);
        if call.name.is_none() && call.verb == "create" && !inner.faults.is_empty() {
            call.name = name_in(body, &content_type);
        }
    }
    call
}

/// The name of an object to be created.
fn name_in(body: &[u8], content_type: &str) -> Option<String> {
    if content_type.starts_with(protobuf::MEDIA_TYPE) {
        return protobuf::name(body);
    }
    let tree: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    tree["metadata"]["name"].as_str().map(str::to_owned)
}

/// What a fault does instead of the call; nothing when the call goes on.
async fn spoil_before(drawn: &Drawn, call: &Call) -> Option<Result<Response<ReplyBody>, BoxError>> {
    match &drawn.action {
        FaultAction::ConnectionReset => Some(Err(reset())),
        FaultAction::Slow(delay) => {
            tokio::time::sleep(*delay).await;
            None
        }
        FaultAction::Truncate(_) => None,
        FaultAction::Status { code, body } => Some(Ok(Reply::json(*code, body).into_response())),
        action => error_of(action, call).map(|error| Ok(error_response(&error))),
    }
}

/// What a fault makes of an answer.
async fn spoil_after(
    drawn: &Drawn,
    call: &Call,
    response: Response<ReplyBody>,
) -> Result<Response<ReplyBody>, BoxError> {
    match &drawn.action {
        FaultAction::Truncate(bytes) => {
            let (parts, body) = response.into_parts();
            Ok(Response::from_parts(parts, cut(body, *bytes)))
        }
        _ if !drawn.after => Ok(response),
        FaultAction::ConnectionReset => Err(reset()),
        FaultAction::Slow(delay) => {
            tokio::time::sleep(*delay).await;
            Ok(response)
        }
        FaultAction::Status { code, body } => Ok(Reply::json(*code, body).into_response()),
        action => Ok(error_of(action, call).map_or(response, |error| error_response(&error))),
    }
}

fn wants_exec(target: &Target) -> bool {
    matches!(target, Target::Resource(p) if p.resource == "pods" && p.subresource.as_deref() == Some("exec"))
}

/// Starts a command.
fn exec_response(
    inner: &Arc<Inner>,
    parts: &Parts,
    target: &Target,
    query: Query,
    upgrade: OnUpgrade,
) -> Result<Response<ReplyBody>, ApiError> {
    let request = resource_request(inner, parts, target, query, Bytes::new())?;
    let Some(handler) = inner.options.exec.clone() else {
        return Err(ApiError::not_implemented("create", "pods/exec"));
    };
    let pod = inner.lock().get(&request.resource.table, &request.key());
    let pod = pod.ok_or_else(|| request.not_found())?.tree();
    let exec = exec::describe(&request, &pod)?;
    let builder = exec::upgrade(&parts.headers, upgrade, exec, handler)?;
    builder
        .body(full(Bytes::new()))
        .map_err(|e| ApiError::internal(e.to_string()))
}

fn resource_request(
    inner: &Arc<Inner>,
    parts: &Parts,
    target: &Target,
    query: Query,
    body: Bytes,
) -> Result<Request, ApiError> {
    let Target::Resource(path) = target else {
        return Err(ApiError::no_such_path());
    };
    let found = inner
        .lock()
        .registry
        .find(&path.group, &path.version, &path.resource);
    Ok(Request {
        method: parts.method.clone(),
        resource: found.ok_or_else(ApiError::no_such_path)?,
        path: path.clone(),
        query,
        content_type: text(&parts.headers, header::CONTENT_TYPE),
        accept: text(&parts.headers, header::ACCEPT),
        user_agent: Some(text(&parts.headers, header::USER_AGENT)).filter(|a| !a.is_empty()),
        body,
        now: inner.now(),
    })
}

fn reset() -> BoxError {
    Box::new(std::io::Error::new(
        std::io::ErrorKind::ConnectionReset,
        "connection reset by peer",
    ))
}

/// Refuses clients that do not accept JSON, the one form of answers.
fn acceptable(path: &ResourcePath, query: &Query, accept: &str) -> Result<(), ApiError> {
    let mut types = accept
        .split(',')
        .map(|part| part.split(';').next().unwrap_or_default().trim());
    let fits = accept.is_empty() || types.any(|t| matches!(t, JSON | "application/*" | "*/*"));
    let text = path.subresource.as_deref() == Some("log");
    match (fits || text, query.watch) {
        (true, _) => Ok(()),
        (false, false) => Err(ApiError::not_acceptable(JSON)),
        (false, true) => Err(ApiError::not_acceptable("application/json;stream=watch")),
    }
}

fn answer(
    inner: &Arc<Inner>,
    parts: &Parts,
    target: Target,
    query: Query,
    body: Bytes,
) -> Result<Reply, ApiError> {
    let accept = text(&parts.headers, header::ACCEPT);
    let aggregated = discovery::wants_aggregated(&accept);
    match target {
        Target::Resource(ref path) => {
            acceptable(path, &query, &accept)?;
            let request = resource_request(inner, parts, &target, query, body)?;
            verbs::dispatch(inner, &request)
        }
        Target::Version => Ok(Reply::json(200, &discovery::version())),
        Target::Health => Ok(Reply::bytes(200, "ok").with_content_type("text/plain")),
        Target::CoreVersions | Target::Groups if aggregated => {
            let core = target == Target::CoreVersions;
            let document = discovery::aggregated(&inner.lock().registry, core);
            Ok(Reply::json(200, &document).with_content_type(discovery::AGGREGATED))
        }
        Target::CoreVersions => Ok(Reply::json(200, &discovery::core_versions())),
        Target::Groups => Ok(Reply::json(
            200,
            &discovery::group_list(&inner.lock().registry),
        )),
        Target::Group(group) => Ok(Reply::json(
            200,
            &discovery::group(&inner.lock().registry, &group)?,
        )),
        Target::GroupVersion(group, version) => Ok(Reply::json(
            200,
            &discovery::resources(&inner.lock().registry, &group, &version)?,
        )),
        Target::OpenApiIndex => Ok(Reply::json(200, &openapi::index(&inner.lock().registry))),
        Target::OpenApi(path) => Ok(Reply::json(
            200,
            &openapi::document(&inner.lock().registry, &path)?,
        )),
        // Only older clients, and kubectl for kinds it does not find elsewhere, ask for this form.
        Target::OpenApiV2 => Ok(openapi::version_two(&accept)),
        Target::Unknown => Err(ApiError::no_such_path()),
    }
}
