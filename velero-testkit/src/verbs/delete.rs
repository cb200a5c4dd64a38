//! `delete`, finalizers, and the garbage of owners.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::effects;
use crate::objects::{meta, set_meta};
use crate::protobuf::Expected;
use crate::registry::Resource;
use crate::reply::Reply;
use crate::server::Inner;
use crate::status::{ApiError, Cause};
use crate::store::{State, Stored};
use crate::verbs::{Request, prepare, read};

/// The finalizer of a foreground deletion.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of a deletion that leaves dependents.
pub(crate) const ORPHAN: &str = "orphan";

/// Kinds whose deletion answers with the object instead of a `Status` (Go: `ReturnDeletedObject`).
const RETURNS_OBJECT: [(&str, &str); 12] = [
    ("", "pods"),
    ("", "services"),
    ("", "namespaces"),
    ("", "persistentvolumes"),
    ("", "persistentvolumeclaims"),
    ("", "serviceaccounts"),
    ("", "resourcequotas"),
    ("", "podtemplates"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "volumeattachments"),
];

/// What a client asks for beside the deletion itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    uid: Option<String>,
    resource_version: Option<String>,
    propagation: Option<String>,
    pub(crate) dry_run: bool,
}

/// What became of an object.
pub(crate) enum Deleted {
    /// It is gone; this was its last state.
    Gone(Arc<Stored>),
    /// It waits for its finalizers.
    Pending(Arc<Stored>),
}

impl DeleteOptions {
    /// Reads the parameters and the body, which may be empty.
    pub(crate) fn of(request: &Request) -> Result<Self, ApiError> {
        // A body, even an empty object, takes the place of the query.
        if !request.body.is_empty() {
            let expected =
                Expected::named("meta.k8s.io/v1", "meta.v1.DeleteOptions").map(|e| Expected {
                    any_version: true,
                    ..e
                });
            let body = prepare::parse(request, expected.as_ref())?;
            return Self::from_body(&body);
        }
        let query = &request.query;
        Self {
            propagation: query.propagation_policy.clone(),
            dry_run: query.dry_run,
            ..Self::default()
        }
        .checked()
    }

    /// Reads `DeleteOptions`.
    fn from_body(body: &Value) -> Result<Self, ApiError> {
        let kind = body["kind"].as_str().unwrap_or_default();
        if !matches!(kind, "" | "DeleteOptions") {
            let version = body["apiVersion"].as_str().unwrap_or_default();
            return Err(ApiError::bad_request(format!(
                "no kind \"{kind}\" is registered for version \"{version}\", want DeleteOptions"
            )));
        }
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let dry_run = body["dryRun"]
            .as_array()
            .is_some_and(|l| l.iter().any(|v| v == "All"));
        let mut propagation = text(&body["propagationPolicy"]);
        if propagation.is_none() && body["orphanDependents"] == Value::Bool(true) {
            propagation = Some("Orphan".into());
        }
        Self {
            uid: text(&body["preconditions"]["uid"]),
            resource_version: text(&body["preconditions"]["resourceVersion"]),
            propagation,
            dry_run,
        }
        .checked()
    }

    fn checked(self) -> Result<Self, ApiError> {
        if let Some(policy) = &self.propagation
            && !matches!(policy.as_str(), "Orphan" | "Background" | "Foreground")
        {
            let cause = Cause::unsupported(
                "propagationPolicy",
                &Value::from(policy.as_str()),
                &["Foreground", "Background", "Orphan", "nil"],
            );
            return Err(ApiError::invalid(
                "DeleteOptions",
                "meta.k8s.io",
                "",
                &[cause],
            ));
        }
        Ok(self)
    }
}

pub(crate) fn delete(inner: &Arc<Inner>, request: &Request) -> Result<Reply, ApiError> {
    let options = DeleteOptions::of(request)?;
    let mut state = inner.lock();
    let deleted = delete_key(
        inner,
        &mut state,
        &request.resource,
        &request.key(),
        &options,
    )?
    .ok_or_else(|| request.not_found())?;
    drop(state);
    let resource = &request.resource;
    let named = (resource.group.as_str(), resource.plural.as_str());
    Ok(match deleted {
        Deleted::Gone(last) if RETURNS_OBJECT.contains(&named) => {
            read::object_reply(request, 200, &last)
        }
        Deleted::Gone(last) => Reply::json(200, &success(resource, &last)),
        Deleted::Pending(object) => read::object_reply(request, 200, &object),
    })
}

