//! What the server does for each verb.

mod collection;
mod create;
mod delete;
mod patch;
mod prepare;
mod read;
mod review;
mod update;
mod watch;

use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use crate::path::ResourcePath;
use crate::query::Query;
use crate::registry::Resource;
use crate::reply::Reply;
use crate::server::Inner;
use crate::status::{ApiError, qualified};

pub(crate) use create::{CreateOptions, create_tree};
pub(crate) use delete::{DeleteOptions, delete_key, drop_finalized};
pub(crate) use prepare::shape;
pub(crate) use read::{Page, list_metadata};
pub(crate) use update::{Writer, commit_update};

/// A request for a resource.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) resource: Arc<Resource>,
    pub(crate) path: ResourcePath,
    pub(crate) query: Query,
    pub(crate) content_type: String,
    pub(crate) accept: String,
    pub(crate) user_agent: Option<String>,
    pub(crate) body: Bytes,
    /// When the request came in, by the server's clock.
    pub(crate) now: jiff::Timestamp,
}

impl Request {
    /// The namespace of the path, for kinds that have one.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.path
            .namespace
            .as_deref()
            .filter(|_| self.resource.namespaced)
    }

    pub(crate) fn name(&self) -> &str {
        self.path.name.as_deref().unwrap_or_default()
    }

    /// Key of the object that the path names.
    pub(crate) fn key(&self) -> String {
        crate::store::key(self.namespace(), self.name())
    }

    pub(crate) fn not_found(&self) -> ApiError {
        ApiError::not_found(&self.resource.plural, &self.resource.group, self.name())
    }

    /// Who writes: the parameter, or the first word of the user agent.
    pub(crate) fn manager(&self) -> String {
        let agent = || {
            let agent = self.user_agent.as_deref().unwrap_or_default();
            let name: String = agent
                .split('/')
                .next()
                .unwrap_or_default()
                .chars()
                .take(128)
                .collect();
            if name.is_empty() {
                "unknown".to_owned()
            } else {
                name
            }
        };
        self.query.field_manager.clone().unwrap_or_else(agent)
    }
}

/// The API verb of a request, as the audit log has it; server-side apply is called `apply`.
pub(crate) fn verb(
    method: &Method,
    path: &ResourcePath,
    query: &Query,
    content_type: &str,
) -> &'static str {
    let named = path.name.is_some();
    match *method {
        Method::GET if query.watch => "watch",
        Method::GET if named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH if content_type.starts_with("application/apply-patch") => "apply",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => "other",
    }
}

/// Carries a request out.
pub(crate) fn dispatch(inner: &Arc<Inner>, request: &Request) -> Result<Reply, ApiError> {
    let path = &request.path;
    let resource = &request.resource;
    if path.namespace.is_some() && !resource.namespaced {
        return Err(ApiError::no_such_path());
    }
    if path.name.is_some() && path.namespace.is_none() && resource.namespaced {
        return Err(ApiError::no_such_path());
    }
    let verb = verb(&request.method, path, &request.query, &request.content_type);
    if let Some(name) = &path.subresource {
        return subresource(inner, request, verb, name);
    }
    if !allowed(&resource.verbs, verb) {
        return Err(ApiError::method_not_allowed());
    }
    match verb {
        "watch" => watch::watch(inner, request),
        "get" => read::get(inner, request),
        "list" => read::list(inner, request),
        "create" if path.name.is_none() && resource.verbs == "c" => review::review(request),
        "create" if path.name.is_none() => create::create(inner, request),
        "update" if path.name.is_some() => update::update(inner, request, None),
        "patch" | "apply" if path.name.is_some() => patch::patch(inner, request, None),
        "delete" => delete::delete(inner, request),
        "deletecollection" => collection::delete_collection(inner, request),
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn allowed(verbs: &str, verb: &str) -> bool {
    let letter = match verb {
        "get" => 'g',
        "list" => 'l',
        "watch" => 'w',
        "create" => 'c',
        "update" => 'u',
        "patch" | "apply" => 'p',
        "delete" => 'd',
        "deletecollection" => 'D',
        _ => return false,
    };
    verbs.contains(letter)
}

fn subresource(
    inner: &Arc<Inner>,
    request: &Request,
    verb: &str,
    name: &str,
) -> Result<Reply, ApiError> {
    let resource = &request.resource;
    let Some(found) = resource.subresource(name) else {
        return Err(ApiError::no_such_path());
    };
    if !allowed(&found.verbs, verb) {
        return Err(ApiError::method_not_allowed());
    }
    match (name, verb) {
        ("status" | "approval" | "ephemeralcontainers" | "resize", "get") => {
            read::get(inner, request)
        }
        ("status" | "approval" | "ephemeralcontainers" | "resize", "update") => {
            update::update(inner, request, Some(name))
        }
        ("status" | "approval" | "ephemeralcontainers" | "resize", "patch" | "apply") => {
            patch::patch(inner, request, Some(name))
        }
        ("finalize", "update") => update::update(inner, request, Some(name)),
        ("scale", _) => review::scale(inner, request, verb),
        ("eviction", "create") => delete::evict(inner, request),
        ("token", "create") => review::token(inner, request),
        ("binding", "create") => review::bind(inner, request),
        ("log", "get") => review::log(inner, request),
        _ => Err(ApiError::not_implemented(
            verb,
            &format!("{}/{name}", qualified(&resource.plural, &resource.group)),
        )),
    }
}