/// The `Status` of a deletion that is done.
fn success(resource: &Resource, last: &Stored) -> Value {
    let mut details =
        json!({"name": last.name(), "kind": resource.plural, "uid": last.uid.as_ref()});
    if !resource.group.is_empty() {
        details["group"] = resource.group.clone().into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

/// Deletes an object; nothing when there is none.
pub(crate) fn delete_key(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    key: &str,
    options: &DeleteOptions,
) -> Result<Option<Deleted>, ApiError> {
    let Some(live) = state.get(&resource.table, key) else {
        return Ok(None);
    };
    check_preconditions(resource, &live, options)?;
    if resource.is("", "namespaces")
        && matches!(live.name(), "default" | "kube-system" | "kube-public")
    {
        return Err(ApiError::forbidden(
            "namespaces",
            "",
            live.name(),
            "this namespace may not be deleted",
        ));
    }
    let mut tree = live.full(resource);
    let mut finalizers = finalizers_by(options, &tree);
    effects::protect(state, resource, &live, &mut finalizers);
    let holds = resource.is("", "namespaces") || effects::has_instances(state, resource, &live);
    if options.dry_run {
        return Ok(Some(if finalizers.is_empty() && !holds {
            Deleted::Gone(live)
        } else {
            Deleted::Pending(live)
        }));
    }
    if finalizers.is_empty() && !holds {
        let last = state.remove(resource, key);
        effects::removed(inner, state, resource, &live);
        return Ok(last.map(Deleted::Gone));
    }
    if live.deleting
        && tree["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|f| *f == finalizers)
    {
        return Ok(Some(Deleted::Pending(live)));
    }
    if !live.deleting {
        mark(resource, &mut tree, crate::clock::seconds(inner.now()));
    }
    if !finalizers.is_empty() {
        set_meta(&mut tree, "finalizers", finalizers);
    }
    let stored = state.put(resource, tree);
    effects::deleting(inner, state, resource, &stored);
    Ok(Some(Deleted::Pending(stored)))
}

/// The finalizers of an object once its deletion is asked for.
fn finalizers_by(options: &DeleteOptions, tree: &Value) -> Vec<Value> {
    let given = tree["metadata"]["finalizers"].as_array();
    let mut finalizers = given.cloned().unwrap_or_default();
    let policy = options.propagation.as_deref();
    if policy.is_some() {
        finalizers.retain(|f| f != FOREGROUND && f != ORPHAN);
    }
    match policy {
        Some("Foreground") => finalizers.push(FOREGROUND.into()),
        Some("Orphan") => finalizers.push(ORPHAN.into()),
        _ => {}
    }
    finalizers
}

/// Marks an object as one that is being deleted.
fn mark(resource: &Resource, tree: &mut Value, now: String) {
    set_meta(tree, "deletionTimestamp", now);
    set_meta(tree, "deletionGracePeriodSeconds", 0);
    if let Some(generation) = tree["metadata"]["generation"].as_i64() {
        set_meta(tree, "generation", generation + 1);
    }
    if resource.is("", "namespaces") {
        crate::objects::clear_meta(tree, "deletionGracePeriodSeconds");
        tree["status"]["phase"] = "Terminating".into();
    }
}

fn check_preconditions(
    resource: &Resource,
    live: &Stored,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let conflict = |why: String| {
        Err(ApiError::conflict(
            &resource.plural,
            &resource.group,
            live.name(),
            &why,
        ))
    };
    if let Some(uid) = options
        .uid
        .as_deref()
        .filter(|uid| *uid != live.uid.as_ref())
    {
        return conflict(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            live.uid
        ));
    }
    if let Some(version) = options
        .resource_version
        .as_deref()
        .filter(|v| *v != live.rv.to_string())
    {
        return conflict(format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
            live.rv
        ));
    }
    Ok(())
}

/// Removes an object that is being deleted and has no finalizers left; returns its last state if it did.
pub(crate) fn drop_finalized(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    key: &str,
) -> Option<Arc<Stored>> {
    let live = state.get(&resource.table, key).filter(|o| o.deleting)?;
    let tree = live.tree();
    if tree["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|f| !f.is_empty())
    {
        return None;
    }
    if resource.is("", "namespaces")
        && tree["spec"]["finalizers"]
            .as_array()
            .is_some_and(|f| !f.is_empty())
    {
        return None;
    }
    let last = state.remove(resource, key);
    effects::removed(inner, state, resource, &live);
    last
}

/// `eviction`: deletes the pod.
pub(crate) fn evict(inner: &Arc<Inner>, request: &Request) -> Result<Reply, ApiError> {
    let body = prepare::parse_as(request, "policy/v1", "policy.v1.Eviction")?;
    if meta(&body, "name") != request.name() {
        return Err(ApiError::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let mut options = DeleteOptions::from_body(&body["deleteOptions"])?;
    options.dry_run |= request.query.dry_run;
    let mut state = inner.lock();
    delete_key(
        inner,
        &mut state,
        &request.resource,
        &request.key(),
        &options,
    )?
    .ok_or_else(|| request.not_found())?;
    Ok(Reply::json(
        201,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    ))
}
